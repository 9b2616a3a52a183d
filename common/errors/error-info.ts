/** What is known of an error code: how it looks over HTTP and in a shell, and what the caller may do. */

/** What a caller may do about an error. `reallocate`: ask the master for other targets and send the chunk again. */
export type ErrorAction = 'never' | 'retry' | 'other-replica' | 'refresh-locations' | 'reallocate'

/** Exit codes of the command line: 1 failed, 2 usage, 3 not found, 4 exists or precondition, 5 unavailable, 6 data lost or corrupt. */
export type ExitCode = 1 | 2 | 3 | 4 | 5 | 6

export interface ErrorCodeInfo {
  readonly httpStatus: number
  readonly exitCode: ExitCode
  readonly action: ErrorAction
  /** One sentence for the error table: what happened and what to do next. */
  readonly meaning: string
}
