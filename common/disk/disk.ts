/**
 * The seam to file systems. Errors are those of the operating system, told by `code` (`ENOENT`, `ENOSPC`, `EIO`, …);
 * the callers know what they mean and turn them into a `CairnError`. Implementations: node-disk.ts, memory-disk.ts.
 */

/** Position, length and memory of direct I/O must be multiples of this. */
export const DISK_ALIGNMENT_BYTES = 4096

export const alignUp = (bytes: number): number => Math.ceil(bytes / DISK_ALIGNMENT_BYTES) * DISK_ALIGNMENT_BYTES

export type OpenMode =
  /** For reading; the file must exist. */
  | 'read'
  /** For writing a new file; it must not exist. */
  | 'create'
  /** For reading and writing; created when missing, content kept. */
  | 'update'

export interface OpenOptions {
  readonly mode: OpenMode
  /** Past the page cache if the file system can; see {@link DiskFile.direct}. */
  readonly direct?: boolean
}

export interface DiskFile {
  /** Whether direct I/O is in effect, and with it the rule of {@link DISK_ALIGNMENT_BYTES}. */
  readonly direct: boolean
  /** Reads up to `target.length` bytes; fewer only at the end of the file. */
  read(target: Uint8Array, position: number): Promise<number>
  /** Writes all of `bytes`. Not durable before {@link sync}. */
  write(bytes: Uint8Array, position: number): Promise<void>
  /** Makes content and size durable (fdatasync). After a failure the content is unknown: never retry, discard the file. */
  sync(): Promise<void>
  truncate(sizeBytes: number): Promise<void>
  sizeBytes(): Promise<number>
  close(): Promise<void>
}

export interface DirectoryEntry {
  readonly name: string
  readonly kind: 'file' | 'directory' | 'other'
}

export interface FileStat {
  readonly kind: 'file' | 'directory' | 'other'
  readonly sizeBytes: number
  readonly modifiedMs: number
}

export interface DiskSpace {
  readonly totalBytes: number
  /** What this process may still use. */
  readonly freeBytes: number
}

export interface DirectoryLock {
  release(): void
}

export interface Disk {
  openFile(path: string, options: OpenOptions): Promise<DiskFile>
  /** A small file whole. */
  readFile(path: string): Promise<Uint8Array>
  /** Replaces a small file so that after a crash either the old or the new content is there, whole. Durable on return. */
  replaceFile(path: string, content: Uint8Array): Promise<void>
  /** Undefined when nothing is there. */
  stat(path: string): Promise<FileStat | undefined>
  /** Entries in no particular order. */
  list(path: string): Promise<DirectoryEntry[]>
  /** Makes the directory and its parents; no error when it exists. Durable once its parent is synced. */
  makeDirectory(path: string): Promise<void>
  /** Atomic within a file system; replaces the target. Durable once both directories are synced. */
  rename(from: string, to: string): Promise<void>
  remove(path: string): Promise<void>
  removeTree(path: string): Promise<void>
  /** Makes the entries of a directory durable. */
  syncDirectory(path: string): Promise<void>
  space(path: string): Promise<DiskSpace>
  /**
   * Holds a directory for this process until released or until the process ends, however it ends.
   * @throws `DIRECTORY_LOCKED`
   */
  lockDirectory(path: string): Promise<DirectoryLock>
}

/** An error as the operating system would report it. */
export const systemError = (code: string, what: string): Error => Object.assign(new Error(`${code}: ${what}`), { code })
