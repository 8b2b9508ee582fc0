// What `ip route add` may ask for: the checks of fib_create_info() and ip6_route_info_create(), and the route that
// comes out of them. A gateway has to be on a link; which one, the tables say.

import type { Devices } from './device-table.ts'
import { type Device, ipv6Begun, isTentative, Scope } from './devices.ts'
import type { FibLookup } from './fib-lookup.ts'
import type { Family } from './packet.ts'
import {
  type FlowKey,
  isJoined,
  maskedWords,
  type Nexthop,
  newFlowKey,
  RouteError,
  type RouteExtras,
  type RouteSpec,
  RouteType,
  sameWords,
  Table,
  tableFor,
  type Words,
} from './route.ts'
import { isErrorType, isReject6, RouteEntry } from './route-table.ts'

/** fib_props[].scope: the widest scope that each type may have. */
const LEAST_SCOPE = [255, 0, 254, 253, 253, 0, 0, 0, 0, 0, 255, 255]
/** RTN_MAX */
const XRESOLVE = 11

function scopeOf(spec: RouteSpec): number {
  const type = spec.type ?? RouteType.Unicast
  if (spec.scope !== undefined) return spec.scope
  if (type === RouteType.Local || type === RouteType.Nat) return Scope.Host
  if (type === RouteType.Broadcast || type === RouteType.Multicast || type === RouteType.Anycast)
    return Scope.Link
  return type === RouteType.Unicast && !spec.gateway && !spec.nexthops?.length ? Scope.Link : Scope.Universe
}

function hostBitsClear(w: Words, length: number): boolean {
  return w.every((word, i) => {
    const bits = length - i * 32
    return bits >= 32 || (bits <= 0 ? word === 0 : (word & ~(-1 << (32 - bits))) === 0)
  })
}

/** fib_check_nh_v6_gw(): the gateway of an IPv4 route is looked at as one of IPv6. */
const behind6 = (spec: RouteSpec): RouteSpec => ({ ...spec, family: 6, table: Table.Main, source: null })

/** What an IPv4 route is refused with for a gateway of its next hops, null if they are good (fib_create_info, fib_get_nhs). */
const refusedHop = (spec: RouteSpec): string | null =>
  invalidScope(spec) === null ? (spec.nexthops?.find((h) => h.refused !== undefined)?.refused ?? null) : null

/** What an IPv4 route is refused with for its type and scope alone, null if they fit (fib_create_info). */
export function invalidScope(spec: RouteSpec): string | null {
  const type = spec.type ?? RouteType.Unicast
  if (type > XRESOLVE) return 'Invalid route type'
  return LEAST_SCOPE[type]! > scopeOf(spec) ? 'Invalid scope' : null
}

/** One next hop alone is the route's own; of several each has its own gateway. */
function extrasOf({ extras }: RouteSpec, hops: readonly Nexthop[] | null): RouteExtras | null {
  if (hops === null) return extras ?? null
  const { via6: _, ...common } = extras ?? {}
  if (hops.length > 1) return extras ? common : null
  const { onlink: __, ...shared } = common
  const { onlink = false, via6 } = hops[0]!
  // In the order of what is said without a next hop: sameRoute() compares the text.
  const own = { ...(onlink ? { onlink } : {}), ...(via6 ? { via6 } : {}), ...shared }
  return Object.keys(own).length === 0 ? null : own
}

function keyTo(family: Family, to: Words, source: Words | null): FlowKey {
  const key = newFlowKey()
  key.family = family
  ;[key.d0, key.d1, key.d2, key.d3] = to
  if (source !== null) [key.s0, key.s1, key.s2, key.s3] = source
  return key
}

/** An ifindex that no device has. */
const NOWHERE = -1

export class RouteChecker {
  readonly #fib: FibLookup
  readonly #devices: Devices

  constructor(fib: FibLookup, devices: Devices) {
    this.#fib = fib
    this.#devices = devices
  }

