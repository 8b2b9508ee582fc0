// The ways of the flow cache: what was decided for packets that are alike, and how many have gone each.

import type { Device } from '../datapath/devices.ts'
import type { Route } from '../datapath/fib.ts'
import type { Packet } from '../datapath/packet.ts'

/** Somebody who counts packets: rules of a chain by slot, the policy of one. */
export interface Counted {
  /** Unlike that of any other. */
  readonly id: number
  tally(at: number, packets: number, bytes: number): void
}

let nextId = 0
/** A number for a Counted. */
export const newCountedId = (): number => nextId++

/** What a target does to each packet's header. */
export type Effect = (pkt: Packet) => unknown

/** Behind 0, nothing is known, and 1, seen once. */
const FIRST_NUMBER = 2
/** Numbers of ways are given anew from here on, long before they overflow. */
const LAST_NUMBER = 0x7ff00000
const MOST_WAYS = 65536

export class Way {
  /** 0: of connections that could not be recorded. */
  readonly index: number
  ctInfo = 0
  iif = 0
  statusMask = 0
  status = 0
  ctmarkMask = 0
  ctmark = 0
  tosMask = 0
  tos = 0
  ttlMask = 0
  ttl = 0
  flagsMask = 0
  flags = 0
  /** Null for way 0 alone. */
  readonly route: Route | null
  readonly device: Device | null
  /** Bytes that may leave in one piece. */
  mtu = 0
  translatesDestination = false
  translatesSource = false
  /** No header is changed but for one end's address and port, and the hop count. */
  plain = false
  before: readonly Effect[] | null = null
  after: readonly Effect[] | null = null
  readonly hits: readonly Counted[]
  readonly places: readonly number[]

  constructor(
    index: number,
    route: Route | null,
    hits: readonly Counted[] = [],
    places: readonly number[] = [],
  ) {
    this.index = index
    this.route = route
    this.device = route === null ? null : route.device
    this.hits = hits
    this.places = places
  }
}

/**
 * A connection's FLOW word names its way: `base` + index. When all ways end the base moves on, so that every word that
 * was written before names nothing.
 */
export class Ways {
  readonly list: Way[] = [new Way(0, null)]
  base = FIRST_NUMBER
  readonly #byKey = new Map<string, Way>()
  /** Packets and bytes of each way, not yet told to those who count. */
  #counts = new Float64Array(1024)
  #anyCounted = false

  get full(): boolean {
    return this.list.length >= MOST_WAYS
  }

  /** Numbers are about to run out: see restart(). */
  get exhausted(): boolean {
    return this.base > LAST_NUMBER
  }

  byKey(key: string): Way | undefined {
    return this.#byKey.get(key)
  }

  /** A way whose index is the next one. */
  add(key: string, way: Way): void {
    if (way.index * 2 >= this.#counts.length) {
      const counts = new Float64Array(this.#counts.length * 2)
      counts.set(this.#counts)
      this.#counts = counts
    }
    this.list.push(way)
    this.#byKey.set(key, way)
  }

  /** So many packets go a way. Hot. */
  count(index: number, packets: number, bytes: number): void {
    const counts = this.#counts
    counts[index * 2]! += packets
    counts[index * 2 + 1]! += bytes
    this.#anyCounted = true
  }

  /** Tells those who count of what has passed since they were told last. */
  flush(): void {
    if (!this.#anyCounted) return
    this.#anyCounted = false
    const counts = this.#counts
    for (const { index, hits, places } of this.list) {
      const packets = counts[index * 2]!
      if (packets === 0) continue
      const bytes = counts[index * 2 + 1]!
      for (let i = 0; i < hits.length; i++) hits[i]!.tally(places[i]!, packets, bytes)
      counts[index * 2] = counts[index * 2 + 1] = 0
    }
  }

  /** All ways end. */
  end(): void {
    this.flush()
    this.base += this.list.length
    this.list.length = 1
    this.#byKey.clear()
  }

  /** Numbers begin anew; no FLOW word has an old one any more. */
  restart(): void {
    this.base = FIRST_NUMBER
  }
}
