/** The command line: parses, runs one command, ends with its exit code. */
import { Command, CommanderError } from 'commander'
import { VERSION } from '../common/version.js'
import { CairnError } from '../common/errors/cairn-error.js'
import { reportFailure } from './context.js'

const EXIT_USAGE = 2

/** Adds a group of commands to the program. */
type Register = (program: Command) => void

/** Groups of commands, in the order in which help lists them, with the commands that need nothing but their own group. */
const GROUPS: readonly { readonly alone: readonly string[]; readonly load: () => Promise<Register> }[] = [
  { alone: ['up'], load: async () => (await import('./commands/up.js')).registerUp },
  { alone: ['put', 'get', 'cat'], load: async () => (await import('./commands/transfer.js')).registerTransfer },
  { alone: ['ls', 'stat', 'rm', 'mv', 'cp'], load: async () => (await import('./commands/namespace.js')).registerNamespace },
  { alone: [], load: async () => (await import('./commands/uploads.js')).registerUploads },
  { alone: ['status'], load: async () => (await import('./commands/admin.js')).registerAdmin },
  { alone: ['server'], load: async () => (await import('./commands/server-life.js')).registerServerLife },
  { alone: ['repair'], load: async () => (await import('./commands/repair.js')).registerRepair },
  { alone: ['verify'], load: async () => (await import('./commands/verify.js')).registerVerify },
  { alone: [], load: async () => (await import('./commands/metadata.js')).registerMetadata },
  { alone: [], load: async () => (await import('./commands/doctor.js')).registerDoctor },
  { alone: ['master', 'chunkserver', 'gateway'], load: async () => (await import('./commands/servers.js')).registerServers },
]

/**
 * A command whose name comes first loads its own group alone: a cluster is ready in half the time when none of its
 * processes loads what the others are made of. For anything else, help included, all are loaded.
 */
async function createProgram(first: string | undefined): Promise<Command> {
  const program = new Command('cairn')
    .description(
      'Chunked, replicated file storage. Exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 exists or precondition, 5 unavailable, 6 data lost or corrupt.',
    )
    .version(VERSION)
    .showHelpAfterError('(cairn COMMAND --help tells more)')
  const own = GROUPS.filter(({ alone }) => first !== undefined && alone.includes(first))
  for (const { load } of own.length > 0 ? own : GROUPS) (await load())(program)
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
  const program = await createProgram(process.argv[2])
  await program.parseAsync()
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
