// What may hang on every element of a set: timeout, counters, comment, skbinfo (struct ip_set_ext). Columns of typed
// arrays beside the elements, each there only if the set was created with it; row i belongs to element i.

import type { Host } from '../../datapath/host.ts'
import type { Packet } from '../../datapath/packet.ts'
import { SetError, type SetMember, type SetOptions } from './set-type.ts'

/** IPSET_FLAG_* of a rule. */
export const RETURN_NOMATCH = 1
export const SKIP_COUNTER_UPDATE = 2
export const SKIP_SUBCOUNTER_UPDATE = 4
export const MATCH_COUNTERS = 8
export const MAP = 16

/** enum IPSET_COUNTER_*. */
export const Compare = { None: 0, Eq: 1, Ne: 2, Lt: 3, Gt: 4 } as const

/** What a rule asks and gets besides the element (struct ip_set_adt_opt, struct ip_set_ext); one object a rule. */
export class PacketExtension {
  /** Counts as the rule says; list:set changes it while it asks its members. */
  flags = 0
  /** Dimensions that the rule names. */
  dim = 0
  /** -1: the set's own. */
  timeout = -1
  exist = false
  packetsOp: number = Compare.None
  bytesOp: number = Compare.None
  /** High and low word of the values compared with. */
  packetsHigh = 0
  packetsLow = 0
  bytesHigh = 0
  bytesLow = 0
  /** Of the element found. */
  skbmark = 0
  skbmarkmask = 0
  skbprio = 0
  skbqueue = 0
}

const FOR_EVER = 0
const COUNTER_WORDS = 4
const SKB_WORDS = 4

const low = (value: bigint): number => Number(value & 0xffffffffn)
const high = (value: bigint): number => Number(value >> 32n)

export class Extensions {
  /** Default of the set in seconds; -1: no timeouts. */
  readonly timeout: number
  readonly counters: boolean
  readonly comment: boolean
  readonly skbinfo: boolean
  readonly #host: Host
  /** Monotonic ms when a row ends, 0 never. */
  #expiry: Float64Array | null = null
  /** [packets high, low, bytes high, low] of each row. */
  #counts: Uint32Array | null = null
  /** [mark, mask, priority, queue]. */
  #skb: Uint32Array | null = null
  #comments: (string | undefined)[] = []

  constructor(options: SetOptions, host: Host) {
    this.timeout = options.timeout ?? -1
    this.counters = options.counters === true
    this.comment = options.withComment === true
    this.skbinfo = options.skbinfo === true
    this.#host = host
  }

  /** Options as create takes them. */
  header(): SetOptions {
    return {
      ...(this.timeout >= 0 && { timeout: this.timeout }),
      ...(this.counters && { counters: true }),
      ...(this.comment && { withComment: true }),
      ...(this.skbinfo && { skbinfo: true }),
    }
  }

  /** The same columns and default timeout. */
  same(other: Extensions): boolean {
    return (
      this.timeout === other.timeout &&
      this.counters === other.counters &&
      this.comment === other.comment &&
      this.skbinfo === other.skbinfo
    )
  }

  /** Refuses what the set has no column for (ip_set_get_extensions). */
  check(options: SetOptions): void {
    if (options.timeout !== undefined && this.timeout < 0) throw new SetError('TIMEOUT')
    if ((options.packets !== undefined || options.bytes !== undefined) && !this.counters)
      throw new SetError('COUNTER')
    if (options.comment !== undefined && !this.comment) throw new SetError('COMMENT')
    if (
      (options.skbmark !== undefined || options.skbprio !== undefined || options.skbqueue !== undefined) &&
      !this.skbinfo
    )
      throw new SetError('SKBINFO')
  }

  /** Makes room for rows. */
  grow(rows: number): void {
    if (this.timeout >= 0) this.#expiry = copied(this.#expiry, new Float64Array(rows))
    if (this.counters) this.#counts = copied(this.#counts, new Uint32Array(rows * COUNTER_WORDS))
    if (this.skbinfo) this.#skb = copied(this.#skb, new Uint32Array(rows * SKB_WORDS))
  }

  clear(): void {
    this.#comments = []
  }

