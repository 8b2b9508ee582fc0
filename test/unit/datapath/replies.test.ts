// Expected answers were seen on Linux 6.18 with TUN devices; test/differential compares many more.

import { describe, expect, test } from 'vitest'
import { Hook, type HookFn, Priority, Verdict } from '../../../datapath/hooks.ts'
import { setDestination4 } from '../../../datapath/rewrite.ts'
import { fold, pseudo4 } from '../../../datapath/wire/checksum.ts'
import {
  damage,
  decode,
  fragment,
  icmp,
  icmpError,
  ip4,
  SeededRandom,
  sctp,
  tcp,
  udp,
  udplite,
} from '../../harness/frames.ts'
import { type TestHost, testHost } from '../../harness/host.ts'

const DEVICES = [
  ['eth0', 1500, ['10.1.0.1/24']],
  ['eth1', 1400, ['10.2.0.1/24']],
] as const
const L = { src: '10.1.0.2', dst: '10.1.0.1', sport: 1, dport: 2 }
const C = { src: '10.1.0.2', dst: '10.2.0.2', sport: 1, dport: 2 }

/** As decode(), without the identification where it is drawn at random. */
const say = (frame: Uint8Array): string => decode(frame).replace(/^(.*? id )\d+\b(?! DF)/, '$1N')
const answers = (t: TestHost, frame: Uint8Array, device = 'eth0'): string[] =>
  t.feed(device, frame).map((s) => `${s.device} ${say(s.frame)}`)

