// The options of matches and targets: declared as data, read through typed getters that fail in iptables' words.

import type { Family } from '../datapath/packet.ts'

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
   * use. Default 'required'.
   */
  readonly arg?: 'required' | 'none' | 'optional' | 'two'
  /** `!` may stand before it. */
  readonly invertible?: boolean
  /** Must be given. */
  readonly required?: boolean
  /** May be given several times. */
  readonly multiple?: boolean
  /** Flags that may not be given with it. */
  readonly excludes?: readonly string[]
  /** Flags that must be given with it. */
  readonly also?: readonly string[]
}

/** A mistake in an extension's options; the command prints it as iptables does and exits 2. */
export class OptionError extends Error {
  override readonly name = 'OptionError'
}

/** Options of one use of an extension, as given. Getters throw OptionError. `flag` is always the spec's flag. */
export interface Options {
  readonly family: Family
  /** The extension's name, for messages. */
  readonly extension: string
  /** Protocol of the rule so far (0 none), and whether `!` stands before it. */
  readonly protocol: number
  readonly protocolInverted: boolean
  has(flag: string): boolean
  inverted(flag: string): boolean
  /** The argument's text; '' for a switch. Throws if absent. */
  text(flag: string): string
  /** All arguments of an option that may be repeated, in order. */
  texts(flag: string): string[]
  /** Flags in the order given. */
  given(): string[]
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
  tosMask(flag: string): { readonly value: number; readonly mask: number }
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
