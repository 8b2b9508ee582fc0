import { describe, expect, test } from 'vitest'
import { decode, icmp, ip, tcp, udp } from '../../harness/frames.ts'
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
