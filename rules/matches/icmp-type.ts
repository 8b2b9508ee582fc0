// What icmp and icmp6 share: types and codes by name or number (libipt_icmp and libip6t_icmp6 of iptables 1.8.9,
// icmp_match() and icmp6_match() of xt_tcpudp.c).

import type { Code, Js } from '../compile/template.ts'
import { OptionError } from '../options.ts'
import { strtoul } from '../text/numbers.ts'
import { abbreviates, inRange } from './parts.ts'

export interface Icmp {
  /** 255 of ICMP: any. */
  readonly type: number
  readonly codeMin: number
  readonly codeMax: number
  readonly invert: boolean
}

export type IcmpName = readonly [name: string, type: number, codeMin: number, codeMax: number]
export const all = (name: string, type: number): IcmpName => [name, type, 0, 0xff]
export const one = (name: string, type: number, code: number): IcmpName => [name, type, code, code]

/** `called`: ICMP, ICMPv6, as complaints say it. */
export function parseType(text: string, names: readonly IcmpName[], called: string): Omit<Icmp, 'invert'> {
  let found: IcmpName | null = null
  for (const name of names) {
    if (!abbreviates(text, name[0])) continue
    if (found !== null)
      throw new OptionError(`Ambiguous ${called} type \`${text}': \`${found[0]}' or \`${name[0]}'?`)
    found = name
  }
  if (found !== null) return { type: found[1], codeMin: found[2], codeMax: found[3] }
  // A range of types is read, and refused; one of codes is taken.
  const slash = text.indexOf('/')
  const types = readRange(slash < 0 ? text : text.slice(0, slash))
  if (types === null) throw new OptionError(`Unknown ${called} type \`${text}'`)
  if (types.rest !== '') throw new OptionError(`unknown character ${types.rest[0]}`)
  if (types.ranged) throw new OptionError(`${called} type range not supported`)
  if (slash < 0) return { type: types.min, codeMin: 0, codeMax: 0xff }
  const codes = readRange(text.slice(slash + 1))
  if (codes === null) throw new OptionError(`Unknown ${called} code \`${text}'`)
  if (codes.rest !== '') throw new OptionError(`unknown character ${codes.rest[0]}`)
  return { type: types.min, codeMin: codes.min, codeMax: codes.max }
}

/** `n` or `n:m` of 0 to 255, and what is left of the text. */
function readRange(
  text: string,
): { readonly min: number; readonly max: number; readonly ranged: boolean; readonly rest: string } | null {
  const min = strtoul(text, 0, 0xff)
  if (min === null) return null
  if (text[min.end] !== ':')
    return { min: min.value, max: min.value, ranged: false, rest: text.slice(min.end) }
  const tail = text.slice(min.end + 1)
  const max = strtoul(tail, 0, 0xff)
  return max === null ? null : { min: min.value, max: max.value, ranged: true, rest: tail.slice(max.end) }
}

export const allCodes = (m: Icmp): boolean => m.codeMin === 0 && m.codeMax === 0xff

/** The part of a listing; `protocol`: what it begins with. */
export function listType(m: Icmp, numeric: boolean, names: readonly IcmpName[], protocol: string): string {
  const name = numeric
    ? undefined
    : names.find(([, type, min, max]) => type === m.type && min === m.codeMin && max === m.codeMax)
  if (name !== undefined) return `${protocol} ${m.invert ? '!' : ''}${name[0]}`
  const codes =
    m.codeMin === m.codeMax ? ` code ${m.codeMin}` : allCodes(m) ? '' : ` codes ${m.codeMin}-${m.codeMax}`
  return `${protocol}${m.invert ? ' !' : ''}type ${m.type}${codes}`
}

/** Type and code of a packet whose header is there. */
export function emitType(m: Icmp, js: Js): Code {
  const bytes = js.bind(js.env.host.memory.bytes)
  const type = js`${bytes}[pkt.l4] === ${m.type}`
  return allCodes(m)
    ? type
    : js`${type} && ${inRange(js`${bytes}[pkt.l4 + 1]`, [m.codeMin, m.codeMax], 0xff, false, js)}`
}
