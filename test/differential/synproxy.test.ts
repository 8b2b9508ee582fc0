// SYNPROXY through the kernel and through ours, both families: a client that opens a connection, sends data, closes.
// Cookies and clocks are each host's own; everything else is compared.

import { afterAll, describe, expect, test } from 'vitest'
import { SeededRandom, tcp } from '../harness/frames.ts'
import { headersOf, u32 } from '../harness/headers.ts'
import { KernelHost, Oracle, whyNoKernel } from '../harness/kernel.ts'
import { hex, type Scenario, type Sent } from '../harness/scenario.ts'
import { EngineHost } from '../harness/scenario-engine.ts'

const reason = whyNoKernel()
if (reason !== null) console.warn(`NOT RUN: SYNPROXY is not compared with the kernel: ${reason}`)
const oracle = reason === null ? new Oracle() : null
afterAll(() => oracle?.close())

const ENDS = {
  4: { client: '10.0.1.2', server: '10.0.2.2', eth0: '10.0.1.1/24', eth1: '10.0.2.1/24' },
  6: { client: 'fd00:1::2', server: 'fd00:2::2', eth0: 'fd00:1::1/64', eth1: 'fd00:2::1/64' },
} as const

/** Segments that the host makes go nowhere by these, if they are routed by their protocol. */
const POLICY = { routes: ['unreachable default table 110'], rules: ['iif lo ipproto tcp lookup 110'] }

function scenarioOf(family: 4 | 6, options: string, policy: boolean): Scenario {
  const { eth0, eth1 } = ENDS[family]
  const forward = family === 4 ? 'net.ipv4.ip_forward' : 'net.ipv6.conf.all.forwarding'
  return {
    name: 'synproxy',
    ...(family === 6 ? { family } : {}),
    devices: [
      { name: 'eth0', mtu: 1500, addresses: [eth0] },
      { name: 'eth1', mtu: 1500, addresses: [eth1] },
    ],
    ...(policy ? POLICY : { routes: [], rules: [] }),
    sysctls: { [forward]: '1', 'net.netfilter.nf_conntrack_tcp_loose': '0' },
    iptables: `*raw
:PREROUTING ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A PREROUTING -p tcp --dport 80 --syn -j CT --notrack
COMMIT
*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A FORWARD -p tcp -m conntrack --ctstate INVALID,UNTRACKED -j SYNPROXY ${options}
-A FORWARD -m conntrack --ctstate INVALID -j DROP
COMMIT
`,
    steps: [],
  }
}

/** A host that takes a frame and says what left because of it. */
type Take = (dev: string, frame: Uint8Array) => Promise<readonly Sent[]>

const COOKIE = 0x10000000
const TIMESTAMP = 8

/**
 * The frame in words, with the cookie's number taken for COOKIE, and time stamps of the host's own clock blank but for
 * the options in their low bits.
 */
function words(frame: Uint8Array, cookie: number, own: boolean): string {
  const { l4, src, dst } = headersOf(frame)!
  const shift = (n: number): number => {
    const by = (n - cookie) | 0
    return Math.abs(by) < 100_000 ? COOKIE + by : n
  }
  const seq = shift(u32(frame, l4 + 4))
  const ack = shift(u32(frame, l4 + 8))
  const header = (frame[l4 + 12]! >> 4) * 4
  const options = frame.slice(l4 + 20, l4 + header)
  for (let at = 0; at < options.length; at += options[at] === 1 ? 1 : Math.max(2, options[at + 1]!))
    if (options[at] === TIMESTAMP && own) {
      for (const field of [at + 2, at + 6])
        if (u32(options, field) > 100_000) options.set([0, 0, 0, options[field + 3]! & 0x3f], field)
    }
  const ip = hex(frame.subarray(0, frame[0]! >> 4 === 4 ? 10 : 8))
  return `${ip} ${src} > ${dst} ${frame[l4 + 13]} ${seq} ${ack} win ${(frame[l4 + 14]! << 8) | frame[l4 + 15]!} ${hex(options)} ${hex(frame.subarray(l4 + header))}`
}

interface Plan {
  readonly seed: number
  readonly family: 4 | 6
}

