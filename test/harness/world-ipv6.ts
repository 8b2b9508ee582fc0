// The networks of an IPv6 host: addresses of every scope at each interface, who lives there, and the way to the rest.
//
//     fe80::/64       at nearly every interface; neighbours too, and next hops of routes
//     fd00:…          unique local addresses
//     2001:db8:…      global ones, from a /48 down to a single address; …:: is the anycast address of routers

import type { SeededRandom } from './frames.ts'
import type { Kind, Networks, Peer } from './generate-world.ts'
import type { ScenarioDevice } from './scenario.ts'

const MTUS = [1500, 1500, 1500, 1500, 1500, 9000, 1400, 1300, 1281, 1280, 1280]

/** Host parts: small ones, one made of a hardware address, one with its last bits full. */
const HOSTS = ['2', '3', '5', 'a', '53', '200:5eff:fe00:5301', 'ffff:ffff', '1234:5678:9abc:def0']

/** An address in a prefix whose text ends in `::`. */
const inside = (base: string, host: string): string => {
  const groups = base.slice(0, -2).split(':').length + host.split(':').length
  return groups >= 8 ? `${base.slice(0, -2)}:${host}` : `${base}${host}`
}

export function networks6(random: SeededRandom, kind: Kind, names: readonly string[]): Networks {
  const devices: ScenarioDevice[] = []
  const peers: Peer[] = []
  const own: string[] = []
  const anycasts: string[] = []
  const prefixes: string[] = ['fe80::/64']
  const routes: string[] = []
  const refused: string[] = []
  const smallMtu = kind === 'fragments' || kind === 'mixed' || random.once(3)

  names.forEach((name, i) => {
    const length = random.pick([64, 64, 64, 64, 64, 48, 80, 112, 120, 126, 127])
    const global = random.once(3) ? `fd00:${i + 1}::` : `2001:db8:${i + 1}::`
    const addresses: string[] = []
    const mine = random.pick(['1', '1', '1', 'ff', '200:5eff:fe00:5300'])
    // What the prefix has no room for.
    const narrow = length > 112 || (length > 64 && mine.length > 4)
    const host = narrow ? '1' : mine
    const linkLocal = !random.once(8)
    if (linkLocal) {
      addresses.push(`fe80::${i + 1}/64`)
      own.push(`fe80::${i + 1}`)
      peers.push({ address: `fe80::99:${i}`, dev: name })
      if (random.once(3)) peers.push({ address: `fe80::200:5eff:fe00:530${i}`, dev: name })
    }
    addresses.push(`${inside(global, host)}/${length}${manner(random)}`)
    own.push(inside(global, host))
    prefixes.push(`${global}/${length}`)
    if (length < 127) anycasts.push(global)
    const others =
      length === 127
        ? ['0']
        : length === 126
          ? ['2', '3']
          : HOSTS.filter((h) => length <= 64 || (length < 112 ? h.split(':').length < 3 : h.length < 4))
    for (const other of others.filter((h) => h !== host))
      if (random.once(2) || length >= 126)
        peers.push({ address: other === '0' ? global : inside(global, other), dev: name })
    if (random.once(4)) {
      const second = random.once(2) ? `fd77:${i}::` : `2001:db8:77${i}::`
      addresses.push(`${second}1/64${manner(random)}`)
      own.push(`${second}1`)
      prefixes.push(`${second}/64`)
      anycasts.push(second)
      peers.push({ address: `${second}5`, dev: name })
    }
    if (random.once(4)) {
      addresses.push(`${inside(global, host).replace(/[0-9a-f]+$/, 'e')}/128`)
      own.push(inside(global, host).replace(/[0-9a-f]+$/, 'e'))
    }
    if (random.once(6)) {
      // Of other kinds: site-local, 6to4, Teredo, another of the same prefix.
      const other = random.pick([
        `fec0::${i + 1}:1/64`,
        `2002:c000:20${i}::1/48`,
        `2001:0:${i + 1}::1/64`,
        ...(length <= 64 ? [`${inside(global, 'cafe')}/${length}`] : []),
      ])
      addresses.push(`${other}${manner(random)}`)
      own.push(other.replace(/\/.*/, ''))
    }
    if (random.once(8)) {
      addresses.push(`2001:db8:200:${i}::1 peer 2001:db8:200:${i}::2/128`)
      own.push(`2001:db8:200:${i}::1`)
      peers.push({ address: `2001:db8:200:${i}::2`, dev: name })
    }
    if (random.once(2)) {
      const net = `2001:db8:f${i}::`
      const via = random.pick([
        '',
        linkLocal ? ` via fe80::99:${i}` : '',
        length === 64 ? ` via ${inside(global, '53')}` : '',
      ])
      const mtu = random.once(4) ? ` mtu ${random.pick([1280, 1280, 1300, 1400])}` : ''
      routes.push(`${net}/48${via} dev ${name}${mtu}`)
      prefixes.push(`${net}/48`)
      peers.push(
        { address: `2001:db8:f${i}:3::7`, dev: name },
        { address: `2001:db8:f${i}:9::80`, dev: name },
      )
    }
    devices.push({
      name,
      mtu: smallMtu ? random.pick(MTUS) : random.pick([1500, 1500, 1500, 9000, 1400]),
      addresses: unique(addresses),
    })
  })

  const wan = random.pick(devices)
  if (!random.once(6)) {
    const neighbour = peers.find(
      (p) => p.dev === wan.name && (p.address.startsWith('fe80') || random.once(3)),
    )
    const via = random.once(2) || neighbour === undefined ? '' : ` via ${neighbour.address}`
    routes.push(`default${via} dev ${wan.name}`)
    for (const address of ['2606:4700:4700::1111', '2001:4860:4860::8888', '2a00:1450:4001:81b::200e'])
      peers.push({ address, dev: wan.name })
  }
  if (peers.length === 0) peers.push({ address: '2001:db8:5555::7', dev: wan.name })
  for (const [i, type] of ['blackhole', 'unreachable', 'prohibit', 'throw'].entries())
    if (random.once(3)) {
      routes.push(`${type} 2001:db8:dea${i}::/48`)
      refused.push(`2001:db8:dea${i}::7`)
    }
  if (random.once(8)) {
    routes.push(`local 2001:db8:10ca::1 dev ${random.pick(devices).name}`)
    own.push('2001:db8:10ca::1')
  }
  if (random.once(10)) {
    routes.push(`anycast 2001:db8:aaaa::1 dev ${random.pick(devices).name}`)
    anycasts.push('2001:db8:aaaa::1')
  }
  const virtual = ['2001:db8:beef::10', '2001:db8:beef::11', 'fd99::12']
  if (random.once(2)) virtual.push(...own.filter((a) => !a.startsWith('fe80') && random.once(2)))
  return {
    devices,
    peers: peers.filter((p) => !own.includes(p.address)),
    own,
    broadcasts: anycasts,
    prefixes,
    routes,
    virtual,
    refused,
    far: '2001:db8:f0::/44',
  }
}

