import { expect, test } from 'vitest'
import { CacheWorth } from '../../../datapath/cache-worth.ts'
import { SeededRandom } from '../../harness/frames.ts'
import { SEED_OF_RUN } from '../../harness/seed.ts'

/** The share of 5,000 questions at random places that are asked, where `known` says how they go. */
function share(worth: CacheWorth, random: SeededRandom, known: () => boolean): number {
  let asked = 0
  for (let i = 0; i < 5000; i++) {
    if (!worth.asks(random.below(4096))) continue
    asked++
    worth.tell(known())
  }
  return asked / 5000
}

test(`a cache that knows little is asked seldom, until it knows more, seed ${SEED_OF_RUN}`, () => {
  const random = new SeededRandom(SEED_OF_RUN)
  const worth = new CacheWorth()
  const often = (share: number) => () => random.below(100) < share * 100
  expect(share(worth, random, often(0.5))).toBe(1)
  share(worth, random, often(0.01))
  expect(share(worth, random, often(0.01))).toBeLessThan(0.15)
  // What is asked then is enough to see that it has changed.
  share(worth, random, often(0.9))
  expect(share(worth, random, often(0.9))).toBe(1)
})
