// The `tunwall` command: finds the subcommand, turns its failures into one line and an exit status.

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Command, CommanderError } from 'commander'
import { packageRoot } from '../../datapath/native/root.ts'
import { CommandError, ExitCode } from '../errors.ts'
import { addSubcommands } from './index.ts'

/** The version that package.json has. */
const version = (): string =>
  String(JSON.parse(readFileSync(join(packageRoot(), 'package.json'), 'utf8')).version)

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
