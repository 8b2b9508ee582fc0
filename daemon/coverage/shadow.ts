// Which rules no packet can ever hit, and because of which others: an exact decision on the conditions that
// conditions.ts knows, a cautious one on the rest. A rule is called shadowed only if earlier rules of its chain, whose
// verdict always ends the walk through it, surely take every packet that it could match.
//
//     chain ── rule 1 … rule n ──▶ regions
//                  │  earlier ones that end the walk: ACCEPT, DROP, RETURN, REJECT, NAT, goto, jumps to where all ends
//                  ▼
//     region of rule n  minus  region of each  =  nothing left: shadowed

import type { Family } from '../../datapath/packet.ts'
import { BUILTIN, type Rule, type TableName } from '../../rules/model.ts'
import { Conditions, type Region } from './conditions.ts'
import { type Box, holds, meet, subtract } from './region.ts'

/** A chain as it is loaded, or as a file says it. */
export interface ChainView {
  readonly name: string
  readonly rules: readonly Rule[]
}

/** Why a rule can never be hit. */
export type Never =
  /** Rules of the same chain, by position from 1, take all that it could match. */
  | { readonly why: 'shadowed'; readonly by: readonly number[] }
  /** Nothing jumps to its chain, or nothing that can be hit. */
  | { readonly why: 'unreachable' }
  /** Its own conditions exclude each other. */
  | { readonly why: 'impossible' }

/** Targets that end the walk through a table, whatever the packet. */
const ENDING = ['REJECT', 'DNAT', 'SNAT', 'MASQUERADE', 'REDIRECT', 'NETMAP']
/** Targets after which the packet and all that conditions look at are what they were. */
const HARMLESS = ['LOG', 'NFLOG', 'TRACE', 'AUDIT']

/** Pieces and comparisons after which a rule is given up on: it is not called shadowed. */
const MOST_PIECES = 200
const MOST_STEPS = 10_000

/** Rules of a table that can never be hit, by chain and position from 1. */
export function neverHit(
  family: Family,
  table: TableName,
  chains: ReadonlyMap<string, ChainView>,
): Map<string, Map<number, Never>> {
  const analysis = new TableAnalysis(family, chains)
  const found = new Map<string, Map<number, Never>>()
  for (const chain of chains.values()) found.set(chain.name, analysis.shadowed(chain))
  // Chains to which something leads that can be hit.
  const live = new Set<string>()
  const reach = (name: string): void => {
    const chain = chains.get(name)
    if (chain === undefined || live.has(name)) return
    live.add(name)
    const never = found.get(name)!
    chain.rules.forEach(({ target }, i) => {
      if ((target.kind === 'jump' || target.kind === 'goto') && !never.has(i + 1)) reach(target.chain)
    })
  }
  for (const name of BUILTIN[table]) reach(name)
  for (const { name, rules } of chains.values())
    if (!live.has(name)) found.set(name, new Map(rules.map((_, i) => [i + 1, { why: 'unreachable' }])))
  return found
}

/** A rule that takes what it matches out of its chain. */
interface Taker {
  readonly position: number
  readonly region: Region
  /** What its boxes span in some dimensions, so that most rules need no closer look. */
  readonly span: Float64Array
}

class TableAnalysis {
  readonly #family: Family
  readonly #chains: ReadonlyMap<string, ChainView>
  readonly #ends = new Map<string, boolean>()
  readonly #changes = new Map<string, boolean>()

  constructor(family: Family, chains: ReadonlyMap<string, ChainView>) {
    this.#family = family
    this.#chains = chains
  }

