// tcp: ports, flags and options of the TCP header (libxt_tcp of iptables 1.8.9, tcp_mt() of xt_tcpudp.c).

import type { Packet } from '../../datapath/packet.ts'
import type { FrameMemory } from '../../datapath/ring.ts'
import { IPPROTO_TCP } from '../../datapath/wire/protocol.ts'
import type { Code } from '../compile/template.ts'
import type { Match } from '../extension.ts'
import { bits } from '../layout.ts'
import { OptionError } from '../options.ts'
import { wholeNumber } from '../text/numbers.ts'
import {
  asked,
  emitPorts,
  hasTcpOption,
  listPorts,
  narrowsPorts,
  only,
  ownPorts,
  type Ports,
  portFields,
  printPorts,
  tcpHeaderFits,
  words,
} from './parts.ts'

export interface Tcp extends Ports {
  /** Bits of the flags byte that are looked at, and what they must be. */
  readonly flagsMask: number
  readonly flagsCompare: number
  readonly flagsInvert: boolean
  /** Kind of a TCP option that must be there, 0 none. */
  readonly option: number
  readonly optionInvert: boolean
}

const FLAGS = ['FIN', 'SYN', 'RST', 'PSH', 'ACK', 'URG'] as const
const ALL_FLAGS = 0x3f

export const TCP_SYN = 0x02

/** parse_tcp_flag(): names in any case, empty ones skipped (strtok). */
function parseFlags(text: string): number {
  let bits = 0
  for (const name of text.split(',')) {
    if (name === '') continue
    const upper = name.toUpperCase()
    const at = FLAGS.indexOf(upper as (typeof FLAGS)[number])
    if (at >= 0) bits |= 1 << at
    else if (upper === 'ALL') bits |= ALL_FLAGS
    else if (upper !== 'NONE') throw new OptionError(`Unknown TCP flag \`${name}'`)
  }
  return bits
}

const printFlags = (bits: number): string =>
  bits === 0 ? 'NONE' : FLAGS.filter((_, i) => bits & (1 << i)).join(',')

const hexByte = (value: number): string => `0x${value.toString(16).toUpperCase().padStart(2, '0')}`

/** Drops a packet whose header says less than 20 bytes, or more than there are. Does not allocate. */
function findOption(pkt: Packet, memory: FrameMemory, kind: number, invert: boolean): boolean {
  const header = (memory.bytes[pkt.l4 + 12]! >> 4) << 2
  if (header === 20) return invert
  if (header < 20 || pkt.l4 + header > pkt.end) {
    pkt.hotdrop = true
    return false
  }
  return hasTcpOption(memory.bytes, pkt.l4 + 20, pkt.l4 + header, kind) !== invert
}

