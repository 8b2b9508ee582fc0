// The words of an ip(8) command line, read as iproute2 6.1 reads them (lib/utils.c, lib/rt_names.c), with its
// complaints. Everything that ends the program there throws Exit here.

import type { Words } from '../../datapath/fib.ts'
import type { Family } from '../../datapath/packet.ts'
import { parseIpv6 } from '../../datapath/wire/address.ts'
import { ULONG_MAX } from '../../rules/text/numbers.ts'
import { protocolByName, protocolByNumber } from '../../rules/text/services.ts'
import { ANY, bitsOf } from '../host-folder/address.ts'
import { DSFIELDS, PROTOCOL_NUMBERS, SCOPES, TABLES } from '../host-folder/names.ts'

/** exit(3): what the tool has written so far stands. */
export class Exit extends Error {
  readonly code: number
  constructor(code: number) {
    super(`exit ${code}`)
    this.code = code
  }
}

/** The command alone is over, not the program: a batch says that it failed. */
export class Returned extends Exit {}

/** A prefix as get_prefix() gives it: `default`, `any` and `all` have no family of their own. */
export interface AnyPrefix {
  readonly family: Family | 0
  readonly words: Words
  readonly length: number
  /** A length was written (or `default`). */
  readonly said: boolean
  /** There is an address at all: `any` and `all` have no bytes, and `default` has none without a family. */
  readonly given: boolean
  /** It is of such a family; `family` is 0 then. */
  readonly foreign?: Foreign
}

/** Families that this host has neither addresses nor routes of. */
export type Foreign = 'bridge' | 'mpls' | 'link'
export const isForeign = (text: string): text is Foreign =>
  text === 'bridge' || text === 'mpls' || text === 'link'

/** Of tables said twice, the last that is too large for rtm_table and stands as an attribute of its own, else the last. */
export const lastTable = (before: number | null | undefined, said: number): number =>
  (before ?? 0) >= 256 && said < 256 ? before! : said

/** `any` has no bytes to send: the address that was said before stays, with the length of this. */
export const stays = (before: AnyPrefix | null, now: AnyPrefix): AnyPrefix =>
  before?.given && !now.given ? { ...now, words: before.words, given: true } : now

/** matches(): `word` is a beginning of `full`. */
export const begins = (word: string, full: string): boolean => word !== '' && full.startsWith(word)

/** strtoul(3) of the whole text; null if something is left, or it does not fit. Base 0: 0x and leading 0 count. */
export function number(text: string, max = 0xffff_ffff, base: 0 | 10 | 16 = 0): number | null {
  const [, sign, digits] = /^\s*([+-]?)(.*)$/s.exec(text) as unknown as [string, string, string]
  let value: bigint
  if (base !== 10 && /^0[xX][0-9a-fA-F]+$/.test(digits)) value = BigInt(digits.toLowerCase())
  else if (base === 16 && /^[0-9a-fA-F]+$/.test(digits)) value = BigInt(`0x${digits}`)
  else if (base === 0 && /^0[0-7]*$/.test(digits)) value = BigInt(`0o${digits}`)
  else if (base !== 16 && /^[0-9]+$/.test(digits) && (base === 10 || digits[0] !== '0'))
    value = BigInt(digits)
  else return null
  if (value > ULONG_MAX) return null
  if (sign === '-') value = BigInt.asUintN(64, -value)
  return value <= max ? Number(value) : null
}

/** get_addr_ipv4(): one to four numbers. */
function ipv4(text: string): number | null {
  const parts = text.split('.')
  if (parts.length > 4) return null
  let word = 0
  for (let i = 0; i < 4; i++) {
    const value = i < parts.length ? number(parts[i]!, 255) : 0
    if (value === null) return null
    word = (word << 8) | value
  }
  return word
}

/** get_addr_1(); null if it is none of that family (0: either). */
export function address(text: string, family: Family | 0): AnyPrefix | null {
  if (text === 'default' || text === 'any' || text === 'all')
    return { family, words: ANY, length: -2, said: true, given: text === 'default' && family !== 0 }
  if (text.includes(':')) {
    const words = family === 4 ? null : parseIpv6(text)
    return words === null ? null : { family: 6, words, length: -1, said: false, given: true }
  }
  const word = family === 6 ? null : ipv4(text)
  return word === null ? null : { family: 4, words: [word, 0, 0, 0], length: -1, said: false, given: true }
}

