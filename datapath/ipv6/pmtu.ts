// Path MTUs that this host was told of (rt6_exception, __ip6_rt_update_pmtu): by next hop and destination, until they
// expire. Unlike IPv4's they bind what the host passes on, too.

import type { Device } from '../devices.ts'
import type { Route, Words } from '../fib.ts'

/** Destinations remembered; the oldest is forgotten for a new one. */
const MOST = 8192

interface PathMtu {
  readonly words: Words
  readonly device: Device
  readonly gateway: Words | null
  mtu: number
  /** host.now, ms. */
  readonly expires: number
}

export class PathMtus6 {
  /** By a hash of the destination: a later one of the same hash takes the place of an earlier one. */
  readonly #known = new Map<number, PathMtu>()

  /** Nobody ever said anything: the usual case, worth one test per packet. */
  get empty(): boolean {
    return this.#known.size === 0
  }

  /** The MTU of a route to a destination, 0 if none is known. `now`: ms. */
  get(route: Route, d0: number, d1: number, d2: number, d3: number, now: number): number {
    const known = this.#known.get(hash(d0, d1, d2, d3))
    if (known === undefined || now >= known.expires) return 0
    const [w0, w1, w2, w3] = known.words
    if (w3 !== d3 || w2 !== d2 || w1 !== d1 || w0 !== d0) return 0
    return known.device === route.device && known.gateway === route.gateway ? known.mtu : 0
  }

  /** rt6_exceptions_update_pmtu(): the device's MTU is about to be conf6's; what it does not exceed, or was all that bound, follows. */
  follow(device: Device): void {
    const { mtu, conf6 } = device
    for (const known of this.#known.values())
      if (known.device === device && (known.mtu >= mtu || known.mtu === conf6.mtu)) known.mtu = mtu
  }

  /** `mtu` was said of the way to `words` by `route`. Times in ms. */
  learn(route: Route, words: Words, mtu: number, now: number, lifetime: number): void {
    const h = hash(words[0], words[1], words[2], words[3])
    if (!this.#known.has(h) && this.#known.size >= MOST) this.#known.delete(this.#known.keys().next().value!)
    this.#known.set(h, {
      words,
      device: route.device!,
      gateway: route.gateway,
      mtu,
      expires: now + lifetime,
    })
  }
}

const hash = (d0: number, d1: number, d2: number, d3: number): number =>
  Math.imul(d0 ^ Math.imul(d1, 31) ^ Math.imul(d2, 961) ^ Math.imul(d3, 0x85ebca6b), 0x9e3779b1)
