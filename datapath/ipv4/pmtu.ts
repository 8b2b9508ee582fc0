// Path MTUs that this host was told of (fib_nh_exception, __ip_rt_update_pmtu): by next hop and destination, until
// they expire. They bind what the host sends; what it forwards only if locked, or with ip_forward_use_pmtu.

import type { Device } from '../devices.ts'
import type { Route, Words } from '../fib.ts'
import type { Host } from '../host.ts'

/** Destinations remembered; the oldest is forgotten for a new one. */
const MOST = 8192

interface PathMtu {
  device: Device
  gateway: Words | null
  mtu: number
  /** It was said to be below min_pmtu: the MTU stays at that, and nothing lowers it further. */
  locked: boolean
  /** host.now, ms. */
  expires: number
}

export class PathMtus {
  /** Nobody ever said anything: the usual case, worth one test per packet. */
  empty = true
  readonly #host: Host
  /** By destination word. */
  readonly #known = new Map<number, PathMtu>()

  constructor(host: Host) {
    this.#host = host
  }

  /** The MTU of a route to a destination, 0 if none is known. `lockedOnly`: only one that is locked. */
  get(route: Route, d0: number, lockedOnly: boolean): number {
    const known = this.#known.get(d0)
    if (known === undefined || this.#host.now >= known.expires) return 0
    if (known.device !== route.device || known.gateway !== route.gateway) return 0
    return lockedOnly && !known.locked ? 0 : known.mtu
  }

  /** __ip_rt_update_pmtu(): `mtu` was said, `old` is what holds now. Times in ms. */
  update(route: Route, d0: number, mtu: number, old: number, least: number, lifetime: number): void {
    const { now } = this.#host
    const before = this.#known.get(d0)
    const same = before !== undefined && before.device === route.device && before.gateway === route.gateway
    if (same && before.locked && now < before.expires) return
    if (old < mtu) return
    const locked = mtu < least
    if (before === undefined && this.#known.size >= MOST) this.#known.delete(this.#known.keys().next().value!)
    this.empty = false
    this.#known.set(d0, {
      device: route.device!,
      gateway: route.gateway,
      mtu: locked ? Math.min(old, least) : mtu,
      locked,
      expires: now + lifetime,
    })
  }
}
