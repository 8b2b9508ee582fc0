// Every target: how to draw its options. Names of the list are those of rules/targets.

import type { Kind } from '../generate-world.ts'
import { beside, masked } from '../headers.ts'
import { type Draw, type Entry, type Hook, hex, type Table } from './draw.ts'

export interface TargetEntry extends Omit<Entry, 'weight'> {
  weight?(profile: Kind, table: Table): number
  /** Matches without which the kernel refuses it. */
  readonly asks?: string
}

const words = (...parts: readonly string[]): string => parts.filter((p) => p !== '').join(' ')
/** Whether a rule of NAT may name ports: of ICMP identifiers, over IPv4. */
const ported = (d: Draw): boolean =>
  ['tcp', 'udp', 'sctp', 'dccp', ...d.by(['icmp'], [])].includes(d.protocol)

const REJECTS = [
  'icmp-net-unreachable',
  'icmp-host-unreachable',
  'icmp-proto-unreachable',
  'icmp-port-unreachable',
  'icmp-net-prohibited',
  'icmp-host-prohibited',
  'icmp-admin-prohibited',
]
const REJECTS6 = [
  'icmp6-no-route',
  'icmp6-adm-prohibited',
  'icmp6-addr-unreachable',
  'icmp6-port-unreachable',
  'icmp6-policy-fail',
  'icmp6-reject-route',
]

const flags = (d: Draw, persistent = true): string =>
  `${d.random.once(8) ? ' --random' : ''}${persistent && d.random.once(8) ? ' --persistent' : ''}`

function range(d: Draw): string {
  const from = d.pick([2000, 7000, 1024, 40000, 600])
  return d.random.once(2) ? String(from) : `${from}-${from + d.pick([1, 2, 9, 200])}`
}

/** An address of NAT, now and then a few; in brackets where a port of IPv6 follows. */
function natAddresses(d: Draw, from: string, oneIn: number, port: string): string {
  const list = d.random.once(oneIn) ? `${from}-${beside(from, 1 + d.random.below(3))}` : from
  if (port === '') return list
  return `${d.by(list, `[${list}]`)}:${port}`
}

function dnat(d: Draw): string {
  const { random, world } = d
  const to = random.once(20)
    ? d.by('127.0.0.1', '::1')
    : random.once(8)
      ? random.pick(world.own)
      : random.pick(world.peers).address
  const port =
    !ported(d) || random.once(4) ? '' : random.once(2) ? String(random.pick(world.serverPorts)) : range(d)
  // A range that is shifted: the distance of the port from the base, from the begin of the range on.
  const shifted =
    port.includes('-') && random.once(2)
      ? `${port}/${random.pick([...world.serverPorts, 1, 79, 65535])}`
      : port
  const where = port !== '' && random.once(10) ? `:${shifted}` : natAddresses(d, to, 5, shifted)
  return `--to-destination ${where}${flags(d)}`
}

function snat(d: Draw): string {
  const { random, world } = d
  const to = random.once(3) ? random.pick(world.own) : random.pick(world.virtual)
  if (ported(d) && random.once(12)) return `--to-source :${range(d)}`
  const fully = random.once(10) ? ' --random-fully' : flags(d)
  return `--to-source ${natAddresses(d, to, 4, ported(d) && random.once(2) ? range(d) : '')}${fully}`
}

/** Prefixes of one length, or not. */
function npt(d: Draw): string {
  const prefix = (length: number): string => {
    const from = d.random.once(3) ? d.pick(['fd01:203::', '2001:db8:1::', '2001:db8:ffff:1::']) : d.address()
    return `${masked(from, length)}/${length}`
  }
  const length = d.pick([64, 64, 48, 48, 56, 60, 32, 44, 1])
  return `--src-pfx ${prefix(length)} --dst-pfx ${prefix(d.random.once(4) ? d.pick([64, 48, 56]) : length)}`
}

const to = (d: Draw): string => d.markMask()
const shift = (d: Draw): string =>
  d.random.once(3) ? ` --${d.pick(['left', 'right'])}-shift-mark ${d.pick([0, 1, 4, 31])}` : ''
const marks = (d: Draw): string =>
  d.pick([
    () => `--set-mark ${to(d)}`,
    () => `--set-xmark ${to(d)}`,
    () => `--and-mark ${d.mark()}`,
    () => `--or-mark ${d.mark()}`,
    () => `--xor-mark ${d.mark()}`,
  ])()

