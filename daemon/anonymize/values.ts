// Values of options as rules print them: what an option says that it holds (OptionSpec.holds) is found, kept whole where
// that needs something of the mapping, and mapped. A new kind is one line in KINDS.

import type { Family } from '../../datapath/packet.ts'
import type { BaseMatch } from '../../rules/model.ts'
import type { Holds, OptionSpec } from '../../rules/options.ts'
import {
  formatAddress,
  maskWords,
  parseAddress,
  prefixLength,
  prefixMask,
  type Words,
} from '../../rules/text/address.ts'
import { splitWords } from '../../rules/text/line.ts'
import { saveString } from '../../rules/text/quote.ts'
import { textOf } from '../bytes.ts'
import { commonLength, maskBehind } from './addresses.ts'
import type { Mapping } from './mapping.ts'

/** The rule that a value stands in. */
export interface Within {
  readonly mapping: Mapping
  readonly family: Family
  readonly chain: string
  readonly base: BaseMatch
  /** FILE:LINE:COLUMN */
  readonly where: string
}

interface Kind {
  /** Has the mapping keep what the value needs; before anything is mapped. */
  freeze?(text: string, within: Within): void
  map(text: string, within: Within, flag: string): string
}

const ANY: Words = [0, 0, 0, 0]

/** Of a range that leaves so few bits to the mapping people should know. */
const FEW: Readonly<Record<Family, number>> = { 4: 16, 6: 48 }

interface Network {
  readonly words: Words
  readonly mask: Words
  /** What stands behind the slash, with it. */
  readonly suffix: string
}

function readNetwork(text: string, family: Family): Network | null {
  const slash = text.indexOf('/')
  const words = parseAddress(slash < 0 ? text : text.slice(0, slash), family)
  if (words === null) return null
  if (slash < 0) return { words, mask: prefixMask(family === 4 ? 32 : 128, family), suffix: '' }
  const behind = text.slice(slash + 1)
  const mask = /^\d+$/.test(behind) ? prefixMask(Number(behind), family) : parseAddress(behind, family)
  return mask === null ? null : { words, mask, suffix: text.slice(slash) }
}

/** Bits of a mask that stand behind its first hole, and how long it is before that. */
function holes(mask: Words, family: Family): { length: number; behind: Words } {
  const whole = prefixLength(mask, family)
  if (whole >= 0) return { length: whole, behind: ANY }
  const length = commonLength(mask, [-1, -1, -1, -1])
  return { length, behind: maskWords(mask, maskBehind(length)) }
}

/** Keeps what an address and its mask ask: bits behind a hole of the mask. */
export function freezeNetwork(words: Words, mask: Words, within: Within): void {
  const { length, behind } = holes(mask, within.family)
  if (behind.every((word) => word === 0)) return
  within.mapping.addresses.hold(within.family, words, length, behind)
  tellHeld(words, length, behind, 'a mask with holes', within)
}

export function mapNetwork(words: Words, mask: Words, within: Within): Words {
  const { addresses } = within.mapping
  const whole = prefixLength(mask, within.family)
  return whole >= 0
    ? addresses.prefix(within.family, words, whole)
    : maskWords(addresses.map(within.family, words), mask)
}

function tellHeld(words: Words, length: number, bits: Words, why: string, within: Within): void {
  if (length >= FEW[within.family]) return
  const network = formatAddress(maskWords(words, prefixMask(length, within.family)), within.family)
  let count = 0
  for (const word of within.family === 4 ? bits.slice(0, 1) : bits)
    for (let left = word; left !== 0; left &= left - 1) count++
  within.mapping.remark(within.where, `${why}: all addresses of ${network}/${length} keep ${count} bits`)
}

/** From one address to another, as `span` of the mapping has it. */
export function freezeSpan(min: Words, max: Words, within: Within): void {
  const length = within.mapping.addresses.span(within.family, min, max)
  if (length !== null) tellHeld(min, length, maskBehind(length), 'a range', within)
}

