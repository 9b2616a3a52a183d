/** docs/errors.md, from the one table of error codes. */
import { ERROR_CODES } from '../../common/errors/error-codes.js'
import type { ErrorAction } from '../../common/errors/error-info.js'

const ACTIONS: Record<ErrorAction, string> = {
  never: 'sending the same again gives the same answer',
  retry: 'the same request may work later; the client does this by itself for a while',
  'other-replica': 'read another copy; the client does',
  'refresh-locations': 'ask the master anew where the chunk is and for a fresh capability; the client does',
  reallocate: 'ask the master for other targets and send the chunk again; the client does',
}

export function errorsDocument(): string {
  const rows = Object.entries(ERROR_CODES).map(
    ([code, info]) => `| \`${code}\` | ${info.httpStatus} | ${info.exitCode} | ${info.action} | ${info.meaning} |`,
  )
  const actions = Object.entries(ACTIONS).map(([action, meaning]) => `- **${action}**: ${meaning}.`)
  return `# Errors

Generated from \`common/errors/error-codes.ts\` by \`npm run generate\`; a test keeps the two equal.

Over HTTP every error is \`{"error":{"code","message","retryable","requestId"}}\`; with \`--json\` the command line prints the same
on stdout. Match on \`code\`, which is stable, never on the message. \`requestId\` finds the request in every server's log.

Exit codes of the command line: 0 done, 1 failed, 2 usage, 3 not found, 4 exists or precondition, 5 unavailable, 6 data lost or
corrupt.

What a caller may do:
${actions.join('\n')}

| code | HTTP | exit | action | meaning, and what to do |
|---|---|---|---|---|
${rows.join('\n')}
`
}
