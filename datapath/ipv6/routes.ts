// Routing as net/ipv6/route.c and fib6_rules.c have it (6.18): every look-up gives a route, if only one that says why
// there is none.
//
//     rules by priority ─▶ table ─▶ longest prefix ─▶ lowest metric ─▶ best interface, preference ─▶ one next hop
//
// An interface that is asked for is better than others, or the only one that counts (RT6_LOOKUP_F_IFACE): where the
// destination means something else on each link, and where a source address has yet to be found.

import { IpStat } from '../counters.ts'
import { type Device, isTentative } from '../devices.ts'
import { type FlowKey, newFlowKey, type Route, RouteType, Table, type Words } from '../fib.ts'
import type { Host } from '../host.ts'
import type { Packet } from '../packet.ts'
import type { Rule } from '../policy-rules.ts'
import { hopLimitMetric, inPrefix, isJoined } from '../route.ts'
import { isErrorType, placeholderRoute, type RouteEntry, type RouteTable } from '../route-table.ts'
import { IPPROTO_ICMPV6 } from '../wire/protocol.ts'
import { selectAddress6 } from './source-address.ts'

/** LOOPBACK_IFINDEX: what look-ups for packets made here have as incoming interface. */
const LOOPBACK_INDEX = 1
/** IP6_MAX_MTU. */
const IP6_MAX_MTU = 65535 + 40
/** INET_DSCP_MASK. */
const DSCP_MASK = 0xfc

/** rt6_need_strict(): the destination means something else on each link. */
export function needsInterface(d0: number, d1: number, d2: number, d3: number): boolean {
  if (d0 >>> 24 === 0xff || d0 >>> 22 === 0x3fa) return true
  return d3 === 1 && (d0 | d1 | d2) === 0
}

/** Bytes that dst_mtu() gives where nobody was told of a smaller one. */
export const routeMtu = (route: Route): number =>
  Math.min(route.mtu !== 0 ? route.mtu : route.device!.conf6.mtu, IP6_MAX_MTU)

/** ip6_dst_mtu_maybe_forward() for what is passed on: a route's MTU counts only if it is locked. */
export const forwardMtu = (route: Route): number =>
  route.mtu !== 0 && route.extras?.locked?.includes('mtu') ? route.mtu : route.device!.conf6.mtu

/** ip6_dst_hoplimit(). */
export const hopLimitOf = (route: Route): number => hopLimitMetric(route) || route.device!.conf6.hopLimit

/** ip6_dst_idev(): the interface that a route stands for; its device is lo if the route leads to this host. */
export const interfaceOf = (route: Route): Device => (route as RouteEntry).origin ?? route.device!

/** ipv6_anycast_destination(). */
export function isAnycast(route: Route, d0: number, d1: number, d2: number, d3: number): boolean {
  if (isJoined(route)) return true
  const { dst } = route
  return (
    route.prefixLength < 127 &&
    route.gateway === null &&
    dst[3] === d3 &&
    dst[2] === d2 &&
    dst[1] === d1 &&
    dst[0] === d0
  )
}

const isMapped = (w0: number, w1: number, w2: number): boolean => (w0 | w1) === 0 && w2 === 0xffff

export class Ipv6Routes {
  /** ip6_null_entry, ip6_prohibit_entry, ip6_blk_hole_entry: no route, or what a policy rule says. */
  readonly #none: RouteEntry
  readonly #prohibited: RouteEntry
  readonly #blackhole: RouteEntry
  readonly #host: Host
  readonly #key = newFlowKey()
  /** A packet comes in, and policy rules want it dissected (fib6_rules_early_flow_dissect). */
  #early = false
  /** The last route that was found is one of several next hops, or follows upon one of several that rules suppressed. */
  shared = false

  constructor(host: Host) {
    this.#host = host
    const special = (type: number): RouteEntry =>
      placeholderRoute(6, type, host.devices.loopback, { metric: 0xffffffff })
    this.#none = special(RouteType.Unreachable)
    this.#prohibited = special(RouteType.Prohibit)
    this.#blackhole = special(RouteType.Blackhole)
  }

