import { describe, expect, test } from 'vitest'
import { bytes6, decode, type Extension, icmp, ip, ip6, tcp, udp } from '../../harness/frames.ts'
import { testHost } from '../../harness/host.ts'

const A = 'fd00:a::2'
const B = 'fd00:b::2'
const HOST = 'fd00:a::1'

/** A router between fd00:a::/64 on eth0 and fd00:b::/64 on eth1. */
function router(sysctls: Readonly<Record<string, number>> = {}, mtu = 1500) {
  const t = testHost(
    [
      ['eth0', 1500, ['fd00:a::1/64', 'fe80::1/64']],
      ['eth1', mtu, ['fd00:b::1/64']],
    ],
    {
      'net.ipv6.auto_flowlabels': 0,
      'net.ipv4.icmp_msgs_per_sec': 1_000_000,
      'net.ipv4.icmp_msgs_burst': 1_000_000,
      ...sysctls,
    },
  )
  return {
    ...t,
    /** What leaves, as decode() says it, and why the packet ended. */
    say(frame: Uint8Array, device = 'eth0'): string[] {
      const sent = t.feed(device, frame).map((s) => `${s.device}: ${decode(s.frame)}`)
      return sent.length > 0 ? sent : [t.host.path.reason]
    },
  }
}

const across = { src: A, dst: B, sport: 7, dport: 9, payload: 4 }

describe('forwarding', () => {
  test('the hop limit changes, nothing else', () => {
    const t = router()
    const [sent] = t.feed('eth0', udp({ ...across, ttl: 9, tos: 0xb8 }))
    expect(sent!.device).toBe('eth1')
    expect(sent!.frame).toEqual(udp({ ...across, ttl: 8, tos: 0xb8 }))
  })

  test('a packet that is too long, one hop too many, no route', () => {
    const t = router({}, 1400)
    expect(t.say(udp({ ...across, payload: 1400 }))).toMatchInlineSnapshot(`
      [
        "eth0: fd00:a::1 > fd00:a::2 hlim 64 icmp6 2/0 rest 0x578 len 1232 [fd00:a::2 > fd00:b::2 hlim 64 udp 7 > 9 len 1184 length 1408 of 1192]",
      ]
    `)
    expect(t.say(udp({ ...across, ttl: 1 }))).toMatchInlineSnapshot(`
      [
        "eth0: fd00:a::1 > fd00:a::2 hlim 64 icmp6 3/0 rest 0x0 len 52 [fd00:a::2 > fd00:b::2 hlim 1 udp 7 > 9 len 4]",
      ]
    `)
    expect(t.say(udp({ ...across, dst: 'fd00:c::1' }))).toMatchInlineSnapshot(`
      [
        "eth0: fd00:a::1 > fd00:a::2 hlim 64 icmp6 1/0 rest 0x0 len 52 [fd00:a::2 > fd00:c::1 hlim 64 udp 7 > 9 len 4]",
      ]
    `)
  })

  test('nothing is forwarded without conf.all.forwarding', () => {
    const t = router({ 'net.ipv6.conf.all.forwarding': 0 })
    expect(t.say(udp(across))).toEqual(['not-forwarding'])
  })
})

describe('the local stack', () => {
  const to = { src: A, dst: HOST, sport: 7, dport: 9 }

  test('echo, port unreachable, reset, unknown next header', () => {
    const t = router()
    expect(
      t.say(icmp({ src: A, dst: HOST, type: 128, echoId: 5, seq: 6, payload: 8 })),
    ).toMatchInlineSnapshot(`
      [
        "eth0: fd00:a::1 > fd00:a::2 hlim 64 icmp6 129/0 id 5 seq 6 len 8",
      ]
    `)
    expect(t.say(udp(to))).toMatchInlineSnapshot(`
      [
        "eth0: fd00:a::1 > fd00:a::2 hlim 64 icmp6 1/4 rest 0x0 len 48 [fd00:a::2 > fd00:a::1 hlim 64 udp 7 > 9 len 0]",
      ]
    `)
    expect(t.say(tcp({ ...to, flags: 'S', seq: 100 }))).toMatchInlineSnapshot(`
      [
        "eth0: fd00:a::1 > fd00:a::2 hlim 64 tcp 9 > 7 [RA] seq 0 ack 101 win 0 len 0",
      ]
    `)
    expect(t.say(ip({ src: A, dst: HOST, proto: 253, payload: [1, 2] }))).toMatchInlineSnapshot(`
      [
        "eth0: fd00:a::1 > fd00:a::2 hlim 64 icmp6 4/1 rest 0x6 len 42 [fd00:a::2 > fd00:a::1 hlim 64 proto 253 len 2 0102]",
      ]
    `)
  })

  test('what the wire must not bring is dropped', () => {
    const t = router()
    for (const src of ['ff02::1', '::1']) expect(t.say(udp({ ...to, src }))).toEqual(['martian-source'])
    for (const dst of ['ff01::1', 'ff00::1', '::1'])
      expect(t.say(udp({ ...to, dst }))).toEqual(['martian-destination'])
  })
})

