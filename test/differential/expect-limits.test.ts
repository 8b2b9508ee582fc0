// How many connections may be expected, and for how long: each helper's max_expected, nf_conntrack_expect_max, and what is
// left of an expired master. The same frames through the kernel and through tunwall, all expectations compared.

import { afterAll, describe, expect, test } from 'vitest'
import { parseIpv4 } from '../../datapath/wire/address.ts'
import { type Payload, payload, tcp, udp } from '../harness/frames.ts'
import { Oracle, whyNoKernel } from '../harness/kernel.ts'
import { hex, type Scenario, type Step } from '../harness/scenario.ts'
import { report } from '../harness/scenario-check.ts'
import { runEngine } from '../harness/scenario-engine.ts'
import { type Comparison, compareOnce } from '../harness/shrink.ts'

const reason = whyNoKernel()
if (reason !== null)
  console.warn(`NOT RUN: limits of expectations are not compared with the kernel: ${reason}`)
const oracle = reason === null ? new Oracle() : null
afterAll(() => oracle?.close())

const PORTS: readonly (readonly [string, string, number])[] = [
  ['ftp', 'tcp', 21],
  ['irc', 'tcp', 6667],
  ['sane', 'tcp', 6566],
  ['amanda', 'udp', 10080],
  ['sip', 'udp', 5060],
  ['tftp', 'udp', 69],
  ['Q.931', 'tcp', 1720],
  ['RAS', 'udp', 1719],
]
const RULES = `*raw
:PREROUTING ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
${PORTS.map(([helper, protocol, port]) => `-A PREROUTING -p ${protocol} --dport ${port} -j CT --helper ${helper}`).join('\n')}
COMMIT
*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A FORWARD -m conntrack --ctstate RELATED
-A FORWARD -m conntrack --ctstate NEW
COMMIT
`
const [CLIENT, SERVER] = ['10.0.1.2', '10.0.2.2']

/** Frames of a scenario, in order. */
class Script {
  readonly steps: Step[] = []

  pause(ms: number): void {
    this.steps.push({ id: this.steps.length, pause: ms })
  }

  command(...words: readonly string[]): void {
    this.steps.push({ id: this.steps.length, command: words })
  }

  frame(bytes: Uint8Array, fromClient = true): void {
    this.steps.push({ id: this.steps.length, dev: fromClient ? 'eth0' : 'eth1', frame: hex(bytes) })
  }

  /** A datagram between the two. */
  datagram(sport: number, dport: number, data: Payload, fromClient = true): void {
    const [src, dst] = fromClient ? [CLIENT, SERVER] : [SERVER, CLIENT]
    this.frame(udp({ src, dst, sport, dport, payload: data }), fromClient)
  }

  /** A connection; who says what: true, the one who began it. */
  talk(
    sport: number,
    dport: number,
    said: readonly (readonly [boolean, Payload])[],
    fromClient = true,
  ): void {
    const next = [1000, 5000]
    const send = (begins: boolean, flags: string, data: Payload = ''): void => {
      const client = begins === fromClient
      const own = begins ? 0 : 1
      const [src, dst] = client ? [CLIENT, SERVER] : [SERVER, CLIENT]
      const ports = begins ? { sport, dport } : { sport: dport, dport: sport }
      const bytes = payload(data)
      const frame = tcp({
        src,
        dst,
        ...ports,
        flags,
        seq: next[own]!,
        ack: flags === 'S' ? 0 : next[1 - own]!,
        payload: bytes,
      })
      this.frame(frame, client)
      next[own]! += bytes.length + (flags.includes('S') ? 1 : 0)
    }
    send(true, 'S')
    send(false, 'SA')
    send(true, 'A')
    for (const [begins, data] of said) send(begins, 'PA', data)
  }

  scenario(name: string, sysctls: Readonly<Record<string, string>> = {}): Scenario {
    return {
      name,
      devices: [
        { name: 'eth0', mtu: 1500, addresses: ['10.0.1.1/24'] },
        { name: 'eth1', mtu: 1500, addresses: ['10.0.2.1/24'] },
      ],
      routes: [],
      rules: [],
      sysctls: { 'net.ipv4.ip_forward': '1', ...sysctls },
      iptables: RULES,
      steps: this.steps,
    }
  }
}

const compare = (scenario: Scenario): Promise<Comparison> => compareOnce(oracle!, scenario, runEngine)

/** So many are expected by this helper at the end, in both. */
async function holds(script: Script, helper: string, count: number, name = helper): Promise<void> {
  const result = await compare(script.scenario(name))
  expect(result.differences.length, report(result, 20)).toBe(0)
  const lines = result.kernel.expect!.filter((l) => l.endsWith(`helper=${helper}`))
  expect(lines.length, result.kernel.expect!.join('\n')).toBe(count)
}

const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i)

// -- H.323, in packed encoding

const place = (address: string, port: number): number[] => {
  const word = parseIpv4(address)!
  return [word >>> 24, (word >>> 16) & 255, (word >>> 8) & 255, word & 255, port >> 8, port & 255]
}
/** LocationConfirm: whom to call. */
const located = (address: string, port: number): number[] => [
  ...[0x4c, 0, 1, 0],
  ...place(address, port),
  0,
  ...place(SERVER, 1719),
]
/** OpenLogicalChannel with a pair of ports. */
const channel = (address: string, port: number): number[] => [
  ...[0x03, 0, 0, 1, 0x06, 0, 17, 0x14, 0, 1, 0],
  ...place(address, port),
  0,
  ...place(address, port + 1),
]
const tpkt = (message: readonly number[]): number[] => {
  const size = message.length + 4
  return [3, 0, size >> 8, size & 255, ...message]
}
const q931 = (information: readonly number[]): number[] =>
  tpkt([8, 2, 0, 1, 0x62, 0x7e, 0, information.length + 1, 5, ...information])
