/** Known bugs of clients: what they believe of servers, of sources, and of their own earlier runs. */
import { jest, type Mutant } from '../mutant.js'

const FETCHER = 'client/download/chunk-fetcher.ts'

export const CLIENT_MUTANTS: readonly Mutant[] = [
  {
    name: 'client-does-not-verify-leaves',
    bug: 'What a server sends is handed on without being compared with its checksum.',
    file: FETCHER,
    find: 'if (sum.digest() !== leafSums[fetch.next]) {',
    replace: 'if (leafSums.length === 0) {',
    caughtBy: [
      jest(
        'test/sequences/bad-memory.test.ts',
        'a bit that flips on the way from one server is never handed out: the leaf comes from another',
      ),
    ],
  },
  {
    name: 'client-believes-any-sums',
    bug: 'The checksums that a server sends are not compared with the manifest: it may send another chunk.',
    file: FETCHER,
    find: 'if (chunkRoot(chunk.sizeBytes, sums) !== chunk.root) {',
    replace: 'if (sums.length === 0) {',
    caughtBy: [
      jest(
        'test/sequences/bad-memory.test.ts',
        'other bytes with sums that fit them are never handed out: the sums are held against the manifest',
      ),
    ],
  },
  {
    name: 'resume-without-comparing',
    bug: 'Chunks of an earlier run are taken over though the local bytes are others by now.',
    file: 'client/upload/upload.ts',
    find: '    if ((await this.#localRoot(payload)) !== known.root) return undefined\n',
    replace: '',
    caughtBy: [
      jest(
        'test/sequences/one-path.test.ts',
        'a client whose file looks the same from afar takes the session over, and its own bytes are what is committed',
      ),
    ],
  },
  {
    name: 'retry-under-a-new-request-id',
    bug: 'A request that is sent again because its answer was lost gets another id, so that it is done twice.',
    file: 'client/master-api.ts',
    find: 'await this.#callOnce(name, input, requestId)',
    replace: 'await this.#callOnce(name, input, attempt > 0 ? this.#requestIds() : requestId)',
    caughtBy: [
      jest(
        'test/sequences/lost-answers.test.ts',
        'put --if-absent whose commit is answered into the void succeeds, and there is one file of one generation',
      ),
    ],
  },
]