  shadowed({ rules }: ChainView): Map<number, Never> {
    const conditions = new Conditions(this.#family, rules)
    const never = new Map<number, Never>()
    const takers: Taker[] = []
    /** Positions of rules that may change what others look at. */
    let lastChange = 0
    for (const [i, rule] of rules.entries()) {
      const region = conditions.of(rule)
      const position = i + 1
      if (region.boxes.length === 0) never.set(position, { why: 'impossible' })
      else {
        const by = covered(region, takers, lastChange, conditions)
        if (by !== null) never.set(position, { why: 'shadowed', by })
        else {
          if (this.#takesAway(rule) && !region.fickle)
            takers.push({ position, region, span: spanOf(region.boxes, this.#family) })
          if (this.#mayChange(rule)) lastChange = position
        }
      }
    }
    return never
  }

  /** A packet that matches it does not come to the next rule of this chain. */
  #takesAway({ target }: Rule): boolean {
    switch (target.kind) {
      case 'standard':
      case 'goto':
        return true
      case 'jump':
        return this.#alwaysEnds(target.chain)
      case 'extension':
        return ENDING.includes(target.target.name)
      default:
        return false
    }
  }

  /** A packet that enters the chain never comes back to whoever jumped to it. */
  #alwaysEnds(name: string): boolean {
    const known = this.#ends.get(name)
    if (known !== undefined) return known
    this.#ends.set(name, false)
    let ends = false
    for (const rule of this.#chains.get(name)?.rules ?? []) {
      const { target } = rule
      if (target.kind === 'standard' && target.verdict === 'RETURN') break
      if (target.kind === 'goto' && !this.#alwaysEnds(target.chain)) break
      if (isUnconditional(rule) && this.#takesAway(rule)) {
        ends = true
        break
      }
    }
    this.#ends.set(name, ends)
    return ends
  }

  /** A packet that goes on behind it may be another to the rules there. */
  #mayChange({ target }: Rule): boolean {
    if (target.kind === 'jump') return this.#chainMayChange(target.chain)
    return (
      target.kind === 'extension' &&
      !ENDING.includes(target.target.name) &&
      !HARMLESS.includes(target.target.name)
    )
  }

  #chainMayChange(name: string): boolean {
    const known = this.#changes.get(name)
    if (known !== undefined) return known
    this.#changes.set(name, true)
    const rules = this.#chains.get(name)?.rules ?? []
    const changes = rules.some(
      (rule) =>
        this.#mayChange(rule) || (rule.target.kind === 'goto' && this.#chainMayChange(rule.target.chain)),
    )
    this.#changes.set(name, changes)
    return changes
  }
}

const isUnconditional = ({ base, matches }: Rule): boolean =>
  Object.values(base).every((asked) => asked === null) &&
  matches.every(({ match }) => match.name === 'comment')

/** Positions of the rules that take all of `region`; null: something is left. */
function covered(
  region: Region,
  takers: readonly Taker[],
  lastChange: number,
  { universe }: Conditions,
): number[] | null {
  const span = spanOf(region.boxes, universe[0]![1] === 0xffffffffn ? 4 : 6)
  const meeting: Taker[] = []
  for (const taker of takers) {
    if (!spansMeet(taker.span, span)) continue
    const { region: other, position } = taker
    // What both look at must be the same for both.
    if (other.changing && position <= lastChange) continue
    if (!other.opaque.every((text) => region.opaque.includes(text))) continue
    if (other.boxes.some((a) => region.boxes.some((b) => meet(a, b)))) meeting.push(taker)
  }
  if (meeting.length === 0 || someGetsBy(region.boxes, meeting, universe)) return null
  // One that takes all by itself says most.
  for (const taker of meeting) {
    if (left(region.boxes, [taker], universe)?.length === 0) return [taker.position]
  }
  if (meeting.length < 2) return null
  const by: number[] = []
  const rest = left(region.boxes, meeting, universe, by)
  return rest !== null && rest.length === 0 ? by : null
}

/** Whether a packet at one of the edges is taken by none: most rules are not shadowed, and this tells fast. */
function someGetsBy(
  boxes: readonly Box[],
  takers: readonly Taker[],
  universe: Conditions['universe'],
): boolean {
  return boxes.some((box) =>
    [0, 1].some((side) => {
      const point = box.map((values, d) => {
        const edge = values === null ? universe[d]! : values.at(side === 0 ? 0 : -1)!
        return edge[side as 0 | 1]
      })
      return !takers.some(({ region }) => region.boxes.some((other) => holds(other, point)))
    }),
  )
}

/** What is left of boxes; null: it became too much to tell. `by` gets those that took something. */
function left(
  boxes: readonly Box[],
  takers: readonly Taker[],
  universe: Conditions['universe'],
  by: number[] = [],
): Box[] | null {
  let pieces = [...boxes]
  let steps = 0
  for (const { region, position } of takers) {
    let took = false
    for (const box of region.boxes) {
      const after: Box[] = []
      for (const piece of pieces) {
        if (++steps > MOST_STEPS) return null
        const parts = subtract(piece, box, universe)
        if (parts.length !== 1 || parts[0] !== piece) took = true
        after.push(...parts)
      }
      if (after.length > MOST_PIECES) return null
      pieces = after
    }
    if (took) by.push(position)
    if (pieces.length === 0) break
  }
  return pieces
}

/** Dimensions that tell most rules apart: source, destination, protocol, destination port, interfaces. */
const SPANNED = [0, 1, 2, 5, 6, 7]

/** Lowest and highest value of each; of addresses the high bits, as far as numbers hold them. */
function spanOf(boxes: readonly Box[], family: Family): Float64Array {
  const span = new Float64Array(SPANNED.length * 2)
  SPANNED.forEach((d, i) => {
    let lo = Number.POSITIVE_INFINITY
    let hi = Number.NEGATIVE_INFINITY
    for (const box of boxes) {
      const values = box[d]!
      if (values === null) {
        lo = Number.NEGATIVE_INFINITY
        hi = Number.POSITIVE_INFINITY
      } else if (values.length > 0) {
        lo = Math.min(lo, high(values[0]![0], family))
        hi = Math.max(hi, high(values.at(-1)![1], family))
      }
    }
    span[i * 2] = lo
    span[i * 2 + 1] = hi
  })
  return span
}

const high = (value: number | bigint, family: Family): number =>
  typeof value === 'number' ? value : Number(family === 4 ? value : value >> 80n)

function spansMeet(a: Float64Array, b: Float64Array): boolean {
  for (let i = 0; i < a.length; i += 2) if (a[i]! > b[i + 1]! || b[i]! > a[i + 1]!) return false
  return true
}
