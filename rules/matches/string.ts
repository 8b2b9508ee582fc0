// string: bytes anywhere in a packet (libxt_string of iptables 1.8.9, string_mt() of xt_string.c). In a reassembled one
// Boyer-Moore finds what lies in one of its pieces; Knuth-Morris-Pratt goes on from piece to piece.

import { hidePartialChecksum, showPartialChecksum } from '../../datapath/offload.ts'
import {
  type FragmentList,
  PAGED_FRAME_LEN,
  PAGED_HEAD_LEN,
  PAGES_LEN,
  type Packet,
} from '../../datapath/packet.ts'
import type { FrameMemory } from '../../datapath/ring.ts'
import { IPV4_HEADER_LEN } from '../../datapath/wire/ipv4.ts'
import { FRAGMENT_HEADER_LEN } from '../../datapath/wire/ipv6-headers.ts'
import type { Match } from '../extension.ts'
import { bits, nameField } from '../layout.ts'
import { OptionError, WholeError } from '../options.ts'
import { words } from './parts.ts'

export interface StringMatch {
  readonly pattern: readonly number[]
  readonly algo: string
  readonly invert: boolean
  readonly ignoreCase: boolean
  /** Bytes from the network header on. */
  readonly from: number
  readonly to: number
}

/** XT_STRING_MAX_PATTERN_SIZE */
const MAX_PATTERN = 128
const MAX_OFFSET = 0xffff
const BAR = 0x7c
const BACKSLASH = 0x5c
const QUOTE = 0x22
const BLANK = 0x20

const fail = (message: string): never => {
  throw new OptionError(message)
}
const char = (code: number): string => String.fromCharCode(code)
const hexDigit = (code: number): boolean => /[0-9a-fA-F]/.test(char(code))

/** `a|0d 0a|b\|c`: text, bytes in hex between bars, and single characters behind a backslash. */
function parseHex(text: string): number[] {
  const s = [...Buffer.from(text, 'latin1')]
  if (s.length === 0) fail('STRING must contain at least one char')
  const pattern: number[] = []
  let hex = false
  for (let i = 0; i < s.length; ) {
    // The bar that closes a hex block is too much, too.
    if (pattern.length >= MAX_PATTERN) fail(`STRING too long "${text}"`)
    let literal = false
    if (s[i] === BACKSLASH && !hex) literal = true
    else if (s[i] === BACKSLASH) fail('Cannot include literals in hex data')
    else if (s[i] === BAR) {
      hex = !hex
      if (hex) while (s[i + 1] === BLANK) i++
      if (i + 1 >= s.length) break
      i++
    }
    if (literal) {
      if (i + 1 >= s.length) fail('Bad literal placement at end of string')
      pattern.push(s[i + 1]!)
      i += 2
    } else if (hex) {
      if (i + 1 >= s.length) fail('Odd number of hex digits')
      if (i + 2 >= s.length) fail('Invalid hex block')
      for (const code of [s[i]!, s[i + 1]!]) if (!hexDigit(code)) fail(`Invalid hex char '${char(code)}'`)
      pattern.push(Number.parseInt(char(s[i]!) + char(s[i + 1]!), 16))
      i += s[i + 2] === BLANK ? 3 : 2
    } else pattern.push(s[i++]!)
  }
  return pattern
}

function parseText(text: string): number[] {
  const pattern = [...Buffer.from(text, 'latin1')]
  if (pattern.length > MAX_PATTERN) fail(`STRING too long "${text}"`)
  return pattern
}

/** Bytes that a terminal would not show are printed in hex, and so is a backslash at the end. */
const needsHex = (pattern: readonly number[]): boolean =>
  pattern.some((b) => b < 0x20 || b > 0x7e) || pattern.at(-1) === BACKSLASH

const quoted = (pattern: readonly number[]): string =>
  needsHex(pattern)
    ? `"|${pattern.map((b) => b.toString(16).padStart(2, '0')).join('')}|"`
    : `"${pattern.map((b) => (b === BACKSLASH || b === QUOTE ? '\\' : '') + char(b)).join('')}"`

/** toupper() of the kernel, which knows the letters of Latin-1. */
const upper = (byte: number): number =>
  (byte >= 0x61 && byte <= 0x7a) || (byte >= 0xdf && byte !== 0xf7) ? byte - 0x20 : byte

export interface Needle {
  readonly bytes: Uint8Array
  readonly fold: boolean
  readonly from: number
  readonly to: number
  /** It has to lie in one piece of the packet. */
  readonly whole: boolean
}

/** True if the whole needle lies within [from, to) of the packet. Does not allocate. */
function contains(pkt: Packet, memory: FrameMemory, needle: Needle): boolean {
  const whole = showPartialChecksum(pkt, memory)
  const found = isThere(pkt, memory, needle)
  hidePartialChecksum(pkt, memory, whole)
  return found
}

function isThere(pkt: Packet, memory: FrameMemory, needle: Needle): boolean {
  const from = pkt.l3 + needle.from
  const to = Math.min(pkt.end, pkt.l3 + needle.to)
  if (!needle.whole) return lies(memory, needle, from, to)
  const pieces = pkt.fragList
  if (pieces === null) return liesInPages(memory, needle, from, to, pkt.l3, pkt.end, pkt.head)
  let start = pkt.l3
  let end = start + pieces.header
  for (let i = 0; i < pieces.count; i++) {
    end += pieces.sizes[i]!
    if (liesInPages(memory, needle, from, to, start, end, headOf(pkt, pieces, i, end - start))) return true
    start = end
  }
  return false
}

