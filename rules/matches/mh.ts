// mh: the type of a Mobile IPv6 mobility header, RFC 6275 §6.1 (libip6t_mh of iptables 1.8.9, mh_mt6() of ip6t_mh.c).

import type { Packet } from '../../datapath/packet.ts'
import type { FrameMemory } from '../../datapath/ring.ts'
import { NEXTHDR_MOBILITY, NEXTHDR_NONE } from '../../datapath/wire/ipv6-headers.ts'
import type { Match } from '../extension.ts'
import { OptionError } from '../options.ts'
import { wholeNumber } from '../text/numbers.ts'
import { within } from './headers6.ts'
import { abbreviates, headerFits, type Range } from './parts.ts'

export interface Mh {
  readonly range: Range
  readonly invert: boolean
}

/** By type. */
const NAMES: readonly (readonly [name: string, alias: string])[] = [
  ['binding-refresh-request', 'brr'],
  ['home-test-init', 'hoti'],
  ['careof-test-init', 'coti'],
  ['home-test', 'hot'],
  ['careof-test', 'cot'],
  ['binding-update', 'bu'],
  ['binding-acknowledgement', 'ba'],
  ['binding-error', 'be'],
]

function parseType(text: string): number {
  // An abbreviation takes the first that it fits, a whole name its own.
  const whole = text.toLowerCase()
  const exact = NAMES.findIndex((names) => names.includes(whole))
  const named =
    exact >= 0
      ? exact
      : NAMES.findIndex(([name, alias]) => abbreviates(text, name) || abbreviates(text, alias))
  const type = named >= 0 ? named : wholeNumber(text, 0, 255)
  if (type === null) throw new OptionError(`Invalid MH type \`${text}'`)
  return type
}

function parseRange(text: string): Range {
  const colon = text.indexOf(':')
  if (colon < 0) {
    const type = parseType(text)
    return [type, type]
  }
  const from = text.slice(0, colon)
  const to = text.slice(colon + 1)
  const min = from === '' ? 0 : parseType(from)
  const max = to === '' ? 0xff : parseType(to)
  if (min > max) throw new OptionError('Invalid MH type range (min > max)')
  return [min, max]
}

/** A header that says something follows it is none of Mobile IPv6's: dropped. Does not allocate. */
function fits(pkt: Packet, { bytes }: FrameMemory, m: Mh): boolean {
  if (bytes[pkt.l4] !== NEXTHDR_NONE) {
    pkt.hotdrop = true
    return false
  }
  return within(bytes[pkt.l4 + 2]!, m.range, m.invert)
}

const typeName = (type: number, numeric: boolean): string =>
  (numeric ? undefined : NAMES[type]?.[0]) ?? String(type)

const all = ([min, max]: Range): boolean => min === 0 && max === 0xff

const format = ([min, max]: Range, numeric: boolean): string =>
  min === max ? typeName(min, numeric) : `${typeName(min, numeric)}:${typeName(max, numeric)}`

export const mh: Match<Mh> = {
  kind: 'match',
  name: 'mh',
  families: [6],
  layout: {
    size: 8,
    fields: ({ range, invert }) => [
      [0, 1, range[0]],
      [1, 1, range[1]],
      [2, 1, invert ? 1 : 0],
    ],
  },
  protocols: [NEXTHDR_MOBILITY],
  options: [{ flag: 'mh-type', invertible: true }],
  help: `mh match options:
[!] --mh-type type[:type]	match mh type
Valid MH types:
binding-refresh-request (brr)
home-test-init (hoti)
careof-test-init (coti)
home-test (hot)
careof-test (cot)
binding-update (bu)
binding-acknowledgement (ba)
binding-error (be)
`,
  parse: (o) => ({
    range: o.has('mh-type') ? parseRange(o.text('mh-type')) : [0, 0xff],
    invert: o.has('mh-type') && o.inverted('mh-type'),
  }),
  // `! 0:255` is lost, as ip6tables-save loses it.
  print: (m) => (all(m.range) ? '' : `${m.invert ? '! ' : ''}--mh-type ${format(m.range, true)}`),
  list: (m, numeric) =>
    all(m.range) && !m.invert ? 'mh' : `mh ${m.invert ? '!' : ''}${format(m.range, numeric)}`,
  reads: ['protocol', 'fragment', 'payload'],
  hotdrop: true,
  emit: (m, js) => js`${headerFits(6, js)} && ${js.bind(fits)}(pkt, ${js.env.host.memory}, ${m})`,
}
