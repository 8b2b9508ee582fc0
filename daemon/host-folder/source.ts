// Places in configuration files. Values are checked through a Cursor, which knows its way from the root; only
// when something is wrong is that way turned into a line and a column.

import { readFileSync } from 'node:fs'
import type { Place } from '../../rules/model.ts'
import { PlaceError, systemReason } from '../errors.ts'

/** Where a configured thing was written. */
export interface Origin {
  place(): Place
}

/** A text file of the host folder. */
export class SourceFile {
  readonly path: string
  readonly text: string

  constructor(path: string, text: string) {
    this.path = path
    this.text = text
  }

  /**
   * The file, or null if there is none; as `bytes` it has a character for each byte, which is what the tools that
   * print such files know. Throws PlaceError if it cannot be read.
   */
  static read(path: string, bytes = false): SourceFile | null {
    try {
      const text = readFileSync(path, bytes ? 'latin1' : 'utf8')
      return new SourceFile(path, text.replace(bytes ? /^\xef\xbb\xbf/ : /^\ufeff/, ''))
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null
      throw new PlaceError(`cannot be read: ${systemReason(error)}`, { file: path, line: 1, column: 1 })
    }
  }

  /** `offset` in UTF-16 units. */
  placeAt(offset: number): Place {
    const end = Math.min(offset, this.text.length)
    let line = 1
    let start = 0
    for (let at = this.text.indexOf('\n'); at >= 0 && at < end; at = this.text.indexOf('\n', at + 1)) {
      line++
      start = at + 1
    }
    return { file: this.path, line, column: end - start + 1 }
  }
}

export type Key = string | number

/** A parsed file that can say where a value stands. */
export interface Located {
  readonly source: SourceFile
  /** Offset of the value that `path` leads to, or of the nearest thing around it; `key`: of the member's name. */
  offsetOf(path: readonly Key[], key?: boolean): number
}

/** A value with its way from the root. Getters throw PlaceError in words that say what was expected. */
export class Cursor implements Origin {
  readonly value: unknown
  readonly #document: Located
  readonly #parent: Cursor | null
  readonly #key: Key

  constructor(value: unknown, document: Located, parent: Cursor | null = null, key: Key = '') {
    this.value = value
    this.#document = document
    this.#parent = parent
    this.#key = key
  }

  path(): Key[] {
    const path: Key[] = []
    for (let at: Cursor = this; at.#parent !== null; at = at.#parent) path.push(at.#key)
    return path.reverse()
  }

  place(): Place {
    return this.#document.source.placeAt(this.#document.offsetOf(this.path()))
  }

  /** Place of a character of a string value that is written without escapes; else of the value. */
  placeWithin(index: number): Place {
    const { source } = this.#document
    const at = this.#document.offsetOf(this.path())
    const text = String(this.value)
    for (const skip of [0, 1])
      if (source.text.startsWith(text, at + skip)) return source.placeAt(at + skip + index)
    return source.placeAt(at)
  }

  fail(reason: string): never {
    throw new PlaceError(reason, this.place())
  }

  /** Something is wrong with the name of this member, not with its value. */
  failKey(reason: string): never {
    throw new PlaceError(reason, this.#document.source.placeAt(this.#document.offsetOf(this.path(), true)))
  }

  /** The value as a person would say it. */
  shown(): string {
    const { value } = this
    if (Array.isArray(value)) return 'a list'
    if (typeof value === 'object' && value !== null) return 'a mapping'
    return value === undefined ? 'nothing' : JSON.stringify(value)
  }

  #expected(what: string): never {
    const name = typeof this.#key === 'string' && this.#key !== '' ? `"${this.#key}" ` : ''
    return this.fail(`${name}must be ${what}, not ${this.shown()}`)
  }

  list(what = 'a list'): Cursor[] {
    if (!Array.isArray(this.value)) this.#expected(what)
    return this.value.map((value, i) => new Cursor(value, this.#document, this, i))
  }

  /** A list, or one thing that stands for a list of one; nothing is an empty list. */
  listOrOne(): Cursor[] {
    if (this.value === null || this.value === undefined) return []
    return Array.isArray(this.value) ? this.list() : [this]
  }

  record(what = 'a mapping'): Record<string, unknown> {
    const { value } = this
    if (typeof value !== 'object' || value === null || Array.isArray(value)) this.#expected(what)
    return value as Record<string, unknown>
  }

  entries(what?: string): [string, Cursor][] {
    return Object.entries(this.record(what)).map(([key, value]) => [
      key,
      new Cursor(value, this.#document, this, key),
    ])
  }

  /** A member of a mapping, or null if it is absent or null. */
  get(key: string): Cursor | null {
    const record = this.record()
    const value = Object.hasOwn(record, key) ? record[key] : undefined
    return value === undefined || value === null ? null : new Cursor(value, this.#document, this, key)
  }

  has(key: string): boolean {
    return Object.hasOwn(this.record(), key)
  }

  need(key: string): Cursor {
    return this.get(key) ?? this.fail(`"${key}" is missing`)
  }

  /** Refuses members that `known` does not name. */
  only(known: readonly string[], what: string): void {
    for (const [key, member] of this.entries())
      if (!known.includes(key))
        member.failKey(`unknown key "${key}" in ${what}: expected one of ${known.join(', ')}`)
  }

  string(what = 'text'): string {
    if (typeof this.value !== 'string' || this.value === '') this.#expected(what)
    return this.value
  }

  integer(min: number, max: number, what = `a whole number from ${min} to ${max}`): number {
    const { value } = this
    if (typeof value !== 'number' || !Number.isInteger(value) || value < min || value > max)
      this.#expected(what)
    return value
  }

  boolean(): boolean {
    if (typeof this.value !== 'boolean') this.#expected('true or false')
    return this.value
  }
}
