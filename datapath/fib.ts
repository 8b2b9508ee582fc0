// The FIB of the host: fib-lookup.ts answers, this changes what stands in it. As net/ipv4/fib_frontend.c, fib_trie.c,
// fib_rules.c, net/ipv6/ip6_fib.c and addrconf.c (6.18).
//
//     ip route, ip rule ──▶ fib-check ──▶ tables and rules ◀── fib-derive ◀── addresses, links
//                                               │
//     packets ──▶ fib-lookup ───────────────────┘

import { AddressChecks } from './address-checks.ts'
import type { Devices } from './device-table.ts'
import { type Address, type Device, Scope } from './devices.ts'
import { addAddressRoutes, changePrefixMetric, removeAddressRoutes } from './fib-addresses.ts'
import { RouteChecker } from './fib-check.ts'
import { derive6, describe, isPeer, multicast6, prefixOf6, toPrefix6 } from './fib-derive.ts'
import { FibLookup, Routing } from './fib-lookup.ts'
import { followsMtu6 } from './ipv6/pmtu.ts'
import { endOf, followLifetime, isPermanent, leaveLifetime } from './lifetimes.ts'
import type { Family } from './packet.ts'
import { answers, checkedRule, isThere, type Rule, type RuleSpec, sameRule } from './policy-rules.ts'
import type { FrameMemory } from './ring.ts'
import {
  type AddMode,
  type Nexthop,
  type Route,
  RouteError,
  type RouteSpec,
  RouteType,
  sameWords,
  Table,
  tableFor,
  type Words,
} from './route.ts'
import {
  allThrough,
  firstMeant,
  hasGateway,
  hopsOf,
  NOWHERE,
  type RouteRequest,
  type SaidMetrics,
  sameAnycast,
  sameRoute,
  shares,
  siblings,
} from './route-match.ts'
import { carries6, isErrorType, RouteEntry, type RouteTable } from './route-table.ts'
import type { Ipv4Conf } from './tunables-ipv4.ts'
import { IPV6_MIN_MTU } from './wire/ipv6.ts'

export type { Rule, RuleAction, RuleSpec } from './policy-rules.ts'
export {
  type AddMode,
  type FlowKey,
  type Nexthop,
  newFlowKey,
  type Route,
  RouteError,
  type RouteExtras,
  RouteFailure,
  type RouteMetric,
  type RoutePrefix,
  type RouteSpec,
  RouteType,
  Table,
  usesGateway,
  type Words,
} from './route.ts'

export class Fib extends FibLookup {
  readonly #checker: RouteChecker
  /** A next hop has died once: from then on routes that come may have dead ones. */
  #deaths = false

