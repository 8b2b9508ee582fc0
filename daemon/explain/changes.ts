// What the host changed in a packet: two frames, field by field.

import { u16, u32 } from '../frames/headers.ts'
import { checksumAt } from '../words/build.ts'
import type { PacketWords } from '../words/model.ts'
import { wordsOf } from '../words/of-frame.ts'
import { printFields } from '../words/print.ts'

/** A field that is not what it was, in words. */
export interface Change {
  readonly field: string
  readonly before: string
  readonly after: string
}

/** Fields that a word says, in the order of the headers; the rest of a packet's fields is compared as words. */
const FIELDS: readonly (readonly [string, (p: PacketWords) => string | number | undefined])[] = [
  ['src', (p) => p.src],
  ['dst', (p) => p.dst],
  ['sport', (p) => p.sport],
  ['dport', (p) => p.dport],
  ['ttl', (p) => p.ttl ?? 64],
  ['dscp', (p) => (p.tos ?? 0) >> 2],
  ['ecn', (p) => (p.tos ?? 0) & 3],
  ['ip id', (p) => p.ipId ?? 0],
  ['df', (p) => (p.df ? 'set' : 'not set')],
  [
    'fragment',
    (p) =>
      p.fragment === undefined ? 'no' : `at ${p.fragment.offset}${p.fragment.more ? ', more follow' : ''}`,
  ],
  ['ip options', (p) => p.ipOptions ?? 'none'],
  ['seq', (p) => p.seq],
  ['ack', (p) => p.ack],
  ['window', (p) => p.window],
  ['icmp type', (p) => p.icmpType],
  ['icmp code', (p) => p.icmpCode],
  ['icmp id', (p) => (p.rest === undefined ? undefined : p.rest >>> 16)],
]

/** TCP options, as words: mss first of all. */
function optionWords(p: PacketWords): string {
  if (p.tcpOptions === undefined) return 'none'
  const { family, protocol } = p
  return printFields({ tcpOptions: p.tcpOptions }, { family, protocol }).join(' ') || 'none'
}

/** Differences between two frames; of what cannot be read nothing is said. */
export function changes(before: Uint8Array, after: Uint8Array): Change[] {
  const a = wordsOf(before)
  const b = wordsOf(after)
  if (a === null || b === null) return []
  const list: Change[] = []
  const add = (field: string, from: string | number | undefined, to: string | number | undefined): void => {
    if (from !== to) list.push({ field, before: String(from ?? 'none'), after: String(to ?? 'none') })
  }
  for (const [field, of] of FIELDS) add(field, of(a), of(b))
  add('tcp options', optionWords(a), optionWords(b))
  add('length', before.length, after.length)
  if (a.payload !== b.payload && a.fragment === undefined && b.fragment === undefined)
    add('payload', bytes(a.payload), bytes(b.payload))
  add('checksum', checksum(a, before), checksum(b, after))
  return list
}

const bytes = (payload: string | undefined): string => {
  if (payload === undefined) return 'none'
  return payload.length <= 64 ? payload : `${payload.slice(0, 64)}… (${payload.length / 2} bytes)`
}

/** The transport checksum as it stands. */
function checksum(
  { protocol, family, fragment, extensions }: PacketWords,
  frame: Uint8Array,
): string | undefined {
  const at = checksumAt(protocol)
  if (at === null || fragment !== undefined || (extensions?.length ?? 0) > 0) return undefined
  const l4 = family === 4 ? (frame[0]! & 15) * 4 : 40
  if (l4 + at.at + at.bytes > frame.length) return undefined
  const value = at.bytes === 2 ? u16(frame, l4 + at.at) : u32(frame, l4 + at.at)
  return `0x${value.toString(16).padStart(at.bytes * 2, '0')}`
}