const NAT_DESTINATION: readonly Hook[] = ['PREROUTING', 'OUTPUT']
const NAT_SOURCE: readonly Hook[] = ['INPUT', 'POSTROUTING']
const LATE: readonly Hook[] = ['FORWARD', 'OUTPUT', 'POSTROUTING']
const MANGLE: readonly Table[] = ['mangle']
const NAT: readonly Table[] = ['nat']

/**
 * From where copies come in again that make copies only once: groups, broadcasts, this host itself. In PREROUTING and INPUT
 * they would go round for ever, as would those of IPv6 out of lo.
 */
const TEE_ONCE = ['FORWARD', 'OUTPUT', 'POSTROUTING'] as const
const GROUPS = {
  4: ['224.0.0.1', '224.0.0.5', '239.1.2.3', '255.255.255.255'],
  6: ['ff02::1', 'ff02::2', 'ff05::1234'],
} as const

function teeGateway(d: Draw): string {
  const { peers, broadcasts, refused, own, virtual, family } = d.world
  if (!d.only(...TEE_ONCE) || !d.random.once(3)) return d.pick(peers).address
  return d.pick([...GROUPS[family], ...broadcasts, ...refused, ...own, ...virtual])
}

const teeDevice = (d: Draw): string =>
  d.family === 4 && d.only(...TEE_ONCE) && d.random.once(4) ? 'lo' : d.pick(d.world.devices).name

