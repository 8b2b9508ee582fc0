// The words that may follow the addresses: how each is read into a field, and how the field is printed. A word is one
// entry of one of these lists.

import type { Family } from '../../datapath/packet.ts'
import { formatIpv4, parseIpv4 } from '../../datapath/wire/address.ts'
import {
  IPPROTO_AH,
  IPPROTO_DCCP,
  IPPROTO_ESP,
  IPPROTO_GRE,
  IPPROTO_ICMP,
  IPPROTO_ICMPV6,
  IPPROTO_SCTP,
  IPPROTO_TCP,
  IPPROTO_UDP,
  IPPROTO_UDPLITE,
} from '../../datapath/wire/protocol.ts'
import { ICMP_NAMES } from '../../rules/matches/icmp.ts'
import { ICMPV6_NAMES } from '../../rules/matches/icmp6.ts'
import { DSFIELDS } from '../host-folder/names.ts'
import { type Line, readNumber } from './line.ts'
import type { Draft, PacketFields } from './model.ts'
import {
  EXTENSIONS,
  hexOf,
  ipOptionsFrom,
  ipOptionsWords,
  mayHex,
  sctpChunk,
  sctpChunkNames,
  sctpWords,
} from './options.ts'
import { TcpOptionsDraft, tcpOptionsWords } from './tcp-options.ts'

/** The packet that words are about. */
export interface About {
  readonly family: Family
  readonly protocol: number
}

export interface Word {
  /** Ways to say it; the first is the one that is printed. */
  readonly names: readonly string[]
  /** The word with what follows it, for messages. */
  readonly usage: string
  readonly when?: (about: About) => boolean
  /** May be said more than once. */
  readonly repeats?: true
  /** The line stands behind the name. */
  read(line: Line, fields: Draft, about: About): void
}

/** Says fields in words: null where there is nothing to say. */
type Say = (fields: PacketFields, about: About) => string | null

const isTcp = (a: About): boolean => a.protocol === IPPROTO_TCP
const isIcmp = (a: About): boolean => a.protocol === (a.family === 4 ? IPPROTO_ICMP : IPPROTO_ICMPV6)
const isSctp = (a: About): boolean => a.protocol === IPPROTO_SCTP
const isDccp = (a: About): boolean => a.protocol === IPPROTO_DCCP
const is4 = (a: About): boolean => a.family === 4
const is6 = (a: About): boolean => a.family === 6

type NumberField = {
  [K in keyof Draft]-?: NonNullable<Draft[K]> extends number
    ? number extends NonNullable<Draft[K]>
      ? K
      : never
    : never
}[keyof Draft]

/** A word with a number behind it. */
const number = (
  field: NumberField,
  max: number,
  names: readonly string[],
  when?: (about: About) => boolean,
): Word => ({
  names,
  usage: `${names[0]} N`,
  ...(when && { when }),
  read(line, fields) {
    fields[field] = line.number(max)
  },
})

/** A word that says all by being there. */
const flag = (
  field: 'df' | 'evil' | 'badIpChecksum' | 'badChecksum' | 'noChecksum' | 'raw',
  names: readonly string[],
  when?: (about: About) => boolean,
): Word => ({
  names,
  usage: names[0]!,
  ...(when && { when }),
  read(_, fields) {
    fields[field] = true
  },
})

const sayNumber =
  (field: NumberField, name: string, hex = false): Say =>
  (fields) => {
    const value = fields[field]
    return value === undefined ? null : `${name} ${hex ? `0x${value.toString(16)}` : value}`
  }

export const TCP_FLAGS = ['fin', 'syn', 'rst', 'psh', 'ack', 'urg', 'ece', 'cwr'] as const

/** Bits of `syn,ack`; null if some name is none. */
export function readTcpFlags(text: string): number | null {
  if (text === 'none') return 0
  let bits = 0
  for (const name of text.split(',')) {
    const bit = (TCP_FLAGS as readonly string[]).indexOf(name)
    if (bit < 0) return null
    bits |= 1 << bit
  }
  return bits
}

/** Flags in the order in which people say them. */
const SAID = ['syn', 'fin', 'rst', 'psh', 'ack', 'urg', 'ece', 'cwr'] as const

