// tunwall up: the gateway in the foreground.

import { statSync } from 'node:fs'
import type { Command } from 'commander'
import { defaultSocket } from '../control/client.ts'
import { CommandError, ExitCode } from '../errors.ts'

const LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent']

interface UpOptions {
  readonly host: string
  readonly socket: string
  readonly logLevel: string
  readonly seed?: string
  readonly nflog?: string
}

export function addUp(program: Command): void {
  program
    .command('up')
    .description('run the gateway that a host folder describes, until SIGINT or SIGTERM')
    .requiredOption('--host <dir>', 'the host folder')
    .option('--socket <path>', 'where the tools reach it', defaultSocket())
    .option('--nflog <dir>', 'write the packets of NFLOG there, a pcap for each group')
    .option('--log-level <level>', LEVELS.join(', '), 'info')
    .option('--seed <number>', 'seed of the random numbers (default: from the system)')
    .action(async (options: UpOptions) => {
      if (!statSync(options.host, { throwIfNoEntry: false })?.isDirectory())
        throw new CommandError(`${options.host}: no such host folder`, ExitCode.Unusable)
      if (options.nflog !== undefined && !statSync(options.nflog, { throwIfNoEntry: false })?.isDirectory())
        throw new CommandError(`--nflog ${options.nflog}: no such directory`, ExitCode.Unusable)
      if (!LEVELS.includes(options.logLevel))
        throw new CommandError(
          `--log-level ${options.logLevel}: expected ${LEVELS.join(', ')}`,
          ExitCode.Unusable,
        )
      const seed = options.seed === undefined ? null : Number(options.seed)
      if (seed !== null && !Number.isSafeInteger(seed))
        throw new CommandError(`--seed ${options.seed}: expected a whole number`, ExitCode.Unusable)
      // What only this command needs is read only now.
      const [{ pino }, { default: pretty }, { runGateway }] = await Promise.all([
        import('pino'),
        import('pino-pretty'),
        import('../gateway.ts'),
      ])
      const log = process.stdout.isTTY
        ? pino({ level: options.logLevel }, pretty({ ignore: 'pid,hostname', sync: true }))
        : pino({ level: options.logLevel }, pino.destination({ sync: true }))
      await runGateway({
        directory: options.host,
        socket: options.socket,
        seed,
        nflog: options.nflog ?? null,
        log,
      })
    })
}
