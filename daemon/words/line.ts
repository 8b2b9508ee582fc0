// Packet words cut into tokens, with their offsets.

import type { Place } from '../../rules/model.ts'
import { PlaceError } from '../errors.ts'

export interface Token {
  /** 'next' ends a step: a comma before a blank, a semicolon, the end of a line. */
  readonly kind: 'word' | 'text' | 'next' | 'end'
  /** A word as it stands; of a 'text' what is between the quotes, its escapes resolved, one character a byte. */
  readonly text: string
  readonly at: number
}

/** Turns an offset of the text into a place; the default says line and column of "packet". */
export type PlaceOf = (offset: number) => Place

export function placeIn(text: string, file = 'packet'): PlaceOf {
  return (offset) => {
    const before = text.slice(0, offset)
    const start = before.lastIndexOf('\n') + 1
    return { file, line: before.split('\n').length, column: offset - start + 1 }
  }
}

/** `#` begins a comment, `(`, `)` and `>` stand alone, quotes hold text, a comma within a word belongs to it. */
const TOKEN =
  /[^\S\n]+|#[^\n]*|(\n|;|,(?=\s|$))|("(?:[^"\\\n]|\\.)*"?)|(->|[>()])|((?:[^\s">();,#]|,(?!\s|$)|(?<!\s)#)+)/gy

export function tokens(text: string, placeOf: PlaceOf): Token[] {
  const list: Token[] = []
  TOKEN.lastIndex = 0
  while (TOKEN.lastIndex < text.length) {
    const at = TOKEN.lastIndex
    const found = TOKEN.exec(text)!
    const [, next, quoted, mark, word] = found
    if (next !== undefined) list.push({ kind: 'next', text: next === '\n' ? 'end of line' : next, at })
    else if (quoted !== undefined) list.push({ kind: 'text', text: unquote(quoted, at, placeOf), at })
    else if (mark !== undefined) list.push({ kind: 'word', text: mark === '->' ? '>' : mark, at })
    else if (word !== undefined) list.push({ kind: 'word', text: word, at })
  }
  list.push({ kind: 'end', text: 'the end', at: text.length })
  return list
}

const ESCAPES: Readonly<Record<string, string>> = { n: '\n', r: '\r', t: '\t', 0: '\0', '"': '"', '\\': '\\' }

/** To one character a byte: UTF-8 for what is no ASCII, \xHH for any byte. */
function unquote(quoted: string, at: number, placeOf: PlaceOf): string {
  if (quoted.length < 2 || !quoted.endsWith('"') || /(^|[^\\])(\\\\)*\\"$/.test(quoted.slice(1)))
    throw new PlaceError('text that begins with " is not closed', placeOf(at))
  const bytes = (plain: string): string => Buffer.from(plain, 'utf8').toString('latin1')
  return quoted
    .slice(1, -1)
    .replace(/\\(x[0-9a-fA-F]{2}|.)|[^\\]+/g, (part, code?: string, index?: number) => {
      if (code === undefined) return bytes(part)
      if (code.length === 3) return String.fromCharCode(Number.parseInt(code.slice(1), 16))
      return (
        ESCAPES[code] ??
        fail(
          `"\\${code}" is no escape: expected \\n, \\r, \\t, \\0, \\", \\\\ or \\xHH`,
          placeOf(at + 1 + (index ?? 0)),
        )
      )
    })
}

function fail(reason: string, place: Place): never {
  throw new PlaceError(reason, place)
}

/** Tokens with a place to go on from, and words for what is wrong. */
export class Line {
  readonly placeOf: PlaceOf
  readonly #tokens: readonly Token[]
  #next = 0

  constructor(text: string, placeOf: PlaceOf = placeIn(text)) {
    this.placeOf = placeOf
    this.#tokens = tokens(text, placeOf)
  }

  get token(): Token {
    return this.#tokens[this.#next]!
  }

  /** Of the token taken last. */
  get last(): Token {
    return this.#tokens[Math.max(this.#next - 1, 0)]!
  }

  get done(): boolean {
    return this.token.kind === 'end'
  }

  /** Nothing more in this step. */
  get stepDone(): boolean {
    return this.token.kind === 'end' || this.token.kind === 'next'
  }

  skip(): void {
    this.#next++
  }

  skipNext(): void {
    while (this.token.kind === 'next') this.#next++
  }

  /** Takes the word if it is this one. */
  accept(word: string): boolean {
    if (this.token.kind !== 'word' || this.token.text !== word) return false
    this.#next++
    return true
  }

  /** The next word; `what` says what was expected. */
  take(what: string): string {
    const { token } = this
    if (token.kind !== 'word') this.failHere(`expected ${what}, not ${shown(token)}`)
    this.#next++
    return token.text
  }

  /** The next word if `read` makes something of it; null from `read`: it is no `what`. */
  value<T>(what: string, read: (text: string) => T | null): T {
    const word = this.take(what)
    return read(word) ?? this.fail(`expected ${what}, not "${word}"`)
  }

  number(max: number, what = `a number from 0 to ${max}`): number {
    return this.value(what, (text) => {
      const n = readNumber(text)
      return n !== null && n <= max ? n : null
    })
  }

  /** The token taken last is wrong. */
  fail(reason: string): never {
    fail(reason, this.placeOf(this.last.at))
  }

  failAt(token: Token, reason: string): never {
    fail(reason, this.placeOf(token.at))
  }

  failHere(reason: string): never {
    fail(reason, this.placeOf(this.token.at))
  }
}

export const shown = (token: Token): string =>
  token.kind === 'end'
    ? 'the end'
    : token.kind === 'word'
      ? `"${token.text}"`
      : token.kind === 'text'
        ? 'text in quotes'
        : token.text === 'end of line'
          ? token.text
          : `"${token.text}"`

/** Decimal or 0x…; null if it is neither. */
export const readNumber = (text: string): number | null =>
  /^(\d{1,15}|0x[0-9a-fA-F]{1,12})$/.test(text) ? Number(text) : null
