// What ICMP errors leave behind in routing: before icmp_send() sends one, it also asks for the way of a packet that would go
// back (icmp_route_lookup, for IPsec's sake). The way itself is put aside, but next hops keep what was made on it, so
// that the realms of the policy rule which led there are those of later packets (rule-realms.ts).

import { RouteType } from '../fib.ts'
import type { Host } from '../host.ts'
import type { Packet } from '../packet.ts'
import { newFlowKey } from '../route.ts'

const key = newFlowKey()

/** Of an error about `cause`, once its own way is known. Only where rules have realms does anything show it. */
export function relookup(host: Host, cause: Packet): void {
  const { fib } = host
  const { s0, d0 } = cause
  if (fib.addressType(4, d0, 0, 0, 0, 0) === RouteType.Local) {
    // xfrm_decode_session_reverse(): out of the interface that it came in by.
    fib.fill(key, cause)
    const { sport } = key
    key.sport = key.dport
    key.dport = sport
    key.d0 = s0
    key.s0 = d0
    key.iif = 0
    key.oif = cause.arrival?.index ?? 0
    fib.output(key)
    return
  }
  // As the packet itself would be sent on from here.
  fib.fill(key, cause)
  key.iif = 0
  const back = fib.output(key, true)
  if (back === null) return
  const { arrival, iif, route, flags, sourceRealm } = cause
  cause.arrival = back.device
  cause.iif = back.device!.index
  cause.s0 = d0
  host.path.routeInput(cause, s0)
  cause.s0 = s0
  cause.arrival = arrival
  cause.iif = iif
  cause.route = route
  cause.flags = flags
  cause.sourceRealm = sourceRealm
}
