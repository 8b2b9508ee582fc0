// Random command lines of iptables, iptables-save and iptables-restore, right and wrong, from a seed; and a runner
// that asks the real tools for their answers in a network namespace of its own.
//
//     seed ──> Session: [iptables -A …, iptables-restore -n < …, iptables-save -c, …]
//                 ├──> realAnswers(): iptables-legacy in a namespace
//                 └──> ours, in memory

import { spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { runIptables } from '../../daemon/cli/iptables.ts'
import type { ToolWorld } from '../../daemon/cli/iptables-common.ts'
import { runIptablesRestore } from '../../daemon/cli/iptables-restore.ts'
import { runIptablesSave } from '../../daemon/cli/iptables-save.ts'
import { matches } from '../../rules/matches/index.ts'
import { MemoryStore, Ruleset } from '../../rules/ruleset.ts'
import { targets } from '../../rules/targets/index.ts'
import { Registry } from '../../rules/text/registry.ts'

export interface Call {
  readonly tool: 'iptables' | 'iptables-save' | 'iptables-restore'
  readonly argv: readonly string[]
  readonly stdin: string
}

export interface Answer {
  readonly stdout: string
  readonly stderr: string
  readonly code: number
}

/** mulberry32: the same session for the same seed, on any machine. */
export class Dice {
  #state: number
  constructor(seed: number) {
    this.#state = seed | 0
  }

  u32(): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0
    let t = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return (t ^ (t >>> 14)) >>> 0
  }

  below(n: number): number {
    return Math.floor((this.u32() / 4294967296) * n)
  }

  chance(p: number): boolean {
    return this.u32() / 4294967296 < p
  }

  pick<T>(from: readonly T[]): T {
    return from[this.below(from.length)]!
  }
}

const TABLES = ['filter', 'nat', 'mangle', 'raw', 'security']
const BUILTIN = ['INPUT', 'FORWARD', 'OUTPUT', 'PREROUTING', 'POSTROUTING']
const USER = ['a', 'b', 'web', 'web-2', 'KUBE-SVC-ABCDEFGHIJKLMNOP', 'x_y', 'Zed']
const BAD_CHAINS = [
  '',
  '-x',
  '!x',
  'a b',
  'ACCEPT',
  'LOG',
  'TRACE',
  'abcdefghijklmnopqrstuvwxyz123',
  'abcdefghijklmnopqrstuvwxyz12',
  'nope',
]

const ADDRESSES = [
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
]
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
]
const INTERFACES = ['eth0', 'eth+', '+', 'lo', 'wg-0.5', 'abcdefghijklmno', 'br_0']
const BAD_INTERFACES = ['', 'abcdefghijklmnop', 'a/b']
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
  '0x11',
  '0',
  '255',
  'ipencap',
]
const BAD_PROTOCOLS = ['foo', '256', '-1', '']

/** A match or target with what may follow it; `need`: a protocol it wants. */
interface Words {
  readonly name: string
  readonly need?: string
  readonly options: readonly (readonly string[])[]
}

