// rpfilter: whether an answer to this packet would leave where it came in (libxt_rpfilter of iptables 1.8.9,
// rpfilter_mt() of ipt_rpfilter.c and ip6t_rpfilter.c).

import { type FlowKey, newFlowKey, RouteType } from '../../datapath/fib.ts'
import type { Host } from '../../datapath/host.ts'
import { type Packet, PacketType } from '../../datapath/packet.ts'
import { tosOf } from '../../datapath/rewrite.ts'
import { isJoined } from '../../datapath/route.ts'
import { isReject6 } from '../../datapath/route-table.ts'
import { IPV4_TOS, isMulticast4, isZeronet4 } from '../../datapath/wire/ipv4.ts'
import { IPV6_NEXT_HEADER } from '../../datapath/wire/ipv6.ts'
import type { Match } from '../extension.ts'
import { bits } from '../layout.ts'
import { words } from './parts.ts'

export interface RpFilter {
  readonly loose: boolean
  readonly validMark: boolean
  readonly acceptLocal: boolean
  readonly invert: boolean
}

const FLAGS = ['loose', 'validmark', 'accept-local', 'invert'] as const
const DSCP_MASK = 0xfc
/** 224.0.0.0/24 */
const isLocalMulticast = (word: number): boolean => word >>> 8 === 0xe00000

/** One reused question. */
const key: FlowKey = newFlowKey()

/** Does not allocate. */
function passes(pkt: Packet, host: Host, m: RpFilter): boolean {
  const device = host.devices.byIndex[pkt.iif]
  if (device === undefined || device.loopback || pkt.pktType === PacketType.Loopback) return true
  const d0 = pkt.d0
  if (isZeronet4(pkt.s0) && (d0 === -1 || isLocalMulticast(d0))) return true
  key.family = 4
  key.oif = 0
  key.d0 = pkt.s0
  key.s0 = isMulticast4(d0) || d0 === -1 || isZeronet4(d0) ? 0 : d0
  key.iif = host.devices.loopback.index
  key.mark = m.validMark ? pkt.mark : 0
  key.tos = host.memory.bytes[pkt.l3 + IPV4_TOS]! & DSCP_MASK
  const found = host.fib.find(key)
  if (found === null) return false
  if (found.type !== RouteType.Unicast && !(found.type === RouteType.Local && m.acceptLocal)) return false
  return m.loose || found.uses(device)
}

/** ff00::/8, fe80::/10 and the unspecified address. */
const isMulticast6 = (w0: number): boolean => w0 >>> 24 === 0xff
const isLinkLocal6 = (w0: number): boolean => w0 >>> 22 === 0x3fa
const isAny6 = (w0: number, w1: number, w2: number, w3: number): boolean => (w0 | w1 | w2 | w3) === 0

/** rpfilter_lookup_reverse6(). Does not allocate. */
function passes6(pkt: Packet, host: Host, m: RpFilter): boolean {
  const device = host.devices.byIndex[pkt.iif]
  if (device === undefined || device.loopback || pkt.pktType === PacketType.Loopback) return true
  if (isAny6(pkt.s0, pkt.s1, pkt.s2, pkt.s3)) return true
  const unicast = !isMulticast6(pkt.d0) && !isAny6(pkt.d0, pkt.d1, pkt.d2, pkt.d3)
  key.family = 6
  key.d0 = pkt.s0
  key.d1 = pkt.s1
  key.d2 = pkt.s2
  key.d3 = pkt.s3
  key.s0 = unicast ? pkt.d0 : 0
  key.s1 = unicast ? pkt.d1 : 0
  key.s2 = unicast ? pkt.d2 : 0
  key.s3 = unicast ? pkt.d3 : 0
  key.iif = host.devices.loopback.index
  key.mark = m.validMark ? pkt.mark : 0
  key.tos = tosOf(pkt, host.memory)
  key.protocol = host.memory.bytes[pkt.l3 + IPV6_NEXT_HEADER]!
  key.sport = key.dport = 0
  // A link-local source is asked for on its link alone; for others a route out of the device goes before its equals.
  const linkLocal = isLinkLocal6(pkt.s0)
  key.oif = linkLocal || !m.loose ? device.index : 0
  const found = host.path.routes6.lookup(key, linkLocal, unicast)
  key.protocol = 0
  if (isReject6(found) || isJoined(found)) return false
  if (found.type === RouteType.Local) return m.acceptLocal
  return m.loose || found.device === device
}

export const rpfilter: Match<RpFilter> = {
  kind: 'match',
  name: 'rpfilter',
  families: [4, 6],
  layout: { size: 8, fields: (m) => [[0, 1, bits(m.loose, m.validMark, m.acceptLocal, m.invert)]] },
  tables: ['raw', 'mangle'],
  chains: ['PREROUTING'],
  options: FLAGS.map((flag) => ({ flag, arg: 'none' })),
  help: `rpfilter match options:
    --loose          permit reverse path via any interface
    --validmark      use skb nfmark when performing route lookup
    --accept-local   do not reject packets with a local source address
    --invert         match packets that failed the reverse path test
`,
  parse: (o) => ({
    loose: o.has('loose'),
    validMark: o.has('validmark'),
    acceptLocal: o.has('accept-local'),
    invert: o.has('invert'),
  }),
  print: (m) => format(m, '--'),
  list: (m) => words('rpfilter', format(m, '')),
  reads: ['source', 'destination', 'in', 'mark', 'tos', 'fib'],
  emit: (m, js) =>
    js`${js.bind(js.family === 4 ? passes : passes6)}(pkt, ${js.env.host}, ${m}) !== ${m.invert}`,
}

function format(m: RpFilter, dashes: string): string {
  const given = [m.loose, m.validMark, m.acceptLocal, m.invert]
  return FLAGS.filter((_, i) => given[i])
    .map((flag) => dashes + flag)
    .join(' ')
}
