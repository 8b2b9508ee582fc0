// Generated code against the kernel's own answers over IPv6 (record-kernel6.py): whole, cut and odd chains of extension
// headers through every match and target that reads them. TUNWALL_KERNEL6 names another recording.

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { Hook, Verdict } from '../../datapath/hooks.ts'
import { setHopLimit } from '../../datapath/rewrite.ts'
import { ipv6HopLimit } from '../../datapath/wire/ipv6.ts'
import { hex, toHex } from '../harness/frames.ts'
import { World } from './world.ts'

const kernel = JSON.parse(
  readFileSync(
    process.env.TUNWALL_KERNEL6 ?? join(import.meta.dirname, '../data/extensions/kernel6.json'),
    'utf8',
  ),
) as {
  readonly packets: readonly string[]
  /** Frames as they leave without a rule. */
  readonly plain: readonly (string | null)[]
  readonly matches: Readonly<Record<string, string>>
  readonly targets: Readonly<Record<string, readonly (string | null)[]>>
  /** In POSTROUTING of tun1, or PREROUTING. */
  readonly translations: Readonly<Record<string, readonly (string | null)[]>>
}

/** Frames that reach FORWARD; the others say nothing about rules. */
const frames = kernel.packets
  .map((text, index) => ({ index, bytes: hex(text) }))
  .filter(({ index }) => kernel.plain[index] !== null)

test('most frames are forwarded', () => {
  expect(frames.length).toBeGreaterThan(kernel.packets.length * 0.8)
})

describe('matches', () => {
  for (const [rule, answers] of Object.entries(kernel.matches))
    test(rule, () => {
      const world = new World()
      const match = world.match(rule, 6)
      const wrong: string[] = []
      for (const { index, bytes } of frames) {
        const answer = match(world.forwarded(bytes)!)
        if (answer !== answers[index])
          wrong.push(`${index} ${toHex(bytes)}: kernel ${answers[index]}, ours ${answer}`)
      }
      if (wrong.length > 0) expect.fail(wrong.join('\n'))
    })
})

const left = (answers: readonly (string | null)[], index: number): string | null =>
  answers[index] === '=' ? kernel.plain[index]! : answers[index]!

describe('targets', () => {
  for (const [rule, answers] of Object.entries(kernel.targets))
    test(rule, () => {
      const world = new World()
      const match = world.match(rule, 6)
      const target = world.target(rule, 6)
      const wrong: string[] = []
      for (const { index, bytes } of frames) {
        const pkt = world.forwarded(bytes)!
        const fits = match(pkt)
        const gone = fits === 'x' || (fits === '1' && target(pkt) === Verdict.Drop)
        const ours = gone ? null : toHex(world.bytes(pkt))
        const expected = left(answers, index)
        if (ours !== expected) wrong.push(`${index} ${toHex(bytes)}: kernel ${expected}, ours ${ours}`)
      }
      if (wrong.length > 0) expect.fail(wrong.join('\n'))
    })
})

describe('prefix translation', () => {
  for (const [rule, answers] of Object.entries(kernel.translations))
    test(rule, () => {
      const world = new World()
      const target = world.target(rule, 6)
      const before = rule.includes('DNPT')
      const wrong: string[] = []
      let translated = 0
      for (const { index, bytes } of frames) {
        const pkt = before ? world.parsed(bytes)! : world.forwarded(bytes)!
        const gone = target(pkt, before ? Hook.PreRouting : Hook.PostRouting) === Verdict.Drop
        // DNPT comes before routing, which a new destination may lead elsewhere.
        if (before && answers[index] === null) continue
        if (before) setHopLimit(pkt, world.memory, ipv6HopLimit(world.memory.view, pkt.l3) - 1)
        const ours = gone ? null : toHex(world.bytes(pkt))
        const expected = left(answers, index)
        if (ours !== expected) wrong.push(`${index} ${toHex(bytes)}: kernel ${expected}, ours ${ours}`)
        if (ours !== null && ours !== kernel.plain[index]) translated++
      }
      if (wrong.length > 0) expect.fail(wrong.join('\n'))
      expect(translated > 0 || rule.includes('fd00::/64 --dst-pfx fd00::/64')).toBe(true)
    })
})
