// rateest: compares what RATEEST measured with a rate or with another estimator (libxt_rateest of iptables 1.8.9,
// xt_rateest_mt() of xt_rateest.c).

import type { Host } from '../../datapath/host.ts'
import type { Match } from '../extension.ts'
import { bits, nameField } from '../layout.ts'
import type { Rule } from '../model.ts'
import { OptionError, type Options, PARAMETER_PROBLEM } from '../options.ts'
import { PrintEnds } from '../text/errors.ts'
import { doubleToUint, strtod, wholeNumber } from '../text/numbers.ts'
import { cutBytes } from './comment.ts'
import { words } from './parts.ts'
import { type Estimator, estimators, newEstimator } from './rateest-estimator.ts'

export interface RateEstMatch {
  readonly name1: string
  /** null: compared with a rate (XT_RATEEST_MATCH_ABS). */
  readonly name2: string | null
  readonly mode: '' | 'lt' | 'gt' | 'eq'
  readonly invert: boolean
  readonly delta: boolean
  /** Whether bytes, packets are compared. */
  readonly bps: boolean
  readonly pps: boolean
  /** Bytes and packets a second. */
  readonly bps1: number
  readonly pps1: number
  readonly bps2: number
  readonly pps2: number
}

const MAX_NAME = 15

/** Bits a second of a unit. */
const UNITS: ReadonlyMap<string, number> = new Map([
  ['bit', 1],
  ['kibit', 1024],
  ['kbit', 1e3],
  ['mibit', 1024 ** 2],
  ['mbit', 1e6],
  ['gibit', 1024 ** 3],
  ['gbit', 1e9],
  ['tibit', 1024 ** 4],
  ['tbit', 1e12],
  ['bps', 8],
  ['kibps', 8 * 1024],
  ['kbps', 8e3],
  ['mibps', 8 * 1024 ** 2],
  ['mbps', 8e6],
  ['gibps', 8 * 1024 ** 3],
  ['gbps', 8e9],
  ['tibps', 8 * 1024 ** 4],
  ['tbps', 8e12],
])

function parseRate(o: Options, flag: string): number {
  const text = o.texts(flag)[0]
  if (text === undefined) return 0
  const read = strtod(text)
  const rest = read === null ? '' : text.slice(read.end)
  const unit = rest === '' ? 1 : UNITS.get(rest.toLowerCase())
  if (read === null || unit === undefined)
    throw new OptionError(`rateest: could not parse rate \`${text}'`, PARAMETER_PROBLEM, true)
  return doubleToUint((read.value * unit) / 8)
}

function parsePackets(o: Options, flag: string): number {
  const text = o.texts(flag)[0]
  if (text === undefined) return 0
  const value = wholeNumber(text, 0, 0xffffffff)
  if (value === null)
    throw new OptionError(`rateest: could not parse pps \`${text}'`, PARAMETER_PROBLEM, true)
  return value
}

/** printf("%.0f"): halves go to the even side. */
function round(value: number): number {
  const low = Math.floor(value)
  const over = value - low
  return over > 0.5 || (over === 0.5 && low % 2 === 1) ? low + 1 : low
}

function printRate(rate: number, numeric: boolean): string {
  const bits = rate * 8
  if (numeric) return String(rate)
  if (bits >= 1e9) return `${round(bits / 1e6)}Mbit`
  if (bits >= 1e6) return `${round(bits / 1e3)}Kbit`
  return `${round(bits)}bit`
}

const printMode = (m: RateEstMatch, prefix: string): string => `${m.invert ? '! ' : ''}${prefix}${m.mode}`

function saveRate(m: RateEstMatch, name: string, rate1: string, rate2: string): string {
  const mode = printMode(m, '--rateest-')
  return words(
    m.delta ? `--rateest-${name}1 ${rate1} ${mode} --rateest-${name}2` : `${mode} --rateest-${name}`,
    m.name2 === null || m.delta ? rate2 : '',
  )
}

