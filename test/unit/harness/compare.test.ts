import { describe, expect, test } from 'vitest'
import { compareRuns } from '../../harness/compare.ts'
import { udp } from '../../harness/frames.ts'
import type { Run, Sent, StepRun } from '../../harness/scenario.ts'

const EXPECTED =
  '298 proto=17 src=10.0.0.2 dst=10.0.0.1 sport=0 dport=3333 mask-src=255.255.255.255 mask-dst=255.255.255.255 sport=0 dport=65535 master-src=10.0.0.1 master-dst=10.0.0.2 sport=3333 dport=69 class=0 helper=tftp'
const flow = (seconds: number, from = '10.0.0.1'): string =>
  `ipv4 2 udp 17 ${seconds} src=${from} dst=10.0.0.2 sport=3333 dport=69 [UNREPLIED] src=10.0.0.2 dst=${from} sport=69 dport=3333 mark=0 use=1`
const run = (conntrack: readonly string[], expected: readonly string[]): Run => ({
  wall: 0,
  steps: [],
  endAt: 0,
  save: '',
  conntrack,
  expect: expected,
})
const signatures = (a: Run, b: Run): (string | undefined)[] => compareRuns(a, b).map((d) => d.signature)

describe('expectations', () => {
  test('end with a connection that is about to end', () => {
    expect(signatures(run([], []), run([flow(1)], [EXPECTED]))).toEqual([])
    expect(signatures(run([flow(1)], [EXPECTED]), run([], []))).toEqual([])
  })

  test('and not without', () => {
    const differs = ['expectation tftp']
    expect(signatures(run([flow(9)], []), run([flow(9)], [EXPECTED]))).toEqual(differs)
    expect(signatures(run([flow(9)], [EXPECTED]), run([flow(9)], []))).toEqual(differs)
    expect(signatures(run([], []), run([flow(1, '10.0.0.3')], [EXPECTED]))).toEqual(differs)
  })
})

describe('frames of timers', () => {
  const frame = (n: number) => ({
    dev: 'eth0',
    bytes: udp({ src: '10.0.0.1', dst: '10.0.0.2', sport: n, dport: 9 }),
  })
  const step = (id: number, before: readonly Sent[], sent: readonly Sent[]): StepRun => ({
    id,
    at: id * 100,
    wall: 0,
    dev: 'eth0',
    injected: null,
    before,
    sent,
  })
  const differ = (a: readonly StepRun[], b: readonly StepRun[]): number =>
    compareRuns({ ...run([], []), steps: a }, { ...run([], []), steps: b }).length

  test('may leave between a step and the look at what it sent', () => {
    const ours = [step(1, [], [frame(1)]), step(2, [frame(7)], [frame(2)])]
    expect(differ([step(1, [], [frame(7), frame(1)]), step(2, [], [frame(2)])], ours)).toBe(0)
    expect(differ([step(1, [], [frame(1), frame(7)]), step(2, [], [frame(2)])], ours)).toBe(0)
    expect(differ([step(1, [], [frame(1)]), step(2, [], [frame(2), frame(7)])], ours)).toBe(0)
  })

  test('and neither vanish nor come twice', () => {
    const ours = [step(1, [], [frame(1)]), step(2, [frame(7)], [frame(2)])]
    expect(differ([step(1, [], [frame(1)]), step(2, [], [frame(2)])], ours)).toBe(1)
    expect(differ([step(1, [], [frame(1), frame(7)]), step(2, [frame(7)], [frame(2)])], ours)).toBe(1)
  })
})
