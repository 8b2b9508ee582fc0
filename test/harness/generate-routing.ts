// Routing for the scenarios that are about it: several tables, policy rules that ask for everything a rule can, several
// next hops, types that refuse, source addresses to prefer; sysctls that go with them, packets from anywhere to
// anywhere, and changes while the host runs.

import type { Wire } from './conversation.ts'
import type { SeededRandom } from './frames.ts'
import type { Networks } from './generate-world.ts'
import { anyDevice, common, type Maker, some } from './noise.ts'
import { type Family, numbered, type ScenarioDevice } from './scenario.ts'

const TABLES = [100, 101, 102]

interface Parts {
  readonly family: Family
  readonly random: SeededRandom
  readonly net: Networks
  readonly devices: readonly ScenarioDevice[]
  readonly marks: readonly number[]
  readonly ports: readonly number[]
}

/** Somebody on the link of an interface: an address of one of its subnets, as far as one can tell from its text. */
function neighbours(p: Parts): readonly { readonly address: string; readonly dev: string }[] {
  const remote = p.family === 4 ? /^(198\.|8\.|93\.|1\.)/ : /^(2001:db8:f|26|2001:48|2a|2001:db8:5555)/
  return p.net.peers.filter((peer) => !remote.test(peer.address))
}

/** A prefix that packets will go to: of the world, around somebody, or all. */
function destination(p: Parts): string {
  const { random, net, family } = p
  switch (random.below(6)) {
    case 0:
      return 'default'
    case 1:
      return random.pick(net.prefixes.filter((x) => !x.startsWith('fe80')))
    case 2:
      return family === 4 ? random.pick(['198.18.0.0/15', '8.0.0.0/7', '192.0.2.0/24']) : net.far
    default: {
      const peer = random.pick(net.peers.filter((x) => !x.address.startsWith('fe80'))) ?? net.peers[0]!
      return `${peer.address}/${family === 4 ? 32 : 128}`
    }
  }
}

function hop(p: Parts): string {
  const { random, devices } = p
  const near = neighbours(p)
  if (near.length === 0 || random.once(3)) return ` dev ${random.pick(devices).name}`
  const { address, dev } = random.pick(near)
  return ` via ${address} dev ${dev}`
}

/** One route for `ip route add`, without what is the same for two of them: `taken` is told. */
function route(p: Parts, taken: Set<string>): string | null {
  const { random, family, net } = p
  const dst = destination(p)
  const table = random.once(3) ? 'main' : String(random.pick(TABLES))
  const metric = random.once(3) ? ` metric ${random.pick([1, 2, 50])}` : ''
  const tos = family === 4 && random.once(5) ? ` tos ${random.pick(['0x04', '0x08', '0x10'])}` : ''
  const key = `${dst} ${table}${metric}${tos}`
  if (taken.has(key)) return null
  taken.add(key)
  const tail = ` table ${table}${tos}${metric}`
  if (random.once(5))
    return `${random.pick(['throw', 'throw', 'blackhole', 'unreachable', 'prohibit'])} ${dst}${tail}`
  if (dst !== 'default' && random.once(16)) return `local ${dst} dev lo${tail}`
  if (random.once(3)) {
    const hops = Array.from({ length: 2 + random.below(2) }, () => hop(p))
    const unique = [...new Set(hops)].filter((h) => family === 4 || h.includes(' via '))
    if (unique.length > 1)
      return `${dst}${tail}${unique.map((h) => ` nexthop${h} weight ${random.pick([1, 1, 2, 5])}`).join('')}`
  }
  // Of IPv6 an address counts only once the kernel has had time to look for another of its kind.
  const source = family === 4 && net.own.length > 0 && random.once(4) ? ` src ${random.pick(net.own)}` : ''
  const mtu = random.once(12) ? ` mtu ${random.pick([1300, 1400])}` : ''
  return `${dst}${hop(p)}${tail}${source}${mtu}`
}

