// The API for firewall tests, and its matchers, on hosts in a few lines.

import { describe, expect, test } from 'vitest'
import { Host, icmp, PlaceError, tcp, udp } from '../../daemon/testing/index.ts'
import '../../daemon/testing/vitest.ts'

const gateway = (rules = ''): Host =>
  Host.from({
    interfaces: { eth0: '10.0.0.1/24', eth1: ['10.200.0.1/16', '2001:db8::1/64'], wan: '203.0.113.2/24' },
    routes: ['default via 203.0.113.254'],
    iptables: `
      -P FORWARD DROP
      -A FORWARD -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT
      -A FORWARD -i eth0 -p tcp --dport 8080 -j ACCEPT
      -A FORWARD -i eth0 -o wan -m comment --comment "to the world" -j ACCEPT
      -A FORWARD -i eth0 -p tcp --dport 23 -j REJECT --reject-with tcp-reset
      -A INPUT -p tcp --dport 22 ! -s 10.0.0.0/24 -j DROP
      -A INPUT -p udp -j REJECT
      -t nat -A PREROUTING -d 10.96.0.10 -p tcp --dport 80 -j DNAT --to-destination 10.200.3.7:8080
      -t nat -A POSTROUTING -o wan -j MASQUERADE
      -t mangle -A FORWARD -p tcp --dport 8080 -j MARK --set-mark 0x4
      ${rules}`,
  })

/** What the matcher says when it fails. */
function failure(run: () => void): string {
  try {
    run()
  } catch (error) {
    return (error as Error).message
  }
  throw new Error('it passed')
}

