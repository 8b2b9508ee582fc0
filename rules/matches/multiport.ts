// multiport: up to 15 ports and ranges of ports (libxt_multiport of iptables 1.8.9, multiport_mt() of
// xt_multiport.c).

import {
  IPPROTO_DCCP,
  IPPROTO_SCTP,
  IPPROTO_TCP,
  IPPROTO_UDP,
  IPPROTO_UDPLITE,
} from '../../datapath/wire/protocol.ts'
import type { Code, Js } from '../compile/template.ts'
import type { Match } from '../extension.ts'
import type { Field } from '../layout.ts'
import { OptionError, type Options, WholeError } from '../options.ts'
import { headerFits, onePort, portName, printRange, type Range } from './parts.ts'

export interface Multiport {
  readonly side: 'source' | 'destination' | 'either'
  readonly ports: readonly Range[]
  readonly invert: boolean
  /** The rule's: names of services depend on it. */
  readonly protocol: number
}

/** XT_MULTI_PORTS: places in the kernel's list; a range takes two. */
const PLACES = 15

const TRANSPORTS: Readonly<Record<number, string>> = {
  [IPPROTO_TCP]: 'tcp',
  [IPPROTO_UDP]: 'udp',
  [IPPROTO_UDPLITE]: 'udplite',
  [IPPROTO_SCTP]: 'sctp',
  [IPPROTO_DCCP]: 'dccp',
}

const SIDES = [
  ['source-ports', 'source', 'sports'],
  ['destination-ports', 'destination', 'dports'],
  ['ports', 'either', 'ports'],
] as const

const shortName = (m: Multiport): string => SIDES.find(([, side]) => side === m.side)![2]

function transportOf(o: Options): string {
  const transport = TRANSPORTS[o.protocol]
  if (transport !== undefined && !o.protocolInverted) return transport
  throw new OptionError(
    o.protocol === 0
      ? "multiport needs `-p tcp', `-p udp', `-p udplite', `-p sctp' or `-p dccp'"
      : 'multiport only works with TCP, UDP, UDPLITE, SCTP and DCCP',
  )
}

function parsePorts(text: string, transport: string): Range[] {
  const ports: Range[] = []
  let places = 0
  for (const item of text.split(',')) {
    const colon = item.indexOf(':')
    places += colon < 0 ? 1 : 2
    if (places > PLACES) throw new OptionError('too many ports specified')
    const from = onePort(colon < 0 ? item : item.slice(0, colon), transport)
    const to = colon < 0 ? from : onePort(item.slice(colon + 1), transport)
    if (colon >= 0 && from >= to) throw new OptionError('invalid portrange specified')
    ports.push([from, to])
  }
  return ports
}

const within = (side: 'sport' | 'dport', [min, max]: Range, js: Js): Code => {
  const port = side === 'sport' ? js`pkt.sport` : js`pkt.dport`
  return min === max ? js`${port} === ${min}` : js`${port} >= ${min} && ${port} <= ${max}`
}

export const multiport: Match<Multiport> = {
  kind: 'match',
  name: 'multiport',
  revision: 1,
  families: [4, 6],
  layout: {
    size: 48,
    fields: (data) => {
      // A range takes two places, the first of which says so.
      const places = data.ports.flatMap(([min, max]) =>
        min === max
          ? [[min, 0]]
          : [
              [min, 1],
              [max, 0],
            ],
      )
      return [
        [0, 1, SIDES.findIndex(([, side]) => side === data.side)],
        [1, 1, places.length],
        ...Array.from({ length: PLACES }, (_, i): Field => [2 + 2 * i, 2, places[i]?.[0] ?? 0]),
        ...Array.from({ length: PLACES }, (_, i): Field => [32 + i, 1, places[i]?.[1] ?? 0]),
        [47, 1, data.invert ? 1 : 0],
      ]
    },
  },
  options: [
    {
      flag: 'source-ports',
      aliases: ['sports'],
      invertible: true,
      excludes: ['destination-ports', 'ports'],
    },
    {
      flag: 'destination-ports',
      aliases: ['dports'],
      invertible: true,
      excludes: ['source-ports', 'ports'],
    },
    { flag: 'ports', invertible: true, excludes: ['source-ports', 'destination-ports'] },
  ],
  help: `multiport match options:
[!] --source-ports port[,port:port,port...]
 --sports ...
				match source port(s)
[!] --destination-ports port[,port:port,port...]
 --dports ...
				match destination port(s)
[!] --ports port[,port:port,port]
				match both source and destination port(s)
`,
  parse(o) {
    const given = SIDES.find(([flag]) => o.has(flag))
    if (given === undefined) throw new WholeError('multiport expection an option')
    const transport = transportOf(o)
    const [flag, side] = given
    return {
      side,
      ports: parsePorts(o.text(flag), transport),
      invert: o.inverted(flag),
      protocol: o.protocol,
    }
  },
  print: (m) => `${m.invert ? '! ' : ''}--${shortName(m)} ${m.ports.map(printRange).join(',')}`,
  list(m, numeric) {
    const transport = numeric ? null : (TRANSPORTS[m.protocol] ?? null)
    const ports = m.ports.map(([min, max]) =>
      min === max ? portName(min, transport) : `${portName(min, transport)}:${portName(max, transport)}`,
    )
    return `multiport ${shortName(m)} ${m.invert ? ' !' : ''}${ports.join(',')}`
  },
  check: (_, use) =>
    use.protocol !== null && !use.protocol.invert && TRANSPORTS[use.protocol.number] !== undefined
      ? null
      : 'multiport: only for TCP, UDP, UDP-Lite, SCTP and DCCP',
  reads: ['protocol', 'fragment', 'ports'],
  hotdrop: true,
  // Of `--ports` either side may have it.
  narrows: (m) =>
    m.invert || m.side === 'either' ? {} : m.side === 'source' ? { sports: m.ports } : { dports: m.ports },
  emit(m, js) {
    const any = js.any(
      m.ports.flatMap((range) => [
        ...(m.side === 'destination' ? [] : [within('sport', range, js)]),
        ...(m.side === 'source' ? [] : [within('dport', range, js)]),
      ]),
    )
    return js`${headerFits(4, js)} && ${m.invert ? js`!${any}` : any}`
  },
}
