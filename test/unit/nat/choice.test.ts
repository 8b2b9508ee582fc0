// Which address and port a connection gets.

import { describe, expect, test } from 'vitest'
import { Manip } from '../../../conntrack/nat/nat.ts'
import { Hook, type HookFn, Verdict } from '../../../datapath/hooks.ts'
import { formatIpv4 } from '../../../datapath/wire/address.ts'
import { icmp, SeededRandom, tcp, udp } from '../../harness/frames.ts'
import { dport, dst, echoId, ip, range, sport, src, World } from './world.ts'

const CLIENT = '10.0.0.2'
const SERVER = '198.51.100.4'

const out = (w: World, o: { src?: string; dst?: string; sport?: number; dport?: number }): Uint8Array =>
  w.one(w.t0, udp({ src: CLIENT, dst: SERVER, sport: 1000, dport: 53, ...o }))

describe('source NAT', () => {
  test('keeps a port that is free, and gives no two connections the same', () => {
    const random = new SeededRandom(21)
    const w = new World(5)
    w.snat(range({ min: '192.0.2.10' }))
    const used = new Map<string, string>()
    for (let i = 0; i < 4000; i++) {
      const flow = {
        src: `10.0.0.${2 + random.below(200)}`,
        dst: `198.51.100.${random.below(30)}`,
        sport: random.pick([1 + random.below(511), 600 + random.below(424), 1024 + random.below(200)]),
        dport: 53,
      }
      const name = `${flow.src} ${flow.dst} ${flow.sport}`
      const frame = out(w, flow)
      const reply = `${flow.dst} ${sport(frame)}`
      const owner = used.get(reply)
      if (owner !== undefined) expect(owner).toBe(name)
      used.set(reply, name)
      const taken = used.has(`${flow.dst} ${flow.sport}`)
      if (!taken) expect(sport(frame)).toBe(flow.sport)
      // Low ports stay low ports.
      if (flow.sport < 512) expect(sport(frame)).toBeLessThan(512)
      else if (flow.sport < 1024) {
        expect(sport(frame)).toBeLessThan(1024)
        expect(sport(frame)).toBeGreaterThanOrEqual(sport(frame) === flow.sport ? 512 : 600)
      } else expect(sport(frame)).toBeGreaterThanOrEqual(1024)
    }
    expect(used.size).toBeGreaterThan(2000)
  })

  test('a source keeps its mapping towards other destinations', () => {
    const w = new World(6)
    w.snat(range({ min: '192.0.2.10' }))
    out(w, { src: '10.0.0.3', sport: 5000 })
    const moved = sport(out(w, { src: '10.0.0.4', sport: 5000 }))
    expect(moved).not.toBe(5000)
    for (let i = 0; i < 20; i++)
      expect(sport(out(w, { src: '10.0.0.4', sport: 5000, dst: `198.51.100.${50 + i}` }))).toBe(moved)
    // Once its connections are gone, so is the mapping.
    w.conntrack.flush()
    expect(sport(out(w, { src: '10.0.0.4', sport: 5000 }))).toBe(5000)
  })

  test('a range is used up, then the packet is dropped', () => {
    const w = new World(7)
    w.snat(range({ min: '192.0.2.10', ports: [2000, 2019] }))
    const ports = new Set<number>()
    for (let i = 0; i < 20; i++) ports.add(sport(out(w, { sport: 7000 + i })))
    expect([...ports].sort()).toEqual(Array.from({ length: 20 }, (_, i) => 2000 + i))
    const frame = udp({ src: CLIENT, dst: SERVER, sport: 9000, dport: 53 })
    expect(w.send(w.t0, frame)).toEqual([])
    // Towards somebody else they are all free.
    expect(w.send(w.t0, udp({ src: CLIENT, dst: '198.51.100.9', sport: 9000, dport: 53 }))).toHaveLength(1)
    expect(w.memory.free).toBe(w.memory.slots)
  })

  test('a range holds for the port that was there', () => {
    const w = new World(8)
    w.snat(range({ min: '192.0.2.10', ports: [2000, 2019] }))
    expect(sport(out(w, { sport: 2007 }))).toBe(2007)
    w.snat(range({ ports: [3000, 3000] }))
    const frame = out(w, { sport: 2007, dst: '198.51.100.8' })
    expect(sport(frame)).toBe(3000)
    expect(formatIpv4(src(frame))).toBe(CLIENT)
  })

  test('--random draws even where the port is free', () => {
    const w = new World(9)
    w.snat(range({ min: '192.0.2.10', random: true }))
    const ports = Array.from({ length: 50 }, (_, i) => sport(out(w, { sport: 5000, dst: `198.51.100.${i}` })))
    expect(new Set(ports).size).toBeGreaterThan(40)
    expect(Math.min(...ports)).toBeGreaterThanOrEqual(1024)
  })

  test('addresses of a range follow from the source, and from the destination unless --persistent', () => {
    for (const persistent of [false, true]) {
      const w = new World(10)
      w.snat(range({ min: '192.0.2.10', max: '192.0.2.200', persistent }))
      const chosen = new Set<number>()
      for (let i = 0; i < 30; i++) {
        const at = { dst: `198.51.100.${i}` }
        const first = src(out(w, { ...at, sport: 6000 + i }))
        for (const port of [53, 80]) expect(src(out(w, { ...at, sport: 6100 + i, dport: port }))).toBe(first)
        expect(first >>> 0).toBeGreaterThanOrEqual(ip('192.0.2.10') >>> 0)
        expect(first >>> 0).toBeLessThanOrEqual(ip('192.0.2.200') >>> 0)
        chosen.add(first)
      }
      if (persistent) expect(chosen.size).toBe(1)
      else expect(chosen.size).toBeGreaterThan(5)
    }
  })

  test('identifiers of ICMP queries are ports to it', () => {
    const w = new World(12)
    w.snat(range({ min: '192.0.2.10' }))
    const ping = (from: string): number =>
      echoId(w.one(w.t0, icmp({ src: from, dst: SERVER, echoId: 77, payload: 8 })))
    expect(ping('10.0.0.2')).toBe(77)
    const other = ping('10.0.0.3')
    expect(other).not.toBe(77)
    expect(ping('10.0.0.2')).toBe(77)
    expect(ping('10.0.0.3')).toBe(other)
    w.snat(range({ min: '192.0.2.11', ports: [5, 6] }))
    expect([ping('10.0.0.4'), ping('10.0.0.5')].sort()).toEqual([5, 6])
  })

  test('without a rule only a clash changes the port', () => {
    const w = new World(13)
    w.dnat(range({ min: '192.0.2.77', ports: [80, 80] }))
    expect(sport(out(w, { dst: '203.0.113.1' }))).toBe(1000)
    const clash = out(w, { dst: '203.0.113.2' })
    expect(sport(clash)).not.toBe(1000)
    expect(sport(clash)).toBeGreaterThanOrEqual(600)
    expect(sport(clash)).toBeLessThan(1024)
    expect(formatIpv4(src(clash))).toBe(CLIENT)
  })

  test('a connection in TIME_WAIT makes room when all else is taken', () => {
    const w = new World(14)
    w.snat(range({ min: '192.0.2.10', ports: [4000, 4000] }))
    const o = { src: CLIENT, dst: SERVER, sport: 5000, dport: 80 }
    const back = { src: SERVER, dst: '192.0.2.10', sport: 80, dport: 4000 }
    w.one(w.t0, tcp({ ...o, flags: 'S', seq: 1000 }))
    w.one(w.t1, tcp({ ...back, flags: 'SA', seq: 9000, ack: 1001 }))
    w.one(w.t0, tcp({ ...o, flags: 'A', seq: 1001, ack: 9001 }))
    // One port only: no other connection fits, whatever its sequence numbers, while this one lives.
    const late = { src: '10.0.0.9', dst: SERVER, sport: 4001, dport: 80, flags: 'S' }
    w.snat(range({ min: '192.0.2.10', ports: [4000, 4001], random: true }))
    w.one(w.t0, tcp({ ...late, src: '10.0.0.8', seq: 1 }))
    expect(w.send(w.t0, tcp({ ...late, seq: 900_000 }))).toEqual([])
    w.one(w.t0, tcp({ ...o, flags: 'FA', seq: 1001, ack: 9001 }))
    w.one(w.t1, tcp({ ...back, flags: 'FA', seq: 9001, ack: 1002 }))
    w.one(w.t0, tcp({ ...o, flags: 'A', seq: 1002, ack: 9002 }))
    expect(w.send(w.t0, tcp({ ...late, seq: 500 }))).toEqual([])
    expect(sport(w.one(w.t0, tcp({ ...late, seq: 900_000 })))).toBe(4000)
  })
})

