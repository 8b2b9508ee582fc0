// The host of a random scenario, and the world around it: who lives behind which interface.
//
//     hosts, remote nets ── eth0 ─┐          ┌─ wan0 ── hosts, remote nets, default route
//     hosts ─────────────── lan0 ─┴── host ──┴─ veth1 ── hosts
//
// Everything later drawn (rules, traffic) takes its addresses, ports and names from here, so that rules match.

import { formatIpv4, parseIpv4 } from '../../datapath/wire/address.ts'
import { SeededRandom } from './frames.ts'
import { addRouting, addSourceRoutes, routingSysctls } from './generate-routing.ts'
import { addressOf, type Family, type ScenarioDevice } from './scenario.ts'
import { CONF6, FRAGMENT_SYSCTLS6, networks6, SYSCTLS6 } from './world-ipv6.ts'

/** What a scenario is mostly about. */
export const KINDS = [
  'filtering',
  'state',
  'nat',
  'mangle',
  'local',
  'fragments',
  'mixed',
  'extensions',
  'sets',
  'helpers',
  'routing',
  'h323',
] as const
export type Kind = (typeof KINDS)[number]

/** A kind, of IPv6 with `v6-` before it; `both`: extensions of both families on one host. */
export const PROFILES = [...KINDS, ...KINDS.map((kind) => `v6-${kind}` as const), 'both' as const]
export type Profile = (typeof PROFILES)[number]

/** Of the profile with both families, the first one. */
export function kindOf(profile: Profile): { readonly kind: Kind; readonly family: Family } {
  if (profile === 'both') return { kind: 'extensions', family: 4 }
  return profile.startsWith('v6-')
    ? { kind: profile.slice(3) as Kind, family: 6 }
    : { kind: profile as Kind, family: 4 }
}

/** An independent stream of randomness: drawing more from one leaves the others as they were. */
export function stream(seed: number, name: string): SeededRandom {
  let h = 0x811c9dc5 ^ (seed | 0)
  for (const c of `${name}/${seed}`) h = Math.imul(h ^ c.charCodeAt(0), 0x01000193)
  const random = new SeededRandom(h ^ (h >>> 15))
  for (let i = 0; i < 8; i++) random.u32()
  return random
}

/** A neighbour, or somebody behind a route: `dev` is where their packets come in. */
export interface Peer {
  readonly address: string
  readonly dev: string
}

/** Addresses and routes: what is drawn by family. */
export interface Networks {
  readonly devices: readonly ScenarioDevice[]
  readonly routes: readonly string[]
  readonly peers: readonly Peer[]
  /** Addresses of the host itself. */
  readonly own: readonly string[]
  /** Broadcast addresses; of IPv6 anycast ones. */
  readonly broadcasts: readonly string[]
  /** Prefixes worth naming in rules. */
  readonly prefixes: readonly string[]
  /** Public addresses that nobody has: for SNAT and for DNAT of a virtual address; they route back to the host. */
  readonly virtual: readonly string[]
  /** Destinations of routes that refuse. */
  readonly refused: readonly string[]
  /** Covers the networks behind routers. */
  readonly far: string
}

export interface World extends Networks {
  readonly family: Family
  /** Whether the scenario has sets. */
  readonly sets: boolean
  readonly rules: readonly string[]
  readonly sysctls: Readonly<Record<string, string>>
  readonly clientPorts: readonly number[]
  readonly serverPorts: readonly number[]
  readonly marks: readonly number[]
}

const NAMES = ['eth0', 'eth1', 'wan0', 'lan0', 'veth1', 'eth2.2', 'cali12ab34', 'tun7', 'ppp0', 'br-lan']
const MTUS = [1500, 1500, 1500, 1500, 1500, 1500, 1500, 9000, 1400, 1280, 576, 296, 100, 68]

const words = (text: string): number => parseIpv4(text)!
const host = (net: string, n: number): string => formatIpv4((words(net) + n) | 0)
const masked = (address: string, prefix: number): string =>
  formatIpv4(prefix === 0 ? 0 : words(address) & (-1 << (32 - prefix)))

