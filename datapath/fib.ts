// Routing: policy rules, tables, longest prefix match. As net/ipv4/fib_frontend.c, fib_trie.c, fib_rules.c and the
// output half of route.c (6.18). IPv6 has tables of the same kind with addresses of four words (ip6_fib.c, addrconf.c):
// routes follow from addresses and links as there, and next hops behind gateways share one prefix and metric.
//
//     key ─▶ rules by priority ─▶ table ─▶ longest prefix first ─▶ tos, oif ─▶ route ─▶ one of its next hops
//                  │  no match, throw, suppressed: the next rule
//                  └─ unreachable, prohibit, blackhole: an error
//
// In front stands a direct-mapped cache of whole look-ups that a change of `generation` empties.

import type { Devices } from './device-table.ts'
import { type Address, type Device, Scope } from './devices.ts'
import type { Family, Packet } from './packet.ts'
import type { FrameMemory } from './ring.ts'
import { isErrorType, RouteEntry, RouteTable, TOS_MASK } from './route-table.ts'
import type { Ipv4Conf } from './tunables-ipv4.ts'
import { prefixMask4 } from './wire/address.ts'
import { isLoopback4, isMulticast4, isZeronet4 } from './wire/ipv4.ts'

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

export type Words = readonly [number, number, number, number]

const ANY: Words = [0, 0, 0, 0]
/** LOOPBACK_IFINDEX: what look-ups for packets made here have as incoming interface. */
const LOOPBACK_INDEX = 1

export interface Nexthop {
  readonly device: Device
  readonly gateway: Words | null
  /** 1 to 256. */
  readonly weight: number
  readonly onlink?: boolean
  /** Realms of this next hop, as Route.realm. */
  readonly realm?: number
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
}

/** A route as `ip route add` says it. */
export interface RouteSpec {
  readonly family?: Family
  /** RouteType; default unicast. */
  readonly type?: number
  readonly dst: Words
  readonly prefixLength: number
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

export type RuleAction = 'lookup' | 'goto' | 'nop' | 'blackhole' | 'unreachable' | 'prohibit'

export interface RulePrefix {
  readonly words: Words
  readonly prefixLength: number
}

/** A policy rule as `ip rule add` says it. What is absent is not asked. */
export interface RuleSpec {
  readonly family?: Family
  /** Default: one less than the second rule's, as fib_default_rule_pref(). */
  readonly priority?: number
  readonly not?: boolean
  readonly source?: RulePrefix | null
  readonly destination?: RulePrefix | null
  readonly tos?: number
  readonly mark?: number
  /** 0: the mark is not asked. */
  readonly markMask?: number
  readonly iif?: string | null
  readonly oif?: string | null
  /** 0: not asked. */
  readonly protocol?: number
  readonly sourcePorts?: readonly [number, number] | null
  readonly destinationPorts?: readonly [number, number] | null
  readonly uids?: readonly [number, number] | null
  readonly tunnel?: number
  readonly l3mdev?: boolean
  readonly action: RuleAction
  readonly table?: number
  /** Priority that `goto` leads to. */
  readonly target?: number
  /** -1 or absent: none. */
  readonly suppressPrefixLength?: number
  /** -1 or absent: none. */
  readonly suppressGroup?: number
  readonly realm?: number
  /** FRA_PROTOCOL: who set it, as `protocol` of a route; default `kernel`. */
  readonly setBy?: string
}

/** A rule that stands in the list. */
export interface Rule extends RuleSpec {
  readonly family: Family
  readonly priority: number
}

/** A refusal; the command words it as ip(8) does: "RTNETLINK answers: File exists". */
export class RouteError extends RangeError {
  override readonly name = 'RouteError'
  readonly code:
    | 'EEXIST'
    | 'ESRCH'
    | 'ENOENT'
    | 'EINVAL'
    | 'ENETUNREACH'
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

const DEFAULT_RULES: readonly { readonly priority: number; readonly table: number }[] = [
  { priority: 0, table: Table.Local },
  { priority: 32766, table: Table.Main },
  { priority: 32767, table: Table.Default },
]

/** Rules and tables of one family. */
class Routing {
  readonly family: Family
  readonly tables = new Map<number, RouteTable>()
  rules: Rule[]
  /** Interfaces that the rules name, resolved: iif and oif of each, -1 for one that is not there. */
  ifaces = new Int32Array(0)
  /** The rules are not, or no longer, the kernel's three (fib_has_custom_rules). */
  custom = false
  /** A local route was put in by hand (fib_has_custom_local_routes). */
  customLocal = false
  realms = 0
  /** Routes that follow from links alone are wanted: not after a captured table has been taken as it is. */
  followed = true
  /** What rules and routes look at besides the destination; the rest need not be in a cache's key. */
  asksSource = false
  asksTos = false
  asksMark = false
  asksIif = false
  asksPorts = false

  constructor(family: Family) {
    this.family = family
    this.rules = DEFAULT_RULES.filter((r) => family === 4 || r.table !== Table.Default).map((r) => ({
      family,
      priority: r.priority,
      action: 'lookup',
      table: r.table,
    }))
  }

  table(id: number): RouteTable {
    let table = this.tables.get(id)
    if (table === undefined) {
      table = new RouteTable(this.family, id)
      this.tables.set(id, table)
    }
    return table
  }
}

const CACHE = 1024
const CACHE_KEY = 8

export class Fib {
  /** Raised at every change of routes, rules or addresses. */
  generation = 0
  /** Why the last find() gave no usable route. */
  failure: RouteFailure = RouteFailure.None

  readonly #devices: Devices
  readonly #conf: Ipv4Conf
  readonly #memory: FrameMemory
  readonly #v4 = new Routing(4)
  readonly #v6 = new Routing(6)
  readonly #key: FlowKey = newFlowKey()
  readonly #cacheKeys = new Int32Array(CACHE * CACHE_KEY)
  readonly #cacheRoutes: (RouteEntry | null)[] = new Array(CACHE).fill(null)
  readonly #cacheFailures = new Int32Array(CACHE)
  #cacheGeneration = -1
  #devicesGeneration = -1
  #namesGeneration = -1
  /** Routes that stand in no table, by RouteType and ifindex. */
  readonly #out: (RouteEntry | undefined)[][] = Array.from({ length: 6 }, () => [])
  #toSelf: RouteEntry | null = null
  /** Limited broadcast and multicast to this host. */
  readonly broadcastIn: Route
  readonly multicastIn: Route

  /** Follows the addresses and links of `devices` from now on (fib_inetaddr_event, fib_netdev_event). */
  constructor(devices: Devices, memory: FrameMemory, conf: Ipv4Conf) {
    this.#devices = devices
    this.#memory = memory
    this.#conf = conf
    this.broadcastIn = this.#special(RouteType.Broadcast, devices.loopback)
    this.multicastIn = this.#special(RouteType.Multicast, devices.loopback)
    devices.listen({
      addressAdded: (device) => this.#follow(device),
      addressRemoved: (device, address) => {
        this.#follow(device)
        this.#addressGone(address)
        // fib_disable_ip(): without any address nothing leads through the device.
        if (address.family === 4 && !device.addresses.some((a) => a.family === 4))
          this.#sweep(this.#v4, (r) => !isErrorType(r.type) && allThrough(r, device))
      },
      linkChanged: (device) => {
        this.#v6.followed = true
        if (!device.up) this.#linkDown(device)
        this.#follow(device)
      },
      deviceAdded: (device) => this.#follow(device),
      deviceRemoved: (device) => this.#deviceGone(device),
    })
  }

  // -- look-ups

