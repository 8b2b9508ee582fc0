import { expect, test } from 'vitest'
import { SourceIndex } from '../../../conntrack/nat/source-index.ts'
import { EntryTable } from '../../../conntrack/table.ts'
import { Tuple } from '../../../conntrack/tuple.ts'
import { SeededRandom } from '../../harness/frames.ts'

test('finds the entries of a source, newest first, whatever comes and goes', () => {
  const random = new SeededRandom(9)
  const table = new EntryTable(1, 64)
  const index = new SourceIndex(table, 5)
  const t = new Tuple()
  const fill = (source: number): Tuple => {
    t.s0 = source % 7
    t.ports = (source << 16) | random.below(65536)
    t.meta = (17 << 8) | 4
    t.d0 = random.u32() | 0
    return t
  }
  const found = (source: number): number[] => {
    fill(source)
    const list: number[] = []
    for (let e = index.first(t, 0); e >= 0; e = index.next(e)) if (index.sameSource(e, t, 0)) list.push(e)
    return list
  }
  const model = new Map<number, number[]>()
  const live: { entry: number; source: number }[] = []
  for (let i = 0; i < 5000; i++) {
    if (live.length < 3000 && !random.once(3)) {
      const source = random.below(40)
      const entry = table.create()
      table.setTuple(entry, 0, fill(source))
      index.add(entry)
      index.add(entry) // twice is once
      model.set(source, [entry, ...(model.get(source) ?? [])])
      live.push({ entry, source })
    } else if (live.length > 0) {
      const [gone] = live.splice(random.below(live.length), 1)
      index.remove(gone!.entry)
      index.remove(gone!.entry)
      table.destroy(gone!.entry)
      model.set(
        gone!.source,
        model.get(gone!.source)!.filter((e) => e !== gone!.entry),
      )
    }
    if (i % 50 === 0) {
      for (let source = 0; source < 40; source++) expect(found(source)).toEqual(model.get(source) ?? [])
      expect(index.size).toBe(live.length)
    }
  }
  expect(table.capacity).toBeGreaterThan(1024)
})