export const printTcpFlags = (bits: number): string =>
  SAID.filter((name) => bits & (1 << TCP_FLAGS.indexOf(name))).join(',') || 'none'

const ECN = ['not-ect', 'ect1', 'ect0', 'ce']
const U16 = 0xffff
const ACK = 16
const U32 = 0xffffffff

const ipWords: readonly Word[] = [
  number('ttl', 255, ['ttl', 'hl', 'hop-limit', 'hoplimit']),
  number('tos', 255, ['tos', 'tclass']),
  {
    names: ['dscp'],
    usage: 'dscp N|NAME',
    read(line, fields) {
      const value = line.value('a DSCP from 0 to 63 or its name (ef, af21, cs1 …)', (text) => {
        const named = DSFIELDS.get(text.toUpperCase())
        return named !== undefined ? named >> 2 : (readNumber(text) ?? 64) < 64 ? readNumber(text) : null
      })
      fields.tos = ((fields.tos ?? 0) & 3) | (value << 2)
    },
  },
  {
    names: ['ecn'],
    usage: `ecn ${ECN.join('|')}`,
    read(line, fields) {
      const value = line.value(`one of ${ECN.join(', ')}`, (text) => {
        const at = ECN.indexOf(text)
        return at >= 0 ? at : (readNumber(text) ?? 4) < 4 ? readNumber(text) : null
      })
      fields.tos = ((fields.tos ?? 0) & 0xfc) | value
    },
  },
  number('ipId', U32, ['ip-id', 'ipid', 'id']),
  flag('df', ['df'], is4),
  flag('evil', ['evil'], is4),
  {
    names: ['fragment', 'frag'],
    usage: 'fragment OFFSET [more]',
    read(line, fields) {
      const offset = line.value('an offset in bytes, a multiple of 8 below 65536', (text) => {
        const n = readNumber(text)
        return n !== null && n % 8 === 0 && n < 65536 ? n : null
      })
      fields.fragment = { offset, more: line.accept('more') }
    },
  },
  {
    names: ['pieces'],
    usage: 'pieces BYTES',
    read(line, fields) {
      fields.pieces = line.value('bytes in each fragment, a multiple of 8', (text) => {
        const n = readNumber(text)
        return n !== null && n > 0 && n % 8 === 0 && n < 65536 ? n : null
      })
    },
  },
  {
    names: ['ip-options'],
    usage: 'ip-options LIST',
    when: is4,
    read(line, fields) {
      fields.ipOptions = line.value(
        'IPv4 options: router-alert, record-route, timestamp, nop or 0xHEX, with commas',
        ipOptionsFrom,
      )
    },
  },
  number('flow', 0xfffff, ['flow', 'flowlabel'], is6),
  {
    names: ['ext'],
    usage: 'ext HEADER[:0xHEX]',
    when: is6,
    repeats: true,
    read(line, fields) {
      const found = line.value(
        `an extension header: ${EXTENSIONS.map(([name]) => name).join(', ')} with :0xHEX behind it or not`,
        (text) => {
          const [name, hex] = text.split(':')
          const known = EXTENSIONS.find(([n]) => n === name)
          const type = known?.[1]
          const body = hex === undefined ? (known?.[2] ?? '010400000000') : mayHex(hex)
          // Its length counts in units of eight bytes, the first one apart.
          if (type === undefined || body === null || (body.length / 2 + 2) % 8 !== 0) return null
          return { type, hex: body }
        },
      )
      fields.extensions = [...(fields.extensions ?? []), found]
    },
  },
  number('ipLength', U16, ['ip-length']),
  flag('badIpChecksum', ['bad-ip-checksum'], is4),
  flag('raw', ['raw']),
  number('mark', U32, ['mark']),
  {
    names: ['broadcast', 'multicast', 'other-host'],
    usage: 'broadcast|multicast|other-host',
    read(line, fields) {
      fields.cast = line.last.text as 'broadcast'
    },
  },
]

const GRE: (a: About) => boolean = (a) => a.protocol === IPPROTO_GRE
const ICMP_QUERY = [0, 8, 13, 14, 15, 16, 17, 18, 128, 129]

