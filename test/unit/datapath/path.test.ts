import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { beforeEach, describe, expect, test } from 'vitest'
import { IpStat } from '../../../datapath/counters.ts'
import type { Device } from '../../../datapath/devices.ts'
import { FATE_NAMES } from '../../../datapath/fate.ts'
import { RouteType, type Words } from '../../../datapath/fib.ts'
import { HOOK_NAMES, Hook, type HookFn, Priority, Verdict } from '../../../datapath/hooks.ts'
import { Host } from '../../../datapath/host.ts'
import { Packet } from '../../../datapath/packet.ts'
import { setDestination4, setTos } from '../../../datapath/rewrite.ts'
import { FrameMemory, HEADROOM } from '../../../datapath/ring.ts'
import { parseIpv4 } from '../../../datapath/wire/address.ts'
import {
  damage,
  decode,
  fragment,
  icmp,
  icmpError,
  ip4,
  SeededRandom,
  tcp,
  udp,
} from '../../harness/frames.ts'
import { SEED_OF_RUN } from '../../harness/seed.ts'

const SLOTS = 64
const memory = new FrameMemory(SLOTS, 0xffff)
const pkt = new Packet()
let host: Host
let left: { dev: string; bytes: Uint8Array }[]
let eth0: Device
let eth1: Device

const ip = (text: string): number => parseIpv4(text)!
const words = (text: string): Words => [ip(text), 0, 0, 0]

function addAddress(device: Device, text: string): void {
  const [word, length] = text.split('/')
  host.devices.addAddress(device, {
    family: 4,
    words: words(word!),
    prefixLength: Number(length),
    broadcast: null,
    peer: null,
    scope: 0,
    secondary: false,
    label: null,
  })
}

/** eth0 10.0.0.1/24, eth1 10.1.0.1/24, a router; 9.9.{7,8,9}.0/24 are refused in three ways. */
beforeEach(() => {
  left = []
  const random = new SeededRandom(1)
  host = new Host({
    memory,
    random,
    egress: {
      send: (dev, off, len, slot) => {
        left.push({ dev: host.devices.byIndex[dev]!.name, bytes: memory.bytes.slice(off, off + len) })
        if (slot >= 0) memory.give(slot)
      },
      flush: () => {},
    },
  })
  host.now = 1_000_000
  eth0 = host.devices.add('eth0', 1500)
  eth1 = host.devices.add('eth1', 1500)
  addAddress(eth0, '10.0.0.1/24')
  addAddress(eth1, '10.1.0.1/24')
  for (const [net, type] of [
    ['9.9.7.0', RouteType.Blackhole],
    ['9.9.8.0', RouteType.Prohibit],
    ['9.9.9.0', RouteType.Unreachable],
  ] as const)
    host.fib.addRoute({ type, dst: words(net), prefixLength: 24 })
  host.tunables.set('net.ipv4.ip_forward', 1)
  for (const name of ['icmp_ratelimit', 'icmp_ratemask']) host.tunables.set(`net.ipv4.${name}`, 0)
})

/** One frame into a device: "fate reason", and what left, as decode() says it. */
function send(frame: Uint8Array, device = eth0): string {
  const free = memory.free
  const slot = memory.take()
  pkt.reset()
  pkt.slot = slot
  pkt.limit = slot + memory.stride
  pkt.l3 = slot + HEADROOM
  pkt.end = pkt.l3 + frame.length
  memory.bytes.set(frame, pkt.l3)
  const fate = FATE_NAMES[host.path.receive(pkt, device)]!
  if (fate !== 'consumed') expect(memory.free, 'slots').toBe(free)
  return `${fate} ${host.path.reason}`.trim()
}

const sent = (): string[] => left.splice(0).map((f) => `${f.dev}: ${decode(f.bytes)}`)

const across = { src: '10.0.0.5', dst: '10.1.0.5', sport: 7, dport: 9, payload: 4 }

/** The device that one frame leaves by, or why it does not; not whether somebody is told, which is rationed. */
function goes(src: string, dst: string, device: Device): string {
  left = []
  const [fate, reason] = send(udp({ src, dst, sport: 7, dport: 9, payload: 4 }), device).split(' ')
  return fate === 'forwarded' ? left.at(-1)!.dev : (reason ?? fate!)
}

