// hashlimit: a token bucket for each address or port (libxt_hashlimit of iptables 1.8.9, hashlimit_mt_common() of
// xt_hashlimit.c, revision 3). Rules that name the same table share it; the first one's settings are the table's,
// each rule's own are whether it asks above or up to, bytes or packets, and rate matching.
//
//     packets   credit grows with every jiffy up to the burst, and each packet takes its cost
//     bytes     a second's credit; a packet takes it by the 16 bytes; a burst refills it so many times
//     rate      packets or bytes of a window against those that the rate allows for it

import type { Host } from '../../datapath/host.ts'
import type { Family, Packet } from '../../datapath/packet.ts'
import { skipHeaders, skipped } from '../../datapath/wire/ipv6-headers.ts'
import type { Match } from '../extension.ts'
import { textFields } from '../layout.ts'
import type { MatchUse } from '../model.ts'
import { OptionError, type Options, WholeError } from '../options.ts'
import { HZ, isProcName, jiffies, madeBefore, sharedOf } from '../shared.ts'
import { ANY, formatWhole, parseAddress, prefixLength, prefixMask, type Words } from '../text/address.ts'
import { strtoul, wholeNumber } from '../text/numbers.ts'
import { cutBytes } from './comment.ts'
import { atoll } from './limit.ts'
import { words } from './parts.ts'

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
  /** In the order of KEYS. */
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
const KEYS: readonly Key[] = ['srcip', 'srcport', 'dstip', 'dstport']

/** XT_HASHLIMIT_SCALE_v2 */
const SCALE = 1000000n
const BURST_MAX = 1000000
const GC_INTERVAL = 1000
const BYTE_SHIFT = 4n
const BYTE_EXPIRE = 15
const BYTE_EXPIRE_BURST = 60
const U32 = 0xffffffffn
const MAX_NAME = 254
const MAX_SIZE = 1048576
const UNITS: readonly (readonly [string, number])[] = [
  ['second', 1],
  ['minute', 60],
  ['hour', 3600],
  ['day', 86400],
]
const RATES: readonly (readonly [string, bigint])[] = [
  ['day', 86400n * SCALE],
  ['hour', 3600n * SCALE],
  ['min', 60n * SCALE],
  ['sec', SCALE],
]
const SIZES: readonly (readonly [string, bigint])[] = [
  ['m', 1024n * 1024n],
  ['k', 1024n],
  ['', 1n],
]

/** HASHLIMIT_MAX_SIZE: the kernel cuts what is more. */
const LARGEST_TABLE = 1 << 20
/** The largest power of two below 2^64 / (HZ * 86400), and for bytes below 2^32 / HZ. */
const CREDITS = 2n ** 39n
const CREDITS_BYTES = 2 ** 24 > 0xffffffff / HZ ? 2 ** 23 : 2 ** 24
const SECOND_BYTES = CREDITS_BYTES * HZ
/** Credits of a jiffy, in units of 2^32. */
const CREDITS_HIGH = Number(CREDITS >> 32n)
const WORD = 2 ** 32

const factorOf = (letter: string | undefined): bigint =>
  letter === 'm' ? 1024n * 1024n : letter === 'k' ? 1024n : 1n
const bytesToCost = (bytes: bigint): bigint => U32 / (BigInt.asUintN(32, bytes >> BYTE_SHIFT) + 1n)
const costToBytes = (cost: bigint): bigint => ((cost === 0n ? U32 : U32 / cost) - 1n) << BYTE_SHIFT

interface Rate {
  readonly average: bigint
  readonly bytes: boolean
  /** Seconds of the unit. */
  readonly unit: number
}

