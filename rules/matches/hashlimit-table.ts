// Tables of hashlimit and their buckets (hashlimit_mt_common() of xt_hashlimit.c, revision 3). Rules that name the same
// table share it; the first one's settings are the table's.
//
//     packets   credit grows with every jiffy up to the burst, and each packet takes its cost
//     bytes     a second's credit; a packet takes it by the 16 bytes; a burst refills it so many times
//     rate      packets or bytes of a window against those that the rate allows for it

import { portsOffset } from '../../datapath/dissect.ts'
import type { Host } from '../../datapath/host.ts'
import type { Family, Packet } from '../../datapath/packet.ts'
import { skipHeaders, skipped } from '../../datapath/wire/ipv6-headers.ts'
import { HZ, jiffies, sharedOf } from '../shared.ts'
import { ANY, formatWhole, prefixMask, type Words } from '../text/address.ts'

export interface HashLimit {
  /** Each family has its own tables. */
  readonly family: Family
  readonly above: boolean
  readonly bytes: boolean
  /**
   * Packets: time between two, in millionths of a second; with rate matching of a second's rate. Bytes: cost of 16, of
   * 2^32.
   */
  readonly average: bigint
  readonly burst: bigint
  /** In the order of Key. */
  readonly keys: readonly Key[]
  readonly name: string
  readonly size: number
  readonly max: number
  /** Milliseconds. */
  readonly gcInterval: number
  readonly expire: number
  readonly sourceMask: number
  readonly destinationMask: number
  readonly rateMatch: boolean
  /** Seconds; 0: not asked. */
  readonly interval: number
}

export type Key = 'srcip' | 'srcport' | 'dstip' | 'dstport'

/** XT_HASHLIMIT_SCALE_v2 */
export const SCALE = 1000000n
export const BYTE_SHIFT = 4n
export const U32 = 0xffffffffn
const MAX_SIZE = 1048576

/** The largest power of two below 2^64 / (HZ * 86400), and for bytes below 2^32 / HZ. */
const CREDITS = 2n ** 39n
const CREDITS_BYTES = 2 ** 24 > 0xffffffff / HZ ? 2 ** 23 : 2 ** 24
const SECOND_BYTES = CREDITS_BYTES * HZ
/** Credits of a jiffy, in units of 2^32. */
const CREDITS_HIGH = Number(CREDITS >> 32n)
const WORD = 2 ** 32

const HASH_MASK = 1023
const NO_CREDIT = { creditHigh: 0, credit: 0, capHigh: 0, cap: 0, costHigh: 0, cost: 0, rate: 0, burst: 0 }

class Bucket {
  /** Words of source and destination, masked; 0 what is not asked for. */
  readonly s0: number
  readonly s1: number
  readonly s2: number
  readonly s3: number
  readonly d0: number
  readonly d1: number
  readonly d2: number
  readonly d3: number
  readonly ports: number
  next: Bucket | null = null
  /** jiffies */
  expires = 0
  previous = 0
  /** In 64 bits: each has a high and a low word. */
  creditHigh = 0
  credit = 0
  capHigh = 0
  cap = 0
  costHigh = 0
  cost = 0
  rate = 0
  burst = 0
  /** Rate matching: what the window had so far, and whether the last one had too much. */
  current = 0
  over = false

  constructor(pkt: Packet, source: Words, destination: Words, ports: number) {
    this.s0 = pkt.s0 & source[0]
    this.s1 = pkt.s1 & source[1]
    this.s2 = pkt.s2 & source[2]
    this.s3 = pkt.s3 & source[3]
    this.d0 = pkt.d0 & destination[0]
    this.d1 = pkt.d1 & destination[1]
    this.d2 = pkt.d2 & destination[2]
    this.d3 = pkt.d3 & destination[3]
    this.ports = ports
  }
}

const msToJiffies = (ms: number): number => Math.ceil((ms * HZ) / 1000)

