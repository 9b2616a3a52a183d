/**
 * MinIO, built from its Go module: one server on four directories, erasure coded 2+2. Large files go through rclone, small
 * ones through plain HTTP into a bucket that is open to all, so that no signatures are paid for.
 */
import { existsSync, mkdirSync, readdirSync } from 'node:fs'
import { createServer } from 'node:net'
import { once } from 'node:events'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import type { LoadResult, LoadTask } from '../support/load-task.js'
import { libraryPath, unpackDebian } from './debian.js'
import { LoadProcess } from './load-process.js'
import { OwnedProcess, perform, until } from './owned.js'
import { signedRequest } from './sigv4.js'
import { Unavailable, type InstallContext, type Installed, type RunningSystem, type StartContext, type System } from './system.js'

const MODULE = 'github.com/minio/minio'
const VERSION = 'v0.0.0-20260212201848-7aac2a2c5b7c'
const KEYS = { access: 'minioadmin', secret: 'minioadmin' }
const BUCKET = 'bench'
const HTTP_CLIENT = fileURLToPath(new URL('http-client.js', import.meta.url))
/** Parts of a chunk's size, four at once: the fastest of what was tried. */
const RCLONE = ['--s3-chunk-size', '64Mi', '--s3-upload-concurrency', '4', '--s3-disable-checksum', '--s3-no-check-bucket']

export const minio: System = {
  name: 'minio',
  title: 'MinIO',
  durability: () =>
    'erasure coded 2+2 over four directories, survives the loss of two; a write is answered when it is synced (always)',
  install: async (context: InstallContext): Promise<Installed> => {
    const programs = { server: await buildServer(context), rclone: await rclone(context) }
    return { version: VERSION, start: (started) => RunningMinio.start(programs, started) }
  },
}

/** @returns the program */
async function buildServer({ cache, say }: InstallContext): Promise<string> {
  const folder = path.join(cache, `minio-${VERSION}`)
  const program = path.join(folder, 'minio')
  if (existsSync(program)) return program
  const go = await goProgram({ cache, say })
  say('building MinIO: some minutes')
  mkdirSync(folder, { recursive: true })
  try {
    const fetched = { GOPATH: path.join(cache, 'go'), GOCACHE: path.join(cache, 'go-build') }
    const env = { ...fetched, GOBIN: folder, GOFLAGS: '-buildvcs=false -modcacherw' }
    await perform([go, 'install', `${MODULE}@${VERSION}`], { env, cwd: folder })
    return program
  } catch (error) {
    throw new Unavailable(`MinIO could not be built: ${(error as Error).message}`)
  }
}

/** The one that is installed, or Debian's. */
async function goProgram(context: InstallContext): Promise<string> {
  if (await works(['go', 'version'])) return 'go'
  const root = await unpackDebian(['golang-go'], context)
  const version = readdirSync(path.join(root, 'usr/lib')).find((name) => name.startsWith('go-'))
  return path.join(root, 'usr/lib', version ?? 'go', 'bin/go')
}

async function rclone(context: InstallContext): Promise<readonly string[]> {
  if (await works(['rclone', 'version'])) return ['rclone']
  const root = await unpackDebian(['rclone'], context)
  const environment = Object.entries(libraryPath(root)).map(([name, value]) => `${name}=${value}`)
  return ['env', ...environment, path.join(root, 'usr/bin/rclone')]
}

const works = (command: readonly string[]): Promise<boolean> =>
  perform(command).then(
    () => true,
    () => false,
  )

interface Programs {
  readonly server: string
  readonly rclone: readonly string[]
}

class RunningMinio implements RunningSystem {
  readonly #programs: Programs
  readonly #server: OwnedProcess
  readonly #url: string
  readonly #directory: string

  private constructor(programs: Programs, server: OwnedProcess, url: string, directory: string) {
    this.#programs = programs
    this.#server = server
    this.#url = url
    this.#directory = directory
  }