/** `5/s`, `512kb/s`. */
function parseRate(text: string): Rate {
  const bad = (): never => {
    throw new OptionError(`hashlimit: Bad value for "--hashlimit-${'upto'}" option: "${text}"`)
  }
  const mode = text.indexOf('b/s')
  if (mode > 0) {
    const count = atoll(text)
    if (count !== 0n) {
      const cost = bytesToCost(BigInt.asUintN(64, count * factorOf(text[mode - 1])))
      if (cost === 0n) throw new OptionError(`Rate too high "${text}"\n`)
      return { average: cost, bytes: true, unit: BYTE_EXPIRE }
    }
  }
  const slash = text.indexOf('/')
  let unit = 1
  if (slash >= 0) {
    const name = text.slice(slash + 1).toLowerCase()
    unit = (name === '' ? undefined : UNITS.find(([long]) => long.startsWith(name)))?.[1] ?? bad()
  }
  const rate = BigInt.asUintN(64, atoll(text))
  if (rate === 0n) bad()
  const average = (SCALE * BigInt(unit)) / rate
  if (average === 0n) throw new OptionError(`Rate too fast "${text}"`)
  return { average, bytes: false, unit }
}

const FLAGS = ['hashlimit-upto', 'hashlimit-above'] as const

function rateOf(o: Options, flag: string): Rate {
  try {
    return parseRate(o.text(flag))
  } catch (error) {
    if (error instanceof OptionError && flag !== 'hashlimit-upto')
      throw new OptionError(error.message.replace('--hashlimit-upto', `--${flag}`))
    throw error
  }
}

function parseBurst(text: string): bigint {
  const read = strtoul(text, 1, Number.MAX_VALUE)
  if (read === null || (read.end === text.length && read.value > BURST_MAX)) burstError()
  return BigInt(read!.value) * factorOf(text[read!.end])
}

function burstError(): never {
  throw new OptionError(`bad value for option "--hashlimit-burst", or out of range (1-${BURST_MAX}).`)
}

function parseKeys(text: string): Key[] {
  if (text === '') return []
  // strtok: empty words do not count.
  const items = text.split(',').filter((item) => item !== '')
  for (const item of items)
    if (!(KEYS as readonly string[]).includes(item))
      throw new OptionError(`hashlimit: Bad value for "--hashlimit-mode" option: "${text}"`)
  return KEYS.filter((key) => items.includes(key))
}

/** A prefix length; -1 for a mask with holes, which the kernel refuses. */
function parseMask(o: Options, flag: string): number {
  const bits = o.family === 4 ? 32 : 128
  if (!o.has(flag)) return bits
  const text = o.text(flag)
  const length = wholeNumber(text, 0, bits)
  if (length !== null) return length
  const mask = parseAddress(text, o.family)
  if (mask === null)
    throw new OptionError(
      `hashlimit: bad value for option "--${flag}", neither a valid network mask nor valid CIDR (0-${bits}).\n`,
    )
  // A mask with holes is -1 in a byte.
  return prefixLength(mask, o.family) & 0xff
}

function parseInterval(text: string): number {
  // atoi(): what follows the number is not looked at.
  const value = Number(BigInt.asIntN(32, atoll(text)))
  if (value <= 0)
    throw new OptionError(`hashlimit: Bad value for "--hashlimit-rate-interval" option: "${text}"`)
  return value
}

/** The rate's text, and the expiry in ms that goes without saying. */
function formatRate(period: bigint): readonly [string, number] {
  if (period === 0n) return ['inf', 0]
  let i = 1
  for (; i < RATES.length; i++) {
    const unit = RATES[i]![1]
    if (period > unit || unit / period < unit % period) break
  }
  const [name, unit] = RATES[i - 1]!
  return [`${unit / period}/${name}`, Number(unit / SCALE) * 1000]
}

/** The largest unit in which the rate still comes to the same cost; libxt_hashlimit cuts it to 32 bits. */
function formatByteRate(cost: bigint): string {
  const bytes = costToBytes(cost)
  const [letter, size] =
    SIZES.find(([, unit]) => bytes >= unit && bytesToCost((bytes & U32) - ((bytes & U32) % unit)) === cost) ??
    SIZES[SIZES.length - 1]!
  return `${bytes / size}${letter}b/s`
}

function formatBytes(bytes: bigint): string {
  const [letter, size] = SIZES.find(([, unit]) => bytes >= unit) ?? SIZES[SIZES.length - 1]!
  return `${bytes / size}${letter}b`
}

