/** What is measured side by side: systems that store files, each with its own programs, driven alike. */
import type { LoadResult, LoadTask } from '../support/load-task.js'

/** A system that cannot be had on this machine, and why. The others are measured without it. */
export class Unavailable extends Error {
  override readonly name = 'Unavailable'
}

export type Durability = 'own' | 'synced'

export interface InstallContext {
  /** Where downloads are kept, outside the checkout. */
  readonly cache: string
  readonly say: (line: string) => void
}

export interface System {
  readonly name: string
  /** As the table and the chart call it. */
  readonly title: string
  /** Copies or tolerance, and when a write is answered: its own default, or the strictest it has. */
  durability(setting: Durability): string
  /** Fetches and builds what is missing. @throws {@link Unavailable} */
  install(context: InstallContext): Promise<Installed>
}

export interface Installed {
  readonly version: string
  start(context: StartContext): Promise<RunningSystem>
}

export interface StartContext {
  /** An empty directory of its own. Removed by the caller, after the system has ended. */
  readonly directory: string
  readonly durability: Durability
  readonly cache: string
}

export interface ServerProcess {
  readonly name: string
  readonly pid: number
}

/**
 * A running system. Operations take what they take for a user of that system; commands are waited for. What a system
 * does not offer, it leaves out.
 */
export interface RunningSystem extends AsyncDisposable {
  /** Servers, and clients that stay. Commands that come and go are counted as ended children. */
  readonly processes: readonly ServerProcess[]
  upload(source: string, name: string): Promise<void>
  /** Clients that are there when the time begins, for {@link uploadAtOnce}. Without: each starts its own. */
  openClients?(count: number): Promise<AsyncDisposable>
  /** Files at once, each by a client of its own. */
  uploadAtOnce(sources: readonly string[], names: readonly string[]): Promise<void>
  /** Makes the client forget what it holds in memory. Absent where each read has a client of its own anyway. */
  freshClient?(): Promise<void>
  /** To nowhere, verified as far as the system's own client does. */
  download(name: string): Promise<void>
  sha256Of(name: string): Promise<string>
  /** Many small files, over so many connections. */
  load?(task: LoadTask): Promise<LoadResult>
  /** Another way in, for the same task: plain HTTP. */
  loadOverHttp?(task: LoadTask): Promise<LoadResult>
}
