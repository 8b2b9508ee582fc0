// What somebody does to a host while it runs: links, addresses, routes, policy rules, sysctls, and connections put in,
// changed and taken out by hand.

import type { Wire } from './conversation.ts'
import { headersOf, u16 } from './headers.ts'
import { addressOf, numbered, type StepRun } from './scenario.ts'

const words = (text: string): string[] => text.split(' ').filter((w) => w !== '')

/** Text, now and then. */
const maybe = (random: Wire['random'], oneIn: number, text: () => string): string =>
  random.once(oneIn) ? ` ${text()}` : ''

const deviceOf = ({ world, random }: Wire): string => random.pick(world.devices).name

/** A neighbour, to send through; of IPv6 as often as not a link-local one. */
function gateway({ world, random }: Wire): string {
  const { address, dev } = random.pick(world.peers)
  const lan = world.peers.filter((p) => p.address.startsWith('fe80'))
  const near = lan.length > 0 && random.once(2) ? random.pick(lan) : { address, dev }
  const via = world.family === 4 && random.once(16) ? 'inet6 fe80::77' : near.address
  return `via ${via} dev ${random.once(8) ? random.pick(world.devices).name : near.dev}`
}

function prefix({ world, random }: Wire): string {
  const { address } = random.pick(world.peers)
  const bits = world.family === 4 ? [32, 32, 30, 28, 24, 16, 8] : [128, 128, 126, 112, 64, 48, 32]
  return random.pick([
    `${address}/${random.pick(bits)}`,
    `${address}/${random.pick(bits)}`,
    random.pick(world.prefixes),
    random.pick(world.own),
    random.pick(world.virtual),
    'default',
  ])
}

const TABLES = ['main', 'main', 'main', '100', '101', 'local']

/** Words behind `ip route add` and its kin, with all that a route may say. */
function route(w: Wire): string {
  const { world, random } = w
  const four = world.family === 4
  const types = four
    ? ['blackhole', 'unreachable', 'prohibit', 'throw', 'local', 'broadcast', 'multicast', 'anycast']
    : ['blackhole', 'unreachable', 'prohibit', 'throw', 'local', 'anycast']
  const to = prefix(w) + (four ? '' : maybe(random, 5, () => `from ${prefix(w)}`))
  const tail =
    maybe(random, 2, () => `table ${random.pick(TABLES)}`) +
    maybe(random, 3, () => `metric ${random.pick([0, 1, 50, 256, 1024, 4096])}`) +
    (four ? maybe(random, 8, () => `tos ${random.pick(['0x04', '0x08', '0x10', '0x1c'])}`) : '') +
    maybe(random, 8, () => `proto ${random.pick(['static', 'boot', 'kernel', '77'])}`)
  const metrics =
    maybe(
      random,
      6,
      () => `mtu ${random.once(3) ? 'lock ' : ''}${random.pick([1280, 1300, 1400, 9000, 68])}`,
    ) +
    maybe(random, 8, () => `hoplimit ${random.pick([0, 1, 7, 255])}`) +
    maybe(random, 12, () => `advmss ${random.pick([500, 1200])}`) +
    maybe(random, 20, () => `features ecn`)
  if (random.once(4)) {
    const type = random.pick(types)
    const where = ['local', 'broadcast', 'multicast', 'anycast'].includes(type)
      ? ` dev ${random.once(3) ? 'lo' : deviceOf(w)}`
      : ''
    return `${type} ${to}${where}${tail}${metrics}`
  }
  if (random.once(5)) {
    const hops = Array.from(
      { length: 2 + random.below(2) },
      () =>
        ` nexthop ${random.once(four ? 3 : 99) ? `dev ${deviceOf(w)}` : gateway(w)} weight ${random.pick([1, 1, 3, 100])}${maybe(random, 6, () => 'onlink')}`,
    )
    return `${to}${tail}${metrics}${hops.join('')}`
  }
  const hop = random.once(3) ? `dev ${deviceOf(w)}` : gateway(w) + maybe(random, 5, () => 'onlink')
  const scope = four ? maybe(random, 8, () => `scope ${random.pick(['link', 'host', 'global', 'site'])}`) : ''
  const source = four ? maybe(random, 5, () => `src ${random.pick(world.own)}`) : ''
  return `${to} ${hop}${tail}${scope}${source}${metrics}`
}