describe('verdicts', () => {
  test('forwarded, with what DNAT made of it', async () => {
    const host = gateway()
    const result = await host.send(tcp('10.0.0.5:40000 > 10.96.0.10:80', { syn: true }), 'eth0')
    expect(result).toBeForwarded({
      dev: 'eth1',
      dst: '10.200.3.7:8080',
      src: '10.0.0.5',
      ttl: 63,
      mark: 4,
      flags: 'syn',
      state: 'NEW',
      frames: 1,
    })
    expect(result).toBeTranslated({ dst: '10.200.3.7:8080', src: null })
    expect(result).toMatchRule('nat PREROUTING 1')
    expect(result).toBeDecidedBy('-A FORWARD -i eth0 -p tcp --dport 8080 -j ACCEPT')
    expect(result).not.toBeDropped()
  })

  test('dropped, and by which rule, said in every way', async () => {
    const host = gateway()
    const result = await host.send('tcp 198.51.100.7:5555 > 203.0.113.2:22 in wan')
    expect(result).toBeDropped('rule')
    for (const name of [
      'filter INPUT 1',
      'INPUT 1',
      'INPUT',
      '-A INPUT ! -s 10.0.0.0/24 -p tcp -m tcp --dport 22 -j DROP',
      '-A INPUT -p tcp --dport 22 ! -s 10.0.0.0/24 -j DROP',
      'iptables:7',
      /--dport 22/,
    ])
      expect(result).toBeDroppedBy(name)
    expect(result).not.toBeDroppedBy('-A INPUT -p tcp --dport 23 -j DROP')
    expect(await host.send('tcp 10.200.0.9:1 > 10.0.0.5:443 in eth1')).toBeDroppedBy('-P FORWARD DROP')
    expect(await host.send('tcp 10.0.0.9:1 > 1.1.1.1:443 in eth0')).toBeDecidedBy('to the world')
  })

  test('rejected, delivered, answered', async () => {
    const host = gateway()
    expect(await host.send(tcp('10.0.0.5 > 10.200.0.9:23'), 'eth0')).toBeRejectedWith('tcp-reset')
    expect(await host.send(udp('10.0.0.5 > 10.0.0.1:53'), 'eth0')).toBeRejectedWith('icmp-port-unreachable')
    expect(await host.send(tcp('10.0.0.5 > 10.0.0.1:22'), 'eth0')).toBeDelivered({ dst: '10.0.0.1:22' })
    const ping = await host.send(icmp('10.0.0.5 > 10.0.0.1', { id: 7, payload: 'hi' }), 'eth0')
    expect(ping).toBeDelivered()
    expect(ping.answers[0]?.packet).toMatchObject({ dst: '10.0.0.5', icmpType: 0, rest: 0x70001 })
    const late = await host.send(icmp('10.0.0.5 > 1.1.1.1', { ttl: 1 }), 'eth0')
    expect(late.verdict).toBe('replied')
    expect(late.reason).toBe('ttl')
    expect(late).not.toBeRejected()
  })

  test('nobody listens if so asked', async () => {
    const host = Host.from({ interfaces: { eth0: '10.0.0.1/24' } }, { listening: false })
    const result = await host.send(tcp('10.0.0.5 > 10.0.0.1:22'), 'eth0')
    expect(result).toBeDelivered()
    expect(result.answers[0]?.packet?.flags).toBe(0x14)
  })

  test('sent by the host itself', async () => {
    const host = gateway('-A OUTPUT -p tcp --dport 25 -j DROP')
    expect(await host.sendLocal(tcp('203.0.113.2:1000 > 1.1.1.1:80'))).toBeForwarded({
      dev: 'wan',
      via: '203.0.113.254',
    })
    expect(await host.sendLocal(tcp('203.0.113.2:1001 > 1.1.1.1:25'))).toBeDroppedBy('OUTPUT 1')
    expect(await host.send('udp 10.0.0.1:1 > 10.0.0.1:2 out')).toBeDropped()
  })

  test('sent by the host itself, by policy rules that only ask of lo', async () => {
    const host = Host.from({
      interfaces: { eth0: ['10.0.0.1/24', 'fd00::1/64'], eth1: ['10.0.1.1/24', 'fd00:1::1/64'] },
      routes: [
        'default dev eth0',
        '-6 default dev eth0',
        'default dev eth1 table 100',
        '-6 default dev eth1 table 100',
      ],
      rules: [
        'iif lo ipproto tcp dport 25 lookup 100',
        '-6 iif lo ipproto tcp dport 25 lookup 100',
        // An echo request: type and code where the port would be.
        'iif lo ipproto icmp dport 2048 lookup 100',
        '-6 iif lo ipproto ipv6-icmp dport 32768 lookup 100',
      ],
    })
    for (const [from, to] of [
      ['10.0.0.1', '1.1.1.1'],
      ['fd00::1', '2001:db8::1'],
    ]) {
      const port = (n: string): string => (from!.includes(':') ? `[${n}]` : n)
      const segment = (n: number) => tcp(`${port(from!)}:1000 > ${port(to!)}:${n}`)
      expect(await host.sendLocal(segment(25))).toBeForwarded({ dev: 'eth1' })
      expect(await host.sendLocal(segment(26))).toBeForwarded({ dev: 'eth0' })
      expect(await host.sendLocal(icmp(`${from} > ${to}`))).toBeForwarded({ dev: 'eth1' })
    }
  })

  test('a whole frame, and fragments', async () => {
    const host = gateway()
    const result = await host.send(udp('10.0.0.5:1 > 10.200.0.9:2', { payload: 3000, pieces: 1000 }), 'eth0')
    expect(result).toBeDroppedBy('FORWARD policy')
    const outside = await host.send(udp('10.0.0.5:1 > 1.1.1.1:2', { payload: 3000, pieces: 1000 }), 'eth0')
    expect(outside).toBeForwarded({ dev: 'wan', src: '203.0.113.2', frames: 4 })
    const bytes = outside.sent[0]!.frame
    expect((await host.send(bytes, 'eth0')).packet?.src).toBe('203.0.113.2')
  })
})