/** user2credits(), in 64 bits. */
export const credits = (user: bigint): bigint => BigInt.asUintN(64, user * ((BigInt(HZ) * CREDITS) / SCALE))
export const creditsBytes = (user: bigint): bigint =>
  BigInt.asUintN(32, (BigInt.asUintN(32, user) * BigInt(SECOND_BYTES)) >> 32n)

/** What a new bucket starts with (rateinfo_init). */
function startOf(m: HashLimit): typeof NO_CREDIT {
  if (m.rateMatch) {
    if (m.bytes) {
      const cost = BigInt.asUintN(32, m.average)
      const rate = ((cost === 0n ? U32 : U32 / cost) - 1n) << BYTE_SHIFT
      return { ...NO_CREDIT, rate: Number(rate), burst: Number(m.burst === 0n ? rate : m.burst * rate) }
    }
    const rate = m.average === 0n ? 0n : SCALE / m.average
    return { ...NO_CREDIT, rate: Number(rate), burst: Number(m.burst + rate) }
  }
  if (m.bytes)
    return { ...NO_CREDIT, credit: SECOND_BYTES, cost: Number(creditsBytes(m.average)), cap: Number(m.burst) }
  const cap = credits(BigInt.asUintN(64, m.average * m.burst))
  const cost = credits(m.average)
  const high = (value: bigint): number => Number(value >> 32n)
  const low = (value: bigint): number => Number(value & U32)
  return {
    ...NO_CREDIT,
    creditHigh: high(cap),
    credit: low(cap),
    capHigh: high(cap),
    cap: low(cap),
    costHigh: high(cost),
    cost: low(cost),
  }
}

/** One table, as /proc/net/ipt_hashlimit/NAME has it. */
export class HashLimitTable {
  readonly config: HashLimit
  readonly #start: typeof NO_CREDIT
  readonly #chains: (Bucket | null)[] = new Array(HASH_MASK + 1).fill(null)
  readonly #max: number
  readonly #made: number
  readonly #every: number
  readonly #lasts: number
  readonly #sourceMask: Words
  readonly #destinationMask: Words
  #count = 0

  constructor(config: HashLimit, now: number) {
    this.config = config
    this.#start = startOf(config)
    // htable_create() of a machine with over 1 GB: 8192 chains, and entries for 8 times as many.
    const size = config.size === 0 ? 8192 : Math.min(config.size, MAX_SIZE)
    this.#max = config.max === 0 ? 8 * size : Math.max(config.max, size)
    this.#made = now
    this.#every = Math.max(1, msToJiffies(config.gcInterval))
    this.#lasts = msToJiffies(config.expire)
    this.#sourceMask = config.keys.includes('srcip') ? prefixMask(config.sourceMask, config.family) : ANY
    this.#destinationMask = config.keys.includes('dstip')
      ? prefixMask(config.destinationMask, config.family)
      : ANY
  }

