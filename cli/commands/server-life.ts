/** server …: what operators do with chunkservers. Each shows its plan, and acts only with --yes. */
import type { Command } from 'commander'
import type { CairnClient } from '../../client/index.js'
import { CairnError } from '../../common/errors/cairn-error.js'
import type { ServerId } from '../../common/ids.js'
import type { ServerInfo } from '../../common/protocol/admin.js'
import type { ServerAction, ServerPlan } from '../../common/protocol/servers.js'
import { formatSize, parseDuration } from '../../common/units.js'
import { addGlobalOptions, print, withClient, type GlobalOptions } from '../context.js'

interface ServerFlags extends GlobalOptions {
  readonly yes?: boolean
  readonly cancel?: boolean
  readonly for?: number
  readonly acceptDataLoss?: boolean
}

export function registerServerLife(program: Command): void {
  const server = program.command('server').description('drain, stop for maintenance, or remove chunkservers')
  const change = (command: Command): Command =>
    addGlobalOptions(command).option('--yes', 'do it; without, only the plan is shown')
  addGlobalOptions(server.command('ls'))
    .description('chunkservers with their disks, one per line with --json')
    .action((flags: ServerFlags) => withClient(flags, (client) => list(client, flags)))
  change(server.command('drain <id>'))
    .description('move all copies to other servers; it has left the cluster once it is empty')
    .option('--cancel', 'take it back')
    .action((id: string, flags: ServerFlags) => act(id, flags.cancel ? 'serve' : 'drain', flags))
  change(server.command('maintenance <id>'))
    .description('announce that it will be away: its chunks are not rebuilt elsewhere until the time is over or it is back')
    .option('--for <time>', 'how long, for example 30m, the default', parseDuration)
    .option('--end', 'it is over')
    .action((id: string, flags: ServerFlags & { end?: boolean }) => act(id, flags.end ? 'serve' : 'maintenance', flags))
  change(server.command('remove <id>'))
    .description('forget a server that is drained or dead, for good')
    .option('--accept-data-loss', 'also when it holds the last copy of some chunk')
    .action((id: string, flags: ServerFlags) => act(id, 'remove', flags))
}

async function everyServer(client: CairnClient): Promise<ServerInfo[]> {
  const all: ServerInfo[] = []
  for (let after: ServerId | null | undefined; after !== null;) {
    const page = await client.api.call('listServers', { query: after === undefined ? {} : { after } })
    all.push(...page.servers)
    after = page.next
  }
  return all
}

/** An id, or as much of its beginning as is unique. @throws `SERVER_NOT_FOUND`, `USAGE` */
async function findServer(client: CairnClient, id: string): Promise<ServerInfo> {
  const found = (await everyServer(client)).filter((server) => server.id.startsWith(id.toLowerCase()))
  const [server] = found
  if (!server) throw new CairnError('SERVER_NOT_FOUND', `There is no server ${id}. `.trimEnd() + ' `cairn status` lists them.')
  if (found.length > 1) throw new CairnError('USAGE', `${found.length} servers begin with ${id}. Give more of the id.`)
  return server
}

async function act(id: string, action: ServerAction, flags: ServerFlags): Promise<void> {
  await withClient(flags, async (client) => {
    const { id: serverId } = await findServer(client, id)
    if (!flags.yes) {
      const plan = await client.api.call('planServer', { params: { serverId }, query: { action } })
      print(flags, { plan, done: false }, () => `${planText(plan)}\n${closing(plan)}`)
      return
    }
    const { plan } = await client.api.call('changeServer', {
      params: { serverId },
      body: { action, graceMs: flags.for, acceptDataLoss: flags.acceptDataLoss ?? false },
    })
    print(flags, { plan, done: true }, () => `${planText(plan)}\n${DONE[action]}`)
  })
}

const DONE: Readonly<Record<ServerAction, string>> = {
  drain: 'Draining. `cairn server ls` shows how far it is; it is decommissioned once it is empty.',
  maintenance: 'In maintenance: it can be stopped now. It serves again as soon as it is back.',
  serve: 'It serves again.',
  remove: 'Removed.',
}

const closing = (plan: ServerPlan): string =>
  plan.refusal === null ? 'Nothing was changed. Run it again with --yes to do it.' : `It would be refused: ${plan.refusal}`

function planText(plan: ServerPlan): string {
  const lines = [
    `server   ${plan.serverId}: ${plan.action}`,
    `holds    ${plan.chunks} chunks, ${formatSize(plan.bytes)}`,
    `elsewhere  ${plan.copiesToMake} copies (${formatSize(plan.bytesToCopy)}) are missing without it; ${plan.serversElsewhere} servers have ${formatSize(plan.freeBytesElsewhere)} free`,
  ]
  if (plan.soleChunks > 0)
    lines.push(`careful  ${plan.soleChunks} chunks cannot be read while it is away: they have no live copy elsewhere`)
  return lines.join('\n')
}

async function list(client: CairnClient, flags: GlobalOptions): Promise<void> {
  const servers = await everyServer(client)
  if (flags.json) for (const server of servers) process.stdout.write(`${JSON.stringify(server)}\n`)
  else process.stdout.write(`${servers.map(serverText).join('\n')}\n`)
}

function serverText(server: ServerInfo): string {
  const drained = server.drain ? `, ${server.drain.remainingChunks} of ${server.drain.totalChunks} copies left` : ''
  const until = server.maintenanceUntilMs === null ? '' : ` until ${new Date(server.maintenanceUntilMs).toISOString()}`
  const disks = server.disks.map(
    (disk) => `    ${disk.path}  ${disk.state}  ${formatSize(disk.usedBytes)} used, ${formatSize(disk.freeBytes)} free`,
  )
  return [`${server.id}  ${server.state}${until}${drained}  ${server.url}`, ...disks].join('\n')
}
