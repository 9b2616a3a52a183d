/** The command line: parses, runs one command, ends with its exit code. */
import { Command, CommanderError } from 'commander'
import { VERSION } from '../common/version.js'
import { registerAdmin } from './commands/admin.js'
import { registerDoctor } from './commands/doctor.js'
import { registerMetadata } from './commands/metadata.js'
import { registerNamespace } from './commands/namespace.js'
import { registerServers } from './commands/servers.js'
import { registerTransfer } from './commands/transfer.js'
import { registerUp } from './commands/up.js'
import { registerUploads } from './commands/uploads.js'
import { CairnError } from '../common/errors/cairn-error.js'
import { reportFailure } from './context.js'

const EXIT_USAGE = 2

function createProgram(): Command {
  const program = new Command('cairn')
    .description(
      'Chunked, replicated file storage. Exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 exists or precondition, 5 unavailable, 6 data lost or corrupt.',
    )
    .version(VERSION)
    .showHelpAfterError('(cairn COMMAND --help tells more)')
  registerUp(program)
  registerTransfer(program)
  registerNamespace(program)
  registerUploads(program)
  registerAdmin(program)
  registerMetadata(program)
  registerDoctor(program)
  registerServers(program)
  for (const command of everyCommand(program)) command.exitOverride()
  return program
}

function everyCommand(command: Command): Command[] {
  return [command, ...command.commands.flatMap((child) => everyCommand(child))]
}

const wantsJson = process.argv.includes('--json')

// Whoever reads our output may leave, as `| head -1` does. A server must outlive that; a command stops by itself, see context.ts.
for (const stream of [process.stdout, process.stderr]) stream.on('error', () => undefined)

try {
  await createProgram().parseAsync()
} catch (error) {
  process.exitCode = exitCodeOf(error)
}

function exitCodeOf(error: unknown): number {
  if (!(error instanceof CommanderError)) return reportFailure(error, wantsJson)
  // Help and version are no errors; commander has already said what is wrong in other cases.
  if (error.exitCode === 0) return 0
  if (wantsJson) reportFailure(new CairnError('USAGE', error.message), true)
  return EXIT_USAGE
}
