// The short way for lines as iptables-save prints them: hundreds of thousands of `-A CHAIN …` at once. It knows the
// words before the first match, and takes each match and the target with their options as a whole: what their text
// meant once, it means again.
//
//     -A KUBE-SVC-X ! -s 10.244.0.0/16 -d 10.96.0.1/32 -p tcp -m comment --comment "…" -m tcp --dport 80 -j KUBE-MARK-MASQ
//        chain      base                                      segment                  segment           target
//
// Whatever it is not sure of it leaves to CommandParser: options cut short or not the extension's own, a match named
// twice, anything that iptables would refuse or warn of. It never decides what is wrong, only what is surely right.

import type { Family } from '../../datapath/packet.ts'
import type { Match, Target } from '../extension.ts'
import {
  type AddressMatch,
  type BaseMatch,
  type InterfaceMatch,
  type MatchUse,
  NO_BASE,
  type TargetUse,
} from '../model.ts'
import { needsOf } from '../needs.ts'
import { OptionError, ParsedOptions } from '../options.ts'
import { prefixMask, type Words } from './address.ts'
import { own, splitWords } from './line.ts'
import { type Loadable, MAX_NAME, type Registry, VERDICTS } from './registry.ts'
import { protocolNumber } from './services.ts'

const BLANK = 32
const QUOTE = 34
const DASH = 45
const DOT = 46
const SLASH = 47
/** Uses of an extension that are kept by their text: comments and the like come again, targets with addresses hardly ever. */
const MOST_MATCHES = 200_000
const MOST_TARGETS = 4096
const NO_WORDS: readonly string[] = []
const NO_MATCHES: readonly MatchUse[] = []
const ANY_PROTOCOL = { number: 0, invert: false }

/** Chains by name, for jumps: the name as the table holds it, or null. */
export interface ChainNames {
  chainName(name: string): string | null
  /** A jump to it, or null. */
  jumpTo(name: string): (TargetUse & { readonly kind: 'jump' }) | null
  isBuiltin(name: string): boolean
}

type Protocol = BaseMatch['protocol']

interface KnownMatch extends MatchUse {
  readonly needs: number
}

type KnownTarget = TargetUse & { readonly kind: 'extension'; readonly needs: number }

/** Masks of IPv4 prefixes, made once. */
const MASKS: readonly Words[] = Array.from({ length: 33 }, (_, bits) => prefixMask(bits, 4))

const STANDARD: ReadonlyMap<string, TargetUse> = new Map(
  [...VERDICTS].map((verdict) => [verdict, { kind: 'standard', verdict } as TargetUse]),
)
const NO_TARGET: TargetUse = { kind: 'none' }

export class FastLines {
  readonly #registry: Registry
  readonly #family: Family
  readonly #matches = new Map<string, Map<string, KnownMatch>>()
  readonly #targets = new Map<string, Map<string, KnownTarget>>()
  readonly #protocols = new Map<string, Protocol>()
  /** Rules without addresses and interfaces share their base. */
  readonly #plainBases = new Map<Protocol, BaseMatch>()

  /** What read() found. */
  chain = ''
  base: BaseMatch = NO_BASE
  matches: readonly MatchUse[] = NO_MATCHES
  target: TargetUse = NO_TARGET
  /** See Rule.needs. */
  needs = 0

  /** Of the line being read; what stands behind #count is of lines before. */
  readonly #found: MatchUse[] = []
  #count = 0
  #lastMemo: { protocol: Protocol; memo: Map<string, KnownMatch> } | null = null
  #source: AddressMatch | null = null
  #destination: AddressMatch | null = null
  #in: InterfaceMatch | null = null
  #out: InterfaceMatch | null = null
  #fragment: BaseMatch['fragment'] = null
  #protocol: Protocol = null

  constructor(registry: Registry, family: Family) {
    this.#registry = registry
    this.#family = family
  }