function routeCommand(w: Wire): string[] {
  const { world, random } = w
  const ip = ['ip', `-${world.family}`, 'route']
  switch (random.below(10)) {
    case 0:
      if (world.routes.length === 0) break
      return [...ip, 'del', ...words(random.pick(world.routes))]
    case 1:
      return [
        ...ip,
        'del',
        ...words(prefix(w) + (world.family === 6 ? maybe(random, 4, () => `from ${prefix(w)}`) : '')),
      ]
    case 2:
      return [
        ...ip,
        'flush',
        // The cache of IPv6 is flushed for ever (iproute2 6.1).
        ...random.pick([
          ['table', random.pick(['100', '101'])],
          ['root', prefix(w)],
          ['dev', deviceOf(w), 'proto', 'static'],
          world.family === 4 ? ['cache'] : ['root', 'fe80::/64'],
        ]),
      ]
  }
  return [...ip, random.pick(['add', 'add', 'append', 'prepend', 'replace', 'change']), ...words(route(w))]
}

function ruleCommand(w: Wire): string[] {
  const { world, random } = w
  const ip = ['ip', `-${world.family}`, 'rule']
  if (world.rules.length > 0 && random.once(6)) return [...ip, 'del', ...words(random.pick(world.rules))]
  const ports = [...world.clientPorts, ...world.serverPorts]
  const selector =
    maybe(random, 3, () => `from ${prefix(w)}`) +
    maybe(random, 3, () => `to ${prefix(w)}`) +
    maybe(random, 5, () => `fwmark ${random.pick(world.marks)}${random.once(2) ? '/0xff' : ''}`) +
    maybe(random, 5, () => `iif ${random.once(3) ? 'lo' : deviceOf(w)}`) +
    maybe(random, 10, () => `oif ${deviceOf(w)}`) +
    maybe(random, 8, () => `tos ${random.pick(['0x04', '0x10'])}`) +
    maybe(random, 6, () => `ipproto ${random.pick(['tcp', 'udp', '1', '58', '132'])}`) +
    maybe(random, 8, () => `sport ${random.pick(ports)}`) +
    maybe(random, 8, () => `dport ${random.pick(['1-1023', random.pick(ports)])}`)
  const action = random.pick([
    'lookup main',
    'lookup 100',
    'lookup 101',
    'lookup local',
    'unreachable',
    'prohibit',
    'blackhole',
    'lookup main suppress_prefixlength 0',
    'lookup main suppress_prefixlength 24',
    'goto 32766',
    'nop',
  ])
  const priority = random.pick([1, 5, 99, 1000, 1001, 20000])
  return [
    ...ip,
    'add',
    ...words(`${random.once(10) && selector !== '' ? 'not' : ''}${selector} priority ${priority} ${action}`),
  ]
}

/** Addresses and links of IPv4; those of IPv6 would tell their neighbours. */
function linkCommand(w: Wire): string[] {
  const { world, random } = w
  const name = deviceOf(w)
  const ip = ['ip', '-4', 'addr']
  const own = random.pick(random.pick(numbered(world)).addresses)
  switch (random.below(8)) {
    case 0:
      return ['ip', 'link', 'set', 'dev', name, 'down']
    case 1:
    case 2:
      return ['ip', 'link', 'set', 'dev', name, 'up']
    case 3:
      return [...ip, 'del', own.replace(/ .*/, ''), 'dev', name]
    case 4:
      return random.once(3)
        ? [...ip, 'flush', 'dev', name]
        : ['ip', 'link', 'set', 'dev', name, 'group', random.pick(['0', '1', '7'])]
  }
  const address = random.pick([
    addressOf(own).address,
    random.pick(world.virtual),
    random.pick(world.prefixes).replace(/\/.*/, ''),
    random.pick(world.peers).address,
    '10.77.0.1',
  ])
  const length = random.pick([32, 32, 31, 30, 24, 24, 16, 8])
  const more =
    maybe(random, 3, () => random.pick(['brd +', 'brd -', 'broadcast 10.77.0.99'])) +
    maybe(random, 5, () => `scope ${random.pick(['host', 'link', 'global'])}`) +
    maybe(random, 5, () => 'noprefixroute') +
    maybe(random, 6, () => `metric ${random.pick([5, 500])}`) +
    maybe(random, 8, () => `valid_lft 1000 preferred_lft ${random.pick([0, 500])}`)
  const dev = random.once(4) ? 'lo' : name
  const peer = random.once(8) ? ` peer ${random.pick(world.peers).address}/${length}` : ''
  return [
    ...ip,
    random.pick(['add', 'add', 'replace', 'change']),
    ...words(`${address}${peer === '' ? `/${length}` : peer}${more} dev ${dev}`),
  ]
}

