import { describe, expect, it } from 'vitest'
import { ExpiryWheel } from '../../../conntrack/expiry.ts'
import { EntryTable } from '../../../conntrack/table.ts'
import { SeededRandom } from '../../harness/frames.ts'

function setUp(): { table: EntryTable; wheel: ExpiryWheel; dead: number[] } {
  const table = new EntryTable(1, 16)
  const dead: number[] = []
  const wheel = new ExpiryWheel(table, (entry) => {
    wheel.remove(entry)
    dead.push(entry)
  })
  return { table, wheel, dead }
}

describe('ExpiryWheel', () => {
  it('ends what a Map of deadlines would, at most a tenth of a second late, never early', () => {
    for (let seed = 1; seed <= 20; seed++) {
      const random = new SeededRandom(seed)
      const { table, wheel, dead } = setUp()
      const deadlines = new Map<number, number>()
      let now = random.below(5000)
      for (let step = 0; step < 2000; step++) {
        now += random.pick([0, 1, 10, 333, 1000, 5000, random.once(50) ? 3_000_000 : 7])
        // Many in few slots, too, so that chunks fill.
        const timeout = random.pick([0, 5, 999, 1000, 30_000, 120_000, 432_000_000, 60_000, 60_001, 60_002])
        const choice = random.below(seed % 2 === 0 ? 5 : 3)
        const known = [...deadlines.keys()]
        if (choice < 2 || known.length === 0) {
          const entry = table.create()
          table.setExpires(entry, now + timeout)
          wheel.add(entry, now)
          deadlines.set(entry, now + timeout)
        } else if (choice < 4) {
          const entry = random.pick(known)
          const shorter = now + timeout < table.expiresAt(entry)
          table.setExpires(entry, now + timeout)
          if (shorter) wheel.shortened(entry)
          deadlines.set(entry, now + timeout)
        } else {
          const entry = random.pick(known)
          wheel.remove(entry)
          wheel.remove(entry)
          deadlines.delete(entry)
          table.destroy(entry)
        }
        while (wheel.sweep(now));
        for (const entry of dead.splice(0)) {
          expect(deadlines.get(entry)).toBeLessThanOrEqual(now)
          deadlines.delete(entry)
          table.destroy(entry)
        }
        for (const [, deadline] of deadlines) expect(deadline).toBeGreaterThan(now - 101)
        expect(wheel.size).toBe(deadlines.size)
      }
    }
  })

  it('ends a million entries without a pause', () => {
    const { table, wheel } = setUp()
    const count = 1_000_000
    table.reserve(count)
    let ended = 0
    const ending = new ExpiryWheel(table, (entry) => {
      ending.remove(entry)
      ended++
    })
    for (let i = 0; i < count; i++) {
      const entry = table.create()
      table.setExpires(entry, 30_000)
      ending.add(entry, 0)
    }
    // A slice of this many takes well under 2 ms; how long, `npm run bench` says.
    let longest = 0
    for (let more = true; more; ) {
      const before = ended
      more = ending.sweep(40_000)
      longest = Math.max(longest, ended - before)
    }
    expect(ended).toBe(count)
    expect(wheel.size).toBe(0)
    expect(longest).toBeLessThanOrEqual(1024)
  })
})