  /** Reads the line in `text` from `from` to `end` (its line end left out). False: ask CommandParser. */
  read(line: string, from: number, end: number, table: string, chains: ChainNames): boolean {
    if (line.charCodeAt(from) !== DASH || line[from + 1] !== 'A' || line.charCodeAt(from + 2) !== BLANK)
      return false
    let at = from + 3
    let stop = wordEnd(line, at, end)
    if (stop === at || stop - at > MAX_NAME) return false
    const start = line.charCodeAt(at)
    if (start === DASH || start === QUOTE || start === 33) return false
    if (stop - at !== this.chain.length || !line.startsWith(this.chain, at)) {
      // Not one of the table's: tabs or quotes stand in it, or the line fails.
      const name = chains.chainName(line.slice(at, stop))
      if (name === null) return false
      this.chain = name
    }
    this.#source = null
    this.#destination = null
    this.#in = null
    this.#out = null
    this.#fragment = null
    this.#protocol = null
    this.target = NO_TARGET
    this.needs = 0
    this.#count = 0
    at = stop + 1
    while (at < end) {
      let invert = false
      if (line.charCodeAt(at) === 33) {
        if (line.charCodeAt(at + 1) !== BLANK) return false
        invert = true
        at += 2
      }
      if (line.charCodeAt(at) !== DASH) return false
      const letter = line.charCodeAt(at + 1)
      if (letter === 102 /* f */) {
        if (this.#fragment !== null || this.#family === 6 || wordEnd(line, at, end) !== at + 2) return false
        this.#fragment = { invert }
        at += 3
        continue
      }
      if (line.charCodeAt(at + 2) !== BLANK) return false
      at += 3
      switch (letter) {
        case 115 /* s */:
        case 100 /* d */:
          {
            stop = wordEnd(line, at, end)
            const address = this.#family === 4 ? readNetwork(line, at, stop, invert) : undefined
            if (address === undefined) return false
            if (letter === 115) {
              if (this.#source !== null) return false
              this.#source = address
            } else {
              if (this.#destination !== null) return false
              this.#destination = address
            }
            break
          }
        case 105 /* i */:
        case 111 /* o */:
          {
            stop = wordEnd(line, at, end)
            const name = line.slice(at, stop)
            if (!/^[\w+.][\w+.-]{0,14}$/.test(name)) return false
            if (letter === 105) {
              if (this.#in !== null || this.chain === 'OUTPUT' || this.chain === 'POSTROUTING') return false
              this.#in = { name, invert }
            } else {
              if (this.#out !== null || this.chain === 'INPUT' || this.chain === 'PREROUTING') return false
              this.#out = { name, invert }
            }
            break
          }
        case 112 /* p */:
          {
            stop = wordEnd(line, at, end)
            if (this.#protocol !== null || !this.#readProtocol(line.slice(at, stop), invert)) return false
            break
          }
        case 109 /* m */:
          {
            if (invert) return false
            stop = segmentEnd(line, at, end)
            if (stop < 0) return false
            const memo = this.#matchMemo(this.#protocol)
            const text = line.slice(at, stop)
            const known = memo.get(text) ?? this.#parseMatch(text, memo)
            if (known === null) return false
            const found = this.#found
            for (let i = 0; i < this.#count; i++) if (found[i]!.match === known.match) return false
            found[this.#count++] = known
            this.needs |= known.needs
            break
          }
        case 106 /* j */:
          if (invert) return false
          if (!this.#readTarget(line, at, end, table, chains)) return false
          stop = end
          break
        case 103 /* g */:
          {
            if (invert || wordEnd(line, at, end) !== end) return false
            const name = chains.chainName(line.slice(at, end))
            if (name === null || chains.isBuiltin(name)) return false
            this.target = { kind: 'goto', chain: name }
            stop = end
            break
          }
        default:
          return false
      }
      at = stop + 1
    }
    this.matches = this.#matchesFound()
    this.base = this.#makeBase()
    return true
  }

  /** In an array no larger than need be: there are many of these. */
  #matchesFound(): readonly MatchUse[] {
    const found = this.#found
    switch (this.#count) {
      case 0:
        return NO_MATCHES
      case 1:
        return [found[0]!]
      case 2:
        return [found[0]!, found[1]!]
      default:
        return found.slice(0, this.#count)
    }
  }

  /** A match with its options, each spelled in full; null if it takes CommandParser to read it. */
  #parseMatch(text: string, memo: Map<string, KnownMatch>): KnownMatch | null {
    const words: string[] = []
    splitWords(text, 0, words)
    const loaded = this.#registry.match(words[0]!, this.#family)
    const parsed = loaded === null ? null : this.#parse(loaded, words)
    if (parsed === null) return null
    const { extension } = loaded!
    const { data } = parsed
    const known = { match: extension, data, needs: needsOf(extension, data, this.#protocol) }
    return remember(memo, text, known, MOST_MATCHES)
  }

  /** The same for a target. */
  #parseTarget(text: string, memo: Map<string, KnownTarget>): KnownTarget | null {
    const words: string[] = []
    splitWords(text, 0, words)
    const name = words[0]!
    const loaded = this.#registry.target(name, this.#family)
    const parsed = loaded === null ? null : this.#parse(loaded, words)
    if (parsed === null) return null
    const { extension } = loaded!
    const { data } = parsed
    const needs = needsOf(extension, data, this.#protocol)
    const known: KnownTarget = { kind: 'extension', target: extension, data, needs }
    return remember(memo, text, known, MOST_TARGETS)
  }

  #parse<E extends Match | Target>(loaded: Loadable<E>, words: readonly string[]): { data: unknown } | null {
    const options = loaded.extension.loadRemark === undefined ? this.#options(loaded, words) : null
    if (options === null) return null
    try {
      const data: unknown = loaded.extension.parse(options)
      options.check()
      return options.warnings + options.wholeWarnings === '' ? { data } : null
    } catch (error) {
      if (error instanceof OptionError) return null
      throw error
    }
  }

  #options(loaded: Loadable, words: readonly string[]): ParsedOptions | null {
    const { number, invert } = this.#protocol ?? ANY_PROTOCOL
    const options = new ParsedOptions(loaded.extension, this.#family, number, invert)
    let inverted = false
    for (let i = 1; i < words.length; i++) {
      const word = words[i]!
      if (word === '!' && !inverted) {
        inverted = true
        continue
      }
      const spec = word.startsWith('--') ? loaded.long.get(word.slice(2)) : undefined
      if (spec === undefined || (spec.arg !== undefined && spec.arg !== 'none' && spec.arg !== 'required'))
        return null
      if (inverted && spec.invertible !== true) return null
      if (spec.multiple !== true && options.has(spec.flag)) return null
      const value = spec.arg === 'none' ? NO_WORDS : [own(words[++i] ?? '')]
      if (i >= words.length) return null
      options.add(spec, inverted, value)
      inverted = false
    }
    return inverted ? null : options
  }

  #makeBase(): BaseMatch {
    const protocol = this.#protocol
    if (
      this.#source === null &&
      this.#destination === null &&
      this.#in === null &&
      this.#out === null &&
      this.#fragment === null
    ) {
      let base = this.#plainBases.get(protocol)
      if (base === undefined) {
        base = { ...NO_BASE, protocol }
        this.#plainBases.set(protocol, base)
      }
      return base
    }
    return {
      source: this.#source === ANY ? null : this.#source,
      destination: this.#destination === ANY ? null : this.#destination,
      inInterface: this.#in,
      outInterface: this.#out,
      protocol,
      fragment: this.#fragment,
    }
  }

  #readProtocol(text: string, invert: boolean): boolean {
    const key = invert ? `!${text}` : text
    let protocol = this.#protocols.get(key)
    if (protocol === undefined) {
      const number = /^[a-z0-9.-]+$/.test(text) ? protocolNumber(text) : null
      if (number === null || number === 0 || (this.#family === 6 && [43, 44, 51, 60].includes(number)))
        return false
      protocol = { number, invert }
      this.#protocols.set(own(key), protocol)
    }
    this.#protocol = protocol
    return true
  }

  #readTarget(line: string, at: number, end: number, table: string, chains: ChainNames): boolean {
    const text = line.slice(at, end)
    if (wordEnd(line, at, end) === end) {
      const verdict = STANDARD.get(text)
      if (verdict !== undefined) {
        this.target = verdict
        return table !== 'nat' || text !== 'DROP'
      }
      const jump = chains.jumpTo(text)
      if (jump !== null) {
        if (chains.isBuiltin(jump.chain) || this.#registry.isTargetName(jump.chain, this.#family))
          return false
        this.target = jump
        return true
      }
    }
    if (segmentEnd(line, at, end) !== end) return false
    const memo = memoOf(this.#targets, this.#protocol)
    const known = memo.get(text) ?? this.#parseTarget(text, memo)
    if (known === null || chains.chainName(known.target.name) !== null) return false
    this.target = known
    this.needs |= known.needs
    return true
  }

  #matchMemo(protocol: Protocol): Map<string, KnownMatch> {
    if (this.#lastMemo !== null && this.#lastMemo.protocol === protocol) return this.#lastMemo.memo
    const memo = memoOf(this.#matches, protocol)
    this.#lastMemo = { protocol, memo }
    return memo
  }
}

function remember<V>(memo: Map<string, V>, text: string, value: V, most: number): V {
  if (memo.size >= most) memo.clear()
  // The memo lives no longer than the text that this is cut from.
  memo.set(text, value)
  return value
}

function memoOf<V>(memos: Map<string, Map<string, V>>, protocol: Protocol): Map<string, V> {
  const key = protocol === null ? '' : `${protocol.invert ? '!' : ''}${protocol.number}`
  let memo = memos.get(key)
  if (memo === undefined) {
    memo = new Map()
    memos.set(key, memo)
  }
  return memo
}

/** Index of the next blank, or `end`. */
function wordEnd(line: string, at: number, end: number): number {
  const blank = line.indexOf(' ', at)
  return blank < 0 || blank > end ? end : blank
}

/** Where the options of a match end: at ` -m `, ` -j ` or ` -g ` outside of quotes. -1: a quote stays open. */
function segmentEnd(line: string, from: number, end: number): number {
  let quoted = false
  for (let at = from; at < end; at++) {
    const c = line.charCodeAt(at)
    if (c === QUOTE) quoted = !quoted
    else if (c === 92 && quoted) at++
    else if (
      c === BLANK &&
      !quoted &&
      line.charCodeAt(at + 1) === DASH &&
      line.charCodeAt(at + 3) === BLANK
    ) {
      const letter = line.charCodeAt(at + 2)
      if (letter === 109 || letter === 106 || letter === 103) return at
    }
  }
  return quoted ? -1 : end
}

/** Given, but the same as not given: 0.0.0.0/0. */
const ANY: AddressMatch = { words: MASKS[0]!, mask: MASKS[0]!, invert: false }

/** Its words are made when somebody asks: most rules have such addresses, and few are looked at before the next restore. */
class Ipv4Match implements AddressMatch {
  readonly word: number
  readonly mask: Words
  readonly invert: boolean

  constructor(word: number, mask: Words, invert: boolean) {
    this.word = word
    this.mask = mask
    this.invert = invert
  }

  get words(): Words {
    return [this.word, 0, 0, 0]
  }
}

/** `a.b.c.d` or `a.b.c.d/n`, without superfluous zeros; undefined for anything else. */
function readNetwork(line: string, from: number, end: number, invert: boolean): AddressMatch | undefined {
  let word = 0
  let value = -1
  let parts = 0
  let at = from
  for (; at < end; at++) {
    const c = line.charCodeAt(at)
    if (c >= 48 && c <= 57) {
      if (value === 0) return undefined
      value = value < 0 ? c - 48 : value * 10 + c - 48
      if (value > 255) return undefined
    } else if (c === DOT && value >= 0 && parts < 3) {
      word = (word << 8) | value
      parts++
      value = -1
    } else if (c === SLASH) break
    else return undefined
  }
  if (parts !== 3 || value < 0) return undefined
  word = (word << 8) | value
  let bits = 32
  if (at < end) {
    const tens = line.charCodeAt(at + 1) - 48
    if (!(tens >= 0 && tens <= 9)) return undefined
    bits = tens
    if (end === at + 3) {
      const ones = line.charCodeAt(at + 2) - 48
      if (tens === 0 || !(ones >= 0 && ones <= 9)) return undefined
      bits = tens * 10 + ones
    } else if (end !== at + 2) return undefined
    if (bits > 32) return undefined
  }
  if (bits === 0 && !invert) return ANY
  const mask = MASKS[bits]!
  return new Ipv4Match(word & mask[0], mask, invert)
}
