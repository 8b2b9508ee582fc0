// FTP (RFC 959, 2428; nf_conntrack_ftp.c and nf_nat_ftp.c, Linux 6.18): the control connection says where data will
// go.
//
//     client  PORT h,h,h,h,p,p | EPRT |1|address|port|        active: the server connects to the client
//     server  227 ... h,h,h,h,p,p | 229 ... (|||port|)        passive: the client connects to the server
//
// Only what begins a line is read, so that file names cannot open doors: a segment counts if it begins where an
// earlier one ended with a newline. A command that is cut in two is dropped; its sender will send it in one.

import { Verdict } from '../../datapath/hooks.ts'
import { CtInfo, type Family, type Packet } from '../../datapath/packet.ts'
import { formatIpv4, parseIpv6 } from '../../datapath/wire/address.ts'
import { IPPROTO_TCP } from '../../datapath/wire/protocol.ts'
import { TCP_SEQ } from '../../datapath/wire/tcp.ts'
import type { Conntrack } from '../conntrack.ts'
import type { Expectation } from '../expect.ts'
import {
  ALL_PORTS,
  announceAtFreePort,
  announceOrRefuse,
  BOTH,
  CANNOT_MANGLE,
  destinationOf,
  expectation,
  followMaster,
  type HelperKind,
  isTranslated,
  linearize,
  refuse,
  sameWords,
  sourceOf,
  tcpData,
  type Words,
} from './helper.ts'
import { ascii, mangleTcp } from './mangle.ts'
import { isDigit, LF, SPACE, slice, startsWithAnyCase } from './text.ts'

type Kind = 'PORT' | 'EPRT' | 'PASV' | 'EPSV'

/** What a command or an answer said. */
interface Said {
  /** Null: nothing, the connection's own. */
  readonly address: Words | null
  readonly port: number
  /** Where the numbers stand, absolute, and their length. */
  readonly at: number
  readonly length: number
}

interface Pattern {
  readonly kind: Kind
  readonly text: string
  /** Character before the numbers, 0: none. */
  readonly skip: number
  readonly read: (bytes: Uint8Array, at: number, end: number, family: Family) => Said | null
}

const CARRIAGE_RETURN = 0x0d
const COMMA = 0x2c
const DOT = 0x2e

/**
 * try_number(): `count` numbers, as 32-bit words, and the offset of what ends them: `term`, or anything but a digit if
 * that is 0. Null: other characters, or the end.
 */
function numbers(
  bytes: Uint8Array,
  at: number,
  end: number,
  count: number,
  separator: number,
  term: number,
): { values: number[]; end: number } | null {
  const values = new Array<number>(count).fill(0)
  let n = 0
  for (let i = at; i < end && n < count; i++) {
    const c = bytes[i]!
    if (isDigit(c)) values[n] = (values[n]! * 10 + c - 0x30) >>> 0
    else if (c === separator) n++
    else return (term === 0 || c === term) && n === count - 1 && i > at ? { values, end: i } : null
  }
  return null
}

const ipv4 = (v: readonly number[]): Words => [(v[0]! << 24) | (v[1]! << 16) | (v[2]! << 8) | v[3]!, 0, 0, 0]

function sixNumbers(bytes: Uint8Array, at: number, end: number, term: number): Said | null {
  const found = numbers(bytes, at, end, 6, COMMA, term)
  if (found === null) return null
  const v = found.values
  return { address: ipv4(v), port: ((v[4]! << 8) | v[5]!) & 0xffff, at, length: found.end - at }
}

/** try_rfc1123(): the numbers begin at the first digit, with a bracket before them or not. */
function firstDigits(bytes: Uint8Array, at: number, end: number): Said | null {
  while (at < end && !isDigit(bytes[at]!)) at++
  return at >= end ? null : sixNumbers(bytes, at, end, 0)
}

const isDelimiter = (c: number): boolean => c >= 33 && c <= 126 && !isDigit(c)