/** Whether the four bytes behind the checksum are identifier and sequence number. */
export const isQuery = (type: number): boolean => ICMP_QUERY.includes(type)
export const echoRequest = (family: Family): number => (family === 4 ? 8 : 128)
const typeOf = (fields: PacketFields, about: About): number => fields.icmpType ?? echoRequest(about.family)

/** Names with type and code; a name for all codes means code 0. */
export const icmpNames = (family: Family): readonly (readonly [string, number, number])[] =>
  (family === 4 ? ICMP_NAMES : ICMPV6_NAMES)
    .filter(([name]) => name !== 'any')
    .map(([name, type, code]) => [name, type, code])

export function readIcmpType(text: string, family: Family): { type: number; code: number } | null {
  const named = icmpNames(family).find(([name]) => name.toLowerCase() === text.toLowerCase())
  if (named !== undefined) return { type: named[1], code: named[2] }
  const pair = /^(\d{1,3})\/(\d{1,3})$/.exec(text)
  if (pair === null || Number(pair[1]) > 255 || Number(pair[2]) > 255) return null
  return { type: Number(pair[1]), code: Number(pair[2]) }
}

const half = (high: boolean, names: readonly string[]): Word => ({
  names,
  usage: `${names[0]} N`,
  when: isIcmp,
  read(line, fields) {
    const value = line.number(U16)
    const rest = fields.rest ?? DEFAULT_ECHO
    fields.rest = (high ? value * 0x10000 + (rest & U16) : (rest & ~U16) | value) >>> 0
  },
})

/** Identifier 1, sequence number 1. */
export const DEFAULT_ECHO = 0x10001
const hasSeq = (a: About): boolean =>
  [IPPROTO_TCP, IPPROTO_DCCP, IPPROTO_ESP, IPPROTO_AH, IPPROTO_GRE].includes(a.protocol)

const transportWords: readonly Word[] = [
  {
    names: ['ack'],
    usage: 'ack [N]',
    when: (a) => isTcp(a) || isDccp(a),
    repeats: true,
    read(line, fields, about) {
      const n = line.token.kind === 'word' ? readNumber(line.token.text) : null
      if (isTcp(about)) fields.flags = (fields.flags ?? 0) | ACK
      else if (n === null) fields.dccpType = DCCP_TYPES.indexOf('ack')
      if (n === null) return
      if (fields.ack !== undefined) line.failHere('the acknowledgement number is said twice')
      fields.ack = line.number(U32)
    },
  },
  {
    names: ['ack-number'],
    usage: 'ack-number N',
    when: isTcp,
    read: (line, f) => void (f.ack = line.number(U32)),
  },
  {
    names: ['flags'],
    usage: 'flags N',
    when: isTcp,
    read: (line, f) => void (f.flags = line.number(255)),
  },
  number('seq', U32, ['seq'], hasSeq),
  number('window', U16, ['window', 'win'], isTcp),
  number('urgent', U16, ['urgent'], isTcp),
  ...(['mss', 'wscale', 'sack-ok', 'sack', 'timestamp', 'nop', 'tcp-options'] as const).map(
    (name): Word => ({
      names: [name],
      usage: TcpOptionsDraft.usage[name],
      when: isTcp,
      repeats: true,
      read(line, fields) {
        fields.tcpOptions = TcpOptionsDraft.add(fields.tcpOptions ?? '', name, line)
      },
    }),
  ),
  number('coverage', U16, ['coverage'], (a) => a.protocol === IPPROTO_UDPLITE),
  half(true, ['id']),
  half(false, ['seq']),
  {
    names: ['type'],
    usage: 'type N',
    when: isIcmp,
    read: (line, f) => void (f.icmpType = line.number(255)),
  },
  {
    names: ['code'],
    usage: 'code N',
    when: isIcmp,
    read: (line, f) => void (f.icmpCode = line.number(255)),
  },
  number('rest', U32, ['rest', 'mtu'], isIcmp),
  {
    names: ['gateway'],
    usage: 'gateway ADDRESS',
    when: (a) => isIcmp(a) && a.family === 4,
    read(line, fields) {
      fields.rest = line.value('an IPv4 address', parseIpv4) >>> 0
    },
  },
  number('quote', U16, ['quote'], isIcmp),
  number('ethertype', U16, ['ethertype'], GRE),
  number('key', U32, ['key'], GRE),
  number('callId', U16, ['call-id'], GRE),
  number('spi', U32, ['spi'], (a) => a.protocol === IPPROTO_ESP || a.protocol === IPPROTO_AH),
  number('next', 255, ['next'], (a) => a.protocol === IPPROTO_AH),
  number('vtag', U32, ['vtag'], isSctp),
  {
    names: [...sctpChunkNames],
    usage: 'a chunk (init, cookie-echo, data …)',
    when: isSctp,
    repeats: true,
    read(line, fields) {
      const name = line.last.text
      const tag = (name === 'init' || name === 'init-ack') && line.accept('tag') ? line.number(U32) : 1
      fields.chunks = (fields.chunks ?? '') + sctpChunk(name, tag)
    },
  },
  {
    names: ['chunks'],
    usage: 'chunks 0xHEX',
    when: isSctp,
    repeats: true,
    read(line, fields) {
      fields.chunks = (fields.chunks ?? '') + line.value('chunks as 0xHEX', mayHex)
    },
  },
  flag('badChecksum', ['bad-checksum']),
  number('checksum', U32, ['checksum']),
  flag('noChecksum', ['no-checksum'], (a) => a.protocol === IPPROTO_UDP),
  {
    names: ['payload'],
    usage: 'payload "TEXT"|0xHEX|LENGTH',
    read(line, fields) {
      if (line.token.kind === 'text') {
        fields.payload = Buffer.from(line.token.text, 'latin1').toString('hex')
        line.skip()
        return
      }
      fields.payload = line.value('"text", 0xHEX or a length', (text) => {
        const length = /^\d{1,5}$/.test(text) ? Number(text) : 65536
        return length < 65536 ? counting(length) : mayHex(text)
      })
    },
  },
]

