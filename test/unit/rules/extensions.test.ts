// Extensions that show what they do only in a whole host: TRACE, NFLOG, SYNPROXY, TEE, RATEEST, HMARK, osf. What is
// compared with is what Linux 6.18 said and sent for the same rules and packets.

import { describe, expect, test } from 'vitest'
import { Conntrack } from '../../../conntrack/conntrack.ts'
import { Nat } from '../../../conntrack/nat/nat.ts'
import { NflogFiles } from '../../../daemon/nflog-files.ts'
import { matches } from '../../../rules/matches/index.ts'
import { readFingerprints, setFingerprints } from '../../../rules/matches/osf-fingerprints.ts'
import { Ruleset } from '../../../rules/ruleset.ts'
import { Sets } from '../../../rules/sets/store.ts'
import { Tables } from '../../../rules/tables.ts'
import { targets } from '../../../rules/targets/index.ts'
import { traceLog } from '../../../rules/targets/trace.ts'
import { Registry } from '../../../rules/text/registry.ts'
import { loadRules } from '../../../rules/text/restore.ts'
import { decode, tcp, toHex, udp } from '../../harness/frames.ts'
import { testHost } from '../../harness/host.ts'

/** A router between tun0 10.0.0.1/24 and tun1 10.1.0.1/24 with these rules. */
function router(rules: string) {
  const world = testHost([
    ['tun0', 1500, ['10.0.0.1/24']],
    ['tun1', 1500, ['10.1.0.1/24']],
  ])
  const { host } = world
  host.now = 3_600_000
  host.wall = 1_700_000_000_000
  const conntrack = new Conntrack(host)
  const nat = new Nat(host, conntrack)
  const sets = new Sets(host)
  const rulesets = new Ruleset(new Tables({ host, conntrack, nat, sets }))
  const registry = new Registry(matches, targets, sets)
  const load = (text: string) => loadRules(text, { family: 4, registry, rulesets, file: 'rules' })
  load(rules)
  const counters = (chain: string, table = 'filter') => {
    const draft = rulesets.open(4, table)!
    const of = draft.counters(chain)
    return draft.rules(chain).map((rule, i) => of(rule, i).packets)
  }
  return { ...world, conntrack, load, counters }
}

const datagram = udp({ src: '10.0.0.2', dst: '10.1.0.2', sport: 1000, dport: 53, id: 7, payload: 'abcd' })

test('TRACE tells of every rule, return and policy', () => {
  const world = router(`*raw
-A PREROUTING -p udp -j TRACE
COMMIT
*mangle
-A FORWARD -j ACCEPT
-A POSTROUTING -p udp
-A POSTROUTING -j MARK --set-mark 5
COMMIT
*filter
:u - [0:0]
-A u -p udp
-A u -p udp -m comment --comment x
-A FORWARD -p tcp
-A FORWARD -j u
-A FORWARD -g u
COMMIT
`)
  const lines: string[] = []
  world.host.events.trace = (record) => lines.push(traceLog(record, world.host).text)
  world.feed('tun0', datagram)
  expect(lines.map((line) => line.split(' ')[1])).toEqual([
    'raw:PREROUTING:policy:2',
    'mangle:PREROUTING:policy:1',
    'mangle:FORWARD:policy:1',
    'filter:FORWARD:rule:2',
    'filter:u:rule:1',
    'filter:u:rule:2',
    'filter:u:return:3',
    'filter:FORWARD:rule:3',
    'filter:u:rule:1',
    'filter:u:rule:2',
    'filter:u:return:3',
    'filter:FORWARD:policy:4',
    'mangle:POSTROUTING:rule:1',
    'mangle:POSTROUTING:rule:2',
    'mangle:POSTROUTING:policy:3',
  ])
  expect(lines[2]).toMatch(
    /^TRACE: mangle:FORWARD:policy:1 IN=tun0 OUT=tun1 MAC= SRC=10\.0\.0\.2 DST=10\.1\.0\.2 LEN=32 TOS=0x00 PREC=0x00 TTL=63 ID=7 PROTO=UDP SPT=1000 DPT=53 LEN=12 $/,
  )
  expect(lines[14]).toContain('MARK=0x5 ')
  lines.length = 0
  world.feed('tun0', tcp({ src: '10.0.0.2', dst: '10.1.0.2', sport: 1, dport: 2 }))
  expect(lines).toEqual([])
  // Without the rule nothing is traced any more.
  world.load('*raw\nCOMMIT\n')
  world.feed('tun0', datagram)
  expect(lines).toEqual([])
})