const MATCHES: readonly Words[] = [
  {
    name: 'tcp',
    need: 'tcp',
    options: [
      ['--dport', '80'],
      ['--dport', '1000:2000'],
      ['--dport', ':1023'],
      ['--sport', 'ssh'],
      ['--source-port', '5:'],
      ['--syn'],
      ['--tcp-flags', 'SYN,ACK', 'SYN'],
      ['--tcp-flags', 'ALL', 'NONE'],
      ['--tcp-option', '2'],
      ['--dport', '70000'],
      ['--dport', '9:5'],
      ['--dport', 'nosuch'],
      ['--tcp-flags', 'FOO', 'SYN'],
      ['--tcp-flags', 'SYN'],
    ],
  },
  {
    name: 'udp',
    need: 'udp',
    options: [
      ['--dport', '53'],
      ['--sport', 'domain'],
      ['--dport', '1:2:3'],
      ['--dport', '9:5'],
      ['--dport', '0x35'],
      ['--destination-port', '67:68'],
    ],
  },
  {
    name: 'icmp',
    need: 'icmp',
    options: [
      ['--icmp-type', 'echo-request'],
      ['--icmp-type', '3/4'],
      ['--icmp-type', 'any'],
      ['--icmp-type', '300'],
      ['--icmp-type', 'nonsense'],
      ['--icmp-type', 'host-unreachable'],
    ],
  },
  {
    name: 'comment',
    options: [
      ['--comment', 'plain'],
      ['--comment', 'two words'],
      ['--comment', 'a "quoted" \\ \'one\''],
      ['--comment', ''],
      ['--comment', 'ünïcode'],
    ],
  },
  {
    name: 'conntrack',
    options: [
      ['--ctstate', 'NEW'],
      ['--ctstate', 'RELATED,ESTABLISHED'],
      ['--ctstate', 'INVALID,DNAT'],
      ['--ctstate', 'FOO'],
      ['--ctproto', 'tcp'],
      ['--ctorigsrc', '10.0.0.0/8'],
      ['--ctdir', 'REPLY'],
      ['--ctstatus', 'ASSURED,CONFIRMED'],
      ['--ctexpire', '5:10'],
      ['--ctexpire', '9'],
      ['--ctorigdstport', '80:90'],
    ],
  },
  {
    name: 'state',
    options: [
      ['--state', 'NEW'],
      ['--state', 'ESTABLISHED,RELATED'],
      ['--state', 'BAD'],
    ],
  },
  {
    name: 'mark',
    options: [
      ['--mark', '1'],
      ['--mark', '0x10/0xff'],
      ['--mark', '0xffffffff'],
      ['--mark', '5/x'],
      ['--mark', '0x100000000'],
      ['--mark', '5z'],
    ],
  },
  {
    name: 'connmark',
    options: [
      ['--mark', '1'],
      ['--mark', '0x10/0xff'],
    ],
  },
  {
    name: 'multiport',
    need: 'tcp',
    options: [
      ['--dports', '80,443'],
      ['--sports', '1:5,http'],
      ['--ports', '1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16'],
      ['--dport', '80'],
      ['--dports', '5:1'],
    ],
  },
  {
    name: 'addrtype',
    options: [
      ['--dst-type', 'LOCAL'],
      ['--src-type', 'UNICAST,LOCAL'],
      ['--dst-type', 'FOO'],
      ['--limit-iface-in'],
      ['--limit-iface-out'],
    ],
  },
  {
    name: 'statistic',
    options: [
      ['--mode', 'random', '--probability', '0.5'],
      ['--mode', 'nth', '--every', '3', '--packet', '1'],
      ['--mode', 'nth', '--every', '3'],
      ['--mode', 'foo'],
      ['--probability', '0.1'],
    ],
  },
  {
    name: 'limit',
    options: [
      ['--limit', '5/second'],
      ['--limit', '10/min', '--limit-burst', '20'],
      ['--limit', '1/day'],
      ['--limit', '0/s'],
      ['--limit-burst', '3'],
      ['--limit', '3'],
    ],
  },
  {
    name: 'iprange',
    options: [
      ['--src-range', '1.1.1.1-2.2.2.2'],
      ['--dst-range', '10.0.0.9'],
      ['--src-range', '2.2.2.2-1.1.1.1'],
      ['--dst-range', 'x-y'],
    ],
  },
  {
    name: 'ttl',
    options: [
      ['--ttl-eq', '64'],
      ['--ttl-lt', '5'],
      ['--ttl-gt', '10'],
      ['--ttl-eq', '256'],
    ],
  },
  {
    name: 'length',
    options: [
      ['--length', '40'],
      ['--length', '100:200'],
      ['--length', ':99'],
      ['--length', '1:x'],
    ],
  },
  {
    name: 'tos',
    options: [
      ['--tos', '0x10'],
      ['--tos', 'Minimize-Cost'],
      ['--tos', '5/0xf'],
      ['--tos', 'bad'],
    ],
  },
  {
    name: 'dscp',
    options: [
      ['--dscp', '10'],
      ['--dscp-class', 'EF'],
      ['--dscp', '64'],
      ['--dscp-class', 'XX'],
    ],
  },
  {
    name: 'tcpmss',
    need: 'tcp',
    options: [
      ['--mss', '1000'],
      ['--mss', '500:600'],
      ['--mss', '600:500'],
    ],
  },
  {
    name: 'pkttype',
    options: [
      ['--pkt-type', 'unicast'],
      ['--pkt-type', 'multicast'],
      ['--pkt-type', 'x'],
    ],
  },
  {
    name: 'mac',
    options: [
      ['--mac-source', '00:11:22:33:44:55'],
      ['--mac-source', '0:1:2:3:4:5'],
      ['--mac-source', 'zz'],
    ],
  },
  { name: 'owner', options: [['--uid-owner', '0'], ['--gid-owner', '5-10'], ['--socket-exists']] },
]

