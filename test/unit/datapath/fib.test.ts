import { beforeEach, describe, expect, test } from 'vitest'
import { Devices } from '../../../datapath/device-table.ts'
import { type Address, type Device, Scope } from '../../../datapath/devices.ts'
import {
  Fib,
  newFlowKey,
  type Route,
  RouteError,
  RouteFailure,
  RouteType,
  type Words,
} from '../../../datapath/fib.ts'
import { FrameMemory } from '../../../datapath/ring.ts'
import { Tunables } from '../../../datapath/tunables.ts'
import { Ipv4Conf } from '../../../datapath/tunables-ipv4.ts'
import { formatIpv4, parseIpv4, parseIpv6, prefixMask4 } from '../../../datapath/wire/address.ts'

const memory = new FrameMemory(1, 2048)
let tunables: Tunables
let devices: Devices
let fib: Fib
let eth0: Device
let eth1: Device

beforeEach(() => {
  tunables = new Tunables()
  devices = new Devices(tunables)
  fib = new Fib(devices, memory, new Ipv4Conf())
  devices.addAddress(devices.loopback, address('127.0.0.1/8', { scope: Scope.Host }))
  eth0 = devices.add('eth0', 1500)
  eth1 = devices.add('eth1', 1400)
})

const ip = (text: string): number => parseIpv4(text)!

function address(text: string, more: Partial<Address> = {}): Address {
  const [word, length] = text.split('/')
  return {
    family: 4,
    words: [ip(word!), 0, 0, 0],
    prefixLength: Number(length),
    broadcast: null,
    peer: null,
    scope: 0,
    secondary: false,
    label: null,
    ...more,
  }
}

const prefix = (text: string): { dst: Words; prefixLength: number } => {
  const [word, length] = text.split('/')
  return { dst: [ip(word!), 0, 0, 0], prefixLength: Number(length ?? 32) }
}

const TYPES = [
  'unspec',
  'unicast',
  'local',
  'broadcast',
  'anycast',
  'multicast',
  'blackhole',
  'unreachable',
  'prohibit',
]

/** As `ip route` prints them, roughly. */
function show(route: Route | null): string {
  if (route === null) return 'none'
  const type = route.type === RouteType.Unicast ? '' : `${TYPES[route.type]} `
  const via = route.gateway === null ? '' : ` via ${formatIpv4(route.gateway[0])}`
  const dev = route.device === null ? '' : ` dev ${route.device.name}`
  const src = route.source === null ? '' : ` src ${formatIpv4(route.source[0])}`
  const metric = route.metric === 0 ? '' : ` metric ${route.metric}`
  return `${type}${formatIpv4(route.dst[0])}/${route.prefixLength}${via}${dev}${src}${metric}`
}

const list = (table: number): string[] => fib.routes(4, table).map(show)

interface Ask {
  from?: string
  tos?: number
  mark?: number
  iif?: string
  oif?: string
  protocol?: number
  sport?: number
  dport?: number
}

function look(to: string, ask: Ask = {}): Route | null {
  const key = newFlowKey()
  key.d0 = ip(to)
  if (ask.from) key.s0 = ip(ask.from)
  key.tos = ask.tos ?? 0
  key.mark = ask.mark ?? 0
  key.iif = ask.iif ? devices.byName(ask.iif)!.index : 0
  key.oif = ask.oif ? devices.byName(ask.oif)!.index : 0
  key.protocol = ask.protocol ?? 0
  key.sport = ask.sport ?? 0
  key.dport = ask.dport ?? 0
  return fib.lookup(key)
}
const way = (to: string, ask?: Ask): string => show(look(to, ask))

