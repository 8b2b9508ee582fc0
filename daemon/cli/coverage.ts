// tunwall coverage: which rules of a host captures and tests hit, and which none ever can.

import { resolve } from 'node:path'
import type { Command } from 'commander'
import { CommandError, ExitCode } from '../errors.ts'

interface CoverageWords {
  readonly host: string
  readonly in?: readonly string[]
  readonly iface?: string
  readonly lcov?: string
  readonly annotate?: string
  readonly summary?: boolean
  readonly min?: string
  readonly seed: string
}

export function addCoverage(program: Command): void {
  program
    .command('coverage')
    .description('tell which rules of a host captures or tests hit, which they do not, and which nothing can')
    .argument('[tests...]', 'test files, and folders with *.test.yaml in them, of this host')
    .requiredOption('--host <dir>', 'the host folder')
    .option('--in <files...>', 'captures: each is sent through the host')
    .option('--iface <name>', 'the interface on which frames arrive, where a capture names none')
    .option('--annotate <file>', 'write the rules with their hits there, not to standard output')
    .option('--summary', 'only the sums')
    .option('--lcov <file>', 'write lcov’s format, with a line of a rule as a line of code')
    .option('--min <percent>', 'exit with 1 if a smaller part of the rules that can be hit was')
    .option('--seed <number>', 'seed of the random numbers', '1')
    .action(async (tests: readonly string[], words: CoverageWords) => {
      const { coverage } = await import('../coverage/command.ts')
      const { coverTests } = await import('../testing/command.ts')
      const host = resolve(words.host)
      process.exitCode = coverage({
        host,
        captures: words.in ?? [],
        iface: words.iface ?? null,
        seed: wholeNumber('--seed', words.seed, Number.MAX_SAFE_INTEGER),
        least: words.min === undefined ? null : wholeNumber('--min', words.min, 100),
        lcov: words.lcov ?? null,
        annotate: words.annotate ?? (words.summary ? null : '-'),
        summary: true,
        out: (text) => void process.stdout.write(text),
        tests: tests.length === 0 ? null : (coverages) => coverTests(tests, host, coverages),
      })
    })
}

function wholeNumber(option: string, text: string, most: number): number {
  const number = Number(text)
  if (!/^\d+$/.test(text) || number > most)
    throw new CommandError(`${option} ${text}: expected a whole number from 0 to ${most}`, ExitCode.Unusable)
  return number
}