describe('conversations', () => {
  test('a handshake through NAT, as words', async () => {
    const host = gateway()
    const results = await host.talk(
      'tcp 10.0.0.5:40000 > 10.96.0.10:80 syn in eth0, reply, again ack, again psh,ack payload "GET /", reply fin,ack',
    )
    expect(results.map((r) => r.verdict)).toEqual(Array(5).fill('forwarded'))
    expect(results[1]).toBeForwarded({ dev: 'eth0', src: '10.96.0.10:80', flags: 'syn,ack' })
    expect(results.map((r) => r.state)).toEqual(['NEW', ...Array(4).fill('ESTABLISHED')])
    expect(host.flows()).toMatchObject([
      { protocol: 'tcp', state: 'FIN_WAIT', flags: ['ASSURED'], original: { src: '10.0.0.5', dport: 80 } },
    ])
  })

  test('a handshake by hand, and what it leaves behind', async () => {
    const host = gateway()
    const syn = await host.send(tcp('10.0.0.5:40000 > 10.96.0.10:80'), 'eth0')
    const synAck = await host.send(syn.reply())
    expect(synAck).toBeForwarded({ dst: '10.0.0.5:40000', src: '10.96.0.10:80' })
    const ack = await host.send(tcp('10.0.0.5:40000 > 10.96.0.10:80', { ack: true }), 'eth0')
    expect(ack).toBeForwarded({ state: 'ESTABLISHED' })
    expect((await host.send(syn.reply({ rst: true, ack: true }))).out?.flags).toBe(0x14)
  })

  test('an ICMP error about what left is RELATED', async () => {
    const [, error] = await gateway().talk(
      'udp 10.0.0.5:5353 > 1.1.1.1:53 in eth0, error host-unreachable from 198.51.100.1',
    )
    expect(error).toBeForwarded({ dst: '10.0.0.5', state: 'RELATED' })
  })

  test('the process answers what was delivered', async () => {
    const [, answer] = await gateway().talk('tcp 10.0.0.5:40000 > 10.0.0.1:22 in eth0, reply')
    expect(answer).toBeForwarded({ dev: 'eth0', src: '10.0.0.1:22', flags: 'syn,ack' })
  })

  test('nothing to answer', async () => {
    await expect(gateway().talk('tcp 10.200.0.9:1 > 10.0.0.5:443 in eth1, reply')).rejects.toThrow(
      'step 2: nothing to answer: the packet before neither left the host nor reached it',
    )
  })
})

describe('time and state', () => {
  test('a flow is forgotten when its time is over', async () => {
    const host = gateway()
    await host.send(udp('10.0.0.5:1 > 1.1.1.1:53'), 'eth0')
    expect(host.flows()).toHaveLength(1)
    host.advance('29s')
    expect(host.flows()).toHaveLength(1)
    host.advance(1001)
    expect(host.flows()).toHaveLength(0)
    expect(host.time.toISOString()).toBe('2026-04-02T12:00:30.001Z')
  })

  test('limit refills', async () => {
    const host = Host.from({
      interfaces: { a: '10.0.0.1/24', b: '10.0.1.1/24' },
      iptables: '-P FORWARD DROP\n-A FORWARD -m limit --limit 1/s --limit-burst 2 -j ACCEPT',
    })
    const verdicts = async (n: number): Promise<string> => {
      let all = ''
      for (let i = 0; i < n; i++) all += (await host.send(udp('10.0.0.5 > 10.0.1.5:9'), 'a')).verdict[0]
      return all
    }
    expect(await verdicts(3)).toBe('ffd')
    host.advance('1s')
    expect(await verdicts(2)).toBe('fd')
  })

  test('tools, counters, the log', async () => {
    const host = gateway()
    host.ipset('create bad hash:ip')
    host.iptables('-I FORWARD 1 -m set --match-set bad src -j LOG --log-prefix "bad guy: "')
    host.iptables("-I FORWARD 2 -m set --match-set bad src -m comment --comment 'no bad guys' -j DROP")
    expect(await host.send(tcp('10.0.0.66 > 1.1.1.1:80'), 'eth0')).toBeForwarded()
    host.ipset('add bad 10.0.0.66')
    expect(await host.send(tcp('10.0.0.66 > 1.1.1.2:80'), 'eth0')).toBeDroppedBy('no bad guys')
    expect(host.counters('no bad guys')).toEqual({ packets: 1, bytes: 40 })
    expect(host.log[0]).toMatch(/^bad guy: IN=eth0 OUT=wan .*SRC=10.0.0.66/)
    expect(host.run('iptables-save -t filter')).toContain('--match-set bad src')
    expect(host.tool('iptables', ['-D', 'FORWARD', '99'])).toMatchObject({ code: 1 })
    expect(() => host.counters('FORWARD')).toThrow(/^FORWARD means 7 rules: filter FORWARD policy, /)
  })

  test('mistakes are told in one line', () => {
    expect(() => Host.from({ interfaces: { eth0: '10.0.0.300/24' } })).toThrow(PlaceError)
    expect(() => gateway('-A FORWARD -j NOWHERE')).toThrow(
      "iptables:12:7: Couldn't load target `NOWHERE':No such file or directory",
    )
    expect(() => gateway().iptables('-A FORWARD -p tcp --dport 99999 -j DROP')).toThrow(
      /invalid port\/service/,
    )
    expect(() => gateway().sendNow(tcp('10.0.0.5 > 1.1.1.1:80'))).toThrow(
      'where does the packet come from? expected an interface (lo, eth0, eth1, wan), or "out"',
    )
    expect(() => gateway().sendNow(tcp('10.0.0.5 > 1.1.1.1:80'), 'eth9')).toThrow(
      '"eth9" is no interface of the host: expected one of lo, eth0, eth1, wan',
    )
    expect(() => tcp('10.0.0.5 > 1.1.1.1')).toThrow(PlaceError)
    expect(() => gateway().advance('soon')).toThrow('advance("soon"): expected a time (5s, 200ms, 1m30s)')
  })
})

