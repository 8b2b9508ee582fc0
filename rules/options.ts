// The options of matches and targets: declared as data, read through typed getters that fail in iptables' words.
//
//   text/command.ts ── add() for each option met ──► ParsedOptions ── getters ──► Match.parse / Target.parse
//                      once? may be inverted?         required? excluded?
//
// Messages are libxtables' own, to the letter: most end in a line end, after which the command adds one more. An
// extension that words an error itself throws OptionError with the text between `iptables v1.8.9 (legacy): ` and
// the final line end. Checks of libxtables' option tables run over `options` in the order they are declared, so an
// extension declares them in the order of the original's table.

import type { Family } from '../datapath/packet.ts'
import { parseAddress, parseHost, prefixLength, prefixMask, type Words } from './text/address.ts'
import { hostNamed } from './text/host-names.ts'
import { strtoul, strtoull, ULONG_MAX, wholeNumber } from './text/numbers.ts'
import { resolvePort } from './text/services.ts'

export * from './text/address.ts'
export * from './text/numbers.ts'
export { saveString } from './text/quote.ts'
export * from './text/services.ts'

export interface OptionSpec {
  /** Long name without dashes: `dport`. */
  readonly flag: string
  /** Other long names for the same (`destination-port`). */
  readonly aliases?: readonly string[]
  /** Single letter, for the rare extension that has one. */
  readonly short?: string
  /**
   * 'none': a switch. 'optional': as getopt's optional_argument. 'two': the argument and the word behind it, unless
   * that is missing or starts with `-` or `!` (--tcp-flags MASK COMP); texts() then gives one or two words for each
   * use. 'next': the word behind it, unless that is missing or starts so; texts() gives it or nothing. Default
   * 'required'.
   */
  readonly arg?: 'required' | 'none' | 'optional' | 'two' | 'next'
  /** `!` may stand before it. */
  readonly invertible?: boolean
  /** Must be given. */
  readonly required?: boolean
  /** May be given several times. */
  readonly multiple?: boolean
  /** Flags that may not be given with it. */
  readonly excludes?: readonly string[]
  /** Its number where the tool's own table is in another order: clashes are looked for by number. */
  readonly id?: number
  /** Flags that must be given with it. */
  readonly also?: readonly string[]
  /** What its value tells of somebody's network; absent: nothing, it is a number or a word of the tool's own. */
  readonly holds?: Holds
  /** Extensions with a parser of their own: the message for a second use, or for a `!` that may not stand there. */
  readonly repeatError?: string
  readonly invertError?: string
  /** An inversion is minded before a repetition. */
  readonly invertFirst?: boolean
  /** Of the options with the same one each is a repetition of the other. */
  readonly slot?: string
}

/**
 * Addresses, and names that people gave, in a value as it is printed. `netmap`: an address whose host part is put into
 * others. `bytes`: what is looked for in a packet; `program`: what looks into packets by itself. `name …`: of a thing;
 * values of the same thing name the same.
 */
export type Holds =
  | 'address'
  | 'addresses'
  | 'range'
  | 'nat range'
  | 'netmap'
  | 'mask'
  | 'mac'
  | 'interface'
  | 'set'
  | 'comment'
  | 'log prefix'
  | 'bytes'
  | 'program'
  | `name ${string}`

const byNumber = (specs: readonly OptionSpec[]): readonly OptionSpec[] =>
  specs.some(({ id }) => id !== undefined)
    ? [...specs].sort((a, b) => (a.id ?? specs.length) - (b.id ?? specs.length))
    : specs

/** Exit codes of xtables_error(). */
export const PARAMETER_PROBLEM = 2
export const OTHER_PROBLEM = 1
export const VERSION_PROBLEM = 3
export const RESOURCE_PROBLEM = 4

/** A mistake in an extension's options; the command prints it as iptables does and exits with `code`. */
export class OptionError extends Error {
  override readonly name: string = 'OptionError'
  readonly code: number
  /** A value that iptables refuses as soon as it reads it, before it looks at later words. */
  readonly isValue: boolean
  constructor(message: string, code: number = PARAMETER_PROBLEM, isValue = false) {
    super(message)
    this.code = code
    this.isValue = isValue
  }
}

