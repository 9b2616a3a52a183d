/** Known bugs of masters: what counts as a copy, and what may be deleted. */
import { jest, type Mutant } from '../mutant.js'

const OPERATIONS = 'master/store/operations'
const FILES_SUITE = 'test/contract/metadata-store.test.ts'
const CHUNKS_SUITE = FILES_SUITE
const STALE = 'test/contract/stale-word.test.ts'

export const MASTER_MUTANTS: readonly Mutant[] = [
  {
    name: 'rows-of-a-gone-disk-agree',
    bug: 'A row on a disk that was taken out counts in the comparison: where its server holds the chunk now is never learnt.',
    file: 'master/store/operations/replicas.ts',
    find: '  if (rows.some((row) => isAway(row) && row.state !== ReplicaState.corrupt)) return undefined\n',
    replace: '',
    caughtBy: [
      jest(
        'test/contract/metadata-store.test.ts',
        'a row on a disk that is gone is compared, and moved to the disk on which its server holds the chunk now',
      ),
    ],
  },
  {
    name: 'acknowledge-at-one-copy',
    bug: 'An upload counts as safe with a single copy, whatever the bucket asks for.',
    file: `${OPERATIONS}/uploads.ts`,
    find: 'min_replicas: Math.min(policy.minReplicas, replicas),',
    replace: 'min_replicas: 1,',
    caughtBy: [jest(FILES_SUITE, 'a receipt is history: copies on a wiped disk or a dead server do not count at the commit')],
  },
  {
    name: 'commit-does-not-count',
    bug: 'Copies are counted when a chunk is reported, and not again at the commit.',
    file: `${OPERATIONS}/commit.ts`,
    find: '  if (weakest) throw',
    replace: '  if (weakest && weakest.copies < 0) throw',
    caughtBy: [jest(FILES_SUITE, 'a receipt is history: copies on a wiped disk or a dead server do not count at the commit')],
  },
  {
    name: 'suspect-counts-as-serving',
    bug: 'Copies on a server that has fallen silent count towards an acknowledgement.',
    file: `${OPERATIONS}/disks.ts`,
    find: "const countsAsServing = (state: string): boolean => state === 'serving'",
    replace: "const countsAsServing = (state: string): boolean => state === 'suspect' || state === 'serving'",
    caughtBy: [jest(FILES_SUITE, 'a receipt is history: copies on a wiped disk or a dead server do not count at the commit')],
  },
  {
    name: 'receipt-of-a-wiped-disk',
    bug: 'A receipt for a disk that was replaced since stands for a copy on the new one.',
    file: `${OPERATIONS}/replicas.ts`,
    find: ".where('disk_id', '=', p.disk).where('server_no', '=', p.server)",
    replace: ".where('server_no', '=', p.server)",
    caughtBy: [jest(FILES_SUITE, 'a receipt is history: copies on a wiped disk or a dead server do not count at the commit')],
  },
  {
    name: 'receipt-taken-for-a-copy',
    bug: 'A receipt stands for a copy though its server has told since that there is none.',
    file: `${OPERATIONS}/replicas.ts`,
    find: '  if (receipt.storeSeq > (toldSequence ?? 0)) return true\n',
    replace: '  if (receipt.storeSeq > (toldSequence ?? 0) || serverNo > 0) return true\n',
    caughtBy: [jest('test/sequences/receipts.test.ts', 'a receipt that its server has taken back since does not count')],
  },
  {
    name: 'counted-before-it-has-told',
    bug: 'A server that comes back counts as holding what it held before, though its directory was emptied.',
    file: `${OPERATIONS}/servers.ts`,
    find: "  if (row.state !== 'decommissioned' && (!sameLife || before.state === 'starting')) row.state = 'starting'\n",
    replace: '',
    caughtBy: [
      jest(
        'test/sequences/receipts.test.ts',
        'a commit does not count what a server that came back had before, until it has told what it still holds',
      ),
    ],
  },
  {
    name: 'receipts-not-checked',
    bug: "A receipt counts without its server's signature.",
    file: 'master/uploads/upload-service.ts',
    find: 'if (record && isReceiptGenuine(record.receiptKey, receipt))',
    replace: 'if (record)',
    caughtBy: [jest('test/sequences/receipts.test.ts', 'a receipt that its server has not signed does not count')],
  },
  {
    name: 'report-removes-younger-rows',
    bug: 'A list of copies that was taken before a receipt and delivered after it takes the new copy away.',
    file: `${OPERATIONS}/replicas.ts`,
    find: `row.store_seq > args.asOfSequence || row.state === ReplicaState.corrupt) continue
    yield* removeCopy(ctx, args.serverNo, row.chunk_id, args.asOfSequence)`,
    replace: `row.state === ReplicaState.corrupt) continue
    yield* removeCopy(ctx, args.serverNo, row.chunk_id, Number.MAX_SAFE_INTEGER)`,
    caughtBy: [jest('test/sequences/receipts.test.ts', 'a report taken before a receipt and delivered after it removes nothing')],
  },
  {
    name: 'overtaken-report-counts',
    bug: 'A list of copies brings back one that its server has told gone since.',
    file: 'master/cluster/cluster-service.ts',
    find: '    if (asOfSequence < this.#told.sequence(serverNo)) {\n',
    replace: '    if (asOfSequence < 0) {\n',
    caughtBy: [
      jest('test/sim/late-words.test.ts', 'a report that a later change has overtaken does not bring a removed copy back'),
    ],
  },
  {
    name: 'word-of-a-client-condemns',
    bug: 'A copy that a client calls bad counts no more, whatever the server finds on its disk.',
    file: 'master/api/routes.ts',
    find: "cluster.send(view.record.serverNo, { kind: 'verify', chunkIds: [params.chunkId] })",
    replace:
      "await store.applyChanges({ serverNo: view.record.serverNo, changes: [{ kind: 'corrupt', sequence: 2 ** 52, chunkId: params.chunkId }] })",
    caughtBy: [
      jest(
        'test/sequences/bad-memory.test.ts',
        'a client with bad memory that reports every good copy as corrupt, again and again, costs no copy',
      ),
    ],
  },
  {
    name: 'dead-server-keeps-its-incarnation',
    bug: 'A server that was declared dead comes back as who it was, and its old promises stand.',
    file: `${OPERATIONS}/servers.ts`,
    find: " && before.state !== 'dead'\n",
    replace: '\n',
    caughtBy: [
      jest(
        STALE,
        'a server declared dead comes back as another incarnation, though it is the same process; once, not at each try',
      ),
    ],
  },
  {
    name: 'trim-without-counting',
    bug: 'A copy is given up before there are enough others.',
    seenIn: 'several: balancers that delete the old copy before the new one is good',
    file: `${OPERATIONS}/surplus.ts`,
    find: "  if (!(yield* isGood ? hasAllCopies(chunk, 'lasting', own) : hasAllCopies(chunk, 'serving'))) return false\n",
    replace: '',
    caughtBy: [jest(CHUNKS_SUITE, 'a surplus copy is trimmed, but never below the wanted live copies')],
  },
  {
    name: 'late-trim',
    bug: 'A copy given up while there were enough is deleted when it is the last one left.',
    file: `${OPERATIONS}/garbage.ts`,
    find: "    if (row.state === ReplicaState.surplus && !(yield* hasAllCopies(chunk, 'lasting'))) continue\n",
    replace: '',
    caughtBy: [
      jest(
        'test/sequences/deletions.test.ts',
        'a delete command that waited for its server while the other copies died never leaves',
      ),
    ],
  },
  {
    name: 'surplus-never-given-back',
    bug: 'A copy that was given up never counts again, though it is the last one left.',
    file: 'master/gc/collector.ts',
    find: '    await store.giveBackSurplus(',
    replace: '    if (now < 0) await store.giveBackSurplus(',
    caughtBy: [
      jest(
        'test/sequences/deletions.test.ts',
        'a trim that wakes up late, when the other copies have died, gives its copy back instead of deleting it',
      ),
    ],
  },
  {
    name: 'surplus-given-back-at-once',
    bug: 'A copy counts again while the command that deletes it is on its way.',
    file: 'master/gc/collector.ts',
    find: 'before: now - COMMAND_LIFE_MS - COMMAND_LATE_MS',
    replace: 'before: now',
    caughtBy: [
      jest(
        'test/sequences/deletions.test.ts',
        'a surplus copy is given back only when no command for it can be on its way any more',
      ),
    ],
  },
  {
    name: 'stale-delete-command',
    bug: 'A delete command that waited is sent though its copy is not to be deleted any more.',
    file: `${OPERATIONS}/garbage.ts`,
    find: '    if (row?.state !== ReplicaState.deleting && row?.state !== ReplicaState.surplus) continue\n',
    replace: '    if (!row) continue\n',
    caughtBy: [
      jest('test/sim/late-words.test.ts', 'a delete command for a copy that is not to be deleted any more never leaves'),
    ],
  },
  {
    name: 'abort-deletes-committed',
    bug: 'Aborting an upload that is committed already takes the chunks of its file.',
    seenIn: 'SeaweedFS, issue 11382',
    file: `${OPERATIONS}/uploads.ts`,
    find: `  if (row.state === UploadState.committed) throw closed(uploadId)
  if (row.state === UploadState.open) yield* discard(ctx, row)
`,
    replace: `  if (row.state !== UploadState.aborted) {
    yield* closeUpload(ctx, row, UploadState.aborted)
    const take = statement((db, p: { id: Uint8Array }) => db.updateTable('manifests').set({ state: ManifestState.garbage }).where('manifest_id', '=', p.id))
    yield* run(take, { id: row.manifest_id })
  }
`,
    caughtBy: [jest('test/sequences/expiry.test.ts', 'aborting an upload that is committed leaves its file whole')],
  },
  {
    name: 'expiry-takes-active-uploads',
    bug: 'An upload session is ended though its writer was heard of a moment ago.',
    file: `${OPERATIONS}/uploads.ts`,
    find: '    streamsBefore: ctx.nowMs - STREAM_UPLOAD_KEPT_MS,\n',
    replace: '    streamsBefore: ctx.nowMs,\n',
    caughtBy: [
      jest(
        'test/sequences/expiry.test.ts',
        'an upload that was active within its time is not ended, an idle one is, and what was committed stays',
      ),
    ],
  },
  {
    name: 'collect-without-grace',
    bug: 'The chunks of a removed file go at once, under those who are reading it.',
    file: 'master/gc/collector.ts',
    find: 'store.collectManifests({ before: now - settings.garbageGraceMs',
    replace: 'store.collectManifests({ before: now',
    caughtBy: [
      jest('test/sequences/purge.test.ts', 'who began to read before the purge reads to the end, as long as the grace lasts'),
    ],
  },
  {
    name: 'delete-without-grace',
    bug: 'A chunk is deleted while tokens to write it are still good.',
    file: 'master/gc/collector.ts',
    find: 'store.markDeleting({ before: now - settings.garbageGraceMs',
    replace: 'store.markDeleting({ before: now',
    caughtBy: [
      jest(
        'test/sequences/expiry.test.ts',
        'what an aborted upload sent stays as long as a token for it may be used, and goes then',
      ),
    ],
  },
  {
    name: 'collect-what-is-referenced',
    bug: 'The manifest of a removed file is taken apart though a copy of the file shares it.',
    seenIn: 'several: garbage collection that does not see a second reference',
    file: `${OPERATIONS}/manifests.ts`,
    find: '  if (left.references > 0) return 0\n',
    replace: '',
    caughtBy: [
      jest(
        'test/sequences/purge.test.ts',
        'a copy made while the chunks of its purged source wait out their grace keeps them; purged too, they go',
      ),
    ],
  },
  {
    name: 'undelete-without-reference',
    bug: 'The trash is emptied without its entries being taken away: what is undeleted then has no chunks.',
    file: `${OPERATIONS}/names.ts`,
    find: '  yield* send(removeTrash, { id: entry.trash_id })\n  return yield* releaseManifest',
    replace: '  return yield* releaseManifest',
    caughtBy: [
      jest(
        'test/sequences/purge.test.ts',
        'an undeletion around the moment at which the trash is emptied brings the file back whole, or says that it is gone',
      ),
    ],
  },
  {
    name: 'orphans-deleted-at-once',
    bug: 'Copies that the metadata does not know are deleted when they are first seen.',
    file: 'master/gc/collector.ts',
    find: 'store.condemnOrphans({ before: now - settings.orphanGraceMs',
    replace: 'store.condemnOrphans({ before: now',
    caughtBy: [
      jest(
        'test/sequences/expiry.test.ts',
        'a copy of a chunk that the metadata does not know stays through its grace, and goes then',
      ),
    ],
  },
  {
    name: 'old-database-guard-off',
    bug: 'A master on an old or empty database deletes what it does not know.',
    file: 'master/cluster/cluster-service.ts',
    find: '    if (this.#deletionsHeld || !isLater(seen, own)) return\n',
    replace: '    if (this.#deletionsHeld || own || seen) return\n',
    caughtBy: [
      jest(
        'test/sequences/databases.test.ts',
        'an empty database of the same cluster, under chunkservers that have seen more, deletes nothing however long it waits',
      ),
    ],
  },
  {
    name: 'old-database-ends-what-is-due',
    bug: 'A master on an old database empties the trash and ends uploads that were gone on with since.',
    file: 'master/gc/collector.ts',
    find: '    if (this.#cluster.isBehind()) return\n',
    replace: '',
    caughtBy: [
      jest(
        'test/sequences/databases.test.ts',
        "yesterday's database under today's chunks ends nothing that was gone on with since: not the trash, no upload, no chunk",
      ),
    ],
  },
  {
    name: 'any-cluster-welcome',
    bug: 'A master takes in the chunkservers of another cluster, and their chunks for orphans.',
    file: 'master/cluster/cluster-service.ts',
    find: 'if (body.clusterId !== null && body.clusterId !== this.#context.clusterId) {',
    replace: "if (body.clusterId === '') {",
    caughtBy: [
      jest(
        'test/sequences/databases.test.ts',
        'an empty database that meets full chunkservers has nothing deleted, and the right one put back finds everything',
      ),
    ],
  },
]