test(`what is remembered of a block of addresses is what is found anew, seed ${SEED_OF_RUN}`, () => {
  const random = new SeededRandom(SEED_OF_RUN)
  const net = ['77.0', '77.1', '10.1', '0.0', '255.255']
  const near = (): string =>
    `${random.pick(net)}.${random.pick([0, 255])}.${random.pick([0, 1, 127, 128, 255])}`
  const types = [
    RouteType.Unicast,
    RouteType.Unicast,
    RouteType.Local,
    RouteType.Broadcast,
    RouteType.Blackhole,
  ]
  host.fib.addRoute({ dst: words('0.0.0.0'), prefixLength: 0, device: eth1 })
  const routes = random.below(10)
  for (let i = 0; i < routes; i++) {
    const type = random.pick(types)
    const prefixLength = random.pick([8, 16, 23, 24, 25, 31, 32])
    const mask = (-1 << (32 - prefixLength)) | 0
    const device = type === RouteType.Blackhole ? null : random.pick([eth0, eth1])
    host.fib.addRoute({ type, dst: [ip(near()) & mask, 0, 0, 0], prefixLength, metric: i, device })
  }
  if (random.below(2) === 0)
    host.fib.addRule({
      action: 'blackhole',
      source: { words: words('10.0.0.5'), prefixLength: 32 },
      destination: { words: words('77.0.0.0'), prefixLength: 25 },
      priority: 10,
    })
  const frames = Array.from({ length: 300 }, () => ({
    src: random.pick(['10.0.0.5', '0.0.0.0', '77.0.0.5']),
    dst: near(),
    device: random.pick([eth0, eth1]),
  }))
  // Before what is found anew, which the cache would not be worth it for.
  const remembered = Array.from({ length: 3000 }, () => {
    const at = random.below(frames.length)
    const { src, dst, device } = frames[at]!
    return [at, goes(src, dst, device)] as const
  })
  const anew = frames.map(({ src, dst, device }) => {
    // Any change empties what is remembered.
    host.fib.removeRoute(
      host.fib.addRoute({ type: RouteType.Blackhole, dst: words('99.0.0.0'), prefixLength: 8 }),
    )
    return goes(src, dst, device)
  })
  for (const [at, way] of remembered) expect(way, JSON.stringify(frames[at]!.dst)).toBe(anew[at])
  expect(new Set(anew).size).toBeGreaterThan(2)
})

