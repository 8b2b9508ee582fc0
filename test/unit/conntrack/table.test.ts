import { describe, expect, it } from 'vitest'
import { EntryTable, STATUS, STRIDE, Status, TOO_LONG } from '../../../conntrack/table.ts'
import { invert, Tuple } from '../../../conntrack/tuple.ts'
import { SeededRandom } from '../../harness/frames.ts'

/** Few distinct values, so that tuples meet; now and then IPv6. */
function randomTuple(random: SeededRandom): Tuple {
  const t = new Tuple()
  t.s0 = random.below(4) - 1
  t.d0 = random.below(4) - 2
  t.ports = (random.below(3) << 16) | random.below(3)
  t.meta = (random.pick([6, 17]) << 8) | (random.once(4) ? 6 : 4)
  if ((t.meta & 0xff) === 6) {
    t.s3 = random.below(2)
    t.d1 = random.below(2)
  }
  t.zone = random.once(5) ? random.below(3) : 0
  return t
}

const key = (t: Tuple): string =>
  [t.s0, t.s1, t.s2, t.s3, t.d0, t.d1, t.d2, t.d3, t.ports, t.meta, t.zone].join()

describe('EntryTable', () => {
  it('finds, inserts and removes as a Map of strings does', () => {
    for (let seed = 1; seed <= 30; seed++) {
      const random = new SeededRandom(seed)
      // Few buckets and a small slab: chains and growth.
      const table = new EntryTable(random.u32(), 2, seed % 3 === 0 ? 16 : 64)
      const model = new Map<string, number>()
      const live = new Set<number>()
      for (let step = 0; step < 3000; step++) {
        const t = randomTuple(random)
        const reply = new Tuple()
        invert(t, reply)
        expect(table.find(t)).toBe(model.get(key(t)) ?? -1)
        const choice = random.below(10)
        if (choice < 5) {
          const entry = table.create()
          table.setTuple(entry, 0, t)
          table.setTuple(entry, 1, reply)
          const free = !model.has(key(t)) && !model.has(key(reply)) && key(t) !== key(reply)
          expect(table.findClash(entry, 0, 1e9) >= 0).toBe(model.has(key(t)))
          expect(table.findClash(entry, 1, 1e9) >= 0).toBe(model.has(key(reply)))
          if (!free) {
            table.destroy(entry)
            continue
          }
          table.words[entry * STRIDE + STATUS] = Status.Confirmed
          table.insert(entry)
          live.add(entry)
          model.set(key(t), entry * 2)
          model.set(key(reply), entry * 2 + 1)
        } else if (choice < 9 && live.size > 0) {
          const entry = random.pick([...live])
          for (const dir of [0, 1]) model.delete(key(table.readTuple(entry, dir, new Tuple())))
          table.remove(entry)
          table.words[entry * STRIDE + STATUS] = Status.Dying
          table.destroy(entry)
          live.delete(entry)
        } else table.rehash(random.pick([16, 64, 1000]))
        expect(table.used).toBe(live.size)
        expect(table.confirmed).toBe(live.size)
      }
      const seen: number[] = []
      table.forEach((entry) => {
        seen.push(entry)
      })
      expect(seen).toEqual([...live].sort((a, b) => a - b))
    }
  })

  it('keeps every word of an entry when the slab grows', () => {
    const random = new SeededRandom(7)
    const table = new EntryTable(1, 4)
    const words: Int32Array[] = []
    for (let i = 0; i < 100; i++) {
      const entry = table.create()
      expect(table.words.subarray(entry * STRIDE, entry * STRIDE + STRIDE).every((w) => w === 0)).toBe(true)
      for (let w = 0; w < STRIDE; w++) table.words[entry * STRIDE + w] = random.u32()
      table.setExpires(entry, i + 0.5)
      words[entry] = table.words.slice(entry * STRIDE, entry * STRIDE + STRIDE)
    }
    expect(words.length).toBe(100)
    words.forEach((kept, entry) => {
      expect(table.words.slice(entry * STRIDE, entry * STRIDE + STRIDE)).toEqual(kept)
    })
    expect(words.map((_, entry) => table.expiresAt(entry)).sort((a, b) => a - b)[99]).toBe(99.5)
  })

  it('numbers stay low while entries come and go', () => {
    const table = new EntryTable(1, 4)
    const kept = [table.create(), table.create()]
    table.reserve(1000)
    for (let i = 0; i < 50; i++) table.destroy(table.create())
    const next = table.create()
    expect(Math.max(...kept, next)).toBeLessThan(4)
  })

  it('a zone of one direction only counts there', () => {
    const table = new EntryTable(1)
    const t = new Tuple()
    t.s0 = 1
    t.d0 = 2
    t.meta = (17 << 8) | 4
    const entry = table.create()
    t.zone = 5
    table.setTuple(entry, 0, t)
    const reply = new Tuple()
    invert(t, reply)
    reply.zone = 0
    table.setTuple(entry, 1, reply)
    table.insert(entry)
    expect(table.findIn(t, 0)).toBe(entry * 2)
    expect(table.findIn(t, 1)).toBe(-1)
    expect(table.find(reply)).toBe(entry * 2 + 1)
    // The same original tuple in both directions of zone 5 clashes; in zone 6 only the replies do.
    const other = table.create()
    table.setTuple(other, 0, t)
    reply.zone = 5
    table.setTuple(other, 1, reply)
    expect(table.findClash(other, 0, 99)).toBe(entry * 2)
    expect(table.findClash(other, 1, 99)).toBe(-1)
    table.setZone(other, 0, 6)
    table.setZone(other, 1, 0)
    expect(table.findClash(other, 0, 99)).toBe(-1)
    expect(table.findClash(other, 1, 99)).toBe(entry * 2 + 1)
  })

  it('tells when a chain is too long', () => {
    const table = new EntryTable(1, 1024, 16)
    const t = new Tuple()
    t.meta = (17 << 8) | 4
    for (let i = 0; i < 600; i++) {
      t.s0 = i
      const entry = table.create()
      table.setTuple(entry, 0, t)
      const reply = new Tuple()
      invert(t, reply)
      table.setTuple(entry, 1, reply)
      table.insert(entry)
    }
    t.s0 = -1
    const entry = table.create()
    table.setTuple(entry, 0, t)
    expect(table.findClash(entry, 0, 10)).toBe(TOO_LONG)
    expect(table.findClash(entry, 0, 1000)).toBe(-1)
  })
})
