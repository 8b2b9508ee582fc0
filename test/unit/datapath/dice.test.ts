import { expect, test } from 'vitest'
import { Dice } from '../../../datapath/dice.ts'
import { SeededRandom } from '../../harness/frames.ts'
import { SEED_OF_RUN } from '../../harness/seed.ts'

test(`what is drawn is what the source gives, whoever looks ahead, seed ${SEED_OF_RUN}`, () => {
  const random = new SeededRandom(SEED_OF_RUN)
  const [dice, source] = [new Dice(new SeededRandom(1)), new SeededRandom(1)]
  for (let round = 0; round < 300; round++) {
    const ahead = dice.look()
    const foreseen = Array.from(
      { length: random.below(3) === 0 ? random.below(6000) : random.below(20) },
      () => ahead.i32(),
    )
    const drawn = Array.from({ length: random.below(3) === 0 ? random.below(6000) : random.below(20) }, () =>
      dice.i32(),
    )
    expect(drawn).toEqual(drawn.map(() => source.i32()))
    // Beyond what is held nothing is foreseen.
    const known = Math.min(drawn.length, foreseen.length, 4096)
    expect(foreseen.slice(0, known)).toEqual(drawn.slice(0, known))
  }
})