/** So many bytes 0, 1, 2 … as hex. */
export const counting = (length: number): string => hexOf(Uint8Array.from({ length }, (_, i) => i & 255))

export const DCCP_TYPES = [
  'request',
  'response',
  'data',
  'ack',
  'dataack',
  'closereq',
  'close',
  'reset',
  'sync',
  'syncack',
] as const

/** All words, those first that are said first. */
export const WORDS: readonly Word[] = [...transportWords, ...ipWords]

/** Words of the transport header that are no keyword: `syn,ack`, `echo-request`, `request`. True: it was one. */
export function readBareWord(text: string, fields: Draft, about: About): boolean {
  if (isTcp(about)) {
    const bits = readTcpFlags(text)
    if (bits === null) return false
    fields.flags = (fields.flags ?? 0) | bits
    return true
  }
  if (isIcmp(about)) {
    const found = readIcmpType(text, about.family)
    if (found === null) return false
    fields.icmpType = found.type
    fields.icmpCode = found.code
    return true
  }
  if (isDccp(about)) {
    const type = (DCCP_TYPES as readonly string[]).indexOf(text)
    if (type < 0) return false
    fields.dccpType = type
    return true
  }
  return false
}

/** Bare words, for guesses at what was meant. */
export function bareNames(about: About): readonly string[] {
  if (isTcp(about)) return SAID
  if (isIcmp(about)) return icmpNames(about.family).map(([name]) => name)
  return isDccp(about) ? DCCP_TYPES : []
}

/** What bare words there are, for messages. */
export function bareUsage(about: About): string | null {
  if (isTcp(about)) return 'flags (syn,ack …)'
  if (isIcmp(about)) return 'a type (echo-request, host-unreachable, 3/1 …)'
  return isDccp(about) ? `a type (${DCCP_TYPES.join(', ')})` : null
}

