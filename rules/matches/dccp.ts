// dccp: ports, packet types and options (libxt_dccp of iptables 1.8.9, dccp_mt() of xt_dccp.c).

import type { Packet } from '../../datapath/packet.ts'
import type { FrameMemory } from '../../datapath/ring.ts'
import { DCCP_DATA_OFFSET, DCCP_HEADER_LEN } from '../../datapath/wire/dccp.ts'
import { IPPROTO_DCCP } from '../../datapath/wire/protocol.ts'
import type { Code } from '../compile/template.ts'
import type { Match } from '../extension.ts'
import { bits, type Field } from '../layout.ts'
import { OptionError } from '../options.ts'
import {
  emitPorts,
  hasTcpOption,
  headerFits,
  listPorts,
  narrowsPorts,
  type Ports,
  printRange,
  words,
  xtablesPorts,
} from './parts.ts'

export interface Dccp extends Ports {
  readonly hasSport: boolean
  readonly hasDport: boolean
  /** Bits 1 << type. */
  readonly types: { readonly bits: number; readonly invert: boolean } | null
  readonly option: { readonly kind: number; readonly invert: boolean } | null
}

const TYPES = [
  'REQUEST',
  'RESPONSE',
  'DATA',
  'ACK',
  'DATAACK',
  'CLOSEREQ',
  'CLOSE',
  'RESET',
  'SYNC',
  'SYNCACK',
] as const
/** The type numbers that RFC 4340 leaves unused, under one name. */
const INVALID = 0xfc00

function parseTypes(text: string): number {
  let bits = 0
  for (const name of text.split(',')) {
    if (name === '') continue
    const upper = name.toUpperCase()
    const type = TYPES.indexOf(upper as (typeof TYPES)[number])
    if (type >= 0) bits |= 1 << type
    else if (upper === 'INVALID') bits |= INVALID
    else throw new OptionError(`Unknown DCCP type \`${name}'`)
  }
  return bits
}

function printTypes(bits: number, numeric: boolean): string {
  if (numeric)
    return Array.from({ length: 16 }, (_, i) => i)
      .filter((i) => bits & (1 << i))
      .join(',')
  const names: string[] = TYPES.filter((_, i) => bits & (1 << i))
  if (bits & INVALID) names.push('INVALID')
  return names.join(',')
}

/** Where the options start, from the header on (__dccp_hdr_len): behind the fields of the packet's type. */
function optionsAt(bytes: Uint8Array, l4: number): number {
  const field = bytes[l4 + 8]!
  const type = (field >> 1) & 0xf
  const basic = DCCP_HEADER_LEN + (field & 1) * 4
  switch (type) {
    case 2: // DATA
      return basic
    case 0: // REQUEST: service code
      return basic + 4
    case 3: // ACK, DATAACK, CLOSEREQ, CLOSE, SYNC, SYNCACK: acknowledgement number
    case 4:
    case 5:
    case 6:
    case 8:
    case 9:
      return basic + 8
    default: // RESPONSE, RESET, and unused types
      return basic + 12
  }
}

/** dccp_find_option(): a header that is cut short drops the packet. Does not allocate. */
function findOption(pkt: Packet, { bytes }: FrameMemory, kind: number): boolean {
  const at = pkt.l4 + optionsAt(bytes, pkt.l4)
  const end = pkt.l4 + bytes[pkt.l4 + DCCP_DATA_OFFSET]! * 4
  if (end === at) return false
  if (end < at || end > pkt.end) {
    pkt.hotdrop = true
    return false
  }
  return hasTcpOption(bytes, at, end, kind)
}

export const dccp: Match<Dccp> = {
  kind: 'match',
  name: 'dccp',
  families: [4, 6],
  layout: {
    size: 16,
    fields: (m) => [
      ...[...m.dport, ...m.sport].map((port, i): Field => [2 * i, 2, port]),
      [8, 2, bits(m.hasSport, m.hasDport, m.types !== null, m.option !== null)],
      [10, 2, bits(m.sportInvert, m.dportInvert, m.types?.invert, m.option?.invert)],
      [12, 2, m.types?.bits ?? 0],
      [14, 1, m.option?.kind ?? 0],
    ],
  },
  protocols: [IPPROTO_DCCP],
  options: [
    { flag: 'source-port', aliases: ['sport'], invertible: true },
    { flag: 'destination-port', aliases: ['dport'], invertible: true },
    { flag: 'dccp-types', invertible: true },
    { flag: 'dccp-option', invertible: true },
  ],
  help: `dccp match options
[!] --source-port port[:port]                          match source port(s)
 --sport ...
[!] --destination-port port[:port]                     match destination port(s)
 --dport ...
[!] --dccp-types type[,...]                            match when packet is one of the given types
[!] --dccp-option option                               match if option (by number!) is set
`,
  parse: (o) => ({
    ...xtablesPorts(o),
    hasSport: o.has('source-port'),
    hasDport: o.has('destination-port'),
    types: o.has('dccp-types')
      ? { bits: parseTypes(o.text('dccp-types')), invert: o.inverted('dccp-types') }
      : null,
    option: o.has('dccp-option')
      ? { kind: o.uint('dccp-option', 8, 1, 255), invert: o.inverted('dccp-option') }
      : null,
  }),
  print: (m) =>
    words(
      m.hasSport ? `${m.sportInvert ? '! ' : ''}--sport ${printRange(m.sport)}` : '',
      m.hasDport ? `${m.dportInvert ? '! ' : ''}--dport ${printRange(m.dport)}` : '',
      m.types === null ? '' : `${m.types.invert ? '! ' : ''}--dccp-types ${printTypes(m.types.bits, false)}`,
      m.option === null ? '' : `${m.option.invert ? '! ' : ''}--dccp-option ${m.option.kind}`,
    ),
  list: (m, numeric) =>
    words(
      'dccp',
      listPorts('spt', m.sport, m.sportInvert, numeric ? null : 'dccp'),
      listPorts('dpt', m.dport, m.dportInvert, numeric ? null : 'dccp'),
      m.types === null ? '' : `${m.types.invert ? '! ' : ''}${printTypes(m.types.bits, numeric)}`,
      m.option === null ? '' : `option=${m.option.invert ? '!' : ''}${m.option.kind}`,
    ),
  reads: (m) => [
    'protocol',
    'fragment',
    'ports',
    ...(m.types === null && m.option === null ? [] : (['payload'] as const)),
  ],
  hotdrop: true,
  narrows: narrowsPorts,
  dropsWhole: (m) => m.option !== null,
  emit(m, js) {
    const parts: Code[] = [headerFits(DCCP_HEADER_LEN, js), ...emitPorts(m, js)]
    const { memory } = js.env.host
    if (m.types !== null) {
      const bit = js`${m.types.bits} >>> (${memory.bytes}[pkt.l4 + 8] >> 1 & 15) & 1`
      parts.push(js`${bit} === ${m.types.invert ? 0 : 1}`)
    }
    if (m.option !== null) {
      const found = js`${js.bind(findOption)}(pkt, ${memory}, ${m.option.kind})`
      parts.push(m.option.invert ? js`!${found}` : found)
    }
    return js.all(parts)
  },
}
