// IPv6 routes come and go with addresses as addrconf.c puts them in and takes them out (addrconf_prefix_route,
// addrconf_add_mroute, inet6_addr_modify, check_cleanup_prefix_route). fib-derive.ts says which an address brings,
// fib-addresses.ts has those of IPv4.

import { AddressChecks } from './address-checks.ts'
import type { Address, Device } from './devices.ts'
import type { Fib } from './fib.ts'
import type { RouteChecker } from './fib-check.ts'
import { derive6, describe, isPeer, multicast6, prefixOf6, toPrefix6 } from './fib-derive.ts'
import { endOf, isPermanent } from './lifetimes.ts'
import { type Route, RouteError, type RouteSpec, RouteType, sameWords, Table, type Words } from './route.ts'
import { sameAnycast, sameRoute } from './route-match.ts'
import type { RouteEntry } from './route-table.ts'
import { IPV6_MIN_MTU } from './wire/ipv6.ts'

export class AddressRoutes6 {
  readonly #fib: Fib
  readonly #checker: RouteChecker
  /** The derived routes of each device, as they stand in the tables. */
  readonly #derived = new Map<Device, Map<string, RouteEntry>>()
  /** Addresses whose check for duplicates has begun again. */
  readonly checks = new AddressChecks()
  /** Anycast addresses that have more users than addresses stand for (aca_users): their routes neither go nor come. */
  readonly #joinedForever = new Map<Device, Set<string>>()

  constructor(fib: Fib, checker: RouteChecker) {
    this.#fib = fib
    this.#checker = checker
  }

  // -- what happens

  /** An address has come, or come in the place of `old`. */
  added(device: Device, address: Address, old: Address | undefined): void {
    const before = this.#prefixRoute(device, address)
    if (old === undefined) this.#miss(device, address)
    else {
      this.#leavePeer(device, address, old)
      this.#changePrefix(device, address, old)
    }
    this.follow(device)
    this.#followLifetime(device, address, before, old)
    if (old === undefined) this.#stayForPeer(device, address)
    else this.#followPeer(device, address, old)
  }

  /** Addresses of a device that went down wait for it. */
  suspended(device: Device): void {
    for (const address of device.addresses) if (address.suspended) this.checks.forget(device, address)
    this.follow(device)
  }

  removed(device: Device, address: Address): void {
    this.checks.forget(device, address)
    this.#leavePrefix(device, address)
    // The route to its peer goes, whoever else has that peer.
    if (address.peer6 && device.up) {
      const route = this.#onLink(device, address.peer6, 128, true)
      if (route !== undefined) this.#fib.removeRoute(route)
    }
    this.follow(device)
    this.#leaveLifetime(device, address)
  }

  /** IPv6 begins or ends on a device, or forwards there. */
  ipv6Changed(device: Device): void {
    // ipv6_ac_destroy_dev(): too small an MTU for IPv6 takes it away altogether.
    if (device.conf6.disabled && device.mtu < IPV6_MIN_MTU) this.#joinedForever.delete(device)
    this.follow(device)
  }

  forgetDevice(device: Device): void {
    this.#derived.delete(device)
    this.checks.forgetDevice(device)
    this.#joinedForever.delete(device)
  }