/** One rule for `ip rule add`. */
function rule(p: Parts, priority: number): string {
  const { random, net, devices, marks, ports, family } = p
  const what: string[] = []
  const maybe = (oneIn: number, text: () => string): void => {
    if (random.once(oneIn)) what.push(text())
  }
  const somebody = (): string =>
    random.pick([random.pick(net.prefixes), random.pick(net.peers).address, random.pick(net.own), net.far])
  const range = (): string => {
    const port = random.pick(ports)
    return random.once(2) ? String(port) : `${port}-${port + 1000}`
  }
  maybe(4, () => `from ${somebody()}`)
  maybe(4, () => `to ${somebody()}`)
  maybe(4, () => `fwmark ${random.pick(marks)}${random.once(2) ? '/0xff' : ''}`)
  maybe(6, () => `iif ${random.pick([...devices.map((d) => d.name), 'lo'])}`)
  maybe(10, () => `oif ${random.pick(devices).name}`)
  maybe(8, () => `tos ${random.pick(['0x04', '0x08', '0x10'])}`)
  maybe(8, () => `ipproto ${random.pick(['tcp', 'udp', family === 4 ? 'icmp' : 'ipv6-icmp'])}`)
  maybe(8, () => `dport ${range()}`)
  maybe(10, () => `sport ${range()}`)
  const not = random.once(8) && what.length > 0 ? 'not ' : ''
  const head = `${not}${what.join(' ')} priority ${priority}`
  switch (random.below(12)) {
    case 0:
      return `${head} ${random.pick(['unreachable', 'prohibit', 'blackhole'])}`
    case 1:
      return `${head} goto ${random.pick([32766, priority + 10, 5000])}`
    case 2:
      return `${head} nop`
    case 3:
      return `${head} lookup main suppress_prefixlength ${random.pick([0, 8, 16, 24, 64])}`
    case 4:
      return `${head} lookup ${random.pick(TABLES)} suppress_ifgroup ${random.pick([0, 7])}`
    case 5:
      return `${head} lookup ${random.pick(['main', 'local', 'default'])}`
    default:
      return `${head} lookup ${random.pick(TABLES)}`
  }
}

/** Routes and rules besides those that the world has. */
export function addRouting(p: Parts): { routes: string[]; rules: string[] } {
  const { random } = p
  const routes: string[] = []
  // What the world has already.
  const taken = new Set<string>(['default main', 'default 100'])
  for (const text of [...p.net.routes, ...p.net.prefixes])
    taken.add(
      `${text.replace(/^(blackhole|unreachable|prohibit|throw|local|anycast) /, '').split(' ')[0]} main`,
    )
  for (let n = 3 + random.below(8); n > 0; n--) {
    const text = route(p, taken)
    if (text !== null) routes.push(text)
  }
  const rules: string[] = []
  let priority = 10
  if (!random.once(5))
    for (let n = 1 + random.below(6); n > 0; n--) {
      rules.push(rule(p, priority))
      priority += random.pick([5, 10, 990])
    }
  return { routes, rules }
}

/**
 * Routes of IPv6 that only packets from somewhere take (`from`), as a host has them that several providers gave prefixes:
 * beside routes for all, with narrower ones below, and without either.
 */
export function addSourceRoutes(p: Parts): string[] {
  const { random, net } = p
  const routes = new Map<string, string>()
  const sources = [
    ...net.prefixes.filter((x) => !x.startsWith('fe80')),
    ...net.peers.filter((x) => !x.address.startsWith('fe80')).map((x) => x.address),
    ...net.own,
    net.far,
    '2000::/3',
    '2000::/4',
    '::/1',
  ]
  for (let n = 1 + random.below(5); n > 0; n--) {
    const dst = random.once(2) ? 'default' : destination(p)
    const to = `${dst} from ${random.pick(sources)}`
    const tail = random.once(4) ? ` table ${random.pick(TABLES)}` : ''
    const metric = random.once(4) ? ` metric ${random.pick([1, 2, 50])}` : ''
    const mtu = random.once(6) ? ` mtu ${random.pick([1280, 1300, 1400])}` : ''
    const what = random.once(6)
      ? `${random.pick(['throw', 'blackhole', 'unreachable', 'prohibit'])} ${to}`
      : `${to}${hop(p)}${mtu}`
    routes.set(`${to}${tail}${metric}`, `${what}${tail}${metric}`)
  }
  return [...routes.values()]
}