export function shuffled<T>(list: readonly T[], random: SeededRandom): T[] {
  const out = [...list]
  for (let i = out.length - 1; i > 0; i--) {
    const j = random.below(i + 1)
    ;[out[i], out[j]] = [out[j]!, out[i]!]
  }
  return out
}

/** The realm of a route, for the match of that name. */
const realm = (random: SeededRandom, profile: Kind): string =>
  profile === 'extensions' && random.once(2) ? ` realm ${random.pick(['3', '7', '7/3'])}` : ''

/** The group of the device with this number, for the match of that name. */
function group(seed: number, at: number, profile: Kind): { group?: number } {
  const random = stream(seed + at, 'groups')
  return (profile === 'extensions' || profile === 'routing') && random.once(2)
    ? { group: random.pick([1, 4, 5, 7]) }
    : {}
}

/** What `ip addr` may say of an address besides, now and then. */
const manner = (random: SeededRandom, name: string): string =>
  random.once(8)
    ? ` ${random.pick(['scope link', 'scope link', 'scope 200', 'noprefixroute', 'metric 77', `label ${name}:1`])}`
    : ''

function networks4(random: SeededRandom, profile: Kind, names: readonly string[]): Networks {
  const devices: ScenarioDevice[] = []
  const peers: Peer[] = []
  const own: string[] = []
  const broadcasts: string[] = []
  const prefixes: string[] = []
  const routes: string[] = []
  const virtual: string[] = []
  const refused: string[] = []
  const smallMtu = profile === 'fragments' || profile === 'mixed' || random.once(4)

  names.forEach((name, i) => {
    const prefix = random.pick([24, 24, 24, 24, 16, 25, 28, 29, 30, 31])
    const base = masked(
      random.pick([`10.${i}.${random.below(4)}.0`, `192.168.${i}.0`, `172.${16 + i}.8.0`, `100.64.${i}.0`]),
      prefix,
    )
    const room = prefix === 31 ? 2 : 2 ** (32 - prefix)
    const first = prefix === 31 ? 0 : 1
    const mine = random.once(4) && room > 8 ? room - 2 : first
    const brd = prefix < 31 && random.once(2) ? ' brd +' : ''
    const addresses = [`${host(base, mine)}/${prefix}${brd}${manner(random, name)}`]
    own.push(host(base, mine))
    prefixes.push(`${base}/${prefix}`)
    if (prefix < 31) broadcasts.push(host(base, room - 1), base)
    const taken = new Set([mine])
    if (random.once(4) && room > 16) {
      // A secondary address of the same subnet.
      taken.add(9)
      addresses.push(`${host(base, 9)}/${prefix}`)
      own.push(host(base, 9))
    }
    if (random.once(4)) {
      const second = `203.0.113.${i * 64}`
      addresses.push(`${host(second, 1)}/26${manner(random, name)}`)
      own.push(host(second, 1))
      prefixes.push(`${second}/26`)
      peers.push({ address: host(second, 5), dev: name })
    }
    if (random.once(8)) {
      addresses.push(`10.200.${i}.1 peer 10.200.${i}.2/32`)
      own.push(`10.200.${i}.1`)
      peers.push({ address: `10.200.${i}.2`, dev: name })
    }
    for (let n = first, made = 0; n < room - first && made < 3; n += 1 + random.below(3)) {
      if (taken.has(n)) continue
      peers.push({ address: host(base, n), dev: name })
      made++
    }
    if (prefix === 31) peers.push({ address: host(base, 1), dev: name })
    if (random.once(3)) {
      // A network behind a router on this interface.
      const net = `198.18.${i * 16}.0`
      const via = random.once(3)
        ? ''
        : ` via ${host(base, mine === 0 ? 1 : mine === 1 && prefix === 31 ? 0 : mine + 1)}`
      const viaFits = via === '' || mine + 1 < room - first
      routes.push(
        `${net}/20${viaFits ? via : ''} dev ${name}${random.once(5) ? ` mtu ${random.pick([500, 1000, 1300])}` : ''}${realm(random, profile)}`,
      )
      prefixes.push(`${net}/20`)
      peers.push(
        { address: `198.18.${i * 16 + 3}.7`, dev: name },
        { address: `198.18.${i * 16 + 9}.80`, dev: name },
      )
    }
    const mtu = smallMtu ? random.pick(MTUS) : random.pick([1500, 1500, 1500, 1500, 9000, 1400])
    devices.push({ name, mtu, addresses })
  })

  const wan = random.pick(devices)
  if (!random.once(6)) {
    const { address, prefix } = addressOf(wan.addresses[0]!)
    const base = masked(address, prefix)
    const gateway = [1, 2, 3, 0]
      .map((n) => host(base, n))
      .find((a) => a !== address && (prefix === 31 || a !== base))!
    const on = prefix < 31 || peers.some((p) => p.address === gateway)
    const via = random.once(2) || !on ? '' : ` via ${gateway}`
    routes.push(`default${via} dev ${wan.name}${realm(random, profile)}`)
    peers.push(
      { address: '8.8.8.8', dev: wan.name },
      { address: '93.184.216.34', dev: wan.name },
      { address: '1.1.1.1', dev: wan.name },
    )
  }
  // Two small subnets may have nobody but the host.
  if (peers.length === 0) peers.push({ address: '198.19.0.7', dev: wan.name })
  for (const type of ['blackhole', 'unreachable', 'prohibit'])
    if (random.once(3)) {
      const net = { blackhole: '198.51.100.0', unreachable: '198.51.100.64', prohibit: '198.51.100.128' }[
        type
      ]!
      routes.push(`${type} ${net}/26`)
      refused.push(host(net, 7))
    }
  for (let i = 0; i < 3; i++) virtual.push(`192.0.2.${10 + i}`)
  if (random.once(2)) virtual.push(...own.filter(() => random.once(2)))
  if (random.once(8)) routes.push(`local 192.0.2.200 dev ${random.pick(devices).name}`)
  return { devices, peers, own, broadcasts, prefixes, routes, virtual, refused, far: '198.18.0.0/15' }
}

