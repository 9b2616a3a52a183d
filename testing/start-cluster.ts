/** Starting a cluster for a test. */
import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { ensureTokens } from '../cli/tokens.js'
import { observed } from '../common/flow/deferred.js'
import { Cluster } from './cluster.js'
import { zonesOf, type TestClusterOptions } from './options.js'
import { CLIENTS } from './network/partition.js'
import { Servers } from './servers.js'

const CHUNKSERVERS = 3

/**
 * Starts a master, chunkservers and, if asked for, a gateway as processes of their own, listening on loopback on ports of
 * their own choice, and resolves when all serve.
 *
 * @example
 * await using cluster = await startCluster({ chunkservers: 4 })
 * await cluster.client.uploadStream(stream, '/bucket/name')
 * await cluster.kill(cluster.chunkservers[0])
 * await cluster.healthy()
 *
 * @throws what keeps a process from starting; nothing is left behind then
 */
export async function startCluster(options: TestClusterOptions = {}): Promise<Cluster> {
  const temporary = options.directory === undefined
  const directory = options.directory ?? mkdtempSync(path.join(tmpdir(), 'cairn-testing-'))
  const tokens = ensureTokens(directory)
  const servers = new Servers(directory, tokens, options)
  try {
    const started = [observed(servers.begin(servers.addMaster()))]
    for (const zone of zonesOf(options.chunkservers ?? CHUNKSERVERS, options.zones))
      started.push(observed(servers.begin(await servers.newChunkserver(zone))))
    if (options.gateway) started.push(observed(servers.begin(await servers.addGateway())))
    const clientMasterUrl = await servers.masterUrlFor(CLIENTS)
    await Promise.all(started)
    servers.letGo()
    return new Cluster({
      directory,
      temporary: temporary && !options.keepDirectory,
      token: tokens.root,
      clientMasterUrl,
      servers,
    })
  } catch (error) {
    await servers.close('SIGKILL')
    throw error
  }
}
