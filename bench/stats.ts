// Medians of interleaved runs, and tables of them.

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}

/** A b c, a b c, …: each contender once a round, so that a slow minute of the machine falls on all. */
export async function interleave<K extends string>(
  rounds: number,
  contenders: Readonly<Record<K, () => Promise<number> | number>>,
): Promise<Record<K, number[]>> {
  const names = Object.keys(contenders) as K[]
  const runs = Object.fromEntries(names.map((name) => [name, []])) as unknown as Record<K, number[]>
  for (let round = 0; round < rounds; round++)
    for (const name of names) runs[name].push(await contenders[name]())
  return runs
}

export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n')
}

/** Three significant digits: 605k, 3.81G. */
export function short(value: number): string {
  for (const [unit, size] of [
    ['G', 1e9],
    ['M', 1e6],
    ['k', 1e3],
  ] as const)
    if (value >= size) return `${(value / size).toPrecision(3)}${unit}`
  return value === 0 ? '0' : value.toPrecision(3)
}

/** Two or three digits that matter. */
export const ratio = (value: number): string => (value < 10 ? value.toFixed(2) : value.toPrecision(3))

/** Median, lowest and highest. */
export function spread(of: readonly number[]): string {
  return `${short(median(of))} (${short(Math.min(...of))} to ${short(Math.max(...of))})`
}

/** Numbers below `count` in no order, the same each time. */
export function shuffled(count: number): Int32Array {
  const out = Int32Array.from({ length: count }, (_, i) => i)
  let state = 1
  for (let i = count - 1; i > 0; i--) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    const j = state % (i + 1)
    ;[out[i], out[j]] = [out[j]!, out[i]!]
  }
  return out
}