const TARGETS: readonly Words[] = [
  { name: 'ACCEPT', options: [] },
  { name: 'DROP', options: [] },
  { name: 'RETURN', options: [] },
  { name: 'QUEUE', options: [] },
  {
    name: 'REJECT',
    options: [
      ['--reject-with', 'icmp-host-prohibited'],
      ['--reject-with', 'tcp-reset'],
      ['--reject-with', 'foo'],
    ],
  },
  {
    name: 'LOG',
    options: [
      ['--log-prefix', 'x: '],
      ['--log-level', 'debug'],
      ['--log-level', '9'],
      ['--log-ip-options'],
      ['--log-uid'],
      ['--log-prefix', 'this one is far too long for a prefix'],
    ],
  },
  {
    name: 'MARK',
    options: [
      ['--set-mark', '1'],
      ['--set-xmark', '0x1/0xff'],
      ['--or-mark', '8'],
      ['--and-mark', '7'],
      ['--set-mark', 'x'],
    ],
  },
  {
    name: 'CONNMARK',
    options: [['--save-mark'], ['--restore-mark', '--mask', '0xff'], ['--set-mark', '5'], ['--nfmask', '1']],
  },
  {
    name: 'CT',
    options: [['--notrack'], ['--zone', '5'], ['--ctevents', 'new,destroy'], ['--zone', '70000']],
  },
  { name: 'NOTRACK', options: [] },
  {
    name: 'DNAT',
    options: [
      ['--to-destination', '10.0.0.1:80'],
      ['--to-destination', '10.0.0.1-10.0.0.9'],
      ['--to', '10.0.0.1'],
      ['--to-destination', '10.0.0.1:9-5'],
      ['--to-destination', 'bad'],
      ['--random'],
    ],
  },
  {
    name: 'SNAT',
    options: [
      ['--to-source', '1.2.3.4'],
      ['--to-source', '1.2.3.4:1-9'],
      ['--to-source', '1.2.3'],
      ['--random-fully'],
    ],
  },
  { name: 'MASQUERADE', options: [['--to-ports', '1000-2000'], ['--random'], ['--random-fully']] },
  {
    name: 'REDIRECT',
    options: [
      ['--to-ports', '8080'],
      ['--to-ports', '80-90'],
    ],
  },
  {
    name: 'NETMAP',
    options: [
      ['--to', '10.0.0.0/8'],
      ['--to', '10.0.0.1'],
    ],
  },
  {
    name: 'TOS',
    options: [
      ['--set-tos', '0x10'],
      ['--or-tos', '4'],
      ['--set-tos', 'Maximize-Throughput'],
    ],
  },
  {
    name: 'DSCP',
    options: [
      ['--set-dscp', '10'],
      ['--set-dscp-class', 'AF11'],
      ['--set-dscp', '64'],
    ],
  },
  {
    name: 'TTL',
    options: [
      ['--ttl-set', '64'],
      ['--ttl-dec', '1'],
      ['--ttl-inc', '0'],
    ],
  },
  { name: 'TCPMSS', need: 'tcp', options: [['--set-mss', '1400'], ['--clamp-mss-to-pmtu']] },
  {
    name: 'CLASSIFY',
    options: [
      ['--set-class', '1:2'],
      ['--set-class', 'x'],
    ],
  },
]

