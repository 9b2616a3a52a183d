/** curl, wget and other people's programs, run against a cluster's gateway as their users would run them. */
import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { connect } from 'node:net'
import {
  parse,
  runProgram,
  until,
  type CommandResult,
  type ProgramOptions,
  type RunningCommand,
  type TestCluster,
} from './cluster.js'

export interface HttpResult extends CommandResult {
  readonly status: number
  /** Of the last answer, names in lower case. */
  readonly headers: Readonly<Record<string, string>>
  /** All answers' heads, those with 1xx included. */
  readonly heads: string
  readonly body: Buffer
  /** Bytes of the body that were sent. */
  readonly sentBytes: number
}

export interface RunningCurl {
  readonly pid: number
  readonly done: Promise<HttpResult>
}

/** The programs as the holder of a cluster's token uses them. */
export class GatewayUser {
  readonly cluster: TestCluster
  #count = 0

  constructor(cluster: TestCluster) {
    this.cluster = cluster
  }

  get authorization(): string {
    return `authorization: Bearer ${this.cluster.ready.token}`
  }

  /** @param path `/bucket/key`, to be percent-encoded */
  url(path: string): string {
    return `${this.cluster.ready.gateway}/v1/files${path.split('/').map(encodeURIComponent).join('/')}/content`
  }

  bucketUrl(bucket: string): string {
    return `${this.cluster.ready.gateway}/v1/files/${bucket}`
  }

  /** Starts curl with the token. The body goes to a scratch file unless `-o` or `-I` is among the arguments. */
  beginCurl(args: readonly string[], options: ProgramOptions & { readonly anonymous?: boolean } = {}): RunningCurl {
    this.#count += 1
    const head = this.cluster.file(`curl-head-${this.#count}`)
    const body = this.cluster.file(`curl-body-${this.#count}`)
    const keepsBody = !args.some((arg) => arg === '-o' || arg === '-I')
    const all = [
      '-sS',
      ...(options.anonymous ? [] : ['-H', this.authorization]),
      ...['-D', head, '-w', '%{http_code} %{size_upload}'],
      ...(keepsBody ? ['-o', body] : args.includes('-I') ? ['-o', '/dev/null'] : []),
      ...args,
    ]
    const { pid, done } = runProgram('curl', all, options)
    const result = done.then((ended): HttpResult => {
      const [status = '0', sent = '0'] = ended.stdout.trim().split(' ')
      const heads = readIfThere(head).toString()
      const bytes = keepsBody ? readIfThere(body) : Buffer.alloc(0)
      return {
        ...ended,
        status: Number(status),
        sentBytes: Number(sent),
        heads,
        headers: lastHead(heads),
        body: bytes,
        json: parse(bytes.toString()),
      }
    })
    return { pid, done: result }
  }

  curl(...args: string[]): Promise<HttpResult> {
    return this.beginCurl(args).done
  }

  beginWget(args: readonly string[], cwd: string): RunningCommand {
    return runProgram('wget', ['--tries=1', '-nv', `--header=${this.authorization}`, ...args], { cwd })
  }

  /** Upload sessions that are open. */
  async openUploads(): Promise<unknown[]> {
    return (await this.cluster.rest('GET', '/v1/uploads')).json.uploads as unknown[]
  }

  async untilNothingIsLeft(path: string): Promise<void> {
    await until('no upload is open', async () => (await this.openUploads()).length === 0)
    if ((await this.curl('-I', this.url(path))).status !== 404) throw new Error(`${path} exists`)
  }
}

function readIfThere(file: string): Buffer {
  try {
    return readFileSync(file)
  } catch {
    return Buffer.alloc(0)
  }
}

function lastHead(heads: string): Record<string, string> {
  const last = heads.trim().split('\r\n\r\n').at(-1) ?? ''
  const out: Record<string, string> = {}
  for (const line of last.split('\r\n').slice(1)) {
    const colon = line.indexOf(':')
    out[line.slice(0, colon).toLowerCase()] = line.slice(colon + 1).trim()
  }
  return out
}

/** What the process holds in memory now, from /proc. */
export function residentBytes(pid: number): number {
  const match = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))
  return Number(match?.[1]) * 1024
}

/** Sends bytes as they are over a connection of its own and collects what comes back until the other side closes. */
export function rawExchange(url: string, pieces: readonly (string | Buffer)[], end = false): Promise<string> {
  const { hostname, port } = new URL(url)
  return new Promise((resolve) => {
    let text = ''
    const socket = connect(Number(port), hostname, () => {
      for (const piece of pieces) socket.write(piece)
      if (end) socket.end()
    })
    socket.on('data', (data) => (text += data.toString('latin1')))
    socket.on('error', () => undefined)
    socket.on('close', () => resolve(text))
  })
}

export const randomName = (): string => randomBytes(6).toString('hex')
