// realm: the realm of a packet's route (libxt_realm of iptables 1.8.9, realm_mt() of xt_realm.c): that of the route to
// the destination, and in the upper half, unless that route has one there, that of the route to the source.

import type { Device } from '../../datapath/devices.ts'
import { type FlowKey, newFlowKey, RouteType } from '../../datapath/fib.ts'
import type { Host } from '../../datapath/host.ts'
import type { Packet } from '../../datapath/packet.ts'
import { isZeronet4 } from '../../datapath/wire/ipv4.ts'
import type { Match } from '../extension.ts'
import { formatNamedMask, type NamedMask, parseNamedMask } from './named-mask.ts'

const DEFAULT_NAME = 'cosmos'

/** One reused question. */
const key: FlowKey = newFlowKey()

function hasAddress(device: Device): boolean {
  for (let i = 0; i < device.addresses.length; i++) if (device.addresses[i]!.family === 4) return true
  return false
}

/** dst.tclassid as rt_set_nexthop() and fib_combine_itag() make it. Does not allocate. */
function realmOf(pkt: Packet, host: Host): number {
  const { route } = pkt
  if (route === null) return 0
  // A copy of TEE's goes by a route of the host's own: nobody looked at its source.
  const out = pkt.local || pkt.socketless
  const own = out || route.type === RouteType.Unicast ? route.realm : 0
  const device = out ? undefined : host.devices.byIndex[pkt.iif]
  if ((own & 0xffff0000) !== 0 || device === undefined) return own
  // What is for many is asked for from nowhere, and not at all if it came from nowhere (brd_input, ip_mc_validate_source).
  const many = route.type === RouteType.Broadcast || route.type === RouteType.Multicast
  if (many && isZeronet4(pkt.s0)) return own
  host.fib.fill(key, pkt)
  key.d0 = pkt.s0
  key.s0 = many ? 0 : pkt.d0
  key.iif = route.type === RouteType.Unicast && route.device !== null ? route.device.index : 0
  if (!device.conf.srcValidMark) key.mark = 0
  const sport = key.sport
  key.sport = key.dport
  key.dport = sport
  const found = host.fib.find(key)
  if (found === null || (found.type !== RouteType.Unicast && found.type !== RouteType.Local)) return own
  // A device without addresses learns nothing from a route that leads elsewhere.
  if (!found.uses(device) && !hasAddress(device)) return own
  return own | (found.realm << 16)
}

export const realm: Match<NamedMask> = {
  kind: 'match',
  name: 'realm',
  families: [4],
  chains: ['INPUT', 'FORWARD', 'OUTPUT', 'POSTROUTING'],
  options: [{ flag: 'realm', required: true, invertible: true }],
  help: `realm match options:
[!] --realm value[/mask]
				Match realm
`,
  parse: (o) => parseNamedMask(o, 'realm', DEFAULT_NAME),
  print: (m) => `${m.invert ? '! ' : ''}--realm ${formatNamedMask(m, DEFAULT_NAME, false)}`,
  list: (m, numeric) => `${m.invert ? '! ' : ''}realm ${formatNamedMask(m, DEFAULT_NAME, numeric)}`,
  reads: ['source', 'destination', 'in', 'ports', 'mark', 'tos', 'fib'],
  // Differs from Linux: realms of policy rules do not count.
  emit: (m, js) =>
    js`((${js.bind(realmOf)}(pkt, ${js.env.host}) & ${m.mask | 0}) === ${m.value | 0}) !== ${m.invert}`,
}