  /** Follows the addresses and links of `devices` from now on (fib_inetaddr_event, fib_netdev_event). */
  constructor(devices: Devices, memory: FrameMemory, conf: Ipv4Conf) {
    super(devices, memory, conf)
    this.#checker = new RouteChecker(this, devices)
    devices.listen({
      mtu6Changes: (device) => this.#followMtu6(device),
      // detach_rules(): the rules of its old name, and of others.
      deviceRenamed: (device) => {
        for (const rule of [...this.rules(4), ...this.rules(6)]) {
          const attached = this.attached.get(rule)
          if (attached?.iif === device) attached.iif = undefined
          if (attached?.oif === device) attached.oif = undefined
        }
      },
      addressAdded: (device, address, old) => {
        if (address.family === 4) {
          if (old === undefined) addAddressRoutes(this, device, address)
          else changePrefixMetric(this, device, address, old)
          this.#revive(device, true)
          this.changed()
          return
        }
        const before = this.prefixRoute6(device, address)
        if (old === undefined) this.#miss6(device, address)
        else {
          this.#leavePeer6(device, address, old)
          this.#changePrefix6(device, address, old)
        }
        this.#follow(device)
        followLifetime(this, device, address, before, old)
        if (old === undefined) this.#stayForPeer6(device, address)
        else this.#followPeer6(device, address, old)
      },
      addressesSuspended: (device) => {
        for (const address of device.addresses) if (address.suspended) this.checks.forget(device, address)
        this.#follow(device)
      },
      addressRemoved: (device, address, ended) => {
        if (address.family === 4) {
          removeAddressRoutes(this, device, address)
          // fib_disable_ip(): without any address nothing leads through the device.
          if (!device.addresses.some((a) => a.family === 4)) {
            this.#revive(device, false)
            this.#sweep(this.v4, (r) => !isErrorType(r.type) && allThrough(r, device))
          }
          this.changed()
          return
        }
        this.checks.forget(device, address)
        this.#leavePrefix6(device, address)
        // The route to its peer goes, whoever else has that peer.
        if (address.peer6 && device.up) {
          const route = this.#onLink6(device, address.peer6, 128, true)
          if (route !== undefined) this.removeRoute(route)
        }
        this.#follow(device)
        leaveLifetime(this, device, address)
        // addrconf_ifdown() leaves them to routes.
        if (!ended) this.#forgetSource6(address)
      },
      primaryLeaves: (device, address, primary) => removeAddressRoutes(this, device, address, primary),
      primaryLeft: (device, address) => addAddressRoutes(this, device, address),
      linkChanged: (device) => {
        this.v6.followed = true
        if (device.up) for (const a of device.addresses) if (a.family === 4) addAddressRoutes(this, device, a)
        this.#revive(device, device.up)
        this.#revive6(device)
        if (!device.up) this.#linkDown(device)
        this.#follow(device)
      },
      deviceAdded: (device) => this.#follow(device),
      ipv6Changed: (device, turn) => {
        this.#revive6(device)
        // rt6_disable_ip(): whatever leads through the device goes.
        if (turn === 'ends') this.#throughGone6(device)
        // ipv6_ac_destroy_dev(): too small an MTU for IPv6 takes it away altogether.
        if (device.conf6.disabled && device.mtu < IPV6_MIN_MTU) this.#joinedForever.delete(device)
        this.#follow(device)
      },
      deviceRemoved: (device) => this.#deviceGone(device),
    })
  }

  // -- changes

  /**
   * Adds a route. `verify`: the gateway must be on a link (fib_check_nh); without, routes may be listed in any
   * order. `end`: host.now at which an IPv6 route goes by itself. Throws RouteError.
   */
  addRoute(spec: RouteSpec, mode: AddMode = 'add', verify = false, end: number | null = null): Route {
    // fib_new_table() comes before what may still be refused.
    if (verify && ((spec.tos ?? 0) & 3) === 0)
      this.of(spec.family ?? 4).table(spec.table ?? tableFor(spec.type ?? 1))
    const route = this.#checker.make(spec, false, verify)
    // fib_create_info() asks once; later the address is found anew only when it is needed.
    if (route.family === 4) for (const path of route.paths ?? []) this.askOwnAddress(path)
    this.#shareState(route)
    const flushes = this.#insert(route, mode, verify, end)
    if (end !== null) this.ends.set(route, end)
    if (route.family === 4 && route.type === RouteType.Local && route.protocol !== 'kernel')
      this.v4.customLocal = true
    this.changed(flushes)
    return route
  }

