// realm: the realm of a packet's route (libxt_realm of iptables 1.8.9, realm_mt() of xt_realm.c): that of the route to
// the destination and of the policy rule that chose it, and in the upper half, unless there is one there, that of the
// route to the source.

import { RouteType } from '../../datapath/fib.ts'
import type { Packet } from '../../datapath/packet.ts'
import { withRealm } from '../../datapath/rule-realms.ts'
import type { Match } from '../extension.ts'
import { formatNamedMask, type NamedMask, parseNamedMask } from './named-mask.ts'

const DEFAULT_NAME = 'cosmos'

/** dst.tclassid as rt_set_nexthop() and fib_combine_itag() make it. Does not allocate. */
function realmOf(pkt: Packet): number {
  const { route } = pkt
  if (route === null) return 0
  // A copy of TEE's goes by a route of the host's own, and what came back by lo still has its own: nobody looked at
  // their source.
  const out = pkt.local || pkt.socketless || pkt.arrival?.loopback === true
  const own = out || route.type === RouteType.Unicast ? route.realm : 0
  return out ? own : withRealm(own, pkt.sourceRealm)
}

export const realm: Match<NamedMask> = {
  kind: 'match',
  name: 'realm',
  families: [4],
  layout: { size: 16 },
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
  emit: (m, js) => js`((${js.bind(realmOf)}(pkt) & ${m.mask | 0}) === ${m.value | 0}) !== ${m.invert}`,
}