describe('the local stack', () => {
  test.each<[string, Uint8Array, string]>([
    [
      'SYN',
      tcp({ ...L, flags: 'S', seq: 7, tos: 0xff }),
      'eth0 10.1.0.1 > 10.1.0.2 ttl 64 tos 0xfc id 0 DF tcp 2 > 1 [RA] seq 0 ack 8 win 0 len 0',
    ],
    [
      'FIN with data',
      tcp({ ...L, flags: 'F', seq: 0xfffffffe, payload: 4 }),
      'eth0 10.1.0.1 > 10.1.0.2 ttl 64 id 0 DF tcp 2 > 1 [RA] seq 0 ack 3 win 0 len 0',
    ],
    [
      'ACK',
      tcp({ ...L, flags: 'A', seq: 7, ack: 77, payload: 4 }),
      'eth0 10.1.0.1 > 10.1.0.2 ttl 64 id 0 DF tcp 2 > 1 [R] seq 77 ack 0 win 0 len 0',
    ],
    [
      'UDP',
      udp({ ...L, tos: 0xff, payload: 10 }),
      'eth0 10.1.0.1 > 10.1.0.2 ttl 64 tos 0xde id N icmp 3/3 len 38 [10.1.0.2 > 10.1.0.1 ttl 64 tos 0xff id 0 udp 1 > 2 len 10]',
    ],
    [
      'UDP that claims less',
      udp({ ...L, payload: 10, udpLength: 12, noChecksum: true }),
      'eth0 10.1.0.1 > 10.1.0.2 ttl 64 tos 0xc0 id N icmp 3/3 len 32 [10.1.0.2 > 10.1.0.1 ttl 64 id 0 udp 1 > 2 len 4 no-csum]',
    ],
    [
      'another protocol',
      ip4({ ...L, proto: 99, payload: 2 }),
      'eth0 10.1.0.1 > 10.1.0.2 ttl 64 tos 0xc0 id N icmp 3/2 len 22 [10.1.0.2 > 10.1.0.1 ttl 64 id 0 proto 99 len 2 0001]',
    ],
    [
      'echo',
      icmp({ ...L, code: 3, tos: 0xff, echoId: 4, seq: 5, payload: 10 }),
      'eth0 10.1.0.1 > 10.1.0.2 ttl 64 tos 0xff id N icmp 0/3 id 4 seq 5 len 10',
    ],
    // Its checksum is 0x0000, where RFC 1071 would have 0xffff.
    [
      'echo of zeros',
      icmp({ ...L, payload: [0, 0, 0] }),
      'eth0 10.1.0.1 > 10.1.0.2 ttl 64 id N icmp 0/0 id 0 seq 0 len 3 BAD-CSUM',
    ],
  ])('%s', (_, frame, expected) => {
    expect(answers(testHost(DEVICES), frame)).toEqual([expected])
  })

  test('timestamp', () => {
    const t = testHost(DEVICES)
    t.host.wall = 3 * 86_400_000 + 4321.9
    const [sent] = t.feed(
      'eth0',
      icmp({ ...L, type: 13, code: 4, echoId: 1, seq: 2, payload: [9, 8, 7, 6, ...new Array(8).fill(0)] }),
    )
    expect(say(sent!.frame)).toBe('10.1.0.1 > 10.1.0.2 ttl 64 id N icmp 14/0 id 1 seq 2 len 12')
    expect([...sent!.frame.slice(28)]).toEqual([9, 8, 7, 6, 0, 0, 0x10, 0xe1, 0, 0, 0x10, 0xe1])
  })

  test.each<[string, Uint8Array]>([
    ['a reset', tcp({ ...L, flags: 'R' })],
    ['a bad TCP checksum', tcp({ ...L, flags: 'S', badChecksum: true })],
    ['a TCP header cut short', tcp({ ...L, flags: 'S', dataOffset: 6 })],
    ['a bad UDP checksum', udp({ ...L, badChecksum: true })],
    ['a UDP length past the end', udp({ ...L, udpLength: 9 })],
    ['UDP-Lite without checksum', ip4({ ...L, proto: 136, payload: [0, 1, 0, 2, 0, 0, 0, 0] })],
    ['UDP-Lite with a wrong one', udplite({ ...L, badChecksum: true })],
    ['a bad echo checksum', icmp({ ...L, badChecksum: true })],
    ['an echo header cut short', ip4({ ...L, proto: 1, payload: [8, 0, 0xf7, 0xff] })],
    ['a short timestamp', icmp({ ...L, type: 13, payload: 3 })],
    ['an address mask request', icmp({ ...L, type: 17, payload: 4 })],
    ['an ICMP error', icmpError(3, 3, udp({ src: L.dst, dst: L.src, sport: 1, dport: 2 }))],
    ['an unknown ICMP type', icmp({ ...L, type: 42 })],
    ['IGMP', ip4({ ...L, proto: 2, payload: 8 })],
    ['a broadcast echo', icmp({ ...L, dst: '10.1.0.255' })],
    ['a broadcast datagram', udp({ ...L, dst: '10.1.0.255' })],
  ])('silent: %s', (_, frame) => {
    expect(answers(testHost(DEVICES), frame)).toEqual([])
  })

  test('sysctls: icmp_echo_ignore_all, icmp_echo_ignore_broadcasts, ip_default_ttl', () => {
    expect(answers(testHost(DEVICES, { 'net.ipv4.icmp_echo_ignore_all': 1 }), icmp(L))).toEqual([])
    const t = testHost(DEVICES, { 'net.ipv4.icmp_echo_ignore_broadcasts': 0, 'net.ipv4.ip_default_ttl': 99 })
    expect(answers(t, icmp({ ...L, dst: '10.1.0.255', echoId: 1 }))).toEqual([
      'eth0 10.1.0.1 > 10.1.0.2 ttl 99 id N icmp 0/0 id 1 seq 0 len 0',
    ])
  })

  test('an echo larger than the way back is cut', () => {
    const t = testHost(DEVICES)
    const frames = fragment(icmp({ src: '10.2.0.2', dst: '10.2.0.1', payload: 3000 }), 1376)
    const sent = frames.flatMap((f) => t.feed('eth1', f)).map((s) => s.frame.length - 20)
    expect(sent).toEqual([1376, 1376, 256])
  })

  test('mark: only with fwmark_reflect', () => {
    for (const reflect of [0, 1]) {
      const t = testHost(DEVICES, { 'net.ipv4.fwmark_reflect': reflect })
      const marks: number[] = []
      const at = (hook: Hook, run: (mark: { mark: number }) => void): void => {
        t.host.hooks.register({
          name: 't',
          family: 4,
          hook,
          priority: 0,
          run: (p) => {
            run(p)
            return Verdict.Accept
          },
        })
      }
      at(Hook.PreRouting, (p) => (p.mark = 5))
      at(Hook.LocalOut, (p) => marks.push(p.mark))
      for (const f of [icmp(L), udp(L), tcp({ ...L, flags: 'S' })]) t.feed('eth0', f)
      expect(marks).toEqual(new Array(3).fill(reflect * 5))
    }
  })
})

