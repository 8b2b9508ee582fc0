import { describe, expect, test } from 'vitest'
import { compareRuns } from '../../harness/compare.ts'
import type { Run } from '../../harness/scenario.ts'

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
