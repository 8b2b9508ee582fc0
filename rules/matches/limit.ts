// limit: a token bucket (libxt_limit of iptables 1.8.9, limit_mt() of xt_limit.c). Credit grows with every jiffy up
// to a cap, and a packet that fits takes its cost. All of it is the kernel's 32-bit arithmetic: that is why a slow
// rate with a large burst is refused.

import type { Host } from '../../datapath/host.ts'
import type { Match } from '../extension.ts'
import { OptionError } from '../options.ts'

export interface Limit {
  /** Time between two packets, in 1/10000 second. */
  readonly period: number
  readonly burst: number
}

/** XT_LIMIT_SCALE. */
const SCALE = 10000
/** CONFIG_HZ of Debian's kernels, and of the one that this was compared with. */
const HZ = 250
const JIFFY_MS = 1000 / HZ
/** The power of two below 2^32 / (HZ * 86400). */
const CREDITS_PER_JIFFY = 128
const DEFAULT_PERIOD = (SCALE * 3600) / 3
const DEFAULT_BURST = 5

const RATES: readonly (readonly [string, number])[] = [
  ['day', SCALE * 24 * 60 * 60],
  ['hour', SCALE * 60 * 60],
  ['min', SCALE * 60],
  ['sec', SCALE],
]
const UNITS: readonly (readonly [string, number])[] = [
  ['second', 1],
  ['minute', 60],
  ['hour', 60 * 60],
  ['day', 24 * 60 * 60],
]

/** atoll(): strtoll's saturated value, 0 without digits. */
export function atoll(text: string): bigint {
  const [, minus = '', digits] = /^\s*(?:\+|(-))?(\d+)/.exec(text) ?? []
  return digits === undefined ? 0n : clamp(BigInt(minus + digits))
}

/** atoi() of a 64-bit C library: the same, cut to 32 bits. */
const atoi = (text: string): number => Number(BigInt.asUintN(32, atoll(text)))

const MAX_LONG = 2n ** 63n - 1n
const clamp = (value: bigint): bigint =>
  value > MAX_LONG ? MAX_LONG : value < -MAX_LONG - 1n ? -MAX_LONG - 1n : value

/** `5`, `5/s`, `5/min`: units may be cut short. */
function parseRate(text: string): number {
  const bad = (): never => {
    throw new OptionError(`bad rate "${text}"'`)
  }
  const slash = text.indexOf('/')
  let seconds = 1
  if (slash >= 0) {
    const unit = text.slice(slash + 1).toLowerCase()
    seconds = (unit === '' ? undefined : UNITS.find(([name]) => name.startsWith(unit)))?.[1] ?? bad()
  }
  const rate = atoi(text)
  if (rate === 0) bad()
  const period = Math.floor((SCALE * seconds) / rate)
  if (period === 0) throw new OptionError(`Rate too fast "${text}"`)
  return period
}

/** print_rate(): the smallest unit in which the rate is not much rounded. */
function printRate(period: number): string {
  let i = 1
  for (; i < RATES.length; i++) {
    const unit = RATES[i]![1]
    if (period > unit || Math.floor(unit / period) < unit % period) break
  }
  const [name, unit] = RATES[i - 1]!
  return `${Math.floor(unit / period)}/${name}`
}

/** user2credits(), in 32 bits. */
function credits(user: number): number {
  const factor = HZ * CREDITS_PER_JIFFY
  return user > Math.floor(0xffffffff / factor)
    ? Math.imul(Math.floor(user / SCALE), factor) >>> 0
    : Math.floor((user * factor) / SCALE)
}

const fullCredit = (m: Limit): number => credits(Math.imul(m.period, m.burst) >>> 0)

export interface LimitState {
  /** Jiffy of the last packet, -1 before the first. */
  previous: number
  credit: number
  readonly cap: number
  readonly cost: number
}

/** Takes a packet's cost; false if the credit does not reach. Does not allocate. */
function take(state: LimitState, host: Host): boolean {
  const now = Math.floor(host.now / JIFFY_MS)
  let credit = state.credit
  if (now !== state.previous) {
    if (state.previous >= 0) credit = (credit + (now - state.previous) * CREDITS_PER_JIFFY) >>> 0
    state.previous = now
  }
  if (credit > state.cap) credit = state.cap
  const fits = credit >= state.cost
  state.credit = fits ? credit - state.cost : credit
  return fits
}

export const limit: Match<Limit> = {
  kind: 'match',
  name: 'limit',
  families: [4, 6],
  layout: {
    size: 40,
    own: 8,
    fields: ({ period, burst }) => [
      [0, 4, period],
      [4, 4, burst],
    ],
  },
  options: [{ flag: 'limit' }, { flag: 'limit-burst' }],
  help: `limit match options:
--limit avg			max average match rate: default 3/hour
                                [Packets per second unless followed by 
                                /sec /minute /hour /day postfixes]
--limit-burst number		number to match in a burst, default 5
`,
  parse: (o) => ({
    period: o.has('limit') ? parseRate(o.text('limit')) : DEFAULT_PERIOD,
    burst: o.has('limit-burst') ? o.uint('limit-burst', 32, 0, 10000) : DEFAULT_BURST,
  }),
  print: (m) =>
    `--limit ${printRate(m.period)}${m.burst === DEFAULT_BURST ? '' : ` --limit-burst ${m.burst}`}`,
  list: (m) => `limit: avg ${printRate(m.period)} burst ${m.burst}`,
  check: (m) =>
    m.burst === 0 || fullCredit(m) < credits(m.period)
      ? { errno: 'ERANGE', reason: `limit: overflow, try lower: ${m.period}/${m.burst}` }
      : null,
  state: (m): LimitState => ({
    previous: -1,
    credit: fullCredit(m),
    cap: fullCredit(m),
    cost: credits(m.period),
  }),
  reads: ['clock', 'state'],
  emit: (_, js) => js`${js.bind(take)}(${js.state}, ${js.env.host})`,
}