test("NFLOG writes the kernel's message into the group's pcap", () => {
  const world = router('*mangle\n-A POSTROUTING -j NFLOG --nflog-group 5 --nflog-prefix "hi there"\nCOMMIT\n')
  const written = new Map<string, Uint8Array>()
  const files = new NflogFiles(world.host, (name) => (bytes, length) => {
    written.set(name, bytes.slice(0, length))
  })
  world.feed('tun0', datagram)
  files.flush()
  const pcap = written.get('nflog-5.pcap')!
  expect([...written.keys()]).toEqual(['nflog-5.pcap'])
  expect(toHex(pcap.slice(0, 4))).toBe('d4c3b2a1')
  expect(new DataView(pcap.buffer, pcap.byteOffset).getUint32(20, true)).toBe(239)
  // As the listener of the group got it, but for the UDP checksum, which that packet had not, and the sequence of devices.
  const dev = (name: string) => world.host.devices.byName(name)!.index.toString(16).padStart(8, '0')
  expect(toHex(pcap.slice(40))).toBe(
    '02000005' +
      '0800010008000400' +
      '0d000a00686920746865726500000000' +
      `08000400${dev('tun0')}08000500${dev('tun1')}` +
      '06000f00fffe000006001100000000000400100024000900' +
      toHex(world.sent[0]!.frame),
  )
})