/** Sysctls, besides those that every world may have, by name. */
export function routingSysctls(
  random: SeededRandom,
  family: Family,
  devices: readonly ScenarioDevice[],
): Record<string, string> {
  const out: Record<string, string> = { 'net.ipv4.fib_multipath_hash_seed': String(1 + random.below(1e6)) }
  const set = (name: string, value: number): void => {
    out[name] = String(value)
  }
  if (random.once(2)) set(`net.ipv${family}.fib_multipath_hash_policy`, random.below(4))
  if (random.once(3)) set(`net.ipv${family}.fib_multipath_hash_fields`, 1 + random.below(0xffe))
  if (family === 6) return out
  for (const scope of ['all', ...devices.map((d) => d.name.replaceAll('.', '/'))])
    for (const [name, values] of [
      ['rp_filter', [0, 1, 2]],
      ['src_valid_mark', [0, 1]],
      ['accept_local', [0, 1]],
      ['accept_source_route', [0, 1]],
      ['log_martians', [0, 1]],
    ] as const)
      if (random.once(scope === 'all' ? 8 : 4)) set(`net.ipv4.conf.${scope}.${name}`, random.pick(values))
  return out
}

/** Anybody to anybody, in at any interface, with any TOS. */
function anywhere(w: Wire): ReturnType<Maker> {
  const { random, world } = w
  const from = random.pick(world.peers)
  const others = [
    ...world.peers.map((p) => p.address),
    ...world.own,
    ...world.broadcasts,
    ...world.refused,
    ...world.virtual,
  ]
  const src = random.once(8) ? random.pick(others) : from.address
  return {
    dev: random.once(4) ? anyDevice(w) : from.dev,
    frame: some(w, src, random.pick(others), {
      ...common(w),
      tos: random.pick([0, 0, 0x04, 0x08, 0x10, 0x1c, 0x20, 0xb8, 0xff]),
      ...(random.once(12) ? { ttl: random.pick([1, 2]) } : {}),
    }),
    note: 'anybody to anybody',
  }
}

export const ROUTING_MAKERS: Readonly<Record<string, Maker>> = { anywhere }

/** A command that changes where packets go. */
export function drawRoutingChange({ world, random }: Wire): string[] {
  const family = `-${world.family}`
  const words = (text: string): string[] => text.split(' ').filter((w) => w !== '')
  const device = random.pick(numbered(world))
  switch (random.below(6)) {
    case 0:
      if (world.routes.length === 0) return ['ip', family, 'rule', 'del', 'priority', '10']
      return ['ip', family, 'route', 'del', ...words(random.pick(world.routes))]
    case 1:
      if (world.routes.length === 0) return ['ip', family, 'rule', 'del', 'priority', '10']
      return ['ip', family, 'route', 'replace', ...words(random.pick(world.routes))]
    case 2:
      if (world.rules.length === 0) return ['ip', family, 'rule', 'add', 'priority', '7', 'nop']
      return ['ip', family, 'rule', 'del', ...words(random.pick(world.rules))]
    case 3:
      return ['ip', family, 'route', 'append', 'default', 'dev', device.name, 'metric', '77']
    case 4: {
      // Nor does it join those of routers in silence.
      const key = world.family === 4 ? random.pick(['forwarding', 'rp_filter']) : 'accept_source_route'
      const name = device.name.replaceAll('.', '/')
      return ['sysctl', '-qw', `net.ipv${world.family}.conf.${name}.${key}=${random.below(2)}`]
    }
    default:
      // Of IPv6 the kernel would tell its neighbours which groups it leaves.
      if (world.family === 6)
        return [
          'ip',
          family,
          'route',
          'add',
          'unreachable',
          'default',
          'metric',
          String(70 + random.below(20)),
        ]
      return ['ip', family, 'addr', 'del', words(random.pick(device.addresses))[0]!, 'dev', device.name]
  }
}
