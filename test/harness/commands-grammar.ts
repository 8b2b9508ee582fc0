// Random sessions of command lines of iptables, ip6tables, their -save and -restore and iptables-xml, right and wrong,
// from a seed. Words are bytes: one character of a string for each.

import type { Family } from '../../datapath/packet.ts'
import type { Call } from './commands.ts'
import { Dice, ExtensionWords, type Known, knownExtensions } from './commands-words.ts'

const TABLES = ['filter', 'nat', 'mangle', 'raw', 'security']
const BUILTIN = ['INPUT', 'FORWARD', 'OUTPUT', 'PREROUTING', 'POSTROUTING']
const USER = ['a', 'b', 'web', 'web-2', 'KUBE-SVC-ABCDEFGHIJKLMNOP', 'x_y', 'Zed', 'caf\xc3\xa9']
const BAD_CHAINS = [
  '',
  '-x',
  '!x',
  'a b',
  'ACCEPT',
  'LOG',
  'TRACE',
  'SNPT',
  'TTL',
  'HL',
  'abcdefghijklmnopqrstuvwxyz123',
  'abcdefghijklmnopqrstuvwxyz12',
  'abcdefghijklmnopqrstuvwxy\xc3\xa9\xc3\xa9',
  '\xff\xfe',
  'nope',
]

const ADDRESSES: Readonly<Record<Family, readonly string[]>> = {
  4: [
    '10.0.0.1',
    '192.168.0.0/16',
    '10.1.2.3/8',
    '0.0.0.0/0',
    '1.2.3.4/0',
    '10.0.0.0/255.255.0.0',
    '10.0.5.0/255.0.255.0',
    '172.16.0.1,172.16.0.2',
    '10/8',
    '10.1',
    '0x0a.1.2.3',
    '010.1.2.3',
    '10.0.0.0/9,192.168.1.1',
    '255.255.255.255',
    '127.0.0.1',
    '1.1.1.1, 2.2.2.2',
    '1.1.1.0/24,1.1.1.0/24',
    '1.2.3.4/32',
    '1.2.3.4/0x10',
  ],
  6: [
    'fd00::1',
    '2001:db8::/32',
    '2001:db8:1:2:3:4:5:6/64',
    '::/0',
    'fe80::1/0',
    '::1',
    '::ffff:1.2.3.4',
    'fd00::1,fd00::2',
    'fd00::/ffff:ffff::',
    'fd00::/ffff::ffff',
    '2001:DB8::A/128',
    '::',
    '1::2/127',
    'fd00:0:0:0:1::',
    'localhost',
    'fd00::/8, fe80::/10',
    'ff02::1',
    '64:ff9b::1.2.3.4',
    '::1.2.3.4',
    '1:0:0:2:0:0:0:3',
  ],
}
const BAD_ADDRESSES = [
  '1.2.3.256',
  '1.2.3.4/33',
  '1.2.3.4/x',
  '1.2.3.4.5',
  '',
  '1.2.3.4/',
  '/8',
  '1.2.3.4,',
  '::1',
  'fd00::/129',
  'fd00:::1',
  'fd00::1/x',
  '1:2:3:4:5:6:7:8:9',
  '[::1]',
  'fe80::1%lo',
  '12345::',
  '\xff',
  ',',
  '1.2.3.4/255.255',
]
const INTERFACES = ['eth0', 'eth+', '+', 'lo', 'wg-0.5', 'abcdefghijklmno', 'br_0', 'a+b', '\xc3\xa9']
const BAD_INTERFACES = ['', 'abcdefghijklmnop', 'a/b', 'a b', '!eth0', '-']
const PROTOCOLS = [
  'tcp',
  'udp',
  'icmp',
  'all',
  'TCP',
  '6',
  '17',
  '1',
  '47',
  'gre',
  'esp',
  'ah',
  'sctp',
  'dccp',
  'udplite',
  '58',
  'icmpv6',
  'ipv6-icmp',
  '0x11',
  '0',
  '255',
  'ipencap',
  'mh',
  'ipv6-mh',
  'ipv6-route',
  'ipv6-frag',
  'ipcomp',
  'ospf',
]
/** Around the places where -L changes units. */
const COUNTS = [
  99_999,
  100_000,
  100_499,
  100_500,
  9_999_499,
  9_999_500,
  9_999_999,
  10_000_000,
  9_999_499_999,
  9_999_500_000,
  10_000_000_000,
  9_999_499_999_999,
  9_999_500_000_000,
  123_456_789_012_345,
  2 ** 53 - 1,
]
const BAD_PROTOCOLS = ['foo', '256', '-1', '', '\xff']