  /**
   * fib_lookup() with the choice among next hops. Null: no route, or a policy rule that says unreachable, prohibit
   * or blackhole: `failure` says which. Route types blackhole, unreachable, prohibit are returned as routes.
   * Does not allocate.
   */
  lookup(key: FlowKey): Route | null {
    const route = this.find(key)
    if (route === null || route.paths === null) return route
    return this.#choose(route, key)
  }

  /**
   * fib_lookup(): the route, whose next hops may be several. Sets `failure`, for error types too. Does not allocate.
   */
  find(key: FlowKey): RouteEntry | null {
    const rt = key.family === 4 ? this.#v4 : this.#v6
    if (this.#namesGeneration !== this.#devices.generation) this.#resolveNames()
    if (key.family !== 4 || rt.asksPorts) return this.#finish(this.#walk(rt, key))
    if (this.#cacheGeneration !== this.generation || this.#devicesGeneration !== this.#devices.generation) {
      this.#cacheGeneration = this.generation
      this.#devicesGeneration = this.#devices.generation
      this.#cacheFailures.fill(-1)
      this.#cacheRoutes.fill(null)
    }
    const d0 = key.d0
    const s0 = rt.asksSource ? key.s0 : 0
    const tos = rt.asksTos ? key.tos & TOS_MASK : 0
    const mark = rt.asksMark ? key.mark | 0 : 0
    const iif = rt.asksIif ? key.iif : 0
    const oif = key.oif
    let h = Math.imul(
      d0 ^ Math.imul(s0, 0x85ebca6b) ^ (oif << 8) ^ iif ^ (mark << 3) ^ (tos << 20),
      0x9e3779b1,
    )
    h = (h ^ (h >>> 16)) & (CACHE - 1)
    const keys = this.#cacheKeys
    const k = h * CACHE_KEY
    if (
      keys[k] === d0 &&
      keys[k + 1] === s0 &&
      keys[k + 2] === oif &&
      keys[k + 3] === iif &&
      keys[k + 4] === mark &&
      keys[k + 5] === tos &&
      this.#cacheFailures[h] !== -1
    ) {
      this.failure = this.#cacheFailures[h] as RouteFailure
      return this.#cacheRoutes[h]!
    }
    const route = this.#finish(this.#walk(rt, key))
    keys[k] = d0
    keys[k + 1] = s0
    keys[k + 2] = oif
    keys[k + 3] = iif
    keys[k + 4] = mark
    keys[k + 5] = tos
    this.#cacheRoutes[h] = route
    this.#cacheFailures[h] = this.failure
    return route
  }

  /** fib_props[].error of an error type becomes `failure`. */
  #finish(route: RouteEntry | null): RouteEntry | null {
    if (route === null) return null
    switch (route.type) {
      case RouteType.Blackhole:
        this.failure = RouteFailure.Invalid
        break
      case RouteType.Unreachable:
        this.failure = RouteFailure.HostUnreach
        break
      case RouteType.Prohibit:
        this.failure = RouteFailure.Prohibited
        break
      case RouteType.Throw:
        this.failure = RouteFailure.NetUnreach
        return null
      default:
        this.failure = RouteFailure.None
    }
    return route
  }

  /** fib_rules_lookup(), or the short way of a host without rules of its own. */
  #walk(rt: Routing, key: FlowKey): RouteEntry | null {
    this.failure = RouteFailure.NetUnreach
    if (!rt.custom) {
      // Without rules of its own a host has local and main in one trie: the longer prefix wins, whichever table.
      const main = this.#ask(rt, Table.Main, key)
      const local = this.#ask(rt, Table.Local, key)
      const first =
        local !== null && (main === null || local.prefixLength >= main.prefixLength) ? local : main
      if (first !== null && first.type !== RouteType.Throw) return first
      return this.#ask(rt, Table.Default, key)
    }
    const rules = rt.rules
    for (let i = 0; i < rules.length; i++) {
      const rule = rules[i]!
      if (this.#applies(rt, rule, i, key) === (rule.not === true)) continue
      switch (rule.action) {
        case 'lookup': {
          const route = this.#ask(rt, rule.table ?? Table.Main, key)
          if (route === null || route.type === RouteType.Throw) break
          if (isErrorType(route.type)) return route
          const floor = rule.suppressPrefixLength ?? -1
          if (floor >= 0 && route.prefixLength <= floor) break
          const group = rule.suppressGroup ?? -1
          if (group >= 0 && route.device !== null && route.device.link.group === group) break
          return route
        }
        case 'goto': {
          let to = i + 1
          while (to < rules.length && rules[to]!.priority < rule.target!) to++
          // A target that is not there: the rule does nothing (unresolved).
          if (to < rules.length && rules[to]!.priority === rule.target) i = to - 1
          break
        }
        case 'unreachable':
          return null
        case 'prohibit':
          this.failure = RouteFailure.Prohibited
          return null
        case 'blackhole':
          this.failure = RouteFailure.Invalid
          return null
        case 'nop':
          break
      }
    }
    return null
  }

  #ask(rt: Routing, id: number, key: FlowKey): RouteEntry | null {
    const table = rt.tables.get(id)
    if (table === undefined || table.size === 0) return null
    return rt.family === 4
      ? table.find4(key.d0, key.tos, key.oif, this.#leastScope)
      : table.find6(key.d0, key.d1, key.d2, key.d3, key.oif)
  }

  /** fib_rule_match() and fib4_rule_match(), without `not`. */
  #applies(rt: Routing, rule: Rule, at: number, key: FlowKey): boolean {
    const iif = rt.ifaces[at * 2]!
    const oif = rt.ifaces[at * 2 + 1]!
    if (iif !== 0 && iif !== (key.iif === 0 ? LOOPBACK_INDEX : key.iif)) return false
    if (oif !== 0 && oif !== key.oif) return false
    const mask = rule.markMask ?? 0
    if (mask !== 0 && ((rule.mark ?? 0) ^ key.mark) & mask) return false
    // No tunnel and no VRF brought the packet; it belongs to user 0 of the namespace.
    if (rule.tunnel !== undefined && rule.tunnel !== 0) return false
    if (rule.l3mdev === true) return false
    if (rule.uids && rule.uids[0] > 0) return false
    if (rule.source && !covers(rule.source, key.s0, key.s1, key.s2, key.s3)) return false
    if (rule.destination && !covers(rule.destination, key.d0, key.d1, key.d2, key.d3)) return false
    if (rule.tos !== undefined && rule.tos !== 0 && rule.tos !== (key.tos & TOS_MASK)) return false
    if (rule.protocol !== undefined && rule.protocol !== 0 && rule.protocol !== key.protocol) return false
    if (rule.sourcePorts && (key.sport < rule.sourcePorts[0] || key.sport > rule.sourcePorts[1])) return false
    if (
      rule.destinationPorts &&
      (key.dport < rule.destinationPorts[0] || key.dport > rule.destinationPorts[1])
    )
      return false
    return true
  }

  /** fib_select_multipath(): the same packet always takes the same next hop. */
  #choose(route: RouteEntry, key: FlowKey): RouteEntry {
    if (key.oif !== 0) return route.through(key.oif) ?? route.paths![0]!
    let h =
      Math.imul(key.s0 ^ key.s1 ^ key.s2 ^ key.s3, 0x9e3779b1) ^
      Math.imul(key.d0 ^ key.d1 ^ key.d2 ^ key.d3, 0x85ebca6b)
    if (this.#conf.multipathHashPolicy === 1)
      h ^= Math.imul((key.sport << 16) | key.dport, 0xc2b2ae35) ^ Math.imul(key.protocol, 0x27d4eb2f)
    h = Math.imul(h ^ (h >>> 15), 0x2c1b3c6d)
    h = (h ^ (h >>> 13)) >>> 1
    const bounds = route.bounds!
    for (let i = 0; i < bounds.length; i++)
      if (h <= bounds[i]! && route.paths![i]!.device!.up) return route.paths![i]!
    return route.paths![0]!
  }