describe('routes that follow from addresses (fib_add_ifaddr), as the kernel printed them', () => {
  test('/24, secondary, /31, /32, peer, broadcast', () => {
    devices.addAddress(eth0, address('10.0.0.1/24'))
    devices.addAddress(eth0, address('10.0.0.2/24'))
    devices.addAddress(eth0, address('10.1.0.1/31'))
    devices.addAddress(eth0, address('10.2.0.1/32'))
    devices.addAddress(eth0, address('10.3.0.1/24', { peer: ip('10.4.0.1') }))
    devices.addAddress(eth0, address('10.5.0.1/24', { broadcast: ip('10.5.0.255') }))
    expect(list(254)).toEqual([
      '10.0.0.0/24 dev eth0 src 10.0.0.1',
      '10.1.0.0/31 dev eth0 src 10.1.0.1',
      '10.4.0.0/24 dev eth0 src 10.3.0.1',
      '10.5.0.0/24 dev eth0 src 10.5.0.1',
    ])
    expect(list(255)).toEqual([
      'local 10.0.0.1/32 dev eth0 src 10.0.0.1',
      'local 10.0.0.2/32 dev eth0 src 10.0.0.1',
      'broadcast 10.0.0.255/32 dev eth0 src 10.0.0.1',
      'local 10.1.0.1/32 dev eth0 src 10.1.0.1',
      'local 10.2.0.1/32 dev eth0 src 10.2.0.1',
      'local 10.3.0.1/32 dev eth0 src 10.3.0.1',
      'broadcast 10.4.0.255/32 dev eth0 src 10.3.0.1',
      'local 10.5.0.1/32 dev eth0 src 10.5.0.1',
      'broadcast 10.5.0.255/32 dev eth0 src 10.5.0.1',
      'local 127.0.0.0/8 dev lo src 127.0.0.1',
      'local 127.0.0.1/32 dev lo src 127.0.0.1',
      'broadcast 127.255.255.255/32 dev lo src 127.0.0.1',
    ])
  })

  test('a link that is down has its local routes only; they come back with it', () => {
    devices.addAddress(eth0, address('10.0.0.1/24'))
    fib.addRoute({ ...prefix('0.0.0.0/0'), gateway: [ip('10.0.0.9'), 0, 0, 0], device: eth0 })
    const up = list(255)
    devices.setUp(eth0, false)
    expect(list(254)).toEqual([])
    expect(list(255)[0]).toBe('local 10.0.0.1/32 dev eth0 src 10.0.0.1')
    devices.setUp(eth0, true)
    expect(list(255)).toEqual(up)
    // Routes put in by hand are gone for good.
    expect(list(254)).toEqual(['10.0.0.0/24 dev eth0 src 10.0.0.1'])
  })

  test('an address that goes takes its routes, its secondaries, and what preferred it', () => {
    devices.addAddress(eth0, address('10.0.0.1/24'))
    devices.addAddress(eth0, address('10.0.0.2/24'))
    devices.addAddress(eth1, address('10.9.0.1/24'))
    fib.addRoute({ ...prefix('192.0.2.0/24'), device: eth1, source: [ip('10.0.0.2'), 0, 0, 0] })
    devices.removeAddress(eth0, address('10.0.0.1/24'))
    expect(eth0.addresses).toEqual([])
    expect(list(254)).toEqual(['10.9.0.0/24 dev eth1 src 10.9.0.1'])
  })

  test('promote_secondaries', () => {
    devices.addAddress(eth0, address('10.0.0.1/24'))
    devices.addAddress(eth0, address('10.0.0.2/24'))
    devices.addAddress(eth0, address('10.0.0.3/24'))
    tunables.set('net.ipv4.conf.eth0.promote_secondaries', 1)
    devices.removeAddress(eth0, address('10.0.0.1/24'))
    expect(eth0.addresses.map((a) => [a.words[0] & 0xff, a.secondary])).toEqual([
      [2, false],
      [3, true],
    ])
    expect(list(254)).toEqual(['10.0.0.0/24 dev eth0 src 10.0.0.2'])
    expect(list(255).slice(0, 3)).toEqual([
      'local 10.0.0.2/32 dev eth0 src 10.0.0.2',
      'local 10.0.0.3/32 dev eth0 src 10.0.0.2',
      'broadcast 10.0.0.255/32 dev eth0 src 10.0.0.2',
    ])
  })

  test('the same subnet on two devices: the first stays first', () => {
    devices.addAddress(eth0, address('10.0.0.1/24'))
    devices.addAddress(eth1, address('10.0.0.2/24'))
    devices.addAddress(eth0, address('10.7.0.1/24'))
    expect(way('10.0.0.77')).toBe('10.0.0.0/24 dev eth0 src 10.0.0.1')
    expect(way('10.0.0.77', { oif: 'eth1' })).toBe('10.0.0.0/24 dev eth1 src 10.0.0.2')
    devices.remove(eth0)
    expect(way('10.0.0.77')).toBe('10.0.0.0/24 dev eth1 src 10.0.0.2')
    expect(way('10.7.0.77')).toBe('none')
  })
})