function format(m: HashLimit, dashes: string, perInterval: boolean): string {
  const flag = dashes === '' ? '' : '--hashlimit-'
  const bits = m.family === 4 ? 32 : 128
  let rate: string
  let quantum: number
  if (m.bytes) {
    const bytes = costToBytes(m.average)
    rate = formatByteRate(m.average)
    if (m.burst !== 0n) rate += ` ${flag}burst ${formatBytes(bytes * m.burst)}`
    quantum = (m.burst === 0n ? BYTE_EXPIRE : BYTE_EXPIRE_BURST) * 1000
  } else {
    ;[rate, quantum] = formatRate(perInterval ? m.average * BigInt(m.interval) : m.average)
    rate += ` ${flag}burst ${m.burst}`
  }
  return words(
    dashes === ''
      ? `limit: ${m.above ? 'above' : 'up to'} ${rate}`
      : `${flag}${m.above ? 'above' : 'upto'} ${rate}`,
    m.keys.length === 0 ? '' : `${flag}mode ${m.keys.join(dashes === '' ? '-' : ',')}`,
    dashes === '' ? '' : `--hashlimit-name ${m.name}`,
    m.size === 0 ? '' : `${flag}htable-size ${m.size}`,
    m.max === 0 ? '' : `${flag}htable-max ${m.max}`,
    m.gcInterval === GC_INTERVAL ? '' : `${flag}htable-gcinterval ${m.gcInterval}`,
    m.expire === quantum ? '' : `${flag}htable-expire ${m.expire}`,
    m.sourceMask === bits ? '' : `${flag}srcmask ${m.sourceMask}`,
    m.destinationMask === bits ? '' : `${flag}dstmask ${m.destinationMask}`,
    m.rateMatch ? `${flag}rate-match` : '',
    m.rateMatch && m.interval !== 1 ? `${flag}rate-interval ${m.interval}` : '',
  )
}

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

/** The first table of that name in a rule. */
function tableMadeBy(uses: readonly MatchUse[], name: string): HashLimit | null {
  for (const { match, data } of uses)
    if (match.name === 'hashlimit' && (data as HashLimit).name === name) return data as HashLimit
  return null
}

const msToJiffies = (ms: number): number => Math.ceil((ms * HZ) / 1000)

/** user2credits(), in 64 bits. */
const credits = (user: bigint): bigint => BigInt.asUintN(64, user * ((BigInt(HZ) * CREDITS) / SCALE))
const creditsBytes = (user: bigint): bigint =>
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

/** hashlimit_byte_cost(). Allocates where the table is one of packets, whose costs are that long. */
function byteCost(b: Bucket, length: number): number {
  const chunks = (length >> 4) + 1
  const whole =
    b.costHigh === 0
      ? chunks * b.cost
      : Number(BigInt.asUintN(64, BigInt(chunks) * ((BigInt(b.costHigh) << 32n) | BigInt(b.cost))))
  const cost = Math.min(whole, SECOND_BYTES)
  if (b.creditHigh === 0 && b.credit < cost && (b.cap > 0 || b.capHigh > 0)) {
    if (b.cap === 0) {
      b.cap = WORD
      b.capHigh--
    }
    b.cap--
    b.credit = SECOND_BYTES
  }
  return cost
}

/** ports6() found the chain or the ports cut short, or no next header: the packet is dropped. */
let cut = false

/** As ports, by ipv6_skip_exthdr(); sets `cut`. */
function ports6(pkt: Packet, host: Host, which: number): number {
  const { view } = host.memory
  const at = skipHeaders(view, pkt.l3, pkt.end)
  cut = at < 0
  if (!cut && !hasPorts(skipped.next)) return 0
  if (cut || pkt.end - at < 4) {
    cut = true
    return 0
  }
  return view.getInt32(at) & ((which & 1 ? 0xffff0000 : 0) | (which & 2 ? 0xffff : 0))
}