  bytes(): number {
    let text = 0
    for (const comment of this.#comments) text += comment === undefined ? 0 : 2 * comment.length
    return (
      (this.#expiry?.byteLength ?? 0) + (this.#counts?.byteLength ?? 0) + (this.#skb?.byteLength ?? 0) + text
    )
  }

  /** True if the row's time is over. Hot. */
  expired(row: number): boolean {
    const expiry = this.#expiry
    if (expiry === null) return false
    const end = expiry[row]!
    return end !== FOR_EVER && end < this.#host.now
  }

  /** True if the row's time was over at `at`, monotonic ms. */
  endedBefore(row: number, at: number): boolean {
    const end = this.#expiry?.[row] ?? FOR_EVER
    return end !== FOR_EVER && end < at
  }

  get expires(): boolean {
    return this.timeout >= 0
  }

  /** Sets a row from the tool's options. A row that was there keeps counters that are not given. */
  put(row: number, options: SetOptions, fresh: boolean): void {
    const counts = this.#counts
    if (counts !== null) {
      const at = row * COUNTER_WORDS
      if (fresh) counts.fill(0, at, at + COUNTER_WORDS)
      if (options.packets !== undefined) {
        counts[at] = high(options.packets)
        counts[at + 1] = low(options.packets)
      }
      if (options.bytes !== undefined) {
        counts[at + 2] = high(options.bytes)
        counts[at + 3] = low(options.bytes)
      }
    }
    if (this.comment) this.#comments[row] = options.comment === '' ? undefined : options.comment
    const skb = this.#skb
    if (skb !== null) {
      const at = row * SKB_WORDS
      skb[at] = options.skbmark?.[0] ?? 0
      skb[at + 1] = options.skbmark?.[1] ?? 0
      skb[at + 2] = options.skbprio ?? 0
      skb[at + 3] = options.skbqueue ?? 0
    }
    this.#setTimeout(row, options.timeout ?? this.timeout)
  }

  /** Sets a row from a packet (IP_SET_INIT_KEXT): it counts as the first. `keep`: the comment that was there stays. */
  putPacket(row: number, pkt: Packet, ext: PacketExtension, keep: boolean): void {
    const counts = this.#counts
    if (counts !== null) {
      const at = row * COUNTER_WORDS
      counts[at] = 0
      counts[at + 1] = 1
      counts[at + 2] = 0
      counts[at + 3] = pkt.end - pkt.l3
    }
    if (this.comment && !keep) this.#comments[row] = undefined
    if (this.#skb !== null) this.#skb.fill(0, row * SKB_WORDS, (row + 1) * SKB_WORDS)
    this.#setTimeout(row, ext.timeout >= 0 ? ext.timeout : this.timeout)
  }

  #setTimeout(row: number, seconds: number): void {
    if (this.#expiry !== null)
      this.#expiry[row] = seconds === 0 ? FOR_EVER : Math.max(this.#host.now + seconds * 1000, 1e-3)
  }

  /**
   * A packet met the row (ip_set_match_extensions): counts it, compares the counters, hands out the skbinfo. False:
   * the row counts as not there. Hot.
   */
  met(row: number, pkt: Packet, ext: PacketExtension): boolean {
    if (this.expired(row)) return false
    const counts = this.#counts
    if (counts !== null) {
      const at = row * COUNTER_WORDS
      if ((ext.flags & SKIP_COUNTER_UPDATE) === 0) {
        if (counts[at + 1]! === 0xffffffff) counts[at]!++
        counts[at + 1]!++
        const bytes = counts[at + 3]! + (pkt.end - pkt.l3)
        if (bytes > 0xffffffff) counts[at + 2]!++
        counts[at + 3] = bytes
      }
      if (
        (ext.flags & MATCH_COUNTERS) !== 0 &&
        !(
          fits(counts[at]!, counts[at + 1]!, ext.packetsOp, ext.packetsHigh, ext.packetsLow) &&
          fits(counts[at + 2]!, counts[at + 3]!, ext.bytesOp, ext.bytesHigh, ext.bytesLow)
        )
      )
        return false
    }
    const skb = this.#skb
    if (skb !== null) {
      const at = row * SKB_WORDS
      ext.skbmark = skb[at]!
      ext.skbmarkmask = skb[at + 1]!
      ext.skbprio = skb[at + 2]!
      ext.skbqueue = skb[at + 3]!
    }
    return true
  }

  /** The row as options of add. */
  read(row: number): SetMember {
    const member: SetMember = {}
    if (this.#expiry !== null) {
      const end = this.#expiry[row]!
      // ip_set_timeout_get(): whole seconds, and what is left of the last one is one.
      member.timeout = end === FOR_EVER ? 0 : Math.max(Math.floor((end - this.#host.now) / 1000), 1)
    }
    if (this.#counts !== null) {
      const at = row * COUNTER_WORDS
      member.packets = (BigInt(this.#counts[at]!) << 32n) | BigInt(this.#counts[at + 1]!)
      member.bytes = (BigInt(this.#counts[at + 2]!) << 32n) | BigInt(this.#counts[at + 3]!)
    }
    const comment = this.#comments[row]
    if (comment !== undefined) member.comment = comment
    if (this.#skb !== null) {
      const [mark = 0, mask = 0, prio = 0, queue = 0] = this.#skb.subarray(row * SKB_WORDS)
      if (mark !== 0 || mask !== 0) member.skbmark = [mark, mask]
      if (prio !== 0) member.skbprio = prio
      if (queue !== 0) member.skbqueue = queue
    }
    return member
  }
}

function copied<T extends Float64Array | Uint32Array>(from: T | null, to: T): T {
  if (from !== null) to.set(from.length > to.length ? from.subarray(0, to.length) : from)
  return to
}

/** ip_set_match_counter() on two words. */
function fits(aHigh: number, aLow: number, op: number, bHigh: number, bLow: number): boolean {
  const sign = aHigh === bHigh ? aLow - bLow : aHigh - bHigh
  switch (op) {
    case Compare.Eq:
      return sign === 0
    case Compare.Ne:
      return sign !== 0
    case Compare.Lt:
      return sign < 0
    case Compare.Gt:
      return sign > 0
    default:
      return true
  }
}