test('address types', () => {
  devices.addAddress(eth0, address('10.0.0.1/24'))
  const type = (text: string, dev = 0): string => TYPES[fib.addressType(4, ip(text), 0, 0, 0, dev)]!
  expect(
    [
      '10.0.0.1',
      '10.0.0.2',
      '10.0.0.0',
      '10.0.0.255',
      '127.9.9.9',
      '0.0.0.0',
      '255.255.255.255',
      '224.0.0.9',
      '8.8.8.8',
    ].map((a) => type(a)),
  ).toEqual([
    'local',
    'unicast',
    'unicast',
    'broadcast',
    'local',
    'broadcast',
    'broadcast',
    'multicast',
    'unicast',
  ])
  expect([type('10.0.0.1', eth0.index), type('10.0.0.1', eth1.index)]).toEqual(['local', 'unicast'])
})

describe('tables', () => {
  beforeEach(() => {
    devices.addAddress(eth0, address('10.0.0.1/24'))
    devices.addAddress(eth1, address('10.1.0.1/24'))
  })

  test('longest prefix, metric, tos', () => {
    const via = (host: string): Words => [ip(host), 0, 0, 0]
    fib.addRoute({ ...prefix('0.0.0.0/0'), gateway: via('10.0.0.9') })
    fib.addRoute({ ...prefix('0.0.0.0/0'), gateway: via('10.1.0.9'), metric: 100 })
    fib.addRoute({ ...prefix('192.0.2.0/24'), gateway: via('10.1.0.9') })
    fib.addRoute({ ...prefix('192.0.2.0/24'), gateway: via('10.1.0.8'), tos: 0x10 })
    fib.addRoute({ ...prefix('192.0.2.128/25'), type: RouteType.Unreachable })
    expect(way('8.8.8.8')).toBe('0.0.0.0/0 via 10.0.0.9 dev eth0')
    expect(way('192.0.2.1')).toBe('192.0.2.0/24 via 10.1.0.9 dev eth1')
    expect(way('192.0.2.1', { tos: 0x10 })).toBe('192.0.2.0/24 via 10.1.0.8 dev eth1')
    expect(way('192.0.2.1', { tos: 0xf3 })).toBe('192.0.2.0/24 via 10.1.0.8 dev eth1')
    expect(way('192.0.2.129')).toBe('unreachable 192.0.2.128/25')
    expect(fib.failure).toBe(RouteFailure.HostUnreach)
    fib.deleteRoute({ ...prefix('0.0.0.0/0'), device: eth0 })
    expect(way('8.8.8.8')).toBe('0.0.0.0/0 via 10.1.0.9 dev eth1 metric 100')
  })

  test('routes to parts of a block of 256 addresses, which else has one way', () => {
    const via = (host: string): Words => [ip(host), 0, 0, 0]
    fib.addRoute({ ...prefix('192.0.0.0/16'), gateway: via('10.0.0.9') })
    const all = '192.0.0.0/16 via 10.0.0.9 dev eth0'
    expect([way('192.0.2.1'), way('192.0.2.200')]).toStrictEqual([all, all])
    const part = { ...prefix('192.0.2.192/26'), gateway: via('10.1.0.9') }
    fib.addRoute(part)
    expect([way('192.0.2.1'), way('192.0.2.200')]).toStrictEqual([
      all,
      '192.0.2.192/26 via 10.1.0.9 dev eth1',
    ])
    fib.deleteRoute(part)
    expect([way('192.0.2.200'), way('192.0.2.1'), way('192.0.2.0')]).toStrictEqual([all, all, all])
  })

  test('what `ip route` refuses', () => {
    const code = (what: () => unknown): string => {
      try {
        what()
      } catch (e) {
        return (e as RouteError).code
      }
      return 'none'
    }
    const route = { ...prefix('192.0.2.0/24'), device: eth0 }
    fib.addRoute(route)
    expect(code(() => fib.addRoute({ ...route, device: eth1 }))).toBe('EEXIST')
    expect(code(() => fib.addRoute(route, 'append'))).toBe('EEXIST')
    expect(code(() => fib.addRoute({ ...route, device: eth1 }, 'append'))).toBe('none')
    expect(code(() => fib.addRoute({ ...route, metric: 1 }, 'change'))).toBe('ENOENT')
    expect(code(() => fib.addRoute({ ...route, dst: [ip('192.0.2.1'), 0, 0, 0] }))).toBe('EINVAL')
    expect(code(() => fib.addRoute({ ...prefix('9.9.9.0/24'), gateway: [ip('44.0.0.1'), 0, 0, 0] }))).toBe(
      'ENETUNREACH',
    )
    expect(code(() => fib.deleteRoute(prefix('9.9.9.0/24')))).toBe('ESRCH')
    fib.addRoute({ ...route, source: [ip('10.0.0.1'), 0, 0, 0] }, 'replace')
    expect(list(254).filter((r) => r.startsWith('192'))).toEqual([
      '192.0.2.0/24 dev eth0 src 10.0.0.1',
      '192.0.2.0/24 dev eth1',
    ])
  })

  test('source of what is sent', () => {
    devices.addAddress(eth0, address('10.5.0.1/24'))
    const source = (to: string): string => {
      const key = newFlowKey()
      key.d0 = ip(to)
      const route = fib.output(key)
      return route === null ? 'none' : `${route.device!.name} ${formatIpv4(key.s0)}`
    }
    fib.addRoute({ ...prefix('9.0.0.0/8'), gateway: [ip('10.5.0.9'), 0, 0, 0] })
    fib.addRoute({ ...prefix('11.0.0.0/8'), device: eth1 })
    fib.addRoute({ ...prefix('12.0.0.0/8'), device: eth1, source: [ip('10.0.0.1'), 0, 0, 0] })
    expect(
      ['9.9.9.9', '11.1.1.1', '12.1.1.1', '10.0.0.7', '10.0.0.1', '127.0.0.3', '13.0.0.1'].map(source),
    ).toEqual([
      'eth0 10.5.0.1',
      'eth1 10.1.0.1',
      'eth1 10.0.0.1',
      'eth0 10.0.0.1',
      'lo 10.0.0.1',
      'lo 127.0.0.1',
      'none',
    ])
  })

  test('several next hops share by weight, and a flow keeps its own', () => {
    const hop = (device: Device, gateway: string, weight: number) => ({
      device,
      gateway: [ip(gateway), 0, 0, 0] as Words,
      weight,
    })
    fib.addRoute({ ...prefix('0.0.0.0/0'), nexthops: [hop(eth0, '10.0.0.9', 1), hop(eth1, '10.1.0.9', 3)] })
    let first = 0
    for (let i = 0; i < 4000; i++) {
      const from = formatIpv4(0x0b000000 + i * 7919)
      const route = look('8.8.8.8', { from })!
      expect(look('8.8.8.8', { from })).toBe(route)
      if (route.device === eth0) first++
    }
    expect(first).toBeGreaterThan(800)
    expect(first).toBeLessThan(1200)
    expect(way('8.8.8.8', { oif: 'eth1' })).toBe('0.0.0.0/0 via 10.1.0.9 dev eth1')
  })
})