/** Now and then an interface has no address, of IPv6 none but link-local ones, and routes lead to its neighbours. */
function unnumbered(net: Networks, seed: number, family: Family): Networks {
  const random = stream(seed, 'unnumbered')
  if (net.devices.length < 2 || !random.once(8)) return net
  const { name } = random.pick(net.devices.slice(1))
  const stays = (words: string): boolean => words.startsWith('fe80')
  const gone = new Set<string>()
  const devices = net.devices.map((device) => {
    if (device.name !== name) return device
    for (const words of device.addresses) if (!stays(words)) gone.add(addressOf(words).address)
    return { ...device, addresses: device.addresses.filter(stays) }
  })
  const near = net.peers.filter((p) => p.dev === name && !stays(p.address))
  const hosts = near.map(({ address }) => `${address}/${family === 4 ? 32 : 128} dev ${name}`)
  const routes = net.routes.map((route) =>
    route.includes(` dev ${name}`) ? route.replace(/ via (?!fe80)\S+/, '') : route,
  )
  return {
    ...net,
    devices,
    routes: [...new Set([...hosts, ...routes])],
    own: net.own.filter((address) => !gone.has(address)),
  }
}

export function makeWorld(seed: number, profile: Kind, family: Family = 4): World {
  const random = stream(seed, 'topology')
  const names = shuffled(NAMES, random).slice(0, 2 + random.below(3))
  const net = unnumbered((family === 4 ? networks4 : networks6)(random, profile, names), seed, family)
  const { peers, prefixes } = net
  const devices = net.devices.map((d, i) => ({ ...d, ...group(seed, i, profile) }))
  const routes = [...net.routes]
  const rules: string[] = []
  const marks = shuffled([1, 2, 0x10, 0x4000, 0x10000, 0xff], random).slice(0, 3)
  if (random.once(profile === 'mangle' ? 2 : 5)) {
    const other = random.pick(devices)
    routes.push(`default dev ${other.name} table 100`)
    const what = random.pick([
      `fwmark 0x${random.pick(marks).toString(16)}`,
      `fwmark 0x${random.pick(marks).toString(16)}/0xff`,
      `from ${random.pick(peers).address}`,
      `from ${random.pick(prefixes)}`,
      `to ${random.pick(peers).address}`,
      `iif ${random.pick(devices).name}`,
      'tos 0x10',
      `not from ${random.pick(prefixes)}`,
    ])
    rules.push(`${what} table 100 priority 1000`)
    if (random.once(3))
      rules.push(
        `to ${random.pick(peers).address} ${random.pick(['prohibit', 'unreachable', 'blackhole'])} priority 900`,
      )
    if (random.once(5)) routes.push(`throw ${net.far} table 100`)
  }

  const home = stream(seed, 'home')
  if ((profile === 'extensions' || profile === 'mangle' || profile === 'local') && home.once(6)) {
    // Somebody's packets, the host's own among them, are for this host whoever they are for.
    const mtu = home.once(2) ? ` mtu ${home.pick([1280, 1300, 1400, 9000])}` : ''
    routes.push(`local default dev lo table 110${mtu}`)
    const what = home.pick([
      `fwmark 0x${home.pick(marks).toString(16)}`,
      `fwmark 0x${home.pick(marks).toString(16)}`,
      `iif lo to ${home.pick(peers).address}`,
      `iif lo ipproto ${home.pick(family === 4 ? ['icmp', 'tcp'] : ['ipv6-icmp', 'tcp'])}`,
      `iif lo fwmark 0/0x${home.pick(marks).toString(16)}`,
      // Type and code of an answer or an error stand where the destination's port is.
      `iif lo dport ${home.pick(family === 4 ? ['1-255', '768-1023', '2048-3000'] : ['256-1023', '33024'])}`,
      `iif lo${home.pick(['', ' ipproto tcp'])} ${home.pick(['sport 22-8080', 'dport 500-61000'])}`,
      `ipproto ${home.pick(['tcp', 'udp'])} sport ${home.pick(['22-8080', '500-61000'])} iif ${home.pick(devices).name}`,
    ])
    rules.push(`${what} lookup 110 priority 1100`)
  }

  const clientPorts = shuffled([1024, 40000, 50123, 33333, 1000, 500, 61000, 2048], random).slice(0, 4)
  const serverPorts = shuffled([80, 443, 53, 22, 8080, 5201, 30080, 1001], random).slice(0, 4)
  const sysctls = makeSysctls(seed, profile, family, devices)
  // Extensions meet policy routing too.
  if (profile === 'routing' || (profile === 'extensions' && stream(seed, 'routes besides').once(4))) {
    const own = stream(seed, 'routing')
    const ports = [...clientPorts, ...serverPorts]
    const more = addRouting({ random: own, family, net, devices, marks, ports })
    routes.push(...more.routes)
    rules.push(...more.rules)
    Object.assign(sysctls, routingSysctls(own, family, devices))
  }
  const sources = stream(seed, 'sources')
  if (family === 6 && sources.once(profile === 'routing' ? 2 : 5))
    routes.push(...addSourceRoutes({ random: sources, family, net, devices, marks, ports: [] }))
  if (family === 4 && (profile === 'extensions' || profile === 'routing'))
    rules.push(...ruleRealms(stream(seed, 'rule realms'), rules, net))
  const sets = profile === 'sets' || (profile === 'extensions' && stream(seed, 'sets besides').once(3))
  return { ...net, devices, family, sets, routes, rules, sysctls, clientPorts, serverPorts, marks }
}

