// The comparison itself: what it must see, what it may overlook, and that the kernel agrees with itself.

import { afterAll, describe, expect, test } from 'vitest'
import { compareRuns, readFlow } from '../harness/compare.ts'
import * as build from '../harness/frames.ts'
import { generate } from '../harness/generate.ts'
import { runKernel, whyNoKernel } from '../harness/kernel.ts'
import { OraclePool } from '../harness/oracle-pool.ts'
import {
  hex,
  parseScenario,
  printScenario,
  type Run,
  type Scenario,
  type Step,
  type StepRun,
} from '../harness/scenario.ts'
import { plan } from '../harness/scenario-check.ts'
import { fillReferences, replace16 } from '../harness/scenario-references.ts'
import { judge } from '../harness/shrink.ts'

const why = whyNoKernel()
if (why !== null) console.warn(`NOT RUN: the kernel is not asked: ${why}`)
const pool = new OraclePool(1)
afterAll(() => pool.close())

const SYN = build.tcp({ src: '10.0.0.2', dst: '10.1.0.2', sport: 1024, dport: 80, flags: 'S', seq: 7, id: 5 })

function runOf(sent: Uint8Array[], more: Partial<Run> = {}): Run {
  const step: StepRun = {
    id: 0,
    at: 0,
    wall: 0,
    dev: 'eth0',
    injected: SYN,
    before: [],
    sent: sent.map((bytes) => ({ dev: 'eth1', bytes })),
  }
  return {
    wall: 0,
    steps: [step],
    endAt: 0,
    save: '*filter\n:INPUT ACCEPT [0:0]\n[3:180] -A INPUT -p tcp -j ACCEPT\nCOMMIT\n',
    conntrack: [
      'ipv4     2 tcp      6 100 SYN_SENT src=10.0.0.2 dst=10.1.0.2 sport=1024 dport=80 [UNREPLIED] src=10.1.0.2 dst=10.0.0.2 sport=80 dport=1024 mark=0 use=1',
    ],
    ...more,
  }
}

const kinds = (a: Run, b: Run): string[] => compareRuns(a, b).map((d) => d.kind)

describe('what a comparison sees', () => {
  test('nothing in a run and itself', () => {
    expect(kinds(runOf([SYN]), runOf([SYN.slice()]))).toEqual([])
  })

  test('every bit of a forwarded frame', () => {
    for (let bit = 0; bit < SYN.length * 8; bit++) {
      const other = SYN.slice()
      other[bit >> 3]! ^= 1 << (bit & 7)
      expect(kinds(runOf([SYN]), runOf([other])), `bit ${bit}`).toEqual(['frame'])
    }
  })

  test('a forwarded frame whose identification changed, with a right checksum', () => {
    const other = build.tcp({
      src: '10.0.0.2',
      dst: '10.1.0.2',
      sport: 1024,
      dport: 80,
      flags: 'S',
      seq: 7,
      id: 6,
    })
    expect(kinds(runOf([SYN]), runOf([other]))).toEqual(['frame'])
  })

  test('that connections of one tuple in several zones drew in any order, each pair for itself', () => {
    const line = (port: number, zone: string, drawn: number): string =>
      `ipv4 2 udp 17 30 src=10.0.0.2 dst=10.1.0.2 sport=${port} dport=80 ${zone} [UNREPLIED] src=10.1.0.2 dst=10.0.0.2 sport=80 dport=${drawn} mark=0 use=1`
    const conntrack = [1, 2].flatMap((n) => [line(n, 'zone-orig=1', 600 + n), line(n, '', 700 + n)])
    const run = runOf([SYN], { conntrack })
    // The first pair drew in the order of the list, the second in the other.
    const runner = (_: Scenario, { conntrack: listed }: Run): Run => {
      const right = [0, 2].map((at) => listed.indexOf(conntrack[at]!) < listed.indexOf(conntrack[at + 1]!))
      const shown = conntrack.map((text, at) =>
        right[at >> 1] === at < 2 ? text : text.replace(/dport=(\d+) mark/, 'dport=9$1 mark'),
      )
      return { ...run, conntrack: shown }
    }
    expect(judge({ iptables: '' } as Scenario, run, runner)).toEqual([])
  })

  test('a frame too much, one missing, one at another interface', () => {
    expect(kinds(runOf([SYN]), runOf([SYN, SYN]))).toEqual(['frame'])
    expect(kinds(runOf([SYN]), runOf([]))).toEqual(['frame'])
    const elsewhere = runOf([SYN])
    const moved = { ...elsewhere, steps: [{ ...elsewhere.steps[0]!, sent: [{ dev: 'eth0', bytes: SYN }] }] }
    expect(kinds(runOf([SYN]), moved)).toEqual(['frame'])
  })

  test('a counter off by one, another rule, a missing table', () => {
    const save = runOf([]).save
    expect(kinds(runOf([]), runOf([], { save: save.replace('[3:180]', '[3:181]') }))).toEqual(['counter'])
    expect(kinds(runOf([]), runOf([], { save: save.replace('tcp', 'udp') }))).toEqual(['rule'])
    expect(kinds(runOf([]), runOf([], { save: '' }))).toEqual(['rule'])
  })

  test('a flow that is missing, in another state, marked, or with another timeout', () => {
    const [line] = runOf([]).conntrack
    expect(kinds(runOf([]), runOf([], { conntrack: [] }))).toEqual(['flow'])
    for (const [from, to] of [
      ['SYN_SENT', 'SYN_RECV'],
      ['mark=0', 'mark=1'],
      ['[UNREPLIED] ', ''],
      ['dport=1024', 'dport=1025'],
    ] as const)
      expect(kinds(runOf([]), runOf([], { conntrack: [line!.replace(from, to)] }))).toEqual(['flow', 'flow'])
    expect(kinds(runOf([]), runOf([], { conntrack: [line!.replace(' 100 ', ' 103 ')] }))).toEqual(['timeout'])
  })
})

