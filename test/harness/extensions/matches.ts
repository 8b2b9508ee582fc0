// Every match: how to draw its options. Names of the list are those of rules/matches.

import { beside } from '../headers.ts'
import { comparison, metadata, program } from './bpf-draw.ts'
import { type Draw, type Entry, hex, PORTED } from './draw.ts'
import { MATCHES6 } from './matches-ipv6.ts'

const STATES = ['NEW', 'ESTABLISHED', 'RELATED', 'INVALID', 'UNTRACKED']
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
  // No address is of these.
  'THROW',
  'NAT',
  'XRESOLVE',
]
/** Those that the kernel takes for IPv6. */
const TYPES6 = ['UNICAST', 'LOCAL', 'MULTICAST', 'UNREACHABLE', 'ANYCAST', 'UNSPEC']
const ICMP_NAMES = [
  'any',
  'echo-request',
  'ping',
  'pong',
  'destination-unreachable',
  'host-unreachable',
  'port-unreachable',
  'fragmentation-needed',
  'communication-prohibited',
  'source-quench',
  'redirect',
  'host-redirect',
  'router-advertisement',
  'time-exceeded',
  'ttl-exceeded',
  'ttl-zero-during-reassembly',
  'parameter-problem',
  'required-option-missing',
  'timestamp-request',
  'address-mask-request',
]
const TCP_FLAGS = ['FIN', 'SYN', 'RST', 'PSH', 'ACK', 'URG']
const CHUNKS = [
  'DATA',
  'INIT',
  'INIT_ACK',
  'SACK',
  'HEARTBEAT',
  'HEARTBEAT_ACK',
  'ABORT',
  'SHUTDOWN',
  'SHUTDOWN_ACK',
  'ERROR',
  'COOKIE_ECHO',
  'COOKIE_ACK',
  'ECN_ECNE',
  'ECN_CWR',
  'SHUTDOWN_COMPLETE',
  'I_DATA',
  'RE_CONFIG',
  'PAD',
  'ASCONF',
  'ASCONF_ACK',
  'FORWARD_TSN',
  'I_FORWARD_TSN',
]
const DCCP_TYPES = [
  'REQUEST',
  'RESPONSE',
  'DATA',
  'ACK',
  'DATAACK',
  'CLOSEREQ',
  'CLOSE',
  'RESET',
  'SYNC',
  'SYNCACK',
  'INVALID',
]

const words = (...parts: readonly string[]): string => parts.filter((p) => p !== '').join(' ')
/** Each of the options with one chance in two; at least one. */
function anyOf(d: Draw, ...options: readonly (() => string)[]): string {
  const drawn = options.filter(() => d.random.once(2))
  return words(...(drawn.length > 0 ? drawn : [d.pick(options)]).map((make) => make()))
}

const ports = (d: Draw, oneIn = 6): string =>
  anyOf(
    d,
    () => `${d.not(oneIn)}--sport ${d.ports()}`,
    () => `${d.not(oneIn)}--dport ${d.ports()}`,
  )

/** The kinds that a frame's TCP options have. */
function tcpOptionKinds(d: Draw): number[] {
  const f = d.frame('tcp')
  const end = Math.min(f.length, f.l4 + (f.u8(f.l4 + 12) >> 4) * 4)
  const kinds: number[] = []
  for (let at = f.l4 + 20; at < end; at += f.u8(at) < 2 ? 1 : Math.max(1, f.u8(at + 1))) kinds.push(f.u8(at))
  return kinds.filter((k) => k > 0)
}

function mss(d: Draw): number {
  const f = d.frame('tcp')
  for (let at = f.l4 + 20; at + 4 <= f.length; at++) if (f.u16(at) === 0x0204) return f.u16(at + 2)
  return 536
}

function iprange(d: Draw): string {
  const at = d.address()
  const edge = d.pick([0, 0, 1, -1])
  const away = d.pick([0, 1, 7, 300, 70000])
  return d.random.once(2)
    ? `${beside(at, edge)}-${beside(at, edge + away)}`
    : `${beside(at, edge - away)}-${beside(at, edge)}`
}

