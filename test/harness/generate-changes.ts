// What changes on a host while frames go through it: connections ended, timeouts and rules of the game, routes, and the
// rules themselves.

import type { Wire } from './conversation.ts'
import type { Hook, Table } from './extensions/draw.ts'
import type { SeededRandom } from './frames.ts'
import { connectionCommand, drawHostChange } from './generate-host-changes.ts'
import { drawRoutingChange } from './generate-routing.ts'
import { type Basis, HOOKS, makeRule } from './generate-rules.ts'
import { drawSetChange } from './generate-sets.ts'
import type { Kind } from './generate-world.ts'
import { groupsOf } from './kernel.ts'
import { hasHelpers, hasProc, hasRecords, numbered, type Scenario, type StepRun } from './scenario.ts'

/** One in how many turns of a scenario changes the host. */
const CHANGES: Readonly<Partial<Record<Kind, number>>> = {
  state: 60,
  nat: 60,
  routing: 40,
  extensions: 40,
  sets: 60,
  filtering: 80,
  mangle: 60,
  local: 60,
  fragments: 80,
  mixed: 60,
}
const KNOBS: readonly (readonly [name: string, values: readonly number[]])[] = [
  ['tcp_be_liberal', [0, 1]],
  ['tcp_loose', [0, 1]],
  ['tcp_ignore_invalid_rst', [0, 1]],
  ['tcp_max_retrans', [0, 1, 3]],
  ['checksum', [0, 1]],
  ['acct', [0, 1]],
  ['udp_timeout', [1, 30]],
  ['tcp_timeout_established', [1, 1000]],
]

/** MTUs that an interface gets while the host runs; below 1280 its IPv6 addresses would go. */
const MTUS = { 4: [1500, 1400, 1280, 576, 296, 68, 9000], 6: [1500, 1400, 1280, 9000] } as const
/** Loopback: what it has, and some in which answers do not fit. */
const LO_MTUS = [65536, 1500, 1400, 1280]

/** A command that changes what is going on. */
function drawChange({ world, random }: Wire): string[] {
  const own = (): readonly [string, string] => {
    const { name, addresses } = random.pick(numbered(world))
    return [random.pick(addresses), name]
  }
  switch (random.below(8)) {
    case 6: {
      const lo = random.once(3)
      const mtu = random.pick<number>(lo ? LO_MTUS : MTUS[world.family])
      return ['ip', 'link', 'set', 'dev', lo ? 'lo' : random.pick(world.devices).name, 'mtu', String(mtu)]
    }
    case 0:
      return ['conntrack', '-D', '-f', `ipv${world.family}`, '-p', random.pick(['tcp', 'udp', 'tcp', 'icmp'])]
    case 1:
      return ['conntrack', '-D', '-f', `ipv${world.family}`, '-s', random.pick(world.peers).address]
    case 2:
      return ['conntrack', '-F']
    case 3: {
      const [address, dev] = own()
      return ['ip', 'addr', 'del', address.replace(/ (?!peer ).*/, ''), 'dev', dev]
    }
    default: {
      const [name, values] = random.pick(KNOBS)
      return ['sysctl', '-qw', `net.netfilter.nf_conntrack_${name}=${random.pick(values)}`]
    }
  }
}

/** What is run, as in Step. */
export interface Change {
  readonly command: readonly string[]
  readonly input?: string
}

/** A chain as it was when the scenario began. */
interface Chain {
  readonly table: Table
  readonly name: string
  readonly rules: number
}

function chainsOf(iptables: string): Chain[] {
  const out: Chain[] = []
  for (const part of iptables.split(/^\*/m).slice(1)) {
    const [table, ...lines] = part.split('\n')
    for (const line of lines)
      if (line.startsWith(':')) {
        const name = line.slice(1).split(' ')[0]!
        out.push({
          table: table as Table,
          name,
          rules: lines.filter((l) => l.startsWith(`-A ${name} `)).length,
        })
      }
  }
  return out
}

/** The words of a rule in a file as arguments. */
const argumentsOf = (rule: string): string[] =>
  [...rule.matchAll(/"((?:[^"\\]|\\.)*)"|\S+/g)].map((m) => m[1]?.replace(/\\(.)/g, '$1') ?? m[0])

/** Commands for the rules and sets of a scenario, from the basis that the rules were drawn from. */
class RuleChanges {
  readonly #basis: Basis
  readonly #random: SeededRandom
  readonly #chains: readonly Chain[]
  /** The rules as they were when the scenario began. */
  readonly #iptables: string
  readonly #sets: string | undefined
  /** What only the rules at the begin may say: what is to be read at the end was decided by them. */
  readonly #unknown: RegExp

  constructor(basis: Basis, random: SeededRandom, scenario: Scenario) {
    this.#basis = basis
    this.#random = random
    this.#chains = chainsOf(scenario.iptables)
    this.#iptables = scenario.iptables
    this.#sets = scenario.sets
    const words = [
      ...(hasProc(scenario) ? [] : ['-m recent', '-m hashlimit']),
      ...(hasRecords(scenario) ? ['--random'] : ['-j NFLOG', '-j TRACE']),
      `--nflog-group (?!(${groupsOf(scenario).join('|')}) )`,
      ...(hasHelpers(scenario) ? [] : ['--helper']),
      // Estimators are those that were made at the begin.
      '-m rateest',
    ]
    this.#unknown = new RegExp(words.join('|'))
  }