/** get_port(): digits up to `delimiter`; the port and the offset behind. */
function portUpTo(
  bytes: Uint8Array,
  at: number,
  end: number,
  delimiter: number,
): { port: number; end: number } | null {
  let port = 0
  for (let i = at; i < end; i++) {
    const c = bytes[i]!
    if (c === delimiter) return port === 0 ? null : { port, end: i + 1 }
    if (!isDigit(c)) return null
    port = (port * 10 + c - 0x30) & 0xffff
  }
  return null
}

/** try_eprt(): |1|132.235.1.2|6275| or |2|2001:db8::1|6275|, with any delimiter. */
function extendedPort(bytes: Uint8Array, at: number, end: number, family: Family): Said | null {
  if (end - at <= 3) return null
  const delimiter = bytes[at]!
  if (!isDelimiter(delimiter) || bytes[at + 2] !== delimiter) return null
  if (bytes[at + 1] !== (family === 4 ? 0x31 : 0x32)) return null
  let address: Words
  let behind: number
  if (family === 4) {
    const found = numbers(bytes, at + 3, end, 4, DOT, delimiter)
    if (found === null) return null
    address = ipv4(found.values)
    behind = found.end
  } else {
    behind = at + 3
    while (behind < end && bytes[behind] !== delimiter) behind++
    const parsed = behind < end ? parseIpv6(slice(bytes, at + 3, behind)) : null
    if (parsed === null) return null
    address = parsed
  }
  const found = portUpTo(bytes, behind + 1, end, delimiter)
  return found === null ? null : { address, port: found.port, at, length: found.end - at }
}

/** try_epsv_response(): |||6446|. */
function extendedPassive(bytes: Uint8Array, at: number, end: number): Said | null {
  if (end - at <= 3) return null
  const delimiter = bytes[at]!
  if (!isDelimiter(delimiter) || bytes[at + 1] !== delimiter || bytes[at + 2] !== delimiter) return null
  const found = portUpTo(bytes, at + 3, end, delimiter)
  return found === null ? null : { address: null, port: found.port, at, length: found.end - at }
}

/** By direction. */
const PATTERNS: readonly (readonly Pattern[])[] = [
  [
    {
      kind: 'PORT',
      text: 'PORT',
      skip: SPACE,
      read: (b, at, end) => sixNumbers(b, at, end, CARRIAGE_RETURN),
    },
    { kind: 'EPRT', text: 'EPRT', skip: SPACE, read: extendedPort },
  ],
  [
    { kind: 'PASV', text: '227 ', skip: 0, read: firstDigits },
    { kind: 'EPSV', text: '229 ', skip: 0x28, read: extendedPassive },
  ],
]

/** find_pattern(): what was said; 'partial': it began, and cannot be read. */
function match(
  pattern: Pattern,
  bytes: Uint8Array,
  at: number,
  end: number,
  family: Family,
): Said | 'partial' | null {
  const { text, skip } = pattern
  if (end - at <= text.length)
    return startsWithAnyCase(bytes, at, end, text.slice(0, end - at)) ? 'partial' : null
  if (!startsWithAnyCase(bytes, at, end, text)) return null
  let i = at + text.length
  if (skip !== 0) {
    while (bytes[i] !== skip) if (i++ === end - 1) return 'partial'
    i++
  }
  return pattern.read(bytes, i, end, family) ?? 'partial'
}

/** `%pI6`: eight groups of four. */
const fullIpv6 = (w: Words): string =>
  w
    .flatMap((word) => [word >>> 16, word & 0xffff])
    .map((group) => group.toString(16).padStart(4, '0'))
    .join(':')

/** nf_nat_ftp_fmt_cmd(). */
function format(kind: Kind, family: Family, address: Words, port: number): string {
  switch (kind) {
    case 'PORT':
    case 'PASV':
      return `${formatIpv4(address[0]).replaceAll('.', ',')},${port >> 8},${port & 0xff}`
    case 'EPRT':
      return family === 4 ? `|1|${formatIpv4(address[0])}|${port}|` : `|2|${fullIpv6(address)}|${port}|`
    case 'EPSV':
      return `|||${port}|`
  }
}

