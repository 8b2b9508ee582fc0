// tunwall diff: what two hosts do differently with the same traffic.

import type { Command } from 'commander'
import { CommandError, ExitCode } from '../errors.ts'

interface DiffWords {
  readonly a: string
  readonly b: string
  readonly in?: string
  readonly iface?: string
  readonly filter?: string
  readonly json?: boolean
  readonly color?: boolean
  readonly seed: string
}

export function addDiff(program: Command): void {
  program
    .command('diff')
    .description('compare what two hosts do with the same traffic; exit 1 when something differs')
    .requiredOption('--a <dir>', 'host folder: as it is')
    .requiredOption('--b <dir>', 'host folder: as it would be')
    .option('--in <file>', 'pcapng or pcap, - for standard input: the traffic')
    .option('--iface <name>', 'the interface on which frames arrive, where the capture names none')
    .option('--filter <expr>', 'only packets that tcpdump would show for it (needs libpcap)')
    .option('--json', 'as JSON')
    .option('--color', 'in colours, though standard output is no terminal')
    .option('--no-color', 'without colours')
    .option('--seed <number>', 'seed of the random numbers', '1')
    .action(async (words: DiffWords) => {
      const seed = wholeNumber('--seed', words.seed)
      if (words.in === undefined) throw new CommandError('expected --in FILE', ExitCode.Unusable)
      // What only this command needs is read only now.
      const { diffCapture } = await import('../diff/run.ts')
      const { comparisonJson, printComparison } = await import('../diff/report.ts')
      const { default: picocolors } = await import('picocolors')
      const { comparison, provenance } = diffCapture({
        a: words.a,
        b: words.b,
        input: words.in,
        iface: words.iface ?? null,
        filter: words.filter ?? null,
        seed,
        progress: process.stderr.isTTY === true,
      })
      const paint = picocolors.createColors(words.color ?? picocolors.isColorSupported)
      process.stdout.write(
        words.json === true ? comparisonJson(comparison) : printComparison(comparison, provenance, paint),
      )
      if (comparison.flows.length > 0) process.exitCode = ExitCode.Failure
    })
}

function wholeNumber(option: string, text: string): number {
  const value = Number(text)
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(value))
    throw new CommandError(`${option} ${text}: expected a whole number from 0 to 2^53 - 1`, ExitCode.Unusable)
  return value
}