/** The estimators of one rule. */
class Compared {
  readonly first: Estimator
  readonly second: Estimator | null
  constructor(first: Estimator, second: Estimator | null) {
    this.first = first
    this.second = second
  }
}

const below = (limit: number, rate: number): number => (limit >= rate ? limit - rate : 0)

function compare(mode: RateEstMatch['mode'], a: number, b: number): boolean {
  if (mode === 'lt') return a < b
  return mode === 'gt' ? a > b : a === b
}

/** xt_rateest_mt(). Hot: does not allocate. */
function holds({ first, second }: Compared, host: Host, m: RateEstMatch): boolean {
  let bps1 = first.bps(host)
  let pps1 = first.pps(host)
  let { bps2, pps2 } = m
  if (m.delta) {
    bps1 = below(m.bps1, bps1)
    pps1 = below(m.pps1, pps1)
  }
  if (second !== null) {
    bps2 = second.bps(host)
    pps2 = second.pps(host)
    if (m.delta) {
      bps2 = below(m.bps2, bps2)
      pps2 = below(m.pps2, pps2)
    }
  }
  const fits = (!m.bps || compare(m.mode, bps1, bps2)) && (!m.pps || compare(m.mode, pps1, pps2))
  return fits !== m.invert
}

const makes = (rule: Rule, name: string): boolean =>
  rule.target.kind === 'extension' &&
  rule.target.target.name === 'RATEEST' &&
  (rule.target.data as { readonly name: string }).name === name

const twice = (flag: string) => `rateest: can't specify --${flag} twice`
const MODE_TWICE = "rateest: can't specify lt/gt/eq twice"
const once = { repeatError: MODE_TWICE, arg: 'none', invertible: true } as const