/** A mistake of the options as a whole (x6_fcheck), found when all have been read. */
export class WholeError extends OptionError {}

/** A getter asked for an option that is not there: the option table says it better (ParsedOptions.check). */
export class MissingOption extends WholeError {}

/** The sets that rules may name. */
export interface SetNames {
  /** Family of a set, 0 if it is for both; null if there is none of this name. */
  familyOf(name: string): 0 | Family | null
  /** ip_set_id_t, 65535 if there is none. */
  numberOf(name: string): number
}

/** Options of one use of an extension, as given. Getters throw OptionError. `flag` is always the spec's flag. */
export interface Options {
  readonly family: Family
  /** The extension's name, for messages. */
  readonly extension: string
  /** Protocol of the rule so far (0 none), and whether `!` stands before it. */
  readonly protocol: number
  readonly protocolInverted: boolean
  /** Absent: any name will do. */
  readonly sets?: SetNames
  /**
   * Prints a line on standard error though nothing fails; with the line end. `whole`: not as the option is read, but
   * when all have been.
   */
  warn(text: string, whole?: boolean): void
  has(flag: string): boolean
  inverted(flag: string): boolean
  /** The argument's text; '' for a switch. Throws if absent. */
  text(flag: string): string
  /** All arguments of an option that may be repeated, in order. */
  texts(flag: string): string[]
  /** Flags in the order given. */
  given(): string[]
  /** Whether `!` stood before it, for every use of an option that may be repeated. */
  inversions(flag: string): boolean[]
  /** XTTYPE_UINT8/16/32/64 with bounds; decimal, 0x, 0 octal as strtoul base 0. */
  uint(flag: string, bits: 8 | 16 | 32, min?: number, max?: number): number
  uint64(flag: string): bigint
  /** XTTYPE_UINT*RC: a, a:b, a:, :b. */
  uintRange(flag: string, bits: 8 | 16 | 32): readonly [number, number]
  /** XTTYPE_UINT64RC */
  uint64Range(flag: string): readonly [bigint, bigint]
  /** XTTYPE_PORT: number or service name. */
  port(flag: string): number
  /** XTTYPE_PORTRC. */
  portRange(flag: string): readonly [number, number]
  /** XTTYPE_MARKMASK32: value[/mask]. */
  valueMask(flag: string): { readonly value: number; readonly mask: number }
  /** XTTYPE_TOSMASK: value[/mask] or a symbolic TOS name. */
  tosMask(
    flag: string,
    /** Mask of a symbolic name: 0x3f from revision 1 on. */
    nameMask?: number,
  ): { readonly value: number; readonly mask: number }
  /** XTTYPE_SYSLOGLEVEL: 0 to 7 or a name. */
  syslogLevel(flag: string): number
  /** XTTYPE_HOST: one address as words. */
  address(flag: string): readonly [number, number, number, number]
  /** XTTYPE_HOSTMASK: address[/prefix or mask]. */
  addressMask(flag: string): {
    readonly words: readonly [number, number, number, number]
    readonly mask: readonly [number, number, number, number]
  }
}

/** What ParsedOptions needs of an extension. */
export interface OptionOwner {
  readonly name: string
  readonly options: readonly OptionSpec[]
}

const MAX32 = 0xffffffff

const TOS_NAMES: ReadonlyMap<string, number> = new Map([
  ['minimize-delay', 0x10],
  ['maximize-throughput', 0x08],
  ['maximize-reliability', 0x04],
  ['minimize-cost', 0x02],
  ['normal-service', 0x00],
])

/** Symbolic TOS names as `-m tos -h` and `iptables -L` print them. */
export const TOS_SYMBOLS: readonly (readonly [number, string])[] = [
  [0x10, 'Minimize-Delay'],
  [0x08, 'Maximize-Throughput'],
  [0x04, 'Maximize-Reliability'],
  [0x02, 'Minimize-Cost'],
  [0x00, 'Normal-Service'],
]

