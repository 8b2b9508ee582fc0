// Sessions of the commands that firewalls and people really run: rules of test/data/rulesets and of manuals, each often
// with something changed: order, spelling, negation, values, a word too many or too few. Where commands-grammar.ts
// makes up rules from all options, this starts from right ones, so that what is changed is the only thing that is odd.

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Family } from '../../datapath/packet.ts'
import { shellWords } from '../extensions/rule.ts'
import type { Call } from './commands.ts'
import { Dice } from './commands-words.ts'
import { recordedRulesets } from './rulesets.ts'

/** A rule of some table: `-A CHAIN …` without its first word. */
interface RealRule {
  readonly table: string
  readonly chain: string
  /** Each option with its values, and `!` before it. */
  readonly uses: readonly (readonly string[])[]
}

const BUILTIN: Readonly<Record<string, readonly string[]>> = {
  filter: ['INPUT', 'FORWARD', 'OUTPUT'],
  security: ['INPUT', 'FORWARD', 'OUTPUT'],
  raw: ['PREROUTING', 'OUTPUT'],
  nat: ['PREROUTING', 'INPUT', 'OUTPUT', 'POSTROUTING'],
  mangle: ['PREROUTING', 'INPUT', 'FORWARD', 'OUTPUT', 'POSTROUTING'],
}

/** Cuts the words behind the chain's name into options with their values. */
function cut(words: readonly string[]): string[][] {
  const uses: string[][] = []
  for (const word of words) {
    const last = uses.at(-1)
    const opens = word === '!' || /^-[a-zA-Z]$|^--./.test(word)
    if (last === undefined || (opens && last.at(-1) !== '!')) uses.push([word])
    else last.push(word)
  }
  return uses
}

function parse(text: string): RealRule[] {
  const rules: RealRule[] = []
  let table = 'filter'
  for (const line of text.split('\n')) {
    if (line.startsWith('*')) table = line.slice(1)
    const at = line.indexOf('-A ')
    if (at < 0 || line.startsWith('#')) continue
    const [chain = '', ...words] = shellWords(line.slice(at + 3))
    rules.push({ table, chain, uses: cut(words) })
  }
  return rules
}

const EXTENSION =
  /^(ACCEPT|DROP|RETURN|QUEUE|REJECT|LOG|MARK|CT|SET|TEE|TTL|HL|TOS|DSCP|ECN|DNAT|SNAT|NFLOG|NFQUEUE|NETMAP|HMARK|DNPT|SNPT|TRACE|NOTRACK|REDIRECT|MASQUERADE|TPROXY|CHECKSUM|RATEEST|CLASSIFY|CONNMARK|TCPMSS|TCPOPTSTRIP|SYNPROXY)$/

const isUser = (name: string): boolean => !EXTENSION.test(name) && !BUILTIN.mangle!.includes(name)

/** Options with a long name, by the short one. */
const LONG: Readonly<Record<string, readonly string[]>> = {
  '-s': ['--source', '--src', '--sou', '--sr'],
  '-d': ['--destination', '--dst', '--dest', '--ds'],
  '-p': ['--protocol', '--proto', '--prot'],
  '-i': ['--in-interface', '--in-int', '--in'],
  '-o': ['--out-interface', '--out'],
  '-j': ['--jump', '--ju'],
  '-g': ['--goto', '--go'],
  '-m': ['--match', '--matc', '--mat'],
  '-f': ['--fragment', '--fragments'],
  '-c': ['--set-counters', '--set-count'],
}

