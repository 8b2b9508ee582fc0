// Generated code against the kernel's own answers (record-kernel.py): 280 frames through 200 matches and 25 targets.

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { Verdict } from '../../datapath/hooks.ts'
import { hex, toHex } from '../harness/frames.ts'
import { World } from './world.ts'

const kernel = JSON.parse(
  readFileSync(join(import.meta.dirname, '../data/extensions/kernel.json'), 'utf8'),
) as {
  readonly packets: readonly string[]
  /** Frames as they leave without a rule. */
  readonly plain: readonly (string | null)[]
  readonly matches: Readonly<Record<string, string>>
  readonly targets: Readonly<Record<string, readonly (string | null)[]>>
}

/** Frames that reach FORWARD; the others say nothing about rules. */
const frames = kernel.packets
  .map((text, index) => ({ index, bytes: hex(text) }))
  .filter(({ index }) => kernel.plain[index] !== null)

test('most frames are forwarded', () => {
  expect(frames.length).toBeGreaterThan(250)
})

describe('matches', () => {
  for (const [rule, answers] of Object.entries(kernel.matches))
    test(rule, () => {
      const world = new World()
      const match = world.match(rule)
      const wrong: string[] = []
      for (const { index, bytes } of frames) {
        const answer = match(world.forwarded(bytes)!)
        if (answer !== answers[index])
          wrong.push(`${index} ${toHex(bytes)}: kernel ${answers[index]}, ours ${answer}`)
      }
      expect(wrong).toEqual([])
    })
})

describe('targets', () => {
  for (const [rule, answers] of Object.entries(kernel.targets))
    test(rule, () => {
      const world = new World()
      const match = world.match(rule)
      const target = world.target(rule)
      const wrong: string[] = []
      for (const { index, bytes } of frames) {
        const pkt = world.forwarded(bytes)!
        const fits = match(pkt)
        const gone = fits === 'x' || (fits === '1' && target(pkt) === Verdict.Drop)
        const left = gone ? null : toHex(world.bytes(pkt))
        const expected = answers[index] === '=' ? kernel.plain[index]! : answers[index]!
        if (left !== expected) wrong.push(`${index} ${toHex(bytes)}: kernel ${expected}, ours ${left}`)
      }
      expect(wrong).toEqual([])
    })
})