const network: Kind = {
  freeze(text, within) {
    const found = readNetwork(text, within.family)
    if (found !== null) freezeNetwork(found.words, found.mask, within)
  },
  map(text, within) {
    const found = readNetwork(text, within.family)
    if (found === null) return lost(text, within)
    return formatAddress(mapNetwork(found.words, found.mask, within), within.family) + found.suffix
  },
}

/** A value that is not what its option says it holds would be told as it is. */
function lost(text: string, { where }: Within): never {
  throw new Error(`${where}: cannot read "${text}"`)
}

function readRange(text: string, family: Family): readonly [Words, Words] | null {
  const [from = '', to = from] = text.split('-')
  const min = parseAddress(from, family)
  const max = parseAddress(to, family)
  return min === null || max === null ? null : [min, max]
}

const range: Kind = {
  freeze(text, within) {
    const found = readRange(text, within.family)
    if (found !== null) freezeSpan(found[0], found[1], within)
  },
  map(text, within) {
    const found = readRange(text, within.family) ?? lost(text, within)
    const [min, max] = within.mapping.addresses.range(within.family, found[0], found[1])
    const first = formatAddress(min, within.family)
    return text.includes('-') ? `${first}-${formatAddress(max, within.family)}` : first
  },
}

/** Addresses of a NAT range, and what stands around them. */
function natAddresses(text: string, family: Family): readonly [string, string, string] {
  const bracket = /^(\[)([^\]]*)(\].*)$/.exec(text)
  if (bracket !== null) return [bracket[1]!, bracket[2]!, bracket[3]!]
  if (family === 6) return text.startsWith(':') && !text.startsWith('::') ? ['', '', text] : ['', text, '']
  const colon = text.indexOf(':')
  return colon < 0 ? ['', text, ''] : ['', text.slice(0, colon), text.slice(colon)]
}

const KINDS: Readonly<Record<Exclude<Holds, `name ${string}`> | 'name', Kind>> = {
  address: network,
  addresses: {
    map: (text, within, flag) =>
      text
        .split(',')
        .map((one) => network.map(one, within, flag))
        .join(),
  },
  range,
  'nat range': {
    freeze(text, within) {
      const [, addresses] = natAddresses(text, within.family)
      if (addresses !== '') range.freeze!(addresses, within)
    },
    map(text, within, flag) {
      const [before, addresses, behind] = natAddresses(text, within.family)
      return before + (addresses === '' ? '' : range.map(addresses, within, flag)) + behind
    },
  },
  netmap: {
    // Host parts are carried over from the addresses that come to those of the network: both keep them.
    freeze(text, within) {
      const found = readNetwork(text, within.family)
      if (found === null) return
      const length = Math.max(prefixLength(found.mask, within.family), 0)
      const hosts = maskBehind(length)
      const { addresses } = within.mapping
      addresses.hold(within.family, found.words, length, hosts)
      const { source, destination } = within.base
      const incoming = ['PREROUTING', 'OUTPUT'].includes(within.chain)
      const outgoing = ['POSTROUTING', 'INPUT'].includes(within.chain)
      const asked = incoming ? [destination] : outgoing ? [source] : [source, destination]
      for (const one of asked) {
        const of =
          one === null || one.invert
            ? 0
            : Math.min(Math.max(prefixLength(one.mask, within.family), 0), length)
        const words = of === 0 ? ANY : one!.words
        addresses.hold(within.family, words, of, hosts)
        tellHeld(words, of, hosts, 'NETMAP', within)
      }
    },
    map: network.map,
  },
  mask: {
    freeze(text, within) {
      const mask = parseAddress(text, within.family)
      if (mask !== null) freezeNetwork(ANY, mask, within)
    },
    map: (text) => text,
  },
  mac: { map: (text, { mapping }) => mapping.macText(text) },
  interface: { map: (text, { mapping }) => mapping.names.interface(textOf(text)) },
  set: { map: (text, { mapping }) => mapping.names.set(textOf(text)) },
  comment: { map: (text, { mapping }) => mapping.names.comment(textOf(text)) },
  'log prefix': { map: (text, { mapping }) => mapping.names.logPrefix(textOf(text)) },
  bytes: {
    map(text, { mapping, where }, flag) {
      if (mapping.keepPayload) {
        mapping.remark(where, `--${flag} is kept as it is: it may tell something`)
        return text
      }
      mapping.remark(where, `--${flag} looks for other bytes now, and captures have none left to find`)
      return otherBytes(text, mapping)
    },
  },
  program: {
    map(text, { mapping, where }, flag) {
      mapping.remark(
        where,
        `--${flag} looks into packets and is kept as it is: it may tell something, and miss what is mapped`,
      )
      return text
    },
  },
  name: { map: lost },
}

