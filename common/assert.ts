/**
 * Assertions that stay on in production. A failed one is a bug in Cairn, never bad input: bad input gets a
 * `CairnError`. The process that sees an AssertionFailure ends, since its state can no longer be trusted.
 */
export class AssertionFailure extends Error {
  override readonly name = 'AssertionFailure'
}

export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new AssertionFailure(`assertion failed: ${message}`)
}

/** For the `default` of a switch over a union: fails to compile when a case is missing. */
export function unreachable(value: never): never {
  throw new AssertionFailure(`unreachable case: ${JSON.stringify(value)}`)
}
