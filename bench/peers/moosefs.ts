/** MooseFS, from Debian: a master, three chunkservers, a mount. Files are copied with `dd`, as through any file system. */
import { mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import type { LoadResult, LoadTask } from '../support/load-task.js'
import { libraryPath, unpackDebian, unpackedVersion } from './debian.js'
import { LoadProcess } from './load-process.js'
import { Namespace } from './namespace.js'
import { until, type OwnedProcess } from './owned.js'
import type { Durability, InstallContext, Installed, RunningSystem, ServerProcess, StartContext, System } from './system.js'

const PACKAGES = ['moosefs-master', 'moosefs-chunkserver', 'moosefs-client']
const COPIES = 3
const NETWORK = '10.77.0'
const MASTER = `${NETWORK}.10`
const HOSTS = Array.from({ length: COPIES }, (_, index) => `${NETWORK}.${11 + index}`)
const FILE_CLIENT = fileURLToPath(new URL('file-client.js', import.meta.url))
const THREADS = 16

export const mooseFs: System = {
  name: 'moosefs',
  title: 'MooseFS',
  durability: (setting) =>
    `${COPIES} copies; a write is answered when it has reached all of them, ` +
    (setting === 'synced' ? 'synced when the file is closed (HDD_FSYNC_BEFORE_CLOSE = 1)' : 'not synced (its default)'),
  install: async (context: InstallContext): Promise<Installed> => {
    const root = await unpackDebian(PACKAGES, context)
    return { version: unpackedVersion(root, 'moosefs-master'), start: (started) => RunningMooseFs.start(root, started) }
  },
}

class RunningMooseFs implements RunningSystem {
  readonly #root: string
  readonly #directory: string
  readonly #env: Record<string, string>
  readonly #servers: { readonly name: string; readonly process: OwnedProcess }[] = []
  readonly #namespace: Namespace
  /** The last one is used. The others only take time to end. */
  readonly #mounts: OwnedProcess[] = []

  private constructor(root: string, directory: string, namespace: Namespace) {
    this.#root = root
    this.#namespace = namespace
    this.#directory = directory
    this.#env = libraryPath(root)
  }

  static async start(root: string, { directory, durability }: StartContext): Promise<RunningMooseFs> {
    const namespace = await Namespace.open([MASTER, ...HOSTS].map((host) => `${host}/24`))
    const system = new RunningMooseFs(root, directory, namespace)
    try {
      await system.#start(durability)
      return system
    } catch (error) {
      await system[Symbol.asyncDispose]()
      throw error
    }
  }

  get processes(): readonly ServerProcess[] {
    const mounts = this.#mounts.map((process, index) => ({ name: `mount-${index + 1}`, process }))
    return [...this.#servers, ...mounts].map(({ name, process }) => ({ name, pid: process.pid }))
  }

  get #mounted(): string {
    return path.join(this.#directory, `mount-${this.#mounts.length}`)
  }

  async #start(durability: Durability): Promise<void> {
    await this.#serve('master', 'mfsmaster', this.#masterSettings())
    for (const [index, host] of HOSTS.entries())
      await this.#serve(`chunkserver-${index + 1}`, 'mfschunkserver', this.#chunkserverSettings(index + 1, host, durability))
    await this.freshClient()
    await this.#tool('mfssetgoal', [String(COPIES)])
    await this.#tool('mfssettrashtime', ['0'])
    await until(() => this.#storesEverywhere(), 'three chunkservers at work')
  }

  #masterSettings(): string[] {
    const data = this.#folder('master')
    writeFileSync(path.join(data, 'metadata.mfs'), 'MFSM NEW')
    writeFileSync(path.join(data, 'exports.cfg'), `${NETWORK}.0/24 / rw,alldirs,admin,maproot=0:0\n`)
    writeFileSync(path.join(data, 'topology.cfg'), '')
    return [
      `DATA_PATH = ${data}`,
      `EXPORTS_FILENAME = ${path.join(data, 'exports.cfg')}`,
      `TOPOLOGY_FILENAME = ${path.join(data, 'topology.cfg')}`,
      ...['MATOML', 'MATOCS', 'MATOCL'].map((side) => `${side}_LISTEN_HOST = ${MASTER}`),
    ]
  }

  #chunkserverSettings(number: number, host: string, durability: Durability): string[] {
    const data = this.#folder(`chunkserver-${number}`)
    const disk = this.#folder(`disk-${number}`)
    writeFileSync(path.join(data, 'hdd.cfg'), `${disk}\n`)
    return [
      `DATA_PATH = ${data}`,
      `HDD_CONF_FILENAME = ${path.join(data, 'hdd.cfg')}`,
      `MASTER_HOST = ${MASTER}`,
      `CSSERV_LISTEN_HOST = ${host}`,
      `BIND_HOST = ${host}`,
      'HDD_LEAVE_SPACE_DEFAULT = 1GiB',
      `HDD_FSYNC_BEFORE_CLOSE = ${durability === 'synced' ? 1 : 0}`,
    ]
  }

  #folder(name: string): string {
    const folder = path.join(this.#directory, name)
    mkdirSync(folder, { recursive: true })
    return folder
  }

  async #serve(name: string, program: string, settings: readonly string[]): Promise<void> {
    const file = path.join(this.#directory, `${name}.cfg`)
    writeFileSync(file, ['WORKING_USER = root', 'WORKING_GROUP = root', ...settings, ''].join('\n'))
    const command = [path.join(this.#root, 'usr/sbin', program), '-f', '-c', file, 'start']
    const log = path.join(this.#directory, `${name}.log`)
    this.#servers.push({ name, process: await this.#namespace.start(command, { env: this.#env, log }) })
  }

  #tool(name: string, args: readonly string[]): Promise<string> {
    const command = [path.join(this.#root, 'usr/bin', name), ...args, this.#mounted]
    return this.#namespace.perform(command, { env: this.#env })
  }

  /** Another mount: what the old one had in memory is forgotten. */
  async freshClient(): Promise<void> {
    // A master that has just been started is not there yet for the first.
    await until(() => this.#triedMount(), 'a mount')
  }

  async #triedMount(): Promise<boolean> {
    const place = this.#folder(`mount-${this.#mounts.length + 1}`)
    const log = path.join(this.#directory, 'mount.log')
    const mount = await this.#namespace.start([path.join(this.#root, 'usr/bin/mfsmount'), '-f', place, '-H', MASTER], {
      env: this.#env,
      log,
    })
    try {
      await until(() => this.#isMounted(place), 'a mount', [mount])
      this.#mounts.push(mount)
      return true
    } catch {
      await mount[Symbol.asyncDispose]()
      return false
    }
  }

  async #isMounted(place: string): Promise<boolean> {
    return (await this.#namespace.perform(['cat', '/proc/mounts'])).includes(` ${place} fuse`)
  }

  async #storesEverywhere(): Promise<boolean> {
    const probe = path.join(this.#mounted, 'probe')
    try {
      await this.#namespace.perform(['dd', 'if=/dev/zero', `of=${probe}`, 'bs=1k', 'count=1', 'conv=fsync', 'status=none'])
      const told = await this.#namespace.perform([path.join(this.#root, 'usr/bin/mfsfileinfo'), probe], { env: this.#env })
      return told.includes(`copy ${COPIES}:`)
    } catch {
      return false
    } finally {
      await this.#namespace.perform(['rm', '-f', probe])
    }
  }

  #path(name: string): string {
    return path.join(this.#mounted, name)
  }

  async upload(source: string, name: string): Promise<void> {
    await this.#namespace.perform(['dd', `if=${source}`, `of=${this.#path(name)}`, 'bs=1M', 'conv=fsync', 'status=none'])
  }

  async uploadAtOnce(sources: readonly string[], names: readonly string[]): Promise<void> {
    await Promise.all(sources.map((source, index) => this.upload(source, names[index] as string)))
  }

  async download(name: string): Promise<void> {
    await this.#namespace.perform(['dd', `if=${this.#path(name)}`, 'of=/dev/null', 'bs=1M', 'status=none'])
  }

  async sha256Of(name: string): Promise<string> {
    return (await this.#namespace.perform(['sha256sum', this.#path(name)])).slice(0, 64)
  }

  async load(task: LoadTask): Promise<LoadResult> {
    if (task.kind !== 'put') await this.freshClient()
    const options = { env: { UV_THREADPOOL_SIZE: String(THREADS) }, log: path.join(this.#directory, 'client.log') }
    await using client = await LoadProcess.start(FILE_CLIENT, [this.#mounted], options, this.#namespace.entrance)
    return await client.perform(task)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#mounts.map((mount) => mount[Symbol.asyncDispose]()))
    await Promise.all(this.#servers.map(({ process }) => process[Symbol.asyncDispose]()))
    await this.#namespace[Symbol.asyncDispose]()
  }
}