describe('errors', () => {
  test('cut at 576 bytes; TOS keeps four bits', () => {
    expect(answers(testHost(DEVICES), udp({ ...C, ttl: 1, tos: 0xff, payload: 1000 }))).toEqual([
      'eth0 10.1.0.1 > 10.1.0.2 ttl 64 tos 0xde id N icmp 11/0 len 548 [10.1.0.2 > 10.2.0.2 ttl 1 tos 0xff id 0 udp 1 > 2 len 520 length 1008 of 528]',
    ])
  })
  test('no longer than a small way back', () => {
    const t = testHost([['eth0', 100, ['10.1.0.1/24']], DEVICES[1]])
    const [sent] = t.feed('eth0', udp({ ...C, ttl: 1, payload: 500 }))
    expect(sent!.frame.length).toBe(100)
  })
  test.each<[string, Uint8Array]>([
    ['about a later fragment', udp({ ...C, ttl: 1, fragOffset: 80 })],
    ['about an ICMP error', icmpError(3, 3, udp({ ...C, src: C.dst, dst: C.src }), { ttl: 1 })],
    ['about an unknown ICMP type', icmp({ ...C, type: 200, ttl: 1 })],
    ['about no ICMP header at all', ip4({ ...C, proto: 1, ttl: 1 })],
  ])('none %s', (_, frame) => {
    expect(answers(testHost(DEVICES), frame)).toEqual([])
  })
  test('none to a source of zero or about a frame for everybody', () => {
    const t = testHost(DEVICES)
    expect(answers(t, udp({ ...C, src: '0.0.0.0', ttl: 1 }))).toEqual([])
    t.host.hooks.register({
      name: 't',
      family: 4,
      hook: Hook.PreRouting,
      priority: 0,
      run: (p) => {
        p.pktType = 1
        return Verdict.Accept
      },
    })
    expect(answers(t, udp({ ...C, ttl: 1 }))).toEqual([])
  })
  test('icmp_errors_use_inbound_ifaddr', () => {
    const devices = [
      ['eth0', 1500, ['10.1.0.1/24']],
      ['eth1', 1500, ['10.2.0.1/24']],
    ] as const
    // The sender is reached by eth1, the packet came by eth0.
    const frame = udp({ src: '10.2.0.9', dst: '10.1.0.5', ttl: 1, sport: 1, dport: 2 })
    expect(decode(testHost(devices).feed('eth0', frame)[0]!.frame)).toMatch(/^10\.2\.0\.1 > /)
    expect(
      decode(
        testHost(devices, { 'net.ipv4.icmp_errors_use_inbound_ifaddr': 1 }).feed('eth0', frame)[0]!.frame,
      ),
    ).toMatch(/^10\.1\.0\.1 > /)
  })
  test('six at once to one host, then one a second; about fifty to all', () => {
    const limits = { 'net.ipv4.icmp_ratelimit': 1000, 'net.ipv4.icmp_ratemask': 6168 }
    const t = testHost(DEVICES, limits)
    const count = (n: number, src: (i: number) => string): number => {
      let got = 0
      for (let i = 0; i < n; i++) got += t.feed('eth0', udp({ ...C, src: src(i), ttl: 1 })).length
      return got
    }
    expect(count(40, () => '10.1.0.2')).toBe(6)
    t.host.now += 1000
    expect(count(40, () => '10.1.0.2')).toBe(1)
    t.host.now += 5000
    const all = count(200, (i) => `10.1.0.${3 + i}`)
    expect(all).toBeGreaterThan(25)
    expect(all).toBeLessThan(110)
    // Types outside icmp_ratemask are not limited.
    expect(t.feed('eth0', icmp(L)).length).toBe(1)
    const fragNeeded = Array.from(
      { length: 80 },
      () => t.feed('eth0', udp({ ...C, df: true, payload: 1450 })).length,
    )
    expect(fragNeeded.reduce((a, b) => a + b)).toBe(80)
  })
})

