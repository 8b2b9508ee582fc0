// Random rulesets as iptables-save text, over every match and target of the first release. Addresses, ports,
// marks and names come from the scenario's world, so that rules do match its traffic.

import type { SeededRandom } from './frames.ts'
import { type Profile, shuffled, stream, type World } from './generate-world.ts'

type Table = 'raw' | 'mangle' | 'nat' | 'filter' | 'security'
type Hook = 'PREROUTING' | 'INPUT' | 'FORWARD' | 'OUTPUT' | 'POSTROUTING'

const HOOKS: Readonly<Record<Table, readonly Hook[]>> = {
  raw: ['PREROUTING', 'OUTPUT'],
  mangle: ['PREROUTING', 'INPUT', 'FORWARD', 'OUTPUT', 'POSTROUTING'],
  nat: ['PREROUTING', 'INPUT', 'OUTPUT', 'POSTROUTING'],
  filter: ['INPUT', 'FORWARD', 'OUTPUT'],
  security: ['INPUT', 'FORWARD', 'OUTPUT'],
}

/** Chance in percent that a table is there, by profile. */
const TABLES: Readonly<Record<Profile, Readonly<Record<Table, number>>>> = {
  filtering: { raw: 20, mangle: 20, nat: 10, filter: 100, security: 20 },
  state: { raw: 25, mangle: 20, nat: 20, filter: 100, security: 5 },
  nat: { raw: 10, mangle: 25, nat: 100, filter: 60, security: 5 },
  mangle: { raw: 30, mangle: 100, nat: 25, filter: 40, security: 10 },
  local: { raw: 25, mangle: 40, nat: 40, filter: 80, security: 10 },
  fragments: { raw: 25, mangle: 40, nat: 40, filter: 60, security: 5 },
  mixed: { raw: 50, mangle: 60, nat: 60, filter: 80, security: 30 },
}

interface Place {
  readonly table: Table
  /** Every hook the rule can be reached from. */
  readonly hooks: readonly Hook[]
  readonly builtin: boolean
}

export function makeRules(seed: number, profile: Profile, world: World): string {
  const random = stream(seed, 'rules')
  let text = ''
  for (const table of shuffled(['raw', 'mangle', 'nat', 'filter', 'security'] as const, random)) {
    if (random.below(100) < TABLES[profile][table]) text += makeTable(table, random, world, profile)
  }
  return text
}

function makeTable(table: Table, random: SeededRandom, world: World, profile: Profile): string {
  const hooks = HOOKS[table]
  const lines: string[] = [`*${table}`]
  for (const h of hooks) {
    const drop = table !== 'nat' && random.once(table === 'filter' ? 6 : 24)
    lines.push(`:${h} ${drop ? 'DROP' : 'ACCEPT'} [0:0]`)
  }
  // A user chain is reachable from the hooks it is made for, and from chains made before it: no loops.
  const user: { name: string; hooks: readonly Hook[] }[] = []
  for (let i = random.below(random.once(2) ? 5 : 2); i > 0; i--) {
    const groups: readonly Hook[][] =
      table === 'nat'
        ? [
            ['PREROUTING', 'OUTPUT'],
            ['INPUT', 'POSTROUTING'],
          ]
        : [
            [...hooks],
            [random.pick(hooks)],
            ['FORWARD', 'INPUT'].filter((h): h is Hook => hooks.includes(h as Hook)),
          ]
    const group = random.pick(groups.filter((g) => g.length > 0))
    user.push({
      name: random.pick(['KUBE-', 'cali-', 'my_', 'DOCKER-']) + user.length + random.pick(['', '-x', '.y']),
      hooks: group,
    })
  }
  for (const u of user) lines.push(`:${u.name} - [0:0]`)
  const fill = (chain: string, place: Place, later: typeof user): void => {
    const reach = later.filter((u) => place.hooks.every((h) => u.hooks.includes(h)))
    for (let n = random.below(place.builtin ? 8 : 5); n > 0; n--) {
      lines.push(
        `-A ${chain}${makeRule(
          place,
          random,
          world,
          profile,
          reach.map((u) => u.name),
        )}`,
      )
    }
  }
  for (const h of hooks) fill(h, { table, hooks: [h], builtin: true }, user)
  for (const [i, u] of user.entries())
    fill(u.name, { table, hooks: u.hooks, builtin: false }, user.slice(i + 1))
  return `${lines.join('\n')}\nCOMMIT\n`
}

