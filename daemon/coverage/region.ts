// Sets of packets as unions of boxes: exact arithmetic on what conditions of rules let through.
//
//     box      one set of values for each dimension (source, destination, protocol, ports …); a packet is in it if each
//              of its values is
//     values   intervals in order, without overlap; null: all that there are
//
// Values are numbers, addresses bigint. All of a dimension have one type.

export type Value = number | bigint
export type Interval = readonly [Value, Value]
/** Null: everything. */
export type Values = readonly Interval[] | null
/** By dimension; see conditions.ts. */
export type Box = readonly Values[]
export type Universe = readonly Interval[]

const next = (v: Value): Value => (typeof v === 'bigint' ? v + 1n : v + 1)
const isLess = (a: Value, b: Value): boolean => a < b
const before = (v: Value): Value => (typeof v === 'bigint' ? v - 1n : v - 1)

export function intersect(a: Values, b: Values): Values {
  if (a === null) return b
  if (b === null) return a
  const out: Interval[] = []
  for (let i = 0, j = 0; i < a.length && j < b.length; ) {
    const [x, y] = [a[i]!, b[j]!]
    const lo = isLess(x[0], y[0]) ? y[0] : x[0]
    const hi = isLess(x[1], y[1]) ? x[1] : y[1]
    if (lo <= hi) out.push([lo, hi])
    if (x[1] < y[1]) i++
    else j++
  }
  return out
}

/** What of `all` is not in `a`. */
export function complement(a: readonly Interval[], [first, last]: Interval): Interval[] {
  const out: Interval[] = []
  let from = first
  for (const [lo, hi] of a) {
    if (lo > from) out.push([from, before(lo)])
    if (hi >= last) return out
    from = next(hi)
  }
  out.push([from, last])
  return out
}

/** In order and without overlap. */
export function normal(list: readonly Interval[]): Interval[] {
  const sorted = [...list].sort((a, b) => (a[0] < b[0] ? -1 : a[0] > b[0] ? 1 : 0))
  const out: Interval[] = []
  for (const [lo, hi] of sorted) {
    const last = out.at(-1)
    if (last === undefined || lo > next(last[1])) out.push([lo, hi])
    else if (hi > last[1]) out[out.length - 1] = [last[0], hi]
  }
  return out
}

const isEmpty = (values: Values): boolean => values !== null && values.length === 0

/** The boxes of `a` and `b` at once; those with nothing in them are left out. */
export function both(a: readonly Box[], b: readonly Box[]): Box[] {
  const out: Box[] = []
  for (const x of a)
    for (const y of b) {
      const box = x.map((values, d) => intersect(values, y[d]!))
      if (!box.some(isEmpty)) out.push(box)
    }
  return out
}

/** Whether boxes have a packet in common. */
export const meet = (a: Box, b: Box): boolean => !a.some((values, d) => isEmpty(intersect(values, b[d]!)))

/** Whether the packet with these values, one for each dimension, is in the box. */
export const holds = (box: Box, point: readonly Value[]): boolean =>
  box.every((values, d) => values === null || values.some(([lo, hi]) => lo <= point[d]! && point[d]! <= hi))

/** Pieces of `a` that lie outside `b`. */
export function subtract(a: Box, b: Box, universe: Universe): Box[] {
  const pieces: Box[] = []
  const rest = [...a]
  for (let d = 0; d < a.length; d++) {
    const limit = b[d]!
    if (limit === null) continue
    const outside = intersect(rest[d]!, complement(limit, universe[d]!))
    if (!isEmpty(outside)) {
      const piece = [...rest]
      piece[d] = outside
      pieces.push(piece)
    }
    rest[d] = intersect(rest[d]!, limit)
    if (isEmpty(rest[d]!)) return [a]
  }
  return pieces
}
