// Rules as straight-line JavaScript: one `if` a rule, in order. This is the yardstick for every faster form.
//
// A jump is a call, a goto a tail call: where a goto's chain ends, the walk goes on behind the last jump, as
// ipt_do_table's jump stack has it.

import type { Packet } from '../../datapath/packet.ts'
import { CONTINUE } from '../extension.ts'
import type { Rule } from '../model.ts'
import type { ChainFn, Made } from './codes.ts'
import { type ChainSource, codeAlone, codeOf, NEXT, type StateHolders } from './rule.ts'
import type { Shapes } from './shapes.ts'

/** Hears that the packet fits the rule in this position; of the end as of one rule more. */
export type TraceFn = (pkt: Packet, index: number) => void

/** V8 does not optimise functions beyond 60 kB of bytecode: a long run of rules is cut into several. */
const RULES_A_FUNCTION = 96

/** Some rules that follow each other, and their code: made when the first packet comes this far. */
export interface Piece {
  run: ChainFn
  k: number
  /** Null until then. */
  made: Made | null
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
      piece.made = made
      piece.run = source.shapes.codes.runs[made.fn]!
      piece.k = made.k
      return piece.run(pkt, hook, made.k)
    },
    k: 0,
    made: null,
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

/** Cuts a run of rules into pieces; those in `old`, by their first slot, stay where they are still good, and leave it. */
export function cutRun(source: ChainSource, slots: readonly number[], old: Map<number, Piece>): Piece[] {
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
    old.delete(slots[i]!)
    from = i + kept.slots.length
    i = from - 1
  }
  return pieces
}

export const byFirstSlot = (pieces: readonly Piece[]): Map<number, Piece> =>
  new Map(pieces.map((piece) => [piece.slots[0]!, piece]))

/** Their code is nobody's any more. */
export function releasePieces(shapes: Shapes, pieces: Iterable<Piece>): void {
  for (const { made } of pieces) if (made !== null) shapes.release(made)
}

/** A chain's code: of one piece, or of those in `pieces`. */
export interface LinearChain {
  readonly made: Made
  readonly pieces: readonly Piece[]
}

export function releaseLinear(shapes: Shapes, { made, pieces }: LinearChain): void {
  shapes.release(made)
  releasePieces(shapes, pieces)
}

/** All rules in order; pieces of `old` stay where they are still good, what else it had is released. */
export function compileLinear(source: ChainSource, old: LinearChain | null): LinearChain {
  const { shapes } = source
  const { at, count } = source.slots
  const slots: number[] = []
  for (let i = 0; i < count; i++) slots.push(at[i]!)
  const before = byFirstSlot(old?.pieces ?? [])
  const pieces = count <= RULES_A_FUNCTION ? [] : cutRun(source, slots, before)
  if (old !== null) shapes.release(old.made)
  releasePieces(shapes, before.values())
  if (count === 0) return { pieces, made: functionAlone(shapes, () => CONTINUE) }
  if (count <= RULES_A_FUNCTION) return { pieces, made: codeOf(source, slots, CONTINUE) }
  return { pieces, made: functionAlone(shapes, walkOf(pieces, null)) }
}

const functionAlone = ({ codes }: Shapes, run: ChainFn): Made => ({ fn: codes.add(run), k: 0 })

/** `ended` hears of packets that reach the chain's end. */
const walkOf =
  (pieces: readonly Piece[], ended: ((pkt: Packet) => void) | null): ChainFn =>
  (pkt, hook) => {
    for (let i = 0; i < pieces.length; i++) {
      const piece = pieces[i]!
      const verdict = piece.run(pkt, hook, piece.k)
      if (verdict !== NEXT) return verdict
    }
    ended?.(pkt)
    return CONTINUE
  }

/** The chain's code with `trace` in it. */
export function compileTraced(source: ChainSource, trace: TraceFn): LinearChain {
  const { at, count } = source.slots
  const pieces: Piece[] = []
  for (let from = 0; from < count; from += RULES_A_FUNCTION) {
    const slots = [...at.subarray(from, Math.min(count, from + RULES_A_FUNCTION))]
    pieces.push(makePiece(source, slots, { first: from, trace }))
  }
  return {
    pieces,
    made: functionAlone(
      source.shapes,
      walkOf(pieces, (pkt) => trace(pkt, count)),
    ),
  }
}
