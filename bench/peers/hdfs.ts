/**
 * HDFS, from Maven's hadoop-client-minicluster: a name node, three data nodes and their client in one Java process, which
 * saves them the network between processes. It is told over its standard input what to do: see HdfsBench.java.
 */
import { cpSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { contentsOf, type LoadResult, type LoadTask } from '../support/load-task.js'
import { ROOT } from '../support/machine.js'
import { OwnedProcess, perform } from './owned.js'
import { Unavailable, type InstallContext, type Installed, type RunningSystem, type StartContext, type System } from './system.js'

const SOURCES = path.join(ROOT, 'bench/peers/hdfs')
const VERSION = /<hadoop\.version>(.*)<\/hadoop\.version>/.exec(readFileSync(path.join(SOURCES, 'pom.xml'), 'utf8'))?.[1] ?? ''
const OPENED = ['lang', 'util'].flatMap((name) => ['--add-opens', `java.base/java.${name}=ALL-UNNAMED`])

export const hdfs: System = {
  name: 'hdfs',
  title: 'HDFS',
  durability: (setting) =>
    '3 copies; a write is answered when it has reached all of them, ' +
    (setting === 'synced' ? 'synced (hsync, dfs.datanode.synconclose = true)' : 'not synced (its default)'),
  install: async (context: InstallContext): Promise<Installed> => {
    const classPath = await build(context)
    return { version: VERSION, start: (started) => RunningHdfs.start(classPath, started) }
  },
}

/** @returns the class path */
async function build({ cache, say }: InstallContext): Promise<string> {
  const folder = path.join(cache, `hdfs-${VERSION}`)
  const listed = path.join(folder, 'class-path')
  mkdirSync(folder, { recursive: true })
  cpSync(SOURCES, folder, { recursive: true })
  const goals = existsSync(listed) ? ['compile'] : ['compile', 'dependency:build-classpath', `-Dmdep.outputFile=${listed}`]
  say(existsSync(listed) ? 'building the client of HDFS' : 'fetching HDFS')
  const offline = existsSync(listed) ? ['-o'] : []
  try {
    await perform(['mvn', '-q', '-B', ...offline, `-Dmaven.repo.local=${path.join(cache, 'maven')}`, ...goals], { cwd: folder })
  } catch (error) {
    throw new Unavailable(`HDFS could not be built (takes a JDK and Maven): ${(error as Error).message}`)
  }
  return `${path.join(folder, 'target/classes')}:${readFileSync(listed, 'utf8').trim()}`
}

interface Answer {
  readonly ready?: boolean
  readonly error?: string
  readonly sha256?: string
}

class RunningHdfs implements RunningSystem {
  readonly #process: OwnedProcess
  readonly #directory: string
  readonly #answers: AsyncIterator<string, undefined>

  private constructor(process: OwnedProcess, directory: string) {
    this.#process = process
    this.#directory = directory
    this.#answers = createInterface({ input: process.child.stdout as NodeJS.ReadableStream })[Symbol.asyncIterator]()
  }

  static async start(classPath: string, { directory, durability }: StartContext): Promise<RunningHdfs> {
    const command = ['java', ...OPENED, '-cp', classPath, 'HdfsBench', path.join(directory, 'cluster'), durability]
    const options = { log: path.join(directory, 'hdfs.log'), piped: true, cwd: directory }
    const system = new RunningHdfs(await OwnedProcess.start(command, options), directory)
    try {
      await system.#answer()
      return system
    } catch (error) {
      await system[Symbol.asyncDispose]()
      throw error
    }
  }

  get processes() {
    return [{ name: 'all in one', pid: this.#process.pid }]
  }

  async #answer(): Promise<Answer> {
    const line: IteratorResult<string, undefined> = await this.#answers.next()
    if (line.done) return await this.#process.failure()
    const answer = JSON.parse(line.value) as Answer
    if (answer.error !== undefined) throw new Error(`HDFS: ${answer.error}`)
    return answer
  }

  #tell(...words: readonly (string | number)[]): Promise<Answer> {
    this.#process.child.stdin?.write(`${words.join('\t')}\n`)
    return this.#answer()
  }

  async upload(source: string, name: string): Promise<void> {
    await this.#tell('put', source, name)
  }

  async uploadAtOnce(sources: readonly string[], names: readonly string[]): Promise<void> {
    await this.#tell('put', ...sources.flatMap((source, index) => [source, names[index] as string]))
  }

  async download(name: string): Promise<void> {
    await this.#tell('get', name)
  }

  async sha256Of(name: string): Promise<string> {
    return (await this.#tell('sha256', name)).sha256 ?? ''
  }

  async load(task: LoadTask): Promise<LoadResult> {
    const contents = path.join(this.#directory, 'contents')
    writeFileSync(contents, contentsOf(task))
    const { kind, prefix, files, bytes, connections } = task
    return (await this.#tell('load', kind, prefix, files, bytes, connections, contents)) as unknown as LoadResult
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#process.child.stdin?.end()
    await this.#process[Symbol.asyncDispose]()
  }
}
