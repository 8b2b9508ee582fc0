// A scenario on its host and, anonymized, on the anonymized host.

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { FrameMapper } from '../../daemon/anonymize/captures.ts'
import { HostFiles } from '../../daemon/anonymize/host.ts'
import { Mapping, type MappingOptions } from '../../daemon/anonymize/mapping.ts'
import { parseEither, parsePrefix } from '../../daemon/host-folder/address.ts'
import { LinkType } from '../../datapath/ports/pcap.ts'
import { maskedWords } from '../../datapath/route.ts'
import { formatAddress } from '../../datapath/wire/address.ts'
import { writeFolder } from '../harness/capture.ts'

/** Files of an anonymized folder by name, a character for each byte, and what they were mapped with. */
export function anonymized(
  files: Readonly<Record<string, string>>,
  options: Partial<MappingOptions> = {},
): { readonly files: Record<string, string>; readonly mapping: Mapping } {
  const directory = mkdtempSync(join(tmpdir(), 'tunwall-anonymize-'))
  try {
    const host = new HostFiles(writeFolder(join(directory, 'host'), files))
    const mapping = new Mapping({ key: Buffer.from('key'), keep: [], keepPayload: true, ...options })
    host.freeze(mapping)
    host.learn(mapping)
    const mapped = host.map(mapping).map(([name, bytes]) => [name, Buffer.from(bytes).toString('latin1')])
    return { files: Object.fromEntries(mapped), mapping }
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

/** A packet, mapped. */
export function mappedPacket(mapping: Mapping, packet: Uint8Array): Uint8Array {
  const copy = Uint8Array.from(packet)
  new FrameMapper(mapping).frame(LinkType.Raw, copy, 0, copy.length)
  return copy
}

const TOKEN = /[\da-f:]*:[\da-f:.]*|\d+(?:\.\d+){3}/gi

/** Masks are no addresses, and what a mask with holes left of one is none of its own. */
const addressesIn = (text: string): Set<string> => {
  const found = new Set<string>()
  for (const [word] of text
    .replace(/[\da-f:.]+\/(\d+\.|[\da-f]*:)[\da-f:.]+|(\/|mask )[\da-f:.]+/gi, '')
    .matchAll(TOKEN)) {
    const address = parseEither(word)
    if (address !== null) found.add(formatAddress(address.family, address.words))
  }
  return found
}

/** Names that the generators like, and that are words of the tools, too. */
const VOCABULARY = new Set(
  // The last is a unit of rates: `16kb/s`.
  'tcp udp udplite icmp icmpv6 sctp gre dccp generic ip list set net mac port s'.split(' '),
)

/** Whole words of the kind that names are made of. */
const wordsIn = (text: string): Set<string> => new Set(text.match(/[\w.@+-]+/g) ?? [])

/**
 * Addresses, MAC addresses and names of `files` that are in `others` as well, though they are mapped, and nothing else was
 * mapped to them.
 */
export function leaks(
  files: Readonly<Record<string, string>>,
  others: Readonly<Record<string, string>>,
  { addresses, names }: Mapping,
): string[] {
  const before = Object.values(files).join('\n')
  const after = Object.values(others).join('\n')
  const found: string[] = []
  const images = new Set<string>()
  for (const [word] of before.matchAll(/[\da-f:]*:[\da-f:.]*(?:\/\d+)?|\d+(?:\.\d+){3}(?:\/\d+)?/gi)) {
    const to = addresses.text(word)?.split('/')[0]
    const whole = addresses.text(word.split('/')[0]!)
    for (const image of [to, whole]) if (image != null) images.add(image)
    // Rules have networks, whatever was written.
    const prefix = parsePrefix(word)
    if (prefix === null) continue
    const network = maskedWords(prefix.words, prefix.prefixLength)
    images.add(formatAddress(prefix.family, addresses.prefix(prefix.family, network, prefix.prefixLength)))
  }
  // A range that is a prefix begins and ends as that does.
  for (const [, from, to] of before.matchAll(/([\da-f.:]+)-([\da-f.:]+)/gi)) {
    const [min, max] = [parseEither(from!), parseEither(to!)]
    if (min === null || max === null || min.family !== max.family) continue
    for (const end of addresses.range(min.family, min.words, max.words))
      images.add(formatAddress(min.family, end))
  }
  const shown = addressesIn(after)
  for (const address of addressesIn(before))
    if (addresses.text(address) !== address && shown.has(address) && !images.has(address)) found.push(address)
  const macs = (text: string): string[] => text.toLowerCase().match(/\b[\da-f]{2}(?::[\da-f]{2}){5}\b/g) ?? []
  const shownMacs = new Set(macs(after))
  for (const mac of macs(before)) {
    const hex = mac.replaceAll(':', '')
    if (addresses.mac(hex) !== hex && shownMacs.has(mac)) found.push(mac)
  }
  const words = wordsIn(after)
  const made = new Set(
    [...names.known().values()].flatMap((kind) => [...kind.values()].flatMap((to) => [...wordsIn(to)])),
  )
  for (const [kind, known] of names.known())
    for (const [from, to] of known)
      if (from !== to && words.has(from) && !made.has(from) && !VOCABULARY.has(from))
        found.push(`${kind} ${from}`)
  return found
}