const LOG_LEVELS: ReadonlyMap<string, number> = new Map([
  ['alert', 1],
  ['crit', 2],
  ['debug', 7],
  ['emerg', 0],
  ['error', 3],
  ['info', 6],
  ['notice', 5],
  ['panic', 0],
  ['warning', 4],
])

/** XTTYPE_ETHERMAC: strtoul(3) of base 16 for each of six parts of up to two characters, none of which need be a digit. */
export function macBytes(text: string): number[] {
  const bad = (): never => {
    throw new OptionError('Invalid MAC address specified.')
  }
  const parts = text.split(':')
  if (parts.length !== 6) bad()
  return parts.map((part) => {
    const found = /^\s*([+-]?)([0-9a-f]+)$/i.exec(part)
    if (part.length > 2 || (found === null && part !== '')) bad()
    const value = found === null ? 0 : Number.parseInt(found[2]!, 16)
    return (found?.[1] === '-' ? -value : value) & 0xff
  })
}

/** getaddrinfo(). Differs from Linux: no name but localhost is resolved, so that a ruleset means the same anywhere. */
export function hostWords(text: string, family: Family): Words {
  const words = parseHost(text, family) ?? hostNamed(text, family)
  if (words !== null) return words
  let reason = 'Name or service not known'
  const other = family === 4 ? parseAddress(text.replace(/%.*/, ''), 6) : parseAddress(text, 4)
  if (other !== null) reason = 'Address family for hostname not supported'
  // A resolver is asked only for what may be a name, and there is none to answer.
  else if (mayBeName(text.replaceAll(/\\([^\d.])/g, '$1')) && (family === 6 || !/^[\d.]*\d$/.test(text)))
    reason = 'Temporary failure in name resolution'
  throw new OptionError(`getaddrinfo: ${reason}\n`, PARAMETER_PROBLEM, true)
}

/** res_hnok(): labels of up to 63 letters, digits, `-` and `_`; no hyphen at the start of the whole. */
const mayBeName = (text: string): boolean =>
  text.length < 255 && /^(?!-)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?$/.test(text)

interface Use {
  readonly spec: OptionSpec
  readonly inverted: boolean
  readonly words: readonly string[]
}

/** To the tool the one is given again with the other. */
export const isRepeated = (a: OptionSpec, b: OptionSpec): boolean =>
  a === b || (a.slot !== undefined && a.slot === b.slot)

/** Why an option may not be given like that, or again; null: it may. */
export function refusedUse(
  extension: string,
  spec: OptionSpec,
  given: boolean,
  inverted: boolean,
): string | null {
  const again =
    spec.multiple !== true && given
      ? (spec.repeatError ?? `${extension}: option "--${spec.flag}" can only be used once.\n`)
      : null
  const turned =
    inverted && spec.invertible !== true
      ? (spec.invertError ?? `${extension}: option "--${spec.flag}" cannot be inverted.\n`)
      : null
  return spec.invertFirst === true ? (turned ?? again) : (again ?? turned)
}

/** Options of one use of an extension, filled by the parser in the order of the command line. */
export class ParsedOptions implements Options {
  readonly family: Family
  readonly extension: string
  readonly protocol: number
  readonly protocolInverted: boolean
  sets?: SetNames
  readonly #specs: readonly OptionSpec[]
  readonly #uses: Use[] = []
  /** What warn() was given. */
  warnings = ''
  wholeWarnings = ''

  constructor(owner: OptionOwner, family: Family, protocol = 0, protocolInverted = false) {
    this.extension = owner.name
    this.#specs = owner.options
    this.family = family
    this.protocol = protocol
    this.protocolInverted = protocolInverted
  }

  warn(text: string, whole = false): void {
    if (whole) this.wholeWarnings += text
    else this.warnings += text
  }

