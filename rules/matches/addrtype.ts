// addrtype: what kind of address the source or destination is to this host (libxt_addrtype of iptables 1.8.9,
// addrtype_mt_v1() of xt_addrtype.c). Over IPv6 a list of types asks for all of them at once, but for LOCAL, ANYCAST and
// UNREACHABLE, of which one is enough.

import { type FlowKey, newFlowKey, RouteType } from '../../datapath/fib.ts'
import type { Host } from '../../datapath/host.ts'
import { isAnycast } from '../../datapath/ipv6/routes.ts'
import { isReject6 } from '../../datapath/route-table.ts'
import type { Code, Js } from '../compile/template.ts'
import type { Match } from '../extension.ts'
import { bits } from '../layout.ts'
import { OptionError, WholeError } from '../options.ts'
import { abbreviates, listItems, words } from './parts.ts'

export interface AddrType {
  /** Bits 1 << RouteType; 0 is not asked. */
  readonly source: number
  readonly destination: number
  readonly sourceInvert: boolean
  readonly destinationInvert: boolean
  readonly limitIn: boolean
  readonly limitOut: boolean
}

/** By RTN_*. */
const NAMES = [
  'UNSPEC',
  'UNICAST',
  'LOCAL',
  'BROADCAST',
  'ANYCAST',
  'MULTICAST',
  'BLACKHOLE',
  'UNREACHABLE',
  'PROHIBIT',
  'THROW',
  'NAT',
  'XRESOLVE',
] as const

function parseTypes(text: string): number {
  let bits = 0
  for (const { item, rest, last } of listItems(text)) {
    const type = item === '' ? -1 : NAMES.findIndex((name) => abbreviates(item, name))
    if (type < 0)
      throw new OptionError(last ? `addrtype: bad type "${rest}"` : `addrtype: bad type \`${rest}'`)
    bits |= 1 << type
  }
  return bits
}

const printTypes = (bits: number): string => NAMES.filter((_, i) => bits & (1 << i)).join(',')

const LOOKED_UP = (1 << RouteType.Local) | (1 << RouteType.Anycast) | (1 << RouteType.Unreachable)
/** What no route of IPv6 has, or this match does not ask for. */
const NOT_OF_IPV6 =
  (1 << RouteType.Broadcast) | (1 << RouteType.Blackhole) | (0xfff & -(1 << RouteType.Prohibit))

/** One reused question. */
const key: FlowKey = newFlowKey()

/** IPV6_ADDR_UNICAST of ipv6_addr_type(): neither multicast nor `::` nor IPv4-mapped. */
function isUnicast6(w0: number, w1: number, w2: number, w3: number): boolean {
  if (w0 >>> 24 === 0xff) return false
  if ((w0 | w1) !== 0) return true
  return w2 === 0 ? w3 !== 0 : w2 !== 0xffff
}

/** match_lookup_rt6(): type bits. `device`: an ifindex, 0 for any. Does not allocate. */
function lookedUp6(host: Host, w0: number, w1: number, w2: number, w3: number, device: number): number {
  key.family = 6
  key.d0 = w0
  key.d1 = w1
  key.d2 = w2
  key.d3 = w3
  key.oif = device
  const route = host.path.routes6.output(key)
  if (isReject6(route)) return 1 << RouteType.Unreachable
  let bits = 0
  // With a device the address must be that device's.
  if (device === 0 ? route.type === RouteType.Local : hasAddress6(host, device, w0, w1, w2, w3))
    bits |= 1 << RouteType.Local
  if (isAnycast(route, w0, w1, w2, w3)) bits |= 1 << RouteType.Anycast
  return bits
}

function hasAddress6(host: Host, index: number, w0: number, w1: number, w2: number, w3: number): boolean {
  const addresses = host.devices.byIndex[index]?.addresses
  if (addresses === undefined) return false
  for (let i = 0; i < addresses.length; i++) {
    const { family, words: w } = addresses[i]!
    if (family === 6 && w[0] === w0 && w[1] === w1 && w[2] === w2 && w[3] === w3) return true
  }
  return false
}

/** match_type6(). Does not allocate. */
function fits6(
  host: Host,
  bits: number,
  w0: number,
  w1: number,
  w2: number,
  w3: number,
  device: number,
): boolean {
  if (bits & (1 << RouteType.Multicast) && w0 >>> 24 !== 0xff) return false
  if (bits & (1 << RouteType.Unicast) && !isUnicast6(w0, w1, w2, w3)) return false
  if (bits & 1 && (w0 | w1 | w2 | w3) !== 0) return false
  return (bits & LOOKED_UP) === 0 || (bits & lookedUp6(host, w0, w1, w2, w3, device)) !== 0
}