const not = (random: SeededRandom, oneIn = 6): string => (random.once(oneIn) ? '! ' : '')

function address(random: SeededRandom, world: World): string {
  switch (random.below(10)) {
    case 0:
    case 1:
    case 2:
      return random.pick(world.peers).address
    case 3:
      return random.pick(world.own)
    case 4:
    case 5:
      return random.pick(world.prefixes)
    case 6:
      return random.pick([...world.virtual, ...world.broadcasts, ...world.refused, '127.0.0.1'])
    case 7:
      return random.pick([
        '0.0.0.0/0',
        '10.0.0.0/8',
        '192.0.0.0/4',
        '0.0.0.0/1',
        '128.0.0.0/1',
        '224.0.0.0/4',
      ])
    case 8: // a mask with holes
      return `${random.pick(world.peers).address}/${random.pick(['255.0.255.0', '0.0.0.255', '255.255.0.255', '0.0.0.1'])}`
    default:
      return `${random.pick(world.peers).address}/${random.pick([8, 16, 20, 25, 31])}`
  }
}

function port(random: SeededRandom, world: World): number {
  return random.once(12)
    ? random.below(65536)
    : random.pick(random.once(3) ? world.clientPorts : world.serverPorts)
}

function ports(random: SeededRandom, world: World): string {
  const a = port(random, world)
  if (!random.once(3)) return String(a)
  if (random.once(4)) return random.once(2) ? `:${a}` : `${a}:`
  const b = port(random, world)
  return `${Math.min(a, b)}:${Math.max(a, b)}`
}

const device = (random: SeededRandom, world: World): string => {
  const name = random.once(12) ? 'lo' : random.pick(world.devices).name
  return random.once(5) ? `${name.slice(0, 1 + random.below(name.length))}+` : name
}

const STATES = ['NEW', 'ESTABLISHED', 'RELATED', 'INVALID', 'UNTRACKED']
const ICMP_TYPES = [
  '8',
  '0',
  '3',
  '3/3',
  '3/1',
  '11',
  '11/0',
  '3/4',
  '5',
  'any',
  'echo-request',
  'destination-unreachable',
  '13',
  '255',
]
const TYPES = [
  'UNICAST',
  'LOCAL',
  'BROADCAST',
  'MULTICAST',
  'BLACKHOLE',
  'UNREACHABLE',
  'PROHIBIT',
  'ANYCAST',
  'UNSPEC',
]

function some<T>(list: readonly T[], random: SeededRandom): T[] {
  return shuffled(list, random).slice(0, 1 + random.below(Math.min(3, list.length)))
}

const hexMark = (random: SeededRandom, world: World): string =>
  `0x${(random.once(5) ? 0 : random.pick(world.marks)).toString(16)}`
const masks = ['', '', '/0xff', '/0xffff', '/0x1', '/0xf0000', '/0xffffffff', '/0x0']

