// What random scenarios try of each extension: every option of a match, as it stands and behind `!`, should fit
// some packets and miss others, every option of a target should be carried out.
//
//     emit of an extension ── wrapped ──▶ the same code, and a count of its answers

import type { Code, Js } from '../../../rules/compile/template.ts'
import { matches } from '../../../rules/matches/index.ts'
import { targets } from '../../../rules/targets/index.ts'

/** How often rules with some option were asked. */
export interface Tally {
  /** Rules that packets came to. */
  rules: number
  fitted: number
  missed: number
}

const FLAG = /(?<![^ ])(! )?--([a-z0-9-]+)/g

/** `--sport`, `! --sport`; an extension without any option is ''. */
export function flagsOf(text: string): string[] {
  const plain = text.replace(/"(?:[^"\\]|\\.)*"/g, '""')
  const flags = [...plain.matchAll(FLAG)].map(([, not = '', name]) => `${not}--${name}`)
  return flags.length > 0 ? [...new Set(flags)] : ['']
}

/** Counts what all rules compiled from now on do. */
export class Coverage {
  /** `-m tcp --sport`, `-j LOG --log-prefix`. */
  readonly tallies = new Map<string, Tally>()
  readonly #undo: (() => void)[] = []

  constructor() {
    for (const match of matches) {
      const { emit } = match
      this.#undo.push(() => {
        match.emit = emit
      })
      match.emit = (data: never, js: Js): Code => {
        const code = emit.call(match, data, js)
        const one = this.#counter(`-m ${match.name}`, match.print(data, js.family))
        return js`${js.bind(one.match)}(${code})`
      }
    }
    for (const target of targets) {
      const { emit } = target
      this.#undo.push(() => {
        target.emit = emit
      })
      target.emit = (data: never, js: Js): Code => {
        const code = emit.call(target, data, js)
        const one = this.#counter(`-j ${target.name}`, target.print(data, js.family))
        return js`${js.bind(one.target)}(${code})`
      }
    }
  }

  /** Counts no rule that is compiled from now on. */
  end(): void {
    for (const undo of this.#undo.splice(0)) undo()
  }

  #counter(name: string, text: string) {
    const tallies = flagsOf(text).map((flag) => {
      const key = `${name} ${flag}`.trim()
      const known = this.tallies.get(key) ?? { rules: 0, fitted: 0, missed: 0 }
      known.rules++
      this.tallies.set(key, known)
      return known
    })
    return {
      match: (answer: boolean): boolean => {
        for (const t of tallies) answer ? t.fitted++ : t.missed++
        return answer
      },
      target: (verdict: unknown): unknown => {
        for (const t of tallies) t.fitted++
        return verdict
      },
    }
  }
}
