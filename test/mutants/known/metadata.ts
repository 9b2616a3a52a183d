/** Known bugs of the metadata itself: sessions, retries, conditions, and what is durable when it is answered. */
import { jest, type Mutant } from '../mutant.js'

const OPERATIONS = 'master/store/operations'
const FILES_SUITE = 'test/contract/metadata-store.test.ts'

export const METADATA_MUTANTS: readonly Mutant[] = [
  {
    name: 'ignore-writer-epoch',
    bug: 'A writer whose session was taken over goes on reporting and committing.',
    file: `${OPERATIONS}/uploads.ts`,
    find: '  if (row.writer_epoch !== writerEpoch) {\n',
    replace: '  if (row.writer_epoch < writerEpoch) {\n',
    caughtBy: [jest(FILES_SUITE, 'a session is taken up by who has the same source, and the older writer is refused')],
  },
  {
    name: 'adopt-another-source',
    bug: 'A client goes on with the interrupted upload of another file of the same size.',
    file: `${OPERATIONS}/uploads.ts`,
    find: "    .where('fingerprint', '=', p.fingerprint)\n",
    replace: '',
    caughtBy: [jest(FILES_SUITE, 'a session is taken up by who has the same source, and the older writer is refused')],
  },
  {
    name: 'take-over-of-active-sessions',
    bug: 'A session is taken over though its writer was active a moment ago.',
    file: `${OPERATIONS}/uploads.ts`,
    find: 'ctx.nowMs - row.active_ms >= UPLOAD_ACTIVE_MS',
    replace: 'ctx.nowMs - row.active_ms >= 0',
    caughtBy: [jest(FILES_SUITE, 'a session is taken up by who has the same source, and the older writer is refused')],
  },
  {
    name: 'ignore-request-ids',
    bug: 'A request whose answer was lost is done again when it is repeated.',
    file: `${OPERATIONS}/context.ts`,
    find: '  if (!request) return yield* work\n',
    replace: '  if (!request || request.id) return yield* work\n',
    caughtBy: [
      jest(
        'test/sequences/lost-answers.test.ts',
        'rm whose answer is lost is done once: asked again it is neither "not found" nor a second deletion',
      ),
    ],
  },
  {
    name: 'precondition-outside-the-transaction',
    bug: 'Whether a path is free is asked when the upload opens, not in the transaction that puts the file there.',
    file: `${OPERATIONS}/commit.ts`,
    find: '  checkPrecondition(JSON.parse(upload.precondition) as Precondition, upload.path, current?.generation)\n',
    replace: '',
    caughtBy: [jest(FILES_SUITE, 'overwriting raises the generation; conditions on it hold')],
  },
  {
    name: 'commit-without-checksum',
    bug: "The draft is committed though it is not what the client's checksum names.",
    file: `${OPERATIONS}/commit.ts`,
    find: '  if (checksum !== claim.checksum) throw',
    replace: '  if (checksum === claim.checksum && rows.length < 0) throw',
    caughtBy: [jest(FILES_SUITE, 'a commit that does not match the reported chunks changes nothing, and the session stays open')],
  },
  {
    name: 'copies-side-by-side',
    bug: 'A file is acknowledged with all its copies in one of several zones.',
    file: `${OPERATIONS}/commit.ts`,
    find: '  if (rule && close) throw',
    replace: '  if (rule && close && close.index < 0) throw',
    caughtBy: [
      jest(
        FILES_SUITE,
        'copies in one of them are not enough: the chunk is to be sent again, and a copy in the other makes it whole',
      ),
    ],
  },
  {
    name: 'answer-before-commit',
    bug: 'A change of the metadata is answered before its transaction is committed.',
    file: 'master/store/engine/write-batch.ts',
    find: "    connection.control('COMMIT')\n",
    replace: "    setImmediate(() => native.inTransaction && connection.control('COMMIT'))\n",
    caughtBy: [jest(FILES_SUITE, 'a committed upload is visible whole, with its chunks in order')],
  },
  {
    name: 'metadata-not-synced',
    bug: 'The database answers before its log is on the disk.',
    file: 'master/store/engine/sqlite-connection.ts',
    find: "pragma('synchronous = FULL')",
    replace: "pragma('synchronous = OFF')",
    caughtBy: [jest('test/sequences/acknowledged.test.ts', 'the metadata is written with a log that is synced at each commit')],
  },
]