/** Text after `-A CHAIN`. */
function makeRule(
  place: Place,
  random: SeededRandom,
  world: World,
  profile: Profile,
  reach: readonly string[],
): string {
  const parts: string[] = []
  const can = (h: Hook): boolean => place.hooks.includes(h)
  const inFits = !place.builtin || can('PREROUTING') || can('INPUT') || can('FORWARD')
  const outFits = !place.builtin || can('FORWARD') || can('OUTPUT') || can('POSTROUTING')
  if (random.once(6)) parts.push(`${not(random)}-s ${address(random, world)}`)
  if (random.once(5)) parts.push(`${not(random)}-d ${address(random, world)}`)
  if (inFits && random.once(8)) parts.push(`${not(random, 4)}-i ${device(random, world)}`)
  if (outFits && random.once(8)) parts.push(`${not(random, 4)}-o ${device(random, world)}`)
  let protocol = random.pick(['', '', '', 'tcp', 'tcp', 'tcp', 'udp', 'udp', 'icmp', 'other'])
  let inverted = false
  const stateful = profile !== 'fragments' || random.once(3)
  const target = makeTarget(place, random, world, protocol, reach, stateful)
  if (target.protocol !== undefined) protocol = target.protocol
  if (protocol === 'other') {
    parts.push(
      `${not(random, 4)}-p ${random.pick(['47', '50', '89', '132', 'gre', 'udplite', '2', '255', 'igmp'])}`,
    )
  } else if (protocol !== '') {
    inverted = target.protocol === undefined && random.once(12)
    parts.push(`${inverted ? '! ' : ''}-p ${protocol}`)
  }
  if (random.once(profile === 'fragments' ? 6 : 40)) parts.push(`${not(random, 3)}-f`)
  if (!inverted && protocol === 'tcp') {
    if (random.once(8)) parts.push(`-m tcp ${not(random)}--sport ${ports(random, world)}`)
    if (random.once(3)) parts.push(`-m tcp ${not(random)}--dport ${ports(random, world)}`)
    if (random.once(8))
      parts.push(
        `-m tcp ${not(random)}--tcp-flags ${random.pick(['SYN,ACK', 'SYN,RST,ACK,FIN', 'ALL', 'FIN,SYN', 'ACK', 'PSH,URG', 'RST'])} ${random.pick(['SYN', 'NONE', 'ACK', 'SYN,ACK', 'RST', 'FIN', 'ALL'])}`,
      )
    else if (random.once(10)) parts.push(`-m tcp ${not(random)}--syn`)
    if (random.once(20)) parts.push(`-m tcp ${not(random)}--tcp-option ${random.pick([2, 3, 4, 8, 5])}`)
  } else if (!inverted && protocol === 'udp') {
    if (random.once(8)) parts.push(`-m udp ${not(random)}--sport ${ports(random, world)}`)
    if (random.once(3)) parts.push(`-m udp ${not(random)}--dport ${ports(random, world)}`)
  } else if (!inverted && protocol === 'icmp' && random.once(2)) {
    parts.push(`-m icmp ${not(random)}--icmp-type ${random.pick(ICMP_TYPES)}`)
  }
  const portable = !inverted && (protocol === 'tcp' || protocol === 'udp')
  for (let n = random.pick([0, 0, 0, 1, 1, 1, 2]); n > 0; n--)
    parts.push(makeMatch(place, random, world, profile, portable ? protocol : '', stateful))
  parts.push(target.text)
  return parts
    .filter((p) => p !== '')
    .map((p) => ` ${p}`)
    .join('')
}

function makeMatch(
  place: Place,
  random: SeededRandom,
  world: World,
  profile: Profile,
  protocol: string,
  stateful: boolean,
): string {
  const n = not(random)
  const can = (h: Hook): boolean => place.hooks.includes(h)
  const weights: [number, () => string][] = [
    [stateful ? (profile === 'state' ? 12 : 5) : 0, () => conntrackMatch(random, world, protocol)],
    [stateful ? 2 : 0, () => `-m state ${n}--state ${some(STATES, random).join(',')}`],
    [3, () => `-m mark ${n}--mark ${hexMark(random, world)}${random.pick(masks)}`],
    [stateful ? 2 : 0, () => `-m connmark ${n}--mark ${hexMark(random, world)}${random.pick(masks)}`],
    [protocol === '' ? 0 : 4, () => multiport(random, world)],
    [3, () => addrtype(place, random)],
    [
      2,
      () => {
        const every = 1 + random.below(5)
        return `-m statistic --mode nth ${n}--every ${every} --packet ${random.below(every)}`
      },
    ],
    [
      2,
      () =>
        `-m limit --limit ${random.pick(['1/minute', '3/hour', '1/hour', '6/minute'])} --limit-burst ${1 + random.below(8)}`,
    ],
    [
      2,
      () => {
        const a = random.pick(world.prefixes).split('/')[0]!
        const [x, y, z] = a.split('.')
        return `-m iprange ${n}--${random.pick(['src', 'dst'])}-range ${x}.${y}.${z}.${random.below(8)}-${x}.${y}.${z}.${8 + random.below(240)}`
      },
    ],
    [
      2,
      () =>
        `-m ttl ${random.pick([`${n}--ttl-eq`, '--ttl-lt', '--ttl-gt'])} ${random.pick([1, 2, 63, 64, 63, 127, 128, 255])}`,
    ],
    [
      2,
      () => {
        const a = random.pick([20, 40, 60, 100, 576, 1000, 1500])
        return `-m length ${n}--length ${random.once(2) ? a : `${a}:${random.once(3) ? '' : a + random.below(1500)}`}`
      },
    ],
    [
      1,
      () => `-m tos ${n}--tos ${random.pick(['0x10/0x3f', '0x08', '0x00', '0x10', '0xb8/0xfc', '0x0/0xff'])}`,
    ],
    [
      1,
      () =>
        `-m dscp ${n}${random.pick(['--dscp 0x2e', '--dscp 0', '--dscp-class AF11', '--dscp-class CS1', '--dscp-class EF'])}`,
    ],
    [
      protocol === 'tcp' ? 2 : 0,
      () => `-m tcpmss ${n}--mss ${random.pick(['1460', '536', '1000:1500', '0:536', '1200:65535'])}`,
    ],
    [1, () => `-m pkttype ${n}--pkt-type ${random.pick(['unicast', 'broadcast', 'multicast'])}`],
    [
      place.hooks.every((h) => h === 'PREROUTING' || h === 'INPUT' || h === 'FORWARD') ? 1 : 0,
      () => `-m mac ${n}--mac-source 02:00:00:00:00:01`,
    ],
    [
      !can('PREROUTING') && !can('INPUT') && !can('FORWARD') ? 1 : 0,
      () =>
        `-m owner ${random.pick([`${n}--uid-owner 0`, `${n}--gid-owner 0`, `${n}--socket-exists`, `${n}--uid-owner 0-1000`])}`,
    ],
    [1, () => '-m comment --comment "what a rule, isn\'t it"'],
  ]
  let at = random.below(weights.reduce((sum, [w]) => sum + w, 0))
  for (const [w, make] of weights) {
    if (at < w) return make()
    at -= w
  }
  return ''
}