/** What Packet.head would be of a piece of `length` bytes, which came with headers that are gone: all but the first's. */
function headOf(pkt: Packet, { least }: FragmentList, piece: number, length: number): number {
  if (pkt.local) return 0
  let gone = 0
  if (pkt.family === 6) gone = piece === 0 ? FRAGMENT_HEADER_LEN : least
  else if (piece > 0) gone = IPV4_HEADER_LEN
  return length + gone < PAGED_FRAME_LEN ? 0 : PAGED_HEAD_LEN - gone
}

/** The same in bytes [start, end), of which the first `head` are apart from the pages with the rest; 0: they are not. */
function liesInPages(
  memory: FrameMemory,
  needle: Needle,
  from: number,
  to: number,
  start: number,
  end: number,
  head: number,
): boolean {
  let begin = start
  let stop = head === 0 ? end : Math.min(start + head, end)
  for (;;) {
    if (lies(memory, needle, Math.max(begin, from), Math.min(stop, to))) return true
    if (stop >= end) return false
    begin = stop
    stop = Math.min(stop + PAGES_LEN, end)
  }
}

function lies({ bytes }: FrameMemory, { bytes: wanted, fold }: Needle, from: number, to: number): boolean {
  const end = to - wanted.length
  const first = wanted[0]!
  for (let at = from; at <= end; at++) {
    const byte = bytes[at]!
    if (byte !== first && !(fold && upper(byte) === first)) continue
    let i = 1
    while (i < wanted.length && (fold ? upper(bytes[at + i]!) : bytes[at + i]!) === wanted[i]) i++
    if (i === wanted.length) return true
  }
  return false
}

export const string: Match<StringMatch> = {
  kind: 'match',
  name: 'string',
  revision: 1,
  families: [4, 6],
  layout: {
    size: 160,
    own: 152,
    fields: ({ from, to, algo, pattern, invert, ignoreCase }) => [
      [0, 2, from],
      [2, 2, to],
      nameField(4, 16, algo),
      [20, 128, Uint8Array.from(pattern)],
      [148, 1, pattern.length],
      [149, 1, bits(invert, ignoreCase)],
    ],
  },
  options: [
    { flag: 'from' },
    { flag: 'to' },
    { flag: 'algo', required: true },
    { flag: 'string', holds: 'bytes', invertible: true, excludes: ['hex-string'] },
    { flag: 'hex-string', holds: 'bytes', invertible: true, excludes: ['string'] },
    { flag: 'icase', arg: 'none' },
  ],
  help: `string match options:
--from                       Offset to start searching from
--to                         Offset to stop searching
--algo                       Algorithm
--icase                      Ignore case (default: 0)
[!] --string string          Match a string in a packet
[!] --hex-string string      Match a hex string in a packet
`,
  parse(o) {
    const from = o.has('from') ? o.uint('from', 16) : 0
    const to = o.has('to') ? o.uint('to', 16) : MAX_OFFSET
    const flag = ['string', 'hex-string'].find((name) => o.has(name))
    if (flag === undefined)
      throw new WholeError("STRING match: You must specify `--string' or `--hex-string'")
    const pattern = flag === 'string' ? parseText(o.text(flag)) : parseHex(o.text(flag))
    const algo = o.text('algo')
    return { pattern, algo, invert: o.inverted(flag), ignoreCase: o.has('icase'), from, to }
  },
  print: (m) =>
    words(
      `${m.invert ? '! ' : ''}--${needsHex(m.pattern) ? 'hex-string' : 'string'} ${quoted(m.pattern)}`,
      `--algo ${m.algo}`,
      m.from === 0 ? '' : `--from ${m.from}`,
      m.to === MAX_OFFSET ? '' : `--to ${m.to}`,
      m.ignoreCase ? '--icase' : '',
    ),
  list: (m) =>
    words(
      `STRING match ${m.invert ? '!' : ''} ${quoted(m.pattern)} ALGO name ${m.algo}`,
      m.from === 0 ? '' : `FROM ${m.from}`,
      m.to === MAX_OFFSET ? '' : `TO ${m.to}`,
      m.ignoreCase ? 'ICASE' : '',
    ),
  check(m) {
    if (m.from > m.to) return 'string: --from behind --to'
    if (m.pattern.length > MAX_PATTERN) return 'string: pattern too long'
    // textsearch_prepare() asks for this before it looks for the algorithm.
    if (m.pattern.length === 0) return 'string: empty pattern'
    // The third of the kernel's algorithms takes no plain patterns.
    if (m.algo === 'fsm') return 'string: fsm cannot search for bytes'
    if (m.algo !== 'bm' && m.algo !== 'kmp')
      return { errno: 'ENOENT', reason: `string: no algorithm "${m.algo}"` }
    return null
  },
  reads: ['payload'],
  emit(m, js) {
    const needle: Needle = {
      bytes: Uint8Array.from(m.pattern, (byte) => (m.ignoreCase ? upper(byte) : byte)),
      fold: m.ignoreCase,
      from: m.from,
      to: m.to,
      whole: m.algo === 'bm',
    }
    return js`${js.bind(contains)}(pkt, ${js.env.host.memory}, ${needle}) !== ${m.invert}`
  },
}
