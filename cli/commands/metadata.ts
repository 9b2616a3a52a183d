/** metadata: whether this master's metadata is what the chunkservers know, and deciding that it is. */
import type { Command } from 'commander'
import type { CairnClient } from '../../client/index.js'
import { CairnError } from '../../common/errors/cairn-error.js'
import { addGlobalOptions, print, withClient, type GlobalOptions } from '../context.js'

interface AcceptFlags extends GlobalOptions {
  readonly yes?: boolean
}

export function registerMetadata(program: Command): void {
  const metadata = program.command('metadata').description("the safety of the master's own database")
  addGlobalOptions(metadata.command('status'))
    .description('how far the metadata is, what chunkservers have seen of it, and whether deletions are held back')
    .action((flags: GlobalOptions) => withClient(flags, (client) => status(client, flags)))
  addGlobalOptions(metadata.command('accept'))
    .description('after an older database was put back: declare it to be what counts. Without --yes it only shows the plan')
    .option('--yes', 'do it')
    .action((flags: AcceptFlags) => withClient(flags, (client) => accept(client, flags)))
}

interface Position {
  readonly epoch: number
  readonly position: number
}

const shown = ({ epoch, position }: Position): string => `epoch ${epoch}, position ${position}`

async function status(client: CairnClient, flags: GlobalOptions): Promise<void> {
  const found = await client.api.call('getMetadata', {})
  const held = found.deletionsHeldSinceMs
  print(
    flags,
    found,
    () =>
      `metadata    ${shown(found.own)}\nchunkservers have seen ${shown(found.seen)}\n` +
      `deletions   ${held === null ? 'go on' : `held back since ${new Date(held).toISOString()}`}`,
  )
}

async function accept(client: CairnClient, flags: AcceptFlags): Promise<void> {
  const { own, seen, deletionsHeldSinceMs } = await client.api.call('getMetadata', {})
  if (deletionsHeldSinceMs === null)
    throw new CairnError(
      'PRECONDITION_FAILED',
      'Nothing has to be decided: the metadata is not behind what chunkservers have seen.',
    )
  if (!flags.yes) {
    print(
      flags,
      { own, seen, deletionsHeldSinceMs, accepted: null },
      () =>
        `This master's metadata is at ${shown(own)}; chunkservers have seen ${shown(seen)}.\n` +
        'Accepting it makes deletions go on. Chunks of files that only the lost metadata knew are then removed for good,\n' +
        'the earliest after the orphan grace of six hours. If a newer database can still be found, stop here and put it back.\n' +
        'Run it again with --yes to accept.',
    )
    return
  }
  const accepted = await client.api.call('acceptMetadata', {})
  print(flags, { own, seen, deletionsHeldSinceMs, accepted }, () => `accepted: the metadata is now ${shown(accepted)}`)
}
