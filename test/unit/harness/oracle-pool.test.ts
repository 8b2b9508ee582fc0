// Many scenarios, few oracles: nobody waits for ever, and none is left behind.

import { expect, test } from 'vitest'
import { OraclePool } from '../../harness/oracle-pool.ts'

class Fake {
  static alive = 0
  closed = false

  constructor() {
    Fake.alive++
  }

  close(): void {
    if (!this.closed) Fake.alive--
    this.closed = true
  }
}

const later = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))
const poolOf = (size: number): OraclePool<Fake> => new OraclePool(size, () => new Fake())

test('one oracle for each, and no more than there may be', async () => {
  const pool = poolOf(3)
  const busy = new Set<Fake>()
  let most = 0
  await Promise.all(
    Array.from({ length: 20 }, () =>
      pool.use(async (oracle) => {
        expect(busy.has(oracle)).toBe(false)
        busy.add(oracle)
        most = Math.max(most, busy.size)
        await later(1)
        busy.delete(oracle)
      }),
    ),
  )
  expect(most).toBe(3)
  expect(Fake.alive).toBe(3)
  pool.close()
  expect(Fake.alive).toBe(0)
})

test('one whose work failed is replaced for whoever waits', async () => {
  const pool = poolOf(1)
  const seen: Fake[] = []
  const fails = pool.use(async (oracle) => {
    seen.push(oracle)
    await later(1)
    throw new Error('no')
  })
  const waits = pool.use(async (oracle) => {
    seen.push(oracle)
  })
  await expect(fails).rejects.toThrow('no')
  await waits
  expect(seen[0]).not.toBe(seen[1])
  expect(seen[0]!.closed).toBe(true)
  expect(Fake.alive).toBe(1)
  pool.close()
  expect(Fake.alive).toBe(0)
})

test('closed while work goes on: who waits hears of it, and no oracle is started any more', async () => {
  const pool = poolOf(2)
  const outcomes = [1, 2, 3, 4].map(() =>
    pool.use(async (oracle) => {
      await later(2)
      if (oracle.closed) throw new Error('closed below me')
    }),
  )
  await later(0)
  pool.close()
  const settled = await Promise.allSettled([...outcomes, pool.use(async () => {})])
  expect(settled.map((s) => (s.status === 'rejected' ? String(s.reason.message) : s.status))).toEqual([
    'closed below me',
    'closed below me',
    'the oracles were closed',
    'the oracles were closed',
    'the oracles were closed',
  ])
  expect(Fake.alive).toBe(0)
})
