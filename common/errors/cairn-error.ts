/** The one error type that crosses every boundary of Cairn: process, wire, worker and command line. */
import { ERROR_CODES, isErrorCode, type ErrorCode } from './error-codes.js'
import type { ErrorAction, ErrorCodeInfo } from './error-info.js'

/** The JSON shape of an error, on the wire and under `--json`. */
export interface ErrorJson {
  readonly code: ErrorCode
  readonly message: string
  readonly retryable: boolean
  readonly requestId?: string
  readonly data?: Readonly<Record<string, unknown>>
}

export interface CairnErrorOptions {
  readonly cause?: unknown
  readonly data?: Readonly<Record<string, unknown>>
  readonly requestId?: string
}

/**
 * An error with a stable code. Match on `code`; the message is for people and says what to do next.
 * `data` holds what a program needs to act (ids, limits), always plain JSON.
 */
export class CairnError extends Error {
  override readonly name = 'CairnError'
  readonly code: ErrorCode
  readonly data: Readonly<Record<string, unknown>> | undefined
  requestId: string | undefined

  constructor(code: ErrorCode, message: string, options: CairnErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.code = code
    this.data = options.data
    this.requestId = options.requestId
  }

  get info(): ErrorCodeInfo {
    return ERROR_CODES[this.code]
  }

  get action(): ErrorAction {
    return this.info.action
  }

  /** Whether the same request may succeed later, here or against another server. */
  get retryable(): boolean {
    return this.action !== 'never'
  }

  toJSON(): ErrorJson {
    return {
      code: this.code,
      message: this.message,
      retryable: this.retryable,
      ...(this.requestId === undefined ? {} : { requestId: this.requestId }),
      ...(this.data === undefined ? {} : { data: this.data }),
    }
  }

  /** Rebuilds an error from {@link toJSON}. An unknown code (a newer peer) becomes `INTERNAL` and keeps its text. */
  static fromJSON(value: unknown): CairnError {
    const json = (typeof value === 'object' && value !== null ? value : {}) as Record<string, unknown>
    const code = typeof json['code'] === 'string' ? json['code'] : ''
    const message = typeof json['message'] === 'string' ? json['message'] : 'the other side sent no message'
    const data = typeof json['data'] === 'object' && json['data'] !== null ? (json['data'] as Record<string, unknown>) : undefined
    const requestId = typeof json['requestId'] === 'string' ? json['requestId'] : undefined
    return new CairnError(isErrorCode(code) ? code : 'INTERNAL', isErrorCode(code) ? message : `${code}: ${message}`, {
      ...(data === undefined ? {} : { data }),
      ...(requestId === undefined ? {} : { requestId }),
    })
  }
}

/** True for a {@link CairnError} of any realm or copy of this module, optionally of one of the given codes. */
export function isCairnError(error: unknown, ...codes: readonly ErrorCode[]): error is CairnError {
  if (typeof error !== 'object' || error === null || (error as { name?: unknown }).name !== 'CairnError') return false
  return codes.length === 0 || codes.includes((error as CairnError).code)
}

/** The system error code (`ENOENT`, `ECONNREFUSED`, …) of a Node error, or undefined. */
export function systemCode(error: unknown): string | undefined {
  const code = typeof error === 'object' && error !== null ? (error as { code?: unknown }).code : undefined
  return typeof code === 'string' ? code : undefined
}

export function messageOf(error: unknown): string {
  if (typeof error === 'object' && error !== null && typeof (error as { message?: unknown }).message === 'string') {
    return (error as { message: string }).message
  }
  return String(error)
}

/** Any thrown value as a {@link CairnError}: itself when it is one, `INTERNAL` with the original as cause otherwise. */
export function toCairnError(error: unknown): CairnError {
  if (isCairnError(error)) return error
  return new CairnError('INTERNAL', messageOf(error), { cause: error })
}
