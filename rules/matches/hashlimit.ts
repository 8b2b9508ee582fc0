// hashlimit: a token bucket for each address or port (libxt_hashlimit of iptables 1.8.9; the buckets: hashlimit-table.ts).
// Of rules that share a table each has its own whether it asks above or up to, bytes or packets, and rate matching.

import type { Match } from '../extension.ts'
import { nameField } from '../layout.ts'
import type { MatchUse } from '../model.ts'
import { OptionError, type Options, WholeError } from '../options.ts'
import { isProcName, jiffies, madeBefore } from '../shared.ts'
import { parseAddress, prefixLength } from '../text/address.ts'
import { strtoul, wholeNumber } from '../text/numbers.ts'
import { cutBytes } from './comment.ts'
import {
  BYTE_SHIFT,
  credits,
  creditsBytes,
  type HashLimit,
  HashLimitTable,
  hashLimitTables,
  type Key,
  limited,
  SCALE,
  U32,
} from './hashlimit-table.ts'
import { atoll } from './limit.ts'
import { words } from './parts.ts'

const KEYS: readonly Key[] = ['srcip', 'srcport', 'dstip', 'dstport']

const BURST_MAX = 1000000
const GC_INTERVAL = 1000
const BYTE_EXPIRE = 15
const BYTE_EXPIRE_BURST = 60
const MAX_NAME = 254
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
  if (read === null || (read.end === text.length && read.value > BURST_MAX)) throw new OptionError(BAD_BURST)
  return BigInt(read.value) * factorOf(text[read.end])
}

const BAD_BURST = `bad value for option "--hashlimit-burst", or out of range (1-${BURST_MAX}).`

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

/** The first table of that name in a rule. */
function tableMadeBy(uses: readonly MatchUse[], name: string): HashLimit | null {
  for (const { match, data } of uses)
    if (match.name === 'hashlimit' && (data as HashLimit).name === name) return data as HashLimit
  return null
}

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
      nameField(0, 256, data.name),
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
        if (bytes === 0n) throw new WholeError(`no burst holds a packet at ${o.text(flag!)}`)
        if (given < bytes) throw new WholeError(`burst cannot be smaller than ${bytes}b`)
        burst = (given + bytes - 1n) / bytes
        unit = BYTE_EXPIRE_BURST
      }
    } else if (burst > BigInt(BURST_MAX)) throw new WholeError(BAD_BURST)
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
