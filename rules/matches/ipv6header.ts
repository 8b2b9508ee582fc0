// ipv6header: which extension headers a packet has (libip6t_ipv6header of iptables 1.8.9, ipv6header_mt6() of
// ip6t_ipv6header.c): exactly the named ones, or with --soft these among others.

import type { Packet } from '../../datapath/packet.ts'
import type { FrameMemory } from '../../datapath/ring.ts'
import { IPV6_HEADER_LEN, IPV6_NEXT_HEADER } from '../../datapath/wire/ipv6.ts'
import {
  extensionLength,
  isExtension,
  NEXTHDR_AUTH,
  NEXTHDR_DEST,
  NEXTHDR_ESP,
  NEXTHDR_FRAGMENT,
  NEXTHDR_HOP,
  NEXTHDR_NONE,
  NEXTHDR_ROUTING,
} from '../../datapath/wire/ipv6-headers.ts'
import type { Match } from '../extension.ts'
import { OptionError } from '../options.ts'
import { protocolNumber } from '../text/services.ts'

export interface Ipv6Header {
  /** MASK_* bits. */
  readonly headers: number
  readonly invert: boolean
  readonly soft: boolean
}

/** A header that is no extension: what an upper protocol brings. */
const PROTO = 0x01
/** By the number of the header; 255 stands for "protocol". In the order in which they are printed. */
const HEADERS: readonly (readonly [next: number, bit: number, name: string, short: string])[] = [
  [NEXTHDR_HOP, 0x80, 'hop-by-hop', 'hop'],
  [NEXTHDR_DEST, 0x40, 'ipv6-opts', 'dst'],
  [NEXTHDR_ROUTING, 0x20, 'ipv6-route', 'route'],
  [NEXTHDR_FRAGMENT, 0x10, 'ipv6-frag', 'frag'],
  [NEXTHDR_AUTH, 0x08, 'ah', 'auth'],
  [NEXTHDR_ESP, 0x04, 'esp', 'esp'],
  [NEXTHDR_NONE, 0x02, 'ipv6-nonxt', 'none'],
  [255, PROTO, 'protocol', 'prot'],
]
const BITS = new Uint8Array(256)
for (const [next, bit] of HEADERS) BITS[next] = bit

/** Names that -p knows without /etc/protocols. */
const OURS = new Set(['all', 'icmpv6', 'mh', 'ipv6-mh'])

/** A header's number as it is written in the help, or a protocol's name. */
const headerNumber = (item: string): number | null =>
  /^[\d\s+]/.test(item)
    ? (HEADERS.find(([next]) => String(next) === item)?.[0] ?? null)
    : OURS.has(item)
      ? null
      : protocolNumber(item)

function parseHeaders(text: string): number {
  let bits = 0
  for (const item of text.split(',')) {
    if (item === '') continue
    const known = HEADERS.find(([, , name, short]) => item === name || item === short)
    const number = known?.[0] ?? headerNumber(item)
    if (number === null) throw new OptionError(`unknown header \`${item}' specified`)
    if (!BITS[number]) throw new OptionError(`unknown header \`${number}' specified`)
    bits |= BITS[number]!
  }
  if (bits === 0) throw new OptionError('ip6t_ipv6header: cannot parse header names')
  return bits
}

const printHeaders = (bits: number): string =>
  HEADERS.filter(([, bit]) => bits & bit)
    .map(([, , name]) => name)
    .join(',')

/** The headers that the packet has, or -1 if the chain is cut short. Does not allocate. */
function headersOf(pkt: Packet, { view }: FrameMemory): number {
  let bits = 0
  let next = view.getUint8(pkt.l3 + IPV6_NEXT_HEADER)
  let at = pkt.l3 + IPV6_HEADER_LEN
  while (isExtension(next) || next === NEXTHDR_ESP) {
    if (next === NEXTHDR_NONE) return bits | BITS[NEXTHDR_NONE]!
    if (pkt.end - at < 2) return -1
    bits |= BITS[next]!
    if (next === NEXTHDR_ESP) return bits
    const length = extensionLength(view, next, at)
    next = view.getUint8(at)
    at += length
    if (at > pkt.end) break
  }
  return next === NEXTHDR_NONE || next === NEXTHDR_ESP ? bits : bits | PROTO
}

/** Does not allocate. */
function fits(pkt: Packet, memory: FrameMemory, headers: number, invert: boolean, soft: boolean): boolean {
  const bits = headersOf(pkt, memory)
  if (bits < 0) return false
  if (soft) return ((bits ^ headers ^ (invert ? 0xff : 0)) & headers) === 0
  return (bits === headers) !== invert
}

export const ipv6header: Match<Ipv6Header> = {
  kind: 'match',
  name: 'ipv6header',
  families: [6],
  layout: {
    size: 8,
    fields: ({ headers, invert, soft }) => [
      [0, 1, headers],
      [1, 1, invert ? 0xff : 0],
      [2, 1, soft ? 0xff : 0],
    ],
  },
  options: [
    { flag: 'header', required: true, invertible: true },
    { flag: 'soft', arg: 'none' },
  ],
  help: `ipv6header match options:
[!] --header headers     Type of header to match, by name
                         names: hop,dst,route,frag,auth,esp,none,prot
                    long names: hop-by-hop,ipv6-opts,ipv6-route,
                                ipv6-frag,ah,esp,ipv6-nonxt,protocol
                       numbers: 0,60,43,44,51,50,59
--soft                    The header CONTAINS the specified extensions
`,
  parse: (o) => ({
    headers: parseHeaders(o.text('header')),
    invert: o.inverted('header'),
    soft: o.has('soft'),
  }),
  print: (m) => `${m.invert ? '! ' : ''}--header ${printHeaders(m.headers)}${m.soft ? ' --soft' : ''}`,
  list(m, numeric) {
    const headers = numeric
      ? `0x${m.headers.toString(16).toUpperCase().padStart(2, '0')}`
      : printHeaders(m.headers)
    return `ipv6header flags:${m.invert ? '!' : ''}${headers}${m.soft ? ' soft' : ''}`
  },
  reads: ['protocol', 'fragment', 'payload'],
  emit: (m, js) => js`${js.bind(fits)}(pkt, ${js.env.host.memory}, ${m.headers}, ${m.invert}, ${m.soft})`,
}
