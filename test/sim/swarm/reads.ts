/** What clients read, and what it says about the state of the cluster. */
import { sleep } from '../../../common/clock/clock.js'
import { isCairnError } from '../../../common/errors/cairn-error.js'
import type { FileInfo } from '../../../common/protocol/files.js'
import { identify, type Content } from './content.js'
import { judged, maybeAborted } from './judge.js'
import { Violation } from './model.js'
import type { Actor, Workload } from './workload.js'
import type { World } from './world.js'

/** Reads a range, or all, and says which content it is. */
async function read(
  world: World,
  actor: Actor,
  file: FileInfo,
  range?: { readonly start: number; readonly end: number },
  expected?: Content,
): Promise<Content | undefined> {
  const out = new Uint8Array(range ? Math.min(range.end, file.sizeBytes) - range.start : file.sizeBytes)
  let at = 0
  for await (const piece of actor.process.client.download(file, { ...(range ? { range } : {}), ...maybeAborted(actor) })) {
    out.set(piece, at)
    at += piece.length
  }
  if (at !== out.length) throw new Violation(`${file.path} gave ${at} bytes instead of ${out.length}`)
  const content = identify(out, range?.start ?? 0, expected)
  if (!content && (expected || !range))
    throw new Violation(`${file.path} (generation ${file.generation}) gave bytes that were never put anywhere`)
  if (content && !range && content.sizeBytes !== file.sizeBytes)
    throw new Violation(`${file.path} gave ${file.sizeBytes} bytes of content ${content.id}, which has ${content.sizeBytes}`)
  world.figures.bytesVerified += out.length
  return content
}

export async function get(world: World, load: Workload, actor: Actor): Promise<void> {
  await readPath(world, actor, load.anyPath(actor.random))
}

/** Reads what stands at a path and compares it with what may be there. @param surely nothing stands in the way of reading it */
export async function readPath(world: World, actor: Actor, path: string, surely = false): Promise<void> {
  const { model } = world
  const since = model.tick()
  const above = model.highest(path)
  let file: FileInfo | undefined
  await judged(
    world,
    actor,
    `get ${path}`,
    [],
    async () => {
      try {
        file = await actor.process.client.stat(path)
        return await read(world, actor, file)
      } catch (error) {
        if (!surely || (!file && isCairnError(error, 'FILE_NOT_FOUND'))) throw error
        throw new Violation(
          `${path} could not be read, with all in order: ${error instanceof Error ? error.message : String(error)}`,
        )
      }
    },
    (content) => file && model.checkFound(path, since, above, file, content),
    // Gone between the look-up and the end of reading it is no news about now.
    () => file === undefined && model.checkAbsent(path, since),
  )
}

/** Someone who looks a file up and reads it a while later must get it, even if it was removed meanwhile: that is what the grace is for. */
export async function getLater(world: World, load: Workload, actor: Actor): Promise<void> {
  const { model, plan } = world
  const path = load.anyPath(actor.random)
  const since = model.tick()
  const above = model.highest(path)
  const graceMs = plan.settings.garbageGraceMs ?? 0
  let file: FileInfo | undefined
  let startedMs = world.nowMs
  await judged(
    world,
    actor,
    `get-later ${path}`,
    [],
    async () => {
      startedMs = world.nowMs
      file = await actor.process.client.stat(path)
      await sleep(actor.process.process, actor.random.fraction() * graceMs * 0.8)
      return await read(world, actor, file)
    },
    (content) => file && model.checkFound(path, since, above, file, content),
    (code) => {
      if (!file) return model.checkAbsent(path, since)
      const jumped = world.lastMasterJumpMs >= startedMs - graceMs
      if (world.nowMs - startedMs < graceMs * 0.9 && !jumped)
        throw new Violation(`${path} (generation ${file.generation}) was taken from its reader within the grace: ${code}`)
    },
  )
}

export async function getRange(world: World, load: Workload, actor: Actor): Promise<void> {
  const path = load.anyPath(actor.random)
  await judged(
    world,
    actor,
    `get-range ${path}`,
    [],
    async () => {
      const file = await actor.process.client.stat(path)
      const expected = world.model.contentOf(file.manifestId)
      if (file.sizeBytes === 0 || (expected && expected.sizeBytes !== file.sizeBytes)) return
      const start = actor.random.integer(file.sizeBytes)
      const end = start + 1 + actor.random.integer(file.sizeBytes - start)
      await read(world, actor, file, { start, end }, expected)
    },
    () => undefined,
  )
}

export async function list(world: World, _load: Workload, actor: Actor): Promise<void> {
  const { model } = world
  const prefix = `/b${actor.random.integer(2)}/`
  const since = model.tick()
  const known = model.paths().filter((path) => path.startsWith(prefix))
  const above = new Map(known.map((path) => [path, model.highest(path)]))
  await judged(
    world,
    actor,
    `list ${prefix}`,
    [],
    async () => {
      const found = new Map<string, number>()
      for await (const entry of actor.process.client.list(prefix))
        if (entry.kind === 'file') found.set(entry.path, entry.generation)
      return found
    },
    (found) => {
      for (const path of known) {
        const generation = found.get(path)
        if (generation === undefined) model.checkAbsent(path, since)
        else model.checkFound(path, since, above.get(path) ?? 0, { generation, manifestId: '' }, undefined)
      }
    },
  )
}
