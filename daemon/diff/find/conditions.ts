// What a rule asks of a packet, as conditions on single fields: each can be tested, and has values at its edges, inside
// and outside. Read from the rule's printed form, which is the same however it was written.
//
//     -d 10.1.0.0/24 --dport 80:90   ▶  dst: 10.1.0.0, 10.1.0.255 | 10.0.255.255, 10.1.1.0
//                                       dport: 80, 90 | 79, 91

import type { Family } from '../../../datapath/packet.ts'
import type { Rule } from '../../../rules/model.ts'
import { formatAddress } from '../../../rules/text/address.ts'
import { splitWords } from '../../../rules/text/line.ts'
import { saveRule } from '../../../rules/text/print.ts'
import { protocolByName } from '../../../rules/text/services.ts'
import { parseEither } from '../../host-folder/address.ts'
import { readIcmpType, readTcpFlags } from '../../words/vocabulary.ts'

/** Fields of a packet that can be chosen. Addresses are bigints, names texts, the rest numbers. */
export type Field =
  | 'src'
  | 'dst'
  | 'sport'
  | 'dport'
  | 'protocol'
  | 'in'
  | 'out'
  | 'mark'
  | 'flags'
  | 'icmp'
  | 'state'
  | 'length'
  | 'ttl'
  | 'tos'
  | 'fragment'
export type Value = bigint | number | string

export interface Condition {
  readonly field: Field
  fits(value: Value): boolean
  /** Values at the edges: that fit, and that do not. */
  readonly inside: readonly Value[]
  readonly outside: readonly Value[]
}

/** Conditions of which one list must hold: members of a set. */
export interface Choice {
  readonly members: readonly (readonly Condition[])[]
}

export interface Asked {
  readonly conditions: readonly Condition[]
  readonly choices: readonly Choice[]
  /** Random draws that must miss so that another rule is reached, if this one asks for luck. */
  readonly luck: boolean
}

/** What conditions cannot say by themselves. */
export interface World {
  /** Members of a set, as lists of conditions for the directions `src,dst`; the most telling first. */
  members(set: string, directions: readonly string[], family: Family): readonly (readonly Condition[])[]
  /** Addresses of a type (`--dst-type LOCAL`), and others. */
  typed(types: readonly string[], family: Family): { inside: readonly bigint[]; outside: readonly bigint[] }
  isTyped(address: bigint, types: readonly string[]): boolean
  readonly devices: readonly string[]
}

export const negated = (c: Condition): Condition => ({
  field: c.field,
  fits: (value) => !c.fits(value),
  inside: c.outside,
  outside: c.inside,
})

const range = (field: Field, low: number, high: number, max: number): Condition => ({
  field,
  fits: (value) => Number(value) >= low && Number(value) <= high,
  inside: low === high ? [low] : [low, high],
  outside: [...(low > 0 ? [low - 1] : []), ...(high < max ? [high + 1] : [])],
})

/** Any of several. */
function any(field: Field, parts: readonly Condition[]): Condition {
  const fits = (value: Value): boolean => parts.some((part) => part.fits(value))
  return {
    field,
    fits,
    inside: parts.flatMap((part) => part.inside),
    outside: parts.flatMap((part) => part.outside).filter((value) => !fits(value)),
  }
}

export const bitsOf = (family: Family): number => (family === 4 ? 32 : 128)

export function toBig(text: string): bigint | null {
  const parsed = parseEither(text)
  if (parsed === null) return null
  const { family, words } = parsed
  if (family === 4) return BigInt(words[0] >>> 0)
  return words.reduce((sum, word) => (sum << 32n) | BigInt(word >>> 0), 0n)
}

export function toText(value: bigint, family: Family): string {
  const word = (shift: number): number => Number((value >> BigInt(shift)) & 0xffffffffn) | 0
  return formatAddress(family === 4 ? [word(0), 0, 0, 0] : [word(96), word(64), word(32), word(0)], family)
}

export function addresses(field: 'src' | 'dst', low: bigint, high: bigint, family: Family): Condition {
  const max = (1n << BigInt(bitsOf(family))) - 1n
  // The first address of a network is seldom a host's: it comes after the others.
  const inside = low === high ? [low] : high - low > 2n ? [low + 1n, high, low] : [low, high]
  return {
    field,
    fits: (value) => (value as bigint) >= low && (value as bigint) <= high,
    inside,
    outside: [...(high < max ? [high + 1n] : []), ...(low > 0n ? [low - 1n] : [])],
  }
}

/** `10.0.0.0/8`, `10.0.0.1`, `10.0.0.0/255.0.255.0`. */
export function prefix(field: 'src' | 'dst', text: string, family: Family): Condition | null {
  const [address, length] = text.split('/') as [string, string | undefined]
  const base = toBig(address)
  if (base === null) return null
  const bits = bitsOf(family)
  if (length !== undefined && !/^\d+$/.test(length)) {
    const mask = toBig(length)
    if (mask === null) return null
    const all = (1n << BigInt(bits)) - 1n
    return {
      field,
      fits: (value) => ((value as bigint) & mask) === (base & mask),
      inside: [base & mask, (base & mask) | (all & ~mask)],
      outside: [(base ^ (mask & -mask)) & all],
    }
  }
  const host = BigInt(bits - (length === undefined ? bits : Number(length)))
  const low = (base >> host) << host
  return addresses(field, low, low + (1n << host) - 1n, family)
}

function ports(field: 'sport' | 'dport', text: string): Condition {
  return any(
    field,
    text.split(',').map((part) => {
      const [low, high = low] = part.split(':').map(Number) as [number, number?]
      return range(field, low, high!, 65535)
    }),
  )
}

