/** repair …: how much re-replication may take for itself, and which chunks it cannot help. */
import type { Command } from 'commander'
import { Argument } from 'commander'
import { repairSpeed, type RepairSpeed } from '../../common/protocol/cluster.js'
import type { ChunkId } from '../../common/ids.js'
import { formatSize } from '../../common/units.js'
import { addGlobalOptions, print, withClient, type GlobalOptions } from '../context.js'

export function registerRepair(program: Command): void {
  const repair = program.command('repair').description('re-replication: its speed, and chunks that it cannot help')
  addGlobalOptions(repair.command('speed'))
    .addArgument(new Argument('[speed]', 'how much it may take while clients are at work').choices(repairSpeed.options))
    .description('show or set the speed; in effect within a heartbeat')
    .action((speed: RepairSpeed | undefined, flags: GlobalOptions) =>
      withClient(flags, async (client) => {
        const now = await (speed ? client.api.call('setRepair', { body: { speed } }) : client.api.call('getRepair', {}))
        print(flags, now, () => now.speed)
      }),
    )
  addGlobalOptions(repair.command('failing'))
    .description('chunks without a live copy, and those that repair has tried in vain several times')
    .action((flags: GlobalOptions) => failing(flags))
}

async function failing(flags: GlobalOptions): Promise<void> {
  await withClient(flags, async (client) => {
    for (let after: ChunkId | null | undefined; after !== null;) {
      const page = await client.api.call('listFailingChunks', { query: after === undefined ? {} : { after } })
      for (const chunk of page.chunks) {
        print(
          flags,
          chunk,
          () =>
            `${chunk.id}  ${chunk.problem}  ${chunk.liveCopies} of ${chunk.wantedCopies} copies  ${formatSize(chunk.sizeBytes)}  ${chunk.attempts} attempts  ${chunk.lastError ?? ''}`,
        )
      }
      after = page.next
    }
  })
}
