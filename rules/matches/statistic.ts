// statistic: every nth packet, or a share of them at random (libxt_statistic of iptables 1.8.9, statistic_mt() of
// xt_statistic.c).

import type { Match } from '../extension.ts'
import { OptionError, WholeError } from '../options.ts'
import { strtod } from '../text/numbers.ts'

export type Statistic =
  /** Of 2^31: a packet fits if its random 31 bits are below. */
  | { readonly mode: 'random'; readonly threshold: number; readonly invert: boolean }
  | { readonly mode: 'nth'; readonly every: number; readonly packet: number; readonly invert: boolean }

const SCALE = 0x80000000

function parseProbability(text: string): number {
  const read = strtod(text)
  if (read === null || read.end !== text.length || read.value < 0 || read.value > 1)
    throw new OptionError('statistic: bad value for option "--probability", or out of range (0-1).\n')
  // What is not a number is not out of range either.
  return Number.isNaN(read.value) ? 0 : Math.round(Math.abs(read.value) * SCALE)
}

/** printf("%.11f"): exact, ties to even. */
function printProbability(threshold: number): string {
  const digits = 10n ** 11n
  const scaled = BigInt(threshold) * digits
  const scale = BigInt(SCALE)
  let whole = scaled / scale
  const rest = (scaled % scale) * 2n
  if (rest > scale || (rest === scale && whole % 2n === 1n)) whole++
  return `${whole / digits}.${(whole % digits).toString().padStart(11, '0')}`
}

/** One nth counter. */
export interface NthState {
  count: number
}

/** Counts, and says whether this is the one. Does not allocate. */
function nth(state: NthState, last: number): boolean {
  if (state.count === last) {
    state.count = 0
    return true
  }
  state.count++
  return false
}

export const statistic: Match<Statistic> = {
  kind: 'match',
  name: 'statistic',
  families: [4, 6],
  layout: {
    size: 24,
    own: 12,
    fields: (m) => [
      [0, 2, m.mode === 'nth' ? 1 : 0],
      [2, 2, m.invert ? 1 : 0],
      [4, 4, m.mode === 'nth' ? m.every - 1 : m.threshold],
      [8, 4, m.mode === 'nth' ? m.packet : 0],
    ],
  },
  options: [
    { flag: 'mode', required: true },
    { flag: 'probability', invertible: true, also: ['mode'], excludes: ['every', 'packet'] },
    { flag: 'every', invertible: true, also: ['mode', 'packet'], excludes: ['probability'] },
    { flag: 'packet', also: ['mode', 'every'], excludes: ['probability'] },
  ],
  help: `statistic match options:
 --mode mode                    Match mode (random, nth)
 random mode:
[!] --probability p		 Probability
 nth mode:
[!] --every n			 Match every nth packet
 --packet p			 Initial counter value (0 <= p <= n-1, default 0)
`,
  parse(o) {
    const mode = o.has('mode') ? o.text('mode') : 'random'
    if (mode !== 'random' && mode !== 'nth') throw new OptionError(`Bad mode "${mode}"`)
    const threshold = o.has('probability') ? parseProbability(o.text('probability')) : null
    const every = o.has('every') ? o.uint('every', 32, 1, 0xffffffff) : 1
    const packet = o.has('packet') ? o.uint('packet', 32, 0, 0xffffffff) : 0
    if (mode === 'random' && threshold === null)
      throw new WholeError('--probability must be specified when using random mode')
    if (mode === 'nth' && !o.has('every') && !o.has('packet'))
      throw new WholeError('--every and --packet must be specified when using nth mode')
    // The kernel's structure keeps the probability where it keeps N - 1.
    const last = o.given().findLast((flag) => flag === 'probability' || flag === 'every')
    if (packet > (last === 'probability' ? threshold! : every - 1))
      throw new WholeError('the --packet p must be 0 <= p <= n-1')
    if (mode === 'nth') return { mode, every, packet, invert: o.has('every') && o.inverted('every') }
    return { mode, threshold: threshold!, invert: o.inverted('probability') }
  },
  print(m) {
    const invert = m.invert ? '! ' : ''
    return m.mode === 'random'
      ? `--mode random ${invert}--probability ${printProbability(m.threshold)}`
      : `--mode nth ${invert}--every ${m.every} --packet ${m.packet}`
  },
  list(m) {
    const invert = m.invert ? '! ' : ''
    if (m.mode === 'random')
      return `statistic mode random ${invert}probability ${printProbability(m.threshold)}`
    return `statistic mode nth ${invert}every ${m.every}${m.packet === 0 ? '' : ` packet ${m.packet}`}`
  },
  stateless: (m) => m.mode === 'random',
  state: (m): NthState | null => (m.mode === 'nth' ? { count: m.every - 1 - m.packet } : null),
  reads: (m) => (m.mode === 'random' ? ['random'] : ['state']),
  byChance: (m) => m.mode === 'random',
  emit(m, js) {
    const hit =
      m.mode === 'random'
        ? js`(${js.env.host.dice}.i32() & 0x7fffffff) < ${m.threshold}`
        : js`${js.bind(nth)}(${js.state}, ${m.every - 1})`
    return m.invert ? js`!${hit}` : hit
  },
}
