// Path MTUs that this host was told of (rt6_exception, __ip6_rt_update_pmtu): by next hop and destination, until they
// expire. Unlike IPv4's they bind what the host passes on, too.

import type { Device } from '../devices.ts'
import type { Route, Words } from '../fib.ts'
import type { Host } from '../host.ts'
import { inPrefix, type RoutePrefix, type Sides } from '../route.ts'

/** Destinations remembered; the oldest is forgotten for a new one. */
const MOST = 8192

interface PathMtu {
  readonly words: Words
  readonly device: Device
  readonly gateway: Words | null
  /** Of the route. */
  readonly from: RoutePrefix | null
  /** On the link such a route knows it of this one source only (rt6i_src); null: of all. */
  readonly source: Words | null
  mtu: number
  /** host.now, ms. */
  readonly expires: number
}

/**
 * An MTU that was said of a way through `device` becomes that of the device, which changes: it was not below the new one, or
 * the device's old one, which conf6 has still, was all that bound it (rt6_mtu_change_route_allowed).
 */
export const followsMtu6 = (said: number, device: Device): boolean =>
  said >= device.mtu || said === device.conf6.mtu

export class PathMtus6 {
  readonly #host: Host
  /** By a hash of the destination: a later one of the same hash takes the place of an earlier one. */
  readonly #known = new Map<number, PathMtu>()

  constructor(host: Host) {
    this.#host = host
  }

  /** Nobody ever said anything: the usual case, worth one test per packet. */
  get empty(): boolean {
    return this.#known.size === 0
  }

  /** The MTU of a route between two addresses, 0 if none is known. */
  get(route: Route, key: Sides): number {
    const { d0, d1, d2, d3 } = key
    const known = this.#known.get(hash(d0, d1, d2, d3))
    if (known === undefined || this.#host.now >= known.expires) return 0
    const { words, source } = known
    if (!inPrefix(words, 128, d0, d1, d2, d3) || known.from !== route.from) return 0
    if (source !== null && !inPrefix(source, 128, key.s0, key.s1, key.s2, key.s3)) return 0
    return known.device === route.device && known.gateway === route.gateway ? known.mtu : 0
  }

  /** rt6_exceptions_update_pmtu(): the MTU of a device changes. */
  follow(device: Device): void {
    for (const known of this.#known.values())
      if (known.device === device && followsMtu6(known.mtu, device)) known.mtu = device.mtu
  }

  /** `mtu` was said of the way to the key's destination by `route`. `lifetime`: ms. */
  learn(route: Route, key: Sides, mtu: number, lifetime: number): void {
    const { d0, d1, d2, d3, s0, s1, s2, s3 } = key
    const h = hash(d0, d1, d2, d3)
    if (!this.#known.has(h) && this.#known.size >= MOST) this.#known.delete(this.#known.keys().next().value!)
    this.#known.set(h, {
      words: [d0, d1, d2, d3],
      device: route.device!,
      gateway: route.gateway,
      from: route.from,
      source: route.from !== null && route.gateway === null ? [s0, s1, s2, s3] : null,
      mtu,
      expires: this.#host.now + lifetime,
    })
  }
}

const hash = (d0: number, d1: number, d2: number, d3: number): number =>
  Math.imul(d0 ^ Math.imul(d1, 31) ^ Math.imul(d2, 961) ^ Math.imul(d3, 0x85ebca6b), 0x9e3779b1)