describe('forwarding', () => {
  test('ttl and checksum change, nothing else', () => {
    const frame = udp({ ...across, ttl: 9, tos: 0xb8, id: 0x1234 })
    expect(send(frame)).toBe('forwarded')
    expect(left[0]!.dev).toBe('eth1')
    expect(left[0]!.bytes).toEqual(udp({ ...across, ttl: 8, tos: 0xb8, id: 0x1234 }))
  })

  test('every checksum comes out as it is computed anew', () => {
    for (let id = 0; id < 0x10000; id += 257) {
      left = []
      send(udp({ ...across, id }))
      expect(left[0]!.bytes).toEqual(udp({ ...across, id, ttl: 63 }))
    }
  })

  test('padding is cut off', () => {
    send(Uint8Array.from([...udp(across), 1, 2, 3]))
    expect(left[0]!.bytes.length).toBe(32)
  })

  test('ttl 1, too long with DF, too long without', () => {
    expect(send(udp({ ...across, ttl: 1 }))).toBe('replied ttl')
    expect(send(udp({ ...across, payload: 2000, df: true }))).toBe('replied mtu')
    expect(send(udp({ ...across, payload: 2000 }))).toBe('forwarded')
    expect(
      left.map((f) => [f.dev, f.bytes[20]! === 11 || f.bytes[20]! === 3 ? 'error' : f.bytes.length]),
    ).toEqual([
      ['eth0', 'error'],
      ['eth0', 'error'],
      ['eth1', 1500],
      ['eth1', 548],
    ])
  })

  test('the mtu of a route counts before that of its device', () => {
    host.fib.addRoute({ dst: words('77.0.0.0'), prefixLength: 8, device: eth1, mtu: 600 })
    expect(send(udp({ ...across, dst: '77.0.0.1', payload: 700, df: true }))).toBe('replied mtu')
    expect(left[0]!.bytes.subarray(26, 28)).toEqual(Uint8Array.of(600 >> 8, 600 & 0xff))
  })

  test('off: silence', () => {
    host.tunables.set('net.ipv4.conf.eth0.forwarding', 0)
    expect(send(udp(across))).toBe('dropped not-forwarding')
    expect(send(udp({ ...across, dst: '8.8.8.8' }))).toBe('dropped not-forwarding')
    expect(send(udp({ ...across, src: '10.1.0.5', dst: '10.0.0.5' }), eth1)).toBe('forwarded')
  })

  test('routing errors: five at once to each host, then one a second', () => {
    const fates: string[] = []
    for (let i = 0; i < 7; i++) fates.push(send(udp({ ...across, dst: '9.9.9.1' })))
    expect(fates).toEqual([
      ...new Array(5).fill('replied unreachable'),
      ...new Array(2).fill('dropped unreachable'),
    ])
    host.now += 999
    expect(send(udp({ ...across, dst: '8.8.8.8' }))).toBe('dropped no-route')
    host.now += 1
    expect(send(udp({ ...across, dst: '8.8.8.8' }))).toBe('replied no-route')
    expect(send(udp({ ...across, src: '10.0.0.6', dst: '9.9.8.1' }))).toBe('replied prohibited')
    expect(send(udp({ ...across, src: '10.0.0.6', dst: '9.9.7.1' }))).toBe('dropped blackhole')
    expect(sent().map((t) => /icmp \S+/.exec(t)![0])).toEqual([
      ...new Array(5).fill('icmp 3/1'),
      'icmp 3/0',
      'icmp 3/13',
    ])
  })

  test('redirects: further and further apart, nine, then none until 20 s of quiet', () => {
    const back = { ...across, dst: '10.0.0.77' }
    const times: number[] = []
    for (let ms = 0; ms < 30_000; ms += 10) {
      host.now = 1_000_000 + ms
      expect(send(udp(back))).toBe('forwarded')
      if (sent().some((t) => t.includes('icmp 5/1'))) times.push(ms)
    }
    expect(times).toEqual([0, 50, 140, 310, 640, 1290, 2580, 5150, 10280])
    host.now += 21_000
    send(udp(back))
    expect(sent().length).toBe(2)
    host.tunables.set('net.ipv4.conf.all.send_redirects', 0)
    host.tunables.set('net.ipv4.conf.eth0.send_redirects', 0)
    host.now += 21_000
    send(udp(back))
    expect(sent().length).toBe(1)
  })
})