/** get_prefix_1(). */
export function prefix(text: string, family: Family | 0): AnyPrefix | null {
  if (text === 'default' || text === 'any' || text === 'all')
    return { family, words: ANY, length: 0, said: true, given: text === 'default' && family !== 0 }
  const slash = text.indexOf('/')
  const found = address(slash < 0 ? text : text.slice(0, slash), family)
  if (found === null || found.said) return null
  const bits = found.family === 0 ? 0 : bitsOf(found.family)
  if (slash < 0) return { ...found, length: bits }
  const tail = text.slice(slash + 1)
  const length = number(tail) ?? maskLength(tail)
  return length === null || length > bits ? null : { ...found, length, said: true }
}

function maskLength(text: string): number | null {
  const mask = ipv4(text)
  if (mask === null) return null
  const inverse = ~mask >>> 0
  return (inverse & (inverse + 1)) === 0 ? Math.clz32(inverse) : null
}

const FAMILY_NAMES = { 0: 'any valid', 4: 'inet', 6: 'inet6' } as const

/**
 * ll_addr_a2n(): bytes of a hardware address, or of an IPv4 one, each part read as far as it is hexadecimal.
 * `refused`: the part that is none.
 */
function linkAddress(text: string): { readonly bytes: string } | { readonly refused: string } {
  const hex = (n: number): string => n.toString(16).padStart(2, '0')
  if (text.includes('.')) {
    const word = address(text, 4)?.words[0]
    if (word === undefined) return { refused: text }
    return { bytes: [24, 16, 8, 0].map((shift) => hex((word >>> shift) & 0xff)).join(':') }
  }
  const bytes: string[] = []
  for (const part of text.split(':').slice(0, 32)) {
    const found = /^\s*([+-]?)(?:0x)?([\da-f]+)/i.exec(part)
    const value = found === null ? -1 : Number.parseInt(found[2]!, 16) * (found[1] === '-' ? -1 : 1)
    if (value < 0 || value > 255) return { refused: part }
    bytes.push(hex(value))
  }
  return { bytes: bytes.join(':') }
}

/** mpls_pton(): labels of 20 bits. */
const isLabels = (text: string): boolean => text.split('/').every((label) => number(label, 0xf_ffff) !== null)

/** get_addr_1() and get_prefix_1() of families that this host has nothing of; `link` has no prefixes. */
function foreignWord(text: string, foreign: Foreign): AnyPrefix | null {
  const nothing = { family: 0, foreign, words: ANY, length: 0, said: true } as const
  if (text === 'default' || text === 'any' || text === 'all')
    return foreign === 'mpls' ? null : { ...nothing, given: false }
  const known = foreign === 'link' ? 'bytes' in linkAddress(text) : foreign === 'mpls' && isLabels(text)
  return known ? { ...nothing, given: true } : null
}

/** Arguments and what goes to standard error; iproute2's argc and argv. */
export class Line {
  readonly #words: readonly string[]
  readonly #complain: (text: string) => void
  #at = 0

  #foreign: Foreign | null
  readonly numbers: NumberReader

  /** `foreign`: a family in whose words addresses are expected, unless the place says which. */
  constructor(
    words: readonly string[],
    foreign: Foreign | null,
    numbers: NumberReader,
    complain: (text: string) => void,
  ) {
    this.#words = words
    this.numbers = numbers
    this.#foreign = foreign
    this.#complain = complain
  }

  /** Writes to standard error. */
  warn(text: string): void {
    this.#complain(text)
  }

  get foreign(): Foreign | null {
    return this.#foreign
  }

  /** From here on addresses are of this family. */
  become(foreign: Foreign): void {
    this.#foreign = foreign
  }

  get done(): boolean {
    return this.#at >= this.#words.length
  }

  /** The words that are left. */
  rest(): readonly string[] {
    return this.#words.slice(this.#at)
  }

  get left(): number {
    return this.#words.length - this.#at
  }

  peek(): string {
    return this.#words[this.#at] ?? ''
  }

  take(): string {
    return this.#words[this.#at++] ?? ''
  }

  /** NEXT_ARG(). */
  next(): string {
    if (this.done) this.incomplete()
    return this.take()
  }

