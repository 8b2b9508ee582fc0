// tunwall diff: what two hosts do differently with the same traffic.

import type { Command } from 'commander'
import { CommandError, ExitCode } from '../errors.ts'

interface DiffWords {
  readonly a: string
  readonly b: string
  readonly in?: string
  readonly generate?: string
  readonly find?: boolean
  readonly budget: string
  readonly save?: string
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
    .option('--generate <packets>', 'no capture: so many packets at random, of what the rules speak of')
    .option('--find', 'no traffic: search for a packet on which they differ')
    .option('--budget <seconds>', 'how long to search', '60')
    .option('--save <prefix>', 'what --find found, as PREFIX.pcapng and as PREFIX.test.yaml for tunwall test')
    .option('--iface <name>', 'the interface on which frames arrive, where the capture names none')
    .option('--filter <expr>', 'only packets that tcpdump would show for it (needs libpcap)')
    .option('--json', 'as JSON')
    .option('--color', 'in colours, though standard output is no terminal')
    .option('--no-color', 'without colours')
    .option('--seed <number>', 'seed of the random numbers', '1')
    .action(async (words: DiffWords) => {
      const seed = wholeNumber('--seed', words.seed)
      const asked = [words.in !== undefined, words.generate !== undefined, words.find === true]
      if (asked.filter(Boolean).length !== 1)
        throw new CommandError('expected one of --in FILE, --generate PACKETS and --find', ExitCode.Unusable)
      if (words.find === true) return search(words, seed)
      // What only this command needs is read only now.
      const { diffCapture, diffGenerated } = await import('../diff/run.ts')
      const { comparisonJson, printComparison } = await import('../diff/report.ts')
      const { colorsFor } = await import('../colors.ts')
      const { a, b } = words
      const { comparison, provenance } =
        words.in === undefined
          ? diffGenerated({ a, b, count: wholeNumber('--generate', words.generate ?? ''), seed })
          : diffCapture({
              a,
              b,
              input: words.in,
              iface: words.iface ?? null,
              filter: words.filter ?? null,
              seed,
              progress: process.stderr.isTTY === true,
            })
      const paint = colorsFor(words.color ?? null)
      process.stdout.write(
        words.json === true ? comparisonJson(comparison) : printComparison(comparison, provenance, paint),
      )
      if (comparison.flows.length > 0) process.exitCode = ExitCode.Failure
    })
}

/** Exit status 1 when something was found. */
async function search(words: DiffWords, seed: number): Promise<void> {
  const budget = wholeNumber('--budget', words.budget)
  const { diffFind } = await import('../diff/run.ts')
  const { printFound } = await import('../diff/report.ts')
  const { printSteps } = await import('../words/print.ts')
  const { colorsFor } = await import('../colors.ts')
  const { difference, provenance, tried, seconds, files } = diffFind({
    a: words.a,
    b: words.b,
    seed,
    budget,
    save: words.save ?? null,
    progress: process.stderr.isTTY === true,
  })
  const spent = `${tried.toLocaleString('en')} conversations in ${seconds.toFixed(1)} s`
  if (difference === null || provenance === null) {
    process.stdout.write(words.json === true ? '{"found":false}\n' : `no difference found: ${spent}\n`)
    return
  }
  process.exitCode = ExitCode.Failure
  const { steps, found } = difference
  const said = printSteps(steps)
  if (words.json === true) {
    const { kind, a, b } = found
    process.stdout.write(
      `${JSON.stringify({ found: true, packets: said, seed: difference.seed, kind, a, b, files }, null, 2)}\n`,
    )
    return
  }
  const paint = colorsFor(words.color ?? null)
  const luck = difference.seed === 1 ? '' : `with the random numbers of --seed ${difference.seed}\n`
  const saved = files.length === 0 ? '' : `written: ${files.join(', ')}\n`
  process.stdout.write(`${printFound(said, found, provenance, paint)}\n${luck}${saved}found after ${spent}\n`)
}

function wholeNumber(option: string, text: string): number {
  const value = Number(text)
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(value))
    throw new CommandError(`${option} ${text}: expected a whole number from 0 to 2^53 - 1`, ExitCode.Unusable)
  return value
}