describe('martians and source checks', () => {
  const cases: readonly [string, string, string][] = [
    ['127.0.0.1', '10.1.0.5', 'martian-source'],
    ['224.0.0.5', '10.1.0.5', 'martian-source'],
    ['255.255.255.255', '10.1.0.5', 'martian-source'],
    ['0.0.0.0', '10.1.0.5', 'martian-source'],
    ['10.0.0.5', '127.0.0.1', 'martian-destination'],
    ['10.0.0.5', '0.0.0.0', 'martian-destination'],
    ['10.0.0.5', '239.1.1.1', 'multicast'],
    ['10.0.0.1', '10.1.0.5', 'local-source'],
    ['10.1.0.1', '10.0.0.1', 'local-source'],
    ['127.0.0.1', '224.0.0.1', 'martian-source'],
  ]
  test.each(cases)('%s to %s: %s', (src, dst, reason) => {
    expect(send(udp({ ...across, src, dst }))).toBe(`dropped ${reason}`)
    expect(sent()).toEqual([])
  })

  test.each([
    ['240.0.0.1', '10.1.0.5'],
    ['169.254.1.1', '10.1.0.5'],
    ['10.0.0.255', '10.1.0.5'],
    ['10.0.0.0', '10.1.0.5'],
    ['0.1.2.3', '10.1.0.5'],
  ])('%s to %s is forwarded', (src, dst) => {
    expect(send(udp({ ...across, src, dst }))).toBe('forwarded')
  })

  test('log_martians: the lines that Linux 6.18 writes, ten in five seconds', () => {
    const lines: string[] = []
    host.events.log = ({ level, text }) => lines.push(`${level} ${text}`)
    const from = (src: string, dst: string) => send(udp({ ...across, src, dst }))
    from('192.168.7.7', '127.0.0.1')
    expect(lines).toEqual([])
    host.tunables.set('net.ipv4.conf.all.log_martians', 1)
    host.tunables.set('net.ipv4.conf.eth0.rp_filter', 1)
    from('192.168.7.7', '10.0.0.1')
    from('127.0.0.1', '10.0.0.1')
    from('10.0.0.5', '127.0.0.1')
    from('224.0.0.1', '10.0.0.1')
    from('10.0.0.1', '10.0.0.9')
    from('192.168.7.7', '224.0.0.1')
    from('192.168.7.7', '10.0.0.255')
    expect(lines).toEqual([
      '4 IPv4: martian source 10.0.0.1 from 192.168.7.7, on dev eth0',
      '4 IPv4: martian source 10.0.0.1 from 127.0.0.1, on dev eth0',
      '4 IPv4: martian destination 127.0.0.1 from 10.0.0.5, dev eth0',
      '4 IPv4: martian source 10.0.0.1 from 224.0.0.1, on dev eth0',
      '4 IPv4: martian source 10.0.0.9 from 10.0.0.1, on dev eth0',
      '4 IPv4: martian source 10.0.0.255 from 192.168.7.7, on dev eth0',
    ])
    for (let i = 0; i < 7; i++) from('127.0.0.1', '10.0.0.1')
    expect(lines).toHaveLength(10)
    host.now += 5001
    from('127.0.0.1', '10.0.0.1')
    expect(lines.slice(10)).toEqual([
      '4 net_ratelimit: 3 callbacks suppressed',
      '4 IPv4: martian source 10.0.0.1 from 127.0.0.1, on dev eth0',
    ])
  })

  test('rp_filter: strict asks for the way back, loose for any way', () => {
    const spoofed = udp({ ...across, src: '10.1.0.9' })
    const unknown = udp({ ...across, src: '77.0.0.1' })
    expect([send(spoofed), send(unknown)]).toEqual(['forwarded', 'forwarded'])
    host.tunables.set('net.ipv4.conf.eth0.rp_filter', 1)
    expect([send(spoofed), send(unknown)]).toEqual(['dropped reverse-path', 'dropped reverse-path'])
    host.tunables.set('net.ipv4.conf.all.rp_filter', 2)
    expect([send(spoofed), send(unknown)]).toEqual(['forwarded', 'dropped reverse-path'])
    host.fib.addRoute({ dst: words('77.0.0.0'), prefixLength: 8, device: eth1 })
    expect([send(spoofed), send(unknown)]).toEqual(['forwarded', 'forwarded'])
  })
})

