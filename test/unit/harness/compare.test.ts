import { describe, expect, test } from 'vitest'
import { fold, sum } from '../../../datapath/wire/checksum.ts'
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

describe('a fragment header that an ICMPv6 error quotes', () => {
  const PSEUDO = 58
  /** fd00::1 > fd00::5, unreachable, about an atomic fragment with this identification. */
  const error = (id: number): Uint8Array => {
    const f = new Uint8Array(104)
    const v = new DataView(f.buffer)
    for (const [l3, length, next, hops] of [
      [0, 64, 58, 64],
      [48, 16, 44, 1],
    ] as const) {
      v.setUint8(l3, 0x60)
      v.setUint16(l3 + 4, length)
      v.setUint8(l3 + 6, next)
      v.setUint8(l3 + 7, hops)
      for (const at of [l3 + 8, l3 + 24]) v.setUint16(at, 0xfd00)
      v.setUint8(l3 + 23, 1)
      v.setUint8(l3 + 39, 5)
    }
    v.setUint8(40, 1)
    v.setUint8(41, 4)
    v.setUint8(88, 17)
    v.setUint32(92, id)
    v.setUint16(100, 8)
    v.setUint16(42, ~fold(sum(f, 8, f.length) + PSEUDO + f.length - 40))
    return f
  }
  const spoilt = (f: Uint8Array): Uint8Array => f.with(42, f[42]! ^ 1)
  const differ = (a: Uint8Array, b: Uint8Array, injected: Uint8Array | null = null): number => {
    const steps = (bytes: Uint8Array): StepRun[] => [
      { id: 1, at: 1, wall: 0, dev: 'eth0', injected, before: [], sent: [{ dev: 'eth0', bytes }] },
    ]
    return compareRuns({ ...run([], []), steps: steps(a) }, { ...run([], []), steps: steps(b) }).length
  }

  test('may have been drawn', () => {
    expect(differ(error(7), error(8))).toBe(0)
    expect(differ(error(7), spoilt(error(8)))).toBe(1)
  })

  test('but not if it came in', () => {
    expect(differ(error(7), error(8), error(7).subarray(48))).toBe(1)
  })
})

describe('a time in the option of that name', () => {
  /** The option with its pointer, and `ms` in front of where that points. */
  const stamped = (pointer: number, ms: number): Uint8Array => {
    const options = new Uint8Array(12)
    options.set([0x44, 11, pointer])
    new DataView(options.buffer).setUint32(pointer - 5, ms)
    return udp({ src: '10.0.0.1', dst: '10.0.0.2', sport: 1, dport: 9, options: [...options] })
  }
  const differ = (a: Uint8Array, b: Uint8Array): number => {
    const steps = (bytes: Uint8Array): StepRun[] => [
      { id: 1, at: 1, wall: 0, dev: 'eth0', injected: null, before: [], sent: [{ dev: 'eth0', bytes }] },
    ]
    return compareRuns({ ...run([], []), steps: steps(a) }, { ...run([], []), steps: steps(b) }).length
  }

  test('may stand anywhere, and be another by a little', () => {
    for (const pointer of [9, 10, 11, 12]) {
      expect(differ(stamped(pointer, 0x046b0ee0), stamped(pointer, 0x046b0f01))).toBe(0)
      expect(differ(stamped(pointer, 0x046b0ee0), stamped(pointer, 0x046b1ee0))).toBe(1)
    }
  })
})
