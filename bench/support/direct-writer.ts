/** `node direct-writer.js FILE BYTES`: writes a file past the page cache and prints when it began and ended. */
import { BlockPool } from '../../common/bytes/block-pool.js'
import { alignUp } from '../../common/disk/disk.js'
import { NodeDisk } from '../../common/disk/node-disk.js'
import { MiB } from '../../common/units.js'
import { randomPieces } from './random-data.js'

const [file, size] = process.argv.slice(2)
if (file === undefined || size === undefined) throw new Error('node direct-writer.js FILE BYTES')
const sizeBytes = Number(size)
const block = await new BlockPool(1).acquire()
for (const piece of randomPieces(MiB, process.pid)) block.bytes.set(piece)
const target = await new NodeDisk().openFile(file, { mode: 'create', direct: true })
// All processes of a machine share this clock, so that the spans of several writers can be joined.
const nowMs = (): number => Number(process.hrtime.bigint()) / 1e6
const startedMs = nowMs()
for (let position = 0; position < sizeBytes; position += MiB) {
  await target.write(block.bytes.subarray(0, alignUp(Math.min(MiB, sizeBytes - position))), position)
}
await target.sync()
process.stdout.write(`${JSON.stringify({ startedMs, endedMs: nowMs(), direct: target.direct })}\n`)
await target.close()