describe('SYNPROXY', () => {
  const RULES = `*raw
-A PREROUTING -i tun0 -p tcp --syn -j CT --notrack
COMMIT
*filter
-A FORWARD -i tun0 -p tcp -m conntrack --ctstate INVALID,UNTRACKED -j SYNPROXY --sack-perm --timestamp --wscale 7 --mss 1460
-A FORWARD -m conntrack --ctstate INVALID -j DROP
COMMIT
`
  const client = { src: '10.0.0.2', dst: '10.1.0.2', sport: 4000, dport: 80 }
  const server = { src: '10.1.0.2', dst: '10.0.0.2', sport: 80, dport: 4000 }
  const word = (frame: Uint8Array, at: number) => new DataView(frame.buffer, frame.byteOffset).getUint32(at)
  const flags = (frame: Uint8Array) => frame[33]
  const stamp = (tsval: number, tsecr: number) => {
    const bytes = new Uint8Array(12)
    bytes.set([1, 1, 8, 10])
    new DataView(bytes.buffer).setUint32(4, tsval)
    new DataView(bytes.buffer).setUint32(8, tsecr)
    return bytes
  }

  test('a conversation with shifted numbers and time stamps', () => {
    const world = router(RULES)
    world.host.tunables.set('net.netfilter.nf_conntrack_tcp_loose', 0)
    const syn = tcp({
      ...client,
      flags: 'S',
      seq: 1000,
      tcpOptions: [2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 99, 0, 0, 0, 0, 1, 3, 3, 8],
    })
    const [synAck, ...rest] = world.feed('tun0', syn)
    expect(rest).toEqual([])
    expect(synAck!.device).toBe('tun0')
    const a = synAck!.frame
    expect(flags(a)).toBe(0x12)
    expect(word(a, 28)).toBe(1001)
    expect(word(a, 32) & 0xffff).toBe(0)
    // MSS 1460, SACK permitted and time stamps, window scale 7.
    expect(toHex(a.slice(40, 48))).toBe('020405b40402080a')
    expect(word(a, 52)).toBe(99)
    expect(toHex(a.slice(56, 60))).toBe('01030307')
    const cookie = word(a, 24)
    const stampOfCookie = word(a, 48)
    expect(stampOfCookie & 0x3f).toBe(8 | 16)

    const wrong = tcp({
      ...client,
      seq: 1001,
      ack: cookie + 2,
      window: 500,
      tcpOptions: stamp(100, stampOfCookie),
    })
    expect(world.feed('tun0', wrong)).toEqual([])
    const ack = tcp({
      ...client,
      seq: 1001,
      ack: cookie + 1,
      window: 500,
      tcpOptions: stamp(100, stampOfCookie),
    })
    const [asked, ...more] = world.feed('tun0', ack)
    expect(more).toEqual([])
    expect(asked!.device).toBe('tun1')
    const s = asked!.frame
    expect(flags(s)).toBe(0x02)
    expect(word(s, 24)).toBe(1000)
    expect(word(s, 28)).toBe(cookie)
    expect(toHex(s.slice(40, 48))).toBe('020405b40402080a')
    expect(toHex(s.slice(56, 60))).toBe('01030308')

    const answer = tcp({
      ...server,
      flags: 'SA',
      seq: 777_000,
      ack: 1001,
      window: 4096,
      tcpOptions: [2, 4, 5, 180, 4, 2, ...stamp(5000, 100).slice(2), 1, 3, 3, 4],
    })
    const both = world.feed('tun1', answer)
    expect(both.map((sent) => sent.device)).toEqual(['tun1', 'tun0'])
    const [toServer, toClient] = both.map((sent) => sent.frame)
    expect(flags(toServer!)).toBe(0x10)
    expect(word(toServer!, 24)).toBe(1001)
    expect(word(toServer!, 28)).toBe(777_001)
    expect(flags(toClient!)).toBe(0x10)
    // The client goes on from the cookie.
    expect(word(toClient!, 24)).toBe(cookie + 1)
    expect(word(toClient!, 28)).toBe(1001)
    expect(word(toClient!, 32) & 0xffff).toBe(4096 >> 4)
    expect(word(toClient!, 44)).toBe(stampOfCookie)

    const [data] = world.feed(
      'tun0',
      tcp({
        ...client,
        flags: 'PA',
        seq: 1001,
        ack: cookie + 1,
        payload: 'hello',
        tcpOptions: stamp(101, stampOfCookie),
      }),
    )
    expect(data!.device).toBe('tun1')
    expect(word(data!.frame, 24)).toBe(1001)
    expect(word(data!.frame, 28)).toBe(777_001)
    expect(word(data!.frame, 48)).toBe(5000)
    expect(decode(data!.frame)).not.toMatch(/bad/i)
    const [reply] = world.feed(
      'tun1',
      tcp({
        ...server,
        flags: 'PA',
        seq: 777_001,
        ack: 1006,
        payload: 'world',
        tcpOptions: stamp(5001, 101),
      }),
    )
    expect(word(reply!.frame, 24)).toBe(cookie + 1)
    expect(word(reply!.frame, 44)).toBe((stampOfCookie + 1) >>> 0)
    expect(decode(reply!.frame)).not.toMatch(/bad/i)
    expect(world.conntrack.synproxy.stats).toEqual({
      synReceived: 1,
      cookieInvalid: 1,
      cookieValid: 1,
      cookieRetrans: 0,
      connReopened: 0,
    })
  })

  test('a cookie is good for two minutes', () => {
    for (const [minutes, good] of [
      [1, true],
      [2, false],
    ] as const) {
      const world = router(RULES)
      world.host.tunables.set('net.netfilter.nf_conntrack_tcp_loose', 0)
      const [synAck] = world.feed('tun0', tcp({ ...client, flags: 'S', seq: 1 }))
      world.host.now += minutes * 60_000
      const sent = world.feed('tun0', tcp({ ...client, seq: 2, ack: word(synAck!.frame, 24) + 1 }))
      expect(sent.length).toBe(good ? 1 : 0)
    }
  })
})

test('TEE sends a copy with DF and one hop less, and no copy of the copy', () => {
  const world = router(`*mangle
-A PREROUTING -i tun0 -j TEE --gateway 10.0.0.9
-A OUTPUT -j TEE --gateway 10.1.0.9
COMMIT
`)
  const sent = world.feed('tun0', datagram)
  expect(sent.map(({ device }) => device)).toEqual(['tun0', 'tun1'])
  const [copy, own] = sent.map(({ frame }) => frame)
  expect([copy![6], copy![8]]).toEqual([0x40, 63])
  expect([own![6], own![8]]).toEqual([0, 63])
  expect(toHex(copy!.slice(12))).toBe(toHex(own!.slice(12)))
})

