/** One process of a cluster under test, as a test sees it. */
import { readFileSync } from 'node:fs'
import type { Child } from '../cli/up/child.js'
import { logFileOf } from '../cli/up/child.js'

/** A handle: stays the same over restarts of its process. */
export interface TestMember {
  readonly role: 'master' | 'chunkserver' | 'gateway'
  /** `master`, `gateway`, `chunkserver-1`, … */
  readonly name: string
  /** A chunkserver's server id, as `status` and `stat` give it. Empty before the first start is over. */
  readonly id: string
  /** Of the process that runs now or ran last. */
  readonly pid: number
  /** What others reach it by. */
  readonly url: string
  readonly zone: string
  /** Its data directories; none for a gateway. */
  readonly directories: readonly string[]
  /** Whether its process exists, paused or not. */
  readonly running: boolean
  readonly paused: boolean
  /** What it has logged so far, one JSON object per line. */
  log(): string
}

export interface MemberParts {
  readonly child: Child
  /** Undefined: where it listens. */
  readonly url: string | undefined
  readonly zone: string
  readonly directories: readonly string[]
}

export class Member implements TestMember {
  readonly child: Child
  readonly #url: string | undefined
  readonly zone: string
  readonly directories: readonly string[]
  paused = false

  constructor(parts: MemberParts) {
    this.child = parts.child
    this.#url = parts.url
    this.zone = parts.zone
    this.directories = parts.directories
  }

  get url(): string {
    return this.#url ?? this.child.url
  }

  get role(): TestMember['role'] {
    return this.child.spec.role
  }

  get name(): string {
    return this.child.spec.name
  }

  get id(): string {
    return this.child.id
  }

  get pid(): number {
    return this.child.pid
  }

  get running(): boolean {
    return this.child.running
  }

  log(): string {
    return readFileSync(logFileOf(this.child.spec), 'utf8')
  }
}
