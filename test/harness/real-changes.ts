// What is changed in a real rule: order, spelling, negation, values, a word too many or too few.

import type { Family } from '../../datapath/packet.ts'
import type { Dice } from './commands-words.ts'
import { POOLS } from './real-options.ts'
import type { RealRule, RealRules } from './real-rules.ts'
import { ADDRESSES, INTERFACES, LONG, NUMBERS, PROTOCOLS, TARGETS } from './real-values.ts'

const BOTH_PORTS = new Set(['--dport', '--sport'])

/** Where the option itself stands in its words. */
export const optionAt = (use: readonly string[]): number => (use[0] === '!' ? 1 : 0)

export class RuleChanges {
  readonly #dice: Dice
  readonly #family: Family
  readonly #rules: RealRules

  constructor(dice: Dice, family: Family, rules: RealRules) {
    this.#dice = dice
    this.#family = family
    this.#rules = rules
  }

  /** The words of a rule with up to three changes. */
  changed(real: RealRule): string[] {
    const uses = real.uses.map((use) => [...use])
    for (let n = this.#dice.pick([0, 0, 1, 1, 1, 1, 2, 2, 3]); n > 0; n--) this.change(uses)
    return uses.flat()
  }

  /** One change somewhere in the options of a rule. */
  change(uses: string[][]): void {
    if (uses.length === 0) {
      uses.push([
        ...this.#dice.pick(this.#rules.one().uses.length > 0 ? this.#rules.one().uses : [['-j', 'ACCEPT']]),
      ])
      return
    }
    const index = this.#dice.below(uses.length)
    const use = uses[index]!
    const at = optionAt(use)
    const flag = use[at] ?? ''
    switch (this.#dice.below(16)) {
      case 0: {
        const [taken] = uses.splice(index, 1)
        uses.splice(this.#dice.below(uses.length + 1), 0, taken!)
        return
      }
      case 1:
        uses.splice(index, 1)
        return
      case 2:
        uses.splice(this.#dice.below(uses.length + 1), 0, [...use])
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
        if (long !== undefined) use[at] = this.#dice.pick(long)
        else if (flag.length > 4) use[at] = flag.slice(0, 3 + this.#dice.below(flag.length - 2))
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
        this.value(use, at)
        return
      case 11: {
        // A value of some other rule's same option.
        const other = this.#rules.one().uses.find((u) => u.includes(flag))
        if (other !== undefined) uses[index] = [...other]
        return
      }
      case 12: {
        const { uses: others } = this.#rules.one()
        if (others.length > 0) uses.splice(this.#dice.below(uses.length + 1), 0, [...this.#dice.pick(others)])
        return
      }
      case 13: {
        const words = uses.flat()
        const i = this.#dice.below(words.length)
        const j = this.#dice.below(words.length)
        ;[words[i], words[j]] = [words[j]!, words[i]!]
        uses.splice(0, uses.length, words)
        return
      }
      case 14: {
        const value = use[at + 1]
        if (value === undefined) return
        const place = this.#dice.below(value.length + 1)
        use[at + 1] =
          value.slice(0, place) +
          this.#dice.pick([
            '',
            ' ',
            '0',
            '9',
            ',',
            ':',
            '-',
            '/',
            '.',
            '+',
            'x',
            '"',
            "'",
            '\\',
            '!',
            '%',
            '\t',
          ]) +
          value.slice(place + this.#dice.below(2))
        return
      }
      default: {
        const value = use[at + 1]
        if (value === undefined) return
        use[at + 1] = this.#dice.pick([
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

  /** Another value of the option that stands at `at`. */
  value(use: string[], at: number): void {
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
    use[at + 1] = this.#dice.pick(pool)
    if (BOTH_PORTS.has(flag) && this.#dice.chance(0.1)) use[at] = `${flag}s`
  }
}
