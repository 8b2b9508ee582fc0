// What ip_route_input_rcu() makes of the packet that `ip route get … iif` is about, and the realms of its route.

import type { Device } from '../../datapath/devices.ts'
import { type Route, RouteFailure, RouteType } from '../../datapath/fib.ts'
import type { Host } from '../../datapath/host.ts'
import { Packet, PathFlag } from '../../datapath/packet.ts'
import { fill4 } from '../../datapath/parse.ts'
import { HEADROOM } from '../../datapath/ring.ts'
import type { FlowKey } from '../../datapath/route.ts'
import { withRealm } from '../../datapath/rule-realms.ts'
import { IPV4_PLAIN } from '../../datapath/wire/ipv4.ts'
import { Refusal } from './ip-context.ts'

export interface InputRoute {
  readonly route: Route
  /** FROM << 16 | TO, as dst.tclassid. */
  readonly realm: number
  readonly redirect: boolean
}

/** Errors of look-ups, in words of errno. */
export const FAILURES: Readonly<Record<number, string>> = {
  [RouteFailure.None]: 'ENETUNREACH',
  [RouteFailure.Prohibited]: 'EACCES',
  [RouteFailure.Invalid]: 'EINVAL',
  [RouteFailure.NetUnreach]: 'ENETUNREACH',
  [RouteFailure.HostUnreach]: 'EHOSTUNREACH',
}

const HEADERS = 28

/** inet_rtm_getroute_build_skb(): a datagram without data. Throws Refusal. */
export function routeIn(host: Host, key: FlowKey, iif: Device): InputRoute {
  const { memory, path } = host
  const slot = memory.take()
  if (slot < 0) throw new Refusal('ENOBUFS')
  try {
    const l3 = slot + HEADROOM
    const { view } = memory
    memory.bytes.fill(0, l3, l3 + HEADERS)
    view.setUint8(l3, IPV4_PLAIN)
    view.setUint8(l3 + 1, key.tos)
    view.setUint16(l3 + 2, HEADERS)
    view.setUint8(l3 + 9, key.protocol)
    view.setInt32(l3 + 12, key.s0)
    view.setInt32(l3 + 16, key.d0)
    view.setUint16(l3 + 20, key.sport)
    view.setUint16(l3 + 22, key.dport)
    const pkt = new Packet()
    pkt.slot = slot
    pkt.l3 = l3
    pkt.end = l3 + HEADERS
    fill4(pkt, view, l3 + 20)
    pkt.mark = key.mark
    pkt.arrival = iif
    pkt.iif = iif.index
    if (!path.routeInput(pkt, key.d0)) throw new Refusal('EINVAL')
    const route = pkt.route!
    const failure = path.failureOf(route)
    if (failure !== RouteFailure.None) throw new Refusal(FAILURES[failure]!)
    return {
      route,
      realm: withRealm(route.type === RouteType.Unicast ? route.realm : 0, pkt.sourceRealm) >>> 0,
      redirect: (pkt.flags & PathFlag.DoRedirect) !== 0,
    }
  } finally {
    memory.give(slot)
  }
}