export interface SessionOptions {
  /** Leave out what depends on the extensions' own parsing. */
  readonly plain?: boolean
  readonly family?: Family
  /** Only values that iptables-restore reads as iptables-save prints them. */
  readonly tame?: boolean
  /** Extensions to draw from; all by default. */
  readonly has?: (known: Known, family: Family) => boolean
}

const all = knownExtensions()

/** Makes sessions: command lines that build on each other. */
export class CommandDice extends Dice {
  readonly #plain: boolean
  readonly #tame: boolean
  readonly #has: (known: Known, family: Family) => boolean
  #family: Family
  #matches: readonly Known[] = []
  #targets: readonly Known[] = []

  constructor(seed: number, options: SessionOptions = {}) {
    super(seed)
    this.#plain = options.plain ?? false
    this.#tame = options.tame ?? false
    this.#has = options.has ?? (() => true)
    this.#family = options.family ?? 4
    this.#take(this.#family)
  }

  #take(family: Family): void {
    this.#family = family
    const here = all.filter((known) => this.#has(known, family))
    // Now and then one of the other family, which is unknown here.
    const of = (kind: string): Known[] =>
      here.filter((k) => k.kind === kind && (k.families.includes(family) || this.chance(0.1)))
    this.#matches = of('match')
    this.#targets = of('target')
  }