  /** One option met, with its words: usually one, none for a switch (xtables_option_parse). */
  add(spec: OptionSpec, inverted: boolean, words: readonly string[]): void {
    const given = this.#uses.some((use) => isRepeated(use.spec, spec))
    const refusal = refusedUse(this.extension, spec, given, inverted)
    if (refusal !== null) throw this.#fail(refusal)
    this.#uses.push({ spec, inverted, words })
  }

  /** Required options and clashes (xtables_options_fcheck). */
  check(): void {
    const name = this.extension
    for (const spec of this.#specs) {
      const used = this.has(spec.flag)
      if (spec.required === true && !used)
        throw new OptionError(`${name}: option "--${spec.flag}" must be specified\n`)
      if (!used || (spec.excludes === undefined && spec.also === undefined)) continue
      for (const { flag } of byNumber(this.#specs)) {
        if (flag === spec.flag) continue
        if (spec.also?.includes(flag) && !this.has(flag))
          throw new OptionError(`${name}: option "--${spec.flag}" also requires "--${flag}".\n`)
        if (spec.excludes?.includes(flag) && this.has(flag))
          throw new OptionError(
            `${name}: option "--${spec.flag}" cannot be used together with "--${flag}".\n`,
          )
      }
    }
  }

  has(flag: string): boolean {
    return this.#last(flag) !== null
  }

  inverted(flag: string): boolean {
    return this.#last(flag)?.inverted ?? false
  }

  text(flag: string): string {
    const use = this.#last(flag)
    if (use === null) throw new MissingOption(`${this.extension}: option "--${flag}" must be specified\n`)
    return use.words[0] ?? ''
  }

  texts(flag: string): string[] {
    return this.#uses.filter((u) => u.spec.flag === flag).flatMap((u) => u.words)
  }

  given(): string[] {
    return this.#uses.map((u) => u.spec.flag)
  }

  inversions(flag: string): boolean[] {
    return this.#uses.filter((u) => u.spec.flag === flag).map((u) => u.inverted)
  }

  uint(flag: string, bits: 8 | 16 | 32, min = 0, max = 2 ** bits - 1): number {
    const value = wholeNumber(this.text(flag), min, max)
    if (value === null)
      throw this.#fail(
        `${this.extension}: bad value for option "--${flag}", or out of range (${min}-${max}).\n`,
      )
    return value
  }

