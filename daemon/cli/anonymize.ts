// tunwall anonymize: a host and its captures, with other addresses and names, to show to strangers.

import { readFileSync } from 'node:fs'
import type { Command } from 'commander'
import { CommandError, ExitCode, PlaceError, systemReason } from '../errors.ts'

interface AnonymizeWords {
  readonly host?: readonly string[]
  readonly out?: readonly string[]
  readonly in?: readonly string[]
  readonly to?: readonly string[]
  readonly key?: string
  readonly keyFile?: string
  readonly map?: string
  readonly keep?: readonly string[]
  readonly keepPayload?: boolean
}

const several = (word: string, before: readonly string[] = []): string[] => [...before, word]

export function addAnonymize(program: Command): void {
  program
    .command('anonymize')
    .description(
      'map addresses, prefixes preserved, and names of host folders and captures, to show them to others',
    )
    .option('--host <dir>', 'a host folder; again for more', several)
    .option('--out <dir>', 'where it goes, anonymized: not there yet, or empty', several)
    .option('--in <file>', 'a capture, pcapng or pcap; again for more', several)
    .option('--to <file>', 'where it goes, anonymized: pcapng', several)
    .option(
      '--key <text>',
      'the same key maps alike, another time and for other hosts; without, one is drawn',
    )
    .option('--key-file <file>', 'the key is what the file has')
    .option('--map <file>', 'write the private mapping there, for the owner: new names to old ones')
    .option('--keep <name>', 'a name, address or ADDRESS/LENGTH that stays; again for more', several)
    .option('--keep-payload', 'leave what packets carry; without, it becomes zeros')
    .action(async (words: AnonymizeWords) => {
      const hosts = pairs(words.host, words.out, '--host', '--out')
      const captures = pairs(words.in, words.to, '--in', '--to')
      const key = keyOf(words)
      const { anonymize } = await import('../anonymize/command.ts')
      const { files, packets, remarks } = anonymize({
        hosts,
        captures,
        key,
        map: words.map ?? null,
        keep: words.keep ?? [],
        keepPayload: words.keepPayload === true,
      })
      for (const remark of remarks) process.stderr.write(`${remark}\n`)
      const parts = [
        ...(hosts.length > 0 ? [`${files} files`] : []),
        ...(captures.length > 0 ? [`${packets} packets`] : []),
      ]
      const out = words.to?.includes('-') === true ? process.stderr : process.stdout
      out.write(`anonymized ${parts.join(', ')}\n`)
    })
}

function pairs(
  from: readonly string[] | undefined,
  to: readonly string[] | undefined,
  one: string,
  other: string,
): (readonly [string, string])[] {
  const [sources, places] = [from ?? [], to ?? []]
  if (sources.length !== places.length)
    throw new CommandError(
      `expected as many ${other} as ${one}, not ${places.length} and ${sources.length}`,
      ExitCode.Unusable,
    )
  return sources.map((path, i) => [path, places[i]!] as const)
}

function keyOf({ key, keyFile }: AnonymizeWords): Buffer | null {
  if (key !== undefined && keyFile !== undefined)
    throw new CommandError('expected one of --key and --key-file', ExitCode.Unusable)
  if (key === '') throw new CommandError('--key: is empty, and everybody knows that one', ExitCode.Unusable)
  if (keyFile === undefined) return key === undefined ? null : Buffer.from(key)
  const place = { file: keyFile, line: 1, column: 1 }
  let text: Buffer
  try {
    text = readFileSync(keyFile)
  } catch (error) {
    throw new PlaceError(`cannot be read: ${systemReason(error)}`, place)
  }
  // A line end is the editor's.
  const end = text.at(-1) === 10 ? (text.at(-2) === 13 ? -2 : -1) : text.length
  const secret = text.subarray(0, end)
  if (secret.length === 0) throw new PlaceError('no key: the file is empty', place)
  return secret
}