  /** Writes to standard error and exits, with 255 unless said otherwise. */
  die(text: string, code = 255): never {
    this.#complain(text)
    throw new Exit(code)
  }

  /** Writes to standard error and returns from the command. */
  fail(text: string, code: number): never {
    this.#complain(text)
    throw new Returned(code)
  }

  incomplete(): never {
    return this.die('Command line is not complete. Try option "help"\n')
  }

  invalid(why: string, word: string): never {
    return this.die(`Error: argument "${word}" is wrong: ${why}\n`)
  }

  duplicate(key: string, word: string): never {
    return this.die(`Error: duplicate "${key}": "${word}" is the second value.\n`)
  }

  garbage(key: string, word: string): never {
    return this.die(`Error: either "${key}" is duplicate, or "${word}" is a garbage.\n`)
  }

  /** nodev(): the caller ends with 1. */
  noDevice(name: string): 1 {
    this.#complain(`Cannot find device "${name}"\n`)
    return 1
  }

  /** The next word as a prefix. */
  prefix(text: string, family: Family | 0): AnyPrefix {
    if (this.#foreign !== null && family === 0) return this.foreignPrefix(text, this.#foreign)
    return (
      prefix(text, family) ??
      this.die(`Error: ${FAMILY_NAMES[family]} prefix is expected rather than "${text}".\n`, 1)
    )
  }

  address(text: string, family: Family | 0): AnyPrefix {
    if (this.#foreign !== null && family === 0) return this.foreignAddress(text, this.#foreign)
    return (
      address(text, family) ??
      this.die(`Error: ${FAMILY_NAMES[family]} address is expected rather than "${text}".\n`, 1)
    )
  }

  foreignPrefix(text: string, foreign: Foreign): AnyPrefix {
    if (foreign === 'link')
      return this.die(`Error: "${text}" may be inet prefix, but it is not allowed in this context.\n`, 1)
    return (
      foreignWord(text, foreign) ??
      this.die(`Error: ${foreign} prefix is expected rather than "${text}".\n`, 1)
    )
  }

  foreignAddress(text: string, foreign: Foreign): AnyPrefix {
    const found = foreignWord(text, foreign)
    if (found !== null) return found
    let shown = text
    if (foreign === 'link') {
      const read = linkAddress(text)
      if ('refused' in read) this.warn(`"${read.refused}" is invalid lladdr.\n`)
      // The reader has ended the word at its first colon.
      if (!text.includes('.')) shown = text.split(':')[0]!
    }
    return this.die(`Error: ${foreign} address is expected rather than "${shown}".\n`, 1)
  }

  /** The next word as a number; `why` is the complaint. */
  number(why: string, max = 0xffff_ffff): number {
    const text = this.next()
    return number(text, max) ?? this.invalid(why, text)
  }

  named<T>(why: string, read: (text: string) => T | null): T {
    const text = this.next()
    return read(text) ?? this.invalid(why, text)
  }
}

/**
 * A name or a number, as rtnl_rtscope_a2n() and its kin read one: the last name found is kept with its number, which
 * any number that is read afterwards overwrites. Said again, the name stands for that one.
 */
function remembering(names: ReadonlyMap<string, number>, base: 0 | 16 = 0): (text: string) => number | null {
  let name: string | null = null
  let kept = 0
  return (text) => {
    if (text === name) return kept
    const found = names.get(text)
    if (found !== undefined) name = text
    const value = found ?? number(text, 0xffff_ffff, base)
    kept = value ?? 0
    return value === null || value > 255 ? null : value
  }
}

/** Names of one run of the tool: a batch remembers them from line to line. */
export class NumberReader {
  readonly scope = remembering(SCOPES)
  readonly tos = remembering(DSFIELDS, 16)
  readonly protocol = remembering(PROTOCOL_NUMBERS)
  readonly #realm = remembering(new Map([['cosmos', 0]]))

  /** get_rt_realms_or_raw(): FROM/TO as FROM << 16 | TO, or that number. */
  readonly realms = (text: string): number | null => {
    const slash = text.indexOf('/')
    if (slash < 0) return this.#realm(text) ?? number(text)
    const from = this.#realm(text.slice(0, slash))
    if (from === null) return null
    const to = text.slice(slash + 1) === '' ? 0 : this.#realm(text.slice(slash + 1))
    return to === null ? null : ((from << 16) | to) >>> 0
  }
}

/** rtnl_rttable_a2n() */
export const tableNumber = (text: string): number | null => TABLES.get(text) ?? number(text)
/** rtnl_group_a2n(): what strtol(3) gives, as an int that is not negative. */
export function groupNumber(text: string): number | null {
  if (text === 'default') return 0
  const value = number(text, 2 ** 53)
  return value === null || (value | 0) < 0 ? null : value | 0
}

/** rtnl_rtntype_a2n(): most names may be shortened, the first that fits counts. */
export function routeType(text: string): number | null {
  if (text === 'local') return 2
  if (text === 'nat') return 10
  if (text === 'brd') return 3
  if (text === 'throw') return 9
  for (const [name, value] of SHORT_TYPES) if (begins(text, name)) return value
  return number(text, 255)
}

const SHORT_TYPES: readonly (readonly [string, number])[] = [
  ['broadcast', 3],
  ['anycast', 4],
  ['multicast', 5],
  ['prohibit', 8],
  ['unreachable', 7],
  ['blackhole', 6],
  ['xresolve', 11],
  ['unicast', 1],
]

/** inet_proto_a2n(): decimal, or a name of /etc/protocols, cut to a byte (mptcp is tcp). */
export function ipProtocolNumber(text: string): number | null {
  const named = protocolByName(text)
  return number(text, 255, 10) ?? (named === null ? null : named & 0xff)
}

function inverse(names: ReadonlyMap<string, number>): ReadonlyMap<number, string> {
  const found = new Map<number, string>()
  for (const [name, value] of names) if (!found.has(value)) found.set(value, name)
  return found
}

const SCOPE_NAMES = inverse(SCOPES)
const TABLE_NAMES = inverse(TABLES)
const TOS_NAMES = inverse(DSFIELDS)
const PROTOCOL_NAMES = inverse(PROTOCOL_NUMBERS)

const TYPE_NAMES =
  'none unicast local broadcast anycast multicast blackhole unreachable prohibit throw nat xresolve'.split(
    ' ',
  )

/** Numbers as ip prints them; `numeric` is its -N. */
export class Names {
  numeric = false
  scope = (n: number): string => (this.numeric ? String(n) : (SCOPE_NAMES.get(n) ?? String(n)))
  table = (n: number): string => (this.numeric ? String(n) : (TABLE_NAMES.get(n) ?? String(n)))
  tos = (n: number): string => {
    const hex = `0x${n.toString(16).padStart(2, '0')}`
    return this.numeric ? hex : (TOS_NAMES.get(n) ?? hex)
  }
  /** Routes keep the protocol as text: its name or its number. */
  protocol = (text: string): string => {
    const n = PROTOCOL_NUMBERS.get(text) ?? Number(text)
    return this.numeric ? String(n) : (PROTOCOL_NAMES.get(n) ?? String(n))
  }
  type = (n: number): string => (this.numeric ? String(n) : (TYPE_NAMES[n] ?? String(n)))
  /** ll_type_n2a(). */
  link = (name: string, n: number): string => (this.numeric ? `[${n}]` : name)
  group = (n: number): string => (this.numeric || n !== 0 ? String(n) : 'default')
  realm = (n: number): string => (this.numeric || n !== 0 ? String(n) : 'cosmos')
  ipProtocol = (n: number): string => (this.numeric ? null : protocolByNumber(n)) ?? `ipproto-${n}`
}

/** The text that routes and rules keep for a protocol's number. */
export const protocolText = (n: number): string => PROTOCOL_NAMES.get(n) ?? String(n)

/** parse_one_of() of off and on, which may be cut short; fails with exit status `code`. */
export function offOrOn(line: Line, key: string, code: number): boolean {
  const text = line.next()
  if (begins(text, 'off')) return false
  if (begins(text, 'on')) return true
  return line.fail(`Error: argument of "${key}" must be one of "off", "on", not "${text}"\n`, code)
}

/** ll_addr_a2n() of a hardware address: its bytes, in hexadecimal. */
export function hardware(line: Line): string {
  const read = linkAddress(line.next())
  return 'bytes' in read ? read.bytes : line.fail(`"${read.refused}" is invalid lladdr.\n`, 1)
}
