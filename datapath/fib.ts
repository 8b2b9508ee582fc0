// The FIB of the host: fib-lookup.ts answers, this changes what stands in it. As net/ipv4/fib_frontend.c, fib_trie.c,
// fib_rules.c, net/ipv6/ip6_fib.c and addrconf.c (6.18).
//
//     ip route, ip rule ──▶ fib-check ──▶ tables and rules ◀── fib-addresses ◀── addresses, links
//                                               │
//     packets ──▶ fib-lookup ───────────────────┘

import type { Devices } from './device-table.ts'
import { type Address, type Device, Scope } from './devices.ts'
import { addAddressRoutes, changePrefixMetric, removeAddressRoutes } from './fib-addresses.ts'
import { AddressRoutes6 } from './fib-addresses6.ts'
import { RouteChecker } from './fib-check.ts'
import { FibLookup } from './fib-lookup.ts'
import { followsMtu6 } from './ipv6/pmtu.ts'
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
} from './route.ts'
import {
  allThrough,
  firstMeant,
  hasGateway,
  hopsOf,
  NOWHERE,
  type RouteRequest,
  type SaidMetrics,
  sameRoute,
  shares,
  siblings,
} from './route-match.ts'
import { carries6, isErrorType, RouteEntry, type RouteTable } from './route-table.ts'
import { Routing } from './routing.ts'
import type { Ipv4Conf } from './tunables-ipv4.ts'

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
  /** The routes that follow from IPv6 addresses. */
  readonly addresses6: AddressRoutes6
  /** The host stands: from now on routes are made only for source addresses that it has. Before, they come in any order. */
  live = false
  /** A next hop has died once: from then on routes that come may have dead ones. */
  #deaths = false

  /** Follows the addresses and links of `devices` from now on (fib_inetaddr_event, fib_netdev_event). */
  constructor(devices: Devices, memory: FrameMemory, conf: Ipv4Conf) {
    super(devices, memory, conf)
    this.#checker = new RouteChecker(this, devices)
    this.addresses6 = new AddressRoutes6(this, this.#checker)
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
        this.addresses6.added(device, address, old)
      },
      addressesSuspended: (device) => this.addresses6.suspended(device),
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
        this.addresses6.removed(device, address)
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
        this.addresses6.follow(device)
      },
      deviceAdded: (device) => this.addresses6.follow(device),
      ipv6Changed: (device, turn) => {
        this.#revive6(device)
        // rt6_disable_ip(): whatever leads through the device goes.
        if (turn === 'ends') this.#throughGone6(device)
        this.addresses6.ipv6Changed(device)
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
    this.addresses6.forgetDevice(device)
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
          this.addresses6.forget(route)
        }
    this.changed()
  }
}