describe('destination NAT', () => {
  test('keeps the port unless told otherwise', () => {
    const w = new World(15)
    w.dnat(range({ min: '192.0.2.77' }))
    expect(dport(out(w, { dport: 8080 }))).toBe(8080)
    w.dnat(range({ ports: [81, 81] }))
    const moved = out(w, { dport: 8080, sport: 1001 })
    expect(dport(moved)).toBe(81)
    expect(formatIpv4(dst(moved))).toBe(SERVER)
  })

  // As seen on Linux 6.18.
  test('takes the ports of a range in turn, then the last one and another source port', () => {
    const w = new World(16)
    w.dnat(range({ min: '192.0.2.99', ports: [100, 103] }))
    const frames = Array.from({ length: 7 }, (_, i) => out(w, { dst: `198.51.100.${i}`, dport: 9 }))
    expect(frames.map(dport)).toEqual([100, 101, 102, 103, 103, 103, 103])
    expect(frames.slice(0, 4).map(sport)).toEqual([1000, 1000, 1000, 1000])
    const drawn = frames.slice(4).map(sport)
    expect(new Set(drawn).size).toBe(3)
    for (const port of drawn) expect(port >= 600 && port < 1024 && port !== 1000).toBe(true)
    // Another source has them all.
    expect(dport(out(w, { src: '10.0.0.3', dport: 9 }))).toBe(100)
  })

  test('shifts a range', () => {
    const w = new World(17)
    w.dnat(range({ min: '192.0.2.98', ports: [3000, 3100], offset: true, basePort: 2000 }))
    for (const port of [2000, 2050, 2100]) expect(dport(out(w, { dport: port }))).toBe(port + 1000)
    // Beyond the range it wraps around.
    expect(dport(out(w, { dport: 2101, sport: 3 }))).toBe(3000)
    expect(dport(out(w, { dport: 1999, sport: 2 }))).toBe(3000 + (65535 % 101))
  })

  test('gives ICMP identifiers of the range', () => {
    const w = new World(18)
    w.dnat(range({ min: '192.0.2.99', ports: [5, 6] }))
    const ids = [0, 1].map((i) =>
      echoId(w.one(w.t0, icmp({ src: CLIENT, dst: `198.51.100.${i}`, echoId: 77, payload: 8 }))),
    )
    expect(ids).toEqual([5, 6])
  })

  test('hairpin: in and out of the same network', () => {
    const w = new World(19)
    w.dnat(range({ min: '10.0.0.80', ports: [8080, 8080] }))
    w.snat(range({ min: '10.0.0.1' }))
    const sent = w.send(w.t0, tcp({ src: CLIENT, dst: '192.0.2.1', sport: 5000, dport: 80, flags: 'S' }))
    expect(sent.map((s) => s.device)).toEqual(['t0'])
    const frame = sent[0]!.bytes
    expect([formatIpv4(src(frame)), sport(frame)]).toEqual(['10.0.0.1', 5000])
    expect([formatIpv4(dst(frame)), dport(frame)]).toEqual(['10.0.0.80', 8080])
    const back = w.send(
      w.t0,
      tcp({ src: '10.0.0.80', dst: '10.0.0.1', sport: 8080, dport: 5000, flags: 'SA', ack: 1 }),
    )
    expect(back.map((s) => s.device)).toEqual(['t0'])
    expect([formatIpv4(src(back[0]!.bytes)), sport(back[0]!.bytes)]).toEqual(['192.0.2.1', 80])
    expect([formatIpv4(dst(back[0]!.bytes)), dport(back[0]!.bytes)]).toEqual([CLIENT, 5000])
  })
})