const equals = (field: Field, value: Value, others: readonly Value[]): Condition => ({
  field,
  fits: (v) => v === value,
  inside: [value],
  outside: others.filter((other) => other !== value),
})

function device(field: 'in' | 'out', name: string, devices: readonly string[]): Condition {
  const fits = (value: Value): boolean =>
    name.endsWith('+') ? String(value).startsWith(name.slice(0, -1)) : value === name
  return { field, fits, inside: devices.filter(fits), outside: devices.filter((d) => !fits(d)) }
}

function masked(field: 'mark' | 'tos' | 'flags', value: number, mask: number): Condition {
  const bit = mask & -mask
  return {
    field,
    fits: (v) => (Number(v) & mask) >>> 0 === (value & mask) >>> 0,
    inside: [(value & mask) >>> 0],
    outside: [((value ^ bit) & 0xffffffff) >>> 0, 0].filter((v) => ((v & mask) ^ (value & mask)) !== 0),
  }
}

const PROTOCOLS = [6, 17, 1, 58, 132, 47]

/** The options of a rule that speak of fields; others (comment, limit, recent …) are for luck to meet. */
export function conditionsOf(rule: Rule, family: Family, world: World): Asked {
  const words: string[] = []
  splitWords(saveRule('X', rule, family), 0, words)
  const conditions: Condition[] = []
  const choices: Choice[] = []
  let luck = false
  let match = ''
  for (let i = 0; i < words.length; i++) {
    const word = words[i]!
    if (word === '-j' || word === '-g') break
    if (word === '-m') {
      match = words[++i] ?? ''
      if (match === 'statistic') luck = true
      continue
    }
    if (!word.startsWith('-')) continue
    const inverted = words[i - 1] === '!'
    const value = words[i + 1] ?? ''
    if (word === '--match-set') {
      const members = world.members(value, (words[i + 2] ?? 'src').split(','), family)
      if (members.length > 0 && !inverted) choices.push({ members })
      continue
    }
    const found = option(word, value, words[i + 2] ?? '', match, family, world)
    if (found !== null) conditions.push(inverted ? negated(found) : found)
  }
  return { conditions, choices, luck }
}

const STATES = ['NEW', 'ESTABLISHED', 'RELATED', 'INVALID', 'UNTRACKED']

function option(
  name: string,
  value: string,
  second: string,
  match: string,
  family: Family,
  world: World,
): Condition | null {
  switch (name) {
    case '-s':
      return prefix('src', value, family)
    case '-d':
      return prefix('dst', value, family)
    case '-i':
      return device('in', value, world.devices)
    case '-o':
      return device('out', value, world.devices)
    case '-p': {
      const number = /^\d+$/.test(value) ? Number(value) : (protocolByName(value) ?? -1)
      return number < 0 ? null : equals('protocol', number, PROTOCOLS)
    }
    case '-f':
      return equals('fragment', 1, [0])
    case '--sport':
    case '--sports':
      return ports('sport', value)
    case '--dport':
    case '--dports':
    case '--ports':
      return ports('dport', value)
    case '--src-range':
    case '--dst-range': {
      const [low, high = low] = value.split('-').map(toBig)
      if (low == null || high == null) return null
      return addresses(name === '--src-range' ? 'src' : 'dst', low, high, family)
    }
    case '--tcp-flags': {
      const bits = (text: string): number => (text === 'NONE' ? 0 : (readTcpFlags(text.toLowerCase()) ?? 0))
      return masked('flags', bits(second), bits(value))
    }
    case '--icmp-type':
    case '--icmpv6-type': {
      const found = /^(\d+)(?:\/(\d+))?$/.exec(value)
      const type = found
        ? { type: Number(found[1]), code: Number(found[2] ?? 0) }
        : readIcmpType(value, family)
      if (type === null) return null
      const exact = found?.[2] !== undefined
      return {
        field: 'icmp',
        fits: (v) => (exact ? Number(v) === type.type * 256 + type.code : Number(v) >> 8 === type.type),
        inside: [type.type * 256 + type.code],
        outside: [(type.type === 8 ? 13 : 8) * 256, type.type * 256 + ((type.code + 1) & 255)],
      }
    }
    case '--ctstate':
    case '--state': {
      const states = value.split(',')
      return {
        field: 'state',
        fits: (v) => states.includes(String(v)),
        inside: states,
        outside: STATES.filter((state) => !states.includes(state)),
      }
    }
    case '--mark': {
      if (match !== 'mark') return null
      const [wanted = 0, mask = 0xffffffff] = value.split('/').map(Number)
      return masked('mark', wanted, mask)
    }
    case '--length': {
      const [low, high] = value.split(':').map(Number) as [number, number?]
      return range('length', low, high ?? low, 1500)
    }
    case '--ttl-eq':
    case '--hl-eq':
      return range('ttl', Number(value), Number(value), 255)
    case '--ttl-lt':
    case '--hl-lt':
      return range('ttl', 0, Number(value) - 1, 255)
    case '--ttl-gt':
    case '--hl-gt':
      return range('ttl', Number(value) + 1, 255, 255)
    case '--dscp':
      return masked('tos', Number(value) << 2, 0xfc)
    case '--tos': {
      const [wanted = 0, mask = 0xff] = value.split('/').map(Number)
      return masked('tos', wanted, mask)
    }
    case '--dst-type':
    case '--src-type': {
      const types = value.split(',')
      return {
        field: name === '--dst-type' ? 'dst' : 'src',
        fits: (v) => world.isTyped(v as bigint, types),
        ...world.typed(types, family),
      }
    }
    default:
      return null
  }
}