  /**
   * Removes the first route that fits: prefix and tos must, the rest where given (fib_table_delete, ip6_route_del).
   * `said`: the metrics that an IPv4 route must have. `oneHop`: of an IPv6 route one next hop goes, whatever was asked of it
   * (fc_delete_all_nh), as with a gateway. Throws RouteError ESRCH if there is none.
   */
  deleteRoute(spec: RouteRequest, said?: SaidMetrics, oneHop = false): Route {
    const family = spec.family ?? 4
    if (family === 6 && spec.nexthops?.length) return this.#deleteEach(spec, spec.nexthops)
    const rt = this.of(family)
    const id = spec.table ?? tableFor(spec.type ?? RouteType.Unicast)
    if (!this.hasTable(family, id)) throw new RouteError('ESRCH', 'FIB table does not exist', true)
    const table = rt.tables.get(id)
    const from = spec.from?.prefixLength ? spec.from : null
    const { hit, refused } = firstMeant(table?.located(spec.dst, spec.prefixLength, from) ?? [], spec, said)
    if (table === undefined || hit === null) {
      // The root of an IPv6 table has an entry that may not be taken away (fib6_null_entry).
      const atRoot =
        family === 6 &&
        spec.prefixLength === 0 &&
        !table?.chain(spec.dst, 0).length &&
        !(from !== null && table?.hasSources(spec.dst, 0))
      const unowned = (spec.protocol ?? 'kernel') === 'kernel'
      if (
        atRoot &&
        unowned &&
        (!spec.gateway || sameWords(spec.gateway, NOWHERE)) &&
        !spec.metric &&
        (spec.device ?? this.devices.loopback).loopback
      )
        throw new RouteError('ENOENT', 'No such file or directory')
      throw new RouteError('ESRCH', refused ?? 'No such process', refused !== null)
    }
    if (family === 6 && hit.nexthops !== null && (spec.gateway || oneHop)) {
      const first = hit.nexthops.findIndex(
        (h) => (!spec.device || h.device === spec.device) && hasGateway(h, spec.gateway, family),
      )
      this.#alter(table, hit, siblings(hit, hit.nexthops.toSpliced(first, 1)))
    } else this.#take(rt, table, hit)
    this.changed(hit.accessed)
    return hit
  }