  /**
   * inet_addr_type() of the local table: RouteType of an address as this host sees it. `device`: ifindex, as if no
   * other device had addresses; 0 any.
   */
  addressType(family: Family, w0: number, w1: number, w2: number, w3: number, device: number): number {
    if (family === 4) {
      if (isZeronet4(w0) || w0 === -1) return RouteType.Broadcast
      if (isMulticast4(w0)) return RouteType.Multicast
    } else if (w0 >>> 24 === 0xff) return RouteType.Multicast
    const hit =
      family === 4 ? this.#local4(w0) : (this.#v6.tables.get(Table.Local)?.find6(w0, w1, w2, w3, 0) ?? null)
    if (hit === null || isErrorType(hit.type)) return RouteType.Unicast
    if (device !== 0 && (hit.device === null || hit.device.index !== device)) return RouteType.Unicast
    return hit.type
  }

  /** What the local table says; without rules of its own a host has it in one trie with main, see #walk. */
  #local4(word: number): RouteEntry | null {
    const rt = this.#v4
    const local = rt.tables.get(Table.Local)?.find4(word, 0, 0) ?? null
    if (rt.custom) return local
    const main = rt.tables.get(Table.Main)?.find4(word, 0, 0) ?? null
    return main !== null && (local === null || main.prefixLength > local.prefixLength) ? main : local
  }

  /** __ip_dev_find(): the device that has a local address (of a local prefix even), or null. */
  deviceOf4(word: number): Device | null {
    const hit = this.#local4(word)
    if (hit !== null && hit.type === RouteType.Local) return hit.device
    return this.#devices.hasAddress4(word) ? this.#devices.loopback : null
  }

  /** fib_result_prefsrc(): source address of packets that take a route (IPv4 word). 0: the host has none. */
  sourceFor(route: Route, _d0: number): number {
    if (route.source !== null) return route.source[0]
    if (route.device === null) return 0
    return this.#devices.selectAddress4(route.device, route.gateway?.[0] ?? 0, route.scope)
  }

  /** Fills and gives the one reused key, as ip_route_me_harder() asks after OUTPUT: no interface is fixed. */
  keyOf(pkt: Packet): FlowKey {
    const key = this.#key
    this.fill(key, pkt)
    key.iif = 0
    return key
  }

  /** Everything but the interfaces' meaning: iif is pkt's, oif 0. Fragments have no ports (skb_flow_dissect). */
  fill(key: FlowKey, pkt: Packet): void {
    key.family = pkt.family
    key.d0 = pkt.d0
    key.s0 = pkt.s0
    if (pkt.family === 6) {
      key.d1 = pkt.d1
      key.d2 = pkt.d2
      key.d3 = pkt.d3
      key.s1 = pkt.s1
      key.s2 = pkt.s2
      key.s3 = pkt.s3
      key.tos = (this.#memory.view.getUint16(pkt.l3) >> 4) & 0xff
    } else {
      key.d1 = key.d2 = key.d3 = key.s1 = key.s2 = key.s3 = 0
      key.tos = this.#memory.view.getUint8(pkt.l3 + 1)
    }
    key.mark = pkt.mark
    key.iif = pkt.iif
    key.oif = 0
    key.protocol = pkt.proto
    const whole = !pkt.moreFragments && pkt.fragOffset === 0 && pkt.sport >= 0
    key.sport = whole ? pkt.sport : 0
    key.dport = whole ? pkt.dport : 0
  }

  /**
   * ip_route_output_key_hash_rcu(): the way out for a packet made here. Fills key.s0 if it was 0, key.d0 likewise.
   * Null: there is none; `failure` says why. `anySource` (FLOWI_FLAG_ANYSRC): the source need not be the host's.
   * IPv4. Allocates at most once for each device.
   */
  output(key: FlowKey, anySource = false): Route | null {
    const devices = this.#devices
    const limited = key.d0 === -1
    const multicast = isMulticast4(key.d0)
    let out: Device | null = null
    this.failure = RouteFailure.Invalid
    if (key.s0 !== 0) {
      if (isMulticast4(key.s0) || key.s0 === -1 || isZeronet4(key.s0)) return null
      this.failure = RouteFailure.NetUnreach
      if (key.oif === 0 && (multicast || limited)) {
        out = this.deviceOf4(key.s0)
        if (out === null) return null
        return this.#outSpecial(key, out, null, limited)
      }
      if (!anySource && this.deviceOf4(key.s0) === null) return null
    }
    if (key.oif !== 0) {
      out = devices.byIndex[key.oif] ?? null
      this.failure = RouteFailure.NetUnreach
      if (out === null || !out.up) return null
      if (limited || isLocalMulticast(key.d0) || key.protocol === 2) {
        if (key.s0 === 0) key.s0 = devices.selectAddress4(out, 0, Scope.Link)
        if (limited || multicast) return this.#outSpecial(key, out, null, limited)
      }
      if (key.s0 === 0 && multicast) key.s0 = devices.selectAddress4(out, 0, Scope.Universe)
      else if (key.s0 === 0 && key.d0 === 0) key.s0 = devices.selectAddress4(out, 0, Scope.Host)
    }
    if (key.d0 === 0) {
      if (key.s0 === 0) key.s0 = 0x7f000001
      key.d0 = key.s0
      this.failure = RouteFailure.None
      this.#toSelf ??= this.#special(RouteType.Local, devices.loopback)
      return this.#toSelf
    }
    const found = this.find(key)
    if (found === null || isErrorType(found.type)) {
      if (key.oif === 0 || out === null) return null
      // Routing tables that do not know a destination on the given interface: it is on the link.
      if (key.s0 === 0) key.s0 = devices.selectAddress4(out, 0, Scope.Link)
      return this.#outSpecial(key, out, null, false)
    }
    if (found.type === RouteType.Local) {
      if (key.s0 === 0) key.s0 = found.source?.[0] ?? key.d0
      return limited || multicast
        ? this.#outSpecial(key, devices.loopback, null, limited)
        : this.loopOf(found)
    }
    const route = found.paths === null ? found : this.#choose(found, key)
    if (key.s0 === 0) key.s0 = this.sourceFor(route, key.d0)
    out = route.device!
    if (limited || multicast) return this.#outSpecial(key, out, route, limited)
    if (!this.#mayLeave(key, out)) return null
    return route
  }

  /** __mkroute_output()'s refusals. */
  #mayLeave(key: FlowKey, out: Device): boolean {
    if ((isLoopback4(key.s0) && !out.loopback && !out.conf.routeLocalnet) || isZeronet4(key.d0)) {
      this.failure = RouteFailure.Invalid
      return false
    }
    this.failure = RouteFailure.None
    return true
  }

  /**
   * Out of a device whatever the tables say: 255.255.255.255, 224/4, and what no table knows. A multicast route of a
   * prefix shorter than /4 is not one.
   */
  #outSpecial(key: FlowKey, out: Device, route: RouteEntry | null, limited: boolean): Route | null {
    if (!this.#mayLeave(key, out)) return null
    if (!limited && route !== null && route.prefixLength >= 4) {
      if (route.type === RouteType.Multicast) return route
      route.recast ??= new RouteEntry({ ...route, type: RouteType.Multicast })
      return route.recast
    }
    const type = limited
      ? RouteType.Broadcast
      : isMulticast4(key.d0)
        ? RouteType.Multicast
        : RouteType.Unicast
    const cache = this.#out[type]!
    let special = cache[out.index]
    if (special === undefined || special.device !== out) {
      special = this.#special(type, out)
      while (cache.length <= out.index) cache.push(undefined)
      cache[out.index] = special
    }
    return special
  }

  #special(type: number, device: Device): RouteEntry {
    return new RouteEntry({
      family: 4,
      type,
      dst: ANY,
      prefixLength: 0,
      table: 0,
      tos: 0,
      metric: 0,
      scope: Scope.Link,
      protocol: 'kernel',
      device,
      gateway: null,
      source: null,
      mtu: 0,
      realm: 0,
      nexthops: null,
      nexthopScope: Scope.Host,
      extras: null,
      derived: true,
    })
  }

