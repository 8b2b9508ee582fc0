// Routing: policy rules, tables, longest prefix match. CONTRACT, to be filled in.

import type { Device } from './devices.ts'
import type { Family, Packet } from './packet.ts'

/** RTN_*; the numbers are the kernel's. */
export const RouteType = {
  Unspec: 0,
  Unicast: 1,
  Local: 2,
  Broadcast: 3,
  Anycast: 4,
  Multicast: 5,
  Blackhole: 6,
  Unreachable: 7,
  Prohibit: 8,
  Throw: 9,
  Nat: 10,
} as const

export type Words = readonly [number, number, number, number]

export interface Route {
  readonly family: Family
  /** RouteType. */
  readonly type: number
  readonly dst: Words
  readonly prefixLength: number
  readonly table: number
  readonly tos: number
  readonly metric: number
  readonly scope: number
  readonly protocol: string
  readonly device: Device | null
  /** Null: the destination is on the link. */
  readonly gateway: Words | null
  /** Preferred source (`src`), or null. */
  readonly source: Words | null
  /** Locked or plain `mtu` of the route, 0 none. */
  readonly mtu: number
  readonly realm: number
  readonly nexthops: readonly { readonly device: Device; readonly gateway: Words | null; readonly weight: number }[] | null
}

/** What a look-up asks; one reused object. */
export interface FlowKey {
  family: Family
  d0: number
  d1: number
  d2: number
  d3: number
  s0: number
  s1: number
  s2: number
  s3: number
  tos: number
  mark: number
  /** ifindex, 0 none. */
  iif: number
  oif: number
  protocol: number
  sport: number
  dport: number
}

export interface Fib {
  /** Null: no route (ENETUNREACH). Route types blackhole, unreachable, prohibit are returned as routes. */
  lookup(key: FlowKey): Route | null
  /** inet_addr_type: RouteType of an address by the local table (dev 0: any device). */
  addressType(family: Family, w0: number, w1: number, w2: number, w3: number, device: number): number
  /** Source address for packets to d0 out of a route (fib_result_prefsrc / inet_select_addr). IPv4 word. */
  sourceFor(route: Route, d0: number): number
  /** Fills and looks up from the packet (ip_route_me_harder uses it after OUTPUT). */
  keyOf(pkt: Packet): FlowKey
  /** Raised at every change of routes, rules or addresses. */
  readonly generation: number
}
