// What ip_route_input_rcu() makes of the packet that `ip route get … iif` is about, and the realms of its route.

import { type Device, Scope } from '../../datapath/devices.ts'
import { type Route, RouteFailure, RouteType } from '../../datapath/fib.ts'
import type { Host } from '../../datapath/host.ts'
import { Packet, PathFlag } from '../../datapath/packet.ts'
import { fill4 } from '../../datapath/parse.ts'
import { HEADROOM } from '../../datapath/ring.ts'
import type { FlowKey } from '../../datapath/route.ts'
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
    view.setUint8(l3, 0x45)
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
      realm: realmIn(host, key, iif, route),
      redirect: (pkt.flags & PathFlag.DoRedirect) !== 0,
    }
  } finally {
    memory.give(slot)
  }
}

/** set_class_tag(): either half counts where there is none yet. */
export const withTag = (realm: number, tag: number): number =>
  (realm | ((realm & 0xffff) === 0 ? tag & 0xffff : 0) | (realm >>> 16 === 0 ? tag & 0xffff0000 : 0)) >>> 0

/** fib_rules_tclass(): the realms of the policy rule that decides. */
export function ruleRealm(host: Host, key: FlowKey): number {
  const { fib } = host
  fib.freshNames()
  fib.walk(fib.of(4), key)
  return fib.decided?.realm ?? 0
}

/** rt_set_nexthop() and fib_combine_itag(): of the way on, and of that back to the source. */
function realmIn(host: Host, asked: FlowKey, iif: Device, route: Route): number {
  const { fib } = host
  const forwarded = route.type === RouteType.Unicast
  const own = forwarded ? withTag(route.realm, ruleRealm(host, asked)) : 0
  if (!fib.usesRealms && !fib.rules(4).some((rule) => rule.realm)) return own
  const back = {
    ...asked,
    d0: asked.s0,
    s0: route.type === RouteType.Broadcast ? 0 : asked.d0,
    iif: forwarded ? route.device!.index : 0,
    oif: 0,
    mark: iif.conf.srcValidMark ? asked.mark : 0,
    sport: asked.dport,
    dport: asked.sport,
  }
  const found = fib.find(back)
  if (found === null || (found.type !== RouteType.Unicast && found.type !== RouteType.Local)) return own
  // A device without addresses learns nothing from a route that leads elsewhere.
  if (!found.uses(iif) && !iif.addresses.some((a) => a.family === 4 && a.scope < Scope.Nowhere)) return own
  const rule = ruleRealm(host, back)
  const tag = ((found.first().realm << 16) >>> 0 || (rule << 16) >>> 0) | (rule >>> 16)
  return withTag(own, tag >>> 0)
}