/** hashlimit_mt_common(). `which`: 1 source port, 2 destination port. */
function limited(pkt: Packet, host: Host, table: HashLimitTable, which: number, m: HashLimit): boolean {
  let ports = 0
  if (which !== 0) {
    if (pkt.family === 6) {
      ports = ports6(pkt, host, which)
      if (cut) {
        pkt.hotdrop = true
        return false
      }
    } else if (pkt.sport >= 0) ports = ((which & 1 ? pkt.sport : 0) << 16) | (which & 2 ? pkt.dport : 0)
    else if (hasPorts(pkt.proto)) {
      // Later fragments give what stands where ports would be; what is too short for ports is dropped.
      const at = pkt.l4 + (pkt.proto === IPPROTO_AH ? 4 : 0)
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
  const cost = m.bytes ? byteCost(bucket, length) : bucket.cost
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

const IPPROTO_AH = 51
/** proto_ports_offset(): TCP, UDP, DCCP, ESP, AH, SCTP, UDP-Lite. */
const hasPorts = (proto: number): boolean =>
  proto === 6 ||
  proto === 17 ||
  proto === 33 ||
  proto === 50 ||
  proto === 51 ||
  proto === 132 ||
  proto === 136

/** XT_HASHLIMIT_* bits. */
const modeBits = ({ keys, above, bytes, rateMatch }: HashLimit): number =>
  (keys.includes('dstip') ? 1 : 0) |
  (keys.includes('dstport') ? 2 : 0) |
  (keys.includes('srcip') ? 4 : 0) |
  (keys.includes('srcport') ? 8 : 0) |
  (above ? 0x10 : 0) |
  (bytes ? 0x20 : 0) |
  (rateMatch ? 0x40 : 0)

export const hashlimit: Match<HashLimit> = {
  kind: 'match',
  name: 'hashlimit',
  revision: 3,
  families: [4, 6],
  layout: {
    size: 312,
    own: 304,
    fields: (data) => [
      ...textFields(0, data.name),
      [256, 8, data.average],
      [264, 8, data.burst],
      [272, 4, modeBits(data)],
      [276, 4, data.size],
      [280, 4, data.max],
      [284, 4, data.gcInterval],
      [288, 4, data.expire],
      [292, 4, data.interval],
      [296, 1, data.sourceMask],
      [297, 1, data.destinationMask],
    ],
  },
  options: [
    { flag: 'hashlimit-upto', aliases: ['hashlimit'], excludes: ['hashlimit-above'], invertible: true },
    { flag: 'hashlimit-above', excludes: ['hashlimit-upto'], invertible: true },
    { flag: 'hashlimit-srcmask' },
    { flag: 'hashlimit-dstmask' },
    { flag: 'hashlimit-burst' },
    { flag: 'hashlimit-htable-size' },
    { flag: 'hashlimit-htable-max' },
    { flag: 'hashlimit-htable-gcinterval' },
    { flag: 'hashlimit-htable-expire' },
    { flag: 'hashlimit-mode' },
    { flag: 'hashlimit-name', holds: 'name limit', required: true },
    { flag: 'hashlimit-rate-match', arg: 'none' },
    { flag: 'hashlimit-rate-interval' },
  ],
  help: `hashlimit match options:
  --hashlimit-upto <avg>           max average match rate
                                   [Packets per second unless followed by 
                                   /sec /minute /hour /day postfixes]
  --hashlimit-above <avg>          min average match rate
  --hashlimit-mode <mode>          mode is a comma-separated list of
                                   dstip,srcip,dstport,srcport (or none)
  --hashlimit-srcmask <length>     source address grouping prefix length
  --hashlimit-dstmask <length>     destination address grouping prefix length
  --hashlimit-name <name>          name for /proc/net/ipt_hashlimit
  --hashlimit-burst <num>	    number to match in a burst, default 5
  --hashlimit-htable-size <num>    number of hashtable buckets
  --hashlimit-htable-max <num>     number of hashtable entries
  --hashlimit-htable-gcinterval    interval between garbage collection runs
  --hashlimit-htable-expire        after which time are idle entries expired?
  --hashlimit-rate-match           rate match the flow without rate-limiting it
  --hashlimit-rate-interval        interval in seconds for hashlimit-rate-match

`,
  parse(o) {
    const flag = FLAGS.find((name) => o.has(name))
    const rate = flag === undefined ? null : rateOf(o, flag)
    const number = (name: string, otherwise: number): number => (o.has(name) ? o.uint(name, 32) : otherwise)
    const given = o.has('hashlimit-burst') ? parseBurst(o.text('hashlimit-burst')) : null
    const size = Math.min(number('hashlimit-htable-size', 0), LARGEST_TABLE)
    const max = Math.min(number('hashlimit-htable-max', 0), LARGEST_TABLE)
    const gcInterval = number('hashlimit-htable-gcinterval', GC_INTERVAL)
    const expire = number('hashlimit-htable-expire', -1)
    const keys = o.has('hashlimit-mode') ? parseKeys(o.text('hashlimit-mode')) : []
    const sourceMask = parseMask(o, 'hashlimit-srcmask')
    const destinationMask = parseMask(o, 'hashlimit-dstmask')
    const asked = o.has('hashlimit-rate-interval') ? parseInterval(o.text('hashlimit-rate-interval')) : 0
    if (o.has('hashlimit-name') && o.text('hashlimit-name') === '')
      throw new OptionError('Argument must have a minimum length of 1 characters\n')
    if (rate === null) throw new WholeError('You have to specify --hashlimit')
    const rateMatch = o.has('hashlimit-rate-match')
    let unit = rate.unit
    let burst = given ?? 5n
    if (rate.bytes) {
      const bytes = costToBytes(rate.average)
      burst = 0n
      if (given !== null) {
        if (given < bytes) throw new WholeError(`burst cannot be smaller than ${bytes}b`)
        burst = (given + bytes - 1n) / bytes
        unit = BYTE_EXPIRE_BURST
      }
    } else if (burst > BigInt(BURST_MAX)) burstError()
    return {
      family: o.family,
      above: (flag === 'hashlimit-above') !== o.inverted(flag!),
      bytes: rate.bytes,
      // Rate matching keeps the number alone; the unit has become the interval.
      average: rateMatch && !rate.bytes ? rate.average / BigInt(rate.unit) : rate.average,
      burst,
      keys,
      name: cutBytes(o.text('hashlimit-name'), MAX_NAME),
      size,
      max,
      gcInterval,
      expire: expire < 0 ? unit * 1000 : expire,
      sourceMask,
      destinationMask,
      rateMatch,
      interval: asked > 0 ? asked : rateMatch && !rate.bytes ? rate.unit : 1,
    }
  },
  print: (m) => format(m, '--', false),
  list: (m) => format(m, '', true),
  check(m, use) {
    if (m.gcInterval === 0 || m.expire === 0) return 'hashlimit: no time between collections, or to live'
    if (Math.max(m.sourceMask, m.destinationMask) > 128) return 'hashlimit: a mask with holes'
    if (m.rateMatch) {
      if (m.average === 0n || m.average > U32) return { errno: 'ERANGE', reason: 'hashlimit: invalid rate' }
    } else if (m.bytes) {
      if (creditsBytes(m.average) === 0n) return 'hashlimit: overflow, rate too high'
    } else if (m.burst === 0n || credits(BigInt.asUintN(64, m.average * m.burst)) < credits(m.average))
      return { errno: 'ERANGE', reason: `hashlimit: overflow, try lower: ${m.average}/${m.burst}` }
    if (!isProcName(m.name)) return 'hashlimit: a name that no file can have'
    const known = madeBefore<Pick<HashLimit, 'rateMatch'>>(
      use,
      (host) => hashLimitTables(host).get(`${m.family}${m.name}`)?.config ?? null,
      (rule) => tableMadeBy(rule.matches, m.name),
    )
    return (known ?? tableMadeBy(use.matches, m.name) ?? m).rateMatch === m.rateMatch
      ? null
      : `hashlimit: ${m.name} counts otherwise already`
  },
  state: (m, env) =>
    hashLimitTables(env.host).take(`${m.family}${m.name}`, () => new HashLimitTable(m, jiffies(env.host))),
  release: (m, env) => hashLimitTables(env.host).give(`${m.family}${m.name}`),
  hotdrop: true,
  reads: ['source', 'destination', 'ports', 'length', 'clock', 'state'],
  emit(m, js) {
    const ports = (table: HashLimitTable): number =>
      (table.config.keys.includes('srcport') ? 1 : 0) | (table.config.keys.includes('dstport') ? 2 : 0)
    return js`${js.bind(limited)}(pkt, ${js.env.host}, ${js.state}, ${js.bind(ports)}(${js.state}), ${m})`
  },
}
