// Random sessions of whole tables and edits of them: iptables-restore with and without -n, of chains that lead to one another, to
// themselves and behind verdicts, with extensions that may not stand in every chain; then commands whose refusal hangs on
// references, and on which built-in chains lead where.

import { MISPLACED } from './chain-commands.ts'
import type { Call } from './commands.ts'
import type { SeededRandom } from './frames.ts'

/** Chains that are renamed. */
const RENAMED = ['R0', 'R1', 'R2', 'R3', 'R4']
const BUILTIN = ['PREROUTING', 'INPUT', 'FORWARD', 'OUTPUT', 'POSTROUTING']
const TARGETS = [
  '-j ACCEPT',
  '-j ACCEPT',
  '-j DROP',
  '-j RETURN',
  '-p tcp -j ACCEPT',
  '-j MARK --set-mark 1',
  '-m mark --mark 1',
  '-p udp -m udp --dport 53 -j ACCEPT',
]

class Session {
  readonly #random: SeededRandom
  readonly #users: readonly string[]
  readonly #jumps: number
  readonly #odd: number

  constructor(random: SeededRandom) {
    this.#random = random
    this.#users = Array.from({ length: this.#pick([3, 6, 20, 90]) }, (_, i) => `U${i}`)
    this.#jumps = this.#pick([20, 50, 80])
    this.#odd = this.#pick([0, 1, 10])
  }