test('RATEEST measures, rateest compares', () => {
  const world = router(`*filter
-A FORWARD -j RATEEST --rateest-name a --rateest-interval 250ms --rateest-ewmalog 500ms
-A FORWARD -m rateest --rateest a --rateest-gt --rateest-pps 9
-A FORWARD -m rateest --rateest a ! --rateest-lt --rateest-bps 8bit
COMMIT
`)
  // Ten packets of 32 bytes in the first interval of 62 jiffies: half of 40 packets a second.
  for (let i = 0; i < 10; i++) world.feed('tun0', datagram)
  expect(world.counters('FORWARD')).toEqual([10, 0, 0])
  world.host.now += 248
  world.feed('tun0', datagram)
  expect(world.counters('FORWARD')).toEqual([11, 1, 1])
  // 20, 10 + 2, 6, 3 ... packets a second.
  world.host.now += 248
  world.feed('tun0', datagram)
  expect(world.counters('FORWARD')).toEqual([12, 2, 2])
  world.host.now += 496
  world.feed('tun0', datagram)
  expect(world.counters('FORWARD')).toEqual([13, 2, 3])
  world.host.now += 1_000_000
  world.feed('tun0', datagram)
  expect(world.counters('FORWARD')).toEqual([14, 2, 3])
  expect(() =>
    world.load('*filter\n-A FORWARD -m rateest --rateest b --rateest-gt --rateest-pps 9\nCOMMIT\n'),
  ).toThrow()
  expect(() =>
    world.load(
      '*filter\n-A FORWARD -j RATEEST --rateest-name a --rateest-interval 1s --rateest-ewmalog 2s\nCOMMIT\n',
    ),
  ).toThrow()
})

test('osf compares a SYN with what pf.os says', () => {
  const world = router(`*filter
-A FORWARD -p tcp -m osf --genre Linux --ttl 2
-A FORWARD -p tcp -m osf --genre Linux
-A FORWARD -p tcp -m osf --genre Windows --ttl 2 --log 0
COMMIT
`)
  const syn = (window: number) =>
    tcp({
      src: '10.0.0.2',
      dst: '10.1.0.2',
      sport: 1,
      dport: 2,
      flags: 'S',
      df: true,
      window,
      tcpOptions: [2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 9, 0, 0, 0, 0, 1, 3, 3, 7],
    })
  world.feed('tun0', syn(5840))
  expect(world.counters('FORWARD')).toEqual([0, 0, 0])
  setFingerprints(
    world.host,
    readFingerprints('# comment\nS4:64:1:60:M*,S,T,N,W7:Linux:2.6:.8:Linux 2.6.8\n'),
  )
  const lines: string[] = []
  world.host.events.log = ({ text }) => lines.push(text)
  world.feed('tun0', syn(5840))
  world.feed('tun0', syn(5841))
  expect(world.counters('FORWARD')).toEqual([1, 0, 1])
  expect(lines[0]).toMatch(/^Linux \[2\.6:\.8\] : 10\.0\.0\.2:1 -> 10\.1\.0\.2:2 hops=1\n?IN=tun0/)
  expect(lines[1]).toMatch(/^Remote OS is not known: /)
  expect(() => readFingerprints('# a\nS4:64\n')).toThrow('expected nine parts')
})

test('osf: an inversion has no effect, and --log takes any known system for the wanted one', () => {
  const asked = [
    '--genre Linux --ttl 2',
    '! --genre Linux --ttl 2',
    '! --genre Other --ttl 2',
    '--genre Linux',
    '--genre Linux --ttl 1',
    '--genre Other --ttl 2 --log 0',
    '! --genre Other --ttl 2 --log 1',
    '! --genre Linux --ttl 2 --log 1',
  ]
  const rules = asked.map((options) => `-A FORWARD -p tcp -m osf ${options}\n`).join('')
  for (const [window, answers] of [
    // What nfnl_osf's fingerprint gave on Linux 6.18.
    [5840, [1, 1, 0, 0, 1, 1, 1, 1]],
    [5841, [0, 0, 0, 0, 0, 0, 0, 0]],
  ] as const) {
    const world = router(`*filter\n${rules}COMMIT\n`)
    setFingerprints(world.host, readFingerprints('S4:64:1:60:M*,S,T,N,W7:Linux:2.6:.8:Linux 2.6.8\n'))
    world.feed(
      'tun0',
      tcp({
        src: '10.0.0.2',
        dst: '10.1.0.2',
        sport: 1,
        dport: 2,
        flags: 'S',
        df: true,
        window,
        tcpOptions: [2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 9, 0, 0, 0, 0, 1, 3, 3, 7],
      }),
    )
    expect(world.counters('FORWARD')).toEqual(answers)
  }
})