function conntrack(d: Draw): string {
  const n = (): string => d.not(4)
  const options: string[] = []
  const rest: (() => string)[] = []
  const add = (oneIn: number, make: () => string): void => {
    if (d.random.once(oneIn)) options.push(make())
    else rest.push(make)
  }
  add(2, () => `${n()}--ctstate ${d.some([...STATES, 'SNAT', 'DNAT']).join(',')}`)
  const rare = d.profile === 'extensions' ? 8 : 16
  add(rare, () => `${n()}--ctproto ${d.pick(['tcp', 'udp', d.by('icmp', 'icmpv6'), '47', '132'])}`)
  for (const which of ['origsrc', 'origdst', 'replsrc', 'repldst'])
    add(
      rare,
      () =>
        `${n()}--ct${which} ${d.address()}${d.pick(d.by(['', '', '/24', '/8', '/31', '/30', '/1', '/0'], ['', '', '/64', '/48', '/127', '/128', '/1', '/0']))}`,
    )
  if (['tcp', 'udp'].includes(d.protocol))
    for (const which of ['origsrcport', 'origdstport', 'replsrcport', 'repldstport'])
      add(rare, () => `${n()}--ct${which} ${d.range(d.port(), 65535, ':', false)}`)
  add(
    8,
    () => `${n()}--ctstatus ${d.some(['NONE', 'EXPECTED', 'SEEN_REPLY', 'ASSURED', 'CONFIRMED']).join(',')}`,
  )
  add(rare, () => `${n()}--ctexpire ${d.pick(['0:40', '20:130', '100:500', '200000:600000', '1000:'])}`)
  add(10, () => `--ctdir ${d.pick(['ORIGINAL', 'REPLY'])}`)
  // One alone shows best what it does.
  if (d.profile === 'extensions' && d.random.once(2)) return d.pick(rest)()
  if (options.length === 0) options.push(`${n()}--ctstate ${d.some(STATES).join(',')}`)
  return options.join(' ')
}

function multiport(d: Draw): string {
  const list = new Set<string>()
  // At most 15, and a range counts twice.
  for (let i = 1 + d.random.below(d.random.once(8) ? 7 : 4); i > 0; i--)
    list.add(d.random.once(3) ? d.range(d.port(), 65535, ':', false, true) : String(d.near(d.port(), 65535)))
  return `${d.not()}--${d.pick(['sports', 'dports', 'dports', 'ports'])} ${[...list].join(',')}`
}

function addrtype(d: Draw): string {
  const options = [
    anyOf(
      d,
      () => `${d.not()}--src-type ${d.some(d.by(TYPES, TYPES6)).join(',')}`,
      () => `${d.not()}--dst-type ${d.some(d.by(TYPES, TYPES6)).join(',')}`,
    ),
  ]
  // Refused where the hook has no such interface; in FORWARD both are refused together.
  if (d.random.once(4)) {
    if (d.only('PREROUTING', 'INPUT')) options.push('--limit-iface-in')
    else if (d.only('OUTPUT', 'POSTROUTING')) options.push('--limit-iface-out')
  }
  return words(...options)
}

/** Identification and header checksum, or flow label, stand before it. */
const behindSums = (d: Draw): number => d.by(12, 4)

/**
 * May the host's own packets come by? The kernel draws their identification, and of one that comes back by lo no frame
 * tells it.
 */
const drawnByHost = (d: Draw): boolean => !d.only('FORWARD')

/** Where a reset of the host has its checksum, which the kernel leaves to the device: not there yet, unlike ours. */
const resetSum = (d: Draw): number => d.by(36, 56)

/** Whether bytes at `at` say nothing about what is drawn, and sums over it. */
const steady = (d: Draw, at: number, width: number): boolean =>
  at >= behindSums(d)
    ? at + width <= resetSum(d) || at >= resetSum(d) + 2
    : d.family === 4 && (at + width <= 4 || (at >= 6 && at + width <= 10))