/** Positions behind a newline, two for each direction (NUM_SEQ_TO_REMEMBER). */
type Newlines = readonly [number[], number[]]

/** update_nl_seq() */
function remember(list: number[], seq: number): void {
  if (list.includes(seq)) return
  if (list.length < 2) {
    list.push(seq)
    return
  }
  const oldest = ((list[0]! - list[1]!) | 0) < 0 ? 0 : 1
  if (((list[oldest]! - seq) | 0) < 0) list[oldest] = seq
}

function create(ct: Conntrack): ReturnType<HelperKind['create']> {
  const { memory } = ct.host
  const masters = new Map<number, Newlines>()
  const follow = followMaster(ct)

  const help = (pkt: Packet, entry: number, dir: number): Verdict => {
    if (pkt.ctInfo !== CtInfo.Established && pkt.ctInfo !== CtInfo.EstablishedReply) return Verdict.Accept
    linearize(pkt)
    const data = tcpData(ct, pkt)
    if (data < 0) return Verdict.Accept
    const { bytes, view } = memory
    const { end } = pkt
    const seq = view.getInt32(pkt.l4 + TCP_SEQ)
    const next = (seq + end - data) | 0
    const endsLine = bytes[end - 1] === LF
    let known = masters.get(entry)
    if (known === undefined) masters.set(entry, (known = [[], []]))
    let verdict: Verdict = Verdict.Accept
    if (known[dir]!.includes(seq)) {
      const result = read(pkt, entry, dir, data)
      if (result === null) return Verdict.Drop
      verdict = result
    }
    if (endsLine) remember(known[dir]!, next)
    return verdict
  }

  /** Null: a line that cannot be read; the packet is dropped and forgotten. */
  const read = (pkt: Packet, entry: number, dir: number, data: number): Verdict | null => {
    let said: Said | 'partial' | null = null
    let kind: Kind = 'PORT'
    let text = ''
    for (const pattern of PATTERNS[dir]!) {
      said = match(pattern, memory.bytes, data, pkt.end, pkt.family)
      kind = pattern.kind
      text = pattern.text
      if (said !== null) break
    }
    if (said === 'partial') {
      refuse(ct, pkt, entry, `partial matching of \`${text}'`)
      return null
    }
    if (said === null) return Verdict.Accept
    // Data for somebody else: not of this connection (nf_conntrack_ftp's loose is off).
    if (said.address !== null && !sameWords(said.address, sourceOf(ct, entry, dir))) return Verdict.Accept
    const e = expectation(ct, entry, {
      source: sourceOf(ct, entry, 1 - dir),
      destination: destinationOf(ct, entry, 1 - dir),
      protocol: IPPROTO_TCP,
      sport: null,
      dport: said.port,
    })
    if (isTranslated(ct, entry)) return translate(pkt, entry, dir, data, kind, said, e)
    return announceOrRefuse(ct, pkt, entry, e)
  }

  /** nf_nat_ftp() */
  const translate = (
    pkt: Packet,
    entry: number,
    dir: number,
    data: number,
    kind: Kind,
    said: Said,
    e: Expectation,
  ): Verdict => {
    e.nat = { dir: 1 - dir, port: said.port }
    e.onMatch = follow
    const port = announceAtFreePort(ct, e, said.port)
    if (port === 0) return refuse(ct, pkt, entry, ALL_PORTS)
    const text = ascii(format(kind, pkt.family, destinationOf(ct, entry, 1 - dir), port))
    if (mangleTcp(ct, pkt, entry, dir, said.at - data, said.length, text)) return Verdict.Accept
    ct.expectations.remove(e)
    return refuse(ct, pkt, entry, CANNOT_MANGLE)
  }

  return {
    policies: [{ max: 1, seconds: 300 }],
    help,
    forget: (entry) => {
      masters.delete(entry)
    },
  }
}

export const ftp: HelperKind = { name: 'ftp', families: BOTH, protocols: [IPPROTO_TCP], create }
