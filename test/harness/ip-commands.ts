// Command lines of ip(8), drawn from a grammar over what the emulated host has: addr, route, rule and link of both
// families, well-formed and not. Names and numbers come from small pools, so that commands meet what others made.

import type { SeededRandom } from './frames.ts'
import { MutatedLines } from './mutated-lines.ts'

/** Interfaces besides lo, in the order of their numbers, from 2. */
export const IP_DEVICES = ['t0', 't1', 't2'] as const

const V4 = [
  '10.0.0.1',
  '10.0.0.2',
  '10.0.1.1',
  '10.0.1.200',
  '192.168.5.1',
  '127.0.0.5',
  '172.16.0.1',
  '10.0.0.77',
]
const V4_LENGTHS = [8, 16, 24, 24, 24, 30, 31, 32]
const V4_PREFIXES = [
  '10.1.0.0/16',
  '10.2.0.0/16',
  '10.2.3.0/24',
  '10.0.0.0/24',
  '10.0.0.0/8',
  '203.0.113.7',
  'default',
  '198.51.100.0/25',
  '10/8',
]
const V4_BAD = [
  '10.0.0.256',
  '10.0.0.0/33',
  'x',
  '10.1.1.1/16',
  '1.2.3.4.5',
  '10.0.0.1/-1',
  '2001:db8::1',
  '10.',
  '',
]
const V6 = ['2001:db8::1', '2001:db8::2', '2001:db8:1::1', 'fd00::1', '2001:db8:0:1::7', 'fd00::2']
const V6_LENGTHS = [32, 48, 64, 64, 64, 127, 128]
const V6_PREFIXES = [
  '2001:db8:5::/48',
  '2001:db8:6::/48',
  '2001:db8:6:7::/64',
  'default',
  'fd11::/16',
  '2001:db8:9::9',
  '::/0',
]
const V6_BAD = ['2001:db8::g', '2001:db8::/129', '1.2.3.4', ':::', 'fe80::/x']
const LIFETIMES = ['4000', '7000', '2000', 'forever', '4294967295', '2000000', '4000']
const TABLES = ['main', 'local', 'default', '5', '100', '1000', '0x10']
const PROTOCOLS = ['static', 'kernel', 'boot', 'dhcp', 'bgp', '77', 'ra', '200']

/** Objects of ip that the emulated host has none of. */
const OTHER_OBJECTS = (
  'addrlabel maddress neighbor neighbour ntable ntbl l2tp fou ila macsec tunnel tunl tuntap tap token tcpmetrics ' +
  'tcp_metrics monitor xfrm mroute mrule netns netconf vrf sr nexthop mptcp ioam stats'
).split(' ')

/** How often a command is made wrong on purpose. */
const WRONG = 0.06

export class IpGrammar {
  readonly #random: SeededRandom
  readonly #mutated: MutatedLines

  constructor(random: SeededRandom) {
    this.#random = random
    this.#mutated = new MutatedLines(random, 'ip')
  }