  /** ip6_route_multipath_del(): one next hop after the other; what the last one that is not there says is said. */
  #deleteEach(spec: RouteRequest, hops: readonly Nexthop[]): Route {
    let gone: Route | null = null
    let refusal: unknown = null
    for (const { device, gateway } of hops)
      try {
        gone = this.deleteRoute(
          {
            ...spec,
            nexthops: null,
            device: device ?? spec.device ?? null,
            gateway: gateway ?? spec.gateway ?? null,
          },
          undefined,
          true,
        )
      } catch (error) {
        refusal = error
      }
    if (refusal !== null || gone === null) throw refusal
    return gone
  }

  /** Those that `ip route show table all` prints, in its order; `table` undefined: of all of them. */
  routes(family: Family, table?: number): readonly Route[] {
    const rt = this.of(family)
    // By bucket (fib_table_hash), in each the youngest first.
    const ids =
      table === undefined ? [...rt.tables.keys()].reverse().sort((a, b) => (a & 0xff) - (b & 0xff)) : [table]
    return ids.flatMap((id) => [...(rt.tables.get(id)?.walk() ?? [])])
  }

  /** Whether a table has ever been made; main and local always are. */
  hasTable(family: Family, id: number): boolean {
    return id === Table.Main || id === Table.Local || this.of(family).tables.has(id)
  }

  /** fib_has_custom_rules(): local and main are tables of their own. */
  customRules(family: Family): boolean {
    return this.of(family).custom
  }

  /** Removes a route of routes(). */
  removeRoute(route: Route): void {
    const rt = this.of(route.family)
    const table = rt.tables.get(route.table)
    if (table !== undefined) this.#take(rt, table, route as RouteEntry)
    this.changed((route as RouteEntry).accessed)
  }

  /** Empties all tables of a family, those that follow from addresses included; addresses are not asked again. */
  flushRoutes(family: Family): void {
    const rt = this.of(family)
    rt.tables.clear()
    if (family === 6) this.ends.clear()
    rt.followed = false
    rt.customLocal = false
    rt.realms = 0
    this.changed()
  }

  /** Adds a policy rule (fib_nl_newrule). Throws RouteError. */
  addRule(spec: RuleSpec): Rule {
    const rt = this.of(spec.family ?? 4)
    const rule = checkedRule(rt.family, rt.rules, spec)
    if (rt.rules.some((r) => isThere(r, rule))) throw new RouteError('EEXIST', 'File exists')
    // fib6_rule_configure() makes the table, fib4_rule_configure() does not.
    if (rt.family === 6 && rule.action === 'lookup' && !rule.l3mdev) rt.table(rule.table ?? Table.Main)
    this.#attach(rule)
    const at = rt.rules.findIndex((r) => r.priority > rule.priority)
    rt.rules.splice(at < 0 ? rt.rules.length : at, 0, rule)
    // fib_unmerge(): from now on local and main are tables of their own, whatever rules there will be.
    rt.custom = true
    this.changed()
    return rule
  }

  /** The interfaces that it names, by any of their names. */
  #attach(rule: Rule): void {
    const device = (name: string | null | undefined): Device | undefined =>
      name ? this.devices.byAnyName(name) : undefined
    this.attached.set(rule, { iif: device(rule.iif), oif: device(rule.oif) })
  }

  /** Removes the first rule that has everything the spec says. Throws RouteError ENOENT if there is none. */
  deleteRule(spec: Partial<RuleSpec>): Rule {
    const rt = this.of(spec.family ?? 4)
    const at = rt.rules.findIndex((r) => answers(r, spec))
    if (at < 0) throw new RouteError('ENOENT', 'No such file or directory')
    const [gone] = rt.rules.splice(at, 1)
    this.#unmerge(rt)
    this.changed()
    return gone!
  }

  /** Removes a rule of rules(). */
  removeRule(rule: Rule): void {
    const rt = this.of(rule.family)
    const at = rt.rules.indexOf(rule)
    if (at < 0) throw new RouteError('ENOENT', 'No such file or directory')
    rt.rules.splice(at, 1)
    this.#unmerge(rt)
    this.changed()
  }

  /** A rule went: IPv6 looks at rules only once one has been added (fib6_has_custom_rules), whatever is left of its own. */
  #unmerge(rt: Routing): void {
    if (rt.family === 4) rt.custom = true
  }

  /** Replaces all rules of a family, as a captured host has them. */
  setRules(family: Family, specs: readonly RuleSpec[]): void {
    const rt = this.of(family)
    const usual = new Routing(family).rules
    rt.rules = specs
      .map((s) => checkedRule(rt.family, rt.rules, { ...s, family }))
      // What is not the kernel's own came by `ip rule`, which names no protocol.
      .map((r) => (usual.some((u) => sameRule(r, u)) ? r : { ...r, setBy: r.setBy ?? 'unspec' }))
      .sort((a, b) => a.priority - b.priority)
    for (const rule of rt.rules) this.#attach(rule)
    rt.custom ||=
      family === 4
        ? rt.rules.length !== usual.length || rt.rules.some((r, i) => !sameRule(r, usual[i]!))
        : rt.rules.some((r) => !usual.some((u) => sameRule(r, u)))
    this.changed()
  }

  /** By priority. */
  rules(family: Family): readonly Rule[] {
    return this.of(family).rules
  }

  /**
   * fib_table_insert(), fib6_add_rt2node(). Whether rtables are made anew: not where a route takes the place of one that
   * nobody has used, or of the same.
   */
  #insert(route: RouteEntry, mode: AddMode, verify: boolean, end: number | null): boolean {
    const rt = this.of(route.family)
    const table = rt.table(route.table)
    const beside = table
      .chain(route.dst, route.prefixLength, route.from)
      .filter((r) => r.tos === route.tos && r.metric === route.metric)
    const refuse = (code: RouteError['code'], why: string, told = false): never => {
      table.refused(route)
      throw new RouteError(code, why, told)
    }
    if (beside.length > 0) {
      if (mode === 'add') refuse('EEXIST', 'File exists')
      if (mode === 'replace' || mode === 'change') {
        const twin = beside.find((r) => sameRoute(r, route))
        if (route.family === 4 && twin !== undefined && twin !== beside[0])
          throw new RouteError('EEXIST', 'File exists')
        // IPv6: one that may share its traffic takes the place of one that may, any other of any other.
        const old =
          route.family === 4 ? beside[0]! : (beside.find((r) => shares(r) === shares(route)) ?? beside[0]!)
        if (route.family === 6) {
          // In its place (fib6_add_rt2node).
          this.ends.delete(old)
          table.replace(old, route, 'replaced')
          if (old.realm !== 0) rt.realms--
        } else {
          this.#take(rt, table, old)
          table.insert(route, true)
        }
        if (route.realm !== 0) rt.realms++
        if (twin !== old) return old.accessed
        route.accessed = old.accessed
        return false
      }
      if (route.family === 6) {
        const hops = hopsOf(route)
        // A captured route that has followed from an address already is that one.
        for (const r of beside)
          for (const h of hopsOf(r))
            if (r.derived && !verify && h.device === route.device && route.gateway === null) return false
            else if (hops.some((o) => o.device === h.device && sameWords(o.gateway, h.gateway))) {
              if (this.ends.has(r)) this.#renew(table, r, route.mtu, end)
              refuse('EEXIST', 'File exists')
            }
        const sharer = shares(route) ? beside.find(shares) : undefined
        if (sharer !== undefined) {
          this.#alter(table, sharer, siblings(sharer, [...hopsOf(sharer), ...hops]), 'joined')
          return false
        }
      } else if (beside.some((r) => sameRoute(r, route))) throw new RouteError('EEXIST', 'File exists')
    } else if (mode === 'change') {
      if (route.family === 6 && !table.hasNode(route))
        refuse('ENOENT', 'Can not replace route - no match found', true)
      refuse('ENOENT', 'No such file or directory')
    }
    table.insert(route, mode === 'prepend' && route.family === 4)
    if (route.realm !== 0) rt.realms++
    return route.family === 4
  }

  /** A route that ends by itself takes its end, and an MTU, from another just like it, which is refused. */
  #renew(table: RouteTable, old: RouteEntry, mtu: number, end: number | null): void {
    this.ends.delete(old)
    const renewed = mtu === 0 ? old : new RouteEntry({ ...old, mtu })
    if (renewed !== old) table.replace(old, renewed, 'reworded')
    this.setEnd(renewed, end)
    this.changed()
  }

  /** rt6_mtu_change_route(): the MTU of a device changes. */
  #followMtu6(device: Device): void {
    const { mtu } = device
    let altered = false
    for (const table of this.v6.tables.values())
      for (const route of table.list()) {
        if (route.mtu === 0 || route.mtu === mtu || !allThrough(route, device)) continue
        if (route.extras?.locked?.includes('mtu') === true || !followsMtu6(route.mtu, device)) continue
        this.#alter(table, route, new RouteEntry({ ...route, mtu }))
        altered = true
      }
    if (altered) this.changed()
  }

  /** The same IPv6 route in other words: it ends when it would have. */
  #alter(
    table: RouteTable,
    old: RouteEntry,
    route: RouteEntry,
    how: 'reworded' | 'joined' = 'reworded',
  ): void {
    table.replace(old, route, how)
    const end = this.ends.get(old)
    this.ends.delete(old)
    if (end !== undefined) this.ends.set(route, end)
  }

  #take(rt: Routing, table: RouteTable, route: RouteEntry): void {
    this.ends.delete(route)
    if (table.remove(route) && route.realm !== 0) rt.realms--
  }

  // -- routes that end by themselves

  /** IPv6 routes that expire: host.now, ms. */
  readonly ends = new Map<Route, number>()

  /** `end`: host.now at which the route goes; null: it stays. */
  setEnd(route: Route, end: number | null): void {
    if (end === null) this.ends.delete(route)
    else this.ends.set(route, end)
  }

  /** The route that leads to an address's prefix, if there is one. */
  prefixRoute6(device: Device, address: Address): Route | undefined {
    if (address.noPrefixRoute) return undefined
    const spec = derive6(device, address).findLast((s) => s.type === RouteType.Unicast)
    if (spec === undefined) return undefined
    return this.v6.tables
      .get(Table.Main)
      ?.chain(spec.dst, spec.prefixLength)
      .find((r) => r.device === device && r.metric === spec.metric && r.protocol === 'kernel')
  }

  /**
   * check_cleanup_prefix_route(): an address goes, or is to have no prefix route any more. The one that there is goes with
   * the last permanent address of its prefix; that of a mortal one ends by itself, and others stay.
   */
  #leavePrefix6(device: Device, gone: Address): void {
    if (!device.up || device.conf6.disabled || gone.noPrefixRoute) return
    this.#forgetPrefix6(device, gone)
    if (!isPermanent(gone)) return
    const { dst } = prefixOf6(device, gone)
    for (const other of device.addresses)
      if (
        other.family === 6 &&
        !sameWords(other.words, gone.words) &&
        other.prefixLength === gone.prefixLength &&
        sameWords(prefixOf6(device, other).dst, dst)
      )
        return
    const route = this.#onLink6(device, gone.words, gone.prefixLength)
    if (route !== undefined) this.removeRoute(route)
  }

  /** The prefix route of an address is no more its own: it may stay. What others of the device have is still theirs. */
  #forgetPrefix6(device: Device, address: Address): void {
    const text = describe(prefixOf6(device, address))
    const shared = device.addresses.some(
      (a) =>
        a.family === 6 &&
        !a.noPrefixRoute &&
        !sameWords(a.words, address.words) &&
        describe(prefixOf6(device, a)) === text,
    )
    if (!shared) this.#derived.get(device)?.delete(text)
  }

  /** inet6_addr_modify(), modify_prefix_route(): the route to the prefix follows the address, whoever else needs it. */
  #changePrefix6(device: Device, address: Address, old: Address): void {
    if (!device.up || device.conf6.disabled) return
    const had = isPermanent(old) && !old.noPrefixRoute
    if (address.noPrefixRoute) {
      if (had) this.#leavePrefix6(device, old)
      return
    }
    this.#forgetPrefix6(device, old)
    const have = this.#derived.get(device)
    const spec = prefixOf6(device, address)
    const there = had ? this.#onLink6(device, address.words, address.prefixLength) : undefined
    if (there !== undefined && there.metric === spec.metric) have?.set(describe(spec), there)
    else {
      have?.delete(describe(spec))
      if (there !== undefined) this.removeRoute(there)
    }
  }

  // -- what follows from addresses

  /** The host stands: from now on routes are made only for source addresses that it has. Before, they come in any order. */
  live = false
  /** The derived IPv6 routes of each device, as they stand in the tables. */
  readonly #derived = new Map<Device, Map<string, RouteEntry>>()
  /** Addresses whose check for duplicates has begun again. */
  readonly checks = new AddressChecks()
  /** Anycast addresses that have more users than addresses stand for (aca_users): their routes neither go nor come. */
  readonly #joinedForever = new Map<Device, Set<string>>()

  /**
   * addrconf_dad_completed() of the addresses whose check is over: routes that somebody took away come again, and a
   * subnet's anycast address is joined once more, though it is left but once. `now`: host.now.
   */
  finishChecks(now: number): void {
    this.checks.finish(now, (device, address) => {
      const have = this.#derived.get(device)
      for (const spec of derive6(device, address)) {
        const text = describe(spec)
        if (spec.type === RouteType.Anycast) {
          const joined = this.#joinedForever.get(device) ?? new Set<string>()
          this.#joinedForever.set(device, joined.add(text))
        } else if (spec.type === RouteType.Local || isPeer(address, spec)) {
          const route = have?.get(text)
          if (route !== undefined && !this.#stands(route)) have!.delete(text)
        }
      }
      this.#follow(device)
    })
  }

  #stands(route: RouteEntry): boolean {
    return this.of(route.family)
      .table(route.table)
      .chain(route.dst, route.prefixLength, route.from)
      .includes(route)
  }

  /** addrconf_prefix_route() and its kin for all IPv6 addresses of a device at once: what differs is changed. */
  #follow(device: Device): void {
    const wanted = new Map<string, RouteSpec>()
    for (const address of device.addresses)
      if (address.family === 6) for (const spec of derive6(device, address)) wanted.set(describe(spec), spec)
    const have = this.#derived.get(device) ?? new Map<string, RouteEntry>()
    if (device.up && !device.loopback && !device.conf6.disabled) {
      const spec = multicast6(device)
      const text = describe(spec)
      if (this.of(6).followed || have.has(text)) wanted.set(text, spec)
    }
    this.#derived.set(device, have)
    const forever = this.#joinedForever.get(device)
    for (const [text, route] of have) {
      if (wanted.has(text) || forever?.has(text)) continue
      have.delete(text)
      const rt = this.of(route.family)
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
      if (have.has(text) || forever?.has(text)) continue
      const route = this.#checker.make(spec, true, false)
      const table = this.of(route.family).table(route.table)
      const there = table.chain(route.dst, route.prefixLength)
      // The host folder listed it: it goes with its address all the same.
      const listed = there.find((r) => sameRoute(r, route) || sameAnycast(r, route))
      // fib6_add_rt2node(): whatever else leads there the same way keeps it out.
      const kept = there.some((r) => r.metric === route.metric && r.device === device && !r.gateway)
      if (listed === undefined && !kept) table.insert(route)
      have.set(text, listed ?? route)
    }
    this.changed()
  }

  /** inet6_addr_modify(): a route to a peer that is no more the address's stays behind, that to its prefix goes. */
  #leavePeer6(device: Device, address: Address, old: Address): void {
    if (!old.peer6 || sameWords(old.peer6, address.peer6 ?? null)) return
    this.#derived
      .get(device)
      ?.delete(describe(toPrefix6(device, old.peer6, 128, old.peerRoute ?? old.metric)))
    if (old.noPrefixRoute || !isPermanent(old)) return
    const route = this.#onLink6(device, old.peer6, old.prefixLength)
    if (route !== undefined) this.removeRoute(route)
  }

  /** inet6_addr_modify(): unlike a new address a changed one has a route to the prefix of its peer. */
  #followPeer6(device: Device, address: Address, old: Address): void {
    if (!address.peer6 || address.noPrefixRoute || !device.up || device.conf6.disabled) return
    const spec = toPrefix6(device, address.peer6, address.prefixLength, address.metric)
    const there = this.#onLink6(device, address.peer6, address.prefixLength)
    const end = endOf(address)
    if (there !== undefined && isPermanent(old) && !old.noPrefixRoute) {
      if (there.metric === spec.metric) {
        this.setEnd(there, end)
        return
      }
      this.removeRoute(there)
    }
    // ip6_route_add() of the kernel's own: only the same next hop is in the way.
    try {
      this.addRoute(spec, 'append', false, end)
    } catch (error) {
      if (!(error instanceof RouteError)) throw error
    }
  }

  /** The route to the peer of a new address has no end, and takes it from one just like it (fib6_add_rt2node). */
  #stayForPeer6(device: Device, address: Address): void {
    const spec = derive6(device, address).find((s) => s.type === RouteType.Unicast && isPeer(address, s))
    if (spec === undefined) return
    for (const route of this.v6.tables.get(Table.Main)?.chain(spec.dst, 128) ?? [])
      if (route.device === device && route.gateway === null && route.metric === spec.metric)
        this.setEnd(route, null)
  }

  /** addrconf_get_prefix_route(): the first route to a prefix through a device, without a gateway unless `any`. */
  #onLink6(device: Device, words: Words, prefixLength: number, any = false): RouteEntry | undefined {
    const { dst } = toPrefix6(device, words, prefixLength, 0)
    return this.v6.tables
      .get(Table.Main)
      ?.chain(dst, prefixLength)
      .find((r) => r.device === device && r.nexthops === null && (any || r.gateway === null))
  }

  /**
   * A new address puts back what somebody took away: the multicast route (addrconf_add_dev), those to its prefix and its
   * peer; but not the anycast address of its subnet, which is joined already.
   */
  #miss6(device: Device, address: Address): void {
    const have = this.#derived.get(device)
    if (have === undefined) return
    for (const spec of [multicast6(device), ...derive6(device, address)]) {
      const text = describe(spec)
      const route = have.get(text)
      if (route !== undefined && spec.type !== RouteType.Anycast && !this.#stands(route)) have.delete(text)
    }
  }

  /** fib_sync_down_addr(): routes that prefer an address that the host has no more. */
  sourceGone4(word: number): void {
    // Other tables keep theirs (fib_tb_id).
    this.#sweep(this.v4, (r) => r.table === Table.Main && r.source !== null && r.source[0] === word)
  }

  /** rt6_remove_prefsrc(): the routes stay, without their preferred source. */
  #forgetSource6(address: Address): void {
    if (this.#checker.owner6(address.words, null) !== null) return
    for (const table of this.v6.tables.values())
      for (const route of table.list())
        if (route.source !== null && sameWords(route.source, address.words))
          this.#alter(table, route, new RouteEntry({ ...route, source: null }))
    this.changed()
  }

  /** fib_find_info(): next hops that another route of the table has too are those, dead ones included. */
  #shareState(route: RouteEntry): void {
    const table = this.of(route.family).table(route.table)
    if (!this.#deaths || route.family !== 4 || route.paths === null || table.multipathRoutes === 0) return
    const twin = table.list().find((r) => r.paths !== null && sameRoute(r, route))
    if (twin === undefined) return
    for (const [i, path] of route.paths.entries()) {
      path.dead = twin.paths![i]!.dead
      path.ownAddress = twin.paths![i]!.ownAddress
    }
  }

  /** fib_sync_down_dev(), fib_sync_up(): next hops through the device die, or are chosen again. */
  #revive(device: Device, alive: boolean): void {
    for (const table of this.v4.tables.values())
      if (table.multipathRoutes > 0)
        for (const route of table.list())
          for (const path of route.paths ?? [])
            if (path.device === device) {
              path.dead = !alive
              this.#deaths ||= !alive
            }
  }

  /** fib6_ifdown(), fib6_ifup(). */
  #revive6(device: Device): void {
    for (const table of this.v6.tables.values())
      if (table.multipathRoutes > 0)
        for (const route of table.list())
          for (const path of route.paths ?? []) if (path.device === device) path.dead = !carries6(device)
  }

  /** fib_disable_ip(): routes through the device go, local ones stay. */
  #linkDown(device: Device): void {
    this.#sweep(this.v4, (r) => r.nexthopScope !== Scope.Nowhere && allThrough(r, device))
    this.#throughGone6(device)
  }

  #throughGone6(device: Device): void {
    this.#sweep(
      this.v6,
      (r) => allThrough(r, device),
      (table) => table.walk(),
    )
  }

  #deviceGone(device: Device): void {
    this.#derived.delete(device)
    this.checks.forgetDevice(device)
    this.#joinedForever.delete(device)
    for (const rt of [this.v4, this.v6]) this.#sweep(rt, (r) => allThrough(r, device))
    // fib6_ifdown(): of several next hops those through the device go one by one.
    for (const table of this.v6.tables.values())
      for (const r of table.list())
        if (r.nexthops?.some((h) => h.device === device))
          this.#alter(
            table,
            r,
            siblings(
              r,
              r.nexthops.filter((h) => h.device !== device),
            ),
          )
    this.forgetDevices()
  }

  #sweep(
    rt: Routing,
    gone: (r: RouteEntry) => boolean,
    routesOf = (table: RouteTable): Iterable<RouteEntry> => table.list(),
  ): void {
    for (const table of rt.tables.values())
      for (const route of routesOf(table))
        if (gone(route)) {
          this.#take(rt, table, route)
          if (route.derived && route.device !== null) {
            const have = this.#derived.get(route.device)
            for (const [text, r] of have ?? []) if (r === route) have!.delete(text)
          }
        }
    this.changed()
  }
}