  /** ip6_route_input_lookup() of a packet from `device`. Does not allocate. */
  input(pkt: Packet, device: Device): RouteEntry {
    const key = this.#key
    this.#host.fib.fill(key, pkt)
    key.iif = device.index
    this.#early = this.#host.fib.of(6).dissects
    const found = this.#find(key, pkt, device.index, needsInterface(pkt.d0, pkt.d1, pkt.d2, pkt.d3), true)
    this.#early = false
    return found
  }

  /**
   * ip6_route_output_flags(): the way out for a packet made here; key.iif does not matter. A route to this host leads
   * out of lo. `cause`: the packet that an error is about. `bound`: only key.oif will do.
   * `knownHop`: the destination is a neighbour to be (FLOWI_FLAG_KNOWN_NH). Allocates at most once for each local route.
   */
  output(key: FlowKey, cause: Packet | null = null, bound = false, knownHop = false): RouteEntry {
    const anySource = (key.s0 | key.s1 | key.s2 | key.s3) === 0
    key.iif = LOOPBACK_INDEX
    const strict = bound || (key.oif !== 0 && anySource) || needsInterface(key.d0, key.d1, key.d2, key.d3)
    this.#knownHop = knownHop
    const route = this.#find(key, cause, key.oif, strict, !anySource)
    this.#knownHop = false
    return route
  }

  /** output() of ICMPv6 between two addresses, by `device` if that is as good as any (icmpv6_flow_init()). */
  outputTo(to: Words, source: Words, device: Device, icmpType: number): RouteEntry {
    const key = this.#key
    key.family = 6
    key.d0 = to[0]
    key.d1 = to[1]
    key.d2 = to[2]
    key.d3 = to[3]
    key.s0 = source[0]
    key.s1 = source[1]
    key.s2 = source[2]
    key.s3 = source[3]
    key.tos = key.mark = key.sport = 0
    key.dport = icmpType << 8
    key.oif = device.index
    key.protocol = IPPROTO_ICMPV6
    return this.output(key)
  }

  /**
   * ip6_dst_lookup_tail(): the way out with a source address for it, which goes into the key if it has none. Null: there
   * is no way, or no address for it.
   */
  outputWithSource(key: FlowKey, cause: Packet | null = null): RouteEntry | null {
    let route: RouteEntry | null = null
    let bound = false
    if ((key.s0 | key.s1 | key.s2 | key.s3) === 0) {
      route = this.output(key, cause)
      if (isErrorType(route.type)) route = null
      const source =
        route?.source ??
        selectAddress6(
          this.#host.devices,
          route === null ? null : interfaceOf(route),
          key.d0,
          key.d1,
          key.d2,
          key.d3,
        )?.words
      if (!source) return null
      key.s0 = source[0]
      key.s1 = source[1]
      key.s2 = source[2]
      key.s3 = source[3]
      bound = key.oif !== 0
    }
    route ??= this.output(key, cause, bound)
    if (route === this.#none) this.#host.counters.count6(IpStat.OutNoRoutes)
    if (isErrorType(route.type)) return null
    return isMapped(key.s0, key.s1, key.s2) &&
      !isMapped(key.d0, key.d1, key.d2) &&
      (key.d0 | key.d1 | key.d2 | key.d3) !== 0
      ? null
      : route
  }

  /**
   * icmpv6_route_lookup() asks a second time for the sake of IPsec, as the packet an error is about would be answered:
   * nothing comes of it but a count of routes that are missing.
   */
  asAnswered(cause: Packet): void {
    const key = this.#key
    const { counters, fib, memory } = this.#host
    fib.fill(key, cause)
    key.d0 = cause.s0
    key.d1 = cause.s1
    key.d2 = cause.s2
    key.d3 = cause.s3
    key.s0 = cause.d0
    key.s1 = cause.d1
    key.s2 = cause.d2
    key.s3 = cause.d3
    key.tos = 0
    const { sport } = key
    key.sport = key.dport
    key.dport = sport
    // Type and code stand where the destination's port is.
    if (key.protocol === IPPROTO_ICMPV6 && cause.proto === IPPROTO_ICMPV6 && cause.l4 + 2 <= cause.end)
      key.dport = memory.view.getUint16(cause.l4)
    key.oif = cause.local || cause.arrival === null ? 0 : cause.arrival.index
    if (this.output(key) === this.#none) counters.count6(IpStat.OutNoRoutes)
  }

  /**
   * ip6_route_lookup(): the route without the care for links and metrics that packets get. key.oif: a route out of that
   * interface goes before others of its prefix, or with `only` is the only kind that counts; without, one out of that
   * of a link-local source. Does not allocate.
   */
  lookup(key: FlowKey, only: boolean, hasSource: boolean): RouteEntry {
    const oif = key.oif !== 0 || !hasSource || key.s0 >>> 22 !== 0x3fa ? key.oif : this.#ownerOf(key)
    this.#matching = true
    const found = this.#walk(key, oif, only, hasSource)
    this.#matching = false
    return found.paths === null ? found : (found.through(oif) ?? found.first())
  }

  /** ifindex of an interface with the source address; 0: none has it. */
  #ownerOf(key: FlowKey): number {
    const devices = this.#host.devices.byIndex
    for (let i = 1; i < devices.length; i++) {
      const addresses = devices[i]?.addresses ?? []
      for (let j = 0; j < addresses.length; j++) {
        const { family, words: w } = addresses[j]!
        if (
          family === 6 &&
          !isTentative(addresses[j]!) &&
          w[3] === key.s3 &&
          w[2] === key.s2 &&
          w[1] === key.s1 &&
          w[0] === key.s0
        )
          return i
      }
    }
    return 0
  }

  /** Tables are asked as ip6_pol_route_lookup() does, not as ip6_pol_route(). */
  #matching = false

  #inTable(table: RouteTable | undefined, key: FlowKey, oif: number, strict: boolean): RouteEntry | null {
    if (table === undefined) return null
    return this.#matching ? table.match6(key, oif, strict) : table.select6(key, oif, strict)
  }