/** An options header: hop-by-hop 0 or destination 60. */
const options = (type: number, ...bytes: number[]): Extension => ({
  type,
  bytes: [0, (bytes.length + 2) / 8 - 1, ...bytes],
})

describe('extension headers', () => {
  const to = { src: A, dst: HOST, next: 17, payload: 8 }

  // ip6_tlvopt_unknown(), ipv6_rthdr_rcv(), ip6_protocol_deliver_rcu(): what is said, and where it points.
  test.each([
    ['unknown option, 00: passed over', [options(60, 0x1e, 0, 1, 2, 0, 0)], '4/0 -'],
    ['unknown option, 01: dropped', [options(60, 0x5e, 0, 1, 2, 0, 0)], 'options'],
    ['unknown option, 10', [options(60, 0x9e, 0, 1, 2, 0, 0)], '4/2 0x2a'],
    ['unknown option, 11, behind padding', [options(60, 1, 0, 0xde, 0, 1, 0)], '4/2 0x2c'],
    ['hop-by-hop option, 10', [options(0, 0x9e, 0, 1, 2, 0, 0)], '4/2 0x2a'],
    ['padding that is not zero', [options(60, 1, 4, 0, 0, 0, 1)], 'options'],
    ['more than seven bytes of padding', [options(60, ...Array(14).fill(0))], 'options'],
    ['a jumbogram that is none', [options(0, 0xc2, 4, 0, 0, 1, 0)], '4/0 0x2c'],
    ['a routing header with stops left', [{ type: 43, bytes: [0, 0, 0, 1, 0, 0, 0, 0] }], '4/0 0x2a'],
    ['a segment routing header', [{ type: 43, bytes: [0, 0, 4, 0, 0, 0, 0, 0] }], 'source-route'],
    ['hop-by-hop in second place', [options(60, 1, 4, 0, 0, 0, 0), options(0, 1, 4, 0, 0, 0, 0)], '4/1 0x28'],
  ] as [string, Extension[], string][])('%s', (_, extensions, expected) => {
    const t = router()
    const frame = ip6({ ...to, next: 253, extensions })
    const [sent] = t.feed('eth0', frame)
    const said =
      sent === undefined
        ? t.host.path.reason
        : (/icmp6 (\d\/\d) rest (0x[0-9a-f]+)/.exec(decode(sent.frame))?.slice(1).join(' ') ?? '')
    // What is passed over leads to the protocol that nobody knows.
    expect(said).toBe(expected === '4/0 -' ? '4/1 0x28' : expected)
  })

  test('an option of type 10 is answered even to a group, one of type 11 is not', () => {
    const t = router()
    const ask = (type: number): number =>
      t.feed('eth0', ip6({ ...to, dst: 'ff02::1', extensions: [options(60, type, 0, 1, 2, 0, 0)] })).length
    expect([ask(0x9e), ask(0xde)]).toEqual([1, 0])
  })
})

