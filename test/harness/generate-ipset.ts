// Random ipset command lines, valid and not: all types, options, commands and ways to write them.

import type { SeededRandom } from './frames.ts'
import { MutatedLines } from './mutated-lines.ts'

/** Types that the test machine's kernel has. */
export const KERNEL_TYPES = [
  'hash:ip',
  'hash:net',
  'hash:ip,port',
  'hash:ip,port,ip',
  'hash:ip,port,net',
  'hash:net,port',
  'hash:net,iface',
  'bitmap:ip',
  'bitmap:ip,mac',
  'bitmap:port',
  'list:set',
] as const

const OTHER_TYPES = ['hash:mac', 'hash:net,net', 'hash:net,port,net', 'hash:ip,mark', 'hash:ip,mac']
const ALIASES = [
  'iphash',
  'nethash',
  'ipporthash',
  'ipportiphash',
  'ipportnethash',
  'netporthash',
  'netifacehash',
  'ipmap',
  'macipmap',
  'portmap',
  'setlist',
]
const NAMES = ['a', 'b', 'c', 'd', 'e']

/** An element of a set of addresses, with a range of more than some thousands. */
const HUGE = /(^| )[a-flmnop] [^ ,]*(\/([0-9]|1[0-9])(?!\d)|-(?!10\.0\.[01]\.\d+))/

/** One run of the program. `files`: written before it. */
export interface IpsetStep {
  readonly argv: readonly string[]
  readonly input: string
}

export class IpsetWords {
  readonly #random: SeededRandom
  readonly #mutated: MutatedLines
  /** The type of a set as it stands. */
  readonly #typeOf: (name: string) => string
  readonly #familyOf: (name: string) => number

  constructor(random: SeededRandom, typeOf: (name: string) => string, familyOf: (name: string) => number) {
    this.#random = random
    this.#mutated = new MutatedLines(random, 'ipset')
    this.#typeOf = typeOf
    this.#familyOf = familyOf
  }

  #pick<T>(from: readonly T[]): T {
    return from[this.#random.below(from.length)]!
  }