  uint64(flag: string): bigint {
    const text = this.text(flag)
    const read = strtoull(text, 0n, ULONG_MAX)
    if (read === null || read.end !== text.length)
      throw this.#fail(
        `${this.extension}: bad value for option "--${flag}", or out of range (0-${ULONG_MAX}).\n`,
      )
    return read.value
  }

  uintRange(flag: string, bits: 8 | 16 | 32): readonly [number, number] {
    const [from, to] = this.#range(flag, BigInt(2 ** bits - 1))
    return [Number(from), Number(to)]
  }

  uint64Range(flag: string): readonly [bigint, bigint] {
    return this.#range(flag, ULONG_MAX)
  }

  port(flag: string): number {
    return this.#resolve(this.text(flag))
  }

  portRange(flag: string): readonly [number, number] {
    const parts = this.text(flag).split(':')
    const from = parts[0] === '' ? 0 : this.#resolve(parts[0]!)
    if (parts.length === 1) return [from, from]
    const to = parts[1] === '' ? 0xffff : this.#resolve(parts[1]!)
    if (parts.length > 2) throw this.#tooMany(flag)
    return [from, to]
  }

  valueMask(flag: string): { readonly value: number; readonly mask: number } {
    const text = this.text(flag)
    const bad = `${this.extension}: bad integer value for option "--${flag}", or out of range.\n`
    const value = strtoul(text, 0, MAX32)
    if (value === null) throw this.#fail(bad)
    let mask = MAX32
    let end = value.end
    if (text[end] === '/') {
      const rest = text.slice(end + 1)
      const read = strtoul(rest, 0, MAX32)
      if (read === null) throw this.#fail(bad)
      mask = read.value
      end += 1 + read.end
    }
    if (end !== text.length)
      throw this.#fail(`${this.extension}: trailing garbage after value for option "--${flag}".\n`)
    return { value: value.value, mask }
  }

  tosMask(flag: string, nameMask = 0x3f): { readonly value: number; readonly mask: number } {
    const text = this.text(flag)
    const value = strtoul(text, 0, 0xff)
    if (value === null) {
      const named = TOS_NAMES.get(text.toLowerCase())
      if (named === undefined) throw this.#fail(`Symbolic name "${text}" is unknown`)
      return { value: named, mask: nameMask }
    }
    if (value.end === text.length) return { value: value.value, mask: 0xff }
    const mask = text[value.end] === '/' ? wholeNumber(text.slice(value.end + 1), 0, 0xff) : null
    if (mask === null) throw this.#fail(`Illegal value: "${text}"`)
    return { value: value.value, mask }
  }

  syslogLevel(flag: string): number {
    const text = this.text(flag)
    const level = wholeNumber(text, 0, 7) ?? LOG_LEVELS.get(text)
    if (level === undefined) throw this.#fail(`log level "${text}" unknown\n`)
    return level
  }

  address(flag: string): Words {
    return hostWords(this.text(flag), this.family)
  }

  addressMask(flag: string): { readonly words: Words; readonly mask: Words } {
    const text = this.text(flag)
    const slash = text.indexOf('/')
    const bits = this.family === 4 ? 32 : 128
    if (slash < 0) return { words: hostWords(text, this.family), mask: prefixMask(bits, this.family) }
    const words = hostWords(text.slice(0, slash), this.family)
    const maskText = text.slice(slash + 1)
    let length = wholeNumber(maskText, 0, bits)
    if (length === null) {
      const mask = parseAddress(maskText, this.family)
      if (mask === null)
        throw this.#fail(
          `${this.extension}: bad value for option "--${flag}", neither a valid network mask nor valid CIDR (0-${bits}).\n`,
        )
      // 1.8.9 keeps only the length of a dotted mask; one with holes becomes a host's (xtopt_parse_plenmask).
      length = prefixLength(mask, this.family)
      if (length < 0) length = bits
    }
    return { words, mask: prefixMask(length, this.family) }
  }

  #last(flag: string): Use | null {
    for (let i = this.#uses.length - 1; i >= 0; i--)
      if (this.#uses[i]!.spec.flag === flag) return this.#uses[i]!
    return null
  }

  #fail(message: string): OptionError {
    return new OptionError(message, PARAMETER_PROBLEM, true)
  }

  #tooMany(flag: string): OptionError {
    return this.#fail(`${this.extension}: Too many components for option "--${flag}" (max: 2)\n`)
  }

  #resolve(text: string): number {
    const port = resolvePort(text)
    if (port === null) throw this.#fail(`Port "${text}" does not resolve to anything.\n`)
    return port
  }

  /** xtopt_parse_mint(): an empty side is 0 or the maximum; one value stands for both sides. */
  #range(flag: string, max: bigint): readonly [bigint, bigint] {
    const text = this.text(flag)
    const values: bigint[] = []
    for (let at = 0; ; ) {
      if (values.length === 2) throw this.#tooMany(flag)
      const rest = text.slice(at)
      let end = 0
      if (rest === '' || rest[0] === ':') values.push(values.length === 1 ? max : 0n)
      else {
        const read = strtoull(rest, 0n, max)
        if (read === null)
          throw this.#fail(
            `${this.extension}: bad value for option "--${flag}" near "${rest}", or out of range (0-${max}).\n`,
          )
        values.push(read.value)
        end = read.end
        if (end < rest.length && rest[end] !== ':')
          throw this.#fail(
            `${this.extension}: Argument to "--${flag}" has unexpected characters near "${rest.slice(end)}".\n`,
          )
      }
      if (end >= rest.length) break
      at += end + 1
    }
    return [values[0]!, values[1] ?? values[0]!]
  }
}