/** Nothing but H.245 in the tunnel. */
const tunnel = (messages: readonly (readonly number[])[]): number[] => {
  const list = [messages.length, ...messages.flatMap((m) => [m.length, ...m])]
  return q931([0x28, 0x10, 0, 0x04, 0x40, list.length, ...list])
}
/** CallProceeding with the address of the control connection. */
const proceeding = (address: string, port: number): number[] =>
  q931([0x01, 0x40, 0, 0, 0, ...place(address, port)])

describe.skipIf(reason !== null)('what a master may expect at once: the oldest of its class goes', () => {
  test('ftp: one of each of two', async () => {
    const s = new Script()
    s.talk(
      1000,
      21,
      [10, 11, 12].map((n) => [true, `PORT 10,0,1,2,19,${n}\r\n`]),
    )
    s.talk(1001, 21, [
      [true, 'USER a\r\n'],
      ...[20, 21].map((n) => [true, `PORT 10,0,1,2,19,${n}\r\n`] as const),
    ])
    await holds(s, 'ftp', 2)
  })

  test('irc: eight', async () => {
    const s = new Script()
    s.talk(
      1000,
      6667,
      range(11).map((n) => [
        true,
        `PRIVMSG nick :\x01DCC SEND file ${parseIpv4(CLIENT)! >>> 0} ${5000 + n} 1\x01\r\n`,
      ]),
    )
    await holds(s, 'irc', 8)
  })

  test('amanda: four', async () => {
    const s = new Script()
    s.datagram(850, 10080, 'Amanda 2.4 REQ HANDLE 0-1 SEQ 1\nSERVICE sendbackup\n')
    for (const n of range(3))
      s.datagram(
        10080,
        850,
        `Amanda 2.4 REP HANDLE 0-1 SEQ 1\nCONNECT DATA ${2000 + n} MESG ${3000 + n} INDEX ${4000 + n}\nOPTIONS ;\n\n`,
        false,
      )
    await holds(s, 'amanda', 4)
  })

  test('sip: one registration, ports for media', async () => {
    const s = new Script()
    const message = (first: string, more: string, body = ''): string =>
      `${first}\r\nVia: SIP/2.0/UDP ${CLIENT}:5060\r\nCSeq: 1 ${first.split(' ')[0]}\r\n${more}Content-Length: ${body.length}\r\n\r\n${body}`
    for (const port of [5061, 5062, 5063])
      s.datagram(
        5060,
        5060,
        message(`REGISTER sip:${SERVER} SIP/2.0`, `Contact: <sip:a@${CLIENT}:${port}>;expires=60\r\n`),
      )
    const media = ['audio 4000', 'audio 4002', 'audio 4004', 'audio 4006'].map((m) => `m=${m} RTP/AVP 0\r\n`)
    const sdp = `v=0\r\no=a 1 1 IN IP4 ${CLIENT}\r\nc=IN IP4 ${CLIENT}\r\n${media.join('')}`
    s.datagram(5060, 5060, message(`INVITE sip:b@${SERVER} SIP/2.0`, '', sdp))
    await holds(s, 'sip', 5)
  })

  test('RAS: thirty-two', async () => {
    const s = new Script()
    for (const n of range(40)) s.datagram(1719, 1719, located('10.0.9.9', 1720 + n))
    await holds(s, 'RAS', 32)
  })

  test('Q.931: twenty', async () => {
    const s = new Script()
    s.talk(
      1000,
      1720,
      range(5).map((n) => [true, tunnel(range(3).map((i) => channel(CLIENT, 4000 + 2 * (3 * n + i))))]),
    )
    await holds(s, 'Q.931', 20)
  })

  test('H.245: eighteen', async () => {
    const s = new Script()
    s.talk(1000, 1720, [[true, proceeding(CLIENT, 5100)]])
    s.talk(
      2000,
      5100,
      range(12).map((n) => [true, tpkt(channel(SERVER, 4000 + 2 * n))]),
      false,
    )
    await holds(s, 'H.245', 18)
  })
})

describe.skipIf(reason !== null)('all expectations of a host', () => {
  test('nf_conntrack_expect_max of 4096: what announces one more is dropped', async () => {
    const s = new Script()
    for (const n of range(130))
      for (const i of range(32)) s.datagram(2000 + n, 1719, located(`10.9.${n}.${i}`, 1720))
    // A master that has all that it may gives up its oldest first.
    for (const i of range(3)) s.datagram(2000, 1719, located(`10.9.200.${i}`, 1720))
    await holds(s, 'RAS', 4096, 'expect-max')
  }, 60_000)

  // Left alone, the kernel keeps an expired master until its collector comes by, or a list of connections is asked for in
  // any namespace of the machine.
  test('of an expired master nothing is expected, once somebody looked', async () => {
    const s = new Script()
    s.datagram(2000, 69, [0, 1, 97, 0, 98, 0])
    s.pause(2100)
    s.command('conntrack', '-L')
    s.datagram(3000, 2000, 'data', false)
    const scenario = s.scenario('expired', { 'net.netfilter.nf_conntrack_udp_timeout': '1' })
    const result = await compare(scenario)
    expect(result.differences.length, report(result)).toBe(0)
    expect(result.kernel.expect).toEqual([])
    expect(result.kernel.save).toMatch(/^\[2:66\] -A FORWARD -m conntrack --ctstate NEW$/m)
  }, 30_000)
})
