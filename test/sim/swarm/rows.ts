/** The rows of the metadata, as checkers ask for them: straight from the database, past everything that is being checked. */
import type { SimCluster, SimServer } from '../../support/sim-cluster.js'

export interface ReplicaRow {
  readonly server_no: number
  readonly state: number
  readonly serving: number
  readonly disk_id: Uint8Array
}

export interface ChunkRow {
  readonly chunk_id: Uint8Array
  readonly state: number
  readonly wanted: number
  readonly length_bytes: number
  readonly changed_ms: number
}

export const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')
export const raw = (id: string): Buffer => Buffer.from(id, 'hex')

interface Prepared {
  all(...params: readonly unknown[]): unknown[]
  get(...params: readonly unknown[]): unknown
}

export class Rows {
  readonly #cluster: SimCluster
  readonly #prepared = new Map<string, Prepared>()
  readonly #formerly = new Map<string, SimServer>()

  constructor(cluster: SimCluster) {
    this.#cluster = cluster
  }

  all<Row>(sql: string, ...params: readonly unknown[]): Row[] {
    return this.#statement(sql).all(...params) as Row[]
  }

  one<Row>(sql: string, ...params: readonly unknown[]): Row | undefined {
    return this.#statement(sql).get(...params) as Row | undefined
  }

  chunk(chunkId: string): ChunkRow | undefined {
    return this.one('select * from chunks where chunk_id = ?', raw(chunkId))
  }

  replicas(chunkId: string): ReplicaRow[] {
    return this.all(
      'select r.server_no, r.state, d.serving, d.disk_id from replicas r join disks d on d.disk_no = r.disk_no where r.chunk_id = ?',
      raw(chunkId),
    )
  }

  /** Whether the server of a copy is being emptied: its copies are given up once others stand for them. */
  isLeaving(row: ReplicaRow): boolean {
    const server = this.one<{ intent: string }>('select intent from servers where server_no = ?', row.server_no)
    return server?.intent === 'drain' || server?.intent === 'removed'
  }

  /** Whether any file, in the trash or not, or any open upload holds the chunk. */
  isReferenced(chunkId: string): boolean {
    return (
      this.one(
        `select 1 from manifest_chunks mc join manifests m on m.manifest_id = mc.manifest_id
         where mc.chunk_id = ? and m.state <> 2 limit 1`,
        raw(chunkId),
      ) !== undefined
    )
  }

  /** The server whose disk a row means. */
  serverOf(row: ReplicaRow): SimServer | undefined {
    const id = hex(row.disk_id)
    return this.#cluster.servers.find((server) => diskIdsOf(server).includes(id)) ?? this.#formerly.get(id)
  }

  /** Remembers which disks a server has: one that is taken out stays in the rows until the master hears of it. */
  remember(server: SimServer): void {
    for (const id of diskIdsOf(server)) this.#formerly.set(id, server)
  }

  #statement(sql: string): Prepared {
    const known = this.#prepared.get(sql)
    if (known) return known
    const prepared = this.#cluster.database.native.prepare(sql) as unknown as Prepared
    this.#prepared.set(sql, prepared)
    return prepared
  }
}

/** Who a server is, as the first of its disks that knows says. */
export function serverIdOf(server: SimServer): string | undefined {
  for (const [directory, disk] of server.disks) {
    const bytes = disk.peek(`${directory}/disk.json`)
    const id = bytes && /"serverId": "([0-9a-f]{32})"/.exec(Buffer.from(bytes).toString())?.[1]
    if (id) return id
  }
  return undefined
}

export function diskIdsOf(server: SimServer): string[] {
  const ids: string[] = []
  for (const [directory, disk] of server.disks) {
    const bytes = disk.peek(`${directory}/disk.json`)
    const id = bytes && /"diskId": "([0-9a-f]{32})"/.exec(Buffer.from(bytes).toString())?.[1]
    if (id) ids.push(id)
  }
  return ids
}