  /** A route has gone with others of its device: it comes again with the next change of addresses or links. */
  forget(route: RouteEntry): void {
    if (!route.derived || route.device === null) return
    const have = this.#derived.get(route.device)
    for (const [text, r] of have ?? []) if (r === route) have!.delete(text)
  }

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
      this.follow(device)
    })
  }

  #stands(route: RouteEntry): boolean {
    return this.#fib
      .of(route.family)
      .table(route.table)
      .chain(route.dst, route.prefixLength, route.from)
      .includes(route)
  }

  /** addrconf_prefix_route() and its kin for all IPv6 addresses of a device at once: what differs is changed. */
  follow(device: Device): void {
    const wanted = new Map<string, RouteSpec>()
    for (const address of device.addresses)
      if (address.family === 6) for (const spec of derive6(device, address)) wanted.set(describe(spec), spec)
    const have = this.#derived.get(device) ?? new Map<string, RouteEntry>()
    if (device.up && !device.loopback && !device.conf6.disabled) {
      const spec = multicast6(device)
      const text = describe(spec)
      if (this.#fib.of(6).followed || have.has(text)) wanted.set(text, spec)
    }
    this.#derived.set(device, have)
    const forever = this.#joinedForever.get(device)
    for (const [text, route] of have) {
      if (wanted.has(text) || forever?.has(text)) continue
      have.delete(text)
      const stands = this.#fib.of(route.family).table(route.table).chain(route.dst, route.prefixLength)
      // A captured table has it in a form of its own.
      const own = stands.includes(route) ? route : stands.find((r) => sameRoute(r, route))
      if (own !== undefined) this.#fib.removeRoute(own)
    }
    for (const [text, spec] of wanted) {
      if (have.has(text) || forever?.has(text)) continue
      const route = this.#checker.make(spec, true, false)
      const table = this.#fib.of(route.family).table(route.table)
      const there = table.chain(route.dst, route.prefixLength)
      // The host folder listed it: it goes with its address all the same.
      const listed = there.find((r) => sameRoute(r, route) || sameAnycast(r, route))
      // fib6_add_rt2node(): whatever else leads there the same way keeps it out.
      const kept = there.some((r) => r.metric === route.metric && r.device === device && !r.gateway)
      if (listed === undefined && !kept) table.insert(route)
      have.set(text, listed ?? route)
    }
    this.#fib.changed()
  }

  // -- prefixes and their routes

  /** The route that leads to an address's prefix, if there is one. */
  #prefixRoute(device: Device, address: Address): Route | undefined {
    if (address.noPrefixRoute) return undefined
    const spec = derive6(device, address).findLast((s) => s.type === RouteType.Unicast)
    if (spec === undefined) return undefined
    return this.#fib
      .of(6)
      .tables.get(Table.Main)
      ?.chain(spec.dst, spec.prefixLength)
      .find((r) => r.device === device && r.metric === spec.metric && r.protocol === 'kernel')
  }

  /**
   * check_cleanup_prefix_route(): an address goes, or is to have no prefix route any more. The one that there is goes with
   * the last permanent address of its prefix; that of a mortal one ends by itself, and others stay.
   */
  #leavePrefix(device: Device, gone: Address): void {
    if (!device.up || device.conf6.disabled || gone.noPrefixRoute) return
    this.#forgetPrefix(device, gone)
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
    const route = this.#onLink(device, gone.words, gone.prefixLength)
    if (route !== undefined) this.#fib.removeRoute(route)
  }

  /** The prefix route of an address is no more its own: it may stay. What others of the device have is still theirs. */
  #forgetPrefix(device: Device, address: Address): void {
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
  #changePrefix(device: Device, address: Address, old: Address): void {
    if (!device.up || device.conf6.disabled) return
    const had = isPermanent(old) && !old.noPrefixRoute
    if (address.noPrefixRoute) {
      if (had) this.#leavePrefix(device, old)
      return
    }
    this.#forgetPrefix(device, old)
    const have = this.#derived.get(device)
    const spec = prefixOf6(device, address)
    const there = had ? this.#onLink(device, address.words, address.prefixLength) : undefined
    if (there !== undefined && there.metric === spec.metric) have?.set(describe(spec), there)
    else {
      have?.delete(describe(spec))
      if (there !== undefined) this.#fib.removeRoute(there)
    }
  }

  /**
   * An address has come, or come in the place of `old`; `before`: the route to its prefix that was there. A new one ends
   * with the address (addrconf_prefix_route), one that ends takes the new end, one for ever stays so (fib6_add_rt2node);
   * but what belonged to a permanent address is changed (modify_prefix_route).
   */
  #followLifetime(
    device: Device,
    address: Address,
    before: Route | undefined,
    old: Address | undefined,
  ): void {
    const route = this.#prefixRoute(device, address)
    if (route === undefined) return
    const owned = old !== undefined && isPermanent(old) && !old.noPrefixRoute
    // What leads to lo is made as what refuses, without an end (ip6_route_info_create).
    if (route !== before ? !device.loopback : owned || this.#fib.ends.has(route))
      this.#fib.setEnd(route, endOf(address))
  }

  /**
   * check_cleanup_prefix_route(): when a permanent address goes and only mortal ones are left in its prefix, the route
   * ends with the last of them.
   */
  #leaveLifetime(device: Device, gone: Address): void {
    if (!isPermanent(gone)) return
    const route = this.#prefixRoute(device, gone)
    if (route === undefined) return
    let last: number | null = null
    for (const other of device.addresses) {
      if (other.family !== 6 || this.#prefixRoute(device, other) !== route) continue
      const end = endOf(other)
      if (end === null) return
      last = Math.max(last ?? 0, end)
    }
    if (last !== null) this.#fib.setEnd(route, last)
  }

  // -- peers

  /** inet6_addr_modify(): a route to a peer that is no more the address's stays behind, that to its prefix goes. */
  #leavePeer(device: Device, address: Address, old: Address): void {
    if (!old.peer6 || sameWords(old.peer6, address.peer6 ?? null)) return
    this.#derived
      .get(device)
      ?.delete(describe(toPrefix6(device, old.peer6, 128, old.peerRoute ?? old.metric)))
    if (old.noPrefixRoute || !isPermanent(old)) return
    const route = this.#onLink(device, old.peer6, old.prefixLength)
    if (route !== undefined) this.#fib.removeRoute(route)
  }

  /** inet6_addr_modify(): unlike a new address a changed one has a route to the prefix of its peer. */
  #followPeer(device: Device, address: Address, old: Address): void {
    if (!address.peer6 || address.noPrefixRoute || !device.up || device.conf6.disabled) return
    const spec = toPrefix6(device, address.peer6, address.prefixLength, address.metric)
    const there = this.#onLink(device, address.peer6, address.prefixLength)
    const end = endOf(address)
    if (there !== undefined && isPermanent(old) && !old.noPrefixRoute) {
      if (there.metric === spec.metric) {
        this.#fib.setEnd(there, end)
        return
      }
      this.#fib.removeRoute(there)
    }
    // ip6_route_add() of the kernel's own: only the same next hop is in the way.
    try {
      this.#fib.addRoute(spec, 'append', false, end)
    } catch (error) {
      if (!(error instanceof RouteError)) throw error
    }
  }

  /** The route to the peer of a new address has no end, and takes it from one just like it (fib6_add_rt2node). */
  #stayForPeer(device: Device, address: Address): void {
    const spec = derive6(device, address).find((s) => s.type === RouteType.Unicast && isPeer(address, s))
    if (spec === undefined) return
    for (const route of this.#fib.of(6).tables.get(Table.Main)?.chain(spec.dst, 128) ?? [])
      if (route.device === device && route.gateway === null && route.metric === spec.metric)
        this.#fib.setEnd(route, null)
  }

  /** addrconf_get_prefix_route(): the first route to a prefix through a device, without a gateway unless `any`. */
  #onLink(device: Device, words: Words, prefixLength: number, any = false): RouteEntry | undefined {
    const { dst } = toPrefix6(device, words, prefixLength, 0)
    return this.#fib
      .of(6)
      .tables.get(Table.Main)
      ?.chain(dst, prefixLength)
      .find((r) => r.device === device && r.nexthops === null && (any || r.gateway === null))
  }

  /**
   * A new address puts back what somebody took away: the multicast route (addrconf_add_dev), those to its prefix and its
   * peer; but not the anycast address of its subnet, which is joined already.
   */
  #miss(device: Device, address: Address): void {
    const have = this.#derived.get(device)
    if (have === undefined) return
    for (const spec of [multicast6(device), ...derive6(device, address)]) {
      const text = describe(spec)
      const route = have.get(text)
      if (route !== undefined && spec.type !== RouteType.Anycast && !this.#stands(route)) have.delete(text)
    }
  }
}