/** Bytes of a frame, as they are or with one changed, and where to look for them. */
function string(d: Draw): string {
  const f = d.frame()
  // Addresses and what follows them are more alike from frame to frame than identifications and checksums.
  const at = Math.min(d.random.once(3) ? d.random.below(f.length) : 12 + d.random.below(60), f.length - 1)
  const length = Math.max(1, Math.min(f.length - at, d.pick([1, 1, 2, 3, 4, 8, 16, 40])))
  const bytes = [...f.bytes.slice(at, at + length)]
  if (d.random.once(6)) bytes[d.random.below(length)]! ^= 0x20
  const text = bytes.map((b) => b.toString(16).padStart(2, '0')).join(d.pick(['', ' ']))
  const own = drawnByHost(d)
  const from = Math.max(own ? behindSums(d) : 0, d.near(at, 0xffff))
  const to = d.near(d.pick([at, at + length, f.length]), 0xffff)
  return words(
    `--algo ${d.pick(['bm', 'kmp'])}`,
    own || d.random.once(2) ? `--from ${from}` : '',
    d.random.once(2) ? `--to ${Math.max(to, from)}` : '',
    d.random.once(4) ? '--icase' : '',
    d.random.once(6)
      ? `${d.not()}--string ${d.pick(['octet', 'OCTET', 'file', 'data', 'GET', '!"#'.slice(0, 1)])}`
      : `${d.not()}--hex-string "|${text}|"`,
  )
}

function u32(d: Draw): string {
  const f = d.frame()
  const tests: string[] = []
  for (let n = d.pick([1, 1, 1, 2]); n > 0; n--) {
    // At the very end too, and just behind it.
    const drawn = d.random.once(4)
      ? Math.max(0, d.near(f.length - 4, 0xffff))
      : d.pick([0, 3, 4, 6, 8, 12, 16, f.l4, f.l4 + 2, f.l4 + d.random.below(24)])
    const at = drawnByHost(d) && !steady(d, drawn, 4) ? 6 : drawn
    const value = f.u32(at)
    const viaHeader = d.random.once(3)
    const mask = d.pick([0xffffffff, 0xff, 0xffff, 0xffff0000, 0xff000000, 0x3ff])
    const shift = d.random.below(32)
    const left = d.random.once(8)
    const place = viaHeader
      ? `0>>22&0x3C@${Math.max(0, at - f.l4)}`
      : d.random.once(10) && !drawnByHost(d)
        ? `${d.pick([0, 4, 16])}@${at}`
        : String(at)
    let text = place
    let is = value
    if (d.random.once(2)) {
      text += `&${hex(mask)}`
      is = (is & mask) >>> 0
    }
    if (d.random.once(2)) {
      text += left ? `<<${shift}` : `>>${shift}`
      is = left ? (is << shift) >>> 0 : is >>> shift
    }
    const near = d.near(is)
    const list = d.pick([
      hex(near),
      `${hex(Math.max(0, near - d.pick([0, 1, 1000])))}:${hex(near)}`,
      `${hex(near)}:${hex(Math.min(0xffffffff, near + d.pick([1, 1000])))}`,
      `0x1,${hex(near)},0x2:0x3`,
    ])
    tests.push(`${text}=${list}`)
  }
  return `${d.not()}--u32 "${tests.join('&&')}"`
}

/** Classic BPF on the packet from its network header. */
function bpf(d: Draw): string {
  if (!drawnByHost(d) && d.random.once(2)) return program(d)
  const isSteady = (at: number, width: number): boolean => !drawnByHost(d) || steady(d, at, width)
  return (d.random.once(3) ? metadata : comparison)(d, isSteady)
}

function recent(d: Draw): string {
  const action = d.pick(['set', 'set', 'set', 'rcheck', 'update', 'remove'])
  const checks = action === 'rcheck' || action === 'update'
  const seconds = checks && d.random.once(2)
  return words(
    `${d.not(8)}--${action}`,
    seconds ? `--seconds ${d.pick([1, 1, 2, 3, 60])}` : '',
    seconds && d.random.once(3) ? '--reap' : '',
    checks && d.random.once(2) ? `--hitcount ${d.pick([1, 2, 3, 4, 5, 8])}` : '',
    checks && d.random.once(4) ? '--rttl' : '',
    d.random.once(6) ? '' : `--name ${d.pick(['A', 'A', 'B'])}`,
    d.random.once(2)
      ? `--mask ${d.pick(d.by(['255.255.255.0', '255.255.255.254', '255.255.255.255', '0.0.0.0', '128.0.0.0'], ['ffff:ffff:ffff:ffff::', 'ffff:ffff::', 'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff', '::', '8000::', '::ff']))}`
      : '',
    d.pick(['', '--rsource', '--rdest']),
  )
}