  /** The route that a spec asks for. `verify`: as the kernel checks it; without, routes may come in any order. */
  make(spec: RouteSpec, derived: boolean, verify: boolean): RouteEntry {
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
    const hops = spec.nexthops?.length
      ? spec.nexthops.map((h) => {
          if (h.via6 && !h.device) return { ...h, device: this.#egress6(behind6(spec), h.via6, null, false) }
          if (isErrorType(type) || h.gateway === null || (h.device && (!verify || family === 6))) return h
          const via = this.#onLink(family, h.gateway, h.device, spec, h.onlink)
          const scope = family === 4 && !h.onlink ? via.scope : Scope.Link
          return { ...h, device: h.device ?? via.device!, ...(scope === Scope.Link ? {} : { scope }) }
        })
      : null
    const via6 = hops === null ? spec.extras?.via6 : hops.length === 1 ? hops[0]!.via6 : undefined
    // One next hop alone is the route's own.
    const only = hops?.length === 1 ? hops[0]! : null
    const nexthops = only === null ? hops : null
    const gateway = only !== null ? only.gateway : hops === null ? (spec.gateway ?? null) : null
    const onlink = only === null ? (spec.extras?.onlink ?? false) : (only.onlink ?? false)
    const extras = extrasOf(spec, hops)
    let device = hops === null ? (spec.device ?? null) : hops[0]!.device
    if (via6 && device === null) device = this.#egress6(behind6(spec), via6, null, false)
    let nexthopScope: number = gateway === null && !via6 ? Scope.Host : Scope.Link
    if (isErrorType(type)) {
      device = family === 6 ? this.#devices.loopback : null
      nexthopScope = Scope.Nowhere
    } else if (gateway !== null && (device === null || (verify && family === 4))) {
      const via = this.#onLink(family, gateway, device, spec, onlink)
      nexthopScope = family === 4 && !onlink ? via.scope : Scope.Link
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
      from: spec.from?.prefixLength
        ? { ...spec.from, words: maskedWords(spec.from.words, spec.from.prefixLength) }
        : null,
      table: spec.table ?? tableFor(type),
      tos: spec.tos ?? 0,
      // IP6_RT_PRIO_USER.
      metric: spec.metric || (family === 6 && !derived && (verify || !followsAddress(spec)) ? 1024 : 0),
      scope,
      protocol: spec.protocol ?? 'boot',
      device,
      gateway: isErrorType(type) ? null : gateway,
      source: spec.source ?? null,
      mtu: spec.mtu ?? 0,
      realm: only?.realm ?? spec.realm ?? 0,
      nexthops,
      nexthopScope,
      weight: only?.weight ?? 1,
      extras,
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
    // ip6_nh_lookup_table() asks from the preferred source, fib6_lookup() from nowhere.
    const key = keyTo(family, gateway, family === 6 ? (spec.source ?? null) : null)
    key.oif = device?.index ?? 0
    // Of IPv6 the question comes in nowhere, by lo neither, as rules see it.
    if (family === 6) key.iif = NOWHERE
    const scope = Math.max(scopeOf(spec) + 1, Scope.Link)
    const table = spec.table ?? tableFor(spec.type ?? RouteType.Unicast)
    const fits = (via: RouteEntry | null): via is RouteEntry =>
      via !== null &&
      (family === 4
        ? via.type === RouteType.Unicast || via.type === RouteType.Local
        : !isReject6(via) &&
          via.gateway === null &&
          !via.nexthops?.[0]?.gateway &&
          (device === null || via.uses(device)))
    if (onlink && device !== null) return this.#fib.special(RouteType.Unicast, device)
    let via: RouteEntry | null = null
    this.#fib.freshNames()
    this.#fib.leastScope = family === 4 ? scope : 0
    try {
      if (family === 6 || table !== Table.Main) {
        const own = this.#fib.of(family).tables.get(table)
        via = own === undefined ? null : this.#fib.ask(this.#fib.of(family), table, key)
      }
      if (via === null || (family === 6 && !fits(via))) {
        key.s0 = key.s1 = key.s2 = key.s3 = 0
        via = this.#fib.finish(this.#fib.walk(this.#fib.of(family), key))
      }
    } finally {
      this.#fib.leastScope = 0
    }
    if (fits(via)) {
      if (family === 4 && !(device ?? via.device)?.up) throw new RouteError('ENETDOWN', 'Network is down')
      return via
    }
    if (family === 6) throw new RouteError('EHOSTUNREACH', 'No route to host')
    throw new RouteError(via === null ? 'ENETUNREACH' : 'EINVAL', 'Nexthop has invalid gateway.', true)
  }

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
            ...(spec.extras?.via6 ? { via6: spec.extras.via6 } : {}),
          },
        ]
    if (family === 4) {
      const scope = scopeOf(spec)
      const invalid = invalidScope(spec)
      if (invalid !== null) fail(invalid)
      const first = spec.nexthops?.[0]
      const refused = refusedHop(spec)
      if (refused !== null) fail(refused)
      if (first) {
        if (spec.device && first.device?.index !== spec.device.index)
          fail('Nexthop device index does not match RTA_OIF')
        const via6 = spec.extras?.via6 ?? null
        if (
          (spec.gateway && !sameWords(first.gateway, spec.gateway)) ||
          (via6 !== null && !sameWords(first.via6 ?? null, via6))
        )
          fail('Nexthop gateway does not match RTA_GATEWAY or RTA_VIA')
        if (spec.realm && first.realm !== spec.realm) fail('Nexthop class id does not match RTA_FLOW')
      }
      if (isErrorType(type)) {
        if (spec.gateway || spec.extras?.via6 || spec.device || spec.nexthops?.length)
          fail('Gateway, device and multipath can not be specified for this route type')
      } else {
        if (type === RouteType.Unspec || type === RouteType.Nat) fail('Invalid route type')
        if (scope > Scope.Host) fail('Invalid scope')
        if (scope === Scope.Host) {
          if (hops.length > 1) fail('Route with host scope can not have multiple nexthops')
          if (hops[0]!.gateway || hops[0]!.via6) fail('Route with host scope can not have a gateway')
          if (this.#there(hops[0]!.device) === null) throw new RouteError('ENODEV', 'No such device')
        } else for (const hop of hops) this.#verifyHop4(spec, hop, scope)
      }
      if (spec.source && !isErrorType(type)) {
        const [w] = spec.source
        const itself = type === RouteType.Local && w === spec.dst[0] && spec.dst[0] !== 0
        if (!itself && this.#fib.addressType(4, w, 0, 0, 0, 0) !== RouteType.Local)
          fail('Invalid prefsrc address')
      }
      return
    }
    const refused = isErrorType(type)
    const seen: Nexthop[] = []
    for (const hop of hops) {
      const device = this.#verifyHop6(spec, hop)
      if (spec.source && this.owner6(spec.source, device ?? this.#devices.loopback) === null)
        fail('Invalid source address')
      // rt6_duplicate_nexthop(), before the next one is looked at: all that refuse are of lo.
      const gateway = refused ? null : (hop.gateway ?? null)
      if (seen.some((o) => o.device === device && sameWords(o.gateway, gateway)))
        throw new RouteError('EEXIST', 'File exists')
      seen.push({ device: device!, gateway, weight: 1 })
    }
  }

  #verifyHop4(spec: RouteSpec, hop: Partial<Nexthop>, scope: number): void {
    const device = this.#there(hop.device)
    if (hop.via6) {
      this.#verifyHop6(behind6(spec), { ...hop, gateway: hop.via6 })
      return
    }
    if (!hop.gateway) {
      if (hop.onlink)
        throw new RouteError(
          'EINVAL',
          'Invalid flags for nexthop - PERVASIVE and ONLINK can not be set',
          true,
        )
      if (device === null || device.mtu < 68) throw new RouteError('ENODEV', 'No such device')
      if (!device.up) throw new RouteError('ENETDOWN', 'Device for nexthop is not up', true)
      return
    }
    if (hop.onlink) {
      if (scope >= Scope.Link) throw new RouteError('EINVAL', 'Nexthop has invalid scope', true)
      if (device === null) throw new RouteError('ENODEV', 'Nexthop device required for onlink', true)
      if (!device.up) throw new RouteError('ENETDOWN', 'Nexthop device is not up', true)
      if (this.#fib.addressType(4, hop.gateway[0], 0, 0, 0, 0) !== RouteType.Unicast)
        throw new RouteError('EINVAL', 'Nexthop has invalid gateway', true)
      return
    }
    this.#onLink(4, hop.gateway, hop.device ?? null, spec)
  }

  /** dev_get_by_index(): null if none of that number is there. */
  #there(asked: Device | null | undefined): Device | null {
    return asked == null ? null : (this.#devices.byIndex[asked.index] ?? null)
  }

  /** fib6_nh_init(): the device that packets for the next hop leave through; null: the route refuses them. */
  #verifyHop6(spec: RouteSpec, hop: Partial<Nexthop>): Device | null {
    const fail = (why: string, code: RouteError['code'] = 'EINVAL'): never => {
      throw new RouteError(code, why, true)
    }
    const given = hop.device ?? null
    // Its inet6_dev comes first, and a device that is not there has none.
    if (given !== null && !ipv6Begun(given)) throw new RouteError('ENODEV', 'No such device')
    if (hop.onlink && given === null) fail('Nexthop device required for onlink', 'ENODEV')
    if (hop.onlink && !given!.up) fail('Nexthop device is not up', 'ENETDOWN')
    if (isErrorType(spec.type ?? RouteType.Unicast)) return null
    const device = hop.gateway ? this.#egress6(spec, hop.gateway, given, hop.onlink ?? false) : given
    if (device === null || !ipv6Begun(device)) throw new RouteError('ENODEV', 'No such device')
    if (device.conf6.disabled) fail('IPv6 is disabled on nexthop device', 'EACCES')
    if (!device.up) fail('Nexthop device is not up', 'ENETDOWN')
    return device
  }

  /** ip6_validate_gw(): the device that a gateway is behind. Throws RouteError. */
  #egress6(spec: RouteSpec, gateway: Words, given: Device | null, onlink: boolean): Device {
    const fail = (why: string): never => {
      throw new RouteError('EINVAL', why, true)
    }
    const linkLocal = gateway[0] >>> 22 === 0x3fa
    const isOwn = (device: Device): boolean => this.owner6(gateway, linkLocal ? device : null, true) !== null
    if (given !== null && isOwn(given)) fail('Gateway can not be a local address')
    let device = given
    if (!linkLocal) {
      if (gateway[0] >>> 24 === 0xff || gateway.every((w) => w === 0)) fail('Invalid gateway address')
      if (onlink) this.#onLinkDevice6(gateway, given!, spec.source ?? null)
      else device = this.#onLink(6, gateway, given, spec).device
    }
    if (device === null) return fail('Egress device not specified')
    if (device.loopback) fail('Egress device can not be loopback device for this route')
    if (given === null && isOwn(device)) fail('Gateway can not be a local address')
    return given ?? device
  }

  /** ip6_route_check_nh_onlink(): what the main table says of the gateway, but for its default route, must agree. */
  #onLinkDevice6(gateway: Words, device: Device, source: Words | null): void {
    const main = this.#fib.of(6).tables.get(Table.Main)
    const hit = main?.select6(keyTo(6, gateway, source), device.index, false) ?? null
    if (hit === null || isReject6(hit) || hit.prefixLength === 0) return
    if (hit.type !== RouteType.Unicast || !hit.uses(device))
      throw new RouteError('EINVAL', 'Nexthop has invalid gateway or device mismatch', true)
  }

  /**
   * ipv6_chk_addr(): the device that has an address, `device` if it is given; null if none has. `tentative`: one that is
   * tentative counts too.
   */
  owner6(words: Words, device: Device | null, tentative = false): Device | null {
    for (const d of this.#devices.all())
      for (const a of d.addresses)
        if (a.family === 6 && sameWords(a.words, words) && (tentative || !isTentative(a)))
          if (device === null || d === device || (a.scope !== Scope.Link && a.scope !== Scope.Host))
            // Not strict: an address of a wide scope counts wherever it stands.
            return d
    return null
  }
}

/** addrconf_f6i_alloc(): what the kernel makes of an address has metric 0, as a captured table says. */
const followsAddress = (spec: RouteSpec): boolean =>
  isJoined(spec) || (spec.protocol === 'kernel' && spec.type === RouteType.Local)