  #below(n: number): number {
    return this.#random.u32() % n
  }

  #pick<T>(from: readonly T[]): T {
    return from[this.#below(from.length)]!
  }

  #chance(percent: number): boolean {
    return this.#below(100) < percent
  }

  /** `down`: jumps go to chains behind `chain` alone, so that there are no loops. */
  #rule(chain: string, down: boolean): string {
    if (this.#chance(this.#jumps)) {
      const after = this.#users.indexOf(chain) + 1
      const to = down ? this.#users.slice(after) : this.#users
      if (to.length > 0) {
        const when = this.#chance(30) ? '-p tcp ' : ''
        return `${when}-${this.#pick(['j', 'j', 'j', 'g'])} ${this.#pick(to)}`
      }
    }
    return this.#pick(this.#chance(this.#odd) ? MISPLACED : TARGETS)
  }

  #chain(): string {
    return this.#pick(this.#chance(30) ? BUILTIN : this.#users)
  }

  #whole(): string {
    const down = this.#chance(85)
    const lines = ['*mangle']
    for (const chain of BUILTIN)
      if (this.#chance(80)) lines.push(`:${chain} ${this.#pick(['ACCEPT', 'DROP'])} [3:4]`)
    const users = this.#users.filter(() => this.#chance(97) || this.#users.length > 20)
    const order = this.#chance(50) ? users : users.toReversed()
    for (const chain of order) lines.push(`:${chain} - [0:0]`)
    const rules: string[] = []
    for (const chain of [...BUILTIN, ...users])
      for (let n = this.#below(5); n > 0; n--) rules.push(`-A ${chain} ${this.#rule(chain, down)}`)
    if (this.#chance(20)) rules.sort(() => this.#below(3) - 1)
    for (const rule of rules) lines.push(this.#chance(10) ? `[${this.#below(9)}:7] ${rule}` : rule)
    return `${lines.join('\n')}\nCOMMIT\n`
  }

  #edit(chain = this.#chain(), down = this.#chance(70)): string {
    const at = 1 + this.#below(4)
    switch (this.#below(14)) {
      case 0:
      case 1:
        return `-A ${chain} ${this.#rule(chain, down)}`
      case 2:
      case 3:
        return `-I ${chain} ${at} ${this.#rule(chain, down)}`
      case 4:
      case 5:
      case 6:
        return `-D ${chain} ${at}`
      case 7:
        return `-R ${chain} ${at} ${this.#rule(chain, down)}`
      case 8:
        return this.#chance(30) ? `-F ${chain}` : `-X ${chain}`
      case 9:
        return `-N ${this.#pick(this.#users)}`
      case 10:
        return `-E ${this.#pick(this.#users)} ${this.#pick(this.#users)}`
      case 11:
        return `-P ${this.#pick(BUILTIN)} ${this.#pick(['ACCEPT', 'DROP'])}`
      case 12:
        return `-D ${chain} ${this.#rule(chain, down)}`
      default:
        return `-Z ${chain}`
    }
  }

  /** Of iptables-restore -n: edits that mostly succeed, since the first that fails ends it. */
  #part(): string {
    const lines = ['*mangle']
    for (let n = this.#below(3); n > 0; n--) lines.push(`:${this.#pick(this.#users)} - [0:0]`)
    const chain = this.#chain()
    for (let n = 1 + this.#below(4); n > 0; n--) {
      const at = this.#chance(70) ? 1 : 2
      const rule = this.#rule(chain, this.#chance(70))
      lines.push(
        this.#pick([
          `-D ${chain} ${at}`,
          `-A ${chain} ${rule}`,
          `-I ${chain} ${at} ${rule}`,
          `-R ${chain} ${at} ${rule}`,
        ]),
      )
    }
    // A verdict behind what another stood in front of.
    if (this.#chance(20)) lines.push(`-D ${chain} 1`, `-D ${chain} 1`, `-A ${chain} -j ACCEPT`)
    if (this.#chance(40)) lines.push(this.#edit())
    return `${lines.join('\n')}\nCOMMIT\n`
  }

  /** Chains with counters and jumps between them; then edits of them under names that change, in one restore. */
  #renames(): [first: string, then: string] {
    const live = RENAMED.slice(0, 2 + this.#below(3))
    const first = ['*mangle', ...RENAMED.map((name) => `:${name} - [0:0]`), '-F INPUT']
    const rule = (chains: readonly string[]): string => {
      const when = this.#chance(50) ? `-p ${1 + this.#below(200)} ` : ''
      return `${when}${this.#chance(50) ? `-${this.#pick(['j', 'j', 'g'])} ${this.#pick(chains)}` : this.#pick(TARGETS)}`
    }
    for (const [i, chain] of ['INPUT', ...live].entries())
      for (let n = this.#below(4); n > 0; n--)
        first.push(
          `[${1 + this.#below(9)}:${1 + this.#below(900)}] -A ${chain} ${rule([...live.slice(i), 'U0'])}`,
        )
    for (const name of RENAMED) if (!live.includes(name)) first.push(`-X ${name}`)
    const lines = ['*mangle']
    for (let n = 1 + this.#below(7); n > 0; n--) {
      const at = this.#below(live.length)
      const chain = live[at]!
      const free = RENAMED.filter((name) => !live.includes(name))
      const kind = this.#below(18)
      if (kind < 6) {
        const name = this.#pick(this.#chance(3) ? RENAMED : free)
        lines.push(`-E ${chain} ${name}`)
        live[at] = name
      } else if (kind < 7 && free.length > 1) {
        lines.push(`-N ${free[0]}`)
        live.push(free[0]!)
      } else if (kind < 8 && live.length > 1) {
        lines.push(`-F INPUT`, `-F ${chain}`, `-X ${chain}`)
        live.splice(at, 1)
      } else
        lines.push(
          this.#ofRenamed(this.#chance(75) ? chain : 'INPUT', rule(this.#chance(90) ? ['U0'] : live)),
        )
    }
    const end = (all: readonly string[]): string => `${all.join('\n')}\nCOMMIT\n`
    return [end(first), end(lines)]
  }

  #ofRenamed(chain: string, rule: string): string {
    switch (this.#below(10)) {
      case 0:
        return `-A ${chain} ${rule}`
      case 1:
        return `-c 5 6 -I ${chain} ${rule}`
      case 2:
        return this.#pick([`-D ${chain} 1`, `-I ${chain} 1 ${rule}\n-D ${chain} ${rule}`])
      case 3:
        return this.#pick([`-R ${chain} 1 ${rule}`, `-A ${chain} ${rule}\n-R ${chain} 1 ${rule}`])
      case 4:
        return this.#pick([`-F ${chain}`, `-P ${this.#pick(BUILTIN)} DROP`, `-P INPUT ACCEPT -c 1 2`])
      case 5:
        return `-Z ${chain}`
      case 6:
        return `-Z ${chain} ${this.#chance(80) ? 1 : 2}`
      case 7:
        return this.#pick(['-Z', '-vnL', '-S', '-L -Z'])
      case 8:
        return `-vnL ${chain}`
      default:
        return `-vS ${chain}`
    }
  }

  calls(tool: 'iptables' | 'ip6tables', count: number): Call[] {
    const calls: Call[] = []
    const restore = (argv: readonly string[], stdin: string): void => {
      calls.push({ tool: `${tool}-restore`, argv, stdin })
    }
    restore([], this.#whole())
    while (calls.length < count) {
      const kind = this.#below(100)
      if (kind < 6) restore([], this.#whole())
      else if (kind < 9) restore(['-c'], this.#whole())
      else if (kind < 12) restore(['-n'], this.#whole())
      else if (kind < 22) {
        const [first, then] = this.#renames()
        restore(['-nc'], first)
        restore(['-n'], then)
      } else if (kind < 50) restore(['-n'], this.#part())
      else calls.push({ tool, argv: ['-t', 'mangle', ...this.#edit().split(' ')], stdin: '' })
    }
    return calls
  }
}

/** `count` calls. */
export const restoreEdits = (random: SeededRandom, tool: 'iptables' | 'ip6tables', count: number): Call[] =>
  new Session(random).calls(tool, count)