  draw(): Change | null {
    if (this.#chains.length > 0 && this.#random.once(6)) return this.#restore()
    const command = this.#line()
    return command === null ? null : { command }
  }

  /** A file for the restore tool: a table as it was, or a few lines for one that is there. */
  #restore(): Change {
    const random = this.#random
    const { table } = random.pick(this.#chains)
    const tool = this.#basis.world.family === 4 ? 'iptables-legacy-restore' : 'ip6tables-legacy-restore'
    const file = (lines: readonly string[]): string =>
      `*${table}\n${lines.map((l) => `${l}\n`).join('')}COMMIT\n`
    // Every second one begins with other counts than 0.
    const counted = random.once(2)
    const counts = (): string =>
      counted && random.once(2) ? `[${random.below(9)}:${random.below(900)}] ` : ''
    const options = ['-w', ...(random.once(2) ? ['-c'] : []), ...(random.once(12) ? ['--test'] : [])]
    if (random.once(2)) {
      const [, text = ''] = this.#iptables.split(new RegExp(`^\\*${table}\n`, 'm'))
      const lines = text.slice(0, text.indexOf('COMMIT\n')).trimEnd().split('\n')
      // Some of the rules are gone, as often as not.
      const fewer = random.once(2)
      const kept = lines.filter((line) => line.startsWith(':') || !fewer || !random.once(3))
      return {
        command: [tool, ...options],
        input: file(kept.map((line) => (line.startsWith(':') ? line : `${counts()}${line}`))),
      }
    }
    const chains = this.#chains.filter((chain) => chain.table === table)
    const lines: string[] = []
    // To name a chain of one's own empties it.
    for (const { name } of chains)
      if (!HOOKS[table].some((hook) => hook === name) && random.once(3)) lines.push(`:${name} - [0:0]`)
    for (let n = 1 + random.below(4); n > 0; n--) {
      const { name, rules } = random.pick(chains)
      const hook = HOOKS[table].find((h) => h === name)
      const at = 1 + random.below(rules + 1)
      const line = random.pick([
        () => `-A ${name}${this.#text(table, hook)}`,
        () => `-A ${name}${this.#text(table, hook)}`,
        () => `-I ${name} ${at}${this.#text(table, hook)}`,
        () => `-R ${name} ${at}${this.#text(table, hook)}`,
        () => `-D ${name} ${at}`,
        () => `-Z ${name}`,
        () => `-F ${name}`,
      ])()
      lines.push(/^-[AI]/.test(line) ? `${counts()}${line}` : line)
    }
    return { command: [tool, '-n', ...options], input: file(lines) }
  }

  #line(): string[] | null {
    const random = this.#random
    if (this.#sets !== undefined && random.once(3))
      return drawSetChange(random, this.#basis.world, this.#sets)
    if (this.#chains.length === 0) return null
    const { table, name, rules } = random.pick(this.#chains)
    const at = String(1 + random.below(rules + 2))
    const hook = HOOKS[table].find((h) => h === name)
    const command = (...words: string[]): string[] => [
      this.#basis.world.family === 4 ? 'iptables-legacy' : 'ip6tables-legacy',
      '-w',
      '-t',
      table,
      ...words,
    ]
    switch (random.below(12)) {
      case 0:
      case 1:
      case 2:
      case 3:
        return command('-I', name, at, ...this.#rule(table, hook))
      case 4:
      case 5:
        return command('-A', name, ...this.#rule(table, hook))
      case 6:
        return command('-R', name, at, ...this.#rule(table, hook))
      case 7:
        return command('-D', name, at)
      case 8:
        return command('-Z', ...random.pick([[], [name], [name, at]]))
      case 9:
        if (hook === undefined || table === 'nat') return null
        return command('-P', name, random.pick(['ACCEPT', 'ACCEPT', 'DROP']))
      case 10:
        return random.once(3) ? command('-F', name) : command('-L', name, '-Z', '-n')
      default:
        return [
          'conntrack',
          '-U',
          '-f',
          `ipv${this.#basis.world.family}`,
          '-m',
          String(random.pick(this.#basis.world.marks)),
        ]
    }
  }

  #rule(table: Table, hook: Hook | undefined): string[] {
    return argumentsOf(this.#text(table, hook))
  }

  /** A rule as it stands in a file, behind its chain. */
  #text(table: Table, hook: Hook | undefined): string {
    const hooks = hook === undefined ? HOOKS[table] : [hook]
    const place = { table, hooks, builtin: hook !== undefined }
    for (;;) {
      const rule = makeRule(place, { ...this.#basis, random: this.#random }, [])
      if (!this.#unknown.test(rule)) return rule
    }
  }
}

/** Draws what changes, now and then. */
export class Changes {
  readonly #kind: Kind
  readonly #rules: RuleChanges | null

  /** `basis`: what the scenario's rules were drawn from, null where they stay; `random`: for new ones. */
  constructor(kind: Kind, basis: Basis | null, random: SeededRandom, scenario: Scenario) {
    this.#kind = kind
    this.#rules = basis === null ? null : new RuleChanges(basis, random, scenario)
  }

  /** Null, mostly: nothing changes. `history`: what went in so far. */
  draw(wire: Wire, history: readonly StepRun[]): Change | null {
    if (!wire.random.once(CHANGES[this.#kind] ?? Number.MAX_SAFE_INTEGER)) return null
    const command = (argv: readonly string[] | null): Change | null =>
      argv === null ? null : { command: argv }
    switch (this.#kind) {
      case 'routing':
        return command(wire.random.once(2) ? drawHostChange(wire, history) : drawRoutingChange(wire))
      case 'extensions':
        if (wire.random.once(3))
          return command(wire.random.pick([drawChange, drawRoutingChange, drawHostChange])(wire, history))
        return this.#rules?.draw() ?? null
      case 'sets':
        return this.#rules?.draw() ?? null
      case 'state':
      case 'nat':
        return command(
          wire.random.pick([drawChange, drawChange, connectionCommand, drawHostChange])(wire, history),
        )
      default:
        return command(drawHostChange(wire, history))
    }
  }
}