describe('what a comparison overlooks', () => {
  const answer = (id: number): Uint8Array => build.icmpError(3, 1, SYN, { id })

  test("the identification of the host's own packets, where it is drawn", () => {
    expect(kinds(runOf([answer(9)]), runOf([answer(10)]))).toEqual([])
    expect(kinds(runOf([answer(0)]), runOf([answer(10)]))).toEqual([])
    expect(kinds(runOf([answer(9)]), runOf([answer(0)]))).toEqual(['frame'])
    const whole = (id: number): Uint8Array => build.icmpError(3, 1, SYN, { id, df: true })
    expect(kinds(runOf([whole(0)]), runOf([whole(9)]))).toEqual(['frame'])
    // A copy of TEE gets its DF behind the draw.
    expect(kinds(runOf([whole(9)]), runOf([whole(8)]))).toEqual([])
  })

  test('fragments of one packet must still share theirs', () => {
    const pieces = (id: number): Uint8Array[] =>
      build.fragment(build.icmp({ src: '10.1.0.2', dst: '10.0.0.2', type: 0, id, payload: 100 }), 48)
    expect(kinds(runOf(pieces(9)), runOf(pieces(10)))).toEqual([])
    const torn = [pieces(10)[0]!, pieces(11)[1]!, pieces(10)[2]!]
    expect(kinds(runOf(pieces(9)), runOf(torn))).toEqual(['frame'])
  })

  test('milliseconds in timestamps, by a little', () => {
    const reply = (time: number): Uint8Array =>
      build.icmp({
        src: '10.1.0.2',
        dst: '10.0.0.2',
        type: 14,
        id: 9,
        payload: [0, 0, 0, 1, 0, 0, 1, time & 255, 0, 0, 1, time & 255],
      })
    expect(kinds(runOf([reply(10)]), runOf([reply(12)]))).toEqual([])
    expect(kinds(runOf([reply(10)]), runOf([reply(200)]))).toEqual(['frame'])
    const option = (time: number): Uint8Array =>
      build.udp({
        src: '10.0.0.2',
        dst: '10.1.0.2',
        sport: 1,
        dport: 2,
        id: 5,
        options: [0x44, 8, 9, 0, 0, 0, 1, time],
      })
    expect(kinds(runOf([option(10)]), runOf([option(12)]))).toEqual([])
    expect(kinds(runOf([option(10)]), runOf([option(200)]))).toEqual(['frame'])
  })

  test('use counts and a second or two', () => {
    const [line] = runOf([]).conntrack
    expect(
      kinds(runOf([]), runOf([], { conntrack: [line!.replace('use=1', 'use=2').replace(' 100 ', ' 99 ')] })),
    ).toEqual([])
    expect(readFlow('unknown  2 unknown  47 9 src=1.1.1.1 use=1').timeout).toBe(9)
  })
})

describe('references', () => {
  test('filling one in leaves right checksums right, wrong ones wrong, at every depth', () => {
    const random = new build.SeededRandom(11)
    for (let n = 0; n < 500; n++) {
      const badChecksum = random.once(3)
      const ports = {
        src: '10.0.0.2',
        dst: '10.1.0.2',
        sport: 1 + random.below(65535),
        dport: 1 + random.below(65535),
      }
      const inner = random.once(2)
        ? build.tcp({ ...ports, payload: random.below(30), badChecksum })
        : build.udp({ ...ports, payload: random.below(30), badChecksum })
      const quoted = random.once(2)
      const frame = quoted ? build.icmpError(3, 3, inner) : inner
      const at = (quoted ? 28 : 0) + 20 + 2 * random.below(2)
      const port = 1 + random.below(65535)
      replace16(frame, at, port)
      const wanted = build.decode(quoted ? frame.subarray(28) : frame)
      expect(wanted.includes('BAD-CSUM')).toBe(badChecksum)
      expect(wanted).toContain(String(port))
      if (quoted) expect(build.decode(frame).split('[')[0]).not.toContain('BAD')
    }
  })

  test('a missing answer leaves the recorded bytes', () => {
    const step: Step = {
      id: 1,
      dev: 'eth0',
      frame: hex(SYN),
      references: [{ at: 22, step: 0, answer: 0, from: 20 }],
    }
    expect(fillReferences(step, new Map())).toEqual(SYN)
    const filled = fillReferences(step, new Map(runOf([SYN]).steps.map((s) => [s.id, s])))
    expect((filled[22]! << 8) | filled[23]!).toBe(1024)
  })
})

