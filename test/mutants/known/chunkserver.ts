/** Known bugs of chunkservers: what is synced, verified, fenced, and which orders are obeyed. */
import { jest, type Mutant } from '../mutant.js'

const WRITER = 'chunkserver/store/chunk-file-writer.ts'
const STORE = 'chunkserver/store/file-chunk-store.ts'
const LINK = 'chunkserver/control/member-link.ts'
const PUT = 'chunkserver/data/put-chunk.ts'
const TOGETHER = 'chunkserver/data/put-together.ts'
const READER = 'chunkserver/store/chunk-file-reader.ts'

export const CHUNKSERVER_MUTANTS: readonly Mutant[] = [
  {
    name: 'skip-data-sync',
    bug: 'A chunk is acknowledged without its data ever being synced: a power cut loses it.',
    file: WRITER,
    find: "    await this.#disk.io('sync', () => this.#file.sync())\n",
    replace: '',
    caughtBy: [
      jest('test/sequences/acknowledged.test.ts', 'a chunk that was acknowledged is whole after a power cut in the next moment'),
    ],
  },
  {
    name: 'sync-after-acknowledging',
    bug: 'The sync is begun, but the acknowledgement does not wait for it.',
    file: WRITER,
    find: "    await this.#disk.io('sync', () => this.#file.sync())\n",
    replace: "    void this.#disk.io('sync', () => this.#file.sync()).catch(() => undefined)\n",
    caughtBy: [
      jest('test/sequences/acknowledged.test.ts', 'nothing is acknowledged before the data and then the name are synced'),
    ],
  },
  {
    name: 'start-counts-unsynced',
    bug: 'A start counts what a killed process had put in place and not synced: a power cut takes what the master was told of.',
    file: 'chunkserver/store/startup-scan.ts',
    find: '  if (ids.length > 0) await disk.syncDirectory(directory)\n',
    replace: '',
    caughtBy: [
      jest(
        'test/contract/chunk-store-restart.test.ts',
        'what a killed process had put in place without a sync outlives a power cut once a start has counted it',
      ),
    ],
  },
  {
    name: 'skip-directory-sync',
    bug: 'The data is synced, its name is not: after a power cut there is no such file.',
    file: STORE,
    find: '      await disk.syncDirectory(path.dirname(target))\n',
    replace: '',
    caughtBy: [
      jest('test/sequences/acknowledged.test.ts', 'a chunk that was acknowledged is whole after a power cut in the next moment'),
    ],
  },
  {
    name: 'send-before-verify',
    bug: 'A leaf is handed out first and compared with its checksum afterwards.',
    seenIn: 'SeaweedFS',
    file: READER,
    find: '      if (await this.#lookAgain(index, target, length)) return length\n',
    replace:
      '      void this.#lookAgain(index, target, length).then((good) => good || this.#report(corrupt(this.#footer.chunkId, "late"), index))\n      if (index >= 0) return length\n',
    caughtBy: [
      jest(
        'test/contract/chunk-store.test.ts',
        'a flipped bit is never handed out; the copy stops counting and its good leaves stay readable',
      ),
    ],
  },
  {
    name: 'ignore-the-fence',
    bug: 'A server that the masters may have declared dead goes on taking writes.',
    file: LINK,
    find: '    if (silentMs <= this.#settings.deadAfterMs / 2) return\n',
    replace: '    if (silentMs >= 0) return\n',
    caughtBy: [
      jest(
        'test/sequences/commands.test.ts',
        'a server that has not reached a master for half the dead time takes no writes, and takes them again once it has',
      ),
    ],
  },
  {
    name: 'fence-only-at-the-beginning',
    bug: 'Whether the server is cut off is asked when a write begins, not when it is acknowledged.',
    file: PUT,
    find: '      this.#context.members.checkFence()\n',
    replace: '',
    caughtBy: [
      jest(
        'test/sequences/commands.test.ts',
        'a write that began in time and ends after the server has lost its master is not acknowledged',
      ),
    ],
  },
  {
    name: 'fence-only-at-the-beginning-of-several',
    bug: 'The same where several small chunks come in one request.',
    file: TOGETHER,
    find: '    context.members.checkFence()\n    return',
    replace: '    return',
    caughtBy: [
      jest(
        'test/sequences/commands.test.ts',
        'small chunks in one request are not taken by a server that has lost its master, nor acknowledged if it has lost it meanwhile',
      ),
    ],
  },
  {
    name: 'sums-of-several-not-compared',
    bug: 'Of several small chunks in one request, one that was damaged on its way is stored and acknowledged.',
    file: TOGETHER,
    find: 'if (sum !== decodeLeafSums(leafSum)[0]) {',
    replace: 'if (decodeLeafSums(leafSum).length !== 1) {',
    caughtBy: [
      jest(
        'test/sim/small-files.test.ts',
        'of small chunks in one request those are stored that are in order, and each of the others is told why not',
      ),
    ],
  },
  {
    name: 'ignore-incarnation-in-capability',
    bug: 'A write token for an earlier life of a server is accepted.',
    file: 'chunkserver/data/write-capability.ts',
    find: '  if (target[1] !== membership.incarnation) {\n',
    replace: '  if (target[1] > membership.incarnation) {\n',
    caughtBy: [
      jest(
        'test/sim/partition.test.ts',
        'a server that was cut off until it was declared dead comes back as another incarnation, with its copies',
      ),
    ],
  },
  {
    name: 'arrived-sums-not-compared',
    bug: 'Bytes that were damaged on their way are stored and acknowledged under the sums of the damaged bytes.',
    file: PUT,
    find: '    if (wrong >= 0) {\n',
    replace: '    if (wrong > this.#sums.length) {\n',
    caughtBy: [
      jest(
        'test/sim/partition.test.ts',
        'a server that was cut off until it was declared dead comes back as another incarnation, with its copies',
      ),
    ],
  },
  {
    name: 'bad-mark-forgotten',
    bug: 'A copy found bad counts as good again after a restart.',
    file: 'chunkserver/store/startup-scan.ts',
    find: 'const good = markBytes === undefined',
    replace: 'const good = footer !== undefined',
    caughtBy: [
      jest(
        'test/contract/chunk-store-restart.test.ts',
        'a copy that was found bad does not count after a restart, and counts again once it is replaced',
      ),
    ],
  },
  {
    name: 'obey-a-master-that-is-behind',
    bug: 'A chunkserver deletes on the word of a master that knows less than it has seen.',
    file: LINK,
    find: 'return !behind && command.incarnation',
    replace: 'return command.incarnation',
    caughtBy: [
      jest('test/sequences/commands.test.ts', 'a delete command of a master at an earlier position than has been seen is void'),
    ],
  },
  {
    name: 'obey-orders-for-an-earlier-life',
    bug: 'A delete command that names an earlier incarnation of the server is carried out.',
    file: LINK,
    find: 'command.incarnation === this.membership().incarnation && ',
    replace: '',
    caughtBy: [jest('test/sequences/commands.test.ts', 'a delete command for an earlier life of the server is void')],
  },
  {
    name: 'obey-orders-that-expired-meanwhile',
    bug: 'A long delete command is carried out to its end though it has expired on the way.',
    file: 'chunkserver/chunkserver.ts',
    find: '      if (command.expiresMs < this.#link.masterNowMs()) break\n',
    replace: '',
    caughtBy: [
      jest('test/sequences/commands.test.ts', 'a delete command that expires while its list is worked off goes no further'),
    ],
  },
  {
    name: 'delete-what-came-later',
    bug: 'A delete command removes a copy that came after it had been given.',
    file: 'chunkserver/chunkserver.ts',
    find: '(this.store.find(chunkId)?.sequence ?? 0) <= asOfSequence',
    replace: '(this.store.find(chunkId)?.sequence ?? 0) <= asOfSequence + this.store.sequence',
    caughtBy: [
      jest(
        'test/sequences/deletions.test.ts',
        'a delete command that was on its way while its copy went and came anew leaves the new one alone',
      ),
    ],
  },
]