export const TARGETS: readonly TargetEntry[] = [
  { name: 'AUDIT', draw: (d) => `--type ${d.pick(['accept', 'drop', 'reject'])}` },
  { name: 'CHECKSUM', tables: MANGLE, draw: () => '--checksum-fill' },
  {
    name: 'CLASSIFY',
    tables: MANGLE,
    hooks: LATE,
    draw: (d) => `--set-class ${d.random.below(16).toString(16)}:${d.random.below(16).toString(16)}`,
  },
  {
    name: 'CONNMARK',
    tables: ['mangle', 'filter', 'nat', 'security'],
    tracks: true,
    weight: (_, table) => (table === 'mangle' ? 5 : 1),
    draw: (d) =>
      d.pick([
        () => marks(d),
        () => marks(d),
        () => `--save-mark${d.pick(['', ' --mask 0xff', ' --nfmask 0xffff --ctmask 0xff'])}${shift(d)}`,
        () => `--restore-mark${d.pick(['', ' --mask 0xff', ' --nfmask 0xff --ctmask 0xffff'])}${shift(d)}`,
        () => `--set-xmark ${to(d)}${shift(d)}`,
      ])(),
  },
  {
    name: 'CONNSECMARK',
    tables: ['mangle', 'security'],
    tracks: true,
    draw: (d) => d.pick(['--save', '--restore']),
  },
  {
    name: 'CT',
    tables: ['raw'],
    tracks: true,
    weight: (profile) => (profile === 'state' ? 12 : 4),
    draw: (d) =>
      d.pick([
        '--notrack',
        `--zone ${1 + d.random.below(3)}`,
        `--zone-orig ${1 + d.random.below(3)}`,
        `--zone-reply ${1 + d.random.below(3)}`,
        `--zone-reply ${d.random.below(3)}`,
        '--zone mark',
        `--zone-orig ${d.pick(['mark', '65535', '2'])} --zone-reply ${d.pick(['mark', '0', '2'])}`,
        `--zone ${d.pick([0, 65535])}`,
        `--zone 2 ${d.protocol === 'udp' ? '--helper tftp' : '--ctevents new,destroy'}`,
        '--ctevents new,reply',
        '--expevents new',
        d.protocol === 'udp' ? '--helper tftp' : '--notrack',
        d.protocol === 'tcp' ? '--helper ftp' : '--notrack',
        ...Array<string>(4).fill(
          d.profile === 'state' && ['tcp', 'udp', 'icmp', 'sctp'].includes(d.protocol)
            ? `--timeout ${d.protocol}`
            : '--zone 1',
        ),
      ]),
  },
  {
    name: 'DNAT',
    tables: NAT,
    hooks: NAT_DESTINATION,
    tracks: true,
    weight: () => 14,
    draw: dnat,
  },
  {
    name: 'DSCP',
    tables: MANGLE,
    weight: () => 3,
    draw: (d) =>
      d.random.once(3)
        ? `--set-dscp-class ${d.pick(['AF21', 'CS5', 'EF'])}`
        : `--set-dscp ${d.random.below(64)}`,
  },
  {
    name: 'ECN',
    tables: MANGLE,
    // The IP bits are no TCP's business, but the rule must be for TCP where the TCP bits are asked for.
    protocols: ['tcp'],
    weight: () => 2,
    draw: (d) =>
      d.pick([
        '--ecn-tcp-remove',
        `--ecn-tcp-cwr ${d.random.below(2)}`,
        `--ecn-tcp-ece ${d.random.below(2)}`,
        `--ecn-tcp-cwr ${d.random.below(2)} --ecn-tcp-ece ${d.random.below(2)}`,
        `--ecn-ip-ect ${d.random.below(4)}`,
      ]),
  },
  {
    name: 'HMARK',
    tables: ['mangle', 'raw'],
    weight: () => 2,
    draw: (d) =>
      words(
        d.pick([
          () => `--hmark-tuple ${d.some(['src', 'dst', 'sport', 'dport', 'proto', 'ct']).join(',')}`,
          () => `--hmark-tuple ${d.some(['src', 'dst', 'spi', 'proto', 'ct']).join(',')}`,
          () =>
            `--hmark-src-prefix ${d.pick(d.by([0, 8, 24, 31, 32], [0, 32, 48, 64, 127, 128]))} --hmark-dst-prefix ${d.pick(d.by([0, 1, 16, 32], [0, 1, 56, 96, 128]))}`,
          () =>
            `--hmark-sport-mask ${d.pick(['0xff', '0xffff'])} --hmark-dport-mask ${d.pick(['0x0', '0xff00'])}`,
          () =>
            `--hmark-spi-mask ${d.pick(['0xff', '0xffffffff'])} --hmark-proto-mask ${d.pick(['0xff', '0x1'])}`,
          () => `--hmark-tuple src,sport --hmark-sport ${d.port()} --hmark-dport ${d.port()}`,
          () => `--hmark-tuple dst,spi --hmark-spi ${hex(d.port())}`,
        ])(),
        `--hmark-mod ${d.pick([1, 2, 5])} --hmark-offset ${d.pick([0, 1, 0x10])}`,
        `--hmark-rnd ${d.pick(['0', '0xcafe'])}`,
      ),
  },
  {
    name: 'IDLETIMER',
    // Labels are the machine's, not the namespace's: those of two scenarios at once are the same timer to it.
    draw: (d) => {
      const alarm = d.random.once(4)
      return `--timeout ${d.pick([1, 600])} --label tunwall${alarm ? 'a' : ''}${d.random.below(4)}${alarm ? ' --alarm' : ''}`
    },
  },
  {
    name: 'LOG',
    draw: (d) =>
      words(
        `--log-prefix "x: " --log-level ${d.random.below(8)}`,
        ...['tcp-sequence', 'tcp-options', 'ip-options', 'uid', 'macdecode']
          .filter(() => d.random.once(3))
          .map((flag) => `--log-${flag}`),
      ),
  },
  {
    name: 'HL',
    families: [6],
    tables: MANGLE,
    weight: () => 3,
    draw: (d) =>
      d.pick([
        `--hl-set ${d.pick([1, 2, 64, 255])}`,
        `--hl-dec ${d.pick([1, 5, 63, 64])}`,
        `--hl-inc ${d.pick([1, 191, 192, 200])}`,
      ]),
  },
  {
    name: 'DNPT',
    families: [6],
    tables: MANGLE,
    hooks: ['PREROUTING', 'OUTPUT'],
    draw: npt,
  },
  {
    name: 'MARK',
    weight: (_, table) => (table === 'mangle' ? 6 : table === 'raw' ? 2 : 1),
    draw: marks,
  },
  {
    name: 'MASQUERADE',
    tables: NAT,
    hooks: ['POSTROUTING'],
    tracks: true,
    weight: () => 8,
    draw: (d) =>
      `${ported(d) && d.random.once(4) ? `--to-ports ${range(d)}` : ''}${d.pick(['', '', ' --random', ' --random-fully'])}`,
  },
  {
    name: 'NETMAP',
    tables: NAT,
    tracks: true,
    draw: (d) =>
      `--to ${d.random.once(3) ? `${d.address()}/${d.pick(d.by([32, 31, 24, 8], [128, 127, 64, 48]))}` : d.pick(d.world.prefixes)}`,
  },
  {
    name: 'NFLOG',
    draw: (d) =>
      words(
        `--nflog-group ${d.pick([0, 5])}`,
        d.random.once(2) ? '--nflog-prefix "n: "' : '',
        d.pick(['', '', '--nflog-size 20', '--nflog-size 0', '--nflog-range 30']),
        d.random.once(4) ? `--nflog-threshold ${d.pick([1, 5])}` : '',
      ),
  },
  {
    name: 'NFQUEUE',
    draw: (d) =>
      words(
        d.random.once(3)
          ? `--queue-balance 1:3${d.random.once(3) ? ' --queue-cpu-fanout' : ''}`
          : `--queue-num ${d.pick([0, 1, 65535])}`,
        d.random.once(3) ? '' : '--queue-bypass',
      ),
  },
  { name: 'NOTRACK', tables: ['raw'], draw: () => '' },
  {
    name: 'RATEEST',
    draw: (d) => `--rateest-name R${d.random.below(1e9)} --rateest-interval 250ms --rateest-ewmalog 500ms`,
    tables: ['mangle', 'filter'],
  },
  {
    name: 'REDIRECT',
    tables: NAT,
    hooks: NAT_DESTINATION,
    tracks: true,
    weight: () => 6,
    draw: (d) =>
      ported(d) && d.random.once(2)
        ? `--to-ports ${d.random.once(2) ? d.pick(d.world.serverPorts) : range(d)}${d.random.once(3) ? ' --random' : ''}`
        : '',
  },
  {
    name: 'REJECT',
    tables: ['filter'],
    weight: () => 5,
    draw: (d) =>
      d.protocol === 'tcp' && d.random.once(2)
        ? '--reject-with tcp-reset'
        : d.random.once(3)
          ? ''
          : `--reject-with ${d.pick(d.by(REJECTS, REJECTS6))}`,
  },
  { name: 'SNAT', tables: NAT, hooks: NAT_SOURCE, tracks: true, weight: () => 10, draw: snat },
  {
    name: 'SNPT',
    families: [6],
    tables: MANGLE,
    hooks: ['INPUT', 'POSTROUTING'],
    draw: npt,
  },
  {
    name: 'TCPMSS',
    tables: MANGLE,
    protocols: ['tcp'],
    asks: '-m tcp --tcp-flags SYN,RST SYN',
    weight: () => 3,
    draw: (d) =>
      d.only(...LATE) && d.random.once(2)
        ? '--clamp-mss-to-pmtu'
        : `--set-mss ${d.random.once(2) ? d.near(d.pick([1460, 536, 1200, 8960]), 65535) : d.pick([1000, 1400, 88])}`,
  },
  {
    name: 'TCPOPTSTRIP',
    tables: MANGLE,
    protocols: ['tcp'],
    weight: () => 2,
    draw: (d) =>
      `--strip-options ${d.some(['wscale', 'mss', 'sack-permitted', 'sack', 'timestamp', 'md5', '253', '7']).join(',')}`,
  },
  {
    name: 'TEE',
    tables: MANGLE,
    // Its copies hide from scenario-draws.ts which ports the kernel drew: not where NAT is the subject.
    weight: (profile) => (profile === 'extensions' ? 1 : 0),
    draw: (d) => words(`--gateway ${teeGateway(d)}`, d.random.once(4) ? `--oif ${teeDevice(d)}` : ''),
  },
  {
    name: 'TOS',
    tables: MANGLE,
    weight: () => 3,
    draw: (d) =>
      d.pick([
        '--set-tos 0x10',
        '--set-tos 0x10/0x3f',
        '--and-tos 0x1e',
        '--or-tos 0x08',
        '--xor-tos 0xff',
        '--set-tos 0',
        '--set-tos 0xff/0x03',
      ]),
  },
  {
    name: 'TPROXY',
    tables: MANGLE,
    hooks: ['PREROUTING'],
    protocols: ['tcp', 'udp'],
    draw: (d) =>
      words(
        `--on-port ${d.pick([0, ...d.world.serverPorts])}`,
        d.random.once(2) ? `--on-ip ${d.pick([...d.world.own, d.by('0.0.0.0', '::')])}` : '',
        d.random.once(2) ? `--tproxy-mark ${to(d)}` : '',
      ),
  },
  { name: 'TRACE', tables: ['raw'], draw: () => '' },
  {
    name: 'TTL',
    tables: MANGLE,
    weight: () => 3,
    draw: (d) =>
      d.pick([
        `--ttl-set ${d.pick([1, 2, 64, 255])}`,
        `--ttl-dec ${d.pick([1, 5, 63, 64])}`,
        `--ttl-inc ${d.pick([1, 191, 192, 200])}`,
      ]),
  },
]

/** What has no entry, and why. */
export const WITHOUT_ENTRY: Readonly<Record<string, string>> = {
  nfacct: 'needs an accounting object, and no tool of the scenario makes one: refused',
  SECMARK: 'needs a security module: refused',
  set: 'sets have tests of their own',
  SET: 'sets have tests of their own',
  SYNPROXY: 'answers with cookies that are drawn with a secret',
  CLUSTERIP: 'needs a device with a hardware address: refused',
  ipvs: 'this kernel has no IPVS',
  LED: 'this kernel has no such target',
}
