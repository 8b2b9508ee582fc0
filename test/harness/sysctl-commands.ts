// Command lines of sysctl(8), drawn from a grammar over the names that both hosts have: reads, writes, patterns and
// files, well-formed and not.

import type { SeededRandom } from './frames.ts'
import { MutatedLines } from './mutated-lines.ts'

export interface SysctlLine {
  /** ip: a link that changes, and what there is with it. */
  readonly tool?: 'ip'
  readonly argv: readonly string[]
  readonly stdin: string
}

const VALUES = [
  '0',
  '1',
  '2',
  '3',
  '5',
  '60',
  '255',
  '256',
  '65535',
  '65536',
  '-1',
  '0x10',
  '010',
  '1 2',
  '1\t2',
  ' 7 ',
  '2147483647',
  '2147483648',
  '4294967295',
  '4294967296',
  '99999999999999999999',
  '-2147483648',
  '-2147483649',
  '1x',
  'x',
  '',
  '1.5',
  '+1',
  '08',
  '0x',
  '1=2',
  '4096 8192 65536',
  '1-3,7',
  '-0',
  '8589934',
  '8589935',
  '1024 65535',
  '9223372036854775807',
  '18446744073709551615',
  '-5',
  '300',
  '1280',
  'cubic',
  '1,2',
]
const UNKNOWN = ['net.nope', 'net.ipv4.nope', 'a', 'net/ipv4/conf/nope/rp_filter', 'net.ipv4.ip_forward.x']
/** Extended regular expressions that C and JavaScript read alike. */
const EXPRESSIONS = [
  'neigh\\.lo\\..*_ms$',
  'ipv6.*(mtu|limit)$',
  'tcp_(sack|rmem|wmem)|port_range',
  'net\\.ipv6\\.conf\\.t[01]\\.(hop_limit|forwarding)$',
  'ip_default_ttl$',
  'ipfrag_',
  'conf\\.(all|lo)\\.rp_filter',
  'udp_timeout',
  'nothing',
  '^net',
]
const READ_FLAGS = ['-n', '-N', '-b', '-e', '-q', '--values', '--names', '--ignore', '--quiet', '-o', '-x']

export class SysctlGrammar {
  readonly #random: SeededRandom
  readonly #mutated: MutatedLines
  readonly #names: readonly string[]
  readonly #directories: readonly string[]

  /** `names`: what both have; `directories`: of which both have all. */
  constructor(random: SeededRandom, names: readonly string[], directories: readonly string[]) {
    this.#random = random
    this.#mutated = new MutatedLines(random, 'sysctl')
    this.#names = names
    this.#directories = directories
  }