describe('REJECT', () => {
  function rejecting(hook: Hook = Hook.Forward): TestHost {
    const t = testHost(DEVICES)
    t.host.hooks.register({
      name: 'reject',
      family: 4,
      hook,
      priority: 0,
      run: (p) => {
        if (p.proto === 6) t.host.replies.tcpReset(p, hook)
        else t.host.replies.icmpReject(p, 10, hook)
        return Verdict.Drop
      },
    })
    return t
  }
  test('reset in FORWARD: from the destination, without TOS', () => {
    expect(answers(rejecting(), tcp({ ...C, flags: 'S', seq: 3, payload: 2, tos: 0xfe }))).toEqual([
      'eth0 10.2.0.2 > 10.1.0.2 ttl 64 id 0 DF tcp 2 > 1 [RA] seq 0 ack 6 win 0 len 0',
    ])
  })
  test('an error quotes the decremented TTL', () => {
    expect(answers(rejecting(), udp({ ...C, ttl: 9 }))).toEqual([
      'eth0 10.1.0.1 > 10.1.0.2 ttl 64 tos 0xc0 id N icmp 3/10 len 28 [10.1.0.2 > 10.2.0.2 ttl 8 id 0 udp 1 > 2 len 0]',
    ])
  })
  test.each<[string, boolean, Uint8Array]>([
    ['a reset', false, tcp({ ...C, flags: 'R' })],
    ['a bad TCP checksum', false, tcp({ ...C, flags: 'S', badChecksum: true })],
    ['a first TCP fragment', false, fragment(tcp({ ...C, flags: 'S', payload: 80 }), 40)[0]!],
    ['a later fragment', false, fragment(udp({ ...C, payload: 80 }), 40)[1]!],
    ['a bad UDP checksum', false, udp({ ...C, badChecksum: true })],
    ['a first UDP fragment', false, fragment(udp({ ...C, payload: 80 }), 40)[0]!],
    [
      'a first UDP fragment without checksum',
      true,
      fragment(udp({ ...C, payload: 80, noChecksum: true }), 40)[0]!,
    ],
    ['SCTP with a bad checksum', true, sctp({ ...C, badChecksum: true })],
    ['UDP-Lite with a bad checksum', true, udplite({ ...C, badChecksum: true })],
    ['an unknown protocol whose bytes do not sum up', false, ip4({ ...C, proto: 99, payload: 2 })],
    ['an unknown protocol whose bytes do', true, ip4({ ...C, proto: 99, payload: [0xff, 0xff] })],
    ['an empty packet', true, ip4({ ...C, proto: 99 })],
    ['an ICMP error', false, icmpError(3, 3, udp({ ...C, src: C.dst, dst: C.src }))],
    ['a UDP header cut short', false, ip4({ ...C, proto: 17, payload: 4 })],
    // The header checksum is mended behind FORWARD, and nf_ip_checksum() sums the header too.
    ['a record route filled in', false, udp({ ...C, options: [7, 7, 4, 0, 0, 0, 0, 0] })],
  ])('%s: answered %s', (_, answered, frame) => {
    expect(answers(rejecting(), frame).length).toBe(answered ? 1 : 0)
  })
})

describe('what conntrack said of a checksum', () => {
  /** Every packet counts as checked before routing. */
  function checked(hook: Hook | null, sysctls = {}): TestHost {
    const t = testHost(DEVICES, sysctls)
    const entry = (name: string, at: Hook, run: HookFn): void => {
      t.host.hooks.register({ name, family: 4, hook: at, priority: 0, run })
    }
    entry('check', Hook.PreRouting, (p) => {
      p.csumOk = true
      return Verdict.Accept
    })
    if (hook !== null)
      entry('reject', hook, (p) => {
        t.host.replies.tcpReset(p, hook)
        return Verdict.Drop
      })
    return t
  }
  const filledIn = [7, 7, 4, 0, 0, 0, 0, 0]
  test('REJECT in INPUT believes it, in FORWARD it does not', () => {
    expect(answers(checked(Hook.LocalIn), tcp({ ...L, flags: 'S', options: filledIn })).length).toBe(1)
    expect(answers(checked(Hook.Forward), tcp({ ...C, flags: 'S', options: filledIn }))).toEqual([])
    expect(answers(checked(Hook.Forward), tcp({ ...C, flags: 'S' })).length).toBe(1)
  })
  test('is not about what the UDP length names', () => {
    expect(answers(checked(null), udp({ ...L, payload: 20, udpLength: 10 }))).toEqual([])
    expect(answers(checked(null), udp({ ...L, payload: 20 })).length).toBe(1)
  })
  test('is not about where a source route leads', () => {
    const loose = (next: number): number[] => [0x83, 7, 4, 10, next, 0, 1, 0]
    const t = checked(null, { 'net.ipv4.conf.all.accept_source_route': 1 })
    expect(answers(t, udp({ ...L, options: loose(2) }))).toEqual([])
    expect(answers(t, tcp({ ...L, flags: 'S', options: loose(2) }))).toEqual([])
    expect(answers(t, tcp({ ...L, flags: 'S', options: loose(1) })).length).toBe(1)
  })
})

