/** What clients change, one function per operation, each with what its outcome says about the state of the cluster. */
import { sleep } from '../../../common/clock/clock.js'
import type { Precondition } from '../../../common/protocol/precondition.js'
import { SECOND_MS } from '../../../common/units.js'
import { bytesOf, type Content } from './content.js'
import { judged, maybeAborted } from './judge.js'
import type { Change } from './model.js'
import { get, getLater, getRange, list } from './reads.js'
import type { Actor, Workload } from './workload.js'
import type { World } from './world.js'

const LOCAL_FILE = '/upload'
const PIECE_BYTES = 50_000
type Operation = (world: World, load: Workload, actor: Actor) => Promise<void>

const OPERATIONS: readonly { readonly name: string; readonly weight: number; readonly run: Operation }[] = [
  { name: 'put', weight: 26, run: putStream },
  { name: 'put-file', weight: 10, run: putFile },
  { name: 'get', weight: 22, run: get },
  { name: 'get-later', weight: 5, run: getLater },
  { name: 'get-range', weight: 6, run: getRange },
  { name: 'copy', weight: 6, run: copy },
  { name: 'rename', weight: 6, run: rename },
  { name: 'remove', weight: 6, run: (world, load, actor) => remove(world, load, actor, false) },
  { name: 'purge', weight: 4, run: (world, load, actor) => remove(world, load, actor, true) },
  { name: 'undelete', weight: 5, run: undelete },
  { name: 'list', weight: 4, run: list },
  { name: 'job', weight: 2, run: job },
]
const WEIGHT = OPERATIONS.reduce((sum, { weight }) => sum + weight, 0)

export async function performOperation(world: World, load: Workload, actor: Actor): Promise<void> {
  let draw = actor.random.fraction() * WEIGHT
  const chosen = OPERATIONS.find(({ weight }) => (draw -= weight) < 0) ?? OPERATIONS[0]
  if (!chosen) return
  const { name, run } = actor.unfinished ? { name: 'put-file', run: putFile } : chosen
  world.count('operations', name)
  await run(world, load, actor)
}

function drawCondition(world: World, actor: Actor, path: string): Precondition {
  const draw = actor.random.fraction()
  if (draw < 0.15) return { kind: 'absent' }
  const generation = world.model.highest(path)
  return draw < 0.25 && generation > 0 ? { kind: 'generation', generation } : { kind: 'none' }
}

async function* piecesOf(content: Content): AsyncGenerator<Uint8Array> {
  const bytes = bytesOf(content)
  for (let at = 0; at < bytes.length; at += PIECE_BYTES) yield bytes.subarray(at, at + PIECE_BYTES)
}

async function putStream(world: World, load: Workload, actor: Actor): Promise<void> {
  const { model } = world
  const path = load.anyPath(actor.random)
  const content = load.fresh(actor.random)
  const precondition = drawCondition(world, actor, path)
  const above = model.highest(path)
  const change = model.begin(path, 'put', 'put', content)
  const options = {
    precondition,
    ...maybeAborted(actor),
    ...(actor.random.fraction() < 0.5 ? { sizeBytes: content.sizeBytes } : {}),
  }
  await judged(
    world,
    actor,
    `put ${path} content ${content.id} (${content.sizeBytes} bytes, ${precondition.kind})`,
    [change],
    () => actor.process.client.uploadStream(piecesOf(content), path, options),
    (file) => model.done(change, file, above),
    (code) => {
      if (code === 'ALREADY_EXISTS') model.checkPresentable(path, change.start)
    },
  )
}

async function putFile(world: World, load: Workload, actor: Actor): Promise<void> {
  const { model } = world
  const { path, content, local } = actor.unfinished ?? {
    path: load.anyPath(actor.random),
    content: load.fresh(actor.random),
    local: LOCAL_FILE,
  }
  if (!actor.unfinished) await actor.disk.replaceFile(local, bytesOf(content))
  actor.unfinished = { path, content, local }
  const above = model.highest(path)
  const change = model.begin(path, 'put', 'put-file', content)
  await judged(
    world,
    actor,
    `put-file ${path} content ${content.id} (${content.sizeBytes} bytes)`,
    [change],
    () => actor.process.client.uploadFile(local, path, maybeAborted(actor)),
    (file) => {
      actor.unfinished = undefined
      model.done(change, file, above)
    },
  )
  // One that failed is tried again, but not for ever.
  if (actor.random.fraction() < 0.3) actor.unfinished = undefined
}