  #one(in_: number): boolean {
    return this.#random.below(in_) === 0
  }

  #name(): string {
    if (this.#one(40))
      return this.#pick(['', 'x'.repeat(31), 'x'.repeat(32), '-a', 'a b', 'zz', ':all:', 'é'])
    return this.#pick(NAMES)
  }

  #ip(v6: boolean): string {
    if (this.#one(12))
      return this.#pick([
        '10.1',
        '10.0.0.0',
        'foo',
        '::1',
        '::',
        '0.0.0.0',
        '0.0.0.3-0.0.0.0',
        'fe80::1',
        '[10.0.0.1]',
        '[10.0.0.1]-[10.0.0.3]',
        '[10.0.0.1]x',
        '[x-y]',
        '010.0.0.1',
        '0x0a000001',
        '167772161',
        ...(this.#one(3) ? ['0.0.0.0/32', '255.255.255.255'] : []),
        '10.0.0.256',
        ' 10.0.0.1',
        '10.0.0.1 ',
        '[10.0.0.1]',
        '[2001:db8::1]',
        '[',
        '',
      ])
    if (v6 !== this.#one(15)) return `2001:db8::${this.#pick(['', '1', '2', '3', 'f', '1:0', 'FFFF:1'])}`
    return `10.0.${this.#random.below(2)}.${this.#random.below(12)}`
  }

  /** `hosts`: of single addresses, of which the kernel goes through 2^31 for minutes. */
  #net(v6: boolean, hosts: boolean): string {
    const ip = this.#ip(v6)
    if (this.#one(3))
      return `${ip}/${this.#pick(
        v6
          ? ['0', '1', '64', '120', '127', '128', '129', '32', 'x', '']
          : [
              '0',
              hosts ? '22' : '1',
              '20',
              '24',
              '28',
              '30',
              '31',
              '32',
              '33',
              'x',
              '',
              '-1',
              '0x18',
              '255',
              '256',
              '24/8',
            ],
      )}`
    // Large ranges take long, and where the kernel finds a hash full depends on its locks.
    return this.#one(6)
      ? `${ip}-${this.#one(8) ? this.#pick(['foo', '10.0.0.256', '[', '::1']) : `10.0.${this.#random.below(2)}.${this.#random.below(12)}`}`
      : ip
  }

  #port(): string {
    const port = this.#pick([
      '80',
      '81',
      '82',
      '80-83',
      '90-85',
      '0',
      '65535',
      '65536',
      'http',
      'x',
      'http-90',
      '[ssh]',
      '[ssh]-[http]',
      '[80-90]',
      '[ssh',
      '80-[http]',
      '80-x',
      '0x50',
      '-1',
      '',
      '-',
      '80-',
      '1-2-3',
    ])
    if (this.#one(3))
      return this.#pick([
        'icmp:echo-request',
        'icmp:3/4',
        'icmp:ping',
        'icmp:PONG',
        'icmp:redirect',
        'icmp:300/1',
        'icmp:3',
        'ICMP:8/0',
        'gre:0',
        'gre:5',
        'icmpv6:1/1',
        'icmpv6:ping',
        'ipv6-icmp:128/0',
        '58:no-route',
        '253:0',
        'zz:1',
        '0:0',
        '256:1',
        'all:0',
        'gre:00',
        '[tcp]:80',
        'ip:0',
        'icmp',
        '6',
        ':80',
        'tcp:',
        'a:b:c',
      ])
    return this.#one(2)
      ? port
      : `${this.#pick(['tcp', 'udp', 'sctp', 'udplite', '17', 'TCP', 'dccp', '6', '136'])}:${port}`
  }

  #mac(): string {
    return this.#pick([
      '00:11:22:33:44:55',
      '00:11:22:33:44:56',
      'aa:bb:cc:dd:ee:ff',
      'AA:BB:CC:DD:EE:FF',
      '00:00:00:00:00:00',
      'a:b',
      '00-11-22-33-44-55',
      '0:11:22:33:44:55',
      '::22:33:44:55',
      '+1:0x2:-0: 3:4:5',
      '00:11:22:33:44:055',
      '-1:11:22:33:44:55',
      '00:11:22:33:44:55:66',
      '00:11:22:33:44:5g',
    ])
  }

  #part(kind: string, v6: boolean): string {
    switch (kind) {
      case 'ip':
      case 'net':
        return this.#net(v6, kind === 'ip')
      case 'port':
        return this.#port()
      case 'iface':
        return this.#pick([
          'eth0',
          'eth1',
          'eth',
          'physdev:eth0',
          'physdev:',
          'averyveryverylongname',
          'fifteencharslon',
          '',
        ])
      case 'mac':
        return this.#mac()
      case 'mark':
        return this.#pick(['1', '0x10', '4294967295', '4294967296', 'x', '0'])
      default:
        return this.#name()
    }
  }

  element(type: string, v6: boolean): string {
    const parts = (type.split(':')[1] ?? 'ip').split(',')
    if (type === 'bitmap:port')
      return this.#pick([
        '80',
        '85-81',
        '100',
        '101',
        '99-101',
        'tcp:80',
        'udp:domain',
        'http',
        'icmp:0',
        'x',
        'sctp:80',
        'tcp:x',
        '80-',
        '',
        'gre:5',
        'gre:0',
        'dccp:80',
        'all:0',
        '[http]',
        '[ssh]-[http]',
        '[80-90]',
      ])
    if (this.#one(30))
      return this.#pick(['', ',', '1,2,3,4', '10.0.0.1', ',10.0.0.1', '10.0.0.1,', 'a,b', 'a,,b'])
    if (type === 'bitmap:ip,mac' && this.#one(2)) parts.pop()
    if (type === 'list:set' && this.#one(10))
      return `${this.#name()},${this.#pick(['before', 'after', 'x'])},${this.#name()}`
    if (this.#one(25)) parts.pop()
    if (this.#one(25)) parts.push(this.#pick(['ip', 'port', 'mac']))
    return parts.map((part) => this.#part(part, v6)).join()
  }

  #timeout(): string {
    return this.#pick([
      '1000',
      '0',
      '2147483',
      '2147484',
      'x',
      '-1',
      '0x64',
      '4294968',
      '',
      '07777',
      '09',
      '1e3',
      ' 1000',
      '1000 ',
    ])
  }

  create(): string[] {
    const type = this.#one(25)
      ? this.#pick([...ALIASES, 'nope', 'bitmap:mac', 'hash', '', 'x'.repeat(40), 'HASH:IP'])
      : this.#pick(KERNEL_TYPES)
    const options: string[][] = []
    if (type === 'bitmap:port' || type === 'portmap')
      options.push(
        this.#one(6)
          ? ['from', this.#pick(['80', 'x']), 'to', this.#pick(['90', '70'])]
          : ['range', this.#pick(['80-100', '100-80', '80', '0-65535', 'x', 'tcp:80-100', '80-'])],
      )
    else if (type.startsWith('bitmap') || type.endsWith('ipmap'))
      options.push(
        this.#one(6)
          ? this.#pick([
              ['from', '10.0.0.0', 'to', '10.0.0.50'],
              ['network', '10.0.0.0/24'],
              ['network', '10.0.0.0'],
              ['from', '10.0.0.0'],
              ['to', '10.0.0.0'],
              ['from', 'x', 'to', 'y'],
              ['range', '10.0.0.0/24', 'to', '10.0.0.9'],
              ['network', '10.0.0.0/24', 'to', '10.0.0.40'],
              ['to', '10.0.0.9', 'range', '10.0.0.1-10.0.0.5'],
              ['range', '10.0.0.1-10.0.0.5', 'to', '10.0.0.9'],
              ['from', '10.0.0.0/24', 'to', '10.0.0.9-10.0.0.10'],
            ])
          : [
              'range',
              this.#pick([
                '10.0.0.0/24',
                '10.0.0.1-10.0.0.9',
                '10.0.0.0/8',
                '10.0.0.1',
                '10.0.0.0-10.1.0.0',
                '10.0.0.0/32',
                '10.0.0.9-10.0.0.1',
                '0.0.0.0/0',
                '10.0.0.5/28',
                '2001:db8::/120',
              ]),
            ],
      )
    else if (type.startsWith('hash') && this.#one(3))
      options.push(
        this.#pick([
          ['family', this.#pick(['inet', 'inet6', 'inet6', 'ipv4', 'ipv6', 'x', 'any', 'unspec', '-6'])],
          ['-6'],
          ['-4'],
        ]),
      )
    if (this.#one(40)) options.shift()
    if (this.#one(3)) options.push(['timeout', this.#timeout()])
    for (const [word, chance] of [
      ['counters', 3],
      ['comment', 3],
      ['skbinfo', 3],
      ['forceadd', 8],
    ] as const)
      if (this.#one(chance)) options.push([word])
    const forced = options.some(([word]) => word === 'forceadd')
    if (this.#one(8))
      options.push(['netmask', this.#pick(['24', '28', '33', '0', '64', '128', '129', '32', 'x'])])
    if (this.#one(10))
      options.push([
        'bitmask',
        this.#pick([
          '255.0.255.0',
          '255.255.255.0',
          '0.0.0.0',
          '255.255.255.255',
          'ffff::',
          'ffff:ffff::ff',
          '::',
          'x',
          '255.255.0.0/16',
          '255.255.0.0/33',
          '255.255.255.0-255.255.255.9',
          '255.0.0.0-x',
        ]),
      ])
    // Whether forceadd finds something to give up depends on the kernel's hash.
    if (this.#one(8) && !forced)
      options.push(['maxelem', this.#pick(['3', '10', '-1', '0', 'x', '4294967295', '4294967296'])])
    if (this.#one(10))
      options.push(['bucketsize', this.#pick(['1', '3', '12', '13', '100', '256', '0', 'x'])])
    if (this.#one(10)) options.push(['hashsize', this.#pick(['1', '64', '100', '2048', '0', 'x', '-5'])])
    if (this.#one(10)) options.push(['initval', this.#pick(['1', '0x1234', 'x', '0xffffffff', '4294967296'])])
    if (this.#one(10)) options.push(['size', this.#pick(['5', '0', 'x', '100000'])])
    if (this.#one(30)) options.push(['markmask', this.#pick(['0xff', '0', 'x'])])
    if (this.#one(30))
      options.push(
        this.#pick([
          ['probes', '4'],
          ['resize', '50', 'resize', '60'],
          ['gc', '10'],
          ['probes'],
          ['hashsize'],
          ['from', '1', 'probes', '2', 'to', 'x'],
          ['network', '10.0.0.0/24', 'from', '5'],
        ]),
      )
    if (this.#one(20))
      options.push([
        this.#pick([
          'foo',
          'range',
          '-6',
          '--counters',
          '-counters',
          'count',
          'timeout',
          'nomatch',
          '',
          '--',
          '--timeout',
          'family',
        ]),
      ])
    if (this.#one(20) && options.length > 0) options.push(this.#pick(options))
    if (this.#one(4)) shuffle(options, this.#random)
    return [
      this.#pick(['create', 'create', '-N', 'new', 'n', 'cr', '--create', 'c']),
      this.#name(),
      type,
      ...options.flat(),
    ]
  }

  #extensions(): string[] {
    const out: string[][] = []
    const add = (chance: number, ...words: string[]): void => {
      if (this.#one(chance)) out.push(words)
    }
    add(6, 'timeout', this.#timeout())
    add(
      6,
      'packets',
      this.#pick(['5', '18446744073709551615', '18446744073709551614', '-1', 'x', '18446744073709551616']),
    )
    add(6, 'bytes', this.#pick(['7', '0x10', '010', '9223372036854775808', '']))
    add(
      6,
      'comment',
      this.#pick(['hi there', '', 'a"b', 'x'.repeat(255), 'x'.repeat(256), '<&>', 'é', "it's", 'tab\there']),
    )
    add(
      8,
      'skbmark',
      this.#pick([
        '0x1',
        '0x1/0xff',
        '5',
        '0xfffffff0/0xffffffff',
        '0x0/0x0',
        '0x1/',
        '0x123456789',
        '0x1/5',
        'x',
        '0xg',
      ]),
    )
    add(8, 'skbprio', this.#pick(['1:2', '1', 'ab:cd', 'ffff:ffff', '0:0', ':1', '1:', '12345:1', 'x']))
    add(8, 'skbqueue', this.#pick(['3', '70000', '65535', '0', 'x', '0x10']))
    add(8, 'nomatch')
    add(12, 'wildcard')
    add(20, 'before', this.#name())
    add(20, 'after', this.#name())
    add(40, this.#pick(['foo', '', '--timeout', 'counters', '--', 'timeout', 'comment', 'packets']))
    if (this.#one(25) && out.length > 0) out.push(this.#pick(out))
    if (this.#one(4)) shuffle(out, this.#random)
    return out.flat()
  }

  #exist(): string[] {
    return this.#one(6) ? [this.#pick(['-!', '-exist', '--exist', '--!'])] : []
  }

  /** A command that may stand in restore too. */
  #line(): string[] {
    const name = this.#name()
    const type = this.#typeOf(name)
    const v6 = this.#familyOf(name) === 6
    const what = this.#pick([
      'create',
      'add',
      'add',
      'add',
      'add',
      'add',
      'add',
      'del',
      'test',
      'test',
      'whole',
    ])
    const exist = this.#exist()
    if (what === 'create') return [...exist, ...this.create()]
    if (what === 'add') {
      const line = [
        this.#pick(['add', '-A', 'a', '--add', 'ad']),
        name,
        this.element(type, v6),
        ...this.#extensions(),
      ]
      if (this.#one(30)) line.splice(this.#random.below(line.length + 1), 0, ...this.#environment())
      return [...exist, ...line]
    }
    if (what === 'del')
      return [
        ...exist,
        this.#pick(['del', 'del', '-D', 'd', 'de']),
        name,
        this.element(type, v6),
        ...(this.#one(10) ? this.#extensions() : []),
      ]
    if (what === 'test')
      return [
        ...(this.#one(6) ? ['-q'] : []),
        this.#pick(['test', 'test', '-T', 't']),
        name,
        this.element(type, v6),
        ...(this.#one(5) ? ['nomatch'] : []),
        ...(this.#one(20) ? this.#extensions() : []),
      ]
    return [
      ...exist,
      ...this.#pick([
        [this.#pick(['destroy', 'x', '-X', 'des']), name],
        [this.#pick(['flush', '-F', 'f']), name],
        [this.#pick(['rename', '-E', 'e', 'ren']), name, this.#name()],
        [this.#pick(['swap', '-W', 'w', 'sw']), name, this.#name()],
        [this.#pick(['swap', 'rename']), name],
        ['destroy', name, 'extra'],
        ['flush', name, 'extra'],
        ['swap', name, this.#name(), 'extra'],
        ['add', name],
        ['add'],
        ['create'],
        ['create', name],
        ['bogus'],
        ...(this.#one(8) ? [['flush'], ['destroy']] : []),
      ]),
    ]
  }

  #environment(): string[] {
    return this.#pick([
      ['-s'],
      ['-sorted'],
      ['--sorted'],
      ['-q'],
      ['-quiet'],
      ['-r'],
      ['-resolve'],
      ['-n'],
      ['-name'],
      ['--name'],
      ['-t'],
      ['-terse'],
      ['-o', 'plain'],
      ['-o', 'save'],
      ['-output', 'xml'],
      ['--output', 'xml'],
      ['-o', 'foo'],
      ['-o'],
      ['-f', 'out'],
      ['-file', 'out'],
      ['-f', 'none/out'],
      ['-f', 'out', '-f', 'out2'],
      ['-f'],
      ['-!'],
      ['-exist'],
      ['-x'],
      ['-sort'],
      ['--quiet'],
    ])
  }

  #listing(): string[] {
    const words = [this.#pick(['list', 'list', 'save', '-L', '-S', 'l', 's', '--list', 'sa', 'save'])]
    if (this.#one(2)) words.push(this.#name())
    if (this.#one(20)) words.push('extra')
    for (let n = this.#random.below(4); n > 0; n--)
      words.splice(this.#random.below(words.length + 1), 0, ...this.#environment())
    return words
  }

  /** A line of a file for restore. */
  #written(words: readonly string[]): string {
    return words
      .map((word) => (/[ \t]|^$/.test(word) && !word.includes('"') ? `"${word}"` : word))
      .join(this.#one(30) ? '  ' : ' ')
  }

  /** `most`: lines of it. */
  #file(most: number): string {
    const lines: string[] = []
    for (let n = this.#random.below(most); n >= 0; n--) {
      if (this.#one(12))
        lines.push(
          this.#pick([
            '',
            '# x',
            '  ',
            'COMMIT',
            '  # y',
            'add "a',
            'quit',
            'version',
            'help',
            'restore',
            'commit',
            '\tflush',
          ]),
        )
      else lines.push(this.#written(this.#one(12) ? this.#listing() : this.#line()))
    }
    return lines.join('\n') + (this.#one(8) ? '' : '\n')
  }

  step(): IpsetStep {
    if (this.#random.below(100) < 40) {
      const argv = this.#mutated.line()
      // Large ranges, of which the kernel goes through all addresses.
      if (!HUGE.test(argv.join(' '))) return { argv, input: '' }
    }
    if (this.#one(12))
      return {
        argv: [
          ...(this.#one(8) ? this.#environment() : []),
          ...this.#exist(),
          this.#pick(['restore', 'restore', '-R', 'r', 'res']),
        ],
        input: this.#file(7),
      }
    if (this.#one(40))
      return { argv: [...(this.#one(8) ? this.#environment() : []), '-'], input: this.#file(1) }
    if (this.#one(7)) return { argv: this.#listing(), input: '' }
    if (this.#one(30))
      return {
        argv: this.#pick([
          ['help', this.#pick([...KERNEL_TYPES, ...OTHER_TYPES, ...ALIASES, 'nope'])],
          ['help'],
          ['h', 'hash:ip', 'extra'],
          ['-q', 'help', 'nope'],
          ['version'],
          ['-v'],
          ['version', 'x'],
          ['quit'],
          [],
          ['-!'],
          ['--'],
        ]),
        input: '',
      }
    return { argv: this.#line(), input: '' }
  }
}

function shuffle<T>(list: T[], random: SeededRandom): void {
  for (let i = list.length - 1; i > 0; i--) {
    const j = random.below(i + 1)
    ;[list[i], list[j]] = [list[j]!, list[i]!]
  }
}
