// tunwall explain: what a host does with a packet, and which rule did it.

import { setFlagsFromString } from 'node:v8'
import type { Command } from 'commander'
import { CommandError, ExitCode } from '../errors.ts'

interface ExplainWords {
  readonly host: string
  readonly in?: string
  readonly packet?: string
  readonly iface?: string
  readonly all?: boolean
  readonly whyNot?: string
  readonly json?: boolean
  readonly color?: boolean
  readonly seed: string
}

export function addExplain(program: Command): void {
  program
    .command('explain')
    .description('tell what the host that a folder describes does with a packet, step by step, and why')
    .argument('[packet...]', 'in words: tcp 10.0.0.5:40000 > 10.96.0.10:80 syn in eth0; more after a comma')
    .requiredOption('--host <dir>', 'the host folder')
    .option('--in <file>', 'a packet of this capture instead, after all that come before it')
    .option('--packet <number>', 'which one, from 1')
    .option('--iface <name>', 'the interface on which frames arrive, where the capture names none')
    .option('--all', 'also the rules that did not fit, each with the condition that failed and what it saw')
    .option('--why-not <rule>', 'why this rule did not fit: "filter FORWARD 3", FILE:LINE or its text')
    .option('--json', 'as JSON')
    .option('--color', 'in colours, though standard output is no terminal')
    .option('--no-color', 'without colours')
    .option('--seed <number>', 'seed of the random numbers', '1')
    .action(async (packet: readonly string[], words: ExplainWords) => {
      const text = packet.join(' ')
      if ((text === '') === (words.in === undefined))
        throw new CommandError('expected a packet in words, or --in FILE --packet NUMBER', ExitCode.Unusable)
      // A packet or two do not pay for optimised code: to make it took a quarter of the whole time.
      if (words.in === undefined) setFlagsFromString('--no-opt')
      // What only this command needs is read only now.
      const { explain } = await import('../explain/explain.ts')
      process.stdout.write(
        explain({
          host: words.host,
          packets:
            words.in === undefined
              ? { text }
              : {
                  capture: words.in,
                  number: wholeNumber('--packet', words.packet, 1),
                  iface: words.iface ?? null,
                },
          all: words.all === true,
          whyNot: words.whyNot ?? null,
          json: words.json === true,
          color: words.color ?? null,
          seed: wholeNumber('--seed', words.seed, 0),
        }),
      )
    })
}

function wholeNumber(option: string, text: string | undefined, least: number): number {
  if (text === undefined) throw new CommandError(`expected ${option} NUMBER`, ExitCode.Unusable)
  const number = Number(text)
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(number) || number < least)
    throw new CommandError(
      `${option} ${text}: expected a whole number from ${least} to 2^53 - 1`,
      ExitCode.Unusable,
    )
  return number
}
