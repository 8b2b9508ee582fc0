// What makes two routes one, and which routes a request means (fib_nh_match, fib_metrics_match, rt6_qualify_for_ecmp).

import type { Device } from './devices.ts'
import { type Nexthop, type RouteMetric, RouteType, sameWords, type Words } from './route.ts'
import { RouteEntry } from './route-table.ts'

/** rt6_qualify_for_ecmp(): routes behind a gateway share the traffic of one prefix and metric. */
export const shares = (r: RouteEntry): boolean => r.nexthops !== null || r.gateway !== null

export const via6Of = (h: RouteEntry | Nexthop): Words | null =>
  (h instanceof RouteEntry ? h.extras?.via6 : h.via6) ?? null

/** Metrics as they were said, some twice: zero and '' are those that are not there; and names of locked ones. */
export interface SaidMetrics {
  readonly values: readonly RouteMetric[]
  readonly locked: readonly string[]
}

/** fib_metrics_match(). */
export function hasMetrics({ mtu, extras }: RouteEntry, { values, locked }: SaidMetrics): boolean {
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