function hashlimit(d: Draw): string {
  const shared = d.random.once(4)
  const bytes = d.random.once(4)
  const how = d.pick(['upto', 'above'])
  const rate = bytes
    ? d.pick(['1kb/s', '512b/s', '100b/s', '16b/s', '1mb/s'])
    : d.pick(['1/hour', '1/minute', '6/minute', '1/second', '10/second', '100/second'])
  const burst = bytes
    ? d.pick(['', '', ' --hashlimit-burst 1mb', ' --hashlimit-burst 2mb'])
    : ` --hashlimit-burst ${d.pick([1, 2, 3, 4, 5])}`
  const modes = d.random.once(4)
    ? ''
    : `--hashlimit-mode ${d.some(['srcip', 'dstip', 'srcport', 'dstport']).join(',')}`
  return words(
    `--hashlimit-${how} ${rate}${burst}`,
    modes,
    modes.includes('srcip') && d.random.once(3)
      ? `--hashlimit-srcmask ${d.pick(d.by([0, 8, 24, 30, 31, 32], [0, 32, 64, 127, 128]))}`
      : '',
    modes.includes('dstip') && d.random.once(3)
      ? `--hashlimit-dstmask ${d.pick(d.by([0, 8, 24, 30, 31, 32], [0, 32, 64, 127, 128]))}`
      : '',
    // Those that share a table may want other things of it than the first one, which makes it.
    `--hashlimit-name ${shared ? d.pick(['s', 't']) : `h${d.random.below(100000)}`}`,
    d.random.once(4) ? `--hashlimit-htable-max ${d.pick([1, 2, 3, 100])}` : '',
    d.random.once(6) ? `--hashlimit-htable-size ${d.pick([1, 2, 64])}` : '',
    d.random.once(8) ? '--hashlimit-htable-gcinterval 60000' : '',
    // The kernel's collector comes by at times that nobody knows: nothing may be old enough for it.
    bytes || rate.endsWith('/second') || d.random.once(5) ? '--hashlimit-htable-expire 60000' : '',
    // The kernel keeps both kinds of state in the same place (docs/parity.md).
    d.random.once(8) && !bytes && !shared
      ? `--hashlimit-rate-match --hashlimit-rate-interval ${d.pick([1, 2, 10])}`
      : '',
  )
}

function time(d: Draw): string {
  const at = (by: number): Date => new Date(d.wall + by * 1000)
  const clock = (by: number): string => at(by).toISOString().slice(11, 19)
  const date = (by: number): string => at(by).toISOString().slice(0, 19)
  const by = (): number => d.pick([-86400, -3600, -60, -1, 0, 1, 2, 60, 3600, 86400])
  const start = by()
  const stop = by()
  const day = (n: number): number => at(n * 86400).getUTCDate()
  const week = (n: number): string =>
    ['Sun', 'Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat'][at(n * 86400).getUTCDay()]!
  const clocks = d.random.once(2)
  const contiguous = clocks && clock(stop) < clock(start) && d.random.once(2)
  const options = [
    clocks ? `--timestart ${clock(start)} --timestop ${clock(stop)}` : '',
    contiguous ? '--contiguous' : '',
    d.random.once(3) ? `--datestart ${date(by())}` : '',
    d.random.once(3) ? `--datestop ${date(by())}` : '',
    d.random.once(3)
      ? `${d.not(3)}--monthdays ${[...new Set([day(d.pick([0, 1, -1])), day(2)])].join(',')}`
      : '',
    d.random.once(3) ? `${d.not(3)}--weekdays ${week(d.pick([0, 1, -1]))}` : '',
    d.random.once(5) ? '--kerneltz' : '',
  ]
  return words(...options)
}