  #chance(p: number): boolean {
    return this.#random.u32() / 0x1_0000_0000 < p
  }

  #one<T>(list: readonly T[]): T {
    return list[this.#random.u32() % list.length]!
  }

  #some<T>(most: number, make: () => T): T[] {
    return Array.from({ length: 1 + (this.#random.u32() % most) }, make)
  }

  /** A name, dotted or as a path. */
  #name(): string {
    const name = this.#chance(0.06) ? this.#one(UNKNOWN) : this.#one(this.#names)
    return this.#chance(0.2) && !name.includes('/') ? name.replaceAll('.', '/') : name
  }

  #assignment(): string {
    const blank = (): string => (this.#chance(0.1) ? this.#one([' ', '\t', '  ']) : '')
    return `${blank()}${this.#name()}${blank()}=${blank()}${this.#value()}${blank()}`
  }

  #value(): string {
    return this.#chance(0.6) ? this.#one(VALUES.slice(0, 6)) : this.#one(VALUES)
  }

  #flags(): string[] {
    return this.#chance(0.35) ? this.#some(2, () => this.#one(READ_FLAGS)) : []
  }

  /**
   * One of test/data/command-lines/sysctl.txt, changed; no lists but those that a pattern of net bounds: others say something
   * of the machine.
   */
  #changed(): SysctlLine {
    for (;;) {
      const argv = this.#mutated.line()
      const lists = argv.some((word) => /^-\w*[aAXpfS]|^--(a|s|l|d)|^net([./]\w*){0,2}[./]?$/.test(word))
      const bounded = argv.some(
        (word, i) => /^-\w*r$/.test(word) && /^net\.\w+\.\w+\.\w/.test(argv[i + 1] ?? ''),
      )
      if (!lists || bounded) return { argv, stdin: '' }
    }
  }

  /** A link whose MTU decides whether there is IPv6, or that goes down or comes up. */
  #link(): SysctlLine {
    const change = this.#one([
      ...['68', '1279', '1280', '1400', '1500', '9000'].map((mtu) => ['mtu', mtu]),
      ['down'],
      ['up'],
      ['mtu', '1000', 'up'],
    ])
    return { tool: 'ip', argv: ['link', 'set', this.#one(['t0', 't1', 'lo']), ...change], stdin: '' }
  }

  line(): SysctlLine {
    if (this.#chance(0.05)) return this.#link()
    if (this.#chance(0.4)) return this.#changed()
    const dice = this.#random.u32() % 100
    const operands = (): string[] =>
      this.#some(3, () =>
        this.#chance(0.4)
          ? this.#assignment()
          : this.#chance(0.1)
            ? this.#one(this.#directories)
            : this.#name(),
      )
    if (dice < 40) return { argv: [...this.#flags(), ...operands()], stdin: '' }
    if (dice < 50)
      return {
        argv: [...this.#flags(), this.#one(['-w', '--write', '-qw', '-we', '--dry-run']), ...operands()],
        stdin: '',
      }
    if (dice < 60)
      return {
        argv: [...this.#flags(), this.#one(['-r', '--pattern']), this.#one(EXPRESSIONS), ...operands()],
        stdin: '',
      }
    if (dice < 90)
      return {
        argv: [
          ...this.#flags(),
          ...(this.#chance(0.15) ? ['-r', this.#one(EXPRESSIONS)] : []),
          ...this.#one([
            ['-p', '-'],
            ['--load=-'],
            ['-f', '-'],
            ['-p-'],
            ['-p', '-'],
            ['-p', '-'],
            ['-p', '-', '-'],
            ['-qp-'],
            ['-f-'],
            ['-fe', '-'],
            ['-p', '/dev/null', '-'],
            ['-f', '-', '-w', this.#assignment()],
            ['-p', '-', '-r', this.#one(EXPRESSIONS)],
          ]),
        ],
        stdin: this.#file(),
      }
    return this.#one([
      { argv: ['-p', '/nonexistent'], stdin: '' },
      { argv: ['-p', '/'], stdin: '' },
      { argv: [''], stdin: '' },
      { argv: ['', ''], stdin: '' },
      { argv: ['-w'], stdin: '' },
      { argv: ['-h'], stdin: '' },
      { argv: ['-ar', 'conf.t1.rp_', ...this.#flags()], stdin: '' },
      { argv: ['-N', '-a', '-r', 'neigh.t0.[bcd]', ...this.#flags()], stdin: '' },
      { argv: [`/proc/sys/${this.#name()}`], stdin: '' },
      { argv: [this.#assignment().replace('=', ' = ')], stdin: '' },
      { argv: ['net.ipv4.conf.*.rp_filter=1'], stdin: '' },
      { argv: ['-V'], stdin: '' },
      { argv: ['--nope'], stdin: '' },
      { argv: ['-y'], stdin: '' },
      { argv: ['--', `-${this.#assignment()}`], stdin: '' },
      { argv: ['--', `-${this.#name()}`], stdin: '' },
      { argv: ['--', `--${this.#assignment()}`], stdin: '' },
      { argv: [`#${this.#assignment()}`], stdin: '' },
      { argv: ['=5'], stdin: '' },
      { argv: [`${this.#name()} `], stdin: '' },
      { argv: ['-r'], stdin: '' },
      { argv: ['--pat', this.#one(EXPRESSIONS), this.#name()], stdin: '' },
      { argv: ['--n', this.#name()], stdin: '' },
      { argv: ['-e', '--q', this.#assignment()], stdin: '' },
    ])
  }

  #file(): string {
    const lines = this.#some(6, () => {
      switch (this.#random.u32() % 12) {
        case 0:
          return this.#one(['# a comment', '; a comment', '', '   ', '\t', 'junk', '-', '=1', '-=1'])
        case 1:
          return `${this.#chance(0.2) ? '--' : '-'}${this.#assignment()}`
        case 2:
          return `-${this.#name()}`
        case 3:
          return this.#name()
        case 4:
        case 5:
          return `${this.#one(['net.ipv4.conf.*.rp_filter', 'net.ipv4.conf.[al]*.accept_local', 'net/ipv4/conf/l?/rp_filter', '/net/ipv4/conf/*/rp_filter', 'net..ipv4.conf.*.rp_filter', 'net/ipv6/conf//t*/mtu', 'net.ipv4.conf.nope*.rp_filter', 'net.ipv4.ipfrag_*_thresh', 'net.ipv4.conf.*.send_redirects', 'net.ipv6.conf.*.hop_limit', 'net.ipv6.conf.*.forwarding', 'net.ipv6.conf.t?.disable_ipv6', 'net.ipv[46].neigh.*.locktime', 'net.ipv4.tcp_syn*', 'net.ipv6.conf.all.*_id'])} = ${this.#value()}`
        default:
          return this.#assignment()
      }
    })
    return lines.join('\n') + (this.#chance(0.9) ? '\n' : '')
  }
}