export const tcp: Match<Tcp> = {
  kind: 'match',
  name: 'tcp',
  families: [4, 6],
  layout: {
    size: 16,
    fields: (data) => [
      ...portFields(data),
      [8, 1, data.option],
      [9, 1, data.flagsMask],
      [10, 1, data.flagsCompare],
      [11, 1, bits(data.sportInvert, data.dportInvert, data.flagsInvert, data.optionInvert)],
    ],
  },
  protocols: [IPPROTO_TCP],
  options: [
    { flag: 'source-port', aliases: ['sport'], invertible: true, multiple: true },
    { flag: 'destination-port', aliases: ['dport'], invertible: true, multiple: true },
    { flag: 'syn', arg: 'none', invertible: true, multiple: true },
    { flag: 'tcp-flags', arg: 'two', invertible: true, multiple: true },
    { flag: 'tcp-option', invertible: true, multiple: true },
  ],
  help: `tcp match options:
[!] --tcp-flags mask comp	match when TCP flags & mask == comp
				(Flags: SYN ACK FIN RST URG PSH ALL NONE)
[!] --syn			match when only SYN flag set
				(equivalent to --tcp-flags SYN,RST,ACK,FIN SYN)
[!] --source-port port[:port]
 --sport ...
				match source port(s)
[!] --destination-port port[:port]
 --dport ...
				match destination port(s)
[!] --tcp-option number        match if TCP option set
`,
  parse(o) {
    const ports = ownPorts(o, 'tcp')
    if (o.given().filter((flag) => flag === 'syn' || flag === 'tcp-flags').length > 1)
      throw new OptionError("Only one of `--syn' or `--tcp-flags'  allowed")
    let flagsMask = 0
    let flagsCompare = 0
    if (o.has('syn')) {
      flagsMask = parseFlags('SYN,RST,ACK,FIN')
      flagsCompare = TCP_SYN
    }
    if (o.has('tcp-flags')) {
      const [mask, compare] = o.texts('tcp-flags')
      if (mask === undefined || compare === undefined) throw new OptionError('--tcp-flags requires two args.')
      flagsMask = parseFlags(mask)
      flagsCompare = parseFlags(compare)
    }
    let option = 0
    if (o.has('tcp-option')) {
      const text = only(o, 'tcp-option')
      option = wholeNumber(text, 1, 255) ?? 0
      if (option === 0) throw new OptionError(`Bad TCP option "${text}"`)
    }
    return {
      ...ports,
      flagsMask,
      flagsCompare,
      flagsInvert: (o.has('syn') && o.inverted('syn')) || (o.has('tcp-flags') && o.inverted('tcp-flags')),
      option,
      optionInvert: o.has('tcp-option') && o.inverted('tcp-option'),
    }
  },
  print: (m) =>
    words(
      printPorts('sport', m.sport, m.sportInvert),
      printPorts('dport', m.dport, m.dportInvert),
      m.option !== 0 || m.optionInvert ? `${m.optionInvert ? '! ' : ''}--tcp-option ${m.option}` : '',
      m.flagsMask !== 0 || m.flagsInvert
        ? `${m.flagsInvert ? '! ' : ''}--tcp-flags ${printFlags(m.flagsMask)} ${printFlags(m.flagsCompare)}`
        : '',
    ),
  list(m, numeric) {
    const transport = numeric ? null : 'tcp'
    const show = numeric ? hexByte : printFlags
    return words(
      'tcp',
      listPorts('spt', m.sport, m.sportInvert, transport),
      listPorts('dpt', m.dport, m.dportInvert, transport),
      m.option !== 0 || m.optionInvert ? `option=${m.optionInvert ? '!' : ''}${m.option}` : '',
      m.flagsMask !== 0 || m.flagsInvert
        ? `flags:${m.flagsInvert ? '!' : ''}${show(m.flagsMask)}/${show(m.flagsCompare)}`
        : '',
    )
  },
  reads: (m) => {
    const ports = asked(m.sport, m.sportInvert) || asked(m.dport, m.dportInvert)
    const header = m.flagsMask !== 0 || m.flagsInvert || m.option !== 0
    return [
      'protocol',
      'fragment',
      ...(ports ? (['ports'] as const) : []),
      ...(header ? (['tcp'] as const) : []),
    ]
  },
  tcpFlags: (m) => (m.option === 0 ? m.flagsMask : -1),
  hotdrop: true,
  narrows: narrowsPorts,
  dropsWhole: (m) => m.option !== 0,
  emit(m, js) {
    const parts: Code[] = [tcpHeaderFits(js), ...emitPorts(m, js)]
    if (m.flagsMask !== 0 || m.flagsCompare !== 0 || m.flagsInvert) {
      const bytes = js.bind(js.env.host.memory.bytes)
      const equal = js`(${bytes}[pkt.l4 + 13] & ${m.flagsMask}) === ${m.flagsCompare}`
      parts.push(m.flagsInvert ? js`!${equal}` : equal)
    }
    if (m.option !== 0)
      parts.push(js`${js.bind(findOption)}(pkt, ${js.env.host.memory}, ${m.option}, ${m.optionInvert})`)
    return js.all(parts)
  },
}
