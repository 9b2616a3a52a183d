/** One seed from start to end. */
import { setTimeout as realPause } from 'node:timers/promises'
import { Atlas } from './atlas.js'
import { converge, endTroubles, readEverything, rest } from './calm.js'
import { aroundStore, checkRemoval, ghost } from './check-copies.js'
import { checkMetadata } from './check-metadata.js'
import { Nemesis } from './nemesis.js'
import { Operator } from './operator.js'
import { drawPlan } from './plan.js'
import { Rows } from './rows.js'
import { Trace } from './trace.js'
import { Workload } from './workload.js'
import { World, type Figures } from './world.js'

export interface SeedResult {
  readonly seed: number
  readonly violations: readonly string[]
  readonly hash: string
  readonly events: number
  readonly virtualMs: number
  readonly figures: Figures
}

/** How often the metadata as a whole is looked at. */
const CHECK_EVERY_MS = 2_500

export async function runSeed(seed: number, print?: (line: string) => void): Promise<SeedResult> {
  const plan = drawPlan(seed)
  const trace = new Trace(print)
  print?.(JSON.stringify(plan))
  let rows: Rows | undefined
  const world = await World.open(plan, trace, {
    aroundStore: (current, operation, args) => (rows ? aroundStore(current, rows, operation, args) : undefined),
    onRemoval: (current, node, _operation, file, target) => {
      const known = rows
      if (known) current.check(() => checkRemoval(current, known, node, file))
      const arrived = /\/chunks\/..\/([0-9a-f]{32})\.chunk$/.exec(target)?.[1]
      if (arrived) current.destroyed.delete(ghost(node, arrived))
      for (const files of current.unreadable.values()) files.delete(file)
    },
  })
  const onRejection = (error: unknown): void =>
    world.fail(`a promise broke and nobody looked: ${error instanceof Error ? error.stack : String(error)}`)
  process.on('unhandledRejection', onRejection)
  try {
    rows = new Rows(world.cluster)
    await runPhases(world, rows)
    // Rejections that nobody looks at are told between two turns of the event loop.
    await realPause(0)
  } catch (error) {
    world.fail(`the run broke: ${error instanceof Error ? error.stack : String(error)}`)
  } finally {
    process.off('unhandledRejection', onRejection)
    world.cluster.database.close()
  }
  Object.assign(
    world.figures.faults,
    Object.fromEntries(Object.entries(world.network.counts).map(([name, count]) => [`message-${name}`, count])),
  )
  return {
    seed,
    violations: world.violations,
    hash: trace.hash(),
    events: trace.count,
    virtualMs: world.nowMs,
    figures: world.figures,
  }
}

async function runPhases(world: World, rows: Rows): Promise<void> {
  const { cluster, plan } = world
  const isBroken = (): boolean => world.violations.length > 0
  for (const { name, policy } of plan.buckets) await cluster.store.putBucket({ name, changes: policy, defaults: policy })
  const load = new Workload(world)
  const operator = new Operator(world)
  new Nemesis(world, load, new Atlas(world, rows), operator)
  for (let untilMs = plan.faultsMs; cluster.clock.monotonic() < untilMs && !isBroken();) {
    await cluster.clock.advance(CHECK_EVERY_MS)
    world.check(() => checkMetadata(rows))
  }
  if (isBroken()) return
  await endTroubles(world, load)
  await cluster.run(operator.settle())
  if (isBroken()) return
  await converge(world, rows, false)
  if (isBroken()) return
  await readEverything(world)
  if (isBroken()) return
  if (world.gone.size > 0) {
    await cluster.run(operator.removeLost())
    await converge(world, rows, false)
  }
  if (isBroken() || !plan.rests) return
  await rest(world)
  await converge(world, rows, true)
  if (!isBroken()) await readEverything(world)
}
