// u32: 32-bit words of the packet, masked, shifted and followed, against ranges (libxt_u32 of iptables 1.8.9,
// u32_match_it() of xt_u32.c).
//
//     0>>22&0x3C@0>>24=0,8:10   word at 0, shifted, masked, is how far to go on; the word there, shifted, is 0 or 8 to 10

import { hidePartialChecksum, showPartialChecksum } from '../../datapath/offload.ts'
import type { Packet } from '../../datapath/packet.ts'
import type { FrameMemory } from '../../datapath/ring.ts'
import type { Match } from '../extension.ts'
import type { Field } from '../layout.ts'
import { OptionError } from '../options.ts'
import { hasSpace, hex, strtoul } from '../text/numbers.ts'

export interface Step {
  readonly op: '' | '&' | '<<' | '>>' | '@'
  readonly number: number
}

export interface U32Test {
  /** The first has no operator. */
  readonly location: readonly Step[]
  readonly values: readonly (readonly [number, number])[]
}

export interface U32 {
  readonly tests: readonly U32Test[]
  readonly invert: boolean
}

/** XT_U32_MAXSIZE */
const MAX = 10

const fail = (message: string): never => {
  throw new OptionError(`u32: ${message}`)
}

function parseTests(text: string): U32Test[] {
  let at = 0
  let location: Step[] = []
  let values: (readonly [number, number])[] = []
  let inValues = false
  const tests: U32Test[] = []
  const error = (message: string): never => fail(`at char ${at}: ${message}`)
  const blanks = (): void => {
    while (at < text.length && hasSpace(text[at]!)) at++
  }
  const number = (): number => {
    const read = strtoul(text.slice(at), 0, 0xffffffff) ?? error('not a number or out of range')
    at += read.end
    return read.value
  }
  const twice = (c: string): void => {
    if (text[++at] !== c) error(`a second '${c}' was expected`)
  }
  const operator = (): Step['op'] => {
    const c = text[at]!
    if (c === '<' || c === '>') twice(c)
    else if (c !== '&' && c !== '@') error('operator expected')
    at++
    blanks()
    return c === '<' ? '<<' : c === '>' ? '>>' : (c as '&' | '@')
  }
  const endTest = (): void => {
    tests.push({ location, values })
    if (tests.length > MAX) error('too many "&&"s')
    location = []
    values = []
  }
  for (blanks(); at < text.length; blanks()) {
    if (!inValues && text[at] === '=') {
      if (location.length === 0) error('location spec missing')
      at++
      inValues = true
    } else if (!inValues) {
      const op = location.length === 0 ? '' : operator()
      location.push({ op, number: number() })
      if (location.length > MAX) error('too many operators')
    } else if (text[at] === '&') {
      twice('&')
      if (values.length === 0) error('value spec missing')
      endTest()
      at++
      inValues = false
    } else {
      if (values.length > 0) {
        if (text[at] !== ',') error('expected "," or "&&"')
        at++
      }
      const min = number()
      blanks()
      let max = min
      if (text[at] === ':') {
        at++
        max = number()
      }
      values.push([min, max])
      if (values.length > MAX) error('too many ","s')
    }
  }
  if (!inValues) fail('abrupt end of input after location specifier')
  if (values.length === 0) fail('test ended with no value specified')
  endTest()
  return tests
}

const printTest = ({ location, values }: U32Test): string =>
  `${location.map(({ op, number }) => op + hex(number)).join('')}=${values
    .map(([min, max]) => (min === max ? hex(min) : `${hex(min)}:${hex(max)}`))
    .join(',')}`
const printTests = (m: U32): string => `"${m.tests.map(printTest).join('&&')}"`

/** Does not allocate. */
function fits(pkt: Packet, memory: FrameMemory, tests: readonly U32Test[]): boolean {
  const whole = showPartialChecksum(pkt, memory)
  const fit = allFit(pkt, memory, tests)
  hidePartialChecksum(pkt, memory, whole)
  return fit
}

function allFit(pkt: Packet, memory: FrameMemory, tests: readonly U32Test[]): boolean {
  const { view } = memory
  const length = pkt.end - pkt.l3
  if (length < 4) return false
  for (let t = 0; t < tests.length; t++) {
    const { location, values } = tests[t]!
    let base = 0
    const first = location[0]!.number
    if (first > length - 4) return false
    let value = view.getUint32(pkt.l3 + first)
    for (let i = 1; i < location.length; i++) {
      const { op, number } = location[i]!
      if (op === '&') value = (value & number) >>> 0
      else if (op === '<<') value = (value << number) >>> 0
      else if (op === '>>') value >>>= number
      else {
        base += value
        if (base + 4 > length || number > length - base - 4) return false
        value = view.getUint32(pkt.l3 + base + number)
      }
    }
    let i = 0
    while (i < values.length && (value < values[i]![0] || value > values[i]![1])) i++
    if (i === values.length) return false
  }
  return true
}

const NO_TEST: U32Test = { location: [], values: [] }
const OPERATORS: readonly string[] = ['&', '<<', '>>', '@']

/** struct xt_u32_test: eleven steps of a number and an operator, eleven ranges, how many there are of each. */
const testFields = ({ location, values }: U32Test, i: number): Field[] => [
  ...Array.from({ length: MAX + 1 }, (_, k): Field[] => [
    [180 * i + 8 * k, 4, location[k]?.number ?? 0],
    [180 * i + 8 * k + 4, 1, Math.max(0, OPERATORS.indexOf(location[k]?.op ?? ''))],
    [180 * i + 88 + 8 * k, 4, values[k]?.[0] ?? 0],
    [180 * i + 92 + 8 * k, 4, values[k]?.[1] ?? 0],
  ]).flat(),
  [180 * i + 176, 1, location.length],
  [180 * i + 177, 1, values.length],
]

export const u32: Match<U32> = {
  kind: 'match',
  name: 'u32',
  families: [4, 6],
  layout: {
    size: 1984,
    fields: (m) => [
      ...Array.from({ length: MAX + 1 }, (_, i) => testFields(m.tests[i] ?? NO_TEST, i)).flat(),
      [1980, 1, m.tests.length - 1],
      [1981, 1, m.invert ? 1 : 0],
    ],
  },
  options: [{ flag: 'u32', holds: 'program', required: true, invertible: true }],
  help: `u32 match options:
[!] --u32 tests
		tests := location "=" value | tests "&&" location "=" value
		value := range | value "," range
		range := number | number ":" number
		location := number | location operator number
		operator := "&" | "<<" | ">>" | "@"
`,
  parse: (o) => ({ tests: parseTests(o.text('u32')), invert: o.inverted('u32') }),
  print: (m) => `${m.invert ? '! ' : ''}--u32 ${printTests(m)}`,
  list: (m) => `u32 ${m.invert ? '! ' : ''}${printTests(m)}`,
  check: (m) =>
    m.tests.some(({ location }) =>
      location.some(({ op, number }) => (op === '<<' || op === '>>') && number > 31),
    )
      ? 'u32: a shift by 32 bits or more'
      : null,
  reads: ['payload'],
  emit: (m, js) => js`${js.bind(fits)}(pkt, ${js.env.host.memory}, ${m.tests}) !== ${m.invert}`,
}
