// The words of routing: what a route is, what is asked of the tables, and what goes wrong. fib.ts has the tables.

import { type Device, Scope } from './devices.ts'
import type { Family } from './packet.ts'
import type { AddressWords } from './wire/address.ts'

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

/** RT_TABLE_*. */
export const Table = { Default: 253, Main: 254, Local: 255 } as const

/** Why a look-up gives no way; the numbers are errno's. */
export const RouteFailure = {
  None: 0,
  Prohibited: 13,
  Invalid: 22,
  NetUnreach: 101,
  HostUnreach: 113,
} as const
export type RouteFailure = (typeof RouteFailure)[keyof typeof RouteFailure]

export type Words = AddressWords

/** The first bits of addresses; the others are zero. */
export interface RoutePrefix {
  readonly words: Words
  readonly prefixLength: number
}

/** The words with all bits behind `length` zero. */
export function maskedWords(w: Words, length: number): Words {
  const word = (i: number): number => {
    const bits = Math.min(Math.max(length - i * 32, 0), 32)
    return bits === 0 ? 0 : w[i]! & (-1 << (32 - bits))
  }
  return [word(0), word(1), word(2), word(3)]
}

/** Whether an address begins with the first `length` bits of `w`. Does not allocate. */
export function inPrefix(w: Words, length: number, w0: number, w1: number, w2: number, w3: number): boolean {
  if (length <= 32) return length === 0 || (w0 ^ w[0]) >>> (32 - length) === 0
  if (w0 !== w[0]) return false
  if (length <= 64) return (w1 ^ w[1]) >>> (64 - length) === 0
  if (w1 !== w[1]) return false
  if (length <= 96) return (w2 ^ w[2]) >>> (96 - length) === 0
  return w2 === w[2] && (w3 ^ w[3]) >>> (128 - length) === 0
}

export interface Nexthop {
  readonly device: Device
  readonly gateway: Words | null
  /** `via inet6`, as RouteExtras.via6. */
  readonly via6?: Words
  /** 1 to 256. */
  readonly weight: number
  readonly onlink?: boolean
  /** Realms of this next hop, as Route.realm. */
  readonly realm?: number
  /** IPv6: where it stands among the routes of its prefix, by the order in which they came; the table says. */
  place?: number
  /** nhc_scope, as Route.nexthopScope; absent: Host without gateway, else Link. */
  readonly scope?: number
  /** In a request: why its gateway is none, said when it is its turn (fib_get_nhs, fib_nh_match). */
  readonly refused?: string
}

/** RTAX_*: one metric of a route, besides its mtu. */
export interface RouteMetric {
  readonly name: string
  readonly value: number | string
}

/** What of a route look-ups do not ask: `ip route` prints it again, and routes differ by it. */
export interface RouteExtras {
  readonly onlink?: boolean
  /** In the order of their numbers. */
  readonly metrics?: readonly RouteMetric[]
  /** Names of locked metrics, `mtu` among them. */
  readonly locked?: readonly string[]
  /** ICMPV6_ROUTER_PREF_*: 0 medium, 1 high, 3 low. */
  readonly preference?: number
  /** `via inet6`: the gateway of an IPv4 route (RFC 5549). */
  readonly via6?: Words
}

export interface Route {
  readonly family: Family
  /** RouteType. */
  readonly type: number
  readonly dst: Words
  readonly prefixLength: number
  /** IPv6: only packets from there take it (`from`); null: from anywhere. */
  readonly from: RoutePrefix | null
  readonly table: number
  readonly tos: number
  readonly metric: number
  readonly scope: number
  readonly protocol: string
  /** Where packets leave. In pkt.route of a packet to this host: the loopback device, as rtable has it. */
  readonly device: Device | null
  /** Null: the destination is on the link. */
  readonly gateway: Words | null
  /** nhc_scope: Host for destinations on the link, Link behind a gateway, Nowhere for local routes. */
  readonly nexthopScope: number
  /** Preferred source (`src`), or null. */
  readonly source: Words | null
  /** Locked or plain `mtu` of the route, 0 none. */
  readonly mtu: number
  readonly realm: number
  readonly nexthops: readonly Nexthop[] | null
  readonly extras: RouteExtras | null
  /**
   * RTCF_LOCAL of a route that is not Local: out of here to a group that this host is in, or unicast by the loopback
   * device. What comes back by it is for this host.
   */
  readonly heard: boolean
}