test('a failure shows what happened', async () => {
  const host = gateway()
  const result = await host.send(tcp('10.0.0.5:40000 > 10.96.0.10:80'), 'eth0')
  expect(failure(() => expect(result).toBeDropped())).toMatchInlineSnapshot(`
    "expected it to be dropped, it was forwarded to eth1 as 10.0.0.5:40000 > 10.200.3.7:8080

    tcp 10.0.0.5:40000 > 10.96.0.10:80 syn in eth0: forwarded to eth1 as 10.0.0.5:40000 > 10.200.3.7:8080
      PREROUTING in eth0
        conntrack: NEW
        nat: ACCEPT
          -A PREROUTING -d 10.96.0.10/32 -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.200.3.7:8080
        nat: destination 10.96.0.10:80 becomes 10.200.3.7:8080
        route to 10.200.3.7: 10.200.0.0/16 dev eth1 proto kernel scope link src 10.200.0.1
      FORWARD in eth0 out eth1
        mangle: ACCEPT by policy of FORWARD
          -A FORWARD -p tcp -m tcp --dport 8080 -j MARK --set-xmark 0x4/0xffffffff
        filter: ACCEPT
          -A FORWARD -i eth0 -p tcp -m tcp --dport 8080 -j ACCEPT
      POSTROUTING in eth0 out eth1
      sent by eth1: tcp 10.0.0.5:40000 > 10.200.3.7:8080 syn seq 1000 ttl 63"
  `)
  expect(failure(() => expect(result).toBeForwarded({ dst: '10.200.3.8:8080' }))).toMatch(
    /^expected dst 10.200.3.8:8080, it was 10.200.3.7:8080\n\n/,
  )
  expect(failure(() => expect(result).toBeDroppedBy('FORWARD 1'))).toMatch(
    /^expected it to be dropped by FORWARD 1/,
  )
  expect(failure(() => expect(result).toBeRejectedWith('tcp-reset'))).toMatch(/^expected it to be rejected/)
  expect(failure(() => expect(result).toBeTranslated({ src: '1.2.3.4' }))).toMatch(
    /^expected src to become 1.2.3.4, it stayed 10.0.0.5:40000/,
  )
  expect(failure(() => expect(result).toMatchRule('FORWARD 1'))).toMatch(/^expected it to match FORWARD 1/)
  expect(() => expect(Promise.resolve(result)).toBeForwarded()).toThrow('await it')
})

test('who wrote the rule is told', async () => {
  const host = Host.from({
    interfaces: { a: '10.0.0.1/24', b: '10.0.1.1/24' },
    iptables: '-N KUBE-FIREWALL\n-A FORWARD -j KUBE-FIREWALL\n-A KUBE-FIREWALL -s 10.0.0.5 -j DROP',
  })
  expect((await host.send(udp('10.0.0.5 > 10.0.1.5:9'), 'a')).headline()).toBe(
    'udp 10.0.0.5:40000 > 10.0.1.5:9 in a: dropped by filter KUBE-FIREWALL 1 (iptables:3: -A KUBE-FIREWALL -s 10.0.0.5/32 -j DROP), written by kube-proxy: dropping of marked packets, and of strangers on 127.0.0.0/8',
  )
})

test('the same seed, the same ports', async () => {
  const port = async (seed: number): Promise<string | null> => {
    const host = Host.from(
      {
        interfaces: { a: '10.0.0.1/24', b: '10.0.1.1/24' },
        iptables: '-t nat -A POSTROUTING -o b -j MASQUERADE --random',
      },
      { seed },
    )
    return (await host.send(udp('10.0.0.5:9 > 10.0.1.5:9'), 'a')).nat.src
  }
  expect(await port(1)).toBe(await port(1))
  expect(await port(1)).not.toBe(await port(2))
})