describe('addresses', () => {
  const ping = { type: 128, echoId: 1, seq: 2, payload: 4 }

  test.each([
    ['all nodes', 'ff02::1', 'fd00:a::1'],
    ['all routers', 'ff02::2', 'fd00:a::1'],
    ["a subnet's routers", 'fd00:b::', 'fd00:a::1'],
    ['its link-local address', 'fe80::1', 'fe80::1'],
    ['an address of another interface', 'fd00:b::1', 'fd00:b::1'],
    ['a group it is not in', 'ff02::99', 'multicast'],
    ['a link-local address of another link', 'fe80::2', 'forwarded'],
  ])('echo to %s', (_, dst, expected) => {
    const t = router()
    const sent = t.feed('eth0', icmp({ ...ping, src: A, dst })).at(-1)
    const source = sent === undefined ? t.host.path.reason : decode(sent.frame).split(' ')[0]
    expect(source).toBe(expected === 'forwarded' ? A : expected)
  })

  test('a host that does not forward is in no router group and answers for no subnet', () => {
    const t = router({ 'net.ipv6.conf.all.forwarding': 0 })
    expect(t.say(icmp({ ...ping, src: A, dst: 'ff02::2' }))).toEqual(['multicast'])
    expect(t.say(icmp({ ...ping, src: A, dst: 'fd00:b::' }))).toEqual(['not-forwarding'])
  })

  test('no error goes to nobody, or to all routers of a subnet', () => {
    const t = router({ 'net.ipv6.conf.all.forwarding': 0 })
    for (const src of ['::', 'fd00:a::']) {
      expect(t.feed('eth0', udp({ ...across, src, dst: HOST }))).toEqual([])
    }
    t.host.tunables.set('net.ipv6.icmp.error_anycast_as_unicast', 1)
    expect(t.feed('eth0', udp({ ...across, src: 'fd00:a::', dst: HOST }))).toHaveLength(1)
  })

  test('a link-local source does not leave its link', () => {
    const t = router()
    expect(t.say(udp({ ...across, src: 'fe80::5' }))[0]).toContain('fe80::1 > fe80::5 hlim 64 icmp6 1/2')
  })

  test('disable_ipv6 takes the addresses and what leads there', () => {
    const t = router({ 'net.ipv6.conf.eth1.disable_ipv6': 1 })
    expect(t.say(udp(across))[0]).toContain('icmp6 1/0')
    expect(t.say(udp(across), 'eth1')).toEqual(['ipv6-disabled'])
    expect(t.host.devices.byName('eth1')!.addresses).toEqual([])
  })
})

describe('neighbour discovery', () => {
  const solicit = (dst: string, o: { ttl?: number; src?: string } = {}): Uint8Array =>
    icmp({ src: A, dst, type: 135, rest: 0, ttl: 255, payload: [...bytes6(HOST)], ...o })

  test('a solicitation is answered: to one host without override, to many with it', () => {
    const t = router()
    const flags = (dst: string): number | undefined => t.feed('eth0', solicit(dst))[0]?.frame[44]
    expect(flags(HOST)).toBe(0xc0)
    expect(flags('ff02::1')).toBe(0xe0)
  })

  test('but not one that a router has passed on, or that nobody sends', () => {
    const t = router()
    expect(t.feed('eth0', solicit(HOST, { ttl: 64 }))).toEqual([])
    expect(t.feed('eth0', solicit(HOST, { src: '::' }))).toEqual([])
  })

  test('a redirect goes to a sender that could have sent it there itself, six times at once', () => {
    const t = router()
    const dst = 'fd00:a::9'
    const [redirect, packet] = t.feed('eth0', udp({ ...across, dst }))
    expect(decode(redirect!.frame)).toContain('fe80::1 > fd00:a::2 hlim 255 icmp6 137/0')
    expect(decode(packet!.frame)).toContain('hlim 63')
    const sent = [1, 2, 3, 4, 5, 6, 7].map(() => t.feed('eth0', udp({ ...across, dst })).length)
    expect(sent).toEqual([2, 2, 2, 2, 2, 1, 1])
  })
})

describe('path MTU', () => {
  test('what the host is told binds what it says and what it passes on', () => {
    const t = router()
    const reply = icmp({ src: HOST, dst: A, type: 129, echoId: 1, seq: 1, payload: 8 })
    const long = udp({ ...across, src: 'fd00:b::9', dst: A, payload: 1300 })
    expect(t.feed('eth1', long)[0]!.device).toBe('eth0')
    t.feed('eth0', icmp({ src: 'fd00:a::7', dst: HOST, type: 2, rest: 1280, payload: [...reply] }))
    expect(t.say(long, 'eth1')[0]).toContain('icmp6 2/0 rest 0x500')
    t.host.now += 601_000
    expect(t.feed('eth1', long)[0]!.device).toBe('eth0')
  })
})