  #below(n: number): number {
    return this.#random.u32() % n
  }

  #chance(p: number): boolean {
    return this.#random.u32() / 0x1_0000_0000 < p
  }

  #one<T>(list: readonly T[]): T {
    return list[this.#below(list.length)]!
  }

  /** Sometimes these words. */
  #maybe(p: number, ...words: string[]): string[] {
    return this.#chance(p) ? words : []
  }

  #device(): string {
    return this.#chance(WRONG)
      ? this.#one(['nope', 'if2', 'averyveryverylongname', 'alt0', 'other', 'alt0'])
      : this.#one([...IP_DEVICES, 't0', 't1', 'lo'])
  }

  /** A word, now and then shortened as a person would. */
  #short(word: string, least: number): string {
    return this.#chance(0.5) ? word : word.slice(0, least + this.#below(word.length - least + 1))
  }

  line(): string[] {
    // In a batch -echo is another matter (docs/parity.md).
    return this.#chance(0.04)
      ? this.#nonsense()
      : [...this.#maybe(0.03, '-echo'), ...this.#options(), ...this.#command()]
  }

  #command(): string[] {
    const dice = this.#below(96)
    if (dice < 24) return this.#addressCommand()
    if (dice < 62) return this.#routeCommand()
    if (dice < 82) return this.#ruleCommand()
    return this.#linkCommand()
  }

  /** Everything there is, to see what a command has done. */
  static readonly everything: readonly (readonly string[])[] = [
    ['-d', 'addr'],
    ['-j', 'route', 'show', 'table', 'all'],
    ['-4', 'rule'],
    ['-6', 'rule'],
  ]

  #options(): string[] {
    return [
      ...this.#maybe(0.12, '-4'),
      ...this.#maybe(0.06, '-6'),
      ...this.#maybe(
        0.02,
        ...this.#one([['-0'], ['-B'], ['-M'], ['-f', 'link'], ['-f', 'bridge'], ['-f', 'mpls']]),
      ),
      ...this.#maybe(0.15, this.#short('-json', 2)),
      ...this.#maybe(0.1, this.#short('-pretty', 2)),
      ...this.#maybe(0.1, this.#short('-oneline', 2)),
      ...this.#maybe(0.1, this.#short('-details', 2)),
      ...this.#maybe(0.06, '-br'),
      ...this.#maybe(0.03, '-N'),
      ...this.#maybe(0.05, this.#short('-statistics', 2), ...this.#maybe(0.3, '-s')),
      ...this.#maybe(0.1, this.#one(['-c', '-color', '-c=always', '-co='])),
      ...this.#maybe(0.03, this.#one(['-c=auto', '-co=never', '-c=never', '-colo=nope', '-c=alw'])),
      // Not -resolve: it asks name servers, and waits for them.
      ...this.#maybe(0.03, this.#one(['-iec', '-human', '-all'])),
      ...this.#maybe(
        0.03,
        ...this.#one([
          ['-t'],
          ['-ts'],
          ['-rc', '2000'],
          ['-rcvbuf', 'x'],
          ['-loops', '3'],
          ['-l', '1'],
          ['--json'],
          ['--brief'],
          ['-f', 'inet'],
          ['-f', 'inet6'],
          ['-family', 'inet'],
          ['-j', '-p'],
          ['-s', '-s', '-d'],
        ]),
      ),
    ]
  }

  /** Several lines for -batch. */
  #batch(): { argv: string[]; input: string } {
    const lines = Array.from({ length: 1 + this.#below(5) }, () => {
      const dice = this.#below(12)
      if (dice === 0)
        return this.#one(['', '# a comment', '   ', 'frob', 'addr frob', 'link show lo # what', "'", '"'])
      return this.#command()
        .map((word) => (/^[\w./:+*-]+$/.test(word) ? word : `"${word.replaceAll('"', '')}"`))
        .join(this.#chance(0.05) ? ' \\\n ' : ' ')
    })
    return {
      argv: [
        ...this.#maybe(0.4, this.#short('-force', 3)),
        ...this.#options(),
        this.#short('-batch', 2),
        '-',
      ],
      input: `${lines.join('\n')}${this.#chance(0.9) ? '\n' : ''}`,
    }
  }

  /** One of test/data/command-lines/ip.txt, changed; not what waits, asks name servers or takes links away. */
  #changed(): string[] {
    for (;;) {
      const words = this.#mutated.line()
      const object = words.find((word) => !word.startsWith('-')) ?? ''
      const here = ['address', 'route', 'rule', 'link'].some((known) => known.startsWith(object))
      if (!here && OTHER_OBJECTS.some((known) => known.startsWith(object))) continue
      // The binary forms are not made (docs/parity.md).
      if (
        !words.some((word) =>
          /^(-{1,2}(r|re|res|reso.*|n|ne.*|b|ba.*)|sa.*|resto.*|showd.*|del.*link)$/.test(word),
        )
      )
        return words
    }
  }

  /** A line, and what it reads. */
  step(): { argv: string[]; input: string } {
    if (this.#chance(0.4)) return { argv: this.#changed(), input: '' }
    return this.#chance(0.06) ? this.#batch() : { argv: this.line(), input: '' }
  }

  #nonsense(): string[] {
    return this.#one([
      ['frob'],
      ['-Q', 'a'],
      ['a', 'frob'],
      ['route', 'frob'],
      ['rule', 'frob'],
      ['link', 'frob'],
      ['-V'],
      ['help'],
      ['route', 'help'],
      ['a', 'h'],
      ['l', 'help'],
      ['ru', 'help'],
      ['route', 'add'],
      ['addr', 'add', '10.0.0.1/24'],
      ['addr', 'add', 'dev', 't0'],
      ['addr', 'add', '10.0.0.1/24', 'dev'],
      ['route', 'get'],
      ['rule', 'add'],
      ['route', 'flush'],
      ['addr', 'flush'],
      ['link', 'set'],
      ['-f', 'inet', 'a'],
      ['-family', 'inet6', 'r'],
      ['-f', 'nope', 'r'],
    ])
  }

  #six(): boolean {
    return this.#chance(0.3)
  }

  #address(six: boolean): string {
    if (this.#chance(0.02)) return this.#one(['any', 'all', 'default'])
    if (this.#chance(WRONG)) return this.#one(six ? V6_BAD : V4_BAD)
    return six ? this.#one(V6) : this.#one(V4)
  }

  #local(six: boolean): string {
    const address = this.#address(six)
    return this.#chance(0.12) || address.includes('/')
      ? address
      : `${address}/${this.#one(six ? V6_LENGTHS : V4_LENGTHS)}`
  }

  #prefix(six: boolean): string {
    if (this.#chance(0.03)) return this.#one(['any', 'all', '0/0', '0.0.0.0/0', '10.0.0.0/255.0.0.0'])
    if (this.#chance(WRONG)) return this.#one(six ? V6_BAD : V4_BAD)
    return this.#one(six ? V6_PREFIXES : V4_PREFIXES)
  }

  #addressCommand(): string[] {
    const object = this.#one(['a', 'addr', 'address', 'ad'])
    const six = this.#six()
    switch (this.#below(10)) {
      case 0:
      case 1:
      case 2: {
        const verb = this.#one(['add', 'a', 'add', 'replace', 'change'])
        return [
          object,
          verb,
          ...this.#maybe(0.1, 'local'),
          this.#local(six),
          ...(six
            ? [
                ...this.#maybe(0.1, this.#one(['nodad', 'home', 'noprefixroute', 'tentative'])),
                ...this.#maybe(0.12, this.#one(['peer', 'remote']), this.#local(true)),
              ]
            : [
                ...this.#maybe(
                  0.25,
                  this.#one(['brd', 'broadcast', 'broad']),
                  this.#one(['+', '-', '10.0.0.255', 'x']),
                ),
                ...this.#maybe(0.12, 'peer', this.#local(false)),
                ...this.#maybe(0.1, 'label', this.#one(['t0:1', 'abc', 't1', 't0:averylongname'])),
                ...this.#maybe(0.08, 'noprefixroute'),
                ...this.#maybe(0.05, this.#one(['nodad', 'secondary', 'autojoin'])),
              ]),
          ...this.#maybe(0.1, 'scope', this.#one(['link', 'host', 'global', '7', 'nope', '300'])),
          ...this.#maybe(0.1, this.#one(['metric', 'prio']), this.#one(['5', '0', 'x', '4294967296'])),
          // The prefix route of a permanent IPv6 address that is given an end has ended at once (docs/parity.md).
          ...(six && !verb.startsWith('a') ? [] : this.#lifetimes()),
          ...this.#maybe(
            0.02,
            this.#one(['anycast', 'deprecated', 'mngtmpaddr', 'proto']),
            this.#address(six),
          ),
          ...this.#maybe(0.97, 'dev', this.#device()),
        ]
      }
      case 3:
      case 4:
        return [
          object,
          this.#short('delete', 1),
          ...this.#maybe(0.96, this.#local(six)),
          ...this.#maybe(0.08, 'peer', this.#local(six)),
          ...this.#maybe(0.05, 'label', this.#one(['t0:1', 'abc', 't1'])),
          ...this.#maybe(0.04, 'brd', this.#one(['+', '10.0.0.255'])),
          ...this.#maybe(0.04, 'scope', this.#one(['link', 'host', 'global'])),
          ...this.#maybe(0.97, 'dev', this.#device()),
        ]
      case 5:
        return [
          object,
          this.#short('flush', 1),
          ...this.#maybe(0.8, 'dev', this.#device()),
          ...this.#maybe(0.2, 'scope', this.#one(['link', 'global', 'host'])),
          ...this.#maybe(0.2, 'to', this.#prefix(six)),
          ...this.#maybe(0.1, this.#one(['secondary', 'primary', 'permanent', 'dynamic'])),
        ]
      default:
        return [
          object,
          ...this.#maybe(0.7, this.#one(['show', 'sh', 'list', 'ls', 'lst'])),
          ...this.#maybe(0.4, ...this.#maybe(0.6, 'dev'), this.#device()),
          ...this.#maybe(0.15, 'up'),
          ...this.#maybe(0.1, 'scope', this.#one(['link', 'global', 'host', 'all'])),
          ...this.#maybe(0.12, 'to', this.#prefix(six)),
          ...this.#maybe(0.08, 'label', this.#one(['t0*', 't?', '*:1'])),
          ...this.#maybe(
            0.12,
            this.#one([
              'secondary',
              'primary',
              'permanent',
              '-tentative',
              'dynamic',
              'deprecated',
              '-deprecated',
              'noprefixroute',
              'mngtmpaddr',
              'home',
              'autojoin',
              'nomaster',
              'down',
            ]),
          ),
          ...this.#maybe(0.05, 'type', this.#one(['tun', 'bridge', 'nope'])),
          ...this.#maybe(0.03, 'group', this.#one(['default', '7', 'x'])),
          ...this.#maybe(0.02, 'master', this.#device()),
        ]
    }
  }

  /** Long enough that none ends while a test runs. */
  #lifetimes(): string[] {
    const time = (): string => (this.#chance(0.05) ? this.#one(['x', '-1', '0']) : this.#one(LIFETIMES))
    const valid = ['valid_lft', time()]
    const preferred = [this.#one(['preferred_lft', 'preferred']), this.#chance(0.2) ? '0' : time()]
    return this.#maybe(
      0.2,
      ...this.#one([[...valid, ...preferred], [...preferred, ...valid], valid, preferred]),
    )
  }

  #hop(six: boolean): string[] {
    const via = this.#chance(0.6)
    return [
      ...(via ? ['via', ...this.#gateway(six)] : []),
      ...(via && this.#chance(0.5) ? [] : ['dev', this.#device()]),
    ]
  }

  /** Behind `via`: sometimes of the other family. */
  #gateway(six: boolean): string[] {
    return this.#chance(0.92)
      ? [this.#address(six)]
      : this.#one([
          ['inet6', this.#one(['fe80::1', ...V6])],
          ['inet6', this.#one(['fe80::1', 'ff02::1', '::', ...V6])],
          ['inet', this.#one(V4)],
          ['inet6', 'x'],
        ])
  }

  #routeCommand(): string[] {
    const object = this.#one(['r', 'ro', 'route'])
    const six = this.#six()
    const own = six && this.#chance(0.8) ? ['-6'] : []
    switch (this.#below(12)) {
      case 0:
      case 1:
      case 2:
      case 3:
      case 4: {
        const kind = this.#chance(0.2)
          ? [
              this.#one([
                'blackhole',
                'unreachable',
                'prohibit',
                'throw',
                'local',
                'broadcast',
                'unicast',
                'multicast',
                'anycast',
              ]),
            ]
          : []
        const refused = kind.length > 0 && /^(bl|un|pr|th)/.test(kind[0]!) && kind[0] !== 'unicast'
        const several = !refused && this.#chance(0.12)
        return [
          ...own,
          object,
          this.#one(['add', 'add', 'a', 'replace', 'repl', 'change', 'append', 'app', 'prepend', 'chg']),
          ...kind,
          ...this.#maybe(0.05, 'to'),
          this.#prefix(six),
          ...(refused || several ? [] : this.#hop(six)),
          ...this.#maybe(0.15, 'table', this.#one([...TABLES, 'nope'])),
          ...this.#maybe(0.2, this.#one(['metric', 'prio', 'preference']), this.#one(['5', '100', '0', 'x'])),
          ...(six ? [] : this.#maybe(0.08, 'tos', this.#one(['0x10', '8', 'CS1', '3', 'zz']))),
          ...this.#maybe(0.12, 'proto', this.#one([...PROTOCOLS, 'nope'])),
          ...(six ? [] : this.#maybe(0.08, 'scope', this.#one(['link', 'global', 'host', '17', 'nope']))),
          ...this.#maybe(
            0.12,
            'src',
            this.#chance(0.06) ? this.#one(['any', 'default']) : this.#address(six),
          ),
          ...this.#maybe(0.1, 'mtu', ...this.#maybe(0.3, 'lock'), this.#one(['1400', '0', '70000', 'x'])),
          ...this.#maybe(
            0.05,
            this.#one(['window', 'advmss', 'initcwnd', 'hoplimit', 'cwnd', 'ssthresh']),
            this.#one(['10', '0', '255']),
          ),
          ...(six
            ? []
            : this.#maybe(0.06, 'realm', this.#one(['5', '1/2', 'cosmos', 'x', '65536', '1/', '/1']))),
          ...this.#maybe(0.05, 'onlink'),
          ...this.#maybe(
            six ? 0.1 : 0.02,
            'expires',
            this.#one(['4000', '7000', 'x', '4294967295', '2000000']),
          ),
          ...this.#maybe(six ? 0.06 : 0.01, 'pref', this.#one(['low', 'medium', 'high', '1', '7', 'x'])),
          ...this.#maybe(
            0.05,
            ...this.#one([
              ['rtt', this.#one(['10', '1s', '5ms', '1.5s', 'x'])],
              ['rttvar', this.#one(['10', '1s', '5ms', 'x'])],
              ['rto_min', this.#one(['10', '1s', '5ms', 'x'])],
              ['reordering', this.#one(['3', 'x'])],
              ['initrwnd', this.#one(['10', '0'])],
              ['quickack', this.#one(['0', '1', '2'])],
              ['fastopen_no_cookie', this.#one(['0', '1', '2'])],
              ['congctl', this.#one(['reno', 'nope'])],
              ['features', this.#one(['ecn', 'x'])],
              ['ttl-propagate', this.#one(['enabled', 'disabled', 'x'])],
              ['as', 'to', '10.0.0.1'],
            ]),
          ),
          ...this.#maybe(0.02, 'nhid', this.#one(['7', '0', 'x'])),
          ...this.#maybe(0.01, 'encap', this.#one(['mpls', 'nope'])),
          ...(several
            ? Array.from({ length: 1 + this.#below(3) }).flatMap(() => [
                'nexthop',
                'via',
                ...this.#gateway(six),
                ...this.#maybe(0.6, 'dev', this.#device()),
                ...this.#maybe(0.4, 'weight', this.#one(['1', '2', '256', '0'])),
                ...this.#maybe(0.08, 'onlink'),
                ...(six ? [] : this.#maybe(0.08, 'realm', this.#one(['5', '1/2']))),
              ])
            : []),
        ]
      }
      case 5:
      case 6:
        return [
          ...own,
          object,
          this.#short('delete', 1),
          ...this.#maybe(0.1, this.#one(['blackhole', 'unreachable', 'local', 'broadcast'])),
          this.#prefix(six),
          ...this.#maybe(0.3, ...this.#hop(six)),
          ...this.#maybe(
            0.1,
            'nexthop',
            ...this.#hop(six),
            ...this.#maybe(0.6, 'nexthop', ...this.#hop(six)),
          ),
          ...this.#maybe(0.15, 'table', this.#one(TABLES)),
          ...this.#maybe(0.1, 'metric', this.#one(['5', '100', '0'])),
          ...this.#maybe(0.05, 'proto', this.#one(PROTOCOLS)),
          ...this.#maybe(0.05, 'src', this.#address(six)),
          ...this.#maybe(0.05, 'tos', this.#one(['0x10', '8', '0'])),
          ...this.#maybe(0.05, 'scope', this.#one(['link', 'global', 'host'])),
          ...this.#maybe(0.04, this.#one(['mtu', 'realm', 'advmss']), this.#one(['5', '1400'])),
          ...this.#maybe(0.04, 'onlink'),
          ...this.#maybe(0.03, 'pref', this.#one(['low', 'high'])),
        ]
      case 7:
      case 8:
        return [
          ...own,
          object,
          this.#one(['get', 'g']),
          this.#address(six),
          ...this.#maybe(0.15, 'from', this.#chance(0.1) ? this.#prefix(six) : this.#address(six)),
          ...this.#maybe(0.1, 'oif', this.#device()),
          ...this.#maybe(0.06, 'iif', this.#device()),
          ...this.#maybe(0.1, 'mark', this.#one(['5', '0x10', 'x'])),
          ...(six ? [] : this.#maybe(0.08, 'tos', this.#one(['0x10', '8']))),
          ...this.#maybe(0.1, 'fibmatch'),
          ...this.#maybe(0.04, 'connected'),
          ...this.#maybe(0.04, 'ipproto', this.#one(['tcp', 'udp', 'icmp', '47', 'x'])),
          ...this.#maybe(0.04, 'sport', this.#one(['5', 'x', '70000'])),
          ...this.#maybe(0.04, 'dport', this.#one(['80', '0'])),
          ...this.#maybe(0.03, 'uid', this.#one(['0', '5', 'x'])),
          ...this.#maybe(0.02, this.#one(['notify', 'to', 'vrf', 'frob'])),
        ]
      case 9:
        return [
          ...own,
          object,
          this.#short('flush', 1),
          ...this.#one([
            ['table', this.#one(TABLES)],
            [this.#prefix(six)],
            ['root', this.#prefix(six)],
            ['dev', this.#device()],
            ['proto', this.#one(PROTOCOLS)],
            ['cache'],
            [this.#one(['all', 'any', 'default'])],
          ]),
        ]
      default:
        return [
          ...own,
          object,
          ...this.#maybe(0.7, this.#one(['show', 'sh', 'list', 'ls'])),
          ...this.#maybe(0.4, 'table', this.#one([...TABLES, 'all', 'all', 'nope'])),
          ...this.#maybe(
            0.15,
            ...this.#maybe(0.6, this.#one(['root', 'match', 'exact', 'to'])),
            this.#prefix(six),
          ),
          ...this.#maybe(0.15, 'dev', this.#device()),
          ...this.#maybe(0.1, 'proto', this.#one([...PROTOCOLS, 'all'])),
          ...this.#maybe(0.08, 'scope', this.#one(['link', 'global', 'host', 'all'])),
          ...this.#maybe(0.08, 'type', this.#one(['local', 'unicast', 'blackhole', 'broadcast'])),
          ...this.#maybe(0.05, 'via', this.#address(six)),
          ...this.#maybe(0.05, 'src', this.#address(six)),
          ...this.#maybe(0.05, this.#one(['metric', 'prio', 'preference']), this.#one(['5', '1024', 'x'])),
          ...this.#maybe(
            0.05,
            ...this.#one([
              ['oif', this.#device()],
              ['iif', this.#device()],
              ['mark', '5'],
              ['type', this.#one(['throw', 'prohibit', 'unreachable', 'multicast', 'anycast', 'x'])],
              ['via', this.#prefix(six)],
              ['src', this.#prefix(six)],
              ['via', 'inet6', this.#address(true)],
              ['tos', this.#one(['8', '0', 'zz'])],
              ['realms', this.#one(['1/2', '5', 'x'])],
              ['table', 'cache'],
              ['root', this.#prefix(six), 'match', this.#prefix(six)],
            ]),
          ),
          ...this.#maybe(
            0.03,
            ...this.#one([
              ['vrf', 'x'],
              ['realm', '5'],
              ['from', this.#prefix(six)],
              ['cache'],
              ['cloned'],
              ['tos', '0x10'],
              ['frob'],
              ['onlink'],
            ]),
          ),
        ]
    }
  }

  #selector(six: boolean): string[] {
    return [
      ...this.#maybe(0.1, 'not'),
      ...this.#maybe(0.02, 'to', 'all'),
      ...this.#maybe(0.5, 'from', this.#prefix(six)),
      ...this.#maybe(0.03, 'iif', 'lo'),
      ...this.#maybe(0.2, 'to', this.#prefix(six)),
      ...this.#maybe(
        0.2,
        'fwmark',
        this.#one(['5', '0x10/0xf0', '1/1', 'x', '7/z', '0', '0/0xff', '5/0', '/5']),
      ),
      ...this.#maybe(0.15, this.#one(['iif', 'dev']), this.#device()),
      ...this.#maybe(0.1, 'oif', this.#device()),
      ...this.#maybe(0.08, 'tos', this.#one(['0x10', '8', 'CS1', '3', 'zz'])),
      ...this.#maybe(0.08, 'ipproto', this.#one(['tcp', 'udp', '47', '200', 'nope', 'TCP', '0', '256'])),
      ...this.#maybe(0.06, 'sport', this.#one(['5', '5-10', '10-5', 'x', '-5', '5-6-7', '65535'])),
      ...this.#maybe(0.06, 'dport', this.#one(['80', '1-65535', '0'])),
      ...this.#maybe(0.05, 'uidrange', this.#one(['0-5', '5-0', '7', '1-5x', '0-4294967295'])),
      ...this.#maybe(
        0.02,
        ...this.#one([['l3mdev'], ['tun_id', this.#one(['5', 'x'])], ['dsfield', this.#one(['8', 'x'])]]),
      ),
    ]
  }

  #ruleCommand(): string[] {
    const object = this.#one(['ru', 'rule'])
    const six = this.#six()
    const own = six && this.#chance(0.8) ? ['-6'] : []
    const priority = (): string[] => [
      this.#one(['pref', 'priority', 'order', 'prio']),
      this.#one(['10', '20', '100', '200', '32766', 'x']),
    ]
    const action = (): string[] =>
      this.#one([
        ['table', this.#one([...TABLES, 'nope'])],
        ['lookup', this.#one(TABLES)],
        ['goto', this.#one(['50', '100', '40000', 'x'])],
        ['nop'],
        ['blackhole'],
        ['unreachable'],
        ['prohibit'],
        ['type', this.#one(['blackhole', 'local', 'throw', '12', '0'])],
        [],
        ['frob'],
      ])
    switch (this.#below(8)) {
      case 0:
      case 1:
      case 2:
        return [
          ...own,
          object,
          this.#one(['add', 'a']),
          ...this.#selector(six),
          ...this.#maybe(0.7, ...priority()),
          ...action(),
          ...this.#maybe(0.08, 'suppress_prefixlength', this.#one(['0', '16', 'x'])),
          ...this.#maybe(0.05, 'suppress_ifgroup', this.#one(['default', '7'])),
          ...this.#maybe(0.05, 'protocol', this.#one(PROTOCOLS)),
          ...this.#maybe(0.05, 'realms', this.#one(['1/2', '3', 'x', '65536', '1/', '/1'])),
        ]
      case 3:
      case 4:
        return [
          ...own,
          object,
          this.#short('delete', 1),
          ...this.#maybe(0.5, ...this.#selector(six)),
          ...this.#maybe(0.6, ...priority()),
          ...this.#maybe(0.3, ...action()),
        ]
      case 5:
        return this.#chance(0.3) ? [...own, object, 'flush'] : [...own, object, 'show', ...priority()]
      default:
        return [
          ...own,
          object,
          ...this.#maybe(0.7, this.#one(['show', 'list', 'ls', 'l'])),
          ...this.#maybe(0.15, 'from', this.#prefix(six)),
          ...this.#maybe(0.1, 'table', this.#one(TABLES)),
          ...this.#maybe(0.1, 'iif', this.#device()),
          ...this.#maybe(0.06, 'fwmark', this.#one(['5', '0x10', '0/0xff', '5/0'])),
          ...this.#maybe(0.06, 'proto', this.#one([...PROTOCOLS, 'all'])),
          ...this.#maybe(
            0.1,
            ...this.#one([
              ['to', this.#prefix(six)],
              ['oif', this.#device()],
              ['dev', this.#device()],
              ['not'],
              ['tos', this.#one(['8', '0x10', 'zz'])],
              ['dsfield', '8'],
              ['pref', this.#one(['10', '100', '32766', 'x'])],
              ['lookup', this.#one([...TABLES, 'all'])],
              ['ipproto', this.#one(['tcp', '47'])],
              ['sport', '5'],
              ['dport', '1-65535'],
              ['uidrange', '0-5'],
              ['tun_id', '5'],
              ['l3mdev'],
              ['suppress_prefixlength', '0'],
              ['goto', '50'],
              ['type', 'blackhole'],
              ['realms', '3'],
            ]),
          ),
        ]
    }
  }

  #linkFilter(): string[] {
    return this.#one([
      ['type', this.#one(['tun', 'bridge', 'nope', 'bridge_slave'])],
      ['master', this.#device()],
      ['vrf', this.#device()],
      ['nomaster'],
      ['group', this.#one(['default', '7', 'x'])],
    ])
  }

  /** What `ip link set` may say of a link. */
  #linkWord(): string[] {
    const onOff = this.#one(['on', 'off', 'maybe'])
    return this.#one([
      ['up'],
      ['up'],
      ['mtu', this.#one(['1400', '1500', '70000', 'x', '1280', '65535', '65536', '-1', '0x600', '67'])],
      [this.#one(['txqueuelen', 'qlen', 'txqlen', 'txq']), this.#one(['100', '500', 'x', '-1', '0'])],
      [this.#one(['multicast', 'promisc']), 'maybe'],
      [this.#one(['allmulticast', 'arp', 'trailers']), this.#one(['maybe', 'on'])],
      ['dynamic', onOff],
      ['trailers', onOff],
      ['protodown', onOff],
      ['protodown_reason', this.#one(['3', '32', 'x']), onOff],
      ['carrier', this.#one(['on', 'x'])],
      ['group', this.#one(['default', '7', 'x'])],
      ['alias', this.#one(['uplink', 'a b', ''])],
      ['name', this.#one(['t1', 'averyveryverylongname', 'a/b', '', 'alt0'])],
      ['mode', this.#one(['default', 'dormant', 'x'])],
      ['state', this.#one(['up', 'down', 'x'])],
      ['addrgenmode', this.#one(['none', 'eui64', 'x', 'stable_secret'])],
      ['gso_max_size', this.#one(['1000', '65536', '65537', 'x'])],
      ['gso_max_segs', this.#one(['10', '65535', '65536'])],
      ['gro_max_size', this.#one(['1000', '65536', '524281', 'x'])],
      ['numtxqueues', this.#one(['1', 'x'])],
      ['index', this.#one(['5', '0', 'x'])],
      ['master', this.#device()],
      ['nomaster'],
      ['vrf', this.#device()],
      ['netns', this.#one(['nope', '999999'])],
      ['link-netnsid', this.#one(['5', 'x'])],
      ['address', this.#one(['00:11:22:33:44:55', '00:11', 'x', '00:11:22:33:44:55:66:77'])],
      [this.#one(['brd', 'broadcast']), this.#one(['00:11:22:33:44:55', 'x'])],
      ['xdp', this.#one(['off', 'foo'])],
      ['frob'],
    ])
  }

  /** Other names of a link. */
  #property(): string[] {
    const name = (): string =>
      this.#one([
        'alt0',
        'other',
        'alt0',
        'alt2',
        'averyveryverylongname',
        't0',
        'lo',
        'a/b',
        '',
        'x'.repeat(128),
      ])
    return [
      this.#short('property', 1),
      this.#one(['add', 'add', 'add', 'del', 'delete']),
      ...this.#maybe(0.6, 'dev'),
      this.#device(),
      ...this.#maybe(0.95, 'altname', name()),
      ...this.#maybe(0.2, 'altname', name()),
    ]
  }

  #linkCommand(): string[] {
    const object = this.#one(['l', 'link', 'li'])
    if (this.#chance(0.5))
      return [
        object,
        ...this.#maybe(0.7, this.#one(['show', 'sh', 'list', 'ls'])),
        ...this.#maybe(0.4, ...this.#maybe(0.6, 'dev'), this.#device()),
        ...this.#maybe(0.2, 'up'),
        ...this.#maybe(0.12, ...this.#linkFilter()),
        ...this.#maybe(0.03, 'down'),
      ]
    if (this.#chance(0.06))
      return [object, this.#one(['del', 'delete']), ...this.#maybe(0.5, 'dev'), this.#one(['lo', 'nope'])]
    if (this.#chance(0.06))
      return [object, 'add', ...this.#maybe(0.5, 'name'), this.#one(['t0', 'new']), 'type', 'nonesuch']
    if (this.#chance(0.1))
      return [
        object,
        ...this.#one([
          ['xstats'],
          ['xstats', 'type', this.#one(['tun', 'nope'])],
          ['afstats', ...this.#maybe(0.5, 'dev', this.#device())],
          ['afstats', 'x'],
          ['property', 'frob'],
          ['property', 'add', 'altname', 'x'],
          ['property', 'del', 'dev', 'nope', 'altname', 'x'],
          ...[0, 1, 2, 3].map(() => this.#property()),
          ['replace', this.#device(), 'up'],
          ['delete', 'group', this.#one(['9', 'default', 'x'])],
        ]),
      ]
    if (this.#chance(0.6))
      return [
        object,
        this.#one(['set', 's', 'change']),
        ...this.#maybe(0.5, this.#one(['dev', 'dev', 'dev', 'name'])),
        this.#chance(0.92) ? this.#device() : this.#one(['group default', 'group 9', 'a/b']),
        ...this.#linkWord(),
        ...this.#maybe(0.4, ...this.#linkWord()),
        ...this.#maybe(0.1, ...this.#linkWord()),
      ].flatMap((word) => (word.startsWith('group ') ? word.split(' ') : [word]))
    return [
      object,
      this.#one(['set', 's']),
      ...this.#maybe(0.5, 'dev'),
      this.#device(),
      ...this.#one([
        ['up'],
        ['up'],
        ['up'],
        ['down'],
        ['mtu', this.#one(['1400', '1500', '70000', 'x', '1280', '65535', '65536', '-1', '0x600'])],
        ['txqueuelen', this.#one(['100', '500', 'x'])],
        ['promisc', 'maybe'],
        ['multicast', 'maybe'],
        ['group', this.#one(['default', '7', 'x'])],
        ['alias', this.#one(['uplink', 'a b', ''])],
        ['name', this.#one(['t1', 'averyveryverylongname', 'a/b'])],
        ['frob'],
      ]),
    ]
  }
}