test('a scenario survives printing', () => {
  const scenario: Scenario = {
    name: 'x',
    devices: [{ name: 'eth0', mtu: 1500, addresses: ['10.0.0.1/24'] }],
    routes: [],
    rules: [],
    sysctls: {},
    iptables: '*raw\nCOMMIT\n',
    steps: [
      { id: 0, dev: 'eth0', frame: hex(SYN) },
      { id: 1, pause: 5 },
    ],
  }
  expect(parseScenario(printScenario(scenario))).toEqual(scenario)
})

test('seeds are spread over all profiles', () => {
  expect(new Set(plan(1, 7).map(([, p]) => p)).size).toBe(7)
})

describe.skipIf(why !== null)('the kernel', () => {
  const host: Scenario = {
    name: 'by hand',
    devices: [
      { name: 'eth0', mtu: 1500, addresses: ['10.0.0.1/24'] },
      { name: 'eth1', mtu: 1500, addresses: ['10.1.0.1/24'] },
    ],
    routes: [],
    rules: [],
    sysctls: { 'net.ipv4.ip_forward': '1' },
    iptables:
      '*nat\n-A POSTROUTING -o eth1 -j MASQUERADE\nCOMMIT\n*filter\n-A FORWARD -m conntrack --ctstate NEW -j ACCEPT\nCOMMIT\n',
    steps: [
      { id: 0, dev: 'eth0', frame: hex(SYN) },
      { id: 1, dev: 'eth0', frame: hex(build.icmp({ src: '10.0.0.2', dst: '10.0.0.1', payload: 4 })) },
      {
        id: 2,
        pause: 20,
        dev: 'eth0',
        frame: hex(build.udp({ src: '10.0.0.2', dst: '10.0.0.1', sport: 5, dport: 6 })),
      },
      { id: 3, pause: 5 },
    ],
  }

  test('masquerades, answers, counts and tracks what is written to a device', async () => {
    const run = await pool.use((oracle) => runKernel(oracle, host))
    expect(
      run.steps.map((s) => s.sent.map((f) => `${f.dev} ${build.decode(f.bytes).replace(/ id \d+/, '')}`)),
    ).toEqual([
      ['eth1 10.1.0.1 > 10.1.0.2 ttl 63 tcp 1024 > 80 [S] seq 7 ack 0 win 65535 len 0'],
      ['eth0 10.0.0.1 > 10.0.0.2 ttl 64 icmp 0/0 id 0 seq 0 len 4'],
      [
        'eth0 10.0.0.1 > 10.0.0.2 ttl 64 tos 0xc0 icmp 3/3 len 28 [10.0.0.2 > 10.0.0.1 ttl 64 id 0 udp 5 > 6 len 0]',
      ],
      [],
    ])
    expect(run.save).toContain('[1:40] -A POSTROUTING -o eth1 -j MASQUERADE')
    expect(run.conntrack.filter((l) => l.includes('dst=10.1.0.1'))).toHaveLength(1)
    expect(run.steps[2]!.at).toBeGreaterThanOrEqual(16)
  })

  test('agrees with itself', async () => {
    const [first, second] = await pool.use(async (oracle) => [
      await runKernel(oracle, host),
      await runKernel(oracle, host),
    ])
    expect(compareRuns(first!, second!)).toEqual([])
    expect(first!.steps.flatMap((s) => s.sent)).not.toHaveLength(0)
  })

  test('is asked the same thing for the same seed', async () => {
    const wall = Date.now()
    const draw = () => pool.use((oracle) => generate(oracle, 4, 'filtering', 30, { wall }))
    const [a, b] = [await draw(), await draw()]
    expect({ ...a.scenario, steps: [] }).toEqual({ ...b.scenario, steps: [] })
    expect(a.scenario.steps.map((s) => s.note)).toEqual(b.scenario.steps.map((s) => s.note))
  })

  test('a refused ruleset is an error, and the next scenario runs', async () => {
    const bad = { ...host, iptables: '*filter\n-A NOWHERE -j ACCEPT\nCOMMIT\n' }
    await expect(pool.use((oracle) => runKernel(oracle, bad))).rejects.toThrow(/iptables-restore/)
    expect((await pool.use((oracle) => runKernel(oracle, host))).steps).toHaveLength(4)
  })
})
