// What a rule's conditions let through, as boxes: exactly where the condition is one of those known here, else as a text
// that says the condition.
//
// Known: addresses and prefixes, protocol, interfaces, fragments, the ports and flags of tcp and udp and their like,
// multiport, icmp and icmp6, state and conntrack states, mark, comment. A packet without the header that a transport
// match looks at is in none of its boxes: such a match asks for one.

import type { Family } from '../../datapath/packet.ts'
import { type ConntrackTest, State } from '../../rules/matches/conntrack.ts'
import type { Icmp } from '../../rules/matches/icmp-type.ts'
import type { Mark } from '../../rules/matches/mark.ts'
import type { Multiport } from '../../rules/matches/multiport.ts'
import type { Ports } from '../../rules/matches/parts.ts'
import type { Tcp } from '../../rules/matches/tcp.ts'
import type { AddressMatch, InterfaceMatch, MatchUse, Rule } from '../../rules/model.ts'
import { type Box, both, complement, type Interval, normal, type Universe, type Values } from './region.ts'

/** Dimensions of a box. */
export const D = {
  src: 0,
  dst: 1,
  protocol: 2,
  /** 1: a later fragment. */
  fragment: 3,
  /** -1: it has none. */
  sport: 4,
  dport: 5,
  /** Classes of names, see Names. */
  in: 6,
  out: 7,
  /** Index in STATES. */
  state: 8,
  /** The bits that rules of the chain look at, put together. */
  mark: 9,
  /** The flags byte; 256: no TCP header. */
  flags: 10,
  /** Type and code; -1: none. */
  icmp: 11,
} as const
const DIMENSIONS = 12
/** Those that a rule may change whose packet goes on. */
const CHANGING: readonly number[] = [D.state, D.mark, D.flags]

/** Conntrack states, of which a packet has exactly one. */
const STATES = [State.Invalid, State.Established, State.Related, State.New, State.Untracked] as const
const ALL_STATES = STATES.reduce((sum: number, bit) => sum | bit, 0)

/** A rule's region: packets outside `boxes` do not match it, those inside do if `opaque` fits too. */
export interface Region {
  readonly boxes: readonly Box[]
  /** Conditions that are not known, as their options. */
  readonly opaque: readonly string[]
  /** One of them may say now this, now that of the same packet. */
  readonly fickle: boolean
  /** It looks at something that other rules may change. */
  readonly changing: boolean
}

const EVERYTHING: Box = Array<Values>(DIMENSIONS).fill(null)

const box = (parts: readonly (readonly [number, Values])[]): Box => {
  const made = [...EVERYTHING]
  for (const [d, values] of parts) made[d] = values
  return made
}

/** Interface names as classes: names that no pattern of the chain tells apart are one. */
class Names {
  readonly #classes: readonly string[]

  constructor(patterns: Iterable<string>) {
    const names = new Set(['', '\u0001'])
    for (const pattern of patterns)
      names.add(pattern.endsWith('+') ? `${pattern.slice(0, -1)}\u0001` : pattern)
    this.#classes = [...names]
  }

  get universe(): Interval {
    return [0, this.#classes.length - 1]
  }

  of({ name, invert }: InterfaceMatch): Interval[] {
    const fits = (known: string): boolean =>
      name.endsWith('+') ? known.startsWith(name.slice(0, -1)) : known === name
    return this.#classes.flatMap((known, i): Interval[] => (fits(known) !== invert ? [[i, i]] : []))
  }
}

/** Most bits of marks that are told apart: 2 to this power of values. */
const MARK_BITS = 10

/**
 * Bits of the mark that tell the tests apart: those that some test wants set, and of the others, which tests want to be 0
 * or do not look at, one for each set of tests that look at it.
 */
function markBits(tests: readonly Mark[]): number[] {
  const bits: number[] = []
  const seen = new Set<string>()
  for (let bit = 0; bit < 32; bit++) {
    const wanted = tests.some(({ value }) => (value >>> bit) & 1)
    const who = tests.flatMap(({ mask }, i) => ((mask >>> bit) & 1 ? [i] : [])).join()
    if (wanted || (who !== '' && !seen.has(who))) bits.push(bit)
    if (!wanted) seen.add(who)
  }
  return bits
}

/** Makes regions of the rules of one chain. */
export class Conditions {
  readonly universe: Universe
  readonly #family: Family
  readonly #in: Names
  readonly #out: Names
  /** Bits of the mark that the chain's rules look at; null: too many. */
  readonly #bits: readonly number[] | null
  readonly #regions = new Map<Rule, Region>()
  /** By data of matches. */
  readonly #boxes = new Map<object, readonly Box[] | null>()