function conntrackMatch(random: SeededRandom, world: World, protocol: string): string {
  const n = (): string => not(random, 5)
  const options: string[] = []
  const add = (oneIn: number, make: () => string): void => {
    if (random.once(oneIn)) options.push(make())
  }
  add(2, () => `${n()}--ctstate ${some([...STATES, 'SNAT', 'DNAT'], random).join(',')}`)
  add(16, () => `${n()}--ctproto ${random.pick(['tcp', 'udp', 'icmp', '47'])}`)
  for (const which of ['origsrc', 'origdst', 'replsrc', 'repldst'])
    add(16, () => `${n()}--ct${which} ${address(random, world).replace(/\/255\..*|\/0\.0.*/, '')}`)
  if (protocol !== '')
    for (const which of ['origsrcport', 'origdstport', 'replsrcport', 'repldstport'])
      add(16, () => `${n()}--ct${which} ${ports(random, world).replace(/^:/, '0:').replace(/:$/, ':65535')}`)
  add(
    8,
    () =>
      `${n()}--ctstatus ${some(['NONE', 'EXPECTED', 'SEEN_REPLY', 'ASSURED', 'CONFIRMED'], random).join(',')}`,
  )
  add(16, () => `${n()}--ctexpire ${random.pick(['0:40', '20:130', '100:500', '200000:600000', '1000:'])}`)
  add(10, () => `--ctdir ${random.pick(['ORIGINAL', 'REPLY'])}`)
  if (options.length === 0) options.push(`${n()}--ctstate ${some(STATES, random).join(',')}`)
  return `-m conntrack ${options.join(' ')}`
}

function multiport(random: SeededRandom, world: World): string {
  const list: string[] = []
  for (let i = 1 + random.below(4); i > 0; i--) {
    const a = port(random, world)
    const b = port(random, world)
    list.push(random.once(4) && a !== b ? `${Math.min(a, b)}:${Math.max(a, b)}` : String(a))
  }
  return `-m multiport ${not(random)}--${random.pick(['sports', 'dports', 'dports', 'ports'])} ${list.join(',')}`
}

function addrtype(place: Place, random: SeededRandom): string {
  const options: string[] = []
  if (random.once(2)) options.push(`${not(random)}--src-type ${some(TYPES, random).join(',')}`)
  if (random.once(2) || options.length === 0)
    options.push(`${not(random)}--dst-type ${some(TYPES, random).join(',')}`)
  // Refused where the hook has no such interface; in FORWARD both are refused together.
  const only = place.hooks.every((h) => h === 'PREROUTING' || h === 'INPUT')
  const late = place.hooks.every((h) => h === 'OUTPUT' || h === 'POSTROUTING')
  if (random.once(4)) {
    if (only) options.push('--limit-iface-in')
    else if (late) options.push('--limit-iface-out')
  }
  return `-m addrtype ${options.join(' ')}`
}

interface Choice {
  readonly text: string
  /** The protocol the target asks for. */
  readonly protocol?: string
}