export interface SessionOptions {
  /** Leave out what depends on the extensions' own parsing. */
  readonly plain?: boolean
}

/** Makes sessions: command lines that build on each other. */
export class CommandDice extends Dice {
  readonly #plain: boolean
  constructor(seed: number, options: SessionOptions = {}) {
    super(seed)
    this.#plain = options.plain ?? false
  }

  session(length: number): Call[] {
    const calls: Call[] = []
    for (let i = 0; i < length; i++) {
      const kind = this.below(20)
      if (kind < 2) calls.push({ tool: 'iptables-restore', ...this.#restore() })
      else if (kind < 3) calls.push({ tool: 'iptables-save', argv: this.#save(), stdin: '' })
      else calls.push({ tool: 'iptables', argv: this.#command(), stdin: '' })
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
    if (this.chance(0.5)) return { table: 'filter', words: [] }
    if (this.chance(0.01)) return { table: 'filter', words: ['-t', this.pick(['foo', '', 'Filter'])] }
    const table = this.pick(TABLES)
    return { table, words: this.chance(0.8) ? ['-t', table] : [`--table=${table}`] }
  }

  #number(): string[] {
    return this.chance(0.5) ? [] : [this.pick(['1', '2', '3', '4', '9', '0', 'x', '0x1', ' 1'])]
  }

  #command(): string[] {
    const { table, words } = this.#table()
    const chain = this.chain(table)
    const flags: string[] = []
    const command = this.#verb(table, chain)
    // -v twice prints the kernel's blob, which we do not have.
    const verbose = command.some((word) => /^-[a-zA-Z]*v/.test(word)) ? [] : ['-v', '--verbose']
    if (this.chance(0.08)) flags.push(this.pick([...verbose, '-w', '-w5', '-4', '-6', '--wait', '-n', '-x']))
    const where = this.below(3)
    const line = [...words, ...command]
    if (where === 0) return [...flags, ...line]
    if (where === 1) return [...line, ...flags]
    return [...command, ...words, ...flags]
  }

  #verb(table: string, chain: string): string[] {
    const kind = this.below(100)
    if (kind < 34) return [this.pick(['-A', '-A', '-A', '--append']), chain, ...this.rule(table, chain)]
    if (kind < 42)
      return [this.pick(['-I', '--insert']), chain, ...this.#number(), ...this.rule(table, chain)]
    if (kind < 46) return ['-R', chain, ...this.#number(), ...this.rule(table, chain)]
    if (kind < 50) return ['-D', chain, ...this.#number()]
    if (kind < 55) return [this.pick(['-D', '-C']), chain, ...this.rule(table, chain)]
    if (kind < 66)
      return [
        this.pick(['-N', '-N', '--new-chain', '--new']),
        this.chance(0.1) ? this.pick(BAD_CHAINS) : this.pick(USER),
      ]
    if (kind < 70) return ['-X', ...(this.chance(0.8) ? [chain] : [])]
    if (kind < 73) return ['-F', ...(this.chance(0.85) ? [chain] : [])]
    if (kind < 76)
      return ['-E', this.chain(table), this.chance(0.1) ? this.pick(BAD_CHAINS) : this.pick(USER)]
    if (kind < 80)
      return [
        '-P',
        chain,
        this.pick(['ACCEPT', 'DROP', 'ACCEPT', 'DROP', 'RETURN', 'foo']),
        ...(this.chance(0.3) ? ['-c', '5', '6'] : []),
      ]
    if (kind < 84) return ['-Z', ...(this.chance(0.6) ? [chain, ...this.#number()] : [])]
    if (kind < 91)
      return [this.pick(['-L', '-nL', '-nvL', '-vL', '-nvxL', '--list', '-Ln']), ...this.#listed(chain)]
    if (kind < 95) return [this.pick(['-S', '-vS', '--list-rules']), ...this.#listed(chain)]
    if (kind < 97) return ['-L', ...this.#listed(chain), '-Z']
    return this.pick([
      ['-V'],
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
      ['-m', this.pick(MATCHES).name, '-h'],
      ['-j', this.pick(TARGETS).name, '-h'],
      ['-p', this.pick(PROTOCOLS), '-h'],
      ['-m', this.pick(MATCHES).name, '-j', this.pick(TARGETS).name, '--help'],
      ['--li'],
      ['--list-r'],
      ['-P', chain],
      ['-E', chain],
      ['-R', chain],
      ['-c', '1', '2', '-L'],
      ['--modprobe=/bin/true', '-S'],
    ])
  }

  #listed(chain: string): string[] {
    const words: string[] = []
    if (this.chance(0.4)) words.push(chain, ...(this.chance(0.3) ? this.#number() : []))
    if (this.chance(0.3)) words.push('--line-numbers')
    return words
  }

  /** The words of a rule, most of them sensible. */
  rule(table: string, chain: string): string[] {
    const words: string[] = []
    const not = (): string[] => (this.chance(0.15) ? ['!'] : [])
    const good = <T>(right: readonly T[], wrong: readonly T[]): T =>
      this.pick(this.chance(0.03) ? wrong : right)
    if (this.chance(0.35))
      words.push(...not(), this.pick(['-s', '--source', '--src']), good(ADDRESSES, BAD_ADDRESSES))
    if (this.chance(0.35))
      words.push(...not(), this.pick(['-d', '--dst', '--destination']), good(ADDRESSES, BAD_ADDRESSES))
    if (this.chance(0.2) && (!['OUTPUT', 'POSTROUTING'].includes(chain) || this.chance(0.1)))
      words.push(...not(), '-i', good(INTERFACES, BAD_INTERFACES))
    if (this.chance(0.2) && (!['INPUT', 'PREROUTING'].includes(chain) || this.chance(0.1)))
      words.push(...not(), '-o', good(INTERFACES, BAD_INTERFACES))
    if (this.chance(0.05)) words.push(...not(), '-f')
    const matches = this.#plain
      ? []
      : Array.from({ length: this.pick([0, 0, 0, 1, 1, 2, 3]) }, () => this.pick(MATCHES))
    const target = this.#plain ? { name: 'ACCEPT', options: [] } : this.pick(TARGETS)
    const need = [...matches, target as Words].find((m) => m.need !== undefined)?.need
    if (need !== undefined && !this.chance(0.06)) words.push(...(this.chance(0.04) ? ['!'] : []), '-p', need)
    else if (this.chance(0.3)) words.push(...not(), '-p', good(PROTOCOLS, BAD_PROTOCOLS))
    for (const match of matches) {
      if (match.need === undefined || match.need !== need || match.name === 'multiport' || this.chance(0.5))
        words.push('-m', match.name)
      for (let n = this.pick([0, 1, 1, 1, 1, 1, 1, 1, 2, 2]); n > 0; n--)
        words.push(...not(), ...this.#shorten(this.pick(match.options)))
    }
    if (this.chance(0.85)) {
      if (this.chance(0.25))
        words.push(
          this.pick(['-j', '-j', '-j', '-g', '--jump']),
          this.pick(
            this.chance(0.05) ? [...BUILTIN, ...BAD_CHAINS.filter((name) => name !== 'TRACE')] : USER,
          ),
        )
      else {
        const flag = this.pick(['-j', '--jump'])
        words.push(flag, this.#fitting(target, table))
        for (let n = this.pick([0, 1, 1, 1, 1, 1, 2]); n > 0 && target.options.length > 0; n--)
          words.push(...(this.chance(0.02) ? ['!'] : []), ...this.#shorten(this.pick(target.options)))
      }
    }
    if (this.chance(0.1))
      words.push('-c', this.pick(['5', '123456', '99999']), this.pick(['6', '10000000', '12345678901']))
    if (this.chance(0.02))
      words.splice(
        this.below(words.length + 1),
        0,
        this.pick(['!', 'junk', '--foo', '-', '--', '-m', '-c', '-s', '--d', '-q', '--dport']),
      )
    if (this.chance(0.01)) words.splice(this.below(words.length), 1)
    return words
  }

  /** Most of the time a target where it may stand. */
  #fitting(target: Words, table: string): string {
    void table
    return target.name
  }

  /** Sometimes an option cut short, or glued to its argument. */
  #shorten(words: readonly string[]): string[] {
    const [flag, ...rest] = words
    if (this.chance(0.04)) return [flag!.slice(0, 3 + this.below(flag!.length - 2)), ...rest]
    if (this.chance(0.04) && rest.length === 1) return [`${flag}=${rest[0]}`]
    if (this.chance(0.005)) return [flag!]
    return [...words]
  }

  #save(): string[] {
    const words: string[] = []
    if (this.chance(0.5)) words.push(this.pick(['-c', '--counters']))
    if (this.chance(0.3)) words.push('-t', this.pick([...TABLES, 'foo']))
    if (this.chance(0.05)) words.push(this.pick(['-V', '-x', 'foo', '--foo', '-t', '--co', '--table']))
    return words
  }

  #restore(): { argv: string[]; stdin: string } {
    const argv: string[] = []
    if (this.chance(0.6)) argv.push(this.pick(['-n', '--noflush', '--nof']))
    if (this.chance(0.4)) argv.push('-c')
    if (this.chance(0.1)) argv.push('-t')
    if (this.chance(0.1)) argv.push('-v')
    if (this.chance(0.1)) argv.push('-T', this.pick(TABLES))
    if (this.chance(0.1)) argv.push('-w', '5')
    if (this.chance(0.03))
      argv.push(this.pick(['--foo', '-V', '-h', 'a b', '-T', '-W', '/nonexistent/file', '-q']))
    const lines: string[] = []
    for (let n = this.pick([1, 1, 1, 2]); n > 0; n--) this.#restoreTable(lines)
    let stdin = `${lines.join('\n')}\n`
    if (this.chance(0.03)) stdin = stdin.slice(0, -1)
    return { argv, stdin }
  }

  #restoreTable(lines: string[]): void {
    const table = this.pick(TABLES)
    if (this.chance(0.2)) lines.push('# a comment', '')
    lines.push(`*${this.chance(0.02) ? 'foo' : table}`)
    const chains = USER.filter(() => this.chance(0.4))
    if (this.chance(0.5))
      lines.push(
        `:${this.chain(table)} ${this.pick(['ACCEPT', 'DROP', '-'])} [${this.below(9)}:${this.below(99)}]`,
      )
    for (const chain of chains) lines.push(`:${chain} - [0:0]`)
    for (let n = this.below(6); n > 0; n--) {
      const chain = this.chance(0.5) && chains.length > 0 ? this.pick(chains) : this.chain(table)
      const counters = this.chance(0.3) ? `[${this.below(1000)}:${this.below(100000)}] ` : ''
      const words = this.chance(0.9) ? ['-A', chain, ...this.rule(table, chain)] : this.#verb(table, chain)
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
          'junk',
          ':a',
          ':INPUT foo',
          '[1:2',
          '[12] -A INPUT',
          '-t nat -A INPUT',
          '-6 -A INPUT',
          ' -A INPUT',
          '-A INPUT -m comment --comment "open',
        ]),
      )
    if (!this.chance(0.03)) lines.push('COMMIT')
  }

  #quote(word: string): string {
    if (/^[\w./:,!+-]+$/.test(word) && !this.chance(0.02)) return word
    return `"${word.replaceAll(/["\\]/g, (c) => `\\${c}`)}"`
  }
}

const registry = new Registry(matches, targets)

class NoFile extends Error {
  readonly code = 'ENOENT'
}

/** A host of ours in memory, without packets, that answers calls in turn. */
export class OurTools {
  readonly rulesets = new Ruleset(new MemoryStore())

  run(call: Call): Answer {
    const noFile = (): never => {
      throw new NoFile()
    }
    const io = { stdin: () => call.stdin, readFile: noFile, writeFile: noFile, now: () => 0 }
    const world: ToolWorld = { family: 4, io, rulesets: this.rulesets, registry }
    switch (call.tool) {
      case 'iptables':
        return runIptables(call.argv, world)
      case 'iptables-save':
        return runIptablesSave(call.argv, world)
      case 'iptables-restore':
        return runIptablesRestore(call.argv, world)
    }
  }

  save(): Answer {
    return this.run({ tool: 'iptables-save', argv: ['-c'], stdin: '' })
  }
}

/** What we answer, each with `iptables-save -c` behind it. */
export function ourAnswers(calls: readonly Call[]): [Answer, Answer][] {
  const tools = new OurTools()
  return calls.map((call) => [tools.run(call), tools.save()])
}

/** Dates differ; nothing else may. */
export const masked = ({ stdout, stderr, code }: Answer): Answer => ({
  stdout: stdout.replaceAll(/^# (Generated by \S+ \S+|Completed) on .*$/gm, '# $1 on DATE'),
  stderr,
  code,
})

/** Runs in the namespace: each call in turn, its answer and the ruleset behind it. */
const RUNNER = `
const { spawnSync } = require('node:child_process')
const calls = JSON.parse(require('node:fs').readFileSync(0, 'utf8'))
const run = (tool, argv, input) => {
  const r = spawnSync(tool.replace('iptables', 'iptables-legacy'), argv, { argv0: tool, input, encoding: 'utf8' })
  return { stdout: r.stdout, stderr: r.stderr, code: r.status }
}
process.stdout.write(JSON.stringify(calls.map(({ tool, argv, stdin }) => [run(tool, argv, stdin), run('iptables-save', ['-c'], '')])))
`

/** Why the real tools cannot be asked here, or null if they can. */
export function whyNot(): string | null {
  if (process.getuid?.() !== 0) return 'needs root, to make a network namespace'
  for (const [tool, ...argv] of [
    ['ip', '-V'],
    ['iptables-legacy', '-V'],
  ] as const) {
    const asked = spawnSync(tool, argv, { encoding: 'utf8' })
    if (asked.error) return `needs ${tool}, which is not installed`
    if (tool === 'iptables-legacy' && !asked.stdout.includes('v1.8.9'))
      return `needs iptables 1.8.9, here is ${asked.stdout.trim()}`
  }
  const name = `tw-try-${randomBytes(4).toString('hex')}`
  const made = spawnSync('ip', ['netns', 'add', name], { encoding: 'utf8' })
  if (made.status !== 0) return `needs network namespaces: ${made.stderr.trim()}`
  spawnSync('ip', ['netns', 'del', name])
  return null
}

/** What iptables-legacy answers, each with `iptables-save -c` behind it. */
export function realAnswers(calls: readonly Call[]): [Answer, Answer][] {
  const name = `tw-cmd-${randomBytes(4).toString('hex')}`
  spawnSync('ip', ['netns', 'add', name])
  try {
    const ran = spawnSync('ip', ['netns', 'exec', name, process.execPath, '-e', RUNNER], {
      input: JSON.stringify(calls),
      encoding: 'utf8',
      maxBuffer: 1 << 28,
    })
    if (ran.status !== 0) throw new Error(`the runner failed: ${ran.stderr}`)
    return JSON.parse(ran.stdout)
  } finally {
    spawnSync('ip', ['netns', 'del', name])
  }
}