const PORTS = [
  'ssh',
  'http:https',
  'ftp:',
  ':ssh',
  'domain',
  'ftp-data:ftp',
  'SSH',
  '0',
  '65535',
  '0:65535',
  '22:22',
  '443:80',
  ':',
  '22:',
  ':22',
  '0x50',
  '0120',
  '+80',
  '-80',
  ' 80',
  '80 ',
  '80-90',
  '80,443',
  '65536',
  'tcpmux',
  'http-alt',
  'www',
  'bootps:bootpc',
  'nosuch',
  'ssh:nosuch',
  '1:2:3',
  '22:ssh',
  'x11',
  'sunrpc',
  'mysql',
  '',
]
const NUMBERS = [
  '0',
  '1',
  '-1',
  '+1',
  '0x1',
  '010',
  '08',
  ' 1',
  '1 ',
  '1x',
  '',
  '255',
  '256',
  '65535',
  '65536',
  '4294967295',
  '4294967296',
  '18446744073709551616',
  '1.5',
  '1/2',
  '1-2',
  '1:2',
  '1,2',
  '0x10/0x10',
  '0XfF',
  '1e3',
]
const ADDRESSES: Readonly<Record<Family, readonly string[]>> = {
  4: [
    '10.0.0.0/8',
    '10.0.0.0/255.0.255.0',
    '10.0.0.1/0.0.0.255',
    '10.0.0.5/24',
    '192.168.1.1/32',
    '0/0',
    '0.0.0.0/0.0.0.0',
    '10/8',
    '10.1/16',
    '127.1',
    '127.0.0.1/8',
    '255.255.255.255',
    '224.0.0.0/4',
    '10.0.0.1,10.0.0.2',
    '10.0.0.0/24,10.0.0.5/24',
    '1.2.3.4/32,1.2.3.4',
    '10.0.0.1 ',
    ' 10.0.0.1',
    '10.0.0.1/',
    '/24',
    '10.0.0.1/+24',
    '10.0.0.1/ 24',
    '10.0.0.1/024',
    '10.0.0.1/0x18',
    '10.0.0.1/24/24',
    '1.2.3.4,',
    ',1.2.3.4',
    '1.2.3.4,,5.6.7.8',
    '1.2.3.4, 5.6.7.8',
    '1.2.3.4-1.2.3.9',
    '0x0a000001',
    '167772161',
    '012.0.0.1',
    '10.0.0.01',
    '1.2.3.4/-1',
    '10.0.0.0/255.255.255.255',
    '10.0.0.0/255.255.255',
    '10.0.0.0/256.0.0.0',
    'any',
    'default',
    '::1',
    '*',
    '',
  ],
  6: [
    'fd00::/8',
    'fd00::/ffff::',
    'fd00::1/ff00::ff',
    '2001:db8::5/64',
    '::/0',
    '::',
    '::1',
    '::1/128',
    'fe80::/10',
    'ff02::1',
    '::ffff:10.0.0.1',
    '64:ff9b::10.0.0.1/96',
    '::10.0.0.1',
    'fd00::1,fd00::2',
    'fd00::/64,fd00::5/64',
    'localhost',
    'localhost/64',
    '2001:DB8::1',
    '2001:0db8:0000::0001',
    '2001:db8:0:0:1:0:0:1',
    'fd00::1/129',
    'fd00::1/-1',
    'fd00::1/',
    'fd00::1/064',
    'fd00::1/0x40',
    'fd00::1 ',
    '[fd00::1]',
    'fe80::1%eth0',
    '1::2::3',
    '1:2:3:4:5:6:7:8',
    '1:2:3:4:5:6:7::',
    '::2:3:4:5:6:7:8',
    '10.0.0.1',
    '10.0.0.0/8',
    ',',
    '',
  ],
}
const INTERFACES = [
  'eth0',
  'eth+',
  '+',
  'eth0.100',
  'eth0:1',
  'br-1a2b3c4d5e6f',
  'veth1234567@if5',
  'cali+',
  'docker0',
  'tun+',
  'ppp+',
  'wlan0',
  'eth*',
  'eth0+x',
  '++',
  'averyveryverylongname',
  'fifteen-chars-x',
  'sixteen-chars-xy',
  'fifteen-chars-x+',
  'eth 0',
  'eth/0',
  '.',
  '..',
  '!eth0',
  '',
]
const PROTOCOLS = [
  'TCP',
  'Udp',
  'ICMP',
  'tcp ',
  ' tcp',
  'icmp6',
  'icmpv6',
  'ipv6-icmp',
  'IPv6-ICMP',
  'all',
  'ALL',
  'any',
  'ip',
  'IP',
  'ipv6',
  'hopopt',
  'igmp',
  'vrrp',
  'ospf',
  'ospfigp',
  'gre',
  'esp',
  'ah',
  'ipv6-auth',
  'ipv6-crypt',
  'l2tp',
  'ipip',
  'ipencap',
  'eigrp',
  'pim',
  'rsvp',
  'sctp',
  'udplite',
  'dccp',
  'mptcp',
  'mh',
  'mobility-header',
  'ipv6-opts',
  'ipv6-nonxt',
  '6',
  '06',
  '0x6',
  '+6',
  '6 ',
  '-6',
  '0',
  '00',
  '255',
  '256',
  '262',
  '254',
  '6.0',
  'tcp,udp',
  '!tcp',
  '',
]
const TARGETS = [
  'ACCEPT',
  'DROP',
  'RETURN',
  'QUEUE',
  'REJECT',
  'LOG',
  'MASQUERADE',
  'accept',
  'Drop',
  'DENY',
  'INPUT',
  'nosuch',
  'ACCEPT ',
  '',
  'KUBE-MARK-MASQ',
  'DOCKER',
  'NOTRACK',
  'TRACE',
  'TOS',
  'ULOG',
  'MIRROR',
]
/** Words that take a value which is one of these. */
const POOLS: Readonly<Record<string, readonly string[]>> = {
  '--dport': PORTS,
  '--sport': PORTS,
  '--destination-port': PORTS,
  '--source-port': PORTS,
  '--dports': [
    ...PORTS,
    '22,80,443',
    '1:5,7,9:',
    'ssh,http',
    '1,2,3,4,5,6,7,8,9,10,11,12,13,14,15',
    '1:2,3,4,5,6,7,8,9,10,11,12,13,14,15',
    '1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16',
    '22,,80',
    ',22',
    '22,',
    'ssh, http',
  ],
  '--ctstate': [
    'NEW',
    'new',
    'ESTABLISHED,RELATED',
    'INVALID',
    'UNTRACKED',
    'SNAT,DNAT',
    'NEW,',
    ',NEW',
    'NEW,NEW',
    'NEW, RELATED',
    'NONE',
    'ALL',
    'REL',
    'NEW ESTABLISHED',
    'ESTABLISHED,RELATED,NEW,INVALID,UNTRACKED,SNAT,DNAT',
    '',
  ],
  '--state': ['NEW', 'new', 'ESTABLISHED,RELATED', 'INVALID', 'UNTRACKED', 'SNAT', 'NEW,', 'ALL', ''],
  '--icmp-type': [
    '8',
    'echo-request',
    'ping',
    'pong',
    'any',
    '255',
    '255/255',
    '3/4',
    '3/',
    '/4',
    '8/0',
    'echo',
    'network-unreachable',
    'destination-unreachable',
    'host-',
    'ttl-exceeded',
    'time-exceeded',
    '3/256',
    '256',
    '0x8',
    'Echo-Request',
    'fragmentation-needed',
    'timestamp-request',
    'address-mask-reply',
    '-1',
    '',
  ],
  '--icmpv6-type': [
    '128',
    'echo-request',
    'ping',
    'any',
    '255',
    '1/4',
    'port-unreachable',
    'packet-too-big',
    'neighbour-solicitation',
    'neighbor-solicitation',
    'redirect',
    'router-advertisement',
    'mld-listener-query',
    '143',
    '130/0',
    '256',
    '1/',
    'destination-unreachable',
    'no-route',
    '',
  ],
  '--tcp-flags': ['SYN,ACK', 'ALL', 'NONE', 'SYN', 'syn', 'FIN,SYN,RST,ACK', 'SYN,,ACK', 'SYN,', 'FOO', ''],
  '--reject-with': [
    'icmp-port-unreachable',
    'tcp-reset',
    'icmp-admin-prohibited',
    'tcp-rst',
    'icmp-host-prohib',
    'icmp-net',
    'icmp6-adm-prohibited',
    'adm-prohibited',
    'echo-reply',
    'port-unreach',
    'no-route',
    'icmp6-policy-fail',
    'reject-route',
    'icmp-proto-unreachable',
    'help',
    '',
  ],
  '--log-level': [
    '4',
    'warning',
    'debug',
    '7',
    '8',
    'WARN',
    'warn',
    'err',
    'error',
    'panic',
    'emerg',
    'info',
    'notice',
    'crit',
    'alert',
    '-1',
    '0x4',
    'inf',
    '',
  ],
  '--log-prefix': [
    'x',
    'a b',
    'iptables denied: ',
    'x'.repeat(29),
    'x'.repeat(30),
    '"',
    "'",
    '[UFW BLOCK] ',
    '',
    'a\tb',
    '%d',
    '\\',
  ],
  '--limit': [
    '5/min',
    '5/m',
    '5/minute',
    '3/minut',
    '1/s',
    '1/sec',
    '100/second',
    '10000/s',
    '10001/s',
    '5/h',
    '5/hour',
    '1/day',
    '1/d',
    '5',
    '0/s',
    '-1/s',
    '5/x',
    '1/',
    '/s',
    '5/minutes',
    '1.5/s',
    '5 /s',
    ' 5/s',
    '0x5/s',
    '',
  ],
  '--limit-burst': NUMBERS,
  '--to-destination': [
    '10.0.0.1',
    '10.0.0.1:80',
    '10.0.0.1:80-90',
    '10.0.0.1-10.0.0.9',
    '10.0.0.1-10.0.0.9:1-5',
    ':80',
    ':80-90',
    '10.0.0.1:',
    '10.0.0.1:http',
    '10.0.0.1:0',
    '10.0.0.1:65536',
    '10.0.0.9-10.0.0.1',
    '10.0.0.1:90-80',
    '10.0.0.1:80-90/100',
    '10.0.0.0/24',
    'localhost',
    '[fd00::1]:80',
    '[fd00::1]',
    'fd00::1',
    'fd00::1-fd00::9',
    '[fd00::1-fd00::9]:80-90',
    '[fd00::1]:',
    '[fd00::1',
    'fd00::1]:80',
    '10.0.0.1:80:90',
    '-10.0.0.1',
    '10.0.0.1-',
    '0.0.0.0',
    '0.0.0.0:80-81/5',
    '',
  ],
  '--to-source': [
    '10.0.0.1',
    '10.0.0.1:80',
    '10.0.0.1:1024-65535',
    '10.0.0.1-10.0.0.9',
    '10.0.0.1-10.0.0.9:1-5',
    ':80',
    '10.0.0.1:',
    '10.0.0.1:http',
    '10.0.0.1:90-80',
    '10.0.0.9-10.0.0.1',
    '[fd00::1]:80',
    'fd00::1',
    '[fd00::1]:1024-65535',
    '[fd00::1-fd00::9]',
    '10.0.0.0/24',
    '',
  ],
  '--to-ports': [
    '80',
    '80-90',
    '90-80',
    '80:90',
    'http',
    'http-https',
    '0',
    '65536',
    '80,90',
    '80-',
    '-80',
    '80-90/85',
    '',
  ],
  '--set-xmark': [
    '0x1',
    '0x1/0x1',
    '0x4000/0x4000',
    '1/0xffffffff',
    '0x0/0x0',
    '0/0',
    '0x100000000',
    '1/',
    '/1',
    '-1',
    '1/1/1',
    '010/010',
    '',
  ],
  '--set-mark': ['0x1', '0x1/0x1', '1', '1/0xff', '0xffffffff', '0x100000000', '-1', '1/', '+1', ''],
  '--mark': [
    '0x1',
    '0x1/0x1',
    '1',
    '1/0xff',
    '0x2/0x1',
    '0/0',
    '0xffffffff/0xffffffff',
    '0x100000000',
    '-1',
    '1/',
    '',
  ],
  '--src-type': [
    'LOCAL',
    'local',
    'BROADCAST,LOCAL',
    'UNICAST',
    'MULTICAST,',
    'ANYCAST',
    'THROW',
    'BLACKHOLE,PROHIBIT',
    'XRESOLVE',
    'NAT',
    'UNSPEC',
    'LOC',
    '',
    'ALL',
  ],
  '--dst-type': ['LOCAL', 'local', 'BROADCAST,LOCAL', 'UNICAST', 'MULTICAST', 'LOC', 'LOCAL LOCAL', ''],
  '--probability': [
    '0.5',
    '0.50000000000',
    '0.33333333349',
    '1',
    '0',
    '1.0',
    '1.1',
    '-0.1',
    '.5',
    '1e-5',
    '0x1p-1',
    '50%',
    'inf',
    '',
  ],
  '--mac-source': [
    '00:11:22:33:44:55',
    'AA:BB:CC:DD:EE:FF',
    '0:1:2:3:4:5',
    '00-11-22-33-44-55',
    '00:11:22:33:44',
    '00:11:22:33:44:55:66',
    'aa:bb:cc:dd:ee:gg',
    '',
  ],
  '--uid-owner': [
    '0',
    'root',
    '1000',
    '1234',
    '1000-2000',
    '2000-1000',
    'nosuchuser',
    '4294967295',
    '4294967294',
    '-1',
    'root-nobody',
    '0x10',
    'daemon',
    'www-data',
    '33',
    '65534',
    '',
  ],
  '--gid-owner': ['0', 'root', '33', 'nogroup', '100', '1000-2000', 'nosuchgroup', '4294967295', 'staff', ''],
  '--comment': [
    'x',
    'a b',
    'x'.repeat(255),
    'x'.repeat(256),
    '"quoted"',
    "it's",
    'back\\slash',
    '',
    '\xc3\xa9',
    'a\tb',
    '-A INPUT',
    '/* x */',
    '*filter',
    'COMMIT',
    '#x',
    '$x `y`',
  ],
  '--tcp-option': NUMBERS,
  '--length': ['0:100', '100:', ':100', '100', '65535', '65536', '100:50', '0x10:0x20', ':', ''],
  '--ttl-set': NUMBERS,
  '--set-mss': NUMBERS,
  '--queue-num': NUMBERS,
  '--queue-balance': ['0:3', '3:0', '1', '0:65535', '0:65536', ':', '1:', ''],
  '--nflog-group': NUMBERS,
  '--match-set': ['s4', 's6', 'net4', 'ports', 'list', 'nosuch', ''],
  '--hashlimit-upto': [
    '5/s',
    '5/min',
    '512kb/s',
    '1mb/s',
    '5',
    '0/s',
    '1/day',
    '100kb/min',
    '10000000/s',
    '',
  ],
  '--hashlimit-mode': [
    'srcip',
    'dstip',
    'srcport,dstport',
    'srcip,dstip,srcport,dstport',
    'srcip,',
    'foo',
    'SRCIP',
    'srcip dstip',
    '',
  ],
  '--hashlimit-burst': NUMBERS,
  '--hashlimit-name': ['x', 'a b', 'x'.repeat(15), 'x'.repeat(16), 'x'.repeat(255), '.', 'a/b', ''],
  '--connlimit-above': NUMBERS,
  '--connlimit-mask': ['32', '24', '0', '33', '128', '255.255.255.0', 'x', ''],
  '--seconds': NUMBERS,
  '--hitcount': NUMBERS,
  '--name': ['DEFAULT', 'x', 'x'.repeat(200), 'x'.repeat(201), 'a/b', 'a b', '.', ''],
  '--helper': ['ftp', 'ftp-21', 'sip', 'nosuch', 'x'.repeat(30), ''],
  '--zone': [...NUMBERS, 'mark'],
  '--ctevents': ['new', 'new,destroy', 'all', 'NEW', 'new,foo', ''],
  '--set-tos': [
    '0x10',
    'Minimize-Delay',
    'minimize-delay',
    '0x10/0x3f',
    '16',
    '256',
    '0xff/0xff',
    'Normal-Service',
    'foo',
    '',
  ],
  '--tos': ['0x10', 'Minimize-Delay', '0x10/0x3f', '16', '256', 'Maximize-Throughput', ''],
  '--set-dscp': NUMBERS,
  '--dscp-class': ['CS0', 'CS7', 'AF11', 'AF43', 'EF', 'BE', 'ef', 'AF44', ''],
  '--set-dscp-class': ['CS0', 'CS7', 'AF11', 'EF', 'BE', 'ef', 'CS8', ''],
  '--timestart': ['08:00', '8:0', '24:00', '23:59:60', '8', '08:00:00', '00:00', '-1:00', '08:60', ''],
  '--timestop': ['17:00', '17:0:0', '24:00', '08:00', ''],
  '--weekdays': [
    'Mon,Tue',
    'Mo',
    'mon',
    'MONDAY',
    '1,2,3',
    '0',
    '7',
    '8',
    'Mon-Fri',
    'Mon,,Tue',
    'Sa,Su',
    '',
  ],
  '--datestart': [
    '2020-01-01',
    '2020-01-01T08:00:00',
    '2020-13-01',
    '1969-01-01',
    '2038-01-20',
    '2020',
    '2020-02-31',
    '2020-01',
    '',
  ],
  '--string': ['GET', 'a b', '', 'x'.repeat(128), 'x'.repeat(129), '"'],
  '--hex-string': ['|0d0a|', '|0d 0a|', 'x|41|y', '|zz|', '|4', '|414|', '\\|', 'x\\', ''],
  '--algo': ['bm', 'kmp', 'fsm', 'BM', 'x'.repeat(16), ''],
  '--bytecode': [
    '4,48 0 0 9,21 0 1 6,6 0 0 1,6 0 0 0',
    '1,6 0 0 0',
    '0',
    '2,6 0 0 0',
    '1,6 0 0',
    '1, 6 0 0 0',
    '',
  ],
  '--src-range': [
    '10.0.0.1-10.0.0.9',
    '10.0.0.1',
    '10.0.0.9-10.0.0.1',
    '10.0.0.1-',
    '-10.0.0.9',
    '10.0.0.0/24',
    'fd00::1-fd00::9',
    '',
  ],
  '--dst-range': ['10.0.0.1-10.0.0.9', '10.0.0.1', 'fd00::1-fd00::9', 'fd00::9', ''],
  '--pkt-type': ['unicast', 'broadcast', 'multicast', 'host', 'otherhost', 'bcast', 'UNICAST', 'multi', ''],
  '--u32': [
    '0>>22&0x3C@0>>24=0',
    '6&0xFF=1',
    '4&0x3FFF=0',
    '0=0',
    '0=0:5',
    '0=1,2,3:4',
    '0=5:1',
    '0&1',
    '0',
    '=',
    '0=0&&4=1',
    '0=0 && 4=1',
    '',
  ],
}

