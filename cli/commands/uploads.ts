/** upload: open sessions, which wait for the command that began them to be run again, or to be given up. */
import Table from 'cli-table3'
import type { Command } from 'commander'
import type { CairnClient } from '../../client/index.js'
import { parseUploadId, type UploadId } from '../../common/ids.js'
import { formatSize } from '../../common/units.js'
import { addGlobalOptions, print, withClient, type GlobalOptions } from '../context.js'

export function registerUploads(program: Command): void {
  const upload = program.command('upload').description('open uploads: look at them, give one up')
  addGlobalOptions(upload.command('ls'))
    .description('the open uploads, with what they hold; with --json one per line')
    .action((flags: GlobalOptions) => withClient(flags, (client) => list(client, flags)))
  addGlobalOptions(upload.command('abort <id>'))
    .description('give an upload up: it cannot be resumed, and its space comes back')
    .action((id: string, flags: GlobalOptions) =>
      withClient(flags, async (client) => {
        const aborted = await client.api.call('abortUpload', { params: { uploadId: parseUploadId(id) } })
        print(flags, aborted, () => `gave up upload ${aborted.uploadId}`)
      }),
    )
}

async function list(client: CairnClient, flags: GlobalOptions): Promise<void> {
  const head = ['upload', 'path', 'uploaded', 'of', 'owner', 'last active', 'expires']
  const table = new Table({ head, style: { head: [], border: [] } })
  for (let after: UploadId | undefined, more = true; more;) {
    const page = await client.api.call('listUploads', { query: after === undefined ? {} : { after } })
    for (const one of page.uploads) {
      if (flags.json) print(flags, one, () => '')
      const size = one.sizeBytes === null ? '?' : formatSize(one.sizeBytes)
      const at = (ms: number): string => new Date(ms).toISOString()
      table.push([one.uploadId, one.path, formatSize(one.uploadedBytes), size, one.owner, at(one.activeMs), at(one.expiresMs)])
    }
    after = page.next ?? undefined
    more = page.next !== null
  }
  if (!flags.json) process.stdout.write(`${table.toString()}\n`)
}