  /**
   * What input() or output() found, or would find, for the key: null: nothing. The policy rule that chose is in
   * fib.decided then. For explanations.
   */
  findAnew(key: FlowKey): RouteEntry | null {
    const strict = needsInterface(key.d0, key.d1, key.d2, key.d3)
    const found = this.#walk(key, key.iif === LOOPBACK_INDEX ? key.oif : key.iif, strict, true)
    return found === this.#none || found === this.#prohibited || found === this.#blackhole ? null : found
  }

  /**
   * inet6_rtm_getroute(): the route of a question, with all its next hops and with the one that is taken; `hop`: the same
   * of what this host takes for itself, which leaves by lo whatever next hop its route has. key.iif: it is about a packet
   * that comes in there; 0: about one made here.
   */
  ask(key: FlowKey): { readonly whole: RouteEntry; readonly route: RouteEntry; readonly hop: RouteEntry } {
    const comesIn = key.iif !== 0
    const hasSource = (key.s0 | key.s1 | key.s2 | key.s3) !== 0
    const oif = comesIn ? key.iif : key.oif
    const strict = needsInterface(key.d0, key.d1, key.d2, key.d3) || (!comesIn && key.oif !== 0 && !hasSource)
    const asked = comesIn ? key : { ...key, iif: LOOPBACK_INDEX }
    const route = this.#find(asked, null, oif, strict, hasSource)
    const whole = this.#walk(asked, oif, strict, hasSource)
    return { whole, route, hop: this.#taken(whole, asked, oif, strict) }
  }

  /** Whether there was no route at all, rather than one that refuses. */
  isNone(route: RouteEntry): boolean {
    return route === this.#none
  }

  /** fib6_rule_lookup(), with the next hop chosen. */
  #find(key: FlowKey, pkt: Packet | null, oif: number, strict: boolean, hasSource: boolean): RouteEntry {
    const { fib } = this.#host
    this.#pkt = pkt
    this.shared = false
    const found = this.#walk(key, oif, strict, hasSource)
    this.#pkt = null
    this.shared ||= found.paths !== null
    if (found.type === RouteType.Local || isJoined(found)) return fib.loopOf(found)
    if (found.paths === null) return found
    const route = fib.share6(found, key, pkt, this.#early)
    return strict && oif !== 0 && route.device!.index !== oif ? found.through(oif)! : route
  }

  /**
   * Whether a rule refuses a route as too wide. What is made for a neighbour to be, or for a path MTU, has a prefix of its
   * own: that address (ip6_rt_cache_alloc()).
   */
  #tooWide(route: RouteEntry, floor: number, key: FlowKey, oif: number, strict: boolean): boolean {
    if (route.prefixLength > floor) return false
    const host = this.#host
    const { pathMtus6 } = host.path
    if (floor >= 128 || (!this.#knownHop && pathMtus6.empty)) return true
    const taken = this.#taken(route, key, oif, strict)
    if (this.#knownHop && taken.gateway === null) return false
    return pathMtus6.get(taken, key) === 0
  }

  #knownHop = false
  /** Whose way #find() looks for. */
  #pkt: Packet | null = null

  /** The next hop that will be taken: by its device rules suppress routes (fib6_rule_suppress). */
  #taken(route: RouteEntry, key: FlowKey, oif: number, strict: boolean): RouteEntry {
    if (route.paths === null) return route
    this.shared = true
    if (this.#matching) return route.through(oif) ?? route.first()
    const taken = this.#host.fib.share6(route, key, this.#pkt, this.#early)
    return strict && oif !== 0 && taken.device!.index !== oif ? (route.through(oif) ?? taken) : taken
  }

  #walk(key: FlowKey, oif: number, strict: boolean, hasSource: boolean): RouteEntry {
    const { fib } = this.#host
    const rt = fib.of(6)
    fib.decided = null
    if (!rt.custom) {
      for (let i = 0; i < 2; i++) {
        const route = this.#inTable(rt.tables.get(i === 0 ? Table.Local : Table.Main), key, oif, strict)
        if (route !== null && route.type !== RouteType.Throw) return route
      }
      return this.#none
    }
    fib.freshNames()
    const { rules } = rt
    for (let i = 0; i < rules.length; i++) {
      const rule = rules[i]!
      if (this.#applies(rule, rt.ifaces, i, key, hasSource) === (rule.not === true)) continue
      fib.decided = rule
      switch (rule.action) {
        case 'lookup': {
          const route = this.#inTable(rt.tables.get(rule.table ?? Table.Main), key, oif, strict)
          if (route === null || route.type === RouteType.Throw) break
          if (isErrorType(route.type)) return route
          if (this.#tooWide(route, rule.suppressPrefixLength ?? -1, key, oif, strict)) break
          const group = rule.suppressGroup ?? -1
          if (group >= 0 && this.#taken(route, key, oif, strict).device!.link.group === group) break
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
          return this.#none
        case 'prohibit':
          return this.#prohibited
        case 'blackhole':
          return this.#blackhole
        case 'nop':
          break
      }
    }
    fib.decided = null
    return this.#none
  }

  /** fib_rule_match() and fib6_rule_match(), without `not`. Unlike IPv4's they compare all of DSCP. */
  #applies(rule: Rule, ifaces: Int32Array, at: number, key: FlowKey, hasSource: boolean): boolean {
    const iif = ifaces[at * 2]!
    const oif = ifaces[at * 2 + 1]!
    if (iif !== 0 && iif !== key.iif) return false
    if (oif !== 0 && oif !== key.oif) return false
    const mask = rule.markMask ?? 0
    if (mask !== 0 && ((rule.mark ?? 0) ^ key.mark) & mask) return false
    // No tunnel and no VRF brought the packet; it belongs to user 0 of the namespace.
    if (rule.tunnel !== undefined && rule.tunnel !== 0) return false
    if (rule.l3mdev === true) return false
    if (rule.uids && rule.uids[0] > 0) return false
    const { source, destination } = rule
    if (destination && !inPrefix(destination.words, destination.prefixLength, key.d0, key.d1, key.d2, key.d3))
      return false
    if (source && source.prefixLength > 0) {
      if (!hasSource) return false
      if (!inPrefix(source.words, source.prefixLength, key.s0, key.s1, key.s2, key.s3)) return false
    }
    if (rule.tos !== undefined && rule.tos !== 0 && rule.tos !== (key.tos & DSCP_MASK)) return false
    if (rule.protocol !== undefined && rule.protocol !== 0 && rule.protocol !== key.protocol) return false
    if (rule.sourcePorts && (key.sport < rule.sourcePorts[0] || key.sport > rule.sourcePorts[1])) return false
    if (
      rule.destinationPorts &&
      (key.dport < rule.destinationPorts[0] || key.dport > rule.destinationPorts[1])
    )
      return false
    return true
  }
}