async function copy(world: World, load: Workload, actor: Actor): Promise<void> {
  const { model } = world
  const from = load.anyPath(actor.random)
  const to = load.anyPath(actor.random)
  const precondition = drawCondition(world, actor, to)
  const above = model.highest(to)
  const change = model.begin(to, 'put', `copy of ${from} to`)
  await judged(
    world,
    actor,
    `copy ${from} ${to} (${precondition.kind})`,
    [change],
    () => actor.process.client.copy(from, to, { precondition }),
    (file) => model.done(change, file, above),
    (code) => {
      if (code === 'FILE_NOT_FOUND') model.checkAbsent(from, change.start)
      if (code === 'ALREADY_EXISTS') model.checkPresentable(to, change.start)
    },
  )
}

async function rename(world: World, load: Workload, actor: Actor): Promise<void> {
  const { model } = world
  const from = load.anyPath(actor.random)
  const to = load.anyPath(actor.random)
  if (from === to) return
  const above = model.highest(to)
  const put = model.begin(to, 'put', `rename of ${from} to`)
  const gone = model.begin(from, 'gone', `rename to ${to} of`)
  await judged(
    world,
    actor,
    `rename ${from} ${to}`,
    [put, gone],
    () => actor.process.client.rename(from, to),
    (file) => {
      model.done(gone)
      model.done(put, file, above)
    },
    (code) => {
      if (code === 'FILE_NOT_FOUND') model.checkAbsent(from, put.start)
    },
  )
}

async function remove(world: World, load: Workload, actor: Actor, purge: boolean): Promise<void> {
  const { model } = world
  const path = load.anyPath(actor.random)
  const change = model.begin(path, 'gone', purge ? 'purge' : 'remove')
  await judged(
    world,
    actor,
    `${purge ? 'purge' : 'remove'} ${path}`,
    [change],
    () => actor.process.client.delete(path, { purge }),
    () => model.done(change),
    (code) => {
      if (code === 'FILE_NOT_FOUND') model.checkAbsent(path, change.start)
    },
  )
}

async function undelete(world: World, load: Workload, actor: Actor): Promise<void> {
  const { model } = world
  const path = load.anyPath(actor.random)
  const above = model.highest(path)
  const change = model.begin(path, 'put', 'undelete')
  await judged(
    world,
    actor,
    `undelete ${path}`,
    [change],
    () => actor.process.client.undelete(path),
    (file) => model.done(change, file, above),
    (code) => {
      if (code === 'ALREADY_EXISTS') model.checkPresentable(path, change.start)
    },
  )
}

/** Removes, moves or copies a directory. What the job does to each file nobody is told: it may have happened, or not. */
async function job(world: World, _load: Workload, actor: Actor): Promise<void> {
  const { model } = world
  const bucket = actor.random.integer(2)
  const from = `/b${bucket}/dir-${actor.random.integer(2)}/`
  const to = `/b${1 - bucket}/dir-${actor.random.integer(2)}/`
  const kind = (['delete-prefix', 'rename-prefix', 'copy-prefix'] as const)[actor.random.integer(3)] ?? 'delete-prefix'
  const changes: Change[] = []
  for (const name of ['f0', 'f1']) {
    if (kind !== 'copy-prefix') changes.push(model.begin(`${from}${name}`, 'gone', kind))
    if (kind !== 'delete-prefix') changes.push(model.begin(`${to}${name}`, 'put', kind))
  }
  await judged(
    world,
    actor,
    `job ${kind} ${from} ${to}`,
    changes,
    async () => {
      const body =
        kind === 'delete-prefix'
          ? { kind, from: from as never, purge: actor.random.fraction() < 0.5 }
          : { kind, from: from as never, to: to as never, overwrite: actor.random.fraction() < 0.5 }
      const created = await actor.process.client.api.call('createJob', { body })
      for (let polls = 0; polls < 20; polls += 1) {
        const now = await actor.process.client.api.call('getJob', { params: { jobId: created.id } })
        if (now.state !== 'running') return
        await sleep(actor.process.process, 3 * SECOND_MS)
      }
    },
    () => changes.forEach((change) => model.unknown(change)),
  )
}
