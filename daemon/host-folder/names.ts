// Names that iproute2 prints for numbers (/etc/iproute2 of Debian 12).

import { protocolByName } from '../../rules/text/services.ts'
import { PlaceError } from '../errors.ts'
import type { SourceFile } from './source.ts'

export const TABLE_MAIN = 254
export const TABLE_LOCAL = 255
export const TABLE_DEFAULT = 253

export const SCOPE_UNIVERSE = 0
export const SCOPE_LINK = 253
export const SCOPE_HOST = 254

export const SCOPES: ReadonlyMap<string, number> = new Map([
  ['global', SCOPE_UNIVERSE],
  ['universe', SCOPE_UNIVERSE],
  ['site', 200],
  ['link', SCOPE_LINK],
  ['host', SCOPE_HOST],
  ['nowhere', 255],
])

/** RTPROT_*. */
export const PROTOCOL_NUMBERS: ReadonlyMap<string, number> = new Map(
  (
    'unspec 0 redirect 1 kernel 2 boot 3 static 4 gated 8 ra 9 mrt 10 zebra 11 bird 12 dnrouted 13 xorp 14 ntk 15 ' +
    'dhcp 16 keepalived 18 babel 42 openr 99 bgp 186 isis 187 ospf 188 rip 189 eigrp 192'
  )
    .match(/\S+ \d+/g)!
    .map((pair) => [pair.split(' ')[0]!, Number(pair.split(' ')[1])]),
)

export const TABLES: ReadonlyMap<string, number> = new Map([
  ['default', TABLE_DEFAULT],
  ['main', TABLE_MAIN],
  ['local', TABLE_LOCAL],
  ['unspec', 0],
])

export const DSFIELDS: ReadonlyMap<string, number> = new Map(
  (
    'default 0 AF11 40 AF12 48 AF13 56 AF21 72 AF22 80 AF23 88 AF31 104 AF32 112 AF33 120 AF41 136 AF42 144 ' +
    'AF43 152 CS1 32 CS2 64 CS3 96 CS4 128 CS5 160 CS6 192 CS7 224 EF 184'
  )
    .match(/\S+ \d+/g)!
    .map((pair) => [pair.split(' ')[0]!, Number(pair.split(' ')[1])]),
)

/** Decimal or 0x number; null if it is none or out of range. */
export function parseNumber(text: string, max: number): number | null {
  if (!/^(?:\d{1,10}|0[xX][0-9a-fA-F]{1,8})$/.test(text)) return null
  const value = Number(text)
  return value <= max ? value : null
}

const orNumber = (names: ReadonlyMap<string, number>, text: string, max: number): number | null =>
  names.get(text) ?? parseNumber(text, max)

export const parseScope = (text: string): number | null => orNumber(SCOPES, text, 255)
/** A name of /etc/protocols, icmpv6, or a number. */
export const parseIpProtocol = (text: string): number | null =>
  protocolByName(text === 'icmpv6' ? 'ipv6-icmp' : text) ?? parseNumber(text, 255)

/** rtnl_dsfield_a2n: a name or a number, hexadecimal with or without 0x; its two ECN bits must be 0 (INET_DSCP_MASK). */
export function parseTos(text: string): number | null {
  const named = DSFIELDS.get(text)
  if (named !== undefined) return named
  const tos = /^(?:0[xX])?[0-9a-fA-F]{1,2}$/.test(text) ? Number.parseInt(text, 16) : 1
  return (tos & 3) === 0 ? tos : null
}

/** The name, or the number as text; null if it is neither. */
export function parseRouteProtocol(text: string): string | null {
  if (PROTOCOL_NUMBERS.has(text)) return text
  return parseNumber(text, 255) === null ? null : text
}

/** Names of routing tables: iproute2's own, those of the folder's rt_tables, and any that a captured file uses. */
export class TableNames {
  readonly #numbers = new Map<string, number>(TABLES)
  /** Numbers for names whose number is not known: only whether two are the same matters. */
  #next = 0x7f00_0000

  /** Reads a file in the form of /etc/iproute2/rt_tables. */
  read(source: SourceFile): void {
    let offset = 0
    for (const line of source.text.split('\n')) {
      const words = line.replace(/#.*/, '').trim().split(/\s+/)
      if (words[0] !== '') {
        const number = parseNumber(words[0]!, 0xffff_ffff)
        if (number === null || words.length !== 2)
          throw new PlaceError('expected a table number and its name', source.placeAt(offset))
        this.#numbers.set(words[1]!, number)
      }
      offset += line.length + 1
    }
  }

  /** Null if the name is unknown. */
  parse(text: string): number | null {
    return this.#numbers.get(text) ?? parseNumber(text, 0xffff_ffff)
  }

  /** A name that a real host printed: an unknown one gets a number of its own. */
  captured(text: string): number {
    const known = this.parse(text)
    if (known !== null) return known
    this.#numbers.set(text, this.#next)
    return this.#next++
  }
}

const RESERVED_NAMES = ['.', '..', 'all', 'default']

/** dev_valid_name: 1 to 15 bytes, no slash, colon or blank; and none that would clash with a sysctl's. */
export function validInterfaceName(name: string): boolean {
  return Buffer.byteLength(name) <= 15 && /^[^\s/:]+$/.test(name) && !RESERVED_NAMES.includes(name)
}

/** check_altifname(): 1 to 127 bytes (ALTIFNAMSIZ) without slash and blank. */
export const validAltName = (name: string): boolean =>
  Buffer.byteLength(name) <= 127 && /^[^\s/]+$/.test(name)
