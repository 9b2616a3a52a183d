/**
 * For testing only: a disk whose operations fail, dawdle or hang as a control file says, so that disk faults can be
 * injected into a real process. A chunkserver stands on it only when the environment variable names such a file.
 *
 * The file is looked at before every operation, so that a fault holds from the moment the file is in place. A hung
 * operation goes on when its rule is gone; it holds no thread of the process, as a real one would.
 */
import { readFileSync, statSync } from 'node:fs'
import path from 'node:path'
import { z } from 'zod'
import { sleep, type Clock } from '../clock/clock.js'
import { systemCode } from '../errors/cairn-error.js'
import {
  systemError,
  type DirectoryEntry,
  type DirectoryLock,
  type Disk,
  type DiskFile,
  type DiskSpace,
  type FileStat,
  type OpenOptions,
} from './disk.js'

/** Names the control file. */
export const DISK_FAULTS_VARIABLE = 'CAIRN_TEST_DISK_FAULTS'

/** `write` is all that changes a disk (and `space` tells nothing free); `sync` are files and directories. */
const operation = z.enum(['read', 'write', 'sync'])
export type DiskOperation = z.infer<typeof operation>

const diskFault = z.strictObject({
  /** Holds for everything in and below. */
  directory: z.string(),
  operations: z.array(operation),
  effect: z.discriminatedUnion('kind', [
    z.strictObject({ kind: z.literal('error'), code: z.enum(['ENOSPC', 'EIO']) }),
    z.strictObject({ kind: z.literal('delay'), delayMs: z.number().min(0) }),
    z.strictObject({ kind: z.literal('hang') }),
    /** The disk says that nothing is free. */
    z.strictObject({ kind: z.literal('no-space') }),
  ]),
})
export type DiskFault = z.infer<typeof diskFault>

const controlFile = z.strictObject({ faults: z.array(diskFault) })

const HANG_POLL_MS = 20

export class FaultyDisk implements Disk {
  readonly #disk: Disk
  readonly #clock: Clock
  readonly #control: string
  #stamp = ''
  #faults: readonly DiskFault[] = []

  constructor(disk: Disk, clock: Clock, control: string) {
    this.#disk = disk
    this.#clock = clock
    this.#control = control
  }

  /** Does to an operation what the faults in force demand. */
  async suffer(file: string, kind: DiskOperation): Promise<void> {
    for (const { effect } of this.#faultsOn(file, kind)) {
      if (effect.kind === 'delay') await sleep(this.#clock, effect.delayMs)
      if (effect.kind === 'error') throw systemError(effect.code, `injected fault on ${file}`)
    }
    while (this.#faultsOn(file, kind).some(({ effect }) => effect.kind === 'hang')) await sleep(this.#clock, HANG_POLL_MS)
  }

  #faultsOn(file: string, kind: DiskOperation): DiskFault[] {
    this.#refresh()
    const below = (directory: string): boolean => file === directory || file.startsWith(directory + path.sep)
    return this.#faults.filter((fault) => fault.operations.includes(kind) && below(fault.directory))
  }

  /** The file is replaced whole, by a rename: another inode is another content. No file: no faults. */
  #refresh(): void {
    try {
      const { ino, mtimeMs, size } = statSync(this.#control)
      const stamp = `${ino} ${mtimeMs} ${size}`
      if (stamp === this.#stamp) return
      this.#faults = controlFile.parse(JSON.parse(readFileSync(this.#control, 'utf8'))).faults
      this.#stamp = stamp
    } catch (error) {
      if (systemCode(error) !== 'ENOENT') throw error
      this.#faults = []
      this.#stamp = ''
    }
  }

  async openFile(file: string, options: OpenOptions): Promise<DiskFile> {
    await this.suffer(file, options.mode === 'read' ? 'read' : 'write')
    return new FaultyFile(await this.#disk.openFile(file, options), file, this)
  }

  async readFile(file: string): Promise<Uint8Array> {
    await this.suffer(file, 'read')
    return this.#disk.readFile(file)
  }

  async replaceFile(file: string, content: Uint8Array): Promise<void> {
    await this.suffer(file, 'write')
    await this.suffer(file, 'sync')
    return this.#disk.replaceFile(file, content)
  }

  async stat(file: string): Promise<FileStat | undefined> {
    await this.suffer(file, 'read')
    return this.#disk.stat(file)
  }

  async list(directory: string): Promise<DirectoryEntry[]> {
    await this.suffer(directory, 'read')
    return this.#disk.list(directory)
  }

  async makeDirectory(directory: string): Promise<void> {
    await this.suffer(directory, 'write')
    return this.#disk.makeDirectory(directory)
  }

  async rename(from: string, to: string): Promise<void> {
    await this.suffer(to, 'write')
    return this.#disk.rename(from, to)
  }

  /** A full disk can still be emptied. */
  async remove(file: string): Promise<void> {
    await this.#sufferRemoval(file)
    return this.#disk.remove(file)
  }

  async removeTree(directory: string): Promise<void> {
    await this.#sufferRemoval(directory)
    return this.#disk.removeTree(directory)
  }

  async #sufferRemoval(file: string): Promise<void> {
    await this.suffer(file, 'write').catch((error: unknown) => {
      if (systemCode(error) !== 'ENOSPC') throw error
    })
  }

  async syncDirectory(directory: string): Promise<void> {
    await this.suffer(directory, 'sync')
    return this.#disk.syncDirectory(directory)
  }

  async space(directory: string): Promise<DiskSpace> {
    await this.suffer(directory, 'read')
    const space = await this.#disk.space(directory)
    const full = this.#faultsOn(directory, 'write').some(({ effect }) => effect.kind === 'no-space')
    return full ? { ...space, freeBytes: 0 } : space
  }

  lockDirectory(directory: string): Promise<DirectoryLock> {
    return this.#disk.lockDirectory(directory)
  }
}

class FaultyFile implements DiskFile {
  readonly #file: DiskFile
  readonly #path: string
  readonly #disk: FaultyDisk

  constructor(file: DiskFile, path: string, disk: FaultyDisk) {
    this.#file = file
    this.#path = path
    this.#disk = disk
  }

  get direct(): boolean {
    return this.#file.direct
  }

  async read(target: Uint8Array, position: number): Promise<number> {
    await this.#disk.suffer(this.#path, 'read')
    return this.#file.read(target, position)
  }

  async write(bytes: Uint8Array, position: number): Promise<void> {
    await this.#disk.suffer(this.#path, 'write')
    return this.#file.write(bytes, position)
  }

  async sync(): Promise<void> {
    await this.#disk.suffer(this.#path, 'sync')
    return this.#file.sync()
  }

  async truncate(sizeBytes: number): Promise<void> {
    await this.#disk.suffer(this.#path, 'write')
    return this.#file.truncate(sizeBytes)
  }

  sizeBytes(): Promise<number> {
    return this.#file.sizeBytes()
  }

  close(): Promise<void> {
    return this.#file.close()
  }
}