  /** Some tables in use, and both families. */
  session(length: number): Call[] {
    const calls: Call[] = []
    const first: Family = this.chance(0.5) ? 4 : 6
    for (let i = 0; i < length; i++) {
      this.#take(this.chance(0.9) ? first : first === 4 ? 6 : 4)
      const program = this.#family === 4 ? 'iptables' : 'ip6tables'
      const kind = this.below(40)
      if (kind < 4) calls.push({ tool: `${program}-restore`, ...this.#restore() })
      else if (kind < 6) calls.push({ tool: `${program}-save`, argv: this.#save(), stdin: '' })
      else if (kind < 7) calls.push(this.#xml())
      else calls.push({ tool: program, argv: this.#command(), stdin: '' })
    }
    return calls
  }

  chain(table?: string): string {
    if (this.chance(0.02)) return this.pick(BAD_CHAINS)
    if (this.chance(0.4)) return this.pick(USER)
    const of: Record<string, readonly string[]> = {
      filter: BUILTIN.slice(0, 3),
      security: BUILTIN.slice(0, 3),
      raw: ['PREROUTING', 'OUTPUT'],
      nat: ['PREROUTING', 'INPUT', 'OUTPUT', 'POSTROUTING'],
    }
    return this.pick(table === undefined || this.chance(0.03) ? BUILTIN : (of[table] ?? BUILTIN))
  }

  #table(): { table: string; words: string[] } {
    if (this.chance(0.45)) return { table: 'filter', words: [] }
    if (this.chance(0.01))
      return { table: 'filter', words: ['-t', this.pick(['foo', '', 'Filter', 'x'.repeat(40), '\xff'])] }
    const table = this.pick(TABLES)
    return {
      table,
      words: this.chance(0.8) ? ['-t', table] : [this.pick([`--table=${table}`, `-t${table}`])],
    }
  }

  #number(): string[] {
    return this.chance(0.5)
      ? []
      : [this.pick(['1', '2', '3', '4', '9', '0', 'x', '0x1', ' 1', '2147483648', '4294967297', '1 '])]
  }

  #command(): string[] {
    const { table, words } = this.#table()
    const chain = this.chain(table)
    const flags: string[] = []
    const command = this.#verb(table, chain)
    if (this.chance(0.1))
      flags.push(
        ...this.pick<readonly string[]>([
          ['-v'],
          ['--verbose'],
          ['--verb'],
          ['-vv'],
          ['-v', '--verbose'],
          ['-w'],
          ['-w5'],
          ['-w', '3'],
          ['-4'],
          ['-6'],
          ['--ipv4'],
          ['--ipv6'],
          ['--wait'],
          ['--wait=2'],
          ['-w', '-W', '1000'],
          ['-W', '100'],
          ['--wait-interval', 'x'],
          ['-w', 'x'],
          ['-n'],
          ['-x'],
          ['--line-numbers'],
          ['--numeric'],
          ['--exact'],
        ]),
      )
    const where = this.below(3)
    const line = [...words, ...command]
    if (where === 0) return [...flags, ...line]
    if (where === 1) return [...line, ...flags]
    return [...command, ...words, ...flags]
  }

  #verb(table: string, chain: string): string[] {
    const kind = this.below(100)
    if (kind < 38)
      return [this.pick(['-A', '-A', '-A', '--append', '--app']), chain, ...this.rule(table, chain)]
    if (kind < 45)
      return [this.pick(['-I', '--insert', '--ins']), chain, ...this.#number(), ...this.rule(table, chain)]
    if (kind < 49)
      return [this.pick(['-R', '--replace']), chain, ...this.#number(), ...this.rule(table, chain)]
    if (kind < 53) return [this.pick(['-D', '--delete']), chain, ...this.#number()]
    if (kind < 58) return [this.pick(['-D', '-C', '--check']), chain, ...this.rule(table, chain)]
    if (kind < 67)
      return [
        this.pick(['-N', '-N', '--new-chain', '--new']),
        this.chance(0.1) ? this.pick(BAD_CHAINS) : this.pick(USER),
      ]
    if (kind < 70) return [this.pick(['-X', '--delete-chain']), ...(this.chance(0.8) ? [chain] : [])]
    if (kind < 73) return [this.pick(['-F', '--flush']), ...(this.chance(0.85) ? [chain] : [])]
    if (kind < 76)
      return [
        this.pick(['-E', '--rename-chain', '--rename']),
        this.chain(table),
        this.chance(0.1) ? this.pick(BAD_CHAINS) : this.pick(USER),
      ]
    if (kind < 80)
      return [
        this.pick(['-P', '--policy']),
        chain,
        this.pick(['ACCEPT', 'DROP', 'ACCEPT', 'DROP', 'RETURN', 'foo', 'QUEUE', 'accept']),
        ...(this.chance(0.3) ? ['-c', '5', '6'] : []),
      ]
    if (kind < 84)
      return [this.pick(['-Z', '--zero']), ...(this.chance(0.6) ? [chain, ...this.#number()] : [])]
    if (kind < 91)
      return [
        this.pick(['-L', '-nL', '-nvL', '-vL', '-nvxL', '--list', '-Ln', '-xvL', '-vnL']),
        ...this.#listed(chain),
      ]
    if (kind < 95) return [this.pick(['-S', '-vS', '--list-rules']), ...this.#listed(chain)]
    if (kind < 97) return [this.pick(['-L', '-nvL', '-S', '-vS']), ...this.#listed(chain), '-Z']
    return this.#odd(chain)
  }

  #odd(chain: string): string[] {
    const match = this.pick(this.#matches).name
    const target = this.pick(this.#targets).name
    return this.pick([
      ['-V'],
      ['--version'],
      ['!', '-V'],
      [],
      ['-A'],
      ['-A', chain, '-L'],
      ['--foo'],
      ['-Q'],
      ['-b'],
      ['foo'],
      ['-L', chain, '--', 'x'],
      ['-L', '--line-numbers'],
      ['-W', '5', '-L'],
      ['-w', 'x', '-L'],
      ['-L', '-n', '-n'],
      ['-h', 'x'],
      ['-h'],
      ['--help'],
      ['-m', match, '-h'],
      ['-j', target, '-h'],
      ['-p', this.pick(PROTOCOLS), '-h'],
      ['-m', match, '-j', target, '--help'],
      ['-j', 'ACCEPT', '-h'],
      ['-m', 'nosuch', '-h'],
      ['-j', 'nosuch', '-h'],
      ['-m', 'nosuch'],
      ['-A', chain, '-m', 'x'.repeat(29)],
      ['-A', chain, '-m', 'x'.repeat(28)],
      ['-A', chain, '-j', 'x'.repeat(29)],
      ['-A', chain, '-j', 'x'.repeat(28)],
      ['-A', chain, '-m', ''],
      ['-A', chain, '-j', ''],
      ['-A', chain, '-m', '\xff\xfe'],
      ['-A', chain, '-j', '\xff\xfe'],
      ['-A', chain, '-m', '../x'],
      ['\xff'],
      ['-\xff'],
      ['--\xff'],
      ['--li'],
      ['--list-r'],
      ['--l'],
      ['--lin'],
      ['-P', chain],
      ['-E', chain],
      ['-R', chain],
      ['-c', '1', '2', '-L'],
      ['-A', chain, '-c', '1'],
      ['-A', chain, '-c', '1,2'],
      ['-A', chain, '-c', 'x', '2'],
      ['-A', chain, '-c', '1', 'x'],
      ['-A', chain, '--set-counters', '9007199254740991', '1'],
      ['-A', chain, '-c', '18446744073709551615', '-1'],
      ['--modprobe=/bin/true', '-S'],
      ['-M', '/bin/true', '-S'],
      ['-L', '-t'],
      ['-t', 'nat', '-t', 'filter', '-L'],
      ['!', '-L'],
      ['!', '!', '-L'],
      ['-L', '!'],
      ['-A', chain, '!', '-j', 'ACCEPT'],
      ['-A', chain, '!', '-m', match],
      ['!', '-A', chain],
      ['-4', '-6', '-L'],
      ['-F', '-X'],
      ['-N', 'a', '-N', 'b'],
      ['-L', chain, '1', '2'],
      ['-S', chain, '1', 'x'],
      ['-F', chain, 'x'],
      ['-X', chain, '-v'],
      ['-Fv'],
      ['-Zv'],
      ['-Xv'],
      ['-vF'],
      ['-vX'],
      ['-vZ'],
      ['-LINPUT'],
      ['-FINPUT'],
      ['--list=INPUT'],
      ['--flush=a'],
      ['-A', chain, '-j', 'ACCEPT', '-j', 'DROP'],
      ['-A', chain, '-g', 'a', '-j', 'b'],
      ['-A', chain, '-f'],
      ['-A', chain, '--fragments'],
      ['-A', chain, '-s', 'x', '-s', 'y'],
    ])
  }

  #listed(chain: string): string[] {
    const words: string[] = []
    if (this.chance(0.4)) words.push(chain, ...(this.chance(0.3) ? this.#number() : []))
    if (this.chance(0.3)) words.push(this.pick(['--line-numbers', '--line', '--line-n']))
    return words
  }

  /** The words of a rule, most of them sensible. */
  rule(table: string, chain: string): string[] {
    const words: string[] = []
    const not = (): string[] => (this.chance(0.15) ? ['!'] : [])
    const good = <T>(right: readonly T[], wrong: readonly T[]): T =>
      this.pick(this.chance(0.02) ? wrong : right)
    const addresses = ADDRESSES[this.#family]
    const wrong = [...BAD_ADDRESSES, ...ADDRESSES[this.#family === 4 ? 6 : 4]]
    if (this.chance(0.3)) words.push(...not(), this.pick(['-s', '--source', '--src']), good(addresses, wrong))
    if (this.chance(0.3))
      words.push(...not(), this.pick(['-d', '--dst', '--destination']), good(addresses, wrong))
    if (this.chance(0.2) && (!['OUTPUT', 'POSTROUTING'].includes(chain) || this.chance(0.1)))
      words.push(
        ...not(),
        this.pick(['-i', '--in-interface']),
        good(INTERFACES, this.#tame ? INTERFACES : BAD_INTERFACES),
      )
    if (this.chance(0.2) && (!['INPUT', 'PREROUTING'].includes(chain) || this.chance(0.1)))
      words.push(
        ...not(),
        this.pick(['-o', '--out-interface', '--out']),
        good(INTERFACES, this.#tame ? INTERFACES : BAD_INTERFACES),
      )
    if (this.chance(this.#family === 4 ? 0.05 : 0.005)) words.push(...not(), '-f')
    const matches = this.#plain
      ? []
      : Array.from({ length: this.pick([0, 0, 1, 1, 1, 1, 2, 3]) }, () => this.pick(this.#matches))
    const target = this.#plain || this.chance(0.3) ? null : this.#fitting(table)
    const needs = [...matches, ...(target === null ? [] : [target])]
      .map((known) => known.protocols)
      .find((list) => list.length > 0)
    const need = needs === undefined ? undefined : this.pick(needs)
    if (need !== undefined && !this.chance(0.06))
      words.push(...(this.chance(0.04) ? ['!'] : []), this.pick(['-p', '-p', '--protocol', '--proto']), need)
    else if (this.chance(0.25)) words.push(...not(), '-p', good(PROTOCOLS, BAD_PROTOCOLS))
    const options = new ExtensionWords(this, this.#family, this.#tame)
    for (const match of matches) {
      if (match.name !== need || this.chance(0.5)) words.push(this.pick(['-m', '-m', '--match']), match.name)
      words.push(...options.options(match))
    }
    if (target !== null) words.push(this.pick(['-j', '--jump']), target.name, ...options.options(target))
    else if (this.chance(0.8))
      words.push(
        this.pick(['-j', '-j', '-j', '-g', '--jump', '--goto']),
        this.pick(
          this.chance(0.04)
            ? [...BUILTIN, ...BAD_CHAINS.filter((name) => name !== 'TRACE')]
            : [...USER, 'ACCEPT', 'DROP', 'RETURN', 'QUEUE'],
        ),
      )
    if (this.chance(0.08))
      words.push(
        '-c',
        this.pick(['5', '123456', '99999', '1000000000000']),
        this.pick(['6', '10000000', '12345678901']),
      )
    if (this.chance(0.02))
      words.splice(
        this.below(words.length + 1),
        0,
        this.pick(['!', 'junk', '--foo', '-', '--', '-m', '-c', '-s', '--d', '-q', '--dport', '\xff']),
      )
    if (this.chance(0.01)) words.splice(this.below(words.length), 1)
    return words
  }

  /** Most of the time a target that may stand in this table. */
  #fitting(table: string): Known {
    const here = this.#targets.filter((t) => t.tables.length === 0 || t.tables.includes(table))
    return this.pick(this.chance(0.9) && here.length > 0 ? here : this.#targets)
  }

  #save(): string[] {
    const words: string[] = []
    if (this.chance(0.5)) words.push(this.pick(['-c', '--counters']))
    if (this.chance(0.3))
      words.push(...this.pick([['-t', this.pick([...TABLES, 'foo', ''])], ['--table=nat']]))
    if (this.chance(0.05)) words.push('-M', '/bin/true')
    if (this.chance(0.08))
      words.push(
        this.pick([
          '-V',
          '-x',
          'foo',
          '--foo',
          '-t',
          '--co',
          '--table',
          '--version',
          '-d',
          '--dump',
          '-b',
          '-ct',
          '--',
        ]),
      )
    return words
  }

  #restore(): { argv: string[]; stdin: string } {
    const argv: string[] = []
    if (this.chance(0.6)) argv.push(this.pick(['-n', '--noflush', '--nof']))
    if (this.chance(0.4)) argv.push(this.pick(['-c', '--counters']))
    if (this.chance(0.1)) argv.push(this.pick(['-t', '--test']))
    if (this.chance(0.1)) argv.push(this.pick(['-v', '--verbose', '-vv']))
    if (this.chance(0.1))
      argv.push(...this.pick([['-T', this.pick(TABLES)], [`--table=${this.pick(TABLES)}`]]))
    if (this.chance(0.1)) argv.push(...this.pick([['-w', '5'], ['-w'], ['--wait=3'], ['-w', '-W', '10']]))
    if (this.chance(0.03))
      argv.push(
        this.pick([
          '--foo',
          '-V',
          '-h',
          'a b',
          '-T',
          '-W',
          '/nonexistent/file',
          '-q',
          '-b',
          '-M',
          '--version',
        ]),
      )
    return { argv, stdin: this.chance(0.04) ? this.#garbage() : this.restoreText() }
  }

  /** A file for iptables-restore, mostly a right one. */
  restoreText(): string {
    const lines: string[] = []
    for (let n = this.pick([1, 1, 1, 2, 3]); n > 0; n--) this.#restoreTable(lines)
    const text = `${lines.join('\n')}\n`
    return this.chance(0.03) ? text.slice(0, -1) : text
  }

  #garbage(): string {
    const bytes = (n: number): string =>
      Array.from({ length: n }, () => String.fromCharCode(this.below(256))).join('')
    return this.pick([
      () => bytes(this.below(2000)),
      () => `*filter\n${bytes(this.below(300))}\nCOMMIT\n`,
      () => `*filter\n:INPUT ACCEPT [0:0]\n-A INPUT ${'x'.repeat(this.below(30_000))}\nCOMMIT\n`,
      () => `*filter\n-A INPUT${' -m comment --comment x'.repeat(this.below(700))}\nCOMMIT\n`,
      () => `*filter\n-A INPUT -m comment --comment "${'y'.repeat(this.below(3000))}"\nCOMMIT\n`,
      () => '*filter\n-A INPUT -j ACCEPT\0 junk\nCOMMIT\n',
      () => '*filter\n\0\nCOMMIT\n',
      () => '*filter\0\nCOMMIT\n',
      () => '*filter\r\n:INPUT ACCEPT [0:0]\r\nCOMMIT\r\n',
      () => '\xef\xbb\xbf*filter\nCOMMIT\n',
      () => '',
      () => '\n\n\n',
      () => 'COMMIT\n',
      () => `#${'c'.repeat(this.below(25_000))}\n*filter\nCOMMIT\n`,
      () => `*filter\n:${'a'.repeat(20 + this.below(40))} - [0:0]\nCOMMIT\n`,
      () => `*${'t'.repeat(20 + this.below(40))}\nCOMMIT\n`,
    ])()
  }

  /** A counter: often small, sometimes as large as -L writes with K, M, G and T. */
  #count(small: number): number {
    return this.chance(0.7) ? this.below(small) : this.pick(COUNTS)
  }

  #restoreTable(lines: string[]): void {
    const table = this.pick(TABLES)
    if (this.chance(0.2)) lines.push('# a comment', '')
    lines.push(`*${this.chance(0.02) ? 'foo' : table}`)
    const chains = USER.filter(() => this.chance(0.4))
    if (this.chance(0.5))
      lines.push(
        `:${this.chain(table)} ${this.pick(['ACCEPT', 'DROP', '-'])} [${this.#count(9)}:${this.#count(99)}]`,
      )
    for (const chain of chains) lines.push(`:${chain} - [0:0]`)
    for (let n = this.below(6); n > 0; n--) {
      const chain = this.chance(0.5) && chains.length > 0 ? this.pick(chains) : this.chain(table)
      const counters = this.chance(0.3) ? `[${this.#count(1000)}:${this.#count(100000)}] ` : ''
      const words = this.chance(0.9) ? ['-A', chain, ...this.rule(table, chain)] : this.#verb(table, chain)
      if (this.chance(0.03)) words.unshift(this.pick(['-v', '-vv', '--verbose']))
      lines.push(counters + words.map((w) => this.#quote(w)).join(this.chance(0.05) ? '  ' : ' '))
    }
    if (this.chance(0.06))
      lines.splice(
        this.below(lines.length + 1),
        0,
        this.pick([
          ':',
          '*',
          '*nat',
          'COMMIT',
          'COMMIT ',
          ' COMMIT',
          'junk',
          ':a',
          ':INPUT foo',
          ':INPUT ACCEPT',
          ':INPUT ACCEPT [x:y]',
          ':INPUT ACCEPT [1:2',
          '[1:2',
          '[12] -A INPUT',
          '[a:b] -A INPUT',
          '[1:2]-A INPUT',
          '[1:2]',
          '-t nat -A INPUT',
          '-A INPUT -t nat',
          '-A INPUT --table nat',
          '-6 -A INPUT',
          '-4 -A INPUT',
          ' -A INPUT',
          '\t-A INPUT',
          '-A INPUT -w',
          '-A INPUT -m comment --comment "open',
          '-A INPUT -m comment --comment "a"b',
          '-A INPUT -m comment --comment a"b c"',
          '-A INPUT -m comment --comment ""',
          '-A INPUT -m comment --comment "x\\"y"',
          "-A INPUT -m comment --comment 'x y'",
        ]),
      )
    if (!this.chance(0.03)) lines.push('COMMIT')
  }

  #quote(word: string): string {
    if (/^[\w./:,!+-]+$/.test(word) && !this.chance(0.02)) return word
    return `"${word.replaceAll(/["\\]/g, (c) => `\\${c}`)}"`
  }

  #xml(): Call {
    const argv: string[] = []
    if (this.chance(0.6)) argv.push(this.pick(['-c', '--combine', '--comb']))
    if (this.chance(0.3)) argv.push(this.pick(['-v', '--verbose', '-cv']))
    if (this.chance(0.06)) argv.push(this.pick(['-h', '-x', '--foo', '/nonexistent/file', '--help', '--c']))
    if (this.chance(0.02)) argv.push('a', 'b')
    const text = this.chance(0.04) ? this.#garbage() : this.restoreText()
    // A chain without counters gets whatever stood in memory there.
    return { tool: 'iptables-xml', argv, stdin: text.replaceAll(/^:(?!\S+ \S+ \[\d+:\d+\]\n).*\n/gm, '') }
  }
}
