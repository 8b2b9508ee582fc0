// Right command lines with a few things changed: a word cut short, left out, said twice, put elsewhere, or another in its
// place. A grammar draws what its author thought of; this draws what stands next to it.

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { shellWords } from '../extensions/rule.ts'
import type { SeededRandom } from './frames.ts'

/** Numbers and texts at which readers of words part. */
const ODD = [
  '0',
  '1',
  '-1',
  '+1',
  '00',
  '010',
  '0x10',
  '0X1F',
  '08',
  '1x',
  'x1',
  '1.5',
  '1e3',
  '255',
  '256',
  '65535',
  '65536',
  '2147483647',
  '2147483648',
  '4294967295',
  '4294967296',
  '18446744073709551615',
  '18446744073709551616',
  '1-2',
  '2-1',
  '1:2',
  '1,2',
  '1/2',
  '0/0',
  'x',
  'all',
  'any',
  'none',
  'default',
  'help',
  '-',
  '--',
  '!',
  '10.0.0.1',
  '10.0.0.0/8',
  '::1',
  'fd00::/8',
]
const LETTERS = ['', '0', '1', '9', 'a', 'x', 'Z', '.', ',', ':', '/', '-', '+', '=', '!', '_', '*', '%']

/** The lines of test/data/command-lines/NAME.txt. `#` begins a remark. */
const linesOf = (name: string): (readonly string[])[] =>
  readFileSync(join(import.meta.dirname, `../data/command-lines/${name}.txt`), 'utf8')
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'))
    .map(shellWords)

export class MutatedLines {
  readonly #random: SeededRandom
  readonly #lines: readonly (readonly string[])[]
  /** The words that stand behind each word. */
  readonly #behind = new Map<string, string[]>()
  readonly #words: readonly string[]

  constructor(random: SeededRandom, name: string) {
    this.#random = random
    this.#lines = linesOf(name)
    for (const line of this.#lines)
      for (const [i, word] of line.entries()) {
        const next = line[i + 1]
        if (next === undefined) continue
        const list = this.#behind.get(word) ?? []
        list.push(next)
        this.#behind.set(word, list)
      }
    this.#words = this.#lines.flat()
  }

  #below(n: number): number {
    return this.#random.u32() % n
  }

  #pick<T>(from: readonly T[]): T {
    return from[this.#below(from.length)]!
  }

  line(): string[] {
    const words = [...this.#pick(this.#lines)]
    for (let n = this.#pick([0, 1, 1, 1, 2, 2, 3]); n > 0; n--) this.#change(words)
    return words
  }

  #change(words: string[]): void {
    const at = this.#below(words.length + 1)
    const word = words[at]
    if (word === undefined) {
      words.push(this.#pick(this.#words))
      return
    }
    switch (this.#below(14)) {
      case 0:
        words.splice(at, 1)
        return
      case 1:
        words.splice(at, 0, word)
        return
      case 2: {
        const other = this.#below(words.length)
        ;[words[at], words[other]] = [words[other]!, word]
        return
      }
      case 3: {
        // An option with its value to another place.
        const taken = words.splice(at, 2)
        words.splice(this.#below(words.length + 1), 0, ...taken)
        return
      }
      case 4:
        words[at] = word.slice(0, 1 + this.#below(word.length))
        return
      case 5: {
        const place = this.#below(word.length + 1)
        words[at] = word.slice(0, place) + this.#pick(LETTERS) + word.slice(place + this.#below(2))
        return
      }
      case 6:
        words[at] = this.#pick([
          word.toUpperCase(),
          `${word}${word}`,
          `-${word}`,
          `--${word}`,
          `${word}/`,
          `0${word}`,
        ])
        return
      case 7:
        words[at] = this.#pick(ODD)
        return
      case 8:
        words.splice(at, 0, this.#pick(ODD))
        return
      case 9:
      case 10: {
        // What stands behind the word before in some other line.
        const others = this.#behind.get(words[at - 1] ?? '')
        if (others !== undefined) words[at] = this.#pick(others)
        return
      }
      case 11: {
        // Words of another line.
        const other = this.#pick(this.#lines)
        const from = this.#below(other.length)
        words.splice(at, 0, ...other.slice(from, from + 1 + this.#below(3)))
        return
      }
      case 12: {
        const other = this.#pick(this.#lines)
        words.push(...other.slice(this.#below(other.length)))
        return
      }
      default:
        words[at] = this.#pick(this.#words)
    }
  }
}
