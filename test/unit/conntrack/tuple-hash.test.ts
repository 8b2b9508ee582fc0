import { describe, expect, it } from 'vitest'
import { TupleHash } from '../../../conntrack/tuple-hash.ts'
import { SeededRandom } from '../../harness/frames.ts'

/** What is found of a hash, in its order. */
function handlesOf(table: TupleHash, hash: number): number[] {
  const found: number[] = []
  for (let at = table.first(hash); at >= 0; at = table.next(hash, at)) found.push(table.handleAt(at))
  return found
}

/** What is found of a bucket. */
function bucketOf(table: TupleHash, bucket: number): number[] {
  const found: number[] = []
  for (let at = table.firstOfBucket(bucket); at >= 0; at = table.nextOfBucket(bucket, at))
    found.push(table.handleAt(at))
  return found.sort((a, b) => a - b)
}

/** What seekAll() finds of each hash. */
function newestOf(table: TupleHash, hashes: readonly number[]): number[] {
  const hints = new Int32Array(hashes.length)
  table.seekAll(Int32Array.from(hashes), hints, hashes.length)
  return [...hints]
}

describe('TupleHash', () => {
  it('holds what a Map of hashes does, however many share a line, the newest first', () => {
    for (let seed = 1; seed <= 20; seed++) {
      const random = new SeededRandom(seed)
      const table = new TupleHash(random.pick([1, 64, 4096]), random.pick([1, 64, 5000]))
      // By age, but for what a resize turns round.
      let model = new Map<number, number>()
      // Few hashes and bits: long chains of lines, the same hash many times, negative ones.
      const hashes = Array.from({ length: random.pick([3, 40, 400]) }, () => random.u32() | 0)
      let last = 0
      for (let step = 0; step < 2000; step++) {
        const choice = random.below(100)
        if (choice < 55) {
          const hash = random.pick(hashes)
          table.insert(hash, last)
          model.set(last++, hash)
        } else if (choice < 97 && model.size > 0) {
          const handle = random.pick([...model.keys()])
          table.remove(model.get(handle)!, handle)
          table.remove(model.get(handle)!, handle)
          model.delete(handle)
        } else if (choice === 97) {
          const before = table.buckets
          table.resize(random.pick([1, 16, 300, 100_000]))
          if (table.buckets !== before) model = new Map([...model].reverse())
        } else table.reserve(random.pick([1, 50, 2000, 20_000]))
        const hash = random.pick(hashes)
        const same = [...model].filter(([, of]) => of === hash).map(([handle]) => handle)
        expect(handlesOf(table, hash)).toEqual(same.reverse())
        expect(newestOf(table, [hash, ~hash, 0])[0]).toBe(same[0] ?? -1)
      }
      const newest = newestOf(table, hashes)
      expect(newest).toEqual(hashes.map((hash) => handlesOf(table, hash)[0] ?? -1))
      const mask = table.buckets - 1
      for (const hash of hashes) {
        const bucket = [...model].filter(([, of]) => (of & mask) === (hash & mask)).map(([handle]) => handle)
        bucket.sort((a, b) => a - b)
        expect(bucketOf(table, hash & mask)).toEqual(bucket)
        for (const most of [0, Math.max(0, bucket.length - 1), bucket.length, 50])
          expect(table.isLonger(hash, most)).toBe(bucket.length > most)
      }
    }
  })

  it('finds no hash in an empty table, and leaves alone what is not asked', () => {
    const table = new TupleHash(16, 16)
    expect(newestOf(table, [0, 1, -1, 16, 0x7fffffff])).toEqual([-1, -1, -1, -1, -1])
    table.insert(0, 5)
    const hints = Int32Array.of(-2, 0, 0)
    expect(table.seekAll(Int32Array.of(0, 0, 16), hints, 3)).toBe(true)
    expect([...hints]).toEqual([-2, 5, -1])
    expect(table.seekAll(Int32Array.of(0, 0, 16), hints, 2)).toBe(false)
  })

  it('gives lines back that nothing stands in', () => {
    const table = new TupleHash(16, 16)
    let last = 0
    for (let round = 0; round < 50; round++) {
      for (let handle = 0; handle < 1000; handle++) table.insert(7, handle)
      for (let at = table.first(7); at >= 0; at = table.next(7, at)) last = Math.max(last, at)
      expect(handlesOf(table, 7)).toHaveLength(1000)
      for (let handle = 999; handle >= 0; handle--) table.remove(7, handle)
      expect(handlesOf(table, 7)).toEqual([])
    }
    // Of all rounds together they would take 50,000 pairs.
    expect(last).toBeLessThan(8000)
  })
})
