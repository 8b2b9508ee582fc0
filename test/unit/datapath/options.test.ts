// Expected bytes were seen on Linux 6.18; see the header of datapath/ipv4/options.ts for what is written when.

import { describe, expect, test } from 'vitest'
import { fragmentOptions, timestampOf } from '../../../datapath/ipv4/options.ts'
import { decode, icmp, SeededRandom, tcp, toHex, udp } from '../../harness/frames.ts'
import { type TestHost, testHost } from '../../harness/host.ts'

const DEVICES = [
  ['eth0', 1500, ['10.1.0.1/24']],
  ['eth1', 1400, ['10.2.0.1/24']],
  ['eth2', 1400, ['10.3.0.1/24']],
] as const
const C = { src: '10.1.0.2', dst: '10.2.0.2', sport: 1, dport: 2 }
const ip = (text: string): number[] => text.split('.').map(Number)

/** What left: device, destination, options in hexadecimal. */
function through(t: TestHost, frame: Uint8Array): string[] {
  return t.feed('eth0', frame).map(({ device, frame: f }) => {
    expect(decode(f)).not.toMatch(/^[^[]*BAD-IP/)
    return `${device} ${f.slice(16, 20).join('.')} ${toHex(f.slice(20, (f[0]! & 15) * 4))}`
  })
}

function parameterProblem(t: TestHost, frame: Uint8Array): number | null {
  const [error] = t.feed('eth0', frame)
  if (error === undefined) return null
  const l4 = (error.frame[0]! & 15) * 4
  return error.frame[l4] === 12 ? error.frame[l4 + 4]! : null
}

describe('forwarding', () => {
  test('record route: the address of the way out', () => {
    const options = [7, 11, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0]
    expect(through(testHost(DEVICES), udp({ ...C, options }))).toEqual([
      'eth1 10.2.0.2 070b080a0200010000000000',
    ])
  })
  test('record route, full: as it is', () => {
    const options = [7, 7, 8, 1, 2, 3, 4]
    expect(through(testHost(DEVICES), udp({ ...C, options }))).toEqual(['eth1 10.2.0.2 0707080102030400'])
  })
  test.each<[string, number[], string]>([
    ['time only', [68, 8, 5, 0, 9, 9, 9, 9], '44080900000010e1'],
    // The address is the one towards the sender: that of the way out only with a source route.
    ['address and time', [68, 12, 5, 1, 0, 0, 0, 0, 0, 0, 0, 0], '440c0d010a010001000010e1'],
    ['prespecified, this host', [68, 12, 5, 3, ...ip('10.3.0.1'), 0, 0, 0, 0], '440c0d030a030001000010e1'],
    ['prespecified, another', [68, 12, 5, 3, ...ip('10.3.0.9'), 0, 0, 0, 0], '440c05030a03000900000000'],
    ['full: overflow counts', [68, 8, 9, 0x20, 1, 2, 3, 4], '4408093001020304'],
    [
      'prespecified and full: nothing counts',
      [68, 12, 13, 3, ...ip('10.3.0.1'), 1, 2, 3, 4],
      '440c0d030a03000101020304',
    ],
  ])('timestamp, %s', (_, options, expected) => {
    const t = testHost(DEVICES)
    t.host.wall = 86_400_000 + 4321
    expect(through(t, udp({ ...C, options }))).toEqual([`eth1 10.2.0.2 ${expected}`])
  })
  test('what follows the end is cleared', () => {
    expect(through(testHost(DEVICES), udp({ ...C, options: [1, 0, 7, 9] }))).toEqual([
      'eth1 10.2.0.2 01000000',
    ])
  })
})

describe('malformed: parameter problem points at the byte', () => {
  test.each<[number[], number]>([
    [[7], 20],
    [[7, 1, 4, 0], 20],
    [[7, 9, 4, 0], 20],
    [[1, 7, 2, 0], 22],
    [[7, 7, 3, 0, 0, 0, 0], 22],
    [[7, 7, 5, 0, 0, 0, 0], 22],
    [[7, 3, 4, 7, 3, 4], 23],
    [[68, 3, 5, 0], 21],
    [[68, 8, 4, 0, 0, 0, 0, 0], 22],
    [[68, 8, 6, 0, 0, 0, 0, 0], 22],
    [[68, 8, 5, 1, 0, 0, 0, 0], 22],
    [[68, 4, 5, 0xf0], 23],
    [[148, 3, 0, 0], 21],
    [[131, 2, 4, 0], 21],
    [[131, 3, 3, 0], 22],
    [[131, 3, 4, 137, 3, 4], 23],
    [[134, 6, 0, 0, 0, 1], 21],
    [[134, 10, 0, 0, 0, 1, 1, 4, 0, 0], 22],
  ])('%j at %i', (options, at) => {
    // A last option of one byte has no length only when the header ends there.
    const padded = options.length === 1 ? [1, 1, 1, ...options] : options
    expect(parameterProblem(testHost(DEVICES), udp({ ...C, options: padded }))).toBe(
      options.length === 1 ? at + 3 : at,
    )
  })
})

describe('source routes', () => {
  const on = { 'net.ipv4.conf.all.accept_source_route': 1 }
  const via = (...stops: string[]): number[] => stops.flatMap(ip)

  test('loose: on to the next stop, our address in its place', () => {
    const options = [131, 11, 4, ...via('10.2.0.2', '10.9.0.1')]
    expect(through(testHost(DEVICES, on), udp({ ...C, dst: '10.1.0.1', options }))).toEqual([
      'eth1 10.2.0.2 830b080a0200010a09000100',
    ])
  })
  test('through another address of this host at once', () => {
    const options = [131, 11, 4, ...via('10.3.0.1', '10.2.0.2')]
    const [sent] = through(testHost(DEVICES, on), udp({ ...C, dst: '10.1.0.1', options }))
    expect(sent).toMatch(/^eth1 10\.2\.0\.2 830b0c/)
  })
  test('not accepted: silence', () => {
    const options = [131, 7, 4, ...via('10.2.0.2')]
    expect(testHost(DEVICES).feed('eth0', udp({ ...C, dst: '10.1.0.1', options }))).toEqual([])
  })
  test('strict, but not to this host: the destination is wrong', () => {
    const options = [137, 7, 4, ...via('10.2.0.2')]
    expect(parameterProblem(testHost(DEVICES, on), udp({ ...C, options }))).toBe(16)
  })
  test('a pointer into the middle', () => {
    const options = [131, 7, 6, ...via('10.2.0.2')]
    expect(parameterProblem(testHost(DEVICES, on), udp({ ...C, dst: '10.1.0.1', options }))).toBe(22)
  })
  test('nowhere to go: silence', () => {
    const options = [131, 7, 4, ...via('10.9.0.1')]
    expect(testHost(DEVICES, on).feed('eth0', udp({ ...C, dst: '10.1.0.1', options }))).toEqual([])
  })
})

describe('answers', () => {
  const L = { ...C, dst: '10.1.0.1' }
  test('record route goes on, and records us twice: on the way in and as the sender', () => {
    const options = [7, 15, 8, ...ip('10.7.0.1'), 0, 0, 0, 0, 0, 0, 0, 0]
    expect(through(testHost(DEVICES), icmp({ ...L, options }))).toEqual([
      'eth0 10.1.0.2 070f100a0700010a0100010a01000100',
    ])
  })
  test('a source route is turned round, for resets too', () => {
    const options = [131, 11, 12, ...ip('10.3.0.9'), ...ip('10.2.0.9')]
    const t = testHost(DEVICES, { 'net.ipv4.conf.all.accept_source_route': 1 })
    expect(through(t, icmp({ ...L, options }))).toEqual(['eth1 10.2.0.9 830b040a0300090a01000200'])
    // The checksum is that of the final destination.
    expect(through(t, tcp({ ...L, flags: 'S', options }))).toEqual(['eth1 10.2.0.9 830b040a0300090a01000200'])
  })
  test('router alert is not echoed', () => {
    expect(through(testHost(DEVICES), icmp({ ...L, options: [148, 4, 0, 0] }))).toEqual(['eth0 10.1.0.2 '])
  })
})

test('fragmentOptions keeps copied ones and never leaves the header', () => {
  const random = new SeededRandom(31)
  for (let n = 0; n < 5000; n++) {
    const bytes = random.bytes(80)
    const end = 20 + 4 * random.below(11)
    const before = bytes.slice()
    fragmentOptions(bytes, 0, end)
    expect(toHex(bytes.slice(0, 20))).toBe(toHex(before.slice(0, 20)))
    expect(toHex(bytes.slice(end))).toBe(toHex(before.slice(end)))
    for (let i = 20; i < end; i++) expect([before[i], 1]).toContain(bytes[i])
  }
})

test('timestampOf: milliseconds since midnight', () => {
  expect(timestampOf(0)).toBe(0)
  expect(timestampOf(86_400_000 * 20_000 + 86_399_999.7)).toBe(86_399_999)
})