describe('MASQUERADE', () => {
  const masquerade = (w: World): void => {
    w.chains[Hook.PostRouting] = (pkt) => w.nat.masquerade(pkt, range({}))
  }

  test('takes the address towards the next hop', () => {
    const w = new World(20)
    w.address(w.t1, '203.0.113.1')
    masquerade(w)
    // The default route has no gateway: the next hop is the destination, and the first address does for strangers.
    expect(formatIpv4(src(out(w, {})))).toBe('192.0.2.1')
    expect(formatIpv4(src(out(w, { dst: '203.0.113.77' })))).toBe('203.0.113.1')
  })

  test('drops when the host has no address to give', () => {
    const w = new World(21)
    masquerade(w)
    for (const device of [w.t0, w.t1])
      for (const address of [...device.addresses]) w.host.devices.removeAddress(device, address)
    w.host.fib.addRoute({ dst: [0, 0, 0, 0], prefixLength: 0, device: w.t1 }, 'replace')
    expect(w.send(w.t0, udp({ src: CLIENT, dst: SERVER, sport: 1000, dport: 53 }))).toEqual([])
    expect(w.memory.free).toBe(w.memory.slots)
    w.address(w.t1, '192.0.2.5')
    expect(formatIpv4(src(out(w, {})))).toBe('192.0.2.5')
  })

  test('connections end with the address, and with the device', () => {
    const w = new World(22)
    w.address(w.t1, '203.0.113.1')
    masquerade(w)
    out(w, {})
    out(w, { dst: '203.0.113.77' })
    w.chains[Hook.PostRouting] = () => Verdict.Accept
    out(w, { sport: 3 })
    expect(w.conntrack.count).toBe(3)
    w.host.devices.removeAddress(w.t1, w.t1.addresses[1]!)
    expect(w.conntrack.count).toBe(2)
    w.host.devices.setUp(w.t1, false)
    expect(w.conntrack.count).toBe(1)
  })

  test('a connection that now leaves elsewhere begins anew', () => {
    const w = new World(23)
    masquerade(w)
    out(w, {})
    const t2 = w.host.devices.add('t2', 1500)
    w.address(t2, '172.16.0.1')
    w.host.fib.addRoute({ dst: [ip(SERVER), 0, 0, 0], prefixLength: 32, device: t2 })
    const frame = udp({ src: CLIENT, dst: SERVER, sport: 1000, dport: 53 })
    expect(w.send(w.t0, frame)).toEqual([])
    expect(w.conntrack.count).toBe(0)
    const [sent] = w.send(w.t0, frame)
    expect(sent!.device).toBe('t2')
    expect(formatIpv4(src(sent!.bytes))).toBe('172.16.0.1')
  })
})