/** What `ip addr` may say of an address besides, now and then: no longer preferred, its prefix is not on the link … */
const manner = (random: SeededRandom): string =>
  random.once(5)
    ? ` ${random.pick(['preferred_lft 0', 'preferred_lft 0', 'noprefixroute', 'metric 77', 'nodad', 'home'])}`
    : ''

const unique = (list: readonly string[]): string[] => [...new Set(list)]

/** Drawn into a scenario's sysctls: `[one in, name, values]`; of `conf` for `all` and each interface. */
export const CONF6: readonly (readonly [number, string, readonly number[]])[] = [
  [30, 'forwarding', [0, 1]],
  [20, 'force_forwarding', [0, 1]],
  [12, 'accept_source_route', [0, 1]],
  [30, 'hop_limit', [1, 32, 255]],
  [40, 'drop_unicast_in_l2_multicast', [1]],
  [40, 'disable_policy', [1]],
  [24, 'use_oif_addrs_only', [1]],
]

export const SYSCTLS6: readonly (readonly [number, string, readonly number[]])[] = [
  [16, 'net.ipv6.icmp.echo_ignore_all', [1]],
  [10, 'net.ipv6.icmp.echo_ignore_multicast', [1]],
  [10, 'net.ipv6.icmp.echo_ignore_anycast', [1]],
  [10, 'net.ipv6.icmp.error_anycast_as_unicast', [1]],
  [10, 'net.ipv6.anycast_src_echo_reply', [1]],
  [16, 'net.ipv6.fwmark_reflect', [1]],
  [16, 'net.ipv6.flowlabel_reflect', [1, 2, 4, 7]],
  [16, 'net.ipv6.max_hbh_length', [8, 16]],
  [16, 'net.ipv6.max_dst_opts_length', [8, 16]],
  [16, 'net.ipv6.max_hbh_opts_number', [0, 1, 2, -1]],
  [16, 'net.ipv6.max_dst_opts_number', [0, 1, 2, -1]],
]

/** More often where the scenario is about fragments. */
export const FRAGMENT_SYSCTLS6: readonly (readonly [string, readonly number[]])[] = [
  ['net.ipv6.ip6frag_time', [1, 2]],
  ['net.netfilter.nf_conntrack_frag6_timeout', [1, 2]],
]
