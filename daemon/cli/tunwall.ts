// The `tunwall` command: finds the subcommand, turns its failures into one line and an exit status.

import { readFileSync } from 'node:fs'
import { Command, CommanderError } from 'commander'
import { CommandError, ExitCode } from '../errors.ts'
import { addSubcommands } from './index.ts'

/** The version that package.json has, beside the sources or beside dist. */
function version(): string {
  for (const up of ['../../package.json', '../../../package.json'])
    try {
      const { name, version } = JSON.parse(readFileSync(new URL(up, import.meta.url), 'utf8'))
      if (name === 'tunwall') return String(version)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    }
  return 'unknown'
}

/** Runs one command line, without `node` and the script. Resolves to the exit status; throws nothing. */
export async function tunwall(argv: readonly string[]): Promise<number> {
  const program = new Command('tunwall')
    .description(
      'Linux’s packet filter in user space: a gateway over TUN devices, and the same engine over captures',
    )
    .version(version(), '-V, --version', 'print the version')
    .helpOption('-h, --help', 'print this help')
    // Options behind a subcommand are the subcommand's: `tunwall iptables --version`.
    .enablePositionalOptions()
    .showHelpAfterError('(tunwall --help says more)')
    .exitOverride()
  addSubcommands(program)
  process.exitCode = ExitCode.Ok
  try {
    await program.parseAsync([...argv], { from: 'user' })
    return Number(process.exitCode ?? ExitCode.Ok)
  } catch (error) {
    // commander has printed its own message: help and version end with 0, bad usage with 2.
    if (error instanceof CommanderError) return error.exitCode === 0 ? ExitCode.Ok : ExitCode.Unusable
    if (error instanceof CommandError) {
      const about = error.status === ExitCode.Unusable ? '' : 'tunwall: '
      process.stderr.write(`${about}${error.message}\n`)
      return error.status
    }
    process.stderr.write(`tunwall: internal error: ${(error as Error).stack ?? error}\n`)
    return 70
  }
}