function policy(d: Draw): string {
  const dirs = [
    ...(d.only('PREROUTING', 'INPUT', 'FORWARD') ? ['in'] : []),
    ...(d.only('FORWARD', 'OUTPUT', 'POSTROUTING') ? ['out'] : []),
  ]
  const pol = d.random.once(3) ? 'none' : 'ipsec'
  return words(
    `--dir ${d.pick(dirs)} --pol ${pol}`,
    pol === 'ipsec'
      ? d.pick([
          () => '',
          () => `--strict ${d.not()}--reqid 1 --next ${d.not()}--proto esp`,
          () => `${d.not()}--reqid 1`,
          () => `${d.not()}--proto ${d.pick(['esp', 'ah', 'ipcomp'])}`,
          () => `${d.not()}--mode transport`,
          () => `${d.not(2)}--spi 5`,
          () =>
            `--mode tunnel ${d.not()}--tunnel-src ${d.by('10.0.0.0/8', '2001:db8::/32')} ${d.not()}--tunnel-dst ${d.by('10.1.0.0/16', 'fd00::/8')}`,
        ])()
      : '',
  )
}

export const MATCHES: readonly Entry[] = [
  { name: 'addrtype', draw: addrtype, weight: () => 3 },
  {
    name: 'ah',
    families: [4],
    protocols: ['ah'],
    draw: (d) => {
      const f = d.frame('ah')
      // All that have the header whole.
      return d.random.once(4) ? '' : `${d.not()}--ahspi ${d.range(f.u32(f.l4 + 4), 0xffffffff, ':')}`
    },
  },
  { name: 'bpf', draw: bpf, weight: (profile) => (profile === 'extensions' ? 2 : 1) },
  {
    name: 'cgroup',
    hooks: ['INPUT', 'OUTPUT', 'POSTROUTING'],
    draw: (d) => `${d.not(2)}${d.random.once(3) ? '--path /' : `--cgroup ${d.pick([0, 1])}`}`,
  },
  {
    name: 'cluster',
    tracks: true,
    draw(d) {
      const nodes = d.pick([1, 2, 2, 3, 4, 32])
      const which = d.random.once(2)
        ? // Printed as a mask, of which the tool itself reads up to 32 only.
          `--cluster-local-node ${d.pick([1, Math.min(5, nodes), 1 + d.random.below(Math.min(5, nodes))])}`
        : `--cluster-local-nodemask ${d.pick([1, Math.min(32, 2 ** Math.min(nodes, 5) - 1)])}`
      return `--cluster-total-nodes ${nodes} ${d.not()}${which} --cluster-hash-seed ${d.pick(['0', '0xdeadbeef', '42'])}`
    },
  },
  { name: 'comment', draw: () => '--comment "what a rule, isn\'t it"' },
  {
    name: 'connbytes',
    tracks: true,
    draw(d) {
      const mode = d.pick(['packets', 'bytes', 'avgpkt'])
      const size = d.frame().length
      const n =
        mode === 'packets' ? d.pick([0, 1, 2, 3, 5]) : mode === 'bytes' ? size * d.pick([1, 1, 2, 3]) : size
      // The tool prints no upper end of 0.
      const at = d.near(n, 0xffffffff, 1)
      const range = d.pick([`${at}`, `${at}:`, `${at}:${at + d.pick([0, 1, 2, 100])}`, `0:${at}`])
      return `${d.not()}--connbytes ${range} --connbytes-dir ${d.pick(['original', 'reply', 'both'])} --connbytes-mode ${mode}`
    },
  },
  {
    name: 'connlabel',
    tracks: true,
    draw: (d) => `${d.not()}--label ${d.pick([0, 1, 31, 32, 127])}${d.random.once(2) ? ' --set' : ''}`,
  },
  {
    name: 'connlimit',
    tracks: true,
    draw: (d) =>
      words(
        `--connlimit-${d.pick(['upto', 'above'])} ${d.pick([0, 1, 2, 3, 5])}`,
        // The kernel hangs networks into trees by a secret, and those of one tree clean each other up: few networks.
        `--connlimit-mask ${d.pick([0, 0, 0, 1])}`,
        d.pick(['', '--connlimit-saddr', '--connlimit-daddr']),
      ),
  },
  { name: 'connmark', tracks: true, draw: (d) => `${d.not()}--mark ${d.markMask()}`, weight: () => 2 },
  {
    name: 'conntrack',
    tracks: true,
    draw: conntrack,
    weight: (profile) => (profile === 'state' ? 12 : profile === 'extensions' ? 4 : 5),
  },
  // Which of the machine's processors the frame is written on is chance: only those that it has not are told apart.
  { name: 'cpu', draw: (d) => `${d.not(2)}--cpu ${d.pick([300, 1000, 4096])}` },
  {
    name: 'dccp',
    protocols: ['dccp'],
    draw: (d) =>
      anyOf(
        d,
        () => ports(d, 3),
        () => `${d.not(3)}--dccp-types ${d.some(DCCP_TYPES).join(',')}`,
        () => `${d.not(3)}--dccp-option ${d.pick([2, 3, 32, 32, 41, 41])}`,
      ),
    weight: () => 2,
  },
  {
    name: 'devgroup',
    fits: (d) => d.only('PREROUTING', 'INPUT', 'FORWARD') || d.only('FORWARD', 'OUTPUT', 'POSTROUTING'),
    draw(d) {
      const one = (): number => d.pick(d.world.devices).group ?? 0
      const group = (): string =>
        d.pick([
          () => String(d.near(one())),
          () => `${hex(d.near(one()))}/${d.pick(['0x1', '0x4', '0x7', '0xfffffff8', '0xffffffff'])}`,
          () => '0x1/0x0',
          () => '5/0xfff8',
        ])()
      const source = d.only('PREROUTING', 'INPUT', 'FORWARD')
      const destination = d.only('FORWARD', 'OUTPUT', 'POSTROUTING')
      if (source && destination)
        return anyOf(
          d,
          () => `${d.not()}--src-group ${group()}`,
          () => `${d.not()}--dst-group ${group()}`,
        )
      return `${d.not()}--${source ? 'src' : 'dst'}-group ${group()}`
    },
  },
  {
    name: 'dscp',
    draw: (d) =>
      `${d.not()}${d.random.once(3) ? `--dscp-class ${d.pick(['AF11', 'AF23', 'AF42', 'CS0', 'CS1', 'CS7', 'EF', 'BE'])}` : `--dscp ${d.near(d.frame().tos >> 2, 63)}`}`,
  },
  {
    name: 'ecn',
    draw: (d) =>
      d.protocol === 'tcp'
        ? anyOf(
            d,
            () => `${d.not()}--ecn-tcp-cwr`,
            () => `${d.not()}--ecn-tcp-ece`,
            () => `${d.not()}--ecn-ip-ect ${d.frame().tos & 3}`,
          )
        : `${d.not()}--ecn-ip-ect ${d.near(d.frame().tos & 3, 3)}`,
  },
  {
    name: 'esp',
    protocols: ['esp'],
    draw: (d) => {
      const f = d.frame('esp')
      return `${d.not()}--espspi ${d.range(f.u32(f.l4), 0xffffffff, ':', false)}`
    },
  },
  { name: 'hashlimit', draw: hashlimit },
  {
    name: 'helper',
    tracks: true,
    draw: (d) => `${d.not(3)}--helper ${d.pick(['tftp', 'tftp', 'tftp', 'ftp', '""', 'tftp-69'])}`,
    weight: (profile) => (profile === 'extensions' ? 2 : 1),
  },
  {
    name: 'icmp',
    protocols: ['icmp'],
    draw(d) {
      const f = d.frame('icmp')
      const type = d.near(f.u8(f.l4), 255)
      const code = d.near(f.u8(f.l4 + 1), 255)
      return `${d.not()}--icmp-type ${d.random.once(3) ? d.pick(ICMP_NAMES) : d.random.once(2) ? type : `${type}/${code}`}`
    },
  },
  {
    name: 'ipcomp',
    protocols: ['ipcomp'],
    draw: (d) => {
      const f = d.frame('ipcomp')
      return `${d.not()}--ipcompspi ${d.range(f.u16(f.l4 + 2), 0xffff, ':', false)}`
    },
  },
  {
    name: 'iprange',
    draw: (d) =>
      anyOf(
        d,
        () => `${d.not()}--src-range ${iprange(d)}`,
        () => `${d.not()}--dst-range ${iprange(d)}`,
      ),
    weight: () => 2,
  },
  { name: 'length', draw: (d) => `${d.not()}--length ${d.range(d.frame().length, 0xffff)}`, weight: () => 2 },
  {
    name: 'limit',
    draw(d) {
      const rate = d.pick([
        ...['1/minute', '6/minute', '20/sec', '30/min', '1/second', '5/second', '50/second', '10000/second'],
        ...['3/hour', '1/hour', ''],
      ])
      // A hundred times an hour's credit would be more than there can be.
      const most = rate.includes('min') || rate.includes('sec') ? [5, 8, 8, 8, 100] : [5, 8]
      return words(
        rate && `--limit ${rate}`,
        d.random.once(8) ? '' : `--limit-burst ${1 + d.random.below(d.pick(most))}`,
      )
    },
    weight: () => 2,
  },
  {
    name: 'mac',
    hooks: ['PREROUTING', 'INPUT', 'FORWARD'],
    draw: (d) => `${d.not()}--mac-source 02:00:00:00:00:01`,
  },
  { name: 'mark', draw: (d) => `${d.not()}--mark ${d.markMask()}`, weight: () => 3 },
  { name: 'multiport', protocols: PORTED, draw: multiport, weight: () => 4 },
  {
    name: 'osf',
    protocols: ['tcp'],
    hooks: ['PREROUTING', 'INPUT', 'FORWARD'],
    draw: (d) =>
      `${d.not()}--genre ${d.pick(['Linux', 'Windows', 'unknown'])} --ttl ${d.pick([0, 1, 2])}${d.pick(['', '', ' --log 0', ' --log 1', ' --log 2'])}`,
  },
  {
    name: 'owner',
    hooks: ['OUTPUT', 'POSTROUTING'],
    draw: (d) =>
      d.pick([
        () => `${d.not()}--uid-owner 0`,
        () => `${d.not()}--gid-owner 0`,
        () => `${d.not(2)}--socket-exists`,
        () => `${d.not(2)}--socket-exists`,
        () => `${d.not()}--uid-owner 0-1000`,
        () => `${d.not()}--uid-owner 1 ${d.not()}--gid-owner 1`,
        () => `--gid-owner 1 --suppl-groups`,
      ])(),
  },
  {
    name: 'physdev',
    draw(d) {
      const dev = d.pick(d.world.devices).name
      const late = d.only('FORWARD', 'POSTROUTING')
      return d.pick([
        () => `${d.not(2)}--physdev-in ${dev}`,
        () => `${d.not(2)}--physdev-is-in`,
        () => `${d.not(2)}--physdev-is-bridged`,
        ...(late ? [() => `${d.not(2)}--physdev-out ${dev}`, () => `${d.not(2)}--physdev-is-out`] : []),
      ])()
    },
  },
  { name: 'pkttype', draw: (d) => `${d.not()}--pkt-type ${d.pick(['unicast', 'broadcast', 'multicast'])}` },
  {
    name: 'policy',
    // No direction is known in a chain that both kinds reach.
    fits: (d) => d.only('PREROUTING', 'INPUT', 'FORWARD') || d.only('FORWARD', 'OUTPUT', 'POSTROUTING'),
    draw: policy,
  },
  {
    name: 'quota',
    draw(d) {
      const sum = d.first(d.pick([1, 2, 5, 20])).reduce((n, f) => n + f.length, 0)
      return `${d.not()}--quota ${d.near(d.random.once(3) ? d.frame().length : sum)}`
    },
  },
  {
    name: 'rateest',
    // generate-rules.ts makes both estimators, of rules that no packet fits: when a real one is read is chance.
    weight: (profile) => (profile === 'extensions' ? 2 : 0),
    draw(d) {
      const kind = d.pick(['bps', 'pps'])
      const rate = (): string =>
        kind === 'bps' ? d.pick(['0bit', '8bit', '1Mbit']) : String(d.pick([0, 1, 1000]))
      const mode = `${d.not()}--rateest-${d.pick(['lt', 'gt', 'eq'])}`
      return d.pick([
        () => `--rateest R0 --rateest-${kind} ${rate()} ${mode}`,
        () =>
          `--rateest-delta --rateest R0 --rateest-${kind}1 ${rate()} ${mode} --rateest-${kind}2 ${rate()}`,
        () => `--rateest1 R0 --rateest-${kind} ${mode} --rateest2 R1`,
        () =>
          `--rateest-delta --rateest1 R1 --rateest-${kind}1 ${rate()} ${mode} --rateest2 R0 --rateest-${kind}2 ${rate()}`,
      ])()
    },
  },
  {
    name: 'realm',
    hooks: ['INPUT', 'FORWARD', 'OUTPUT', 'POSTROUTING'],
    draw: (d) =>
      `${d.not()}--realm ${d.pick(['0', '3', '7', '3/0xffff', '0x70000/0xffff0000', '0x30000/0xf0000', '0x70003', '0/0xffff'])}`,
  },
  { name: 'recent', draw: recent, weight: (profile) => (profile === 'extensions' ? 4 : 1) },
  {
    name: 'rpfilter',
    tables: ['raw', 'mangle'],
    hooks: ['PREROUTING'],
    draw: (d) =>
      words(...['--loose', '--validmark', '--accept-local', '--invert'].filter(() => d.random.once(3))),
  },
  {
    name: 'sctp',
    protocols: ['sctp'],
    draw: (d) =>
      anyOf(
        d,
        () => ports(d, 3),
        () =>
          `${d.not(3)}--chunk-types ${d.pick(['all', 'any', 'only'])} ${d
            .some(CHUNKS)
            .map((c) => (c === 'DATA' && d.random.once(3) ? d.pick(['DATA:E', 'DATA:BEi', 'DATA:U']) : c))
            .join(',')}`,
      ),
  },
  {
    name: 'socket',
    hooks: ['PREROUTING', 'INPUT'],
    draw: (d) =>
      words(...['--transparent', '--nowildcard', '--restore-skmark'].filter(() => d.random.once(3))),
  },
  {
    name: 'state',
    tracks: true,
    draw: (d) => `${d.not()}--state ${d.some(STATES).join(',')}`,
    weight: () => 2,
  },
  {
    name: 'statistic',
    draw(d) {
      if (d.random.once(6)) return `--mode random ${d.not()}--probability ${d.pick([0, 1])}`
      const every = 1 + d.random.below(5)
      return `--mode nth ${d.not()}--every ${every} --packet ${d.random.below(every)}`
    },
    weight: () => 2,
  },
  { name: 'string', draw: string },
  {
    name: 'tcp',
    protocols: ['tcp'],
    draw(d) {
      const f = d.frame('tcp')
      const has = TCP_FLAGS.filter((_, i) => f.u8(f.l4 + 13) & (1 << i))
      const asked = d.some(TCP_FLAGS)
      const mask = [...new Set([...has, ...asked])]
      const kinds = tcpOptionKinds(d)
      return anyOf(
        d,
        () => ports(d),
        () =>
          d.random.once(4)
            ? `${d.not()}--syn`
            : `${d.not()}--tcp-flags ${d.random.once(4) ? 'ALL' : mask.join(',')} ${has.length === 0 ? 'NONE' : d.random.once(5) ? asked.join(',') : has.join(',')}`,
        () => `${d.not()}--tcp-option ${d.near(kinds.length > 0 ? d.pick(kinds) : 2, 255, 1)}`,
      )
    },
  },
  {
    name: 'tcpmss',
    protocols: ['tcp'],
    draw: (d) => `${d.not()}--mss ${d.range(mss(d), 65535, ':', false)}`,
    weight: () => 2,
  },
  { name: 'time', draw: time },
  {
    name: 'tos',
    draw: (d) =>
      `${d.not()}--tos ${hex(d.near(d.frame().tos, 255), 2)}${d.pick(['', '', '/0x3f', '/0xff', '/0xfc', '/0x03'])}`,
  },
  {
    name: 'ttl',
    draw: (d) =>
      `${d.pick([`${d.not()}--ttl-eq`, '--ttl-lt', '--ttl-gt'])} ${d.near(d.near(d.frame().ttl, 255), 255)}`,
    weight: () => 2,
  },
  { name: 'u32', draw: u32 },
  { name: 'udp', protocols: ['udp'], draw: ports },
  ...MATCHES6,
]