const BOTH_PORTS = new Set(['--dport', '--sport'])

function manual(): string {
  return readFileSync(join(import.meta.dirname, '../data/manual-rules.txt'), 'latin1')
}

const rules: Readonly<Record<Family, readonly RealRule[]>> = (() => {
  const recorded = recordedRulesets()
  const sorted: Record<Family, RealRule[]> = { 4: [], 6: [] }
  for (const { ipv4, ipv6 } of recorded) {
    sorted[4].push(...parse(ipv4))
    sorted[6].push(...parse(ipv6))
  }
  const [four = '', six = ''] = manual().split(/^## ip6tables$/m)
  // Of the manuals' there are few, and each has something of its own.
  for (let i = 0; i < 6; i++) {
    sorted[4].push(...parse(four))
    sorted[6].push(...parse(six))
  }
  return sorted
})()

export class RealCommands extends Dice {
  #family: Family = 4
  /** `TABLE CHAIN`, as the session's first file makes them. */
  #made = new Set<string>()
  /** The rule that the last of near() put in. */
  #lately: RealRule | null = null

  session(length: number): Call[] {
    this.#family = this.chance(0.6) ? 4 : 6
    const program = this.#family === 4 ? ('iptables' as const) : ('ip6tables' as const)
    const calls: Call[] = []
    // What most firewalls begin with.
    this.#made.clear()
    this.#lately = null
    calls.push({ tool: `${program}-restore`, argv: [], stdin: this.#first() })
    while (calls.length < length) {
      const kind = this.below(20)
      if (kind < 3)
        calls.push({ tool: `${program}-restore`, argv: this.#restoreWords(), stdin: this.#file(0.3) })
      else if (kind < 4)
        calls.push({
          tool: `${program}-save`,
          argv: this.pick([
            [],
            ['-c'],
            ['-t', 'nat'],
            ['-ct', 'filter'],
            ['--counters', '--table=mangle'],
            ['-t', 'raw', '-c'],
            ['--table', 'security'],
            ['-M', 'x'],
            ['-c', '-c'],
          ]),
          stdin: '',
        })
      else if (kind < 5)
        calls.push({
          tool: 'iptables-xml',
          argv: this.pick([[], ['-c'], ['-v'], ['-c', '-v'], ['--combine'], ['--verbose', '--combine']]),
          stdin: this.#file(0.1, true),
        })
      else calls.push({ tool: program, argv: this.#command(), stdin: '' })
    }
    return calls
  }

  /** Mostly a rule whose chains the session's first file has made. */
  #real(): RealRule {
    const all = rules[this.#family]
    for (let tries = 0; tries < 30; tries++) {
      const real = this.pick(all)
      const names = [real.chain, ...real.uses.filter((use) => /^-[jg]$/.test(use[0]!)).map((use) => use[1]!)]
      if (names.every((name) => !isUser(name) || this.#made.has(`${real.table} ${name}`))) return real
    }
    return this.pick(all)
  }

  #first(): string {
    const lines: string[] = []
    for (const table of Object.keys(BUILTIN)) {
      const some = rules[this.#family].filter((real) => real.table === table && this.chance(0.05))
      const named = new Set<string>()
      for (const { chain, uses } of some)
        for (const name of [chain, ...uses.filter((use) => /^-[jg]$/.test(use[0]!)).map((use) => use[1]!)])
          if (isUser(name)) named.add(name)
      lines.push(`*${table}`)
      for (const name of named) {
        lines.push(`:${name} - [0:0]`)
        this.#made.add(`${table} ${name}`)
      }
      for (const { chain, uses } of some.slice(0, 3))
        lines.push(
          `-A ${chain} ${uses
            .flat()
            .map((word) => this.#quote(word))
            .join(' ')}`,
        )
      lines.push('COMMIT')
    }
    return `${lines.join('\n')}\n`
  }

  #restoreWords(): string[] {
    return this.pick([
      [],
      ['-n'],
      ['--noflush'],
      ['--noflush', '-c'],
      ['-c'],
      ['--counters'],
      ['-t'],
      ['--test'],
      ['-tv'],
      ['-v'],
      ['--verbose', '--noflush'],
      ['-w', '-n'],
      ['-w', '5', '--noflush'],
      ['-w5'],
      ['--wait=5', '--wait-interval=1000'],
      ['-W', '1000'],
      ['-T', 'nat'],
      ['--table', 'filter'],
      ['--table=mangle', '-n'],
      ['-T', 'filter', '-c'],
      ['-nc', '--verbose'],
      ['--no'],
      ['--ver'],
      ['-4'],
      ['-6'],
      ['--ipv4'],
      ['--modprobe=/sbin/modprobe'],
      ['-M', '/sbin/modprobe', '-n'],
    ])
  }

  /** A chain of the table: mostly its own, or one that rules name. */
  #chain(table: string): string {
    if (this.chance(0.5)) return this.pick(BUILTIN[table] ?? ['INPUT'])
    const real = this.#real()
    return real.chain
  }

  #number(): string[] {
    if (this.chance(0.45)) return []
    return [this.chance(0.7) ? String(1 + this.below(5)) : this.pick(NUMBERS)]
  }

  #command(): string[] {
    const real = this.#real()
    const { table, chain } = real
    const where =
      table === 'filter' && this.chance(0.8)
        ? []
        : this.pick([
            ['-t', table],
            ['-t', table],
            [`-t${table}`],
            ['--table', table],
            [`--table=${table}`],
            ['--tab', table],
          ])
    const rule = (): string[] => this.#changed(real)
    const own = this.chance(0.7) ? chain : this.#chain(table)
    const verb = this.below(30)
    if (this.#family === 6 && this.chance(0.15)) return this.near()
    const words =
      verb < 11
        ? [this.pick(['-A', '-A', '-A', '--append']), own, ...rule()]
        : verb < 14
          ? ['-I', own, ...this.#number(), ...rule()]
          : verb < 15
            ? ['-R', own, String(1 + this.below(3)), ...rule()]
            : verb < 19
              ? [this.pick(['-C', '-D', '--check', '--delete']), own, ...rule()]
              : verb < 20
                ? ['-D', own, ...this.#number()]
                : verb < 24
                  ? this.#listing(own)
                  : verb < 25
                    ? this.#around(own)
                    : verb < 26
                      ? ['-N', own]
                      : verb < 27
                        ? this.pick([
                            ['-F', own],
                            ['-X', own],
                            ['-Z', own],
                            ['-Z', own, '1'],
                            ['-E', own, 'NEW-NAME'],
                            ['-P', own, 'DROP'],
                            ['-P', own, 'RETURN'],
                            ['-F'],
                            ['-X'],
                            ['-Z'],
                            ['-Z', own, '0'],
                            ['-E', own, own],
                          ])
                        : [this.pick(['-A', '-A', '-C']), own, ...rule()]
    const flags = this.chance(0.15)
      ? this.pick([
          ['-w'],
          ['-w', '10'],
          ['-w', '5', '-W', '100000'],
          ['--wait'],
          ['-v'],
          ['-n'],
          ['-4'],
          ['-6'],
          ['--verbose'],
          ['--wait=5'],
          ['-x'],
          ['--line-numbers'],
          ['-vn'],
        ])
      : []
    const front = this.chance(0.5)
    // -v twice prints a blob of the kernel's, which we do not have.
    const loud = (list: readonly string[]): boolean => list.some((word) => /^-\w*v|^--verb/.test(word))
    const quiet = loud(words) ? flags.filter((word) => !loud([word])) : flags
    return front ? [...quiet, ...where, ...words] : [...where, ...words, ...quiet]
  }

  /** A rule put in and another one asked for, which differs in a value; ip6tables sees few of these (check-mask.ts). */
  near(): string[] {
    const { table, chain, uses } = this.#lately ?? this.#real()
    if (this.#lately === null || this.chance(0.3)) {
      this.#lately = this.#real()
      return ['-t', this.#lately.table, '-A', this.#lately.chain, ...this.#lately.uses.flat()]
    }
    const changed = uses.map((use) => [...use])
    const use = this.pick(changed)
    if (use !== undefined) {
      const at = this.#at(use)
      if (this.chance(0.2)) this.#change(changed)
      else this.#value(use, at)
    }
    return ['-t', table, '-C', chain, ...changed.flat()]
  }

  #listing(chain: string): string[] {
    const at = this.chance(0.5) ? [chain, ...(this.chance(0.3) ? this.#number() : [])] : []
    return [
      ...this.pick([
        ['-L'],
        ['-nL'],
        ['-nvL'],
        ['-S'],
        ['-vS'],
        ['--list-rules'],
        ['-L', '-n', '-v', '-x', '--line-numbers'],
        ['-vnL'],
        ['--list'],
      ]),
      ...at,
      ...(this.chance(0.2)
        ? this.pick([['-n'], ['--line-numbers'], ['-x'], ['--numeric'], ['-Z'], ['--exact'], ['--line']])
        : []),
    ]
  }

  /** Commands that do not fit what they are given. */
  #around(chain: string): string[] {
    return this.pick([
      ['-A', chain, '1', '-j', 'ACCEPT'],
      ['-I', chain, '1', '1', '-j', 'ACCEPT'],
      ['-D', chain, '1', '-j', 'ACCEPT'],
      ['-R', chain, '-j', 'ACCEPT'],
      ['-L', chain, '-j', 'ACCEPT'],
      ['-L', '-s', '10.0.0.1'],
      ['-F', chain, '-p', 'tcp'],
      ['-N', chain, '-j', 'ACCEPT'],
      ['-P', chain, 'ACCEPT', '-s', '10.0.0.1'],
      ['-P', chain, '-j', 'ACCEPT'],
      ['-L', chain, '-p', 'tcp'],
      ['-S', chain, '-n'],
      ['-S', chain, '-x'],
      ['-S', '--line-numbers'],
      ['-A', chain, '--line-numbers', '-j', 'ACCEPT'],
      ['-A', chain, '-n', '-j', 'ACCEPT'],
      ['-A', chain, '-x', '-j', 'ACCEPT'],
      ['-Z', chain, '-L'],
      ['-ZL', chain],
      ['-LZ', chain],
      ['-nLZ', chain],
      ['-L', '-S'],
      ['-A', chain, '-A', chain, '-j', 'ACCEPT'],
      ['-Z', chain, '1', '2'],
      ['-E', chain],
      ['-E', chain, 'x', 'y'],
      ['-C', chain],
      ['-C', chain, '1'],
      ['-A', chain],
      ['-I', chain],
      ['-A', chain, '-j'],
      ['-A', '-s', '1.2.3.4'],
      ['-I', '1', chain, '-j', 'ACCEPT'],
      ['-D', chain],
      ['-X', chain, chain],
      ['-L', 'nosuch'],
      ['-S', 'nosuch'],
      ['-L', chain, '0'],
      ['-L', chain, '999'],
      ['-S', chain, '999'],
      ['-Z', chain, '999'],
      ['-D', chain, '999'],
      ['-R', chain, '999', '-j', 'ACCEPT'],
      ['-I', chain, '999', '-j', 'ACCEPT'],
    ])
  }

  /** The words of a rule with up to three changes. */
  #changed(real: RealRule): string[] {
    const uses = real.uses.map((use) => [...use])
    for (let n = this.pick([0, 0, 1, 1, 1, 1, 2, 2, 3]); n > 0; n--) this.#change(uses)
    return uses.flat()
  }

  #at(use: readonly string[]): number {
    return use[0] === '!' ? 1 : 0
  }

  #change(uses: string[][]): void {
    if (uses.length === 0) {
      uses.push([...this.pick(this.#real().uses.length > 0 ? this.#real().uses : [['-j', 'ACCEPT']])])
      return
    }
    const index = this.below(uses.length)
    const use = uses[index]!
    const at = this.#at(use)
    const flag = use[at] ?? ''
    switch (this.below(16)) {
      case 0: {
        const [taken] = uses.splice(index, 1)
        uses.splice(this.below(uses.length + 1), 0, taken!)
        return
      }
      case 1:
        uses.splice(index, 1)
        return
      case 2:
        uses.splice(this.below(uses.length + 1), 0, [...use])
        return
      case 3:
        if (at === 1) use.shift()
        else use.unshift('!')
        return
      case 4:
        // As before 1.4: behind the option.
        if (at === 1) use.splice(0, 2, flag, '!')
        else use.splice(1, 0, '!')
        return
      case 5: {
        const long = LONG[flag]
        if (long !== undefined) use[at] = this.pick(long)
        else if (flag.length > 4) use[at] = flag.slice(0, 3 + this.below(flag.length - 2))
        return
      }
      case 6:
        if (use.length !== at + 2) return
        use.splice(at, 2, flag.startsWith('--') ? `${flag}=${use[at + 1]}` : `${flag}${use[at + 1]}`)
        return
      case 7:
      case 8:
      case 9:
      case 10:
        this.#value(use, at)
        return
      case 11: {
        // A value of some other rule's same option.
        const other = this.#real().uses.find((u) => u.includes(flag))
        if (other !== undefined) uses[index] = [...other]
        return
      }
      case 12: {
        const { uses: others } = this.#real()
        if (others.length > 0) uses.splice(this.below(uses.length + 1), 0, [...this.pick(others)])
        return
      }
      case 13: {
        const words = uses.flat()
        const i = this.below(words.length)
        const j = this.below(words.length)
        ;[words[i], words[j]] = [words[j]!, words[i]!]
        uses.splice(0, uses.length, words)
        return
      }
      case 14: {
        const value = use[at + 1]
        if (value === undefined) return
        const place = this.below(value.length + 1)
        use[at + 1] =
          value.slice(0, place) +
          this.pick(['', ' ', '0', '9', ',', ':', '-', '/', '.', '+', 'x', '"', "'", '\\', '!', '%', '\t']) +
          value.slice(place + this.below(2))
        return
      }
      default: {
        const value = use[at + 1]
        if (value === undefined) return
        use[at + 1] = this.pick([
          value.toUpperCase(),
          value.toLowerCase(),
          `${value},${value}`,
          `${value} `,
          ` ${value}`,
          `${value}/32`,
          `${value}:`,
          `:${value}`,
          `0${value}`,
          `0x${value}`,
          `+${value}`,
          `-${value}`,
          `!${value}`,
          '',
        ])
      }
    }
  }

  #value(use: string[], at: number): void {
    const flag = use[at] ?? ''
    const short: Readonly<Record<string, readonly string[]>> = {
      '-s': ADDRESSES[this.#family],
      '-d': ADDRESSES[this.#family],
      '-i': INTERFACES,
      '-o': INTERFACES,
      '-p': PROTOCOLS,
      '-j': TARGETS,
      '-g': TARGETS,
    }
    const pool = short[flag] ?? POOLS[flag] ?? (flag.startsWith('--') ? NUMBERS : [])
    if (pool.length === 0 || use.length < at + 2) return
    use[at + 1] = this.pick(pool)
    if (BOTH_PORTS.has(flag) && this.chance(0.1)) use[at] = `${flag}s`
  }

  /** A file for iptables-restore: whole chains, their rules changed with this probability. */
  #file(odds: number, counted = false): string {
    const lines: string[] = []
    const tables = this.pick([1, 1, 2, 3])
    for (let t = 0; t < tables; t++) {
      const table = this.#real().table
      const some: RealRule[] = []
      for (let n = 1 + this.below(8); n > 0; n--) {
        let real = this.#real()
        for (let tries = 0; real.table !== table && tries < 40; tries++) real = this.#real()
        if (real.table === table) some.push(real)
      }
      if (this.chance(0.2)) lines.push('# Generated by hand', '')
      lines.push(`*${table}`)
      if (this.chance(0.6))
        for (const chain of BUILTIN[table] ?? [])
          lines.push(
            `:${chain} ${this.pick(['ACCEPT', 'ACCEPT', 'DROP'])} [${this.below(5000)}:${this.below(999999)}]`,
          )
      const named = new Set<string>()
      for (const { chain, uses } of some) {
        named.add(chain)
        for (const use of uses) if (['-j', '-g'].includes(use[0]!)) named.add(use[1]!)
      }
      for (const chain of named) if (isUser(chain) && !this.chance(0.02)) lines.push(`:${chain} - [0:0]`)
      for (const real of some) {
        const words = this.chance(odds) ? this.#changed(real) : real.uses.flat()
        const counters = this.chance(0.2) ? `[${this.below(1000)}:${this.below(100000)}] ` : ''
        lines.push(
          `${counters}${this.pick(['-A', '-A', '-A', '-A', '-A', '-A', '-A', '--append', '-I'])} ${real.chain} ${words.map((word) => this.#quote(word)).join(this.#blank())}${this.chance(0.05) ? this.pick([' ', '  ', '\t', ' #x', ' # a comment', '\r']) : ''}`,
        )
        if (this.chance(0.06)) lines.push(this.#oddLine(table, real))
      }
      if (!this.chance(0.02))
        lines.push(
          this.chance(0.03)
            ? this.pick(['COMMIT ', 'commit', ' COMMIT', 'COMMIT\r', 'COMMIT # x'])
            : 'COMMIT',
        )
      if (this.chance(0.1)) lines.push('# Completed')
    }
    const text = `${lines.join('\n')}\n`
    return counted ? text.replaceAll(/^:(?!\S+ \S+ \[\d+:\d+\]\n).*\n/gm, '') : text
  }

  #blank(): string {
    return this.chance(0.06) ? this.pick(['  ', '\t', ' \t ']) : ' '
  }

  #oddLine(table: string, { chain }: RealRule): string {
    return this.pick([
      '',
      '#comment',
      '  # comment',
      `-F ${chain}`,
      `-X ${chain}`,
      `-N ${chain}`,
      `-N NEW-${this.below(3)}`,
      `-D ${chain} 1`,
      `-D ${chain}`,
      `-P ${chain} DROP`,
      `-P ${this.pick(BUILTIN[table] ?? ['INPUT'])} DROP`,
      `-Z ${chain}`,
      `-E ${chain} x`,
      `-L ${chain}`,
      `-nL ${chain}`,
      `-S ${chain}`,
      `-R ${chain} 1 -j ACCEPT`,
      `-I ${chain} 1 -j ACCEPT`,
      `-I ${chain} 5 -j ACCEPT`,
      `-I ${chain} 0 -j ACCEPT`,
      `-C ${chain} -j ACCEPT`,
      `:${chain} - [0:0]`,
      `:${chain} ACCEPT [0:0]`,
      `:${chain}`,
      ':NEW -',
      ':NEW - [5:6',
      ':NEW - 5:6',
      `[5:6] -A ${chain}`,
      `[5 : 6] -A ${chain}`,
      `[5:6]-A ${chain}`,
      `[5:] -A ${chain}`,
      `[:6] -A ${chain}`,
      `[-5:6] -A ${chain}`,
      `[18446744073709551615:1] -A ${chain}`,
      `-A ${chain} -c 5 6`,
      `-A ${chain} -t ${table}`,
      `-t ${table} -A ${chain}`,
      `--table=${table} -A ${chain}`,
      `-A ${chain} -4`,
      `-A ${chain} -6 -j ACCEPT`,
      `-4 -A ${chain} -j DROP`,
      `-w -A ${chain}`,
      `-A ${chain} -v`,
      `-A ${chain} -h`,
      `-A ${chain} -m comment --comment 'x y'`,
      `-A ${chain} -m comment --comment "x y`,
      `-A ${chain} -m comment --comment "x"y"z"`,
      `-A ${chain} -m comment --comment x\\ y`,
      `-A ${chain} -m comment --comment "x\\\\y\\"z"`,
      `"-A" "${chain}" "-j" "ACCEPT"`,
      `-A ${chain} -j "ACCEPT"`,
      `-A ${chain} -j ""`,
      `-A ${chain} ""`,
      `iptables -A ${chain} -j ACCEPT`,
      '*filter',
      'COMMIT',
      'commit',
    ])
  }

  #quote(word: string): string {
    if (/^[\w./:,!+-]+$/.test(word)) {
      if (!this.chance(0.02)) return word
      return this.pick([
        `"${word}"`,
        `'${word}'`,
        `"${word.slice(0, 1)}"${word.slice(1)}`,
        `${word.slice(0, 1)}"${word.slice(1)}"`,
      ])
    }
    return `"${word.replaceAll(/["\\]/g, (c) => `\\${c}`)}"`
  }
}