  /**
   * As /proc/net/ipt_hashlimit/NAME reads (dl_seq_real_show), which fills all buckets up to now: seconds to live,
   * ends, then credit, its cap and a packet's cost; of rate matching what stands in their place.
   */
  lines(now: number): string[] {
    const { family, rateMatch, interval } = this.config
    const lines: string[] = []
    for (const first of this.#chains)
      for (let b: Bucket | null = first; b !== null; b = b.next) {
        if (this.#collected(b, now)) continue
        this.#refill(b, now)
        const wide = (high: number, low: number): bigint => (BigInt(high) << 32n) | BigInt(low)
        const state = rateMatch
          ? [wide(b.over ? 1 : 0, interval), BigInt(b.current), BigInt(b.rate)]
          : [wide(b.creditHigh, b.credit), wide(b.capHigh, b.cap), wide(b.costHigh, b.cost)]
        const port = (shift: number): number => (b.ports >>> shift) & 0xffff
        lines.push(
          `${Math.trunc((b.expires - now) / HZ)} ${formatWhole([b.s0, b.s1, b.s2, b.s3], family)}:${port(16)}->${formatWhole([b.d0, b.d1, b.d2, b.d3], family)}:${port(0)} ${state.join(' ')}`,
        )
      }
    return lines
  }

  /** The bucket of a packet, filled up to now; null: none can be had. Allocates only for new ones. */
  bucket(pkt: Packet, ports: number, now: number): Bucket | null {
    const sm = this.#sourceMask
    const dm = this.#destinationMask
    const s0 = pkt.s0 & sm[0]
    const s1 = pkt.s1 & sm[1]
    const s2 = pkt.s2 & sm[2]
    const s3 = pkt.s3 & sm[3]
    const d0 = pkt.d0 & dm[0]
    const d1 = pkt.d1 & dm[1]
    const d2 = pkt.d2 & dm[2]
    const d3 = pkt.d3 & dm[3]
    const source = s0 ^ s1 ^ Math.imul(s2, 31) ^ s3
    const destination = d0 ^ d1 ^ Math.imul(d2, 31) ^ d3
    const at =
      (Math.imul(source ^ Math.imul(destination ^ Math.imul(ports, 31), 31), 0x9e3779b1) >>> 20) & HASH_MASK
    for (let b: Bucket | null = this.#chains[at]!; b !== null; b = b.next) {
      if (b.s0 !== s0 || b.d0 !== d0 || b.ports !== ports) continue
      if (b.s1 !== s1 || b.s2 !== s2 || b.s3 !== s3) continue
      if (b.d1 !== d1 || b.d2 !== d2 || b.d3 !== d3) continue
      if (this.#collected(b, now)) {
        this.#begin(b, now)
        return b
      }
      b.expires = now + this.#lasts
      this.#refill(b, now)
      return b
    }
    if (this.#count >= this.#max) this.#collect(now)
    if (this.#count >= this.#max) return null
    const bucket = new Bucket(pkt, sm, dm, ports)
    bucket.next = this.#chains[at]!
    this.#chains[at] = bucket
    this.#count++
    this.#begin(bucket, now)
    return bucket
  }

  /** True if the collector, which runs at fixed times, came by after the bucket had expired. */
  #collected(b: Bucket, now: number): boolean {
    if (now < b.expires) return false
    const run = this.#made + Math.ceil((b.expires - this.#made) / this.#every) * this.#every
    return run <= now
  }

  #collect(now: number): void {
    for (let i = 0; i <= HASH_MASK; i++) {
      let kept: Bucket | null = null
      for (let b: Bucket | null = this.#chains[i]!; b !== null; ) {
        const next: Bucket | null = b.next
        if (this.#collected(b, now)) this.#count--
        else {
          b.next = kept
          kept = b
        }
        b = next
      }
      this.#chains[i] = kept
    }
  }

  #begin(b: Bucket, now: number): void {
    b.expires = now + this.#lasts
    b.previous = now
    b.creditHigh = this.#start.creditHigh
    b.credit = this.#start.credit
    b.capHigh = this.#start.capHigh
    b.cap = this.#start.cap
    b.costHigh = this.#start.costHigh
    b.cost = this.#start.cost
    b.rate = this.#start.rate
    b.burst = this.#start.burst
    b.current = 0
    b.over = false
  }

  /** rateinfo_recalc() */
  #refill(b: Bucket, now: number): void {
    const passed = now - b.previous
    if (passed === 0) return
    if (this.config.rateMatch) {
      const window = this.config.interval * HZ
      if (passed < window) return
      b.previous = now
      b.over = b.current * window > passed * b.rate
      b.current = 0
      return
    }
    b.previous = now
    if (this.config.bytes) {
      b.credit = Math.min(b.credit + CREDITS_BYTES * passed, SECOND_BYTES)
      return
    }
    b.creditHigh = (b.creditHigh + CREDITS_HIGH * passed) % WORD
    if (b.creditHigh > b.capHigh || (b.creditHigh === b.capHigh && b.credit > b.cap)) {
      b.creditHigh = b.capHigh
      b.credit = b.cap
    }
  }
}

/** The tables of a host, by `4NAME`. */
export const hashLimitTables = (host: Host) => sharedOf<HashLimitTable>(host, 'hashlimit')

/** The cost of so many times 16 bytes where the table is one of packets, whose costs are that long. Allocates. */
const longCost = (b: Bucket, chunks: number): number =>
  Number(BigInt.asUintN(64, BigInt(chunks) * ((BigInt(b.costHigh) << 32n) | BigInt(b.cost))))

/** ports6() found the chain or the ports cut short, or no next header: the packet is dropped. */
let cut = false

/** As ports, by ipv6_skip_exthdr(); sets `cut`. */
function ports6(pkt: Packet, host: Host, which: number): number {
  const { view } = host.memory
  const at = skipHeaders(view, pkt.l3, pkt.end)
  cut = at < 0
  if (!cut && portsOffset(skipped.next) < 0) return 0
  if (cut || pkt.end - at < 4) {
    cut = true
    return 0
  }
  return view.getInt32(at) & ((which & 1 ? 0xffff0000 : 0) | (which & 2 ? 0xffff : 0))
}

/** Whether the rule fits. `which`: 1 source port, 2 destination port. */
export function limited(
  pkt: Packet,
  host: Host,
  table: HashLimitTable,
  which: number,
  m: HashLimit,
): boolean {
  let ports = 0
  if (which !== 0) {
    if (pkt.family === 6) {
      ports = ports6(pkt, host, which)
      if (cut) {
        pkt.hotdrop = true
        return false
      }
    } else if (pkt.sport >= 0) ports = ((which & 1 ? pkt.sport : 0) << 16) | (which & 2 ? pkt.dport : 0)
    else if (portsOffset(pkt.proto) >= 0) {
      // Later fragments give what stands where ports would be; what is too short for ports is dropped.
      const at = pkt.l4 + portsOffset(pkt.proto)
      if (pkt.end - at < 4) {
        pkt.hotdrop = true
        return false
      }
      const word = host.memory.view.getInt32(at)
      ports = word & ((which & 1 ? 0xffff0000 : 0) | (which & 2 ? 0xffff : 0))
    }
  }
  const bucket = table.bucket(pkt, ports, jiffies(host))
  if (bucket === null) {
    pkt.hotdrop = true
    return false
  }
  const length = pkt.end - pkt.l3
  if (m.rateMatch) {
    bucket.current += m.bytes ? length : 1
    return (!bucket.over && bucket.current <= bucket.burst) !== m.above
  }
  let { cost } = bucket
  if (m.bytes) {
    // hashlimit_byte_cost(); in here, and each branch with a minimum of its own, so that V8 knows that the cost is a number
    // and need not make an object of it.
    const chunks = (length >> 4) + 1
    cost =
      bucket.costHigh === 0
        ? Math.min(chunks * cost, SECOND_BYTES)
        : Math.min(longCost(bucket, chunks), SECOND_BYTES)
    if (bucket.creditHigh === 0 && bucket.credit < cost && (bucket.cap > 0 || bucket.capHigh > 0)) {
      if (bucket.cap === 0) {
        bucket.cap = WORD
        bucket.capHigh--
      }
      bucket.cap--
      bucket.credit = SECOND_BYTES
    }
  }
  // Rules that share a table may count otherwise than the first of them, which made it.
  const costHigh = m.bytes ? 0 : bucket.costHigh
  if (bucket.creditHigh < costHigh || (bucket.creditHigh === costHigh && bucket.credit < cost)) return m.above
  bucket.creditHigh -= costHigh
  bucket.credit -= cost
  if (bucket.credit < 0) {
    bucket.credit += WORD
    bucket.creditHigh--
  }
  return !m.above
}