describe('policy rules', () => {
  beforeEach(() => {
    devices.addAddress(eth0, address('10.0.0.1/24'))
    fib.addRoute({ ...prefix('0.0.0.0/0'), device: eth0 })
    fib.addRoute({ ...prefix('0.0.0.0/0'), device: eth1, table: 100 })
  })
  const device = (ask: Ask): string | undefined => look('8.8.8.8', ask)?.device?.name

  test('selectors', () => {
    const rule = { action: 'lookup', table: 100 } as const
    const source = { words: [ip('10.2.0.0'), 0, 0, 0] as Words, prefixLength: 16 }
    const cases: [object, Ask, Ask][] = [
      [{ source }, { from: '10.2.3.4' }, { from: '10.3.3.4' }],
      [{ source, not: true }, { from: '10.3.3.4' }, { from: '10.2.3.4' }],
      [{ destination: { ...source, words: [ip('8.0.0.0'), 0, 0, 0], prefixLength: 8 } }, {}, { oif: 'eth0' }],
      [{ mark: 5, markMask: 0xff }, { mark: 0x105 }, { mark: 6 }],
      [{ iif: 'eth1' }, { iif: 'eth1' }, { iif: 'eth0' }],
      [{ iif: 'lo' }, {}, { iif: 'eth0' }],
      [{ oif: 'eth1' }, { oif: 'eth1' }, {}],
      [{ tos: 0x08 }, { tos: 0x08 }, { tos: 0x10 }],
      [
        { protocol: 6, destinationPorts: [80, 90] },
        { protocol: 6, dport: 85 },
        { protocol: 6, dport: 91 },
      ],
      [{ sourcePorts: [80, 80] }, { sport: 80 }, { sport: 79 }],
      [{ iif: 'gone0', not: true }, { iif: 'eth0' }, { oif: 'eth0' }],
    ]
    for (const [selector, hit, miss] of cases) {
      fib.addRule({ ...rule, ...selector, priority: 1000 })
      expect(device(hit), JSON.stringify(selector)).toBe('eth1')
      expect(device(miss), `${JSON.stringify(selector)} missed`).toBe('eth0')
      fib.deleteRule({ priority: 1000 })
      expect(device(hit.oif ? {} : hit)).toBe('eth0')
    }
  })

  test('actions, goto, suppress_prefixlength', () => {
    fib.addRule({ action: 'lookup', table: 254, suppressPrefixLength: 0, priority: 100 })
    fib.addRule({ action: 'goto', target: 300, mark: 1, markMask: 1, priority: 200 })
    fib.addRule({ action: 'unreachable', priority: 250 })
    fib.addRule({ action: 'lookup', table: 100, priority: 300 })
    expect(device({ mark: 1 })).toBe('eth1')
    expect([device({}), fib.failure]).toEqual([undefined, RouteFailure.NetUnreach])
    expect(way('10.0.0.7')).toBe('10.0.0.0/24 dev eth0 src 10.0.0.1')
    fib.addRule({ action: 'prohibit', priority: 50 })
    expect([device({}), fib.failure]).toEqual([undefined, RouteFailure.Prohibited])
    fib.addRule({ action: 'blackhole', priority: 40 })
    expect([device({}), fib.failure]).toEqual([undefined, RouteFailure.Invalid])
    expect(fib.rules(4).map((r) => r.priority)).toEqual([0, 40, 50, 100, 200, 250, 300, 32766, 32767])
    expect(way('10.0.0.1')).toMatch(/^local/)
  })

  test('priority left out: before what is second', () => {
    expect(fib.addRule({ action: 'lookup', table: 7 }).priority).toBe(32765)
    expect(fib.addRule({ action: 'lookup', table: 8 }).priority).toBe(32764)
    expect(() => fib.addRule({ action: 'lookup', table: 8, priority: 32764 })).toThrow(RouteError)
  })

  test('an interface that a rule names may come later', () => {
    fib.addRule({ action: 'lookup', table: 100, iif: 'eth7', priority: 9 })
    const eth7 = devices.add('eth7', 1500)
    expect(device({ iif: 'eth7' })).toBe('eth1')
    devices.remove(eth7)
    expect(device({ iif: 'eth0' })).toBe('eth0')
  })

  test('throw goes on with the next rule', () => {
    fib.addRoute({ ...prefix('8.0.0.0/8'), type: RouteType.Throw, table: 100 })
    fib.addRule({ action: 'lookup', table: 100, priority: 10 })
    expect(device({})).toBe('eth0')
  })
})

