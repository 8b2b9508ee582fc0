// Matches and targets of the hop count, which is TTL in IPv4 and the hop limit in IPv6 (xt_hl.c, xt_HL.c; libipt_ttl,
// libip6t_hl, libipt_TTL and libip6t_HL of iptables 1.8.9).

import type { Family, Packet } from '../datapath/packet.ts'
import type { FrameMemory } from '../datapath/ring.ts'
import type { Match, Target } from './extension.ts'
import { WholeError } from './options.ts'

/** A family's hop count. */
export interface HopCount {
  readonly family: Family
  /** In its options: ttl, hl. */
  readonly name: string
  /** Bytes from the header's first one on. */
  readonly at: number
}

export interface HopTest {
  readonly test: 'eq' | 'ne' | 'lt' | 'gt'
  readonly value: number
}

const OPERATORS = { eq: '==', ne: '!=', lt: '<', gt: '>' } as const

/** ttl_mt(), hl_mt6(). `words`: the name in the help text; `quote`: what ends the complaint that nothing is asked. */
export function hopMatch({ family, name, at }: HopCount, words: string, quote: string): Match<HopTest> {
  const [lt, gt, eq] = [`${name}-lt`, `${name}-gt`, `${name}-eq`]
  const upper = name.toUpperCase()
  return {
    kind: 'match',
    name,
    families: [family],
    layout: {
      size: 8,
      fields: ({ test, value }) => [
        [0, 1, ['eq', 'ne', 'lt', 'gt'].indexOf(test)],
        [1, 1, value],
      ],
    },
    options: [
      { flag: lt, id: 1, excludes: [eq, gt] },
      { flag: gt, id: 2, excludes: [eq, lt] },
      { flag: eq, id: 0, aliases: [name], invertible: true, excludes: [lt, gt] },
    ],
    help: `${name} match options:
[!] --${eq} value	Match ${words} value
  --${lt} value	Match ${upper} < value
  --${gt} value	Match ${upper} > value
`,
    parse(o) {
      if (o.has(lt)) return { test: 'lt', value: o.uint(lt, 8) }
      if (o.has(gt)) return { test: 'gt', value: o.uint(gt, 8) }
      if (o.has(eq)) return { test: o.inverted(eq) ? 'ne' : 'eq', value: o.uint(eq, 8) }
      throw new WholeError(
        `${upper} match: You must specify one of \`--${eq}', \`--${lt}', \`--${gt}${quote}`,
      )
    },
    print: (m) => (m.test === 'ne' ? `! --${eq} ${m.value}` : `--${name}-${m.test} ${m.value}`),
    list: (m) => `${upper} match ${upper} ${OPERATORS[m.test]} ${m.value}`,
    reads: ['ttl'],
    emit(m, js) {
      const field = js`${js.env.host.memory.bytes}[pkt.l3 + ${at}]`
      switch (m.test) {
        case 'eq':
          return js`${field} === ${m.value}`
        case 'ne':
          return js`${field} !== ${m.value}`
        case 'lt':
          return js`${field} < ${m.value}`
        case 'gt':
          return js`${field} > ${m.value}`
      }
    },
  }
}

export interface HopChange {
  readonly mode: 'set' | 'inc' | 'dec'
  readonly value: number
}

const MODES = ['set', 'dec', 'inc'] as const
/** The numbers of the options. */
const NUMBERED: readonly string[] = ['set', 'inc', 'dec']
const LISTED = { set: 'set to', inc: 'increment by', dec: 'decrement by' } as const

/** ttl_tg(), hl_tg6(). `set`: writes the count and mends checksums; does not allocate. */
export function hopTarget(
  { family, name, at }: HopCount,
  set: (pkt: Packet, memory: FrameMemory, count: number) => void,
): Target<HopChange> {
  const upper = name.toUpperCase()
  const flagOf = (mode: HopChange['mode']): string => `${name}-${mode}`
  /** By so much up or down, within 0 to 255. Does not allocate. */
  const change = (pkt: Packet, memory: FrameMemory, by: number): void => {
    const count = memory.bytes[pkt.l3 + at]! + by
    set(pkt, memory, count > 255 ? 255 : Math.max(count, 0))
  }
  return {
    kind: 'target',
    name: upper,
    families: [family],
    layout: {
      size: 8,
      fields: ({ mode, value }) => [
        [0, 1, NUMBERED.indexOf(mode)],
        [1, 1, value],
      ],
    },
    tables: ['mangle'],
    options: MODES.map((mode) => ({
      flag: flagOf(mode),
      id: NUMBERED.indexOf(mode),
      excludes: MODES.filter((other) => other !== mode).map(flagOf),
    })),
    help: `${upper} target options
  --${name}-set value		Set ${upper} to <value 0-255>
  --${name}-dec value		Decrement ${upper} by <value 1-255>
  --${name}-inc value		Increment ${upper} by <value 1-255>
`,
    parse(o) {
      const mode = MODES.find((wanted) => o.has(flagOf(wanted)))
      if (mode === undefined) throw new WholeError(`${upper}: You must specify an action`)
      return { mode, value: o.uint(flagOf(mode), 8, mode === 'set' ? 0 : 1, 255) }
    },
    print: (m) => `--${flagOf(m.mode)} ${m.value}`,
    list: (m) => `${upper} ${LISTED[m.mode]} ${m.value}`,
    check: (m) => (m.mode !== 'set' && m.value === 0 ? `${upper}: a change by 0` : null),
    reads: ['ttl'],
    writes: ['ttl'],
    flow: 'continue',
    repeats: 'each',
    emit(m, js) {
      const { memory } = js.env.host
      if (m.mode === 'set') return js`${js.bind(set)}(pkt, ${memory}, ${m.value})`
      return js`${js.bind(change)}(pkt, ${memory}, ${m.mode === 'inc' ? m.value : -m.value})`
    },
  }
}