describe('to the host itself', () => {
  const own = { ...across, dst: '10.0.0.1' }
  test('echo, closed ports, unknown protocols', () => {
    expect(send(icmp({ src: '10.0.0.5', dst: '10.0.0.1', type: 8, payload: 8 }))).toBe('replied delivered')
    expect(send(tcp({ ...own, flags: 'S', payload: 0 }))).toBe('replied port-unreachable')
    expect(send(udp(own))).toBe('replied port-unreachable')
    expect(send(ip4({ ...own, proto: 50, payload: 9 }))).toBe('replied protocol-unreachable')
    expect(left.map((f) => f.dev)).toEqual(['eth0', 'eth0', 'eth0', 'eth0'])
  })

  test('silence', () => {
    expect(send(udp({ ...own, badChecksum: true }))).toBe('dropped bad-transport')
    expect(send(tcp({ ...own, flags: 'R', payload: 0 }))).toBe('delivered delivered')
    expect(send(udp({ ...own, dst: '10.0.0.255' }))).toBe('delivered delivered')
    expect(send(udp({ ...own, dst: '255.255.255.255' }))).toBe('delivered delivered')
    expect(send(icmp({ src: '10.0.0.5', dst: '224.0.0.1', type: 8 }))).toBe('delivered delivered')
    expect(send(ip4({ ...own, proto: 2, payload: 8 }))).toBe('delivered delivered')
    expect(sent()).toEqual([])
  })

  test('ttl 0 is good enough', () => {
    expect(send(icmp({ src: '10.0.0.5', dst: '10.1.0.1', type: 8, ttl: 0 }))).toBe('replied delivered')
  })

  test('fragments wait, then are delivered whole', () => {
    const pieces = fragment(icmp({ src: '10.0.0.5', dst: '10.0.0.1', type: 8, payload: 3000 }), 1480)
    const seen: number[] = []
    watch([Hook.PreRouting, Hook.LocalIn], (p, hook) => {
      if (hook === 'INPUT') seen.push(p.length)
    })
    expect(pieces.map((p) => send(p))).toEqual([
      'consumed fragment',
      'consumed fragment',
      'replied delivered',
    ])
    expect(seen).toEqual([3028])
    expect(sent().length).toBe(3)
  })

  test('a local port takes what passes INPUT', () => {
    const taken: number[] = []
    host.path.localDelivery = (p) => {
      taken.push(p.dport)
      return p.dport === 9
    }
    expect(send(udp(own))).toBe('delivered delivered')
    expect(send(udp({ ...own, dport: 10 }))).toBe('replied port-unreachable')
    expect(taken).toEqual([9, 10])
  })

  test('a path MTU that was said binds what the host sends, not what it forwards', () => {
    const echo = icmp({ src: '10.0.0.5', dst: '10.0.0.1', type: 8, payload: 800 })
    send(echo)
    const reply = left.splice(0)[0]!.bytes
    send(icmpError(3, 4, reply, { src: '10.0.0.5', dst: '10.0.0.1', rest: 600 }))
    send(echo)
    expect(sent().length).toBe(2)
    expect(send(udp({ ...across, src: '10.1.0.5', dst: '10.0.0.5', payload: 800 }), eth1)).toBe('forwarded')
    expect(sent().length).toBe(1)
    host.now += 600_000
    send(echo)
    expect(sent().length).toBe(1)
  })
})

/** Notes what goes through hooks, at a priority of its own. */
function watch(
  hooks: readonly number[],
  each: (p: Packet, hook: string) => void,
  priority: number = Priority.Filter,
): void {
  for (const hook of hooks)
    host.hooks.register({
      name: 'watch',
      family: 4,
      hook: hook as Hook,
      priority,
      run: (p) => {
        each(p, HOOK_NAMES[hook]!)
        return Verdict.Accept
      },
    })
}

function at(hook: Hook, priority: number, run: HookFn): () => void {
  return host.hooks.register({ name: 'test', family: 4, hook, priority, run })
}