  /** A local or broadcast route as packets to this host carry it: its device is the loopback device. */
  loopOf(route: RouteEntry): RouteEntry {
    route.loop ??= new RouteEntry({ ...route, device: this.#devices.loopback, gateway: null, nexthops: null })
    return route.loop
  }

  /** The route by which a packet is forwarded: one of several next hops, a broadcast one made unicast. */
  forwarding(found: RouteEntry, key: FlowKey): RouteEntry {
    const route = found.paths === null ? found : this.#choose(found, key)
    if (route.type === RouteType.Unicast) return route
    route.recast ??= new RouteEntry({ ...route, type: RouteType.Unicast })
    return route.recast
  }

  /** fib_has_custom_rules(), fib_has_custom_local_routes, fib_num_tclassid_users: a quick source check will not do. */
  needsFullSourceCheck(): boolean {
    return this.#v4.custom || this.#v4.customLocal
  }

  get usesRealms(): boolean {
    return this.#v4.realms > 0
  }

  /** Whether look-ups depend on more of a packet than the destination, for caches of what follows from them. */
  get asksTos(): boolean {
    return this.#v4.asksTos
  }
  get asksMark(): boolean {
    return this.#v4.asksMark
  }
  get asksPorts(): boolean {
    return this.#v4.asksPorts
  }

  // -- changes

  /**
   * Adds a route. `verify`: the gateway must be on a link (fib_check_nh); without, routes may be listed in any
   * order. Throws RouteError.
   */
  addRoute(spec: RouteSpec, mode: AddMode = 'add', verify = false): Route {
    // fib_new_table() comes before what may still be refused.
    if (verify && ((spec.tos ?? 0) & 3) === 0)
      this.#of(spec.family ?? 4).table(spec.table ?? tableFor(spec.type ?? 1))
    const route = this.#entryOf(spec, false, verify)
    this.#insert(route, mode, verify)
    if (route.family === 4 && route.type === RouteType.Local && route.protocol !== 'kernel')
      this.#v4.customLocal = true
    this.#changed()
    return route
  }

  /**
   * Removes the first route that fits: prefix and tos must, the rest where given (fib_table_delete, ip6_route_del).
   * Throws RouteError ESRCH if there is none.
   */
  deleteRoute(spec: Partial<RouteSpec> & Pick<RouteSpec, 'dst' | 'prefixLength'>): Route {
    const family = spec.family ?? 4
    const rt = this.#of(family)
    const table = rt.tables.get(spec.table ?? tableFor(spec.type ?? RouteType.Unicast))
    const same = (a: Words | null, b: Words | null | undefined): boolean =>
      b === undefined || b === null || sameWords(a, b)
    const through = (r: RouteEntry): boolean => {
      if (!spec.device && !spec.gateway) return true
      // fib_nh_match() looks at the first next hop alone, ip6_route_del() at each.
      const all = r.nexthops === null ? [r] : family === 4 ? [r.nexthops[0]!] : r.nexthops
      return all.some((h) => (!spec.device || h.device === spec.device) && same(h.gateway, spec.gateway))
    }
    const hit = table?.chain(spec.dst, spec.prefixLength).find(
      (r) =>
        (family === 6 || r.tos === (spec.tos ?? 0)) &&
        (family === 6 || spec.type === undefined || r.type === spec.type) &&
        (spec.metric === undefined || spec.metric === 0 || r.metric === spec.metric) &&
        (family === 6 ||
          spec.scope === undefined ||
          spec.scope === Scope.Nowhere ||
          r.scope === spec.scope) &&
        (spec.protocol === undefined || r.protocol === spec.protocol) &&
        (family === 6 || same(r.source, spec.source)) &&
        through(r) &&
        (!spec.nexthops ||
          (r.nexthops?.length === spec.nexthops.length &&
            spec.nexthops.every((h, i) => {
              const o = r.nexthops![i]!
              return (!h.device || h.device === o.device) && same(o.gateway, h.gateway)
            }))),
    )
    if (!this.hasTable(family, spec.table ?? tableFor(spec.type ?? RouteType.Unicast)))
      throw new RouteError('ESRCH', 'FIB table does not exist', true)
    if (table === undefined || hit === undefined) {
      // The root of an IPv6 table has an entry that may not be taken away (fib6_null_entry).
      const atRoot = family === 6 && spec.prefixLength === 0 && !table?.chain(spec.dst, 0).length
      const unowned = (spec.protocol ?? 'kernel') === 'kernel'
      if (
        atRoot &&
        unowned &&
        !spec.gateway &&
        !spec.metric &&
        (spec.device ?? this.#devices.loopback).loopback
      )
        throw new RouteError('ENOENT', 'No such file or directory')
      throw new RouteError('ESRCH', 'No such process')
    }
    if (family === 6 && hit.nexthops !== null && spec.gateway) {
      const left = hit.nexthops.filter(
        (h) => (spec.device && h.device !== spec.device) || !same(h.gateway, spec.gateway),
      )
      table.replace(hit, siblings(hit, left))
    } else this.#take(rt, table, hit)
    this.#changed()
    return hit
  }

  /** In the order in which `ip route show table all` prints them; `table` undefined: all of them. */
  routes(family: Family, table?: number): readonly Route[] {
    const rt = this.#of(family)
    const ids =
      table === undefined ? [...rt.tables.keys()].sort((a, b) => (a & 0xff) - (b & 0xff) || a - b) : [table]
    return ids.flatMap((id) => rt.tables.get(id)?.list() ?? [])
  }

  /** Whether a table has ever been made; main and local always are. */
  hasTable(family: Family, id: number): boolean {
    return id === Table.Main || id === Table.Local || this.#of(family).tables.has(id)
  }

  /** fib_has_custom_rules(): local and main are tables of their own. */
  customRules(family: Family): boolean {
    return this.#of(family).custom
  }

  /** Removes a route of routes(). */
  removeRoute(route: Route): void {
    const rt = this.#of(route.family)
    const table = rt.tables.get(route.table)
    if (table !== undefined) this.#take(rt, table, route as RouteEntry)
    this.#changed()
  }

  /** Empties all tables of a family, those that follow from addresses included; addresses are not asked again. */
  flushRoutes(family: Family): void {
    const rt = this.#of(family)
    rt.tables.clear()
    rt.followed = false
    rt.customLocal = false
    rt.realms = 0
    this.#changed()
  }

  /** Adds a policy rule (fib_nl_newrule). Throws RouteError. */
  addRule(spec: RuleSpec): Rule {
    const rt = this.#of(spec.family ?? 4)
    const rule = this.#ruleOf(rt, spec)
    if (rt.rules.some((r) => sameRule(r, rule))) throw new RouteError('EEXIST', 'File exists')
    // fib6_rule_configure() makes the table, fib4_rule_configure() does not.
    if (rt.family === 6 && rule.action === 'lookup' && !rule.l3mdev) rt.table(rule.table ?? Table.Main)
    const at = rt.rules.findIndex((r) => r.priority > rule.priority)
    rt.rules.splice(at < 0 ? rt.rules.length : at, 0, rule)
    // fib_unmerge(): from now on local and main are tables of their own, whatever rules there will be.
    rt.custom = true
    this.#changed()
    return rule
  }

  /** Removes the first rule that has everything the spec says. Throws RouteError ENOENT if there is none. */
  deleteRule(spec: Partial<RuleSpec>): Rule {
    const rt = this.#of(spec.family ?? 4)
    const at = rt.rules.findIndex((r) =>
      (Object.keys(spec) as (keyof RuleSpec)[]).every(
        (k) => JSON.stringify(r[k]) === JSON.stringify(spec[k]),
      ),
    )
    if (at < 0) throw new RouteError('ENOENT', 'No such file or directory')
    const [gone] = rt.rules.splice(at, 1)
    rt.custom = true
    this.#changed()
    return gone!
  }

  /** Removes a rule of rules(). */
  removeRule(rule: Rule): void {
    const rt = this.#of(rule.family)
    const at = rt.rules.indexOf(rule)
    if (at < 0) throw new RouteError('ENOENT', 'No such file or directory')
    rt.rules.splice(at, 1)
    rt.custom = true
    this.#changed()
  }

  /** Replaces all rules of a family, as a captured host has them. */
  setRules(family: Family, specs: readonly RuleSpec[]): void {
    const rt = this.#of(family)
    const usual = new Routing(family).rules
    rt.rules = specs.map((s) => this.#ruleOf(rt, { ...s, family })).sort((a, b) => a.priority - b.priority)
    rt.custom ||= rt.rules.length !== usual.length || rt.rules.some((r, i) => !sameRule(r, usual[i]!))
    this.#changed()
  }

  /** By priority. */
  rules(family: Family): readonly Rule[] {
    return this.#of(family).rules
  }

  #of(family: Family): Routing {
    return family === 4 ? this.#v4 : this.#v6
  }

  #changed(): void {
    this.generation++
    for (const rt of [this.#v4, this.#v6]) {
      let tos = false
      for (const table of rt.tables.values()) tos ||= table.tosRoutes > 0
      const rules = rt.custom ? rt.rules : []
      const any = (asks: (r: Rule) => unknown): boolean => rules.some((r) => Boolean(asks(r)))
      rt.asksTos = tos || any((r) => r.tos)
      rt.asksSource = any((r) => r.source)
      rt.asksMark = any((r) => r.markMask)
      rt.asksIif = any((r) => r.iif)
      rt.asksPorts = any((r) => r.protocol || r.sourcePorts || r.destinationPorts)
    }
    this.#namesGeneration = -1
  }

  /** Names of interfaces in rules may come and go (fib_rules_event). */
  #resolveNames(): void {
    for (const rt of [this.#v4, this.#v6]) {
      rt.ifaces = new Int32Array(rt.rules.length * 2)
      for (const [i, r] of rt.rules.entries()) {
        if (r.iif) rt.ifaces[i * 2] = this.#devices.byName(r.iif)?.index ?? -1
        if (r.oif) rt.ifaces[i * 2 + 1] = this.#devices.byName(r.oif)?.index ?? -1
      }
    }
    this.#namesGeneration = this.#devices.generation
  }

  #ruleOf(rt: Routing, spec: RuleSpec): Rule {
    const priority = spec.priority ?? Math.max((rt.rules[1]?.priority ?? 1) - 1, 0)
    if (spec.action === 'goto' && (spec.target === undefined || spec.target <= priority))
      throw new RouteError('EINVAL', 'Backward goto not supported', true)
    if (((spec.tos ?? 0) & 3) !== 0)
      throw new RouteError('EINVAL', 'Invalid dsfield (tos): ECN bits must be 0', true)
    return { ...spec, family: rt.family, priority }
  }

  #entryOf(spec: RouteSpec, derived: boolean, verify: boolean): RouteEntry {
    const family = spec.family ?? 4
    const type = spec.type ?? RouteType.Unicast
    const bits = family === 4 ? 32 : 128
    const fail = (code: RouteError['code'], why: string): never => {
      throw new RouteError(code, why, true)
    }
    if (((spec.tos ?? 0) & 3) !== 0) fail('EINVAL', 'Invalid dsfield (tos): ECN bits must be 0')
    if (spec.prefixLength < 0 || spec.prefixLength > bits) fail('EINVAL', 'Invalid prefix length')
    if (!hostBitsClear(spec.dst, spec.prefixLength)) fail('EINVAL', 'Invalid prefix for given prefix length')
    if (verify) this.#verify(spec)
    const nexthops = spec.nexthops?.length
      ? spec.nexthops.map((h) =>
          h.device || h.gateway === null
            ? h
            : { ...h, device: this.#onLink(family, h.gateway, null, spec).device! },
        )
      : null
    const gateway = nexthops === null ? (spec.gateway ?? null) : null
    let device = nexthops === null ? (spec.device ?? null) : nexthops[0]!.device
    let nexthopScope: number = gateway === null ? Scope.Host : Scope.Link
    if (isErrorType(type)) {
      device = family === 6 ? this.#devices.loopback : null
      nexthopScope = Scope.Nowhere
    } else if (gateway !== null && (device === null || (verify && family === 4))) {
      const via = this.#onLink(family, gateway, device, spec, spec.extras?.onlink)
      nexthopScope = family === 4 && !spec.extras?.onlink ? via.scope : Scope.Link
      device ??= via.device
    }
    if (device === null && !isErrorType(type)) throw new RouteError('ENODEV', 'No such device')
    if (type === RouteType.Local) nexthopScope = Scope.Nowhere
    const scope =
      spec.scope ??
      (type === RouteType.Local || type === RouteType.Nat
        ? Scope.Host
        : type === RouteType.Broadcast || type === RouteType.Multicast || type === RouteType.Anycast
          ? Scope.Link
          : type === RouteType.Unicast && gateway === null && nexthops === null
            ? Scope.Link
            : Scope.Universe)
    // fib_create_info(): behind such a route comes nothing.
    if (family === 4 && scope === Scope.Host && !isErrorType(type)) nexthopScope = Scope.Nowhere
    return new RouteEntry({
      family,
      type,
      dst: spec.dst,
      prefixLength: spec.prefixLength,
      table: spec.table ?? tableFor(type),
      tos: spec.tos ?? 0,
      // IP6_RT_PRIO_USER.
      metric: spec.metric || (family === 6 && !derived ? 1024 : 0),
      scope,
      protocol: spec.protocol ?? 'boot',
      device,
      gateway: isErrorType(type) ? null : gateway,
      source: spec.source ?? null,
      mtu: spec.mtu ?? 0,
      realm: spec.realm ?? 0,
      nexthops,
      nexthopScope,
      extras: spec.extras ?? null,
      derived,
    })
  }

  /**
   * The route by which a gateway is on the link (fib_check_nh_v4_gw, ip6_route_check_nh). Throws RouteError if there
   * is none.
   */
  #onLink(
    family: Family,
    gateway: Words,
    device: Device | null,
    spec: RouteSpec,
    onlink = false,
  ): RouteEntry {
    const key = newFlowKey()
    key.family = family
    key.d0 = gateway[0]
    key.d1 = gateway[1]
    key.d2 = gateway[2]
    key.d3 = gateway[3]
    key.oif = device?.index ?? 0
    const scope = Math.max(scopeOf(spec) + 1, Scope.Link)
    const table = spec.table ?? tableFor(spec.type ?? RouteType.Unicast)
    const fits = (via: RouteEntry | null): via is RouteEntry =>
      via !== null &&
      (family === 4
        ? via.type === RouteType.Unicast || via.type === RouteType.Local
        : !isErrorType(via.type) && via.gateway === null && (device === null || via.uses(device)))
    if (onlink && device !== null) return this.#special(RouteType.Unicast, device)
    let via: RouteEntry | null = null
    if (this.#namesGeneration !== this.#devices.generation) this.#resolveNames()
    this.#leastScope = family === 4 ? scope : 0
    try {
      if (family === 6 || table !== Table.Main) {
        const own = this.#of(family).tables.get(table)
        via = own === undefined ? null : this.#ask(this.#of(family), table, key)
      }
      if (via === null || (family === 6 && !fits(via))) via = this.#finish(this.#walk(this.#of(family), key))
    } finally {
      this.#leastScope = 0
    }
    if (fits(via)) {
      if (family === 4 && !(device ?? via.device)?.up) throw new RouteError('ENETDOWN', 'Network is down')
      return via
    }
    if (family === 6) throw new RouteError('EHOSTUNREACH', 'No route to host')
    throw new RouteError(via === null ? 'ENETUNREACH' : 'EINVAL', 'Nexthop has invalid gateway.', true)
  }

  /** Routes of a narrower scope than this do not answer; 0: all do. Only while a gateway is checked. */
  #leastScope = 0

  /** What fib_create_info() and ip6_route_info_create() refuse before they look at the tables. */
  #verify(spec: RouteSpec): void {
    const fail = (why: string, code: RouteError['code'] = 'EINVAL'): never => {
      throw new RouteError(code, why, true)
    }
    const family = spec.family ?? 4
    const type = spec.type ?? RouteType.Unicast
    const hops: readonly Partial<Nexthop>[] = spec.nexthops?.length
      ? spec.nexthops
      : [
          {
            device: spec.device ?? null!,
            gateway: spec.gateway ?? null,
            onlink: spec.extras?.onlink ?? false,
          },
        ]
    if (family === 4) {
      const scope = scopeOf(spec)
      const first = spec.nexthops?.[0]
      if (first) {
        if (spec.device && first.device !== spec.device) fail('Nexthop device index does not match RTA_OIF')
        if (spec.gateway && !sameWords(first.gateway, spec.gateway))
          fail('Nexthop gateway does not match RTA_GATEWAY or RTA_VIA')
        if (spec.realm && first.realm !== spec.realm) fail('Nexthop class id does not match RTA_FLOW')
      }
      if (type > RouteType.Nat) fail('Invalid route type')
      if (LEAST_SCOPE[type]! > scope) fail('Invalid scope')
      if (isErrorType(type)) {
        if (spec.gateway || spec.device || spec.nexthops?.length)
          fail('Gateway, device and multipath can not be specified for this route type')
      } else {
        if (type === RouteType.Unspec || type === RouteType.Nat) fail('Invalid route type')
        if (scope > Scope.Host) fail('Invalid scope')
        if (scope === Scope.Host) {
          if (hops.length > 1) fail('Route with host scope can not have multiple nexthops')
          if (hops[0]!.gateway) fail('Route with host scope can not have a gateway')
          if (!hops[0]!.device) throw new RouteError('ENODEV', 'No such device')
        } else for (const hop of hops) this.#verifyHop4(spec, hop, scope)
      }
      if (spec.source && !isErrorType(type)) {
        const [w] = spec.source
        const itself = type === RouteType.Local && w === spec.dst[0] && spec.dst[0] !== 0
        if (!itself && this.addressType(4, w, 0, 0, 0, 0) !== RouteType.Local) fail('Invalid prefsrc address')
      }
      return
    }
    const refused = isErrorType(type)
    for (const hop of hops)
      if (!refused) this.#verifyHop6(spec, hop)
      else if (hop.onlink && !hop.device) fail('Nexthop device required for onlink', 'ENODEV')
      else if (hop.onlink && !hop.device!.up) fail('Nexthop device is not up', 'ENETDOWN')
    if (spec.source && this.#owner6(spec.source, refused ? null : (spec.device ?? null)) === null)
      fail('Invalid source address')
  }

  #verifyHop4(spec: RouteSpec, hop: Partial<Nexthop>, scope: number): void {
    const device = hop.device ?? null
    if (!hop.gateway) {
      if (hop.onlink)
        throw new RouteError(
          'EINVAL',
          'Invalid flags for nexthop - PERVASIVE and ONLINK can not be set',
          true,
        )
      if (device === null) throw new RouteError('ENODEV', 'No such device')
      if (!device.up) throw new RouteError('ENETDOWN', 'Device for nexthop is not up', true)
      return
    }
    if (hop.onlink) {
      if (scope >= Scope.Link) throw new RouteError('EINVAL', 'Nexthop has invalid scope', true)
      if (device === null) throw new RouteError('ENODEV', 'Nexthop device required for onlink', true)
      if (!device.up) throw new RouteError('ENETDOWN', 'Nexthop device is not up', true)
      if (this.addressType(4, hop.gateway[0], 0, 0, 0, 0) !== RouteType.Unicast)
        throw new RouteError('EINVAL', 'Nexthop has invalid gateway', true)
      return
    }
    this.#onLink(4, hop.gateway, device, spec)
  }

  #verifyHop6(spec: RouteSpec, hop: Partial<Nexthop>): void {
    const fail = (why: string, code: RouteError['code'] = 'EINVAL'): never => {
      throw new RouteError(code, why, true)
    }
    let device = hop.device ?? null
    if (hop.onlink && device === null) fail('Nexthop device required for onlink', 'ENODEV')
    if (hop.onlink && !device!.up) fail('Nexthop device is not up', 'ENETDOWN')
    if (hop.gateway) {
      const linkLocal = hop.gateway[0] >>> 22 === 0x3fa
      if (this.#owner6(hop.gateway, linkLocal ? device : null) !== null)
        fail('Gateway can not be a local address')
      if (!linkLocal) {
        if (hop.gateway[0] >>> 24 === 0xff || hop.gateway.every((w) => w === 0))
          fail('Invalid gateway address')
        if (!hop.onlink) device ??= this.#onLink(6, hop.gateway, device, spec).device
        if (!hop.onlink) this.#onLink(6, hop.gateway, device, spec)
      }
      if (device === null) fail('Egress device not specified')
      if (device!.loopback) fail('Egress device can not be loopback device for this route')
    }
    if (device === null) throw new RouteError('ENODEV', 'No such device')
    if (!device.up) fail('Nexthop device is not up', 'ENETDOWN')
  }

  /** ipv6_chk_addr(): the device that has an address, `device` if it is given; null if none has. */
  #owner6(words: Words, device: Device | null): Device | null {
    for (const d of this.#devices.all())
      for (const a of d.addresses)
        if (a.family === 6 && sameWords(a.words, words))
          if (device === null || d === device || (a.scope !== Scope.Link && a.scope !== Scope.Host))
            // Not strict: an address of a wide scope counts wherever it stands.
            return d
    return null
  }

  /** fib_table_insert(), fib6_add_rt2node(). */
  #insert(route: RouteEntry, mode: AddMode, verify: boolean): void {
    const rt = this.#of(route.family)
    const table = rt.table(route.table)
    const beside = table
      .chain(route.dst, route.prefixLength)
      .filter((r) => r.tos === route.tos && r.metric === route.metric)
    if (beside.length > 0) {
      if (mode === 'add') throw new RouteError('EEXIST', 'File exists')
      if (mode === 'replace' || mode === 'change') {
        const twin = beside.find((r) => sameRoute(r, route))
        if (route.family === 4 && twin !== undefined && twin !== beside[0])
          throw new RouteError('EEXIST', 'File exists')
        // IPv6: one that may share its traffic takes the place of one that may, any other of any other.
        const old =
          route.family === 4 ? beside[0]! : (beside.find((r) => shares(r) === shares(route)) ?? beside[0]!)
        this.#take(rt, table, old)
        table.insert(route, route.family === 4)
        if (route.realm !== 0) rt.realms++
        return
      }
      if (route.family === 6) {
        const hops = hopsOf(route)
        // A captured route that has followed from an address already is that one.
        for (const r of beside)
          for (const h of hopsOf(r))
            if (r.derived && !verify && h.device === route.device && route.gateway === null) return
            else if (hops.some((o) => o.device === h.device && sameWords(o.gateway, h.gateway)))
              throw new RouteError('EEXIST', 'File exists')
        const sharer = shares(route) ? beside.find(shares) : undefined
        if (sharer !== undefined) {
          table.replace(sharer, siblings(sharer, [...hopsOf(sharer), ...hops]))
          return
        }
      } else if (beside.some((r) => sameRoute(r, route))) throw new RouteError('EEXIST', 'File exists')
    } else if (mode === 'change') {
      if (
        route.family === 6 &&
        route.prefixLength > 0 &&
        table.chain(route.dst, route.prefixLength).length === 0
      )
        throw new RouteError('ENOENT', 'Can not replace route - no match found', true)
      throw new RouteError('ENOENT', 'No such file or directory')
    }
    table.insert(route, mode === 'prepend' && route.family === 4)
    if (route.realm !== 0) rt.realms++
  }

