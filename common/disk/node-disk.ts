/** The machine's file systems, through Node. Direct I/O where they offer it (Linux), buffered where they do not. */
import { constants, promises as fs, type Dirent } from 'node:fs'
import path from 'node:path'
import { systemCode } from '../errors/cairn-error.js'
import { KeyedMutex } from '../flow/keyed-mutex.js'
import { lockDirectory } from './directory-lock.js'
import {
  systemError,
  type DirectoryEntry,
  type DirectoryLock,
  type Disk,
  type DiskFile,
  type DiskSpace,
  type FileStat,
  type OpenMode,
  type OpenOptions,
} from './disk.js'

const FLAGS: Readonly<Record<OpenMode, number>> = {
  read: constants.O_RDONLY,
  create: constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL,
  update: constants.O_RDWR | constants.O_CREAT,
}

const REPLACING = new KeyedMutex<string>()

export class NodeDisk implements Disk {
  async openFile(file: string, options: OpenOptions): Promise<DiskFile> {
    const flags = FLAGS[options.mode]
    const direct = typeof constants.O_DIRECT === 'number' ? constants.O_DIRECT : 0
    if (options.direct && direct !== 0) {
      try {
        return new NodeDiskFile(await fs.open(file, flags | direct), true)
      } catch (error) {
        // EINVAL: this file system knows no direct I/O. With O_CREAT the file may exist by now.
        if (systemCode(error) !== 'EINVAL') throw error
        if (options.mode === 'create') await fs.rm(file, { force: true })
      }
    }
    return new NodeDiskFile(await fs.open(file, flags), false)
  }

  readFile(file: string): Promise<Uint8Array> {
    return fs.readFile(file)
  }

  replaceFile(file: string, content: Uint8Array): Promise<void> {
    // One at a time per file: two that share the temporary name would write into one another.
    return REPLACING.run(path.resolve(file), () => this.#replaceFile(file, content))
  }

  async #replaceFile(file: string, content: Uint8Array): Promise<void> {
    const temporary = `${file}.new`
    try {
      const handle = await fs.open(temporary, 'w')
      try {
        await handle.writeFile(content)
        await handle.datasync()
      } finally {
        await handle.close()
      }
      await fs.rename(temporary, file)
    } catch (error) {
      await fs.rm(temporary, { force: true }).catch(() => undefined)
      throw error
    }
    await this.syncDirectory(path.dirname(file))
  }

  async stat(file: string): Promise<FileStat | undefined> {
    try {
      const stat = await fs.stat(file)
      return { kind: kindOf(stat), sizeBytes: stat.size, modifiedMs: stat.mtimeMs }
    } catch (error) {
      if (systemCode(error) === 'ENOENT' || systemCode(error) === 'ENOTDIR') return undefined
      throw error
    }
  }

  async list(directory: string): Promise<DirectoryEntry[]> {
    const entries = await fs.readdir(directory, { withFileTypes: true })
    return entries.map((entry) => ({ name: entry.name, kind: kindOf(entry) }))
  }

  async makeDirectory(directory: string): Promise<void> {
    await fs.mkdir(directory, { recursive: true })
  }

  rename(from: string, to: string): Promise<void> {
    return fs.rename(from, to)
  }

  remove(file: string): Promise<void> {
    return fs.unlink(file)
  }

  async removeTree(directory: string): Promise<void> {
    await fs.rm(directory, { recursive: true, force: true })
  }

  async syncDirectory(directory: string): Promise<void> {
    const handle = await fs.open(directory, constants.O_RDONLY | (constants.O_DIRECTORY ?? 0))
    try {
      await handle.sync()
    } finally {
      await handle.close()
    }
  }

  async space(directory: string): Promise<DiskSpace> {
    const { blocks, bavail, bsize } = await fs.statfs(directory)
    return { totalBytes: blocks * bsize, freeBytes: bavail * bsize }
  }

  async lockDirectory(directory: string): Promise<DirectoryLock> {
    return lockDirectory(directory)
  }
}

function kindOf(entry: Pick<Dirent, 'isFile' | 'isDirectory'>): DirectoryEntry['kind'] {
  return entry.isFile() ? 'file' : entry.isDirectory() ? 'directory' : 'other'
}

class NodeDiskFile implements DiskFile {
  readonly #handle: fs.FileHandle
  readonly direct: boolean

  constructor(handle: fs.FileHandle, direct: boolean) {
    this.#handle = handle
    this.direct = direct
  }

  async read(target: Uint8Array, position: number): Promise<number> {
    let done = 0
    while (done < target.length) {
      const { bytesRead } = await this.#handle.read(target, done, target.length - done, position + done)
      done += bytesRead
      // A direct read stops short, and unaligned, only at the end of the file.
      if (bytesRead === 0 || (this.direct && done < target.length)) break
    }
    return done
  }

  async write(bytes: Uint8Array, position: number): Promise<void> {
    for (let done = 0; done < bytes.length;) {
      const { bytesWritten } = await this.#handle.write(bytes, done, bytes.length - done, position + done)
      if (bytesWritten === 0) throw systemError('EIO', 'the file system took no byte of a write')
      done += bytesWritten
    }
  }

  sync(): Promise<void> {
    return this.#handle.datasync()
  }

  truncate(sizeBytes: number): Promise<void> {
    return this.#handle.truncate(sizeBytes)
  }

  async sizeBytes(): Promise<number> {
    return (await this.#handle.stat()).size
  }

  close(): Promise<void> {
    return this.#handle.close()
  }
}