/** Gives realms to some of `rules`, in place; and more rules, which have nothing else to say. */
function ruleRealms(random: SeededRandom, rules: string[], { peers, prefixes }: Networks): string[] {
  if (!random.once(3)) return []
  const realms = (): string => ` realms ${random.pick(['3', '7', '5/3', '7/3', '5/0', '3/7'])}`
  for (const [i, rule] of rules.entries())
    if (!/ (prohibit|unreachable|blackhole|goto|nop|realms) /.test(rule) && random.once(2))
      rules[i] = rule.replace(/(?= priority )/, realms())
  const one = (priority: number): string => {
    const where = random.pick([
      `from ${random.pick(prefixes)}`,
      `to ${random.pick(prefixes)}`,
      `from ${random.pick(peers).address}`,
      `to ${random.pick(peers).address}`,
      'tos 0x10',
      'iif lo',
      '',
    ])
    return `${where} lookup main${realms()} priority ${priority}`.trimStart()
  }
  return Array.from({ length: 1 + random.below(3) }, (_, i) => one(1200 + i))
}

/** Sysctls of both families: `[one in, name, values]`. */
const BESIDES: readonly (readonly [number, string, readonly number[]])[] = [
  [3, 'net.ipv4.icmp_echo_enable_probe', [1]],
  [12, 'net.ipv4.route.mtu_expires', [1]],
  [12, 'net.ipv4.route.min_pmtu', [68, 1000]],
  [12, 'net.ipv6.route.mtu_expires', [1]],
  [12, 'net.ipv6.conf.all.ndisc_tclass', [0x10, 255]],
  [12, 'net.ipv6.conf.default.ndisc_tclass', [0x20]],
  [12, 'net.ipv6.conf.all.suppress_frag_ndisc', [0]],
  [12, 'net.netfilter.nf_conntrack_sctp_timeout_cookie_echoed', [1, 77]],
  [12, 'net.netfilter.nf_conntrack_sctp_timeout_shutdown_sent', [1, 77]],
  [12, 'net.netfilter.nf_conntrack_sctp_timeout_shutdown_recd', [2, 77]],
  [12, 'net.netfilter.nf_conntrack_sctp_timeout_shutdown_ack_sent', [1, 77]],
  [6, 'net.netfilter.nf_conntrack_timestamp', [1]],
]

