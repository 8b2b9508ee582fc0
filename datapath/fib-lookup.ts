// Routing: policy rules, tables, longest prefix match. As net/ipv4/fib_frontend.c, fib_trie.c, fib_rules.c and the
// output half of route.c (6.18). IPv6 has tables of the same kind with addresses of four words (ip6_fib.c, addrconf.c):
// routes follow from addresses and links as there, and next hops behind gateways share one prefix and metric.
//
//     key ─▶ rules by priority ─▶ table ─▶ longest prefix first ─▶ tos, oif ─▶ route ─▶ one of its next hops
//                  │  no match, throw, suppressed: the next rule
//                  └─ unreachable, prohibit, blackhole: an error
//
// In front stands a cache of whole look-ups (route-cache.ts) that a change of `generation` empties.

import type { Devices } from './device-table.ts'
import { type Device, Scope } from './devices.ts'
import { dissect6, dissected6 } from './dissect.ts'
import { dissectedPorts, Multipath, type MultipathConf6 } from './multipath.ts'
import type { Family, Packet } from './packet.ts'
import type { Rule } from './policy-rules.ts'
import type { FrameMemory } from './ring.ts'
import {
  type FlowKey,
  inPrefix,
  newFlowKey,
  type Route,
  RouteFailure,
  RouteType,
  Table,
  type Words,
} from './route.ts'
import { RouteCache } from './route-cache.ts'
import { isErrorType, RouteEntry, TOS_MASK } from './route-table.ts'
import { Routing } from './routing.ts'
import { RuleRealms } from './rule-realms.ts'
import type { Ipv4Conf } from './tunables-ipv4.ts'
import { isLoopback4, isMulticast4, isZeronet4 } from './wire/ipv4.ts'
import { IPV6_HEADER_LEN } from './wire/ipv6.ts'
import { IPPROTO_AH, IPPROTO_ESP, IPPROTO_ICMP, IPPROTO_ICMPV6 } from './wire/protocol.ts'

const ANY: Words = [0, 0, 0, 0]
/** LOOPBACK_IFINDEX: what look-ups for packets made here have as incoming interface. */
const LOOPBACK_INDEX = 1
/** 224.0.0.1, the one group that every interface is in. */
export const ALL_HOSTS = 0xe0000001 | 0

/** The hot half of the FIB: what look-ups ask and answer. fib.ts changes what stands in it. */
export class FibLookup {
  /** Raised at every change of routes, rules or addresses. */
  generation = 0
  /** Those of them for which the kernel keeps the rtables that it has made (rt_genid stays). */
  protected quietChanges = 0
  /** Why the last find() gave no usable route. */
  failure: RouteFailure = RouteFailure.None
  /** Routes of a narrower scope than this do not answer; 0: all do. Only while a gateway is checked. */
  leastScope = 0
  /** Routes that stand in no table: limited broadcast and multicast to this host. */
  readonly broadcastIn: Route
  readonly multicastIn: Route

  protected readonly devices: Devices
  /** Interfaces that rules name in another way. */
  protected readonly attached = new WeakMap<Rule, { iif?: Device | undefined; oif?: Device | undefined }>()
  protected readonly v4 = new Routing(4)
  protected readonly v6 = new Routing(6)
  readonly #multipath: Multipath
  readonly #memory: FrameMemory
  readonly #key: FlowKey = newFlowKey()
  readonly #cache = new RouteCache()
  #namesGeneration = -1
  /** Routes that stand in no table, by RouteType and ifindex. */
  readonly #out: (RouteEntry | undefined)[][] = Array.from({ length: 6 }, () => [])
  readonly #outHeard: (RouteEntry | undefined)[] = []
  #toSelf: RouteEntry | null = null

  constructor(devices: Devices, memory: FrameMemory, conf: Ipv4Conf) {
    this.devices = devices
    this.#memory = memory
    this.#multipath = new Multipath(memory, conf)
    this.broadcastIn = this.special(RouteType.Broadcast, devices.loopback)
    this.multicastIn = hearing(this.special(RouteType.Multicast, devices.loopback))
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
    return this.#choose(route, key, null, true)
  }