const REJECTS = [
  'icmp-net-unreachable',
  'icmp-host-unreachable',
  'icmp-proto-unreachable',
  'icmp-port-unreachable',
  'icmp-net-prohibited',
  'icmp-host-prohibited',
  'icmp-admin-prohibited',
]

function makeTarget(
  place: Place,
  random: SeededRandom,
  world: World,
  protocol: string,
  reach: readonly string[],
  stateful: boolean,
): Choice {
  const { table, hooks } = place
  const all = (...of: Hook[]): boolean => hooks.every((h) => of.includes(h))
  const choices: [number, () => Choice][] = [
    [5, () => ({ text: '-j ACCEPT' })],
    [table === 'nat' ? 0 : table === 'filter' ? 4 : 1, () => ({ text: '-j DROP' })],
    [2, () => ({ text: '-j RETURN' })],
    [2, () => ({ text: '' })],
    [reach.length > 0 ? 8 : 0, () => ({ text: `${random.once(3) ? '-g' : '-j'} ${random.pick(reach)}` })],
    [1, () => ({ text: `-j LOG --log-prefix "x: " --log-level ${random.below(8)}` })],
    [
      table === 'filter' ? 5 : 0,
      () =>
        random.once(3)
          ? { text: '-j REJECT --reject-with tcp-reset', protocol: 'tcp' }
          : { text: `-j REJECT${random.once(3) ? '' : ` --reject-with ${random.pick(REJECTS)}`}` },
    ],
    [
      table === 'mangle' ? 6 : table === 'raw' ? 2 : 1,
      () => ({
        text: `-j MARK ${random.pick([
          () => `--set-mark ${hexMark(random, world)}${random.pick(masks)}`,
          () => `--set-xmark ${hexMark(random, world)}${random.pick(masks)}`,
          () => `--and-mark ${hexMark(random, world)}`,
          () => `--or-mark ${hexMark(random, world)}`,
          () => `--xor-mark ${hexMark(random, world)}`,
        ])()}`,
      }),
    ],
    [
      stateful && table !== 'raw' ? (table === 'mangle' ? 5 : 1) : 0,
      () => ({
        text: `-j CONNMARK ${random.pick([
          () => `--set-mark ${hexMark(random, world)}${random.pick(masks)}`,
          () => `--set-xmark ${hexMark(random, world)}${random.pick(masks)}`,
          () => `--save-mark${random.pick(['', ' --mask 0xff', ' --nfmask 0xffff --ctmask 0xff'])}`,
          () => `--restore-mark${random.pick(['', ' --mask 0xff', ' --nfmask 0xff --ctmask 0xffff'])}`,
          () => `--and-mark ${hexMark(random, world)}`,
          () => `--or-mark ${hexMark(random, world)}`,
          () => `--xor-mark ${hexMark(random, world)}`,
        ])()}`,
      }),
    ],
    [
      table === 'raw' ? 4 : 0,
      () => ({
        text: random.pick([
          '-j NOTRACK',
          '-j CT --notrack',
          stateful ? `-j CT --zone ${1 + random.below(3)}` : '-j CT --notrack',
          stateful ? `-j CT --zone-orig ${1 + random.below(3)}` : '-j NOTRACK',
          stateful ? '-j CT --ctevents new,reply' : '-j NOTRACK',
        ]),
      }),
    ],
    [table === 'nat' && all('PREROUTING', 'OUTPUT') ? 14 : 0, () => dnat(random, world, protocol)],
    [table === 'nat' && all('POSTROUTING', 'INPUT') ? 10 : 0, () => snat(random, world, protocol)],
    [table === 'nat' ? 1 : 0, () => ({ text: `-j NETMAP --to ${random.pick(world.prefixes)}` })],
    [table === 'nat' && all('POSTROUTING') ? 8 : 0, () => masquerade(random, protocol)],
    [table === 'nat' && all('PREROUTING', 'OUTPUT') ? 4 : 0, () => redirect(random, world, protocol)],
    [
      table === 'mangle' ? 3 : 0,
      () => ({
        text: `-j TOS ${random.pick(['--set-tos 0x10', '--set-tos 0x10/0x3f', '--and-tos 0x1e', '--or-tos 0x08', '--xor-tos 0xff', '--set-tos 0'])}`,
      }),
    ],
    [
      table === 'mangle' ? 3 : 0,
      () => ({
        text: `-j DSCP ${random.pick(['--set-dscp 0x2e', '--set-dscp 0', '--set-dscp-class AF21', '--set-dscp-class CS5'])}`,
      }),
    ],
    [
      table === 'mangle' ? 3 : 0,
      () => ({
        text: `-j TTL ${random.pick(['--ttl-set 1', '--ttl-set 64', '--ttl-set 255', '--ttl-dec 1', '--ttl-dec 5', '--ttl-inc 1', '--ttl-inc 200', '--ttl-set 2'])}`,
      }),
    ],
    [
      table === 'mangle' ? 3 : 0,
      () => {
        const clamp = all('FORWARD', 'OUTPUT', 'POSTROUTING') && random.once(2)
        return {
          text: `-m tcp --tcp-flags SYN,RST SYN -j TCPMSS ${clamp ? '--clamp-mss-to-pmtu' : `--set-mss ${random.pick([536, 1000, 1400, 88])}`}`,
          protocol: 'tcp',
        }
      },
    ],
    [
      table === 'mangle' && all('FORWARD', 'OUTPUT', 'POSTROUTING') ? 1 : 0,
      () => ({
        text: `-j CLASSIFY --set-class ${random.below(16).toString(16)}:${random.below(16).toString(16)}`,
      }),
    ],
  ]
  let at = random.below(choices.reduce((sum, [w]) => sum + w, 0))
  for (const [w, make] of choices) {
    if (at < w) return make()
    at -= w
  }
  return { text: '' }
}