test("an error about a REJECT's reset quotes it as it was before the device made its checksum", () => {
  const t = testHost(DEVICES)
  for (const hook of [Hook.Forward, Hook.LocalOut])
    t.host.hooks.register({
      name: 'reject',
      family: 4,
      hook,
      priority: 0,
      run: (p) => {
        if (p.proto !== 6) return Verdict.Accept
        if (hook === Hook.Forward) t.host.replies.tcpReset(p, hook)
        else t.host.replies.icmpReject(p, 10, hook)
        return Verdict.Drop
      },
    })
  const [error, ...more] = t.feed('eth0', tcp({ ...C, flags: 'S' }))
  expect(more).toEqual([])
  const quoted = error!.frame.subarray(28)
  expect(decode(quoted)).toContain('[RA]')
  const pseudo = pseudo4(0x0a020002, 0x0a010002, 6, 20)
  expect((quoted[36]! << 8) | quoted[37]!).toBe(fold(pseudo))
})

test('an answer sent another way leaves in the pieces of its first route', () => {
  const t = testHost(DEVICES)
  t.host.hooks.register({
    name: 'turn',
    family: 4,
    hook: Hook.LocalOut,
    priority: Priority.Mangle,
    run: (p) => {
      setDestination4(p, t.host.memory, 0x0a010003)
      return Verdict.Accept
    },
  })
  const echo = { src: '10.2.0.2', dst: '10.2.0.1', payload: 3000 }
  const pieces = t.feed('eth1', icmp(echo)).map((s) => `${s.device} ${s.frame.length}`)
  expect(pieces).toEqual(['eth0 1396', 'eth0 1396', 'eth0 276'])
})

test('random and damaged frames neither throw nor lose slots', () => {
  const random = new SeededRandom(21)
  const t = testHost(DEVICES, { 'net.ipv4.conf.all.accept_source_route': 1 })
  for (const hook of [Hook.LocalIn, Hook.Forward])
    t.host.hooks.register({
      name: 'reject',
      family: 4,
      hook,
      priority: 0,
      run: (p) => {
        if (p.mark === 0) return Verdict.Accept
        if (p.proto === 6) t.host.replies.tcpReset(p, hook)
        else t.host.replies.icmpReject(p, p.mark, hook)
        return Verdict.Drop
      },
    })
  t.host.hooks.register({
    name: 'm',
    family: 4,
    hook: Hook.PreRouting,
    priority: 0,
    run: (p) => {
      p.mark = random.below(3)
      return Verdict.Accept
    },
  })
  for (let n = 0; n < 40_000; n++) {
    const o = {
      src: '10.1.0.2',
      dst: random.pick([L.dst, C.dst, '10.1.0.255', '224.0.0.1']),
      sport: 1,
      dport: 2,
      ttl: random.below(4),
      tos: random.below(256),
      options: random.once(3) ? random.bytes(random.below(41)) : [],
    }
    const frame = random.pick([
      () => tcp({ ...o, flags: random.below(256), dataOffset: random.below(16) }),
      () => udp({ ...o, payload: random.below(50) }),
      () => icmp({ ...o, type: random.below(20), payload: random.below(50) }),
      () => ip4({ ...o, proto: random.below(256), payload: random.bytes(random.below(50)) }),
      () => random.bytes(random.below(100)),
    ])()
    for (const s of t.feed('eth0', random.once(2) ? damage(frame, random) : frame))
      expect(decode(s.frame)).not.toMatch(/BAD-IP-CSUM(?!.*\])/)
  }
})