describe('hooks', () => {
  const name = (index: number): string => (index === 0 ? '-' : host.devices.byIndex[index]!.name)
  const log = (): string[] => {
    const seen: string[] = []
    watch([0, 1, 2, 3, 4], (p, hook) => seen.push(`${hook} ${name(p.iif)} ${name(p.oif)}`))
    return seen
  }

  test('who sees which interfaces (nf_hook_state)', () => {
    const seen = log()
    send(udp(across))
    expect(seen.splice(0)).toEqual(['PREROUTING eth0 -', 'FORWARD eth0 eth1', 'POSTROUTING eth0 eth1'])
    send(udp({ ...across, dst: '10.1.0.1' }))
    expect(seen.splice(0)).toEqual([
      'PREROUTING eth0 -',
      'INPUT eth0 -',
      'OUTPUT - eth0',
      'POSTROUTING - eth0',
    ])
    send(udp({ ...across, ttl: 1 }))
    expect(seen.splice(0)).toEqual(['PREROUTING eth0 -', 'OUTPUT - eth0', 'POSTROUTING - eth0'])
    send(udp({ ...across, src: '127.0.0.1' }))
    expect(seen.splice(0)).toEqual(['PREROUTING eth0 -'])
    send(udp({ ...across, totalLength: 2000 }))
    expect(seen.splice(0)).toEqual([])
  })

  test('a drop anywhere gives the slot back and lets the entry go', () => {
    const released: number[] = []
    host.tracker = {
      release: (p) => {
        if (p.ct >= 0) released.push(p.ct)
        p.ct = -1
      },
      attach: () => {},
    }
    at(Hook.PreRouting, Priority.Conntrack, (p) => {
      p.ct = 7
      return Verdict.Accept
    })
    for (const [hook, to] of [
      [Hook.PreRouting, '10.1.0.5'],
      [Hook.LocalIn, '10.0.0.1'],
      [Hook.Forward, '10.1.0.5'],
      [Hook.PostRouting, '10.1.0.5'],
    ] as const) {
      const undo = at(hook, 0, () => Verdict.Drop)
      expect(send(udp({ ...across, dst: to }))).toBe('dropped rule')
      undo()
      expect(released.splice(0), HOOK_NAMES[hook]).toEqual([7])
    }
    expect(send(udp(across))).toBe('forwarded')
    expect(released).toEqual([7])
  })

  test('what a hook steals is consumed, slot and all', () => {
    let kept = -1
    at(Hook.Forward, 0, (p) => {
      kept = p.slot
      return Verdict.Stolen
    })
    const free = memory.free
    expect(send(udp(across))).toBe('consumed fragment')
    expect(memory.free).toBe(free - 1)
    memory.give(kept)
  })

  test('a destination changed in PREROUTING decides where it goes', () => {
    at(Hook.PreRouting, Priority.NatDst, (p) => {
      setDestination4(p, memory, ip('10.1.0.77'))
      return Verdict.Accept
    })
    expect(send(udp({ ...across, dst: '10.0.0.1' }))).toBe('forwarded')
    expect(sent()[0]).toMatch(/^eth1: 10.0.0.5 > 10.1.0.77/)
  })

  test('answers go another way when the mangle table marks them, not when filter does', () => {
    host.fib.addRoute({ dst: words('0.0.0.0'), prefixLength: 0, device: eth1, table: 100 })
    host.fib.addRule({ action: 'lookup', table: 100, mark: 1, markMask: 1, priority: 10 })
    const echo = icmp({ src: '10.0.0.5', dst: '10.0.0.1', type: 8 })
    const mark: HookFn = (p) => {
      p.mark = 1
      return Verdict.Accept
    }
    const seen = log()
    for (const [priority, dev] of [
      [Priority.Raw, 'eth0'],
      [Priority.Filter, 'eth0'],
      [Priority.Mangle, 'eth1'],
    ] as const) {
      const undo = at(Hook.LocalOut, priority, mark)
      send(echo)
      undo()
      expect(
        left.splice(0).map((f) => f.dev),
        `priority ${priority}`,
      ).toEqual([dev])
    }
    // OUTPUT still says the interface it was routed to first.
    expect(seen.slice(-2)).toEqual(['OUTPUT - eth0', 'POSTROUTING - eth1'])
  })

  test('TOS counts for rerouting too; without a way the packet is gone before the filter table', () => {
    host.fib.addRule({ action: 'unreachable', tos: 0x10, priority: 10 })
    at(Hook.LocalOut, Priority.Mangle, (p) => {
      setTos(p, memory, 0x10)
      return Verdict.Accept
    })
    const seen = log()
    expect(send(icmp({ src: '10.0.0.5', dst: '10.0.0.1', type: 8 }))).toBe('delivered delivered')
    expect([seen, sent()]).toEqual([['PREROUTING eth0 -', 'INPUT eth0 -'], []])
  })

  test('an answer turned to the host itself comes in again by lo, with mark and entry', () => {
    const shared: string[] = []
    at(Hook.LocalOut, Priority.Mangle, (p) => {
      setDestination4(p, memory, ip('10.1.0.1'))
      p.mark = 5
      p.ct = 3
      return Verdict.Accept
    })
    watch([0, 1, 3, 4], (p, hook) => shared.push(`${hook} ${name(p.iif)} ${name(p.oif)} ${p.mark} ${p.ct}`))
    expect(send(icmp({ src: '10.0.0.5', dst: '10.0.0.1', type: 8 }))).toBe('delivered delivered')
    expect(shared).toEqual([
      'PREROUTING eth0 - 0 -1',
      'INPUT eth0 - 0 -1',
      'OUTPUT - eth0 5 3',
      'POSTROUTING - lo 5 3',
      'PREROUTING lo - 5 3',
      'INPUT lo - 5 3',
    ])
  })

  test('an answer to a broadcast address is heard by the host itself as well', () => {
    const seen = log()
    // Only a source that is a subnet's broadcast address on another interface gets that far.
    expect(send(icmp({ src: '10.1.0.255', dst: '10.0.0.1', type: 8 }))).toBe('replied delivered')
    expect(seen).toEqual([
      'PREROUTING eth0 -',
      'INPUT eth0 -',
      'OUTPUT - eth1',
      'POSTROUTING - eth1',
      'POSTROUTING - eth1',
      'PREROUTING eth1 -',
      'INPUT eth1 -',
    ])
    expect(left.map((f) => f.dev)).toEqual(['eth1'])
  })
})