/** A bit test of the address's type, seen from one interface (its index) or from any (0). */
function emitSide(bits: number, invert: boolean, side: 's' | 'd', device: Code, js: Js): Code {
  if (js.family === 6) {
    const call = js.bind(fits6)
    const { host } = js.env
    return side === 's'
      ? js`${call}(${host}, ${bits}, pkt.s0, pkt.s1, pkt.s2, pkt.s3, ${device}) !== ${invert}`
      : js`${call}(${host}, ${bits}, pkt.d0, pkt.d1, pkt.d2, pkt.d3, ${device}) !== ${invert}`
  }
  const { fib } = js.env.host
  const type =
    side === 's'
      ? js`${fib}.addressType(${js.family}, pkt.s0, pkt.s1, pkt.s2, pkt.s3, ${device})`
      : js`${fib}.addressType(${js.family}, pkt.d0, pkt.d1, pkt.d2, pkt.d3, ${device})`
  const bit = js`${bits} >>> ${type} & 1`
  return invert ? js`${bit} === 0` : js`${bit} === 1`
}

export const addrtype: Match<AddrType> = {
  kind: 'match',
  name: 'addrtype',
  revision: 1,
  families: [4, 6],
  layout: {
    size: 8,
    fields: (m) => [
      [0, 2, m.source],
      [2, 2, m.destination],
      [4, 4, bits(m.sourceInvert, m.destinationInvert, m.limitIn, m.limitOut)],
    ],
  },
  options: [
    { flag: 'src-type', invertible: true },
    { flag: 'dst-type', invertible: true },
    { flag: 'limit-iface-in', arg: 'none', excludes: ['limit-iface-out'] },
    { flag: 'limit-iface-out', arg: 'none', excludes: ['limit-iface-in'] },
  ],
  help: `Address type match options:
 [!] --src-type type[,...]      Match source address type
 [!] --dst-type type[,...]      Match destination address type
     --limit-iface-in           Match only on the packet's incoming device
     --limit-iface-out          Match only on the packet's outgoing device

Valid types:           
                                UNSPEC
                                UNICAST
                                LOCAL
                                BROADCAST
                                ANYCAST
                                MULTICAST
                                BLACKHOLE
                                UNREACHABLE
                                PROHIBIT
                                THROW
                                NAT
                                XRESOLVE
`,
  parse(o) {
    const source = o.has('src-type') ? parseTypes(o.text('src-type')) : 0
    const destination = o.has('dst-type') ? parseTypes(o.text('dst-type')) : 0
    if (source === 0 && destination === 0)
      throw new WholeError('addrtype: you must specify --src-type or --dst-type')
    return {
      source,
      destination,
      sourceInvert: o.has('src-type') && o.inverted('src-type'),
      destinationInvert: o.has('dst-type') && o.inverted('dst-type'),
      limitIn: o.has('limit-iface-in'),
      limitOut: o.has('limit-iface-out'),
    }
  },
  print: (m) =>
    words(
      m.source === 0 ? '' : `${m.sourceInvert ? '! ' : ''}--src-type ${printTypes(m.source)}`,
      m.destination === 0 ? '' : `${m.destinationInvert ? '! ' : ''}--dst-type ${printTypes(m.destination)}`,
      m.limitIn ? '--limit-iface-in' : '',
      m.limitOut ? '--limit-iface-out' : '',
    ),
  list: (m) =>
    words(
      'ADDRTYPE match',
      m.source === 0 ? '' : `src-type ${m.sourceInvert ? '!' : ''}${printTypes(m.source)}`,
      m.destination === 0 ? '' : `dst-type ${m.destinationInvert ? '!' : ''}${printTypes(m.destination)}`,
      m.limitIn ? 'limit-in' : '',
      m.limitOut ? 'limit-out' : '',
    ),
  check(m, use) {
    if (use.family === 6 && ((m.source | m.destination) & NOT_OF_IPV6) !== 0)
      return 'addrtype: a type that IPv6 does not have'
    if (m.limitIn && m.limitOut) return 'addrtype: both incoming and outgoing interface limitation'
    const from = (...hooks: string[]): boolean => hooks.some((hook) => use.hooks.includes(hook))
    if (m.limitOut && from('PREROUTING', 'INPUT'))
      return 'addrtype: --limit-iface-out is not valid in PREROUTING and INPUT'
    if (m.limitIn && from('POSTROUTING', 'OUTPUT'))
      return 'addrtype: --limit-iface-in is not valid in POSTROUTING and OUTPUT'
    return null
  },
  reads: ['source', 'destination', 'in', 'out', 'fib'],
  emit(m, js) {
    const device = m.limitIn ? js`pkt.iif` : m.limitOut ? js`pkt.oif` : js`0`
    const parts: Code[] = []
    if (m.source !== 0) parts.push(emitSide(m.source, m.sourceInvert, 's', device, js))
    if (m.destination !== 0) parts.push(emitSide(m.destination, m.destinationInvert, 'd', device, js))
    return js.all(parts)
  },
}
