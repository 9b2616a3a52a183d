/**
 * What Cairn's files take on one disk, kept as they come and go: a walk over the directory finds the same sums. Files
 * whose sizes follow from nothing else (bad, set aside, unfinished) are remembered one by one.
 */

/** Sizes of files by name, and their sum. */
export class FileSizes {
  readonly #sizes = new Map<string, number>()
  #totalBytes = 0

  get totalBytes(): number {
    return this.#totalBytes
  }

  get names(): readonly string[] {
    return [...this.#sizes.keys()]
  }

  sizeOf(name: string): number | undefined {
    return this.#sizes.get(name)
  }

  set(name: string, bytes: number): void {
    this.#totalBytes += bytes - (this.#sizes.get(name) ?? 0)
    this.#sizes.set(name, bytes)
  }

  delete(name: string): void {
    this.#totalBytes -= this.#sizes.get(name) ?? 0
    this.#sizes.delete(name)
  }

  clear(): void {
    this.#sizes.clear()
    this.#totalBytes = 0
  }
}

export class DiskUsage {
  /** Of good copies. */
  chunkBytes = 0
  chunkCount = 0
  /** Pack files whole, and the records in them that count. */
  packBytes = 0
  packLiveBytes = 0
  /** Bad copies in place with the marks beside them, by chunk id. */
  readonly corrupt = new FileSizes()
  /** By file name in the directory. */
  readonly quarantine = new FileSizes()
  readonly temporary = new FileSizes()

  /** What a compaction of packs would give back. */
  get packGarbageBytes(): number {
    return Math.max(0, this.packBytes - this.packLiveBytes)
  }

  clear(): void {
    this.chunkBytes = 0
    this.chunkCount = 0
    this.packBytes = 0
    this.packLiveBytes = 0
    for (const sizes of [this.corrupt, this.quarantine, this.temporary]) sizes.clear()
  }
}
