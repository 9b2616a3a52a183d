/** Faults of the disks of one chunkserver: the control file that its process looks at, see common/disk/faulty-disk.ts. */
import { mkdirSync, renameSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { DISK_FAULTS_VARIABLE, type DiskFault, type DiskOperation } from '../common/disk/faulty-disk.js'

export type { DiskOperation }

export interface DiskTarget {
  /** Which of the server's data directories. Default: all. */
  readonly disk?: number
}

type Effect = DiskFault['effect']

export class DiskFaults {
  readonly #file: string
  #faults: DiskFault[] = []

  constructor(file: string) {
    this.#file = file
    mkdirSync(path.dirname(file), { recursive: true })
    this.#save()
  }

  get env(): Record<string, string> {
    return { [DISK_FAULTS_VARIABLE]: this.#file }
  }

  /** Replaces faults of the same kind on the same directories. In force when this returns. */
  set(directories: readonly string[], operations: readonly DiskOperation[], effect: Effect): void {
    this.#without(directories, (fault) => fault.effect.kind === effect.kind && codeOf(fault.effect) === codeOf(effect))
    this.#faults.push(...directories.map((directory) => ({ directory, operations: [...operations], effect })))
    this.#save()
  }

  clear(directories: readonly string[], kinds?: readonly Effect['kind'][], code?: string): void {
    this.#without(
      directories,
      ({ effect }) => (kinds === undefined || kinds.includes(effect.kind)) && (code === undefined || codeOf(effect) === code),
    )
    this.#save()
  }

  #without(directories: readonly string[], gone: (fault: DiskFault) => boolean): void {
    this.#faults = this.#faults.filter((fault) => !directories.includes(fault.directory) || !gone(fault))
  }

  /** By a rename, so that its reader finds the old content or the new, whole. */
  #save(): void {
    writeFileSync(`${this.#file}.new`, JSON.stringify({ faults: this.#faults }))
    renameSync(`${this.#file}.new`, this.#file)
  }
}

const codeOf = (effect: Effect): string => (effect.kind === 'error' ? effect.code : '')
