// Whole look-ups of IPv4 routes, remembered: direct-mapped, emptied by any change.
//
//     key ─▶ what rules and routes ask of it (Routing) ─▶ place ─▶ route, failure

import { type FlowKey, RouteFailure } from './route.ts'
import { type RouteEntry, TOS_MASK } from './route-table.ts'
import type { Routing } from './routing.ts'

const PLACES = 1024
/** Words of a key. */
const KEY = 8
const EMPTY = -1

export class RouteCache {
  readonly #keys = new Int32Array(PLACES * KEY)
  readonly #routes: (RouteEntry | null)[] = new Array(PLACES).fill(null)
  readonly #failures = new Int32Array(PLACES).fill(EMPTY)
  #generation = -1
  #devicesGeneration = -1
  /** Of the key last asked for. */
  #place = 0
  /** What find() found. */
  route: RouteEntry | null = null
  failure: RouteFailure = RouteFailure.None

  /** Nothing is remembered of other generations than these. */
  follow(generation: number, devicesGeneration: number): void {
    if (this.#generation === generation && this.#devicesGeneration === devicesGeneration) return
    this.#generation = generation
    this.#devicesGeneration = devicesGeneration
    this.#failures.fill(EMPTY)
    this.#routes.fill(null)
  }

  /** Whether the look-up is remembered: `route` and `failure` then are what it gave. Else keep() comes next. Does not allocate. */
  find(rt: Routing, key: FlowKey): boolean {
    const d0 = rt.blockOf(key.d0)
    const s0 = rt.asksSource ? key.s0 : 0
    const tos = rt.asksTos ? key.tos & TOS_MASK : 0
    const mark = rt.asksMark ? key.mark | 0 : 0
    const iif = rt.asksIif ? key.iif : 0
    const oif = key.oif
    let h = Math.imul(
      d0 ^ Math.imul(s0, 0x85ebca6b) ^ (oif << 8) ^ iif ^ (mark << 3) ^ (tos << 20),
      0x9e3779b1,
    )
    h = (h ^ (h >>> 16)) & (PLACES - 1)
    const keys = this.#keys
    const k = h * KEY
    if (
      keys[k] === d0 &&
      keys[k + 1] === s0 &&
      keys[k + 2] === oif &&
      keys[k + 3] === iif &&
      keys[k + 4] === mark &&
      keys[k + 5] === tos &&
      this.#failures[h] !== EMPTY
    ) {
      this.route = this.#routes[h]!
      this.failure = this.#failures[h] as RouteFailure
      return true
    }
    keys[k] = d0
    keys[k + 1] = s0
    keys[k + 2] = oif
    keys[k + 3] = iif
    keys[k + 4] = mark
    keys[k + 5] = tos
    this.#place = h
    return false
  }

  /** What the look-up gave that find() did not know. */
  keep(route: RouteEntry | null, failure: RouteFailure): void {
    this.#routes[this.#place] = route
    this.#failures[this.#place] = failure
  }
}
