/**
 * What must hold of the copies on disks, checked in the moment when something is answered or taken away: a commit stands
 * for synced copies, and no copy that counts is ever removed.
 */
import { chunkFile, chunkIn, goodHolders, isGood, recordsOn } from './cluster-copies.js'
import { Violation } from './model.js'
import { hex, raw, type Rows } from './rows.js'
import type { World } from './world.js'

const ReplicaState = { good: 0 } as const
const LIVE = 1
const OPEN = 0
const COMMITTED = 1

/** Copies that we have destroyed and of which the metadata cannot know yet: by server and chunk. */
export const ghost = (node: string, chunkId: string): string => `${node} ${chunkId}`

/** The servers on which a chunk's copies are, or would be had we not destroyed them behind everyone's back. */
function holders(world: World, rows: Rows, chunkId: string): Set<string> {
  const nodes = new Set(goodHolders(world.cluster.servers, chunkId, world.unreadable).map((server) => server.node))
  for (const row of rows.replicas(chunkId)) {
    const server = rows.serverOf(row)
    if (row.state === ReplicaState.good && server && world.destroyed.has(ghost(server.node, chunkId))) nodes.add(server.node)
  }
  return nodes
}

interface UploadRow {
  readonly path: string
  readonly state: number
  readonly min_replicas: number
  readonly manifest_id: Uint8Array
}

/** What has to hold right after an operation, given how things were right before it. */
export function aroundStore(world: World, rows: Rows, operation: string, args: unknown): (() => void) | undefined {
  if (operation === 'commitUpload' || operation === 'finishUpload') {
    const { uploadId } = args as { readonly uploadId: string }
    const find = (): UploadRow | undefined => rows.one('select * from uploads where upload_id = ?', raw(uploadId))
    if (find()?.state !== OPEN) return undefined
    return () => {
      const upload = find()
      if (upload?.state === COMMITTED) world.check(() => checkCommit(world, rows, upload))
    }
  }
  if (operation === 'trimReplica') {
    const { chunkId, serverNo } = args as { readonly chunkId: string; readonly serverNo: number }
    const isGood = (): boolean =>
      rows.replicas(chunkId).some((row) => row.server_no === serverNo && row.state === ReplicaState.good)
    if (!isGood()) return undefined
    return () => {
      if (!isGood()) world.check(() => checkTrim(rows, chunkId))
    }
  }
  return undefined
}

/** An acknowledged commit: each chunk is durable on at least minReplicas servers. */
function checkCommit(world: World, rows: Rows, upload: UploadRow): void {
  const chunks = rows.all<{ chunk_id: Uint8Array }>(
    'select chunk_id from manifest_chunks where manifest_id = ?',
    upload.manifest_id,
  )
  for (const { chunk_id: id } of chunks) {
    const chunkId = hex(id)
    const nodes = holders(world, rows, chunkId)
    if (nodes.size >= upload.min_replicas) continue
    throw new Violation(
      `${upload.path} was acknowledged with ${nodes.size} durable copies of chunk ${chunkId} (${[...nodes].join(', ')}), ${upload.min_replicas} are promised`,
    )
  }
}

/** A copy that is to go by decision of the metadata: enough others must count. */
function checkTrim(rows: Rows, chunkId: string): void {
  const chunk = rows.chunk(chunkId)
  if (!chunk || chunk.state !== LIVE) return
  const serving = rows.replicas(chunkId).filter((row) => row.state === ReplicaState.good && row.serving === 1).length
  if (serving < chunk.wanted)
    throw new Violation(`a copy of chunk ${chunkId} was given up with ${serving} of ${chunk.wanted} left`)
}

/** A pack that a server is about to remove: what counts in it must count elsewhere on that server by now. */
function checkPackRemoval(world: World, rows: Rows, node: string, file: string): void {
  const server = world.cluster.servers.find((candidate) => candidate.node === node)
  const directory = file.slice(0, file.indexOf('/', 1))
  const disk = server?.disks.get(directory)
  if (!server || !disk) return
  const without = recordsOn(disk, directory, (other) => (other === file ? undefined : disk.durable(other)))
  for (const [chunkId, record] of recordsOn(disk, directory, (other) => disk.peek(other))) {
    if (record.file !== file || !record.isSound || without.get(chunkId)?.isSound) continue
    if (rows.chunk(chunkId)?.state !== LIVE || !rows.isReferenced(chunkId)) continue
    const row = rows.replicas(chunkId).find((candidate) => rows.serverOf(candidate) === server)
    const elsewhere = [...server.disks].some(([at, other]) => other !== disk && isGood(other, at, chunkId, world.unreadable))
    const asFile = disk.durable(chunkFile(directory, chunkId))
    if (row?.state === ReplicaState.good && row.serving === 1 && !elsewhere && !asFile)
      throw new Violation(`${node} removed the pack ${file} with its good copy of chunk ${chunkId}, which the metadata counts on`)
  }
}

/** A chunk file that a server is about to take away: not when its copy is good and counts. */
export function checkRemoval(world: World, rows: Rows, node: string, file: string): void {
  if (/\/packs\/[0-9a-f]{8}\.pack$/.test(file)) return checkPackRemoval(world, rows, node, file)
  const chunkId = /\/chunks\/..\/([0-9a-f]{32})\.chunk$/.exec(file)?.[1]
  const server = world.cluster.servers.find((candidate) => candidate.node === node)
  const directory = file.slice(0, file.indexOf('/', 1))
  const disk = server?.disks.get(directory)
  if (!chunkId || !server || !disk || world.unreadable.get(disk)?.has(file)) return
  const bytes = disk.peek(file)
  if (!bytes || chunkIn(bytes)?.chunkId !== chunkId || disk.peek(file.replace(/chunk$/, 'bad'))) return
  if (rows.chunk(chunkId)?.state !== LIVE || !rows.isReferenced(chunkId)) return
  // One copy per server counts: of two, one that is good or at least newer stays.
  const writtenMs = disk.peekModifiedMs(file) ?? 0
  const onOtherDisk = [...server.disks].some(
    ([other, at]) =>
      other !== directory &&
      (isGood(at, other, chunkId, world.unreadable) || (at.peekModifiedMs(chunkFile(other, chunkId)) ?? 0) > writtenMs),
  )
  if (onOtherDisk) return
  const row = rows.replicas(chunkId).find((candidate) => rows.serverOf(candidate) === server)
  if (row?.state === ReplicaState.good && row.serving === 1) {
    throw new Violation(`${node} took its good copy of chunk ${chunkId} away, which the metadata counts on`)
  }
}
