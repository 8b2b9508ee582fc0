// HMARK and bpf against the kernel's own answers (record-marks.py).

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { hex } from '../harness/frames.ts'
import { kernelRefusal, parseRule } from './rule.ts'
import { World } from './world.ts'

const read = (name: string) =>
  JSON.parse(readFileSync(join(import.meta.dirname, '../data/extensions', name), 'utf8'))
const { packets } = read('kernel.json') as { readonly packets: readonly string[] }
const { hmark, bpf } = read('marks.json') as {
  /** TTL as the frame leaves: the mark and one more. */
  readonly hmark: Readonly<Record<string, readonly (number | null)[]>>
  /** null: refused. */
  readonly bpf: Readonly<Record<string, string | null>>
}
const frames = packets.map((text) => hex(text))

for (const [rule, answers] of Object.entries(hmark))
  test(`HMARK ${rule}`, () => {
    const world = new World()
    const target = world.target(`-j HMARK ${rule}`)
    const wrong: string[] = []
    for (const [i, frame] of frames.entries()) {
      if (answers[i] === null) continue
      const pkt = world.forwarded(frame)!
      target(pkt)
      // Without a connection --hmark-tuple ct leaves the packet alone, and the rule for mark 0 finds it.
      if (pkt.mark + 1 !== answers[i]) wrong.push(`${packets[i]}: kernel ${answers[i]}, ours ${pkt.mark + 1}`)
    }
    expect(wrong).toEqual([])
  })

test(`bpf: ${Object.keys(bpf).length} programs`, () => {
  const wrong: string[] = []
  for (const [program, answers] of Object.entries(bpf)) {
    const world = new World()
    const rule = parseRule(['-m', 'bpf', '--bytecode', program])
    const refused = kernelRefusal(rule, 'mangle', 'FORWARD') !== null
    if (refused !== (answers === null))
      wrong.push(`${program}: kernel ${answers === null ? 'refuses' : 'takes'} it`)
    if (answers === null || refused) continue
    const match = world.match(`-m bpf --bytecode "${program}"`)
    for (const [i, frame] of frames.entries()) {
      if (answers[i] === 'x') continue
      const ours = match(world.forwarded(frame)!)
      if (ours !== answers[i]) wrong.push(`${program} ${packets[i]}: kernel ${answers[i]}, ours ${ours}`)
    }
  }
  expect(wrong.slice(0, 10)).toEqual([])
})
