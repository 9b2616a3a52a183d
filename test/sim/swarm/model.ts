/**
 * What may be read at each path, given what was acknowledged. Changes and reads are intervals on one count of ticks. A
 * read may return what some change put there, unless another acknowledged change came wholly after that one and wholly
 * before the read. A change whose outcome nobody heard of may have happened at any time since it began, or never.
 * What a refused change would have put there must never be seen.
 */
import type { Content } from './content.js'

export type Outcome = 'pending' | 'done' | 'unknown' | 'refused'

export interface Change {
  readonly path: string
  readonly kind: 'put' | 'gone'
  readonly what: string
  /** Not known of a copy whose source was never read: then it is what is read there first. */
  content: Content | undefined
  generation: number | undefined
  readonly start: number
  /** Infinity until it is known to have happened. */
  end: number
  outcome: Outcome
}

export class Violation extends Error {}

interface PathHistory {
  readonly changes: Change[]
  /** The highest generation that anyone has been told of. */
  highest: number
  readonly contents: Map<number, Content>
}

export class Model {
  readonly #paths = new Map<string, PathHistory>()
  readonly #byManifest = new Map<string, Content>()
  #ticks = 0

  tick(): number {
    return (this.#ticks += 1)
  }

  paths(): string[] {
    return [...this.#paths.keys()].sort()
  }

  highest(path: string): number {
    return this.#history(path).highest
  }

  begin(path: string, kind: Change['kind'], what: string, content?: Content): Change {
    const change: Change = {
      path,
      kind,
      what,
      content,
      generation: undefined,
      start: this.tick(),
      end: Infinity,
      outcome: 'pending',
    }
    this.#history(path).changes.push(change)
    return change
  }

  /** The change was acknowledged. @param above the highest generation known when it began */
  done(change: Change, file?: { readonly generation: number; readonly manifestId: string }, above = 0): void {
    change.outcome = 'done'
    change.end = this.tick()
    if (!file) return
    const history = this.#history(change.path)
    if (file.generation <= above) {
      throw new Violation(
        `${change.what} ${change.path} was given generation ${file.generation}, but ${above} had been seen there before`,
      )
    }
    change.generation = file.generation
    change.content ??= this.#byManifest.get(file.manifestId)
    history.highest = Math.max(history.highest, file.generation)
    if (change.content) this.#learn(history, change.path, file, change.content)
  }

  unknown(change: Change): void {
    if (change.outcome === 'pending') change.outcome = 'unknown'
  }

  refused(change: Change): void {
    change.outcome = 'refused'
  }

  /** Someone found this content at a path. @param since the tick at which they began to look, @param above the highest generation known then */
  checkFound(
    path: string,
    since: number,
    above: number,
    file: { readonly generation: number; readonly manifestId: string },
    content: Content | undefined,
  ): void {
    const history = this.#history(path)
    if (file.generation < above)
      throw new Violation(`${path} was found at generation ${file.generation}, but ${above} had been seen there before`)
    const found = content ?? this.#byManifest.get(file.manifestId)
    history.highest = Math.max(history.highest, file.generation)
    if (!found) return
    this.#learn(history, path, file, found)
    const puts = history.changes.filter(
      ({ kind, outcome, content: put }) => kind === 'put' && outcome !== 'refused' && (!put || put.id === found.id),
    )
    const possible = puts.filter((put) => !isOver(put, history, since))
    if (possible.length === 0) {
      const why = puts.length > 0 ? `which was replaced or removed before: ${describe(history)}` : 'which nobody put there'
      throw new Violation(`${path} (generation ${file.generation}) was found to hold content ${found.id}, ${why}`)
    }
    const [only] = puts
    if (puts.length === 1 && only) {
      // It has happened by now, whatever its author was told.
      only.content = found
      only.generation = file.generation
      only.end = Math.min(only.end, this.tick())
      if (only.outcome === 'unknown') only.outcome = 'done'
    }
  }

  /** Someone found nothing at a path. */
  checkAbsent(path: string, since: number): void {
    const history = this.#history(path)
    const goings = history.changes.filter(({ kind, outcome }) => kind === 'gone' && outcome !== 'refused')
    const neverThere = !history.changes.some(({ end, outcome }) => outcome === 'done' && end < since)
    if (neverThere || goings.some((going) => !isOver(going, history, since))) return
    throw new Violation(`${path} was found to be absent, though a file was put there and not removed: ${describe(history)}`)
  }

  /** Someone was told that a file stands at a path. */
  checkPresentable(path: string, since: number): void {
    const history = this.#history(path)
    const puts = history.changes.filter(({ kind, outcome }) => kind === 'put' && outcome !== 'refused')
    if (puts.some((put) => !isOver(put, history, since))) return
    throw new Violation(`${path} was said to exist, though nothing was put there or it was removed: ${describe(history)}`)
  }

  /** What a manifest is known to hold. */
  contentOf(manifestId: string): Content | undefined {
    return this.#byManifest.get(manifestId)
  }

  /** What must be there now, if anything must: for reading all of it at the end. */
  mustExist(path: string): boolean {
    const { changes } = this.#history(path)
    const since = this.tick()
    const puts = changes.filter(({ kind, outcome, end }) => kind === 'put' && outcome === 'done' && end < since)
    const goings = changes.filter(({ kind, outcome }) => kind === 'gone' && outcome !== 'refused')
    return puts.length > 0 && goings.every((going) => isOver(going, this.#history(path), since))
  }

  #learn(history: PathHistory, path: string, file: { generation: number; manifestId: string }, content: Content): void {
    const known = history.contents.get(file.generation)
    if (known && known.id !== content.id)
      throw new Violation(`generation ${file.generation} of ${path} is content ${known.id} to one and ${content.id} to another`)
    history.contents.set(file.generation, content)
    this.#byManifest.set(file.manifestId, content)
  }

  #history(path: string): PathHistory {
    const known = this.#paths.get(path)
    if (known) return known
    const fresh: PathHistory = { changes: [], highest: 0, contents: new Map() }
    this.#paths.set(path, fresh)
    return fresh
  }
}

/** Whether an acknowledged change came wholly after this one and wholly before `since`. */
const isOver = (change: Change, { changes }: PathHistory, since: number): boolean =>
  changes.some((other) => other !== change && other.outcome === 'done' && other.start > change.end && other.end < since)

const describe = ({ changes }: PathHistory): string =>
  changes
    .slice(-12)
    .map(
      ({ what, content, generation, start, end, outcome }) =>
        `${what}${content ? ` ${content.id}` : ''}${generation === undefined ? '' : `@${generation}`} [${start}, ${end}] ${outcome}`,
    )
    .join('; ')