  #take(rt: Routing, table: RouteTable, route: RouteEntry): void {
    if (table.remove(route) && route.realm !== 0) rt.realms--
  }

  // -- what follows from addresses

  /** The derived routes of each device, as they stand in the tables. */
  readonly #derived = new Map<Device, Map<string, RouteEntry>>()

  /**
   * fib_add_ifaddr(), fib_del_ifaddr(), addrconf_prefix_route() and their kin for all addresses of a device at once:
   * what differs is changed.
   */
  #follow(device: Device): void {
    const wanted = new Map<string, RouteSpec>()
    for (const address of device.addresses)
      for (const spec of address.family === 4 ? derive(device, address) : derive6(device, address))
        wanted.set(describe(spec), spec)
    if (device.up && device.link.multicast && this.#of(6).followed) {
      const spec = multicast6(device)
      wanted.set(describe(spec), spec)
    }
    const have = this.#derived.get(device) ?? new Map<string, RouteEntry>()
    this.#derived.set(device, have)
    // A local route stays when the link goes down, though one would not be made then.
    const kept = new Set<string>()
    if (!device.up)
      for (const address of device.addresses)
        if (address.family === 4)
          for (const spec of derive(device, address, true))
            if (spec.type === RouteType.Local) kept.add(describe(spec))
    for (const [text, route] of have) {
      if (wanted.has(text) || kept.has(text)) continue
      have.delete(text)
      const rt = this.#of(route.family)
      const table = rt.table(route.table)
      // A captured table has it in a form of its own.
      const stands = table.chain(route.dst, route.prefixLength)
      this.#take(
        rt,
        table,
        stands.includes(route) ? route : (stands.find((r) => sameRoute(r, route)) ?? route),
      )
    }
    for (const [text, spec] of wanted) {
      if (have.has(text)) continue
      const route = this.#entryOf(spec, true, false)
      const table = this.#of(route.family).table(route.table)
      const there = table.chain(route.dst, route.prefixLength)
      if (there.some((r) => sameRoute(r, route))) continue // the host folder listed it
      table.insert(route)
      have.set(text, route)
    }
    this.#changed()
  }

  /** fib_sync_down_addr(): routes that prefer an address that no device has any more. */
  #addressGone(address: Address): void {
    if (address.family === 6) {
      this.#forgetSource6(address)
      return
    }
    if (this.#devices.hasAddress4(address.words[0])) return
    this.#sweep(this.#v4, (r) => r.source !== null && r.source[0] === address.words[0])
  }

  /** rt6_remove_prefsrc(): the routes stay, without their preferred source. */
  #forgetSource6(address: Address): void {
    if (this.#owner6(address.words, null) !== null) return
    for (const table of this.#v6.tables.values())
      for (const route of table.list())
        if (route.source !== null && sameWords(route.source, address.words))
          table.replace(route, new RouteEntry({ ...route, source: null }))
    this.#changed()
  }

  /** fib_disable_ip(): routes through the device go, local ones stay. */
  #linkDown(device: Device): void {
    this.#sweep(this.#v4, (r) => r.nexthopScope !== Scope.Nowhere && allThrough(r, device))
    this.#sweep(this.#v6, (r) => allThrough(r, device))
    // rt6_ifdown(): of several next hops those through the device go one by one.
    for (const table of this.#v6.tables.values())
      for (const r of table.list())
        if (r.nexthops?.some((h) => h.device === device))
          table.replace(
            r,
            siblings(
              r,
              r.nexthops.filter((h) => h.device !== device),
            ),
          )
  }

  #deviceGone(device: Device): void {
    this.#derived.delete(device)
    for (const rt of [this.#v4, this.#v6]) this.#sweep(rt, (r) => allThrough(r, device))
    for (const cache of this.#out) cache.length = 0
  }

  #sweep(rt: Routing, gone: (r: RouteEntry) => boolean): void {
    for (const table of rt.tables.values())
      for (const route of table.list())
        if (gone(route)) {
          this.#take(rt, table, route)
          if (route.derived && route.device !== null) {
            const have = this.#derived.get(route.device)
            for (const [text, r] of have ?? []) if (r === route) have!.delete(text)
          }
        }
    this.#changed()
  }
}

/** The routes that one IPv6 address brings (ip6_ins_rt of addrconf_f6i_alloc, addrconf_prefix_route). */
function derive6(device: Device, address: Address): RouteSpec[] {
  const common = { family: 6, protocol: 'kernel', scope: Scope.Universe, device } as const
  const routes: RouteSpec[] = [
    {
      ...common,
      type: RouteType.Local,
      dst: address.words,
      prefixLength: 128,
      table: Table.Local,
      metric: 0,
    },
  ]
  const prefixRoute = (words: Words, prefixLength: number): RouteSpec => ({
    ...common,
    type: RouteType.Unicast,
    dst: maskedWords(words, prefixLength),
    prefixLength,
    table: Table.Main,
    metric: address.metric || KERNEL_METRIC6,
  })
  if (!device.up) return routes
  // The peer's prefix route stands whatever noprefixroute says of the address itself.
  if (address.peer6) {
    if (!address.noPrefixRoute) routes.push(prefixRoute(address.words, 128))
    routes.push(prefixRoute(address.peer6, address.prefixLength))
  } else if (!address.noPrefixRoute && !isOwnLoopback(device, address))
    routes.push(prefixRoute(address.words, address.prefixLength))
  return routes
}

/** init_loopback(): ::1 of lo comes without a route to its prefix. */
const isOwnLoopback = (device: Device, { words: w }: Address): boolean =>
  device.loopback && w[0] === 0 && w[1] === 0 && w[2] === 0 && w[3] === 1

/** IP6_RT_PRIO_ADDRCONF. */
const KERNEL_METRIC6 = 256

/** addrconf_add_mroute(). */
const multicast6 = (device: Device): RouteSpec => ({
  family: 6,
  type: RouteType.Multicast,
  dst: [0xff00_0000 | 0, 0, 0, 0],
  prefixLength: 8,
  table: Table.Local,
  scope: Scope.Universe,
  protocol: 'kernel',
  metric: KERNEL_METRIC6,
  device,
})

/** fib_props[].scope: the widest scope that each type may have. */
const LEAST_SCOPE = [255, 0, 254, 253, 253, 0, 0, 0, 0, 0, 255]

function scopeOf(spec: RouteSpec): number {
  const type = spec.type ?? RouteType.Unicast
  if (spec.scope !== undefined) return spec.scope
  if (type === RouteType.Local || type === RouteType.Nat) return Scope.Host
  if (type === RouteType.Broadcast || type === RouteType.Multicast || type === RouteType.Anycast)
    return Scope.Link
  return type === RouteType.Unicast && !spec.gateway && !spec.nexthops?.length ? Scope.Link : Scope.Universe
}

/** rt6_qualify_for_ecmp(): routes behind a gateway share the traffic of one prefix and metric. */
const shares = (r: RouteEntry): boolean => r.nexthops !== null || r.gateway !== null

const hopsOf = (r: RouteEntry): readonly Nexthop[] =>
  r.nexthops ?? [
    { device: r.device!, gateway: r.gateway, weight: 1, ...(r.extras?.onlink ? { onlink: true } : {}) },
  ]

/** An IPv6 route with other next hops. */
function siblings(route: RouteEntry, hops: readonly Nexthop[]): RouteEntry {
  const one = hops.length === 1 ? hops[0]! : null
  return new RouteEntry({
    ...route,
    nexthops: one === null ? hops : null,
    device: hops[0]!.device,
    gateway: one === null ? null : one.gateway,
  })
}

function maskedWords(w: Words, length: number): Words {
  const word = (i: number): number => {
    const bits = Math.min(Math.max(length - i * 32, 0), 32)
    return bits === 0 ? 0 : w[i]! & (-1 << (32 - bits))
  }
  return [word(0), word(1), word(2), word(3)]
}

/** The routes that one address brings (fib_add_ifaddr, fib_magic). */
function derive(device: Device, address: Address, up = device.up): RouteSpec[] {
  const mask = prefixMask4(address.prefixLength)
  const own = address.words[0]
  const prefix = (address.peer ?? own) & mask
  // Routes of a secondary address prefer the primary one of its subnet.
  const primary = address.secondary
    ? device.addresses.find(
        (a) =>
          a.family === 4 &&
          !a.secondary &&
          a.prefixLength === address.prefixLength &&
          ((a.peer ?? a.words[0]) & mask) === prefix,
      )
    : address
  if (primary === undefined) return []
  const route = (type: number, dst: number, prefixLength: number, metric = 0): RouteSpec => ({
    type,
    dst: [dst, 0, 0, 0],
    prefixLength,
    table: type === RouteType.Unicast ? Table.Main : Table.Local,
    scope: type === RouteType.Local ? Scope.Host : Scope.Link,
    protocol: 'kernel',
    device,
    source: primary.words,
    metric,
  })
  const routes = [route(RouteType.Local, own, 32)]
  if (!up) return routes
  if (address.broadcast !== null && address.broadcast !== -1 && address.broadcast !== 0)
    routes.push(route(RouteType.Broadcast, address.broadcast, 32))
  if (!isZeronet4(prefix) && !address.secondary && (prefix !== own || address.prefixLength < 32)) {
    if (!address.noPrefixRoute)
      routes.push(
        route(
          device.loopback ? RouteType.Local : RouteType.Unicast,
          prefix,
          address.prefixLength,
          address.metric ?? 0,
        ),
      )
    if (address.prefixLength < 31) routes.push(route(RouteType.Broadcast, prefix | ~mask, 32))
  }
  return routes
}

const describe = (s: RouteSpec): string =>
  `${s.family ?? 4} ${s.type} ${s.dst}/${s.prefixLength} ${s.source?.[0]} ${s.metric ?? 0}`

function tableFor(type: number): number {
  return type === RouteType.Local ||
    type === RouteType.Broadcast ||
    type === RouteType.Anycast ||
    type === RouteType.Nat
    ? Table.Local
    : Table.Main
}

function allThrough(route: RouteEntry, device: Device): boolean {
  return route.paths === null ? route.device === device : route.paths.every((p) => p.device === device)
}

function sameWords(a: Words | null, b: Words | null): boolean {
  return a === b || (a !== null && b !== null && a.every((w, i) => w === b[i]))
}

/** The same fib_info, type and scope. */
function sameRoute(a: RouteEntry, b: RouteEntry): boolean {
  return (
    a.type === b.type &&
    a.tos === b.tos &&
    a.metric === b.metric &&
    a.scope === b.scope &&
    a.protocol === b.protocol &&
    a.device === b.device &&
    sameWords(a.gateway, b.gateway) &&
    sameWords(a.source, b.source) &&
    a.mtu === b.mtu &&
    a.realm === b.realm &&
    (a.nexthops?.length ?? 0) === (b.nexthops?.length ?? 0) &&
    (a.nexthops ?? []).every((h, i) => {
      const o = b.nexthops![i]!
      return (
        h.device === o.device &&
        h.weight === o.weight &&
        sameWords(h.gateway, o.gateway) &&
        (h.realm ?? 0) === (o.realm ?? 0) &&
        (h.onlink ?? false) === (o.onlink ?? false)
      )
    }) &&
    JSON.stringify(a.extras) === JSON.stringify(b.extras)
  )
}

/** rule_exists(): everything but what is absent on both sides. */
function sameRule(a: Rule, b: Rule): boolean {
  const text = (r: Rule): string =>
    JSON.stringify([
      r.priority,
      r.not ?? false,
      r.source?.words.slice(0, 4) ?? null,
      r.source?.prefixLength ?? 0,
      r.destination?.words.slice(0, 4) ?? null,
      r.destination?.prefixLength ?? 0,
      r.tos ?? 0,
      r.mark ?? 0,
      r.markMask ?? 0,
      r.iif ?? null,
      r.oif ?? null,
      r.protocol ?? 0,
      r.sourcePorts ?? null,
      r.destinationPorts ?? null,
      r.uids ?? null,
      r.tunnel ?? 0,
      r.l3mdev ?? false,
      r.action,
      r.action === 'lookup' ? (r.table ?? Table.Main) : 0,
      r.target ?? 0,
      r.suppressPrefixLength ?? -1,
      r.suppressGroup ?? -1,
      r.setBy ?? 'kernel',
    ])
  return text(a) === text(b)
}

/** The address lies in the prefix. Does not allocate. */
function covers(p: RulePrefix, w0: number, w1: number, w2: number, w3: number): boolean {
  const length = p.prefixLength
  const w = p.words
  if (length <= 32) return length === 0 || (w0 ^ w[0]) >>> (32 - length) === 0
  if (w0 !== w[0]) return false
  if (length <= 64) return (w1 ^ w[1]) >>> (64 - length) === 0
  if (w1 !== w[1]) return false
  if (length <= 96) return (w2 ^ w[2]) >>> (96 - length) === 0
  return w2 === w[2] && (w3 ^ w[3]) >>> (128 - length) === 0
}

function hostBitsClear(w: Words, length: number): boolean {
  return w.every((word, i) => {
    const bits = length - i * 32
    return bits >= 32 || (bits <= 0 ? word === 0 : (word & ~(-1 << (32 - bits))) === 0)
  })
}

/** 224.0.0.0/24. */
const isLocalMulticast = (word: number): boolean => word >>> 8 === 0xe00000