/** One conversation. What it saw, in words. */
async function converse(take: Take, { seed, family }: Plan): Promise<string[]> {
  const random = new SeededRandom(seed)
  const { client, server } = ENDS[family]
  const said: string[] = []
  let cookie = 0
  const stamps = random.once(2)
  const scale = random.once(2) ? random.pick([0, 3, 14]) : -1
  const sack = random.once(2)
  const stamp = (own: number, other: number): number[] =>
    stamps ? [1, 1, 8, 10, 0, 0, own >> 8, own & 255, ...be(other)] : []
  const be = (n: number): number[] => [n >>> 24, (n >>> 16) & 255, (n >>> 8) & 255, n & 255]
  const syn = [
    2,
    4,
    5,
    random.pick([0, 100, 180]),
    ...(sack ? [1, 1, 4, 2] : []),
    ...(scale >= 0 ? [1, 3, 3, scale] : []),
  ]
  const send = async (
    reply: boolean,
    flags: string,
    seq: number,
    ack: number,
    window: number,
    options: readonly number[],
    payload = 0,
  ): Promise<readonly Sent[]> => {
    const frame = tcp({
      src: reply ? server : client,
      dst: reply ? client : server,
      sport: reply ? 80 : 4000,
      dport: reply ? 4000 : 80,
      flags,
      seq: seq >>> 0,
      ack: ack >>> 0,
      window,
      tcpOptions: options,
      payload,
    })
    const sent = await take(reply ? 'eth1' : 'eth0', frame)
    if (flags === 'S' && !reply && sent[0] !== undefined)
      cookie = u32(sent[0].bytes, headersOf(sent[0].bytes)!.l4 + 4)
    said.push(`${reply ? '<' : '>'} ${flags}`)
    // Between interfaces the order of reading says nothing.
    for (const { dev, bytes } of sent.toSorted((a, b) => (a.dev < b.dev ? -1 : 1)))
      said.push(`  ${dev} ${words(bytes, cookie, true)}`)
    return sent
  }
  const synAck = await send(false, 'S', 1000, 0, 5000, [...syn, ...stamp(100, 0)])
  const echo = ((): number => {
    const bytes = synAck[0]?.bytes
    if (bytes === undefined) return 0
    const { l4 } = headersOf(bytes)!
    for (let at = l4 + 20; at + 10 <= l4 + (bytes[l4 + 12]! >> 4) * 4; at++)
      if (bytes[at] === 8 && bytes[at + 1] === 10) return u32(bytes, at + 2)
    return 0
  })()
  if (random.once(4)) await send(false, 'A', 1001, cookie + 12345, 5000, stamp(101, echo))
  if (random.once(6)) await send(false, 'S', 1000, 0, 5000, [...syn, ...stamp(100, 0)])
  await send(false, 'A', 1001, cookie + 1, 5000, stamp(101, echo))
  if (random.once(3)) {
    await send(true, 'RA', 0, 1001, 0, [])
    return said
  }
  if (random.once(4)) await send(false, 'A', 1000, cookie + 1, 5000, stamp(101, echo))
  await send(true, 'SA', 777_000, 1001, 9000, [
    2,
    4,
    5,
    180,
    ...(scale >= 0 ? [1, 3, 3, 2] : []),
    ...stamp(900, 100),
  ])
  await send(false, 'PA', 1001, cookie + 1, 5000, stamp(102, echo), 40)
  await send(true, 'A', 777_001, 1041, 9000, stamp(901, 102), 30)
  await send(false, 'A', 1041, cookie + 31, 5000, stamp(103, echo + 1))
  if (random.once(2)) await send(true, 'R', 777_031, 0, 0, [])
  else await send(true, 'FA', 777_031, 1041, 9000, stamp(902, 103))
  await send(false, 'FA', 1041, cookie + 32, 5000, stamp(104, echo + 2))
  return said
}

const OPTIONS = [
  '--sack-perm --timestamp --wscale 7 --mss 1460',
  '--mss 536',
  '',
  '--timestamp --ecn --wscale 0 --mss 1400',
]
const CONVERSATIONS = Number(process.env.TUNWALL_SCENARIOS ?? 6)
const first = Number(process.env.TUNWALL_SEED ?? Date.now() % 1_000_000)

describe.skipIf(reason !== null)('SYNPROXY', () => {
  test.each([4, 6] as const)(`IPv%i, seed ${first}`, async (family) => {
    for (let seed = first; seed < first + CONVERSATIONS; seed++) {
      const scenario = scenarioOf(family, OPTIONS[seed % OPTIONS.length]!, seed === first + 1)
      const kernel = new KernelHost(oracle!, scenario)
      await kernel.setUp()
      let id = 0
      const theirs = await converse(
        async (dev, frame) => (await kernel.take([{ id: id++, dev, frame: hex(frame) }]))[0]!.sent,
        { seed, family },
      )
      const run = await kernel.finish()
      const engine = new EngineHost(scenario, new SeededRandom(seed), null)
      engine.advance(0, run.wall)
      const ours = await converse(
        async (dev, frame) => {
          engine.receive(dev, frame)
          return engine.sent()
        },
        { seed, family },
      )
      expect(ours, `seed ${seed}`).toEqual(theirs)
      const flows = (lines: readonly string[]): string[] => lines.map((l) => l.replace(/ \d+ (?=[A-Z])/, ' '))
      expect(flows(engine.ends(scenario).conntrack), `seed ${seed}`).toEqual(flows(run.conntrack))
    }
  })
})