test('whatever the frames, nothing throws and no slot is lost', () => {
  const random = new SeededRandom(0x5eed)
  const pieces = fragment(udp({ ...across, dst: '10.0.0.1', payload: 900 }), 300)
  const good = [
    udp(across),
    udp({ ...across, dst: '10.0.0.1' }),
    tcp({ ...across, flags: 'SA' }),
    tcp({ ...across, dst: '10.0.0.1', flags: 'S' }),
    icmp({
      src: '10.0.0.5',
      dst: '10.0.0.1',
      type: 8,
      payload: 20,
      options: [7, 11, 4, 0, 0, 0, 0, 0, 0, 0, 0],
    }),
    icmpError(3, 4, udp({ ...across, src: '10.0.0.1', dst: '10.0.0.5' }), {
      src: '10.0.0.9',
      dst: '10.0.0.1',
    }),
    udp({ ...across, options: [131, 7, 4, 10, 1, 0, 1] }),
    udp({ ...across, payload: 3000 }),
    ...pieces,
  ]
  const fates = new Map<string, number>()
  for (let n = 0; n < 100_000; n++) {
    const base = good[random.below(good.length)]!
    const frame = random.below(8) === 0 ? base : damage(base, random)
    const slot = memory.take()
    if (slot < 0) throw new Error(`out of slots at frame ${n}`)
    pkt.reset()
    pkt.slot = slot
    pkt.limit = slot + memory.stride
    pkt.l3 = slot + HEADROOM
    pkt.end = pkt.l3 + frame.length
    memory.bytes.set(frame, pkt.l3)
    const fate = FATE_NAMES[host.path.receive(pkt, random.below(2) === 0 ? eth0 : eth1)]!
    fates.set(fate, (fates.get(fate) ?? 0) + 1)
    left.length = 0
    host.now += 1
    if (n % 64 === 0) host.fragments.tick()
  }
  host.now += 100_000
  host.fragments.tick()
  expect(memory.free).toBe(SLOTS)
  expect([...fates.keys()].sort()).toEqual(['consumed', 'delivered', 'dropped', 'forwarded', 'replied'])
})

test('forwarding allocates nothing', () => {
  setFlagsFromString('--expose-gc')
  const gc = runInNewContext('gc') as () => void
  const frame = udp(across)
  host.egress = { send: (_dev, _off, _len, slot) => memory.give(slot), flush: () => {} }
  const run = (count: number): void => {
    for (let n = 0; n < count; n++) {
      const slot = memory.take()
      pkt.reset()
      pkt.slot = slot
      pkt.limit = slot + memory.stride
      pkt.l3 = slot + HEADROOM
      pkt.end = pkt.l3 + frame.length
      memory.bytes.set(frame, pkt.l3)
      memory.view.setInt32(pkt.l3 + 12, 0x0a000002 + (n & 63))
      memory.view.setUint16(pkt.l3 + 10, 0)
      let sum = 0
      for (let i = 0; i < 20; i += 2) sum += memory.view.getUint16(pkt.l3 + i)
      memory.view.setUint16(pkt.l3 + 10, ~((sum & 0xffff) + (sum >>> 16)))
      host.path.receive(pkt, eth0)
    }
  }
  run(50_000)
  // The least of three: now and then something else in the process takes a megabyte.
  const grown = [0, 1, 2].map(() => {
    gc()
    const before = process.memoryUsage().heapUsed
    run(300_000)
    return process.memoryUsage().heapUsed - before
  })
  expect(host.counters.ip4[IpStat.OutForwDatagrams]).toBe(950_000)
  // A single word for each packet would be 2.4 MB.
  expect(Math.min(...grown)).toBeLessThan(1_000_000)
})