/** As many bytes; of a hexadecimal string as many in hexadecimal. */
function otherBytes(text: string, mapping: Mapping): string {
  const drawn = mapping.prf.once(`pattern\0${text}`)
  let at = 0
  let hex = false
  return [...text]
    .map((letter) => {
      const byte = drawn[at++ % drawn.length]!
      if (letter === '|') hex = !hex
      if (letter === '|' || letter === ' ') return letter
      return hex ? '0123456789abcdef'[byte & 15]! : 'abcdefghijklmnopqrstuvwxyz'[byte % 26]!
    })
    .join('')
}

/** What the option's value holds, found by its words. Throws for words that belong to no option. */
function eachValue(
  text: string,
  options: readonly OptionSpec[],
  then: (value: string, spec: OptionSpec) => string,
): string {
  const words: string[] = []
  const columns: number[] = []
  splitWords(text, 0, words, columns)
  let out = ''
  let spec: OptionSpec | null = null
  let taken = 0
  for (const [i, word] of words.entries()) {
    let raw = text.slice(columns[i]! - 1, columns[i + 1] === undefined ? text.length : columns[i + 1]! - 1)
    if (spec !== null && taken < roomFor(spec, taken, word)) {
      if (taken++ === 0 && spec.holds !== undefined) {
        const end = /\s*$/.exec(raw)![0]
        raw = oneWord(then(word, spec)) + end
      }
    } else if (word.startsWith('--')) {
      const name = word.slice(2)
      spec = options.find(({ flag, aliases }) => flag === name || aliases?.includes(name) === true) ?? null
      taken = 0
      if (spec === null) throw new Error(`no option ${word} in "${text}"`)
    } else if (word !== '!') throw new Error(`no option takes "${word}" in "${text}"`)
    out += raw
  }
  return out
}

/** How many words an option takes; some none where another option or `!` follows. */
function roomFor({ arg }: OptionSpec, taken: number, word: string): number {
  const may = !/^[-!]/.test(word)
  if (arg === 'none') return 0
  if (arg === 'two') return taken === 0 || may ? 2 : 1
  return arg === 'next' || arg === 'optional' ? Number(may) : 1
}

/** As one word of the line. */
const oneWord = (text: string): string => (/^[\w.:/,[\]+|-]+$/.test(text) ? text : saveString(text))

const kindOf = (holds: Holds): Kind =>
  holds.startsWith('name ')
    ? { map: (text, { mapping }) => mapping.names.of(holds.slice(5), textOf(text)) }
    : KINDS[holds as keyof typeof KINDS]

/** Options as printed, with all values mapped. */
export function mapOptions(text: string, options: readonly OptionSpec[], within: Within): string {
  return eachValue(text, options, (value, { holds, flag }) => kindOf(holds!).map(value, within, flag))
}

/** Has the mapping keep what they need. */
export function freezeOptions(text: string, options: readonly OptionSpec[], within: Within): void {
  eachValue(text, options, (value, { holds }) => {
    kindOf(holds!).freeze?.(value, within)
    return value
  })
}