/** Names behind net.ipv4., or net.ipv6.; `conf.` and a key: of all, or of an interface. */
const KNOBS: Readonly<Record<4 | 6, readonly (readonly [string, readonly (number | string)[]])[]>> = {
  4: [
    ['ip_forward', [1, 1, 0]],
    ['ip_default_ttl', [1, 33, 64, 255]],
    ['icmp_echo_ignore_all', [0, 1]],
    ['icmp_echo_enable_probe', [0, 1]],
    ['icmp_echo_ignore_broadcasts', [0, 1]],
    ['icmp_errors_use_inbound_ifaddr', [0, 1]],
    ['ip_no_pmtu_disc', [0, 1, 2, 3]],
    ['ip_forward_use_pmtu', [0, 1]],
    ['fwmark_reflect', [0, 1]],
    ['ip_forward_update_priority', [0, 1]],
    ['fib_multipath_hash_policy', [0, 1, 2, 3]],
    ['fib_multipath_use_neigh', [0, 1]],
    ['route.flush', [1]],
    ['route.min_pmtu', [68, 552, 1000]],
    ['route.min_adv_mss', [256, 600]],
    ['icmp_ratelimit', [0, 1000]],
    ['conf.forwarding', [0, 1, 1]],
    ['conf.rp_filter', [0, 1, 2]],
    ['conf.accept_local', [0, 1]],
    ['conf.route_localnet', [0, 1]],
    ['conf.send_redirects', [0, 1]],
    ['conf.accept_redirects', [0, 1]],
    ['conf.accept_source_route', [0, 1]],
    ['conf.src_valid_mark', [0, 1]],
    ['conf.bc_forwarding', [0, 1]],
    ['conf.secure_redirects', [0, 1]],
    ['conf.shared_media', [0, 1]],
    ['conf.drop_unicast_in_l2_multicast', [0, 1]],
    ['conf.ignore_routes_with_linkdown', [0, 1]],
    ['conf.promote_secondaries', [0, 1]],
    ['conf.disable_policy', [0, 1]],
    ['conf.disable_xfrm', [0, 1]],
    ['conf.log_martians', [0, 1]],
    ['conf.arp_ignore', [0, 1]],
    ['conf.proxy_arp', [0, 1]],
  ],
  6: [
    ['icmp.echo_ignore_all', [0, 1]],
    ['icmp.echo_ignore_multicast', [0, 1]],
    ['icmp.echo_ignore_anycast', [0, 1]],
    ['icmp.error_anycast_as_unicast', [0, 1]],
    ['anycast_src_echo_reply', [0, 1]],
    ['fwmark_reflect', [0, 1]],
    ['flowlabel_reflect', [0, 1, 2, 4, 7]],
    ['max_hbh_length', [8, 16, 2147483647]],
    ['max_dst_opts_number', [0, 1, 8, -1]],
    ['fib_multipath_hash_policy', [0, 1, 2, 3]],
    ['route.flush', [1]],
    ['icmp.ratelimit', [0, 1000]],
    ['conf.accept_source_route', [0, 1]],
    ['conf.hop_limit', [1, 64, 255]],
    ['conf.drop_unicast_in_l2_multicast', [0, 1]],
    ['conf.disable_policy', [0, 1]],
    ['conf.use_oif_addrs_only', [0, 1]],
    ['conf.keep_addr_on_down', [1, 1, 0, -1]],
    ['conf.force_forwarding', [0, 1]],
    ['conf.ignore_routes_with_linkdown', [0, 1]],
    ['conf.proxy_ndp', [0, 1]],
    ['conf.seg6_enabled', [0]],
    ['conf.accept_redirects', [0, 1]],
    ['conf.ioam6_enabled', [0, 1]],
    ['conf.ndisc_tclass', [0, 0x20, 255]],
    ['conf.suppress_frag_ndisc', [0, 1]],
    ['route.mtu_expires', [1, 600]],
  ],
}

function sysctlCommand(w: Wire): string[] {
  const { world, random } = w
  const [key, values] = random.pick(KNOBS[world.family])
  const scope = random.once(3) ? 'all' : random.once(12) ? 'lo' : deviceOf(w).replaceAll('.', '/')
  return [
    'sysctl',
    '-qw',
    `net.ipv${world.family}.${key.replace('conf.', `conf.${scope}.`)}=${random.pick(values)}`,
  ]
}