/** Printers, in the order in which fields are said. */
export const SAY: readonly Say[] = [
  (f, a) => {
    if (!isTcp(a)) return null
    if (f.flags === undefined) return f.ack === undefined ? null : `ack-number ${f.ack}`
    // `ack 5` says the flag too.
    return f.flags === ACK && f.ack !== undefined ? null : printTcpFlags(f.flags)
  },
  (f, a) => {
    if (!isIcmp(a) || (f.icmpType === undefined && f.icmpCode === undefined)) return null
    const [type, code] = [f.icmpType, f.icmpCode]
    const named =
      type === undefined || code === undefined
        ? undefined
        : icmpNames(a.family).find(([, t, c]) => t === type && c === code)
    if (named !== undefined) return named[0]
    return [type === undefined ? '' : `type ${type}`, code === undefined ? '' : `code ${code}`]
      .join(' ')
      .trim()
  },
  (f, a) => (isDccp(a) && f.dccpType !== undefined ? (DCCP_TYPES[f.dccpType] ?? null) : null),
  (f) => (f.chunks === undefined ? null : sctpWords(f.chunks)),
  sayNumber('vtag', 'vtag'),
  sayNumber('seq', 'seq'),
  (f, a) =>
    f.ack === undefined || (isTcp(a) && f.flags === undefined)
      ? null
      : isTcp(a) && !(f.flags! & ACK)
        ? `ack-number ${f.ack}`
        : `ack ${f.ack}`,
  sayNumber('window', 'window'),
  sayNumber('urgent', 'urgent'),
  (f) => (f.tcpOptions === undefined ? null : tcpOptionsWords(f.tcpOptions)),
  sayNumber('coverage', 'coverage'),
  (f, a) => {
    if (!isIcmp(a) || f.rest === undefined) return null
    const type = typeOf(f, a)
    if (isQuery(type)) return `id ${f.rest >>> 16} seq ${f.rest & U16}`
    if (a.family === 4 && type === 5) return `gateway ${formatIpv4(f.rest | 0)}`
    const isMtu = a.family === 4 ? type === 3 && f.icmpCode === 4 : type === 2
    return isMtu ? `mtu ${f.rest}` : `rest 0x${f.rest.toString(16)}`
  },
  sayNumber('quote', 'quote'),
  sayNumber('ethertype', 'ethertype', true),
  sayNumber('key', 'key'),
  sayNumber('callId', 'call-id'),
  sayNumber('spi', 'spi'),
  sayNumber('next', 'next'),
  (f) => (f.badChecksum ? 'bad-checksum' : null),
  sayNumber('checksum', 'checksum', true),
  (f) => (f.noChecksum ? 'no-checksum' : null),
  sayNumber('ttl', 'ttl'),
  (f) => {
    if (f.tos === undefined) return null
    const name = [...DSFIELDS].find(([, tos]) => tos === f.tos && tos !== 0)
    return name === undefined ? `tos 0x${f.tos.toString(16)}` : `dscp ${name[0].toLowerCase()}`
  },
  sayNumber('ipId', 'ip-id'),
  (f) => (f.df ? 'df' : null),
  (f) => (f.evil ? 'evil' : null),
  (f) => (f.fragment === undefined ? null : `fragment ${f.fragment.offset}${f.fragment.more ? ' more' : ''}`),
  sayNumber('pieces', 'pieces'),
  (f) => (f.ipOptions === undefined ? null : `ip-options ${ipOptionsWords(f.ipOptions)}`),
  sayNumber('flow', 'flow', true),
  (f) =>
    f.extensions === undefined
      ? null
      : f.extensions
          .map(({ type, hex }) => {
            const known = EXTENSIONS.find(([, number]) => number === type)
            const name = known?.[0] ?? String(type)
            return `ext ${name}${known?.[2] === hex ? '' : `:0x${hex}`}`
          })
          .join(' '),
  sayNumber('ipLength', 'ip-length'),
  (f) => (f.badIpChecksum ? 'bad-ip-checksum' : null),
  (f) => (f.raw ? 'raw' : null),
  sayNumber('mark', 'mark', true),
  (f) => f.cast ?? null,
  (f) => (f.payload === undefined ? null : `payload ${payloadWords(f.payload)}`),
]

/** A length, text or hex, whichever says it shortest and whole. */
function payloadWords(hex: string): string {
  const bytes = Buffer.from(hex, 'hex')
  if (hex === counting(bytes.length)) return String(bytes.length)
  const text = bytes.toString('latin1')
  if (!/^[\x20-\x7e\n\r\t]*$/.test(text)) return `0x${hex}`
  const escaped = text.replace(/["\\\n\r\t]/g, (c) => `\\${{ '\n': 'n', '\r': 'r', '\t': 't' }[c] ?? c}`)
  return `"${escaped}"`
}