const withPorts = (random: SeededRandom, protocol: string): string | null =>
  protocol === 'tcp' || protocol === 'udp' ? protocol : random.once(2) ? random.pick(['tcp', 'udp']) : null

const flags = (random: SeededRandom, persistent = true): string =>
  `${random.once(8) ? ' --random' : ''}${persistent && random.once(8) ? ' --persistent' : ''}`

function range(random: SeededRandom): string {
  const from = random.pick([2000, 7000, 1024, 40000, 600])
  return random.once(2) ? String(from) : `${from}-${from + random.pick([1, 2, 9, 200])}`
}

function nextTo(address: string, by: number): string {
  const [a, b, c, d] = address.split('.').map(Number)
  return `${a}.${b}.${c}.${Math.min(255, d! + by)}`
}

function dnat(random: SeededRandom, world: World, protocol: string): Choice {
  const to = random.once(20)
    ? '127.0.0.1'
    : random.once(8)
      ? random.pick(world.own)
      : random.pick(world.peers).address
  const addresses = random.once(5) ? `${to}-${nextTo(to, 1 + random.below(3))}` : to
  const p = withPorts(random, protocol)
  if (p === null) return { text: `-j DNAT --to-destination ${addresses}${flags(random)}` }
  const bare = random.once(10)
  return {
    text: `-j DNAT --to-destination ${bare ? '' : addresses}:${random.once(2) ? random.pick(world.serverPorts) : range(random)}${flags(random)}`,
    protocol: p,
  }
}

function snat(random: SeededRandom, world: World, protocol: string): Choice {
  const to = random.once(3) ? random.pick(world.own) : random.pick(world.virtual)
  const addresses = random.once(4) ? `${to}-${nextTo(to, 1 + random.below(3))}` : to
  const fully = random.once(10) ? ' --random-fully' : flags(random)
  const p = random.once(2) ? withPorts(random, protocol) : null
  if (p === null) return { text: `-j SNAT --to-source ${addresses}${fully}` }
  return { text: `-j SNAT --to-source ${addresses}:${range(random)}${fully}`, protocol: p }
}

function masquerade(random: SeededRandom, protocol: string): Choice {
  const how = random.pick(['', '', '', ' --random', ' --random-fully'])
  const p = random.once(4) ? withPorts(random, protocol) : null
  if (p === null) return { text: `-j MASQUERADE${how}` }
  return { text: `-j MASQUERADE --to-ports ${range(random)}${how}`, protocol: p }
}

function redirect(random: SeededRandom, world: World, protocol: string): Choice {
  const p = withPorts(random, protocol)
  if (p === null) return { text: '-j REDIRECT' }
  return {
    text: `-j REDIRECT --to-ports ${random.once(2) ? random.pick(world.serverPorts) : range(random)}${random.once(8) ? ' --random' : ''}`,
    protocol: p,
  }
}
