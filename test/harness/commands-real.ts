// Sessions of the commands that firewalls and people really run: rules of test/data/rulesets and of manuals, each often
// with something changed: order, spelling, negation, values, a word too many or too few. Where commands-grammar.ts
// makes up rules from all options, this starts from right ones, so that what is changed is the only thing that is odd.

import type { Family } from '../../datapath/packet.ts'
import type { Call } from './commands.ts'
import { Dice } from './commands-words.ts'
import { optionAt, RuleChanges } from './real-changes.ts'
import { RestoreFiles } from './real-files.ts'
import { BUILTIN, type RealRule, RealRules } from './real-rules.ts'
import { NUMBERS } from './real-values.ts'

export class RealCommands extends Dice {
  #family: Family = 4
  #rules = new RealRules(this, 4)
  #changes = new RuleChanges(this, 4, this.#rules)
  /** The rule that the last of near() put in. */
  #lately: RealRule | null = null

  session(length: number): Call[] {
    this.#family = this.chance(0.6) ? 4 : 6
    const program = this.#family === 4 ? ('iptables' as const) : ('ip6tables' as const)
    const calls: Call[] = []
    this.#rules = new RealRules(this, this.#family)
    this.#changes = new RuleChanges(this, this.#family, this.#rules)
    const files = new RestoreFiles(this, this.#rules, this.#changes)
    this.#lately = null
    calls.push({ tool: `${program}-restore`, argv: [], stdin: files.first() })
    while (calls.length < length) {
      const kind = this.below(20)
      if (kind < 3) calls.push({ tool: `${program}-restore`, argv: files.words(), stdin: files.file(0.3) })
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
          stdin: files.file(0.1, true),
        })
      else calls.push({ tool: program, argv: this.#command(), stdin: '' })
    }
    return calls
  }

  /** A chain of the table: mostly its own, or one that rules name. */
  #chain(table: string): string {
    if (this.chance(0.5)) return this.pick(BUILTIN[table] ?? ['INPUT'])
    const real = this.#rules.one()
    return real.chain
  }

  #number(): string[] {
    if (this.chance(0.45)) return []
    return [this.chance(0.7) ? String(1 + this.below(5)) : this.pick(NUMBERS)]
  }

  #command(): string[] {
    const real = this.#rules.one()
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
    const rule = (): string[] => this.#changes.changed(real)
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
          ['-vv'],
          ['-v', '-v'],
        ])
      : []
    const front = this.chance(0.5)
    return front ? [...flags, ...where, ...words] : [...where, ...words, ...flags]
  }

  /** A rule put in and another one asked for, which differs in a value; ip6tables sees few of these (check-mask.ts). */
  near(): string[] {
    const { table, chain, uses } = this.#lately ?? this.#rules.one()
    if (this.#lately === null || this.chance(0.3)) {
      this.#lately = this.#rules.one()
      return ['-t', this.#lately.table, '-A', this.#lately.chain, ...this.#lately.uses.flat()]
    }
    const changed = uses.map((use) => [...use])
    const use = this.pick(changed)
    if (use !== undefined) {
      const at = optionAt(use)
      if (this.chance(0.2)) this.#changes.change(changed)
      else this.#changes.value(use, at)
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
}
