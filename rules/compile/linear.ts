// Rules as straight-line JavaScript: one `if` a rule, in order. This is the yardstick for every faster form.
//
// A jump is a call, a goto a tail call: where a goto's chain ends, the walk goes on behind the last jump, as
// ipt_do_table's jump stack has it.

import type { Packet } from '../../datapath/packet.ts'
import { CONTINUE } from '../extension.ts'
import type { Rule } from '../model.ts'
import {
  type Callable,
  type ChainFn,
  type ChainSource,
  codeAlone,
  codeOf,
  NEXT,
  type StateHolders,
} from './rule.ts'
import { type Made, NO_FIELDS } from './shapes.ts'

/** Hears that the packet fits the rule in this position; of the end as of one rule more. */
export type TraceFn = (pkt: Packet, index: number) => void

/** V8 does not optimise functions beyond 60 kB of bytecode: a long run of rules is cut into several. */
const RULES_A_FUNCTION = 96

/** Some rules that follow each other, and their code: made when the first packet comes this far. */
export interface Piece extends Callable {
  readonly slots: readonly number[]
  readonly rules: readonly (Rule | null)[]
  readonly states: readonly (StateHolders | null)[]
}

/** Where a piece's rules stand in the chain, and whom to tell of those that fit. */
interface Traced {
  readonly first: number
  readonly trace: TraceFn
}

function makePiece(source: ChainSource, slots: readonly number[], traced?: Traced): Piece {
  const piece: Piece = {
    slots,
    rules: slots.map((slot) => source.slots.bySlot[slot]!),
    states: slots.map((slot) => source.slots.statesOf(slot)),
    run: (pkt, hook) => {
      const made =
        traced === undefined
          ? codeOf(source, slots, NEXT)
          : codeAlone(
              source,
              slots,
              NEXT,
              (i, js) => js.statement`${js.bind(traced.trace)}(pkt, ${traced.first + i});`,
            )
      piece.run = made.run
      piece.k = made.k
      return made.run(pkt, hook, made.k)
    },
    k: NO_FIELDS,
    foresee: null,
  }
  return piece
}

/** The piece does what one made now for slots[from …] would do. */
function stillGood(piece: Piece, source: ChainSource, slots: readonly number[], from: number): boolean {
  const { bySlot } = source.slots
  if (from + piece.slots.length > slots.length) return false
  for (let i = 0; i < piece.slots.length; i++) {
    const slot = slots[from + i]!
    if (
      piece.slots[i] !== slot ||
      piece.rules[i] !== bySlot[slot] ||
      piece.states[i] !== source.slots.statesOf(slot)
    )
      return false
  }
  return true
}

/** Cuts a run of rules into pieces; those in `old`, by their first slot, stay where they are still good. */
export function cutRun(
  source: ChainSource,
  slots: readonly number[],
  old: ReadonlyMap<number, Piece>,
): Piece[] {
  const pieces: Piece[] = []
  let from = 0
  for (let i = 0; i <= slots.length; i++) {
    const kept = i < slots.length ? old.get(slots[i]!) : undefined
    const good = kept !== undefined && stillGood(kept, source, slots, i)
    if (i > from && (good || i === slots.length || i - from === RULES_A_FUNCTION)) {
      pieces.push(makePiece(source, slots.slice(from, i)))
      from = i
    }
    if (!good) continue
    pieces.push(kept)
    from = i + kept.slots.length
    i = from - 1
  }
  return pieces
}

export const byFirstSlot = (pieces: readonly Piece[]): Map<number, Piece> =>
  new Map(pieces.map((piece) => [piece.slots[0]!, piece]))

/** A chain's code. */
export interface LinearChain extends Made {
  readonly pieces: readonly Piece[]
}

/** All rules in order; pieces of `old` stay where they are still good. */
export function compileLinear(source: ChainSource, old: LinearChain | null): LinearChain {
  const { at, count } = source.slots
  if (count === 0) return { pieces: [], run: () => CONTINUE, k: NO_FIELDS, foresee: null }
  const slots: number[] = []
  for (let i = 0; i < count; i++) slots.push(at[i]!)
  if (count <= RULES_A_FUNCTION) return { pieces: [], ...codeOf(source, slots, CONTINUE) }
  const pieces = cutRun(source, slots, byFirstSlot(old?.pieces ?? []))
  return {
    pieces,
    run: (pkt, hook) => {
      for (let i = 0; i < pieces.length; i++) {
        const piece = pieces[i]!
        const verdict = piece.run(pkt, hook, piece.k)
        if (verdict !== NEXT) return verdict
      }
      return CONTINUE
    },
    k: NO_FIELDS,
    foresee: null,
  }
}

/** The chain's code with `trace` in it. */
export function compileTraced(source: ChainSource, trace: TraceFn): ChainFn {
  const { at, count } = source.slots
  const pieces: Piece[] = []
  for (let from = 0; from < count; from += RULES_A_FUNCTION) {
    const slots = [...at.subarray(from, Math.min(count, from + RULES_A_FUNCTION))]
    pieces.push(makePiece(source, slots, { first: from, trace }))
  }
  return (pkt, hook) => {
    for (let i = 0; i < pieces.length; i++) {
      const piece = pieces[i]!
      const verdict = piece.run(pkt, hook, piece.k)
      if (verdict !== NEXT) return verdict
    }
    trace(pkt, count)
    return CONTINUE
  }
}
