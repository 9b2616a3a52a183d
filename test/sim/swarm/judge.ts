/** Doing something as a client, and judging what comes of it. */
import { CairnError, isCairnError } from '../../../common/errors/cairn-error.js'
import type { ErrorCode } from '../../../common/errors/error-codes.js'
import { SECOND_MS } from '../../../common/units.js'
import { usableDisks } from './cluster-copies.js'
import { Violation, type Change } from './model.js'
import type { Actor } from './workload.js'
import type { World } from './world.js'

/** By which a change is known not to have happened. */
const REFUSALS: readonly ErrorCode[] = [
  'ALREADY_EXISTS',
  'PRECONDITION_FAILED',
  'FILE_NOT_FOUND',
  'TRASH_ENTRY_NOT_FOUND',
  'INVALID_ARGUMENT',
]
/** Never an answer, whatever goes wrong. */
const BUGS: readonly ErrorCode[] = ['INTERNAL', 'DATA_LOST', 'PROTOCOL_ERROR', 'REQUEST_ID_REUSED']

/**
 * Does something and judges its outcome. Nothing is judged once the process that began it is gone.
 * @param onDone told what was answered; @param onRefused told by which code the change was refused
 */
export async function judged<T>(
  world: World,
  actor: Actor,
  what: string,
  changes: readonly Change[],
  work: () => Promise<T>,
  onDone: (result: T) => void,
  onRefused: (code: ErrorCode) => void = () => undefined,
): Promise<void> {
  const mine = actor.process
  actor.pending.push(...changes)
  world.note(`${actor.name} ${what}`)
  let failure: unknown
  let result: T | undefined
  try {
    result = await work()
  } catch (error) {
    failure = error
  }
  if (actor.process !== mine) return
  actor.pending = actor.pending.filter((change) => !changes.includes(change))
  if (failure === undefined) {
    world.note(`${actor.name} ${what}: done`)
    world.check(() => onDone(result as T))
  } else {
    world.check(() => judgeFailure(world, actor, what, changes, failure, onRefused))
  }
}

function judgeFailure(
  world: World,
  actor: Actor,
  what: string,
  changes: readonly Change[],
  failure: unknown,
  onRefused: (code: ErrorCode) => void,
): void {
  if (failure instanceof Violation) throw failure
  if (!isCairnError(failure))
    throw new Violation(`${what} failed with ${failure instanceof Error ? failure.stack : String(failure)}`)
  world.note(`${actor.name} ${what}: ${failure.code} ${failure.message}`)
  if (BUGS.includes(failure.code) && !isExcused(world, failure.code))
    throw new Violation(`${what} failed with ${failure.code}: ${failure.message}`)
  const isRefused = REFUSALS.includes(failure.code)
  for (const change of changes) {
    if (isRefused) world.model.refused(change)
    else world.model.unknown(change)
  }
  if (isRefused) onRefused(failure.code)
}

/** A disk that has failed or was left out counts as gone, until its server is started again: what lies on it alone is lost for so long. */
const isExcused = (world: World, code: ErrorCode): boolean =>
  code === 'DATA_LOST' && world.members.some((server) => usableDisks(server) < server.disks.size)

/** A signal that aborts after a while, now and then. */
export function maybeAborted(actor: Actor): { readonly signal?: AbortSignal } {
  if (actor.random.fraction() >= 0.06) return {}
  const abort = new AbortController()
  actor.process.process.setTimer(actor.random.fraction() * 5 * SECOND_MS, () => abort.abort(new CairnError('ABORTED', 'enough')))
  return { signal: abort.signal }
}
