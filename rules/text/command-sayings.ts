// What a command line says though nothing failed, and which of its mistakes is told. iptables reads values as it meets
// them, we read an extension's at the end: what it would have said by then is found out behind it.

import type { ExtensionReader } from './command-extensions.ts'
import { badValue, type Gather, tryParse } from './command-mistakes.ts'
import type { Remarks, Use } from './command-options.ts'

/** Of one command line. `uses`: of extensions, as far as they have been read. */
export class Sayings {
  /** Of extensions whose options have all been read, in order. */
  readonly remarks: Remarks[] = []
  /** Warnings of the command line itself, with the word that caused them. */
  readonly #early: { readonly text: string; readonly word: number }[] = []
  readonly #extensions: ExtensionReader
  readonly #warn: (text: string) => void

  constructor(extensions: ExtensionReader, warn: (text: string) => void) {
    this.#extensions = extensions
    this.#warn = warn
  }

  /** The command line itself warns, for `word`. */
  add(text: string, word: number): void {
    this.#early.push({ text, word })
  }

  /** All of a command line that is right. */
  say(uses: readonly Use[]): void {
    const early = this.remarks.filter(({ early }) => early !== '')
    if (this.#early.length + early.length > 1) this.#sayRead(Number.POSITIVE_INFINITY, uses)
    else this.#say([...this.#early.map(({ text }) => text), ...early.map(({ early }) => early)])
    this.#say(this.remarks.map(({ whole }) => whole))
  }

  /**
   * The first bad value is the one to report, before anything found later or amiss in the whole; says what was said until
   * then. Only a command that fails anyway comes here.
   */
  firstMistake(error: unknown, uses: readonly Use[]): unknown {
    let first = Number.POSITIVE_INFINITY
    let reported = error
    for (const use of uses)
      for (const [i, { word }] of use.given.entries()) {
        if (word >= first) break
        const bad = badValue(this.#gather, use, i)
        if (bad === null) continue
        first = word
        reported = bad
        break
      }
    this.#sayRead(first, uses)
    this.#say(this.remarks.map(({ whole }) => whole))
    return reported
  }

  readonly #gather: Gather = (loaded, given) => this.#extensions.gather(loaded, given)

  /** Says what was said of words as they were read, up to word `last`, in their order. */
  #sayRead(last: number, uses: readonly Use[]): void {
    const said = this.#early.filter(({ word }) => word < last)
    for (const use of uses) {
      let before = ''
      for (const [i, { word }] of use.given.entries()) {
        if (word > last) break
        const options = this.#extensions.gather(use.loaded, use.given.slice(0, i + 1))
        tryParse(this.#gather, use, options)
        said.push({ text: added(before, options.warnings), word })
        before = options.warnings
      }
    }
    this.#say(said.sort((a, b) => a.word - b.word).map(({ text }) => text))
  }

  #say(texts: readonly string[]): void {
    for (const text of texts) if (text !== '') this.#warn(text)
  }
}

/** The lines that `now` has more than `before`, at one place. */
function added(before: string, now: string): string {
  const old = before.split(/(?<=\n)/)
  const lines = now.split(/(?<=\n)/)
  let head = 0
  while (head < old.length && old[head] === lines[head]) head++
  let tail = 0
  while (tail < old.length - head && old.at(-1 - tail) === lines.at(-1 - tail)) tail++
  return lines.slice(head, lines.length - tail).join('')
}