function makeSysctls(
  seed: number,
  profile: Kind,
  family: Family,
  devices: readonly ScenarioDevice[],
): Record<string, string> {
  const random = stream(seed, 'sysctls')
  const out: Record<string, string> = {}
  // First: writing it resets the forwarding of every interface.
  if (!random.once(16)) out[family === 4 ? 'net.ipv4.ip_forward' : 'net.ipv6.conf.all.forwarding'] = '1'
  const maybe = (oneIn: number, name: string, values: readonly (number | string)[]): void => {
    if (random.once(oneIn)) out[name] = String(random.pick(values))
  }
  const conf = (key: string, oneIn: number, values: readonly number[]): void => {
    const names = devices.map((d) => d.name.replaceAll('.', '/'))
    // Of IPv6, "all" is no default for what interfaces say; of forwarding it is drawn above.
    const all = family === 4 || key !== 'forwarding' ? ['all'] : []
    for (const name of [...all, ...names]) maybe(oneIn, `net.ipv${family}.conf.${name}.${key}`, values)
  }
  const fragments = profile === 'fragments' ? 3 : 12
  // The lower one is the higher one's least.
  const threshold = (prefix: string): void => {
    if (!random.once(fragments)) return
    out[`${prefix}low_thresh`] = '0'
    out[`${prefix}high_thresh`] = String(random.pick([0, 1000, 3000, 10_000, 40_000]))
  }
  if (family === 6) {
    for (const [oneIn, key, values] of CONF6) conf(key, oneIn, values)
    for (const [oneIn, name, values] of SYSCTLS6) maybe(oneIn, name, values)
    for (const [name, values] of FRAGMENT_SYSCTLS6) maybe(fragments, name, values)
    threshold('net.ipv6.ip6frag_')
    threshold('net.netfilter.nf_conntrack_frag6_')
  } else {
    conf('forwarding', 24, [0, 1])
    conf('rp_filter', 6, [0, 1, 2])
    conf('accept_local', 10, [0, 1])
    conf('route_localnet', 12, [0, 1])
    conf('send_redirects', 6, [0, 1])
    conf('accept_source_route', 12, [0, 1])
    conf('src_valid_mark', 20, [0, 1])
    conf('bc_forwarding', 20, [0, 1])
    conf('secure_redirects', 20, [0, 1])
    conf('shared_media', 20, [0, 1])
    maybe(10, 'net.ipv4.ip_default_ttl', [1, 32, 128, 255])
    maybe(16, 'net.ipv4.icmp_echo_ignore_all', [1])
    maybe(10, 'net.ipv4.icmp_echo_ignore_broadcasts', [0])
    maybe(10, 'net.ipv4.icmp_errors_use_inbound_ifaddr', [1])
    maybe(16, 'net.ipv4.ip_no_pmtu_disc', [1, 2])
    maybe(16, 'net.ipv4.ip_forward_use_pmtu', [1])
    maybe(16, 'net.ipv4.fwmark_reflect', [1])
    maybe(fragments, 'net.ipv4.ipfrag_time', [1, 2])
    maybe(fragments, 'net.ipv4.ipfrag_max_dist', [0, 1, 2, 5])
    threshold('net.ipv4.ipfrag_')
  }
  const besides = stream(seed, 'sysctls besides')
  for (const [oneIn, name, values] of BESIDES)
    if (besides.once(oneIn) && (family === 6 || !name.startsWith('net.ipv6.')))
      out[name] = String(besides.pick(values))
  maybe(2, 'net.netfilter.nf_conntrack_acct', [1])
  maybe(8, 'net.netfilter.nf_conntrack_tcp_loose', [0])
  maybe(8, 'net.netfilter.nf_conntrack_tcp_be_liberal', [1])
  maybe(10, 'net.netfilter.nf_conntrack_tcp_ignore_invalid_rst', [1])
  maybe(8, 'net.netfilter.nf_conntrack_checksum', [0])
  maybe(10, 'net.netfilter.nf_conntrack_tcp_max_retrans', [1, 2, 5])
  // What an expired master expected ends when Linux's collector comes by: none expires here.
  const t = profile === 'state' ? 5 : 12
  for (const name of [
    'udp_timeout',
    'udp_timeout_stream',
    family === 4 ? 'icmp_timeout' : 'icmpv6_timeout',
    'generic_timeout',
    'gre_timeout',
    'gre_timeout_stream',
    'sctp_timeout_closed',
    'sctp_timeout_cookie_wait',
    'sctp_timeout_established',
    'sctp_timeout_heartbeat_sent',
  ])
    maybe(
      t,
      `net.netfilter.nf_conntrack_${name}`,
      profile === 'helpers' || profile === 'h323' ? [77] : [1, 2, 77],
    )
  for (const name of [
    'syn_sent',
    'syn_recv',
    'established',
    'fin_wait',
    'close_wait',
    'last_ack',
    'time_wait',
    'close',
    'max_retrans',
    'unacknowledged',
  ])
    maybe(
      t * 2,
      `net.netfilter.nf_conntrack_tcp_timeout_${name}`,
      profile === 'helpers' || profile === 'h323' ? [55] : [1, 2, 55],
    )
  // Commands add routes with several next hops too.
  out['net.ipv4.fib_multipath_hash_seed'] = String(1 + stream(seed, 'hash seed').below(1e6))
  return family === 4 ? { ...out, ...limits(seed, profile) } : out
}

/** What bounds how often the host says something, milliseconds and bits by type; off unless drawn. */
function limits(seed: number, profile: Kind): Record<string, string> {
  const random = stream(seed, 'limits')
  const out: Record<string, string> = {}
  const maybe = (oneIn: number, name: string, values: readonly number[]): void => {
    if (random.once(oneIn)) out[`net.ipv4.${name}`] = String(random.pick(values))
  }
  if (random.once(profile === 'local' || profile === 'routing' ? 3 : 10)) {
    maybe(1, 'icmp_ratelimit', [1, 40, 250, 1000, 10_000])
    maybe(1, 'icmp_ratemask', [0x1818, 0x1818, 0x1fffff, 1 << 3, 1 << 5, 1])
  }
  maybe(12, 'ip_forward_update_priority', [0])
  maybe(12, 'icmp_ignore_bogus_error_responses', [0])
  return out
}
