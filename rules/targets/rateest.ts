// RATEEST: counts packets and bytes for a rate estimator that rateest asks (libxt_RATEEST of iptables 1.8.9,
// xt_RATEEST.c). All rules that name the same estimator must say the same about it.

import type { CompileEnv, Target } from '../extension.ts'
import { nameField } from '../layout.ts'
import { cutBytes } from '../matches/comment.ts'
import {
  type Estimator,
  type EstimatorParameters,
  estimators,
  newEstimator,
} from '../matches/rateest-estimator.ts'
import type { Rule } from '../model.ts'
import { OptionError, type Options, PARAMETER_PROBLEM, WholeError } from '../options.ts'
import { madeBefore } from '../shared.ts'
import { doubleToUint, strtod } from '../text/numbers.ts'

export interface RateEst extends EstimatorParameters {
  readonly name: string
}

const MAX_NAME = 15
/** Microseconds. */
const SECOND = 1_000_000
/** Intervals go up to 8 s, 2^5 quarters of a second. */
const MAX_INTERVAL = 5

const UNITS: ReadonlyMap<string, number> = new Map([
  ['s', SECOND],
  ['sec', SECOND],
  ['secs', SECOND],
  ['ms', SECOND / 1000],
  ['msec', SECOND / 1000],
  ['msecs', SECOND / 1000],
  ['us', 1],
  ['usec', 1],
  ['usecs', 1],
  ['', 1],
])

/** Microseconds. */
function time(o: Options, flag: string, what: string): number {
  if (!o.has(flag)) return 0
  const text = o.text(flag)
  const read = strtod(text)
  const unit = read === null ? undefined : UNITS.get(text.slice(read.end).toLowerCase())
  if (read === null || unit === undefined)
    throw new OptionError(`RATEEST: bad ${what} value "${text}"`, PARAMETER_PROBLEM, true)
  return doubleToUint(read.value * unit)
}

function printTime(us: number): string {
  if (us >= SECOND) return `${(us / SECOND).toFixed(1)}s`
  if (us >= SECOND / 1000) return `${(us / (SECOND / 1000)).toFixed(1)}ms`
  return `${us}us`
}

const intervalOf = (m: RateEst): number => (SECOND * 2 ** (m.interval + 2)) / 4
/** In an unsigned int. */
const ewmaOf = (m: RateEst): number => (intervalOf(m) * 2 ** m.ewmaLog) % 2 ** 32

/** The parameters of an estimator that a rule makes; null: another sort of rule. */
export const estimatorOf = (rule: Rule): RateEst | null =>
  rule.target.kind === 'extension' && rule.target.target.name === 'RATEEST'
    ? (rule.target.data as RateEst)
    : null

const sameParameters = (a: EstimatorParameters, b: EstimatorParameters): boolean =>
  a.interval === b.interval && a.ewmaLog === b.ewmaLog

export const rateestTarget: Target<RateEst> = {
  kind: 'target',
  name: 'RATEEST',
  families: [4, 6],
  layout: {
    size: 32,
    own: 24,
    fields: ({ name, interval, ewmaLog }) => [
      nameField(0, 16, name),
      [16, 1, interval & 0xff],
      [17, 1, ewmaLog],
    ],
  },
  options: [
    { flag: 'rateest-name', holds: 'name rate', required: true },
    { flag: 'rateest-interval' },
    { flag: 'rateest-ewmalog' },
  ],
  help: `RATEEST target options:
  --rateest-name name		Rate estimator name
  --rateest-interval sec	Rate measurement interval in seconds
  --rateest-ewmalog value	Rate measurement averaging time constant
`,
  parse(o) {
    const name = o.has('rateest-name') ? cutBytes(o.text('rateest-name'), MAX_NAME) : ''
    const wanted = time(o, 'rateest-interval', 'interval')
    const constant = time(o, 'rateest-ewmalog', 'ewmalog')
    let interval = 0
    while (interval <= MAX_INTERVAL && wanted > (2 ** interval * SECOND) / 4) interval++
    if (interval > MAX_INTERVAL) throw new WholeError('RATEEST: interval value is too large')
    let ewmaLog = 1
    while (ewmaLog < 32 && !(wanted / -Math.log(1 - 1 / 2 ** ewmaLog) > constant)) ewmaLog++
    ewmaLog--
    if (ewmaLog === 0 || ewmaLog >= 31) throw new WholeError('RATEEST: ewmalog value is out of range')
    return { name, interval: interval - 2, ewmaLog }
  },
  print: (m) =>
    `--rateest-name ${m.name} --rateest-interval ${printTime(intervalOf(m))} --rateest-ewmalog ${printTime(ewmaOf(m))}`,
  list: (m) => `name ${m.name} interval ${printTime(intervalOf(m))} ewmalog ${printTime(ewmaOf(m))}`,
  check(m, use) {
    const known = madeBefore<EstimatorParameters>(
      use,
      (host) => estimators(host).get(m.name)?.params ?? null,
      (rule) => {
        const other = estimatorOf(rule)
        return other?.name === m.name ? other : null
      },
    )
    return known === null || sameParameters(known, m)
      ? null
      : `RATEEST: ${m.name} is measured otherwise already`
  },
  state(m, { host }: CompileEnv) {
    const estimator = estimators(host).take(m.name, newEstimator)
    estimator.start(host, { interval: m.interval, ewmaLog: m.ewmaLog })
    return estimator
  },
  release: (m, { host }) => estimators(host).give(m.name),
  reads: ['length', 'clock', 'state'],
  flow: 'continue',
  emit: (_, js) => js`${js.state}.count(${js.env.host}, pkt.end - pkt.l3)`,
}

export type { Estimator }