  constructor(family: Family, rules: readonly Rule[]) {
    this.#family = family
    this.#in = new Names(rules.flatMap(({ base }) => base.inInterface?.name ?? []))
    this.#out = new Names(rules.flatMap(({ base }) => base.outInterface?.name ?? []))
    const bits = markBits(
      rules.flatMap(({ matches }) =>
        matches.flatMap(({ match, data }) => (match.name === 'mark' ? [data as Mark] : [])),
      ),
    )
    this.#bits = bits.length <= MARK_BITS ? bits : null
    const last = family === 4 ? 0xffffffffn : (1n << 128n) - 1n
    this.universe = [
      [0n, last],
      [0n, last],
      [0, 255],
      [0, 1],
      [-1, 65535],
      [-1, 65535],
      this.#in.universe,
      this.#out.universe,
      [0, STATES.length - 1],
      [0, 2 ** (this.#bits?.length ?? 0) - 1],
      [0, 256],
      [-1, 65535],
    ]
  }

  of(rule: Rule): Region {
    let region = this.#regions.get(rule)
    if (region === undefined) {
      region = this.#make(rule)
      this.#regions.set(rule, region)
    }
    return region
  }

  #make({ base, matches }: Rule): Region {
    const opaque: string[] = []
    let fickle = false
    let changing = false
    let boxes: readonly Box[] = [EVERYTHING]
    const narrow = (...parts: (readonly [number, Values])[]): void => {
      boxes = both(boxes, [box(parts)])
    }
    for (const [d, address] of [[D.src, base.source] as const, [D.dst, base.destination] as const]) {
      if (address === null) continue
      const values = this.#address(address)
      if (values === null) opaque.push(`${d} ${JSON.stringify(address)}`)
      else narrow([d, values])
    }
    if (base.protocol !== null && base.protocol.number !== 0) {
      const { number, invert } = base.protocol
      const one: Interval[] = [[number, number]]
      narrow([D.protocol, invert ? complement(one, this.universe[D.protocol]!) : one])
    } else if (base.protocol?.invert) opaque.push('! -p 0')
    if (base.inInterface !== null) narrow([D.in, this.#in.of(base.inInterface)])
    if (base.outInterface !== null) narrow([D.out, this.#out.of(base.outInterface)])
    if (base.fragment !== null) narrow([D.fragment, base.fragment.invert ? [[0, 0]] : [[1, 1]]])
    for (const use of matches) {
      const known = this.#known(use)
      if (known === null) {
        const { match, data } = use
        opaque.push(`${match.name} ${match.print(data, this.#family)}`)
        // What it looks at is not known here: assume that it may be changed.
        changing = true
        const reads = typeof match.reads === 'function' ? match.reads(data) : match.reads
        if (match.state !== undefined || reads.some((fact) => FICKLE.includes(fact))) fickle = true
      } else boxes = both(boxes, known)
    }
    changing ||= boxes.some((one) => CHANGING.some((d) => one[d] !== null))
    return { boxes, opaque, fickle, changing }
  }

  /** Null: a mask with holes. */
  #address({ words, mask, invert }: AddressMatch): Interval[] | null {
    const wide = (w: readonly number[]): bigint =>
      (this.#family === 4 ? w.slice(0, 1) : w).reduce((sum, word) => (sum << 32n) | BigInt(word >>> 0), 0n)
    const [, last] = this.universe[D.src]!
    const host = (last as bigint) ^ wide(mask)
    if ((host & (host + 1n)) !== 0n) return null
    const low = wide(words)
    // Bits behind the mask: nothing is ever equal to it.
    const some: Interval[] = (low & host) === 0n ? [[low, low | host]] : []
    return invert ? complement(some, this.universe[D.src]!) : some
  }

  /** Lines of one kind share their data: each is looked at once. */
  #known(use: MatchUse): readonly Box[] | null {
    const key = use.data as object
    if (typeof key !== 'object' || key === null) return this.#match(use)
    let known = this.#boxes.get(key)
    if (known === undefined) {
      known = this.#match(use)
      this.#boxes.set(key, known)
    }
    return known
  }

  /** Boxes of a match; null: it is not known. */
  #match({ match, data }: MatchUse): readonly Box[] | null {
    switch (match.name) {
      case 'comment':
        return [EVERYTHING]
      case 'tcp': {
        const m = data as Tcp
        if (m.option !== 0) return null
        const flags = Array.from({ length: 256 }, (_, i) => i).filter(
          (byte) => ((byte & m.flagsMask) === m.flagsCompare) !== m.flagsInvert,
        )
        return [box([...this.#ports(m), [D.flags, normal(flags.map((byte) => [byte, byte]))]])]
      }
      case 'udp':
        return [box(this.#ports(data as Ports))]
      case 'multiport':
        return this.#multiport(data as Multiport)
      case 'icmp':
      case 'icmp6':
        return this.#icmp(data as Icmp, match.name)
      case 'state':
        return this.#states(
          (data as { value: number; invert: boolean }).value,
          (data as { invert: boolean }).invert,
        )
      case 'conntrack': {
        const m = data as ConntrackTest
        const others = [m.protocol, m.status, m.expires, m.direction]
        const fields = [...Object.values(m.addresses), ...Object.values(m.ports)]
        if (m.state === null || [...others, ...fields].some((asked) => asked !== null)) return null
        return this.#states(m.state.value, m.state.invert)
      }
      case 'mark':
        return this.#mark(data as Mark)
    }
    return null
  }

  #ports({ sport, dport, sportInvert, dportInvert }: Ports): (readonly [number, Values])[] {
    const side = (range: readonly [number, number], invert: boolean): Interval[] =>
      invert
        ? complement(range[0] <= range[1] ? [range] : [], [0, 65535])
        : range[0] <= range[1]
          ? [range]
          : []
    return [
      [D.fragment, [[0, 0]]],
      [D.sport, side(sport, sportInvert)],
      [D.dport, side(dport, dportInvert)],
    ]
  }

  #multiport({ side, ports, invert }: Multiport): Box[] {
    const listed = normal(ports.filter(([lo, hi]) => lo <= hi))
    const all: Interval[] = [[0, 65535]]
    const fits = invert ? complement(listed, [0, 65535]) : listed
    const make = (sport: Values, dport: Values): Box =>
      box([
        [D.fragment, [[0, 0]]],
        [D.sport, sport],
        [D.dport, dport],
      ])
    if (side === 'source') return [make(fits, all)]
    if (side === 'destination') return [make(all, fits)]
    return invert ? [make(fits, fits)] : [make(fits, all), make(all, fits)]
  }

  #icmp({ type, codeMin, codeMax, invert }: Icmp, name: string): Box[] {
    const any = name === 'icmp' && type === 255
    const some: Interval[] = any
      ? [[0, 65535]]
      : codeMin <= codeMax
        ? [[type * 256 + codeMin, type * 256 + codeMax]]
        : []
    return [
      box([
        [D.fragment, [[0, 0]]],
        [D.icmp, invert ? complement(some, [0, 65535]) : some],
      ]),
    ]
  }

  /** Null: it asks for SNAT or DNAT, which go with any state. */
  #states(bits: number, invert: boolean): Box[] | null {
    if ((bits & ~ALL_STATES) !== 0) return null
    const fits = STATES.flatMap((bit, i): Interval[] => (((bits & bit) !== 0) !== invert ? [[i, i]] : []))
    return [box([[D.state, fits]])]
  }

  #mark({ value, mask, invert }: Mark): Box[] | null {
    const bits = this.#bits
    if (bits === null) return null
    const fits: Interval[] = []
    for (let n = 0; n < 2 ** bits.length; n++) {
      let mark = 0
      for (const [i, bit] of bits.entries()) if ((n >> i) & 1) mark |= 1 << bit
      if (((mark & mask) >>> 0 === value) !== invert) fits.push([n, n])
    }
    return [box([[D.mark, normal(fits)]])]
  }
}

/** Facts of which the same packet may say something else a moment later. */
const FICKLE: readonly string[] = ['clock', 'random', 'state']
