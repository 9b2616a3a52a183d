/** The disks of chunkservers: which there are, and whether copies on them count. */
import { CairnError } from '../../../common/errors/cairn-error.js'
import type { DiskReport } from '../../../common/protocol/cluster.js'
import { toBytes, toHex } from '../codec.js'
import { all, one, send, statement, type Operation } from '../engine/statement.js'
import type { DiskTable, ServerTable } from '../schema.js'

const disksOf = statement((db, p: { server: number }) => db.selectFrom('disks').selectAll().where('server_no', '=', p.server))
export const findDisk = statement((db, p: { id: Uint8Array }) => db.selectFrom('disks').selectAll().where('disk_id', '=', p.id))
const highestDisk = statement((db, _p: object) =>
  db.selectFrom('disks').select((eb) => eb.fn.max<number | null>('disk_no').as('highest')),
)
const insertDisk = statement((db, p: DiskTable) =>
  db.insertInto('disks').values({
    disk_no: p.disk_no,
    disk_id: p.disk_id,
    server_no: p.server_no,
    path: p.path,
    state: p.state,
    serving: p.serving,
    reachable: p.reachable,
    lasting: p.lasting,
  }),
)
const updateDisk = statement((db, p: { disk: number; path: string; state: string } & DiskFlags) =>
  db
    .updateTable('disks')
    .set({ path: p.path, state: p.state, serving: p.serving, reachable: p.reachable, lasting: p.lasting })
    .where('disk_no', '=', p.disk),
)

const countsAsServing = (state: string): boolean => state === 'serving' || state === 'draining'
const countsAsReachable = (state: string): boolean =>
  countsAsServing(state) || state === 'starting' || state === 'suspect' || state === 'maintenance'

export type DiskFlags = Pick<DiskTable, 'serving' | 'reachable' | 'lasting'>

const GONE: DiskFlags = { serving: 0, reachable: 0, lasting: 0 }

function flags(serverState: string, diskState: string): DiskFlags {
  if (diskState !== 'ok' && diskState !== 'full') return GONE
  return {
    serving: countsAsServing(serverState) ? 1 : 0,
    reachable: countsAsReachable(serverState) ? 1 : 0,
    lasting: serverState === 'serving' ? 1 : 0,
  }
}

/** Gives the disks of a server the flags that its new state means. */
export function* applyState(server: number, state: string): Operation<void> {
  for (const disk of yield* all(disksOf, { server }))
    yield* send(updateDisk, { disk: disk.disk_no, path: disk.path, state: disk.state, ...flags(state, disk.state) })
}

const isOther = (row: DiskFlags, now: DiskFlags): boolean =>
  row.serving !== now.serving || row.reachable !== now.reachable || row.lasting !== now.lasting

/** Makes a server's disk rows agree with what it says. A disk that it no longer names does not count any more. */
export function* syncDisks(server: Pick<ServerTable, 'server_no' | 'state'>, reports: readonly DiskReport[]): Operation<boolean> {
  let changed = false
  const named = new Set(reports.map((report) => report.diskId as string))
  for (const report of reports) {
    const row = yield* one(findDisk, { id: toBytes(report.diskId) })
    if (row && row.server_no !== server.server_no) {
      throw new CairnError(
        'SERVER_ID_CONFLICT',
        `Disk ${report.diskId} (${report.path}) belongs to another server: the directory was copied. Remove disk.json from the copy.`,
      )
    }
    const now = flags(server.state, report.state)
    if (!row) {
      const next = ((yield* one(highestDisk, {}))?.highest ?? 0) + 1
      yield* send(insertDisk, {
        disk_no: next,
        disk_id: toBytes(report.diskId),
        server_no: server.server_no,
        path: report.path,
        state: report.state,
        ...now,
      })
    } else if (isOther(row, now) || row.state !== report.state || row.path !== report.path) {
      yield* send(updateDisk, { disk: row.disk_no, path: report.path, state: report.state, ...now })
      changed ||= isOther(row, now)
    }
  }
  for (const row of yield* all(disksOf, { server: server.server_no })) {
    if (named.has(toHex(row.disk_id)) || row.state === 'absent') continue
    yield* send(updateDisk, { disk: row.disk_no, path: row.path, state: 'absent', ...GONE })
    changed = true
  }
  return changed
}