test('without rules of its own a host has local and main in one trie: a longer prefix in main wins', () => {
  devices.addAddress(eth0, address('10.0.0.1/24'))
  fib.addRoute({ ...prefix('127.0.5.0/24'), device: eth0 })
  expect(way('127.0.5.1')).toBe('127.0.5.0/24 dev eth0')
  fib.addRule({ action: 'lookup', table: 9, priority: 5 })
  expect(way('127.0.5.1')).toMatch(/^local 127/)
})

describe('against the definition', () => {
  let seed = 1
  const random = (n: number): number => {
    seed = Math.imul(seed ^ (seed >>> 15), 0x2c1b3c6d) + 0x9e3779b9
    let h = seed
    h ^= h << 13
    h ^= h >>> 17
    h ^= h << 5
    return (h >>> 0) % n
  }

  test('longest prefix match, with routes coming and going', () => {
    for (let round = 0; round < 20; round++) {
      beforeRound()
      const routes: Route[] = []
      for (let step = 0; step < 300; step++) {
        if (routes.length > 0 && random(4) === 0) {
          const [gone] = routes.splice(random(routes.length), 1)
          fib.deleteRoute(gone!)
        } else {
          const length = [0, 8, 9, 12, 16, 20, 24, 25, 30, 31, 32][random(11)]!
          const word = (random(4) << 24) | (random(4) << 20) | (random(16) << 8) | random(256)
          const spec = {
            dst: [(word + 0x0a000000) & prefixMask4(length), 0, 0, 0] as Words,
            prefixLength: length,
            device: [eth0, eth1][random(2)]!,
            metric: random(3),
          }
          try {
            routes.push(fib.addRoute(spec))
          } catch (e) {
            expect((e as RouteError).code).toBe('EEXIST')
          }
        }
        for (let i = 0; i < 5; i++) {
          const word = ((random(4) << 24) | (random(4) << 20) | (random(16) << 8) | random(256)) + 0x0a000000
          const best = routes
            .filter((r) => ((r.dst[0] ^ word) & prefixMask4(r.prefixLength)) === 0)
            .sort((a, b) => b.prefixLength - a.prefixLength || a.metric - b.metric)[0]
          expect(way(formatIpv4(word))).toBe(show(best ?? null))
        }
      }
    }
  })

  function beforeRound(): void {
    fib.flushRoutes(4)
  }

  test('IPv6 prefixes', () => {
    const word = (text: string): Words => parseIpv6(text)!
    const add = (text: string, dev: Device): void => {
      const [a, length] = text.split('/')
      fib.addRoute({ family: 6, dst: word(a!), prefixLength: Number(length), device: dev })
    }
    add('::/0', eth0)
    add('2001:db8::/32', eth1)
    add('2001:db8:0:1::/64', eth0)
    add('2001:db8:0:1::8/125', eth1)
    const to = (text: string): string => {
      const key = newFlowKey()
      key.family = 6
      ;[key.d0, key.d1, key.d2, key.d3] = word(text)
      const route = fib.lookup(key)!
      return `${route.prefixLength} ${route.device!.name}`
    }
    expect(['2001:db9::1', '2001:db8:9::1', '2001:db8:0:1::1', '2001:db8:0:1::f'].map(to)).toEqual([
      '0 eth0',
      '32 eth1',
      '64 eth0',
      '125 eth1',
    ])
  })

  test('100,000 routes: each is found where the cache has others', () => {
    for (let i = 0; i < 100_000; i++)
      fib.addRoute({ dst: [0x0a000000 + (i << 8), 0, 0, 0], prefixLength: 24, device: eth0 }, 'append')
    const key = newFlowKey()
    for (let i = 0; i < 100_000; i++) {
      key.d0 = 0x0a000000 + ((Math.imul(i, 7919) % 100_000) << 8) + 1
      if (fib.find(key)?.prefixLength !== 24) throw new Error(`lost ${formatIpv4(key.d0)}`)
    }
  })
})
