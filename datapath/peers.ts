// What is remembered of the hosts we send errors to (inet_peer): their token bucket, shared by routing errors,
// ICMP rate limits and redirects, as in the kernel. A fixed table, four places per hash: when all are taken the
// one that was quiet longest is forgotten. The kernel forgets too, after two to ten minutes without use.

import type { Host } from './host.ts'

const SETS = 4096
const WAYS = 4
const KEY = 5

/** Tokens are milliseconds: a bucket fills by one a millisecond. */
export class Peers {
  /** inet_peer.rate_tokens, by place. */
  readonly tokens = new Float64Array(SETS * WAYS)
  /** inet_peer.rate_last, ms of host.now. */
  readonly last = new Float64Array(SETS * WAYS).fill(Number.NEGATIVE_INFINITY)
  /** inet_peer.n_redirects. */
  readonly redirects = new Int32Array(SETS * WAYS)
  readonly #host: Host
  readonly #keys = new Int32Array(SETS * WAYS * KEY)

  constructor(host: Host) {
    this.#host = host
  }

  /**
   * Place of a host's address (inet_getpeer): a new one starts with no tokens, a minute ago. Does not
   * allocate. The place is good until the next call.
   */
  place(family: number, w0: number, w1: number, w2: number, w3: number): number {
    let h = Math.imul(w0 ^ w1 ^ Math.imul(w2, 31) ^ Math.imul(w3, 0x9e3779b1), 0x85ebca6b)
    h ^= h >>> 15
    const first = (h & (SETS - 1)) * WAYS
    const keys = this.#keys
    let oldest = first
    for (let p = first; p < first + WAYS; p++) {
      const k = p * KEY
      if (
        keys[k] === w0 &&
        keys[k + 1] === w1 &&
        keys[k + 2] === w2 &&
        keys[k + 3] === w3 &&
        keys[k + 4] === family
      )
        return p
      if (this.last[p]! < this.last[oldest]!) oldest = p
    }
    const k = oldest * KEY
    keys[k] = w0
    keys[k + 1] = w1
    keys[k + 2] = w2
    keys[k + 3] = w3
    keys[k + 4] = family
    this.tokens[oldest] = 0
    this.last[oldest] = this.#host.now - 60_000
    this.redirects[oldest] = 0
    return oldest
  }

  /** inet_peer_xrlim_allow(): one error each `timeout` ms, six at once. Takes a token if there is one. */
  allow(place: number, timeout: number): boolean {
    // The burst binds only when time has passed: several callers, each with a timeout of its own, share the tokens.
    if (this.#host.now !== this.last[place]) return this.take(place, timeout, 6 * timeout)
    const tokens = this.tokens[place]!
    if (tokens < timeout) return false
    this.tokens[place] = tokens - timeout
    return true
  }

  /** Fills the bucket up to `burst`, then takes `cost` (ms) out if it is there. */
  take(place: number, cost: number, burst: number): boolean {
    const { now } = this.#host
    // Not by `if`: of what may be `burst` itself, of which V8 knows nothing, it would make an object.
    const tokens = Math.min(this.tokens[place]! + (now - this.last[place]!), burst)
    this.last[place] = now
    const enough = tokens >= cost
    this.tokens[place] = enough ? tokens - cost : tokens
    return enough
  }
}