  /**
   * fib_lookup(): the route, whose next hops may be several. Sets `failure`, for error types too. Does not allocate.
   */
  find(key: FlowKey): RouteEntry | null {
    const rt = key.family === 4 ? this.v4 : this.v6
    if (this.#namesGeneration !== this.devices.generation) this.#resolveNames()
    if (key.family !== 4 || rt.asksPorts) return this.finish(this.walk(rt, key))
    const cache = this.#cache
    cache.follow(this.generation, this.devices.generation)
    if (cache.find(rt, key)) {
      this.failure = cache.failure
      return cache.route
    }
    const route = this.finish(this.walk(rt, key))
    cache.keep(route, this.failure)
    return route
  }

  /** fib_props[].error of an error type becomes `failure`. */
  finish(route: RouteEntry | null): RouteEntry | null {
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

  /** The policy rule that the last walk through them ended at; null: none, or the short way. For explanations. */
  decided: Rule | null = null

  /** fib_rules_lookup(), or the short way of a host without rules of its own. */
  walk(rt: Routing, key: FlowKey): RouteEntry | null {
    this.failure = RouteFailure.NetUnreach
    this.decided = null
    if (!rt.custom) {
      // Without rules of its own a host has local and main in one trie: the longer prefix wins, whichever table.
      const local = this.ask(rt, Table.Local, key)
      // IPv6 keeps its tables apart (fib6_rule_lookup).
      if (rt.family === 6 && local !== null && local.type !== RouteType.Throw) return local
      const main = this.ask(rt, Table.Main, key)
      if (rt.family === 6) return main?.type === RouteType.Throw ? null : main
      const first =
        local !== null && (main === null || local.prefixLength >= main.prefixLength) ? local : main
      if (first !== null && first.type !== RouteType.Throw) return first
      return this.ask(rt, Table.Default, key)
    }
    const rules = rt.rules
    for (let i = 0; i < rules.length; i++) {
      const rule = rules[i]!
      if (this.#applies(rt, rule, i, key) === (rule.not === true)) continue
      this.decided = rule
      switch (rule.action) {
        case 'lookup': {
          const route = this.ask(rt, rule.table ?? Table.Main, key)
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
    this.decided = null
    return null
  }

  ask(rt: Routing, id: number, key: FlowKey): RouteEntry | null {
    const table = rt.tables.get(id)
    if (table === undefined || table.size === 0) return null
    // RT6_LOOKUP_F_IFACE: what refuses is of lo, and no route out of another device.
    if (rt.family === 6) return table.select6(key, key.oif, key.oif !== 0)
    const route = table.find4(key.d0, key.tos, key.oif, this.leastScope)
    if (route !== null) route.accessed = true
    return route
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
    const { source, destination } = rule
    if (source && !inPrefix(source.words, source.prefixLength, key.s0, key.s1, key.s2, key.s3)) return false
    if (destination && !inPrefix(destination.words, destination.prefixLength, key.d0, key.d1, key.d2, key.d3))
      return false
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

  /**
   * fib_select_path(): one of several next hops. `pkt`: the packet that is forwarded or answered, if there is one;
   * `source`: it goes out with key.s0.
   */
  #choose(route: RouteEntry, key: FlowKey, pkt: Packet | null, source: boolean): RouteEntry {
    if (key.oif !== 0) return route.through(key.oif) ?? route.paths![0]!
    return key.family === 4
      ? this.#multipath.choose4(route, key, pkt, source)
      : this.#multipath.choose6(route, key, pkt, false)
  }

  /** net.ipv6.fib_multipath_hash_*, followed from now on. */
  set multipath6(conf: MultipathConf6) {
    this.#multipath.conf6 = conf
  }

  /** fib6_select_path(): one of several next hops of an IPv6 route. `pkt`: as for #choose(). */
  share6(route: RouteEntry, key: FlowKey, pkt: Packet | null, early: boolean): RouteEntry {
    return this.#multipath.choose6(route, key, pkt, early)
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
      family === 4 ? this.#local4(w0) : (this.v6.tables.get(Table.Local)?.find6(w0, w1, w2, w3) ?? null)
    if (hit === null || isErrorType(hit.type)) return RouteType.Unicast
    if (device !== 0 && (hit.device === null || hit.device.index !== device)) return RouteType.Unicast
    return hit.type
  }

  /** What the local table says; without rules of its own a host has it in one trie with main, see walk. */
  #local4(word: number): RouteEntry | null {
    const rt = this.v4
    const local = rt.tables.get(Table.Local)?.find4(word, 0, 0) ?? null
    if (rt.custom) return local
    const main = rt.tables.get(Table.Main)?.find4(word, 0, 0) ?? null
    return main !== null && (local === null || main.prefixLength > local.prefixLength) ? main : local
  }

  /** __ip_dev_find(): the device that has a local address (of a local prefix even), or null. */
  deviceOf4(word: number): Device | null {
    const hit = this.#local4(word)
    if (hit !== null && hit.type === RouteType.Local) return hit.device
    return this.devices.hasAddress4(word) ? this.devices.loopback : null
  }

  /** fib_result_prefsrc(): source address of packets that take a route (IPv4 word). 0: the host has none. */
  sourceFor(route: Route, _d0: number): number {
    if (route.source !== null) return route.source[0]
    if (route.device === null) return 0
    return this.askOwnAddress(route as RouteEntry)
  }

  /** fib_info_update_nhc_saddr(). */
  protected askOwnAddress(route: RouteEntry): number {
    route.ownAddress = this.devices.selectAddress4(route.device!, route.gateway?.[0] ?? 0, route.scope)
    return route.ownAddress
  }

  /** Fills and gives the one reused key, as ip_route_me_harder() asks after OUTPUT: no interface is fixed. */
  keyOf(pkt: Packet): FlowKey {
    const key = this.#key
    this.fill(key, pkt)
    key.iif = 0
    return key
  }

  /**
   * The same as the socket asks that a packet comes from (ip_route_connect(), udp_sendmsg(), raw_sendmsg()): it always knows
   * protocol and ports, and of ICMP type and code, which lie where the destination's port is (union flowi_uli).
   */
  keyOfSocket(pkt: Packet): FlowKey {
    const key = this.keyOf(pkt)
    const { protocol } = key
    if (protocol === IPPROTO_ESP || protocol === IPPROTO_AH) key.sport = key.dport = 0
    else if (protocol === (pkt.family === 4 ? IPPROTO_ICMP : IPPROTO_ICMPV6))
      key.dport = pkt.fragOffset === 0 && pkt.l4 + 2 <= pkt.end ? this.#memory.view.getUint16(pkt.l4) : 0
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
    if (pkt.family === 6 && pkt.l4 - pkt.l3 > IPV6_HEADER_LEN) {
      dissect6(pkt, this.#memory.view)
      key.protocol = dissected6.proto
      key.sport = dissected6.ports >>> 16
      key.dport = dissected6.ports & 0xffff
      return
    }
    key.protocol = pkt.proto
    const ports = dissectedPorts(pkt, this.#memory)
    key.sport = ports >>> 16
    key.dport = ports & 0xffff
  }

  /**
   * ip_route_output_key_hash_rcu(): the way out for a packet made here. Fills key.s0 if it was 0, key.d0 likewise.
   * Null: there is none; `failure` says why. `anySource` (FLOWI_FLAG_ANYSRC): the source need not be the host's.
   * `cause`: the packet that is answered, by which one of several next hops is chosen then. `known`: the destination is
   * a next hop (FLOWI_FLAG_KNOWN_NH). IPv4. Allocates at most once for each device and, with rules that have realms,
   * once for each next hop and realm.
   */
  output(key: FlowKey, anySource = false, cause: Packet | null = null, known = false): Route | null {
    if (!this.v4.ruleRealms) return this.#output(key, anySource, cause)
    const { oif } = key
    this.#realmOut = 0
    const route = this.#output(key, anySource, cause)
    if (route === null) return null
    // __mkroute_output(): what is kept of the next hop, and when.
    const elsewhere = route.type === RouteType.Local && oif !== 0 && oif !== route.device!.index
    const cached =
      route.table !== 0 &&
      route.type !== RouteType.Broadcast &&
      !elsewhere &&
      (!known || (route.gateway !== null && route.nexthopScope === Scope.Link))
    return this.#withRealms(route, cached ? 'output' : null, this.#realmOut, this.#sharedOut)
  }

  /** Realms of the rule that the last output() went by, and whether its route has one next hop. */
  #realmOut = 0
  #sharedOut = true
  readonly #realms = new RuleRealms()

  /** rt_genid */
  get #epoch(): number {
    const { devices } = this
    return (this.generation - this.quietChanges + devices.generation - devices.quietChanges) | 0
  }

  /** `kept`: the direction in which a next hop keeps what the first packet's rule gave; null: it does not. */
  #withRealms(
    route: RouteEntry,
    kept: 'input' | 'output' | null,
    realm: number,
    shared: boolean,
  ): RouteEntry {
    const realms = this.#realms
    realms.begin(this.#epoch)
    return realms.tag(route, kept === null ? realm : realms.keep(route, shared, kept, realm))
  }

  /** The realms of the policy rule that decides about an IPv4 key (fib_rules_tclass()), FROM << 16 | TO. */
  ruleRealm(key: FlowKey): number {
    if (!this.v4.ruleRealms) return 0
    const { failure } = this
    this.freshNames()
    this.walk(this.v4, key)
    this.failure = failure
    return this.decided?.realm ?? 0
  }

  /**
   * rt_set_nexthop(): the route by which a packet is forwarded, with realms of its rule. `kept`: those that its next hop
   * keeps; `shared`: it may be other routes' too, being the only one.
   */
  forwardingRealms(route: RouteEntry, realm: number, kept: boolean, shared: boolean): RouteEntry {
    return this.v4.ruleRealms ? this.#withRealms(route, kept ? 'input' : null, realm, shared) : route
  }

  #output(key: FlowKey, anySource: boolean, cause: Packet | null): RouteEntry | null {
    const devices = this.devices
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
      if (isMulticast4(key.d0)) return this.#outSpecial(key, devices.loopback, null, false)
      this.failure = RouteFailure.None
      this.#toSelf ??= this.special(RouteType.Local, devices.loopback)
      return this.#toSelf
    }
    const found = this.find(key)
    if (this.v4.ruleRealms) {
      this.#realmOut = this.ruleRealm(key)
      this.#sharedOut = found?.paths === null
    }
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
    const route = found.paths === null ? found : this.#choose(found, key, cause, true)
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
  #outSpecial(key: FlowKey, out: Device, route: RouteEntry | null, limited: boolean): RouteEntry | null {
    if (!this.#mayLeave(key, out)) return null
    const heard = key.d0 === ALL_HOSTS
    if (!limited && route !== null && route.prefixLength >= 4) {
      if (heard) {
        route.joined ??= hearing(new RouteEntry({ ...route, type: RouteType.Multicast }))
        return route.joined
      }
      if (route.type === RouteType.Multicast) return route
      route.recast ??= new RouteEntry({ ...route, type: RouteType.Multicast })
      return route.recast
    }
    const type = limited
      ? RouteType.Broadcast
      : isMulticast4(key.d0)
        ? RouteType.Multicast
        : RouteType.Unicast
    const cache = heard ? this.#outHeard : this.#out[type]!
    let special = cache[out.index]
    if (special === undefined || special.device !== out) {
      special = this.special(type, out)
      if (heard) hearing(special)
      while (cache.length <= out.index) cache.push(undefined)
      cache[out.index] = special
    }
    return special
  }

  special(type: number, device: Device): RouteEntry {
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

  /** Routes that stand in no table are made anew: a device has gone. */
  protected forgetDevices(): void {
    for (const cache of this.#out) cache.length = 0
    this.#outHeard.length = 0
  }

  /**
   * A local or broadcast route as packets to this host carry it: its device is the loopback device. So is that of a unicast
   * route by which something made here went to the loopback device: unicast still, but heard (__mkroute_output()).
   */
  loopOf(route: RouteEntry): RouteEntry {
    if (route.loop === null) {
      const device = this.devices.loopback
      route.loop = new RouteEntry({ ...route, device, origin: route.device, gateway: null, nexthops: null })
      if (route.type === RouteType.Unicast) hearing(route.loop)
    }
    return route.loop
  }

  /** The route by which a packet is forwarded: one of several next hops, a broadcast one made unicast. */
  forwarding(found: RouteEntry, key: FlowKey, pkt: Packet | null): RouteEntry {
    const route = found.paths === null ? found : this.#choose(found, key, pkt, false)
    if (route.type === RouteType.Unicast) return route
    route.recast ??= new RouteEntry({ ...route, type: RouteType.Unicast })
    return route.recast
  }

  /** What was chosen for a packet holds for all between its addresses that are not ICMP. */
  choosesByAddresses(pkt: Packet): boolean {
    return this.#multipath.byAddresses4(pkt)
  }

  /** What stands in the local table of exactly one IPv6 address. */
  localRoutes6(words: Words): readonly RouteEntry[] {
    return this.v6.tables.get(Table.Local)?.chain(words, 128) ?? []
  }

  /** find() of an IPv4 key past all caches, for explanations: the policy rule that chose is in `decided` then. */
  findAnew(key: FlowKey): RouteEntry | null {
    this.freshNames()
    return this.finish(this.walk(this.v4, key))
  }

  /** Rules and tables of a family. */
  of(family: Family): Routing {
    return family === 4 ? this.v4 : this.v6
  }

  /** Every change of routes and rules ends here: what was looked up is old. `flushes`: so are rtables (rt_cache_flush()). */
  changed(flushes = true): void {
    this.generation++
    if (!flushes) this.quietChanges++
    this.v4.settle()
    this.v6.settle()
    this.#namesGeneration = -1
  }

  /**
   * The interface that a rule names; undefined: it is detached. Alternative names count when the rule is put in, later only
   * the interface's own (attach_rules).
   */
  ruleDevice(rule: Rule, which: 'iif' | 'oif'): Device | undefined {
    const named = this.devices.byName(rule[which] ?? '')
    if (named !== undefined) return named
    const attached = this.attached.get(rule)?.[which]
    return attached !== undefined && this.devices.byName(attached.name) === attached ? attached : undefined
  }

  /** Names of interfaces in rules may come and go (fib_rules_event). */
  #resolveNames(): void {
    for (const rt of [this.v4, this.v6]) {
      rt.ifaces = new Int32Array(rt.rules.length * 2)
      for (const [i, r] of rt.rules.entries()) {
        if (r.iif) rt.ifaces[i * 2] = this.ruleDevice(r, 'iif')?.index ?? -1
        if (r.oif) rt.ifaces[i * 2 + 1] = this.ruleDevice(r, 'oif')?.index ?? -1
      }
    }
    this.#namesGeneration = this.devices.generation
  }

  /** Names in rules mean the interfaces of now. */
  freshNames(): void {
    if (this.#namesGeneration !== this.devices.generation) this.#resolveNames()
  }
}

/** 224.0.0.0/24. */
const isLocalMulticast = (word: number): boolean => word >>> 8 === 0xe00000

function hearing(route: RouteEntry): RouteEntry {
  route.heard = true
  return route
}