const PROTOCOLS: Readonly<Record<number, string>> = { 6: 'tcp', 17: 'udp', 132: 'sctp', 136: 'udplite' }

/** Whom a frame that went in is from and for, and how, as `conntrack` says it; null where it has no ports. */
function tupleOf(
  frame: Uint8Array,
): { protocol: string; words: readonly [string, string, number, number] } | null {
  const h = headersOf(frame)
  const protocol = h === null || h.fragment !== null ? undefined : PROTOCOLS[h.protocol]
  if (h === null || protocol === undefined || h.l4 + 4 > frame.length) return null
  return { protocol, words: [h.src, h.dst, u16(frame, h.l4), u16(frame, h.l4 + 2)] }
}

/** `conntrack -I`, `-U` and `-D`; no FIXED_TIMEOUT, for a refused -U ends at once, wherever it is in the kernel's order. `history`: what went in so far, whose connections are meant as often as not. */
export function connectionCommand(w: Wire, history: readonly StepRun[] = []): string[] {
  const { world, random } = w
  const family = ['-f', `ipv${world.family}`]
  const went = history.length > 0 && random.once(2) ? random.pick(history).injected : null
  const known = went === null ? null : tupleOf(went)
  const protocol = known?.protocol ?? random.pick(['tcp', 'udp', 'tcp', 'udp', 'sctp', 'udplite', 'gre'])
  const port = (): string => String(random.pick([...world.clientPorts, ...world.serverPorts]))
  const peer = (): string => random.pick(world.peers).address
  const other = (): string => random.pick([peer(), random.pick(world.own), random.pick(world.virtual)])
  const filter = words(
    maybe(random, 2, () => `-s ${peer()}`) +
      maybe(random, 3, () => `-d ${other()}`) +
      maybe(random, 6, () => `-r ${peer()}`) +
      maybe(random, 8, () => `-q ${other()}`) +
      maybe(random, 6, () => `-m ${random.pick(world.marks)}`) +
      maybe(random, 3, () => `-p ${protocol}`),
  )
  const natted = random.pick([[], [], ['-n'], ['-g'], ['-j']])
  switch (random.below(6)) {
    case 0:
      return ['conntrack', '-D', ...family, ...filter, ...natted]
    case 1:
    case 2:
      return [
        'conntrack',
        '-U',
        ...family,
        ...filter,
        ...random.pick([
          ['-t', random.pick(['0', '1', '30', '1000'])],
          ['-m', `${random.pick(world.marks)}`],
          ['-u', random.pick(['ASSURED', 'SEEN_REPLY'])],
          ['-l', '7'],
        ]),
      ]
  }
  const [src, dst, sport, dport] = known?.words ?? [peer(), other(), port(), port()]
  const ports = protocol === 'gre' ? '' : ` --sport ${sport} --dport ${dport}`
  const states =
    protocol === 'tcp'
      ? ` --state ${random.pick(['SYN_SENT', 'SYN_RECV', 'ESTABLISHED', 'ESTABLISHED', 'FIN_WAIT', 'TIME_WAIT', 'CLOSE'])}`
      : protocol === 'sctp'
        ? ` --state ${random.pick(['CLOSED', 'COOKIE_WAIT', 'ESTABLISHED'])} --orig-vtag 5 --reply-vtag 2005`
        : ''
  const nat = random.once(4)
    ? random.pick([
        ` --src-nat ${random.pick(world.virtual)}`,
        ` --dst-nat ${peer()}`,
        ` --src-nat ${other()}`,
      ])
    : ''
  return [
    'conntrack',
    '-I',
    ...family,
    ...words(
      `-p ${protocol} -s ${src} -d ${dst}${ports}${states}${nat} -t ${random.pick([2, 60, 600])}` +
        maybe(
          random,
          3,
          () => `-u ${random.pick(['SEEN_REPLY', 'SEEN_REPLY,ASSURED', 'ASSURED', 'CONFIRMED'])}`,
        ) +
        maybe(random, 3, () => `-m ${random.pick(world.marks)}`) +
        maybe(random, 10, () => `-w ${random.pick([1, 3])}`),
    ),
  ]
}

/** Something else on the host than its rules. */
export function drawHostChange(w: Wire, history: readonly StepRun[] = []): string[] {
  switch (w.random.below(6)) {
    case 0:
      return sysctlCommand(w)
    case 1:
      return ruleCommand(w)
    case 2:
      return w.world.family === 4 ? linkCommand(w) : routeCommand(w)
    case 3:
      return connectionCommand(w, history)
    default:
      return routeCommand(w)
  }
}
