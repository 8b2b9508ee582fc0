// JSON with places. JSON.parse does the work; only for a mistake is the text walked again, to find its line and
// column: a full routing table has a million values and hardly ever one wrong.

import { PlaceError } from '../errors.ts'
import { Cursor, type Key, type Located, type SourceFile } from './source.ts'

/** The root of the document. Throws PlaceError where the text is not JSON. */
export function parseJson(source: SourceFile): Cursor {
  let value: unknown
  try {
    value = JSON.parse(source.text)
  } catch (error) {
    const walk = new Walk(source.text, null, false)
    attempt(walk)
    const reason = walk.mistake ?? (error as Error).message
    throw new PlaceError(`not JSON: ${reason}`, source.placeAt(walk.at))
  }
  const document: Located = {
    source,
    offsetOf: (path, key = false) => {
      const walk = new Walk(source.text, path, key)
      attempt(walk)
      return Math.max(walk.found, 0)
    },
  }
  return new Cursor(value, document)
}

/** A text nested deeper than the stack ends the walk where it stands. */
function attempt(walk: Walk): void {
  try {
    walk.document()
  } catch (error) {
    if (!(error instanceof RangeError)) throw error
  }
}

const LITERAL = /true|false|null|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y
const ESCAPE = /["\\\\/bfnrt]|u[0-9a-fA-F]{4}/y

/** One pass over a JSON text (RFC 8259): the first mistake, or the offset of one value. */
class Walk {
  at = 0
  mistake: string | null = null
  /** Offset of the deepest part of the wanted path seen so far. */
  found = -1
  readonly #text: string
  readonly #path: readonly Key[] | null
  readonly #key: boolean

  constructor(text: string, path: readonly Key[] | null, key: boolean) {
    this.#text = text
    this.#path = path
    this.#key = key
  }

  document(): void {
    if (!this.#value(0)) return
    this.#blank()
    if (this.at < this.#text.length) this.#fail('expected the end of the file')
  }

  #fail(reason: string): false {
    this.mistake ??= this.at >= this.#text.length ? `${reason}, not the end of the file` : reason
    return false
  }

  #blank(): void {
    while (/[ \t\r\n]/.test(this.#text[this.at] ?? '')) this.at++
  }

  /** `depth`: how many steps of the path lead here; -1 when this value is off the path. */
  #value(depth: number): boolean {
    this.#blank()
    if (depth >= 0) this.found = this.at
    const inside = this.#path !== null && depth >= 0 && depth < this.#path.length ? depth : -1
    const c = this.#text[this.at]
    if (c === '{') return this.#object(inside)
    if (c === '[') return this.#array(inside)
    if (c === '"') return this.#string() !== null
    LITERAL.lastIndex = this.at
    const literal = LITERAL.exec(this.#text)
    if (literal === null) return this.#fail('expected a value')
    this.at += literal[0].length
    if (/[\w.+-]/.test(this.#text[this.at] ?? '')) return this.#fail('expected a value')
    return true
  }

  #string(): string | null {
    const start = this.at++
    for (let c = this.#text[this.at]; c !== '"'; c = this.#text[++this.at]) {
      if (c === undefined || c < ' ') {
        this.#fail('expected " at the end of a string')
        return null
      }
      if (c !== '\\') continue
      ESCAPE.lastIndex = this.at + 1
      if (!ESCAPE.test(this.#text)) {
        this.#fail('unknown escape in a string')
        return null
      }
      this.at = ESCAPE.lastIndex - 1
    }
    this.at++
    return JSON.parse(this.#text.slice(start, this.at)) as string
  }

  #object(depth: number): boolean {
    this.at++
    this.#blank()
    if (this.#text[this.at] === '}') {
      this.at++
      return true
    }
    for (;;) {
      this.#blank()
      const keyAt = this.at
      if (this.#text[this.at] !== '"') return this.#fail('expected a name in quotes')
      const key = this.#string()
      if (key === null) return false
      this.#blank()
      if (this.#text[this.at] !== ':') return this.#fail('expected ":"')
      this.at++
      const next = depth >= 0 && key === this.#path![depth] ? depth + 1 : -1
      if (!this.#value(next)) return false
      if (next === this.#path?.length && this.#key) this.found = keyAt
      this.#blank()
      const c = this.#text[this.at]
      if (c === '}') break
      if (c !== ',') return this.#fail('expected "," or "}"')
      this.at++
    }
    this.at++
    return true
  }

  #array(depth: number): boolean {
    this.at++
    this.#blank()
    if (this.#text[this.at] === ']') {
      this.at++
      return true
    }
    for (let i = 0; ; i++) {
      if (!this.#value(depth >= 0 && i === this.#path![depth] ? depth + 1 : -1)) return false
      this.#blank()
      const c = this.#text[this.at]
      if (c === ']') break
      if (c !== ',') return this.#fail('expected "," or "]"')
      this.at++
    }
    this.at++
    return true
  }
}