export const rateest: Match<RateEstMatch> = {
  kind: 'match',
  name: 'rateest',
  families: [4, 6],
  layout: {
    size: 72,
    own: 56,
    fields: (m) => [
      nameField(0, 16, m.name1),
      nameField(16, 16, m.name2 ?? ''),
      [32, 2, bits(m.invert, m.name2 === null, m.name2 !== null, m.delta, m.bps, m.pps)],
      [34, 2, ['', 'eq', 'lt', 'gt'].indexOf(m.mode)],
      [36, 4, m.bps1],
      [40, 4, m.pps1],
      [44, 4, m.bps2],
      [48, 4, m.pps2],
    ],
  },
  options: [
    {
      flag: 'rateest1',
      holds: 'name rate',
      aliases: ['rateest'],
      repeatError: twice('rateest1'),
      invertError: "rateest: rateest can't be inverted",
      invertFirst: true,
    },
    {
      flag: 'rateest2',
      holds: 'name rate',
      repeatError: twice('rateest2'),
      invertError: "rateest: rateest can't be inverted",
      invertFirst: true,
    },
    ...(['bps', 'pps'] as const).flatMap((kind) => [
      {
        flag: `rateest-${kind}1`,
        arg: 'next' as const,
        repeatError: twice(`rateest-${kind}1`),
        invertError: `rateest: rateest-${kind} can't be inverted`,
        invertFirst: true,
      },
      {
        flag: `rateest-${kind}2`,
        aliases: [`rateest-${kind}`],
        arg: 'next' as const,
        repeatError: twice(`rateest-${kind}2`),
        invertError: `rateest: rateest-${kind} can't be inverted`,
        invertFirst: true,
      },
    ]),
    {
      flag: 'rateest-delta',
      arg: 'none',
      repeatError: twice('rateest-delta'),
      invertError: "rateest: rateest-delta can't be inverted",
      invertFirst: true,
    },
    { flag: 'rateest-lt', ...once },
    { flag: 'rateest-gt', ...once },
    { flag: 'rateest-eq', ...once },
  ],
  help: `rateest match options:
 --rateest1 name		Rate estimator name
 --rateest2 name		Rate estimator name
 --rateest-delta		Compare difference(s) to given rate(s)
 --rateest-bps1 [bps]		Compare bps
 --rateest-pps1 [pps]		Compare pps
 --rateest-bps2 [bps]		Compare bps
 --rateest-pps2 [pps]		Compare pps
 [!] --rateest-lt		Match if rate is less than given rate/estimator
 [!] --rateest-gt		Match if rate is greater than given rate/estimator
 [!] --rateest-eq		Match if rate is equal to given rate/estimator
`,
  parse(o) {
    const modes = o.given().filter((flag) => /^rateest-(lt|gt|eq)$/.test(flag))
    const name = (flag: string): string => cutBytes(o.text(flag), MAX_NAME)
    return {
      name1: o.has('rateest1') ? name('rateest1') : '',
      name2: o.has('rateest2') ? name('rateest2') : null,
      mode: (modes.at(-1)?.slice('rateest-'.length) ?? '') as RateEstMatch['mode'],
      invert: modes.some((flag) => o.inverted(flag)),
      delta: o.has('rateest-delta'),
      bps: o.has('rateest-bps1') || o.has('rateest-bps2'),
      pps: o.has('rateest-pps1') || o.has('rateest-pps2'),
      bps1: parseRate(o, 'rateest-bps1'),
      pps1: parsePackets(o, 'rateest-pps1'),
      bps2: parseRate(o, 'rateest-bps2'),
      pps2: parsePackets(o, 'rateest-pps2'),
    }
  },
  print: (m) =>
    words(
      m.delta ? '--rateest-delta' : '',
      m.name2 === null ? `--rateest ${m.name1}` : `--rateest1 ${m.name1}`,
      m.bps ? saveRate(m, 'bps', printRate(m.bps1, false), printRate(m.bps2, false)) : '',
      m.pps ? saveRate(m, 'pps', String(m.pps1), String(m.pps2)) : '',
      m.name2 === null ? '' : `--rateest2 ${m.name2}`,
    ),
  list(m, numeric) {
    const mode = printMode(m, '')
    const parts = [`rateest match ${m.name1}${m.delta ? ' delta' : ''}`]
    // rateest_print_mode() exits where there is none; only -v gets so far, before the kernel refuses the rule.
    const way = (): string => {
      if (m.mode === '') throw new PrintEnds(words(...parts))
      return mode
    }
    if (m.bps) {
      parts.push('bps', m.delta ? printRate(m.bps1, numeric) : '')
      if (m.name2 === null) {
        parts.push(printRate(m.bps2, numeric))
        parts.push(way())
      }
    }
    if (m.pps) {
      parts.push('pps', m.delta ? String(m.pps1) : '')
      if (m.name2 === null) parts.push(way(), String(m.pps2))
    }
    if (m.name2 !== null) {
      parts.push(way(), m.name2)
      if (m.bps) parts.push('bps', m.delta ? printRate(m.bps2, numeric) : '')
      if (m.pps) parts.push('pps', m.delta ? String(m.pps2) : '')
    }
    return words(...parts)
  },
  check(m, use) {
    if (!m.bps && !m.pps) return 'rateest: neither bytes nor packets are compared'
    if (m.mode === '') return 'rateest: no way to compare'
    for (const name of m.name2 === null ? [m.name1] : [m.name1, m.name2]) {
      if (use.host != null && estimators(use.host).get(name) !== null) continue
      let made = false
      for (const rule of use.earlier?.() ?? []) if (makes(rule, name)) made = true
      if (!made) return { errno: 'ENOENT', reason: `rateest: no estimator ${name}` }
    }
    return null
  },
  state(m, { host }) {
    const named = estimators(host)
    return new Compared(
      named.take(m.name1, newEstimator),
      m.name2 === null ? null : named.take(m.name2, newEstimator),
    )
  },
  release(m, { host }) {
    estimators(host).give(m.name1)
    if (m.name2 !== null) estimators(host).give(m.name2)
  },
  reads: ['clock', 'state'],
  emit: (m, js) => js`${js.bind(holds)}(${js.state}, ${js.env.host}, ${m})`,
}
