/**
 * Disks as one simulated process sees them: each under a directory of its own. Nothing happens for a process that is
 * paused until it goes on, and nothing any more for one that was killed, whose locks are free from then on.
 */
import type { VirtualClock } from '../../common/clock/virtual-clock.js'
import type { ProcessClock } from '../../common/clock/process-clock.js'
import { sleep } from '../../common/clock/clock.js'
import {
  systemError,
  type DirectoryEntry,
  type DirectoryLock,
  type Disk,
  type DiskFile,
  type DiskSpace,
  type FileStat,
  type OpenOptions,
} from '../../common/disk/disk.js'
import type { MemoryDisk } from '../../common/disk/memory-disk.js'

export type ProcessDiskOperation =
  'open' | 'read' | 'write' | 'sync' | 'truncate' | 'look' | 'replace' | 'make' | 'rename' | 'remove' | 'syncDirectory' | 'lock'

export interface ProcessDiskHooks {
  /** How long an operation takes, part of it before it happens and part of it after. */
  readonly latencyMs?: (operation: ProcessDiskOperation, file: string) => number
  /** Told of each operation right before it happens. */
  readonly onOperation?: (operation: ProcessDiskOperation, file: string, bytes: number, target: string) => void
}

export class ProcessDisk implements Disk {
  readonly #clock: VirtualClock
  readonly #process: ProcessClock
  readonly #mounts: ReadonlyMap<string, MemoryDisk>
  readonly #hooks: ProcessDiskHooks
  readonly #locks: DirectoryLock[] = []

  /** @param mounts disks by the first segment of their paths; the one under `` takes all others */
  constructor(clock: VirtualClock, process: ProcessClock, mounts: ReadonlyMap<string, MemoryDisk>, hooks: ProcessDiskHooks = {}) {
    this.#clock = clock
    this.#process = process
    this.#mounts = mounts
    this.#hooks = hooks
  }

  /** To be called when the process is killed. */
  releaseLocks(): void {
    for (const lock of this.#locks.splice(0)) lock.release()
  }

  #on(file: string): MemoryDisk {
    const end = file.indexOf('/', 1)
    const disk = this.#mounts.get(file.slice(1, end < 0 ? undefined : end)) ?? this.#mounts.get('')
    if (!disk) throw systemError('ENOENT', file)
    return disk
  }

  async #run<T>(operation: ProcessDiskOperation, file: string, work: () => Promise<T>, bytes = 0, target = ''): Promise<T> {
    await this.#process.gate()
    const latencyMs = this.#hooks.latencyMs?.(operation, file) ?? 0
    if (latencyMs > 0) {
      await sleep(this.#clock, latencyMs / 2)
      if (this.#process.killed) await this.#process.gate()
    }
    this.#hooks.onOperation?.(operation, file, bytes, target)
    const outcome = work()
    if (latencyMs > 0) {
      outcome.catch(() => undefined)
      await sleep(this.#clock, latencyMs / 2)
    }
    try {
      return await outcome
    } finally {
      await this.#process.gate()
    }
  }

  async openFile(file: string, options: OpenOptions): Promise<DiskFile> {
    const handle = await this.#run('open', file, () => this.#on(file).openFile(file, options))
    return {
      direct: handle.direct,
      read: (target, position) => this.#run('read', file, () => handle.read(target, position), target.length),
      write: (bytes, position) => {
        // Copied now: the memory is the caller's again once the deadline of the operation is over.
        const own = this.#hooks.latencyMs ? bytes.slice() : bytes
        return this.#run('write', file, () => handle.write(own, position), bytes.length)
      },
      sync: () => this.#run('sync', file, () => handle.sync()),
      truncate: (sizeBytes) => this.#run('truncate', file, () => handle.truncate(sizeBytes)),
      sizeBytes: () => handle.sizeBytes(),
      close: () => handle.close(),
    }
  }

  readFile(file: string): Promise<Uint8Array> {
    return this.#run('read', file, () => this.#on(file).readFile(file))
  }

  replaceFile(file: string, content: Uint8Array): Promise<void> {
    return this.#run('replace', file, () => this.#on(file).replaceFile(file, content), content.length)
  }

  stat(file: string): Promise<FileStat | undefined> {
    return this.#run('look', file, () => this.#on(file).stat(file))
  }

  list(directory: string): Promise<DirectoryEntry[]> {
    return this.#run('look', directory, () => this.#on(directory).list(directory))
  }

  makeDirectory(directory: string): Promise<void> {
    return this.#run('make', directory, () => this.#on(directory).makeDirectory(directory))
  }

  rename(from: string, to: string): Promise<void> {
    return this.#run('rename', from, () => this.#on(from).rename(from, to), 0, to)
  }

  remove(file: string): Promise<void> {
    return this.#run('remove', file, () => this.#on(file).remove(file))
  }

  removeTree(directory: string): Promise<void> {
    return this.#run('remove', directory, () => this.#on(directory).removeTree(directory))
  }

  async syncDirectory(directory: string): Promise<void> {
    // The root, above the mounts, is always there.
    if (directory === '/') for (const disk of this.#mounts.values()) await disk.syncDirectory('/')
    else await this.#run('syncDirectory', directory, () => this.#on(directory).syncDirectory(directory))
  }

  space(directory: string): Promise<DiskSpace> {
    return this.#run('look', directory, () => this.#on(directory).space(directory))
  }

  async lockDirectory(directory: string): Promise<DirectoryLock> {
    return this.#run('lock', directory, async () => {
      const lock = await this.#on(directory).lockDirectory(directory)
      // Whoever was killed meanwhile does not come to hold it.
      if (this.#process.killed) lock.release()
      else this.#locks.push(lock)
      return lock
    })
  }
}
