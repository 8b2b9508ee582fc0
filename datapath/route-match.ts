// What makes two routes one, and which routes a request means (fib_nh_match, fib_metrics_match, rt6_qualify_for_ecmp).

import { type Device, Scope } from './devices.ts'
import type { Family } from './packet.ts'
import { type Nexthop, type RouteMetric, type RouteSpec, RouteType, sameWords, type Words } from './route.ts'
import { RouteEntry } from './route-table.ts'

/** rt6_qualify_for_ecmp(): routes behind a gateway share the traffic of one prefix and metric. */
export const shares = (r: RouteEntry): boolean => r.nexthops !== null || r.gateway !== null

const via6Of = (h: RouteEntry | Nexthop): Words | null =>
  (h instanceof RouteEntry ? h.extras?.via6 : h.via6) ?? null

/** Metrics as they were said, some twice: zero and '' are those that are not there; and names of locked ones. */
export interface SaidMetrics {
  readonly values: readonly RouteMetric[]
  readonly locked: readonly string[]
}

/** fib_metrics_match(). */
function hasMetrics({ mtu, extras }: RouteEntry, { values, locked }: SaidMetrics): boolean {
  for (const { name, value } of values) {
    const own = name === 'mtu' ? mtu : (extras?.metrics?.find((m) => m.name === name)?.value ?? 0)
    if (own !== (value || 0)) return false
  }
  return locked.length === 0 || locked.join() === (extras?.locked ?? []).join()
}

/** `::`. */
export const NOWHERE: Words = [0, 0, 0, 0]

export const hopsOf = (r: RouteEntry): readonly Nexthop[] =>
  r.nexthops ?? [
    {
      device: r.device!,
      gateway: r.gateway,
      weight: r.weight,
      ...(r.place === undefined ? {} : { place: r.place }),
      ...(r.extras?.onlink ? { onlink: true } : {}),
    },
  ]

/** An IPv6 route with other next hops. */
export function siblings(route: RouteEntry, hops: readonly Nexthop[]): RouteEntry {
  const one = hops.length === 1 ? hops[0]! : null
  const { onlink: _, ...shared } = route.extras ?? {}
  const extras = { ...(one?.onlink ? { onlink: true } : {}), ...shared }
  const made = new RouteEntry({
    ...route,
    extras: Object.keys(extras).length === 0 ? null : extras,
    nexthops: one === null ? hops : null,
    device: hops[0]!.device,
    gateway: one === null ? null : one.gateway,
    weight: one === null ? 1 : one.weight,
  })
  made.place = hops[0]!.place
  return made
}

/** A route to be taken away: its prefix, and what it must have besides. */
export type RouteRequest = Partial<RouteSpec> & Pick<RouteSpec, 'dst' | 'prefixLength'>

const isSaid = (own: Words | null, said: Words | null | undefined): boolean => !said || sameWords(own, said)

/** RTF_GATEWAY with `::` is what has no gateway. */
export const hasGateway = (
  { gateway }: RouteEntry | Nexthop,
  said: Words | null | undefined,
  family: Family,
): boolean => isSaid(gateway ?? (family === 6 ? NOWHERE : null), said)

function leadsThrough(r: RouteEntry, { device, gateway, extras, realm }: RouteRequest): boolean {
  if (!device && !gateway && !extras?.via6) return true
  // fib_nh_match() looks at the first next hop alone, ip6_route_del() at each.
  const hops = r.nexthops === null ? [r] : r.family === 4 ? [r.nexthops[0]!] : r.nexthops
  return hops.some(
    (h) =>
      (!device || h.device === device) &&
      hasGateway(h, gateway, r.family) &&
      isSaid(via6Of(h), extras?.via6) &&
      (r.family === 6 || !realm || h.realm === realm),
  )
}

/** All that is said of a route but a list of next hops. */
function hasAll(r: RouteEntry, spec: RouteRequest, said: SaidMetrics | undefined): boolean {
  if (spec.metric && r.metric !== spec.metric) return false
  if (spec.protocol !== undefined && r.protocol !== spec.protocol) return false
  if (!leadsThrough(r, spec)) return false
  if (r.family === 6) return true
  const { type, scope = Scope.Nowhere } = spec
  return (
    r.tos === (spec.tos ?? 0) &&
    (type === undefined || r.type === type) &&
    (scope === Scope.Nowhere || r.scope === scope) &&
    isSaid(r.source, spec.source) &&
    (said === undefined || hasMetrics(r, said))
  )
}

/**
 * fib_nh_match() of an IPv4 route: whether its next hops begin those of a request, which are not looked at beyond; RTA_VIA
 * fits what has no gateway. Text: what one of those is refused with.
 */
function areHops(r: RouteEntry, hops: readonly Nexthop[]): boolean | string {
  const own = hopsOf(r)
  if (own.length > hops.length) return false
  for (const [i, o] of own.entries()) {
    const { device, gateway, via6, realm, refused } = hops[i]!
    if (device && device !== o.device) return false
    if (refused !== undefined) return refused
    const own6 = (r.nexthops === null ? r.extras?.via6 : o.via6) ?? null
    if (!isSaid(o.gateway, gateway)) return false
    if (!isSaid(own6, via6) && (o.gateway || own6)) return false
    if (realm && (r.nexthops === null ? r : o).realm !== realm) return false
  }
  return true
}

/**
 * The first of some routes of a prefix that a request for it means (fib_table_delete, ip6_route_del). `refused`: what the
 * kernel said last of a next hop, as it compared those.
 */
export function firstMeant(
  routes: readonly RouteEntry[],
  spec: RouteRequest,
  said: SaidMetrics | undefined,
): { readonly hit: RouteEntry | null; readonly refused: string | null } {
  // Beside a device or a gateway a list of next hops is not looked at.
  const hops = spec.device || spec.gateway || spec.extras?.via6 ? null : spec.nexthops
  let refused: string | null = null
  for (const hit of routes) {
    if (!hasAll(hit, spec, said)) continue
    const found = hops ? areHops(hit, hops) : true
    if (found === true) return { hit, refused }
    if (found !== false) refused = found
  }
  return { hit: null, refused }
}

export function allThrough(route: RouteEntry, device: Device): boolean {
  return route.paths === null
    ? route.device === device
    : route.paths.every((p) => p.dead || p.device === device)
}

/** The same fib_info, type and scope. */
export function sameRoute(a: RouteEntry, b: RouteEntry): boolean {
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
    a.weight === b.weight &&
    (a.nexthops?.length ?? 0) === (b.nexthops?.length ?? 0) &&
    (a.nexthops ?? []).every((h, i) => {
      const o = b.nexthops![i]!
      return (
        h.device === o.device &&
        h.weight === o.weight &&
        sameWords(h.gateway, o.gateway) &&
        sameWords(h.via6 ?? null, o.via6 ?? null) &&
        (h.realm ?? 0) === (o.realm ?? 0) &&
        (h.onlink ?? false) === (o.onlink ?? false)
      )
    }) &&
    JSON.stringify(a.extras) === JSON.stringify(b.extras)
  )
}

/** An anycast address of the same device, whatever else a captured table says of it. */
export const sameAnycast = (a: RouteEntry, b: RouteEntry): boolean =>
  a.type === RouteType.Anycast && b.type === RouteType.Anycast && a.device === b.device