  static async start(programs: Programs, { directory }: StartContext): Promise<RunningMinio> {
    const disks = [1, 2, 3, 4].map((number) => path.join(directory, `disk-${number}`))
    for (const disk of disks) mkdirSync(disk, { recursive: true })
    const [address, console] = [`127.0.0.1:${await freePort()}`, `127.0.0.1:${await freePort()}`]
    // MINIO_CI_CD lets it use directories of one disk.
    const env = { MINIO_ROOT_USER: KEYS.access, MINIO_ROOT_PASSWORD: KEYS.secret, MINIO_CI_CD: '1', MINIO_UPDATE: 'off' }
    const command = [programs.server, 'server', '--address', address, '--console-address', console, ...disks]
    const server = await OwnedProcess.start(command, { env, log: path.join(directory, 'minio.log') })
    const system = new RunningMinio(programs, server, `http://${address}`, directory)
    try {
      await until(() => system.#isReady(), 'MinIO', [server])
      await system.#openBucket()
      return system
    } catch (error) {
      await system[Symbol.asyncDispose]()
      throw error
    }
  }

  get processes() {
    return [{ name: 'server', pid: this.#server.pid }]
  }

  #isReady(): Promise<boolean> {
    return fetch(`${this.#url}/minio/health/cluster`).then(
      ({ ok }) => ok,
      () => false,
    )
  }

  async #openBucket(): Promise<void> {
    const anyone = {
      Effect: 'Allow',
      Principal: '*',
      Action: ['s3:GetObject', 's3:PutObject'],
      Resource: [`arn:aws:s3:::${BUCKET}/*`],
    }
    await signedRequest('PUT', `${this.#url}/${BUCKET}`, KEYS)
    const policy = JSON.stringify({ Version: '2012-10-17', Statement: [anyone] })
    await signedRequest('PUT', `${this.#url}/${BUCKET}?policy`, KEYS, policy)
  }

  #rclone(...args: string[]): readonly string[] {
    return [...this.#programs.rclone, '--config', '/dev/null', '-q', ...RCLONE, ...args]
  }

  get #env(): Record<string, string> {
    return {
      RCLONE_CONFIG_BENCH_TYPE: 's3',
      RCLONE_CONFIG_BENCH_PROVIDER: 'Minio',
      RCLONE_CONFIG_BENCH_ENDPOINT: this.#url,
      RCLONE_CONFIG_BENCH_ACCESS_KEY_ID: KEYS.access,
      RCLONE_CONFIG_BENCH_SECRET_ACCESS_KEY: KEYS.secret,
      // It refuses to read this file when it is set, whatever is in it.
      AWS_CA_BUNDLE: '',
    }
  }

  async upload(source: string, name: string): Promise<void> {
    await perform(this.#rclone('copyto', source, `bench:${BUCKET}/${name}`), { env: this.#env })
  }

  async uploadAtOnce(sources: readonly string[], names: readonly string[]): Promise<void> {
    await Promise.all(sources.map((source, index) => this.upload(source, names[index] as string)))
  }

  async download(name: string): Promise<void> {
    await perform(['sh', '-c', '"$@" > /dev/null', 'sh', ...this.#rclone('cat', `bench:${BUCKET}/${name}`)], { env: this.#env })
  }

  async sha256Of(name: string): Promise<string> {
    const command = ['sh', '-c', '"$@" | sha256sum', 'sh', ...this.#rclone('cat', `bench:${BUCKET}/${name}`)]
    return (await perform(command, { env: this.#env })).slice(0, 64)
  }

  async load(task: LoadTask): Promise<LoadResult> {
    const log = path.join(this.#directory, 'client.log')
    await using client = await LoadProcess.start(HTTP_CLIENT, [`/${BUCKET}`], { env: { BENCH_URL: this.#url }, log })
    return await client.perform({ ...task, prefix: `/${task.prefix}` })
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#server[Symbol.asyncDispose]()
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  await once(server, 'close')
  return address !== null && typeof address === 'object' ? address.port : 0
}