describe('REDIRECT', () => {
  test('to the first address of the device, and its answer comes from the address asked', () => {
    const w = new World(24)
    w.chains[Hook.PreRouting] = (pkt) => w.nat.redirect(pkt, range({ ports: [7, 7] }), Hook.PreRouting)
    const [reset] = w.send(
      w.t0,
      tcp({ src: CLIENT, dst: SERVER, sport: 5000, dport: 80, flags: 'S', seq: 9 }),
    )
    expect(reset!.device).toBe('t0')
    expect([formatIpv4(src(reset!.bytes)), sport(reset!.bytes)]).toEqual([SERVER, 80])
    expect([formatIpv4(dst(reset!.bytes)), dport(reset!.bytes)]).toEqual([CLIENT, 5000])
  })

  test('drops where the device has no address', () => {
    const w = new World(25)
    w.chains[Hook.PreRouting] = (pkt) => w.nat.redirect(pkt, range({}), Hook.PreRouting)
    w.host.devices.removeAddress(w.t0, w.t0.addresses[0]!)
    expect(w.send(w.t0, udp({ src: CLIENT, dst: SERVER, sport: 5, dport: 6 }))).toEqual([])
    expect(w.memory.free).toBe(w.memory.slots)
  })
})

test('rules are walked once a connection, and once for each of source and destination', () => {
  const w = new World(26)
  const frame = udp({ src: CLIENT, dst: SERVER, sport: 1000, dport: 53 })
  for (let i = 0; i < 5; i++) w.send(w.t0, frame)
  expect(w.walks).toEqual([1, 0, 0, 0, 1])
  w.send(w.t1, udp({ src: SERVER, dst: CLIENT, sport: 53, dport: 1000 }))
  expect(w.walks).toEqual([1, 0, 0, 0, 1])
  w.send(w.t0, icmp({ src: CLIENT, dst: '10.0.0.1', echoId: 1 }))
  expect(w.walks).toEqual([2, 1, 0, 0, 1])
})

test('a chain that drops leaves nothing behind', () => {
  const w = new World(27)
  w.chains[Hook.PreRouting] = () => Verdict.Drop
  for (let i = 0; i < 100; i++)
    expect(w.send(w.t0, udp({ src: CLIENT, dst: SERVER, sport: 1000 + i, dport: 53 }))).toEqual([])
  expect(w.conntrack.count).toBe(0)
  expect(w.memory.free).toBe(w.memory.slots)
})

describe('OUTPUT', () => {
  test('REDIRECT brings packets of this host back to it', () => {
    const w = new World(28)
    w.chains[Hook.LocalOut] = (pkt) => w.nat.redirect(pkt, range({}), Hook.LocalOut)
    const seen: string[] = []
    const see: HookFn = (pkt) => {
      seen.push(`${formatIpv4(pkt.s0)} ${formatIpv4(pkt.d0)}`)
      return Verdict.Accept
    }
    w.host.hooks.register({ name: 'test', family: 4, hook: Hook.LocalIn, priority: 0, run: see })
    expect(w.local(udp({ src: '192.0.2.1', dst: SERVER, sport: 5000, dport: 53 }))).toEqual([])
    // The packet came round to the host, and so did the port unreachable about it, as from the address asked.
    expect(seen).toEqual(['192.0.2.1 127.0.0.1', `${SERVER} 192.0.2.1`])
    expect(w.walks).toEqual([0, 0, 0, 1, 1])
    expect(w.memory.free).toBe(w.memory.slots)
  })

  test('DNAT routes anew', () => {
    const w = new World(29)
    w.chains[Hook.LocalOut] = (pkt) => w.nat.setup(pkt, range({ min: '10.0.0.80' }), Manip.Dst)
    const sent = w.local(udp({ src: '192.0.2.1', dst: SERVER, sport: 5000, dport: 53 }))
    expect(sent.map((s) => s.device)).toEqual(['t0'])
    expect(formatIpv4(dst(sent[0]!.bytes))).toBe('10.0.0.80')
  })
})