/** A route as `ip route add` says it. */
export interface RouteSpec {
  readonly family?: Family
  /** RouteType; default unicast. */
  readonly type?: number
  readonly dst: Words
  readonly prefixLength: number
  /** Route.from; one of no bits is none. */
  readonly from?: RoutePrefix | null
  /** Default: local for local, broadcast and anycast routes, else main. */
  readonly table?: number
  readonly tos?: number
  readonly metric?: number
  /** Scope; default as ip(8) has it: host for local, link for broadcast and without gateway, else universe. */
  readonly scope?: number
  /** Name or number in text; default `boot`. */
  readonly protocol?: string
  readonly device?: Device | null
  readonly gateway?: Words | null
  readonly source?: Words | null
  readonly mtu?: number
  readonly realm?: number
  readonly nexthops?: readonly Nexthop[] | null
  readonly extras?: RouteExtras | null
}

/** NLM_F_*: `add` refuses a route of the same prefix, tos and metric; `append` and `prepend` put it beside. */
export type AddMode = 'add' | 'append' | 'prepend' | 'replace' | 'change'

/** A refusal; the command words it as ip(8) does: "RTNETLINK answers: File exists". */
export class RouteError extends RangeError {
  override readonly name = 'RouteError'
  readonly code:
    | 'EEXIST'
    | 'ESRCH'
    | 'ENOENT'
    | 'EINVAL'
    | 'ENETUNREACH'
    | 'EACCES'
    | 'EHOSTUNREACH'
    | 'ENETDOWN'
    | 'ENODEV'
  /** The message is the kernel's own (extack), which ip(8) prints as it is; else that of the code. */
  readonly told: boolean
  constructor(code: RouteError['code'], message: string, told = false) {
    super(message)
    this.code = code
    this.told = told
  }
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
  /** ifindex, 0 none: a packet made here. */
  iif: number
  oif: number
  protocol: number
  /** 0 where there are none. */
  sport: number
  dport: number
}

/** The addresses of a packet, or of a question. */
export type Sides = Pick<FlowKey, 'd0' | 'd1' | 'd2' | 'd3' | 's0' | 's1' | 's2' | 's3'>

/** rt_uses_gateway: packets go by route.gateway. One that is this host's own address does not count. */
export const usesGateway = (route: Route): boolean =>
  route.gateway !== null && route.nexthopScope === Scope.Link

export function newFlowKey(): FlowKey {
  return {
    family: 4,
    d0: 0,
    d1: 0,
    d2: 0,
    d3: 0,
    s0: 0,
    s1: 0,
    s2: 0,
    s3: 0,
    tos: 0,
    mark: 0,
    iif: 0,
    oif: 0,
    protocol: 0,
    sport: 0,
    dport: 0,
  }
}

const LOOPBACK6: Words = [0, 0, 0, 1]

/** RTF_ANYCAST: an anycast address that the host has joined. One that was put in as a route only comes in. */
export const isJoined = ({ type, protocol }: Pick<RouteSpec, 'type' | 'protocol'>): boolean =>
  type === RouteType.Anycast && protocol === 'kernel'

/** A route out of lo that is for no address of this host leads nowhere, though it is no error. */
export const leadsNowhere6 = (route: Route): boolean =>
  route.device?.loopback === true &&
  route.type !== RouteType.Local &&
  !isJoined(route) &&
  !sameWords(route.dst, LOOPBACK6)

/** What a route says of the hop limit (TTL) of packets made here by it, 0 for nothing (RTAX_HOPLIMIT). */
export function hopLimitMetric(route: Route | null): number {
  const metrics = route?.extras?.metrics
  if (metrics !== undefined)
    for (const metric of metrics) if (metric.name === 'hoplimit') return Number(metric.value)
  return 0
}

/** RTCF_BROADCAST or RTCF_MULTICAST of the route that a packet took. */
export const isToMany = (route: Route): boolean =>
  route.type === RouteType.Broadcast || route.type === RouteType.Multicast

/** RTCF_LOCAL and neither of those: for this host alone. */
export const isForHost = (route: Route): boolean =>
  route.type === RouteType.Local || (route.heard && route.type === RouteType.Unicast)

/** The table that a route of this type goes to if none is said. */
export function tableFor(type: number): number {
  return type === RouteType.Local ||
    type === RouteType.Broadcast ||
    type === RouteType.Anycast ||
    type === RouteType.Nat
    ? Table.Local
    : Table.Main
}

export function sameWords(a: Words | null, b: Words | null): boolean {
  if (a === null || b === null) return a === b
  return a[0] === b[0] && a[1] === b[1] && a[2] === b[2] && a[3] === b[3]
}
