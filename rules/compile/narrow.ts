// What a rule asks of a packet's addresses, protocol, ports, interfaces and mark, as far as a look-up can use it.
//
//     rule ─ base: -s -d -p -i -o ─ matches in order, while being asked has no effect of its own ─▶ Narrow
//
// Never narrower than the truth, wider at will: a rule that is found is asked in full.

import type { Family } from '../../datapath/packet.ts'
import type { Fact, Match } from '../extension.ts'
import type { AddressMatch, BaseMatch, Rule } from '../model.ts'

/** From and to, both included. */
export type PortRange = readonly [number, number]

/** The first `length` bits of an address; signed 32-bit words, of which IPv4 has one. */
export interface Prefix {
  readonly words: readonly number[]
  readonly length: number
}

/** What one match tells of the packets that it may fit; absent: nothing. */
export interface Narrowing {
  readonly source?: Prefix
  readonly destination?: Prefix
  readonly sports?: readonly PortRange[]
  readonly dports?: readonly PortRange[]
  readonly mark?: { readonly value: number; readonly mask: number }
}

export interface Narrow {
  readonly source: Prefix | null
  readonly destination: Prefix | null
  /** 0: any. */
  readonly protocol: number
  /** Each port it may have; null: any. */
  readonly sports: readonly number[] | null
  readonly dports: readonly number[] | null
  /** Exact names. */
  readonly inInterface: string | null
  readonly outInterface: string | null
  readonly mark: { readonly value: number; readonly mask: number } | null
}

/** Entries that a rule may take in tables of exact ports. */
const MOST_PORTS = 16

/** Asking for these changes nothing. */
const PURE: ReadonlySet<Fact> = new Set<Fact>([
  'source',
  'destination',
  'protocol',
  'ports',
  'in',
  'out',
  'fragment',
  'mark',
  'connmark',
  'ctstate',
  'conntrack',
  'icmp',
  'tcp',
  'length',
  'tos',
  'ttl',
  'options',
  'payload',
  'pkttype',
  'fib',
])

/** What stands behind a match with effects is looked at only if that one has fitted, and the effects count on it. */
function hasNoEffect(match: Match, data: unknown): boolean {
  if (match.hotdrop === true && (match.narrows === undefined || match.dropsWhole?.(data) === true))
    return false
  const reads = typeof match.reads === 'function' ? match.reads(data) : match.reads
  return reads.every((fact) => PURE.has(fact))
}

/** Length of a mask without holes, -1 for one with holes. */
function prefixLength(mask: readonly number[]): number {
  let length = 0
  let ended = false
  for (const word of mask) {
    const ones = Math.clz32(~word)
    if (ended ? word !== 0 : ones < 32 && word << ones !== 0) return -1
    if (!ended) length += ones
    if (ones < 32) ended = true
  }
  return length
}

/** Null: none that helps. An address with bits beyond its mask fits nothing; the rule itself will say so. */
function prefixOf(on: AddressMatch | null, family: Family): Prefix | null {
  if (on === null || on.invert) return null
  const words = family === 4 ? 1 : 4
  const length = prefixLength(on.mask.slice(0, words))
  return length <= 0 ? null : { words: on.words.slice(0, words), length }
}

/** The prefix that two addresses and all between them share. */
export function commonPrefix(from: readonly number[], to: readonly number[]): Prefix {
  let length = 0
  for (let i = 0; i < from.length; i++) {
    const same = Math.clz32(from[i]! ^ to[i]!)
    length += same
    if (same < 32) break
  }
  return { words: from, length }
}

const longer = (a: Prefix | null, b: Prefix | undefined, most: number): Prefix | null => {
  if (b === undefined || b.length === 0) return a
  const length = Math.min(b.length, most)
  return a !== null && a.length >= length ? a : { words: b.words, length }
}

const exactName = (on: BaseMatch['inInterface']): string | null =>
  on === null || on.invert || on.name.endsWith('+') ? null : on.name

function portsOf(ranges: readonly PortRange[] | undefined): number[] | null {
  if (ranges === undefined) return null
  let count = 0
  for (const [from, to] of ranges) count += to - from + 1
  if (count > MOST_PORTS) return null
  const ports = new Set<number>()
  for (const [from, to] of ranges) for (let port = from; port <= to; port++) ports.add(port)
  return [...ports]
}

export function narrow(rule: Rule, family: Family): Narrow {
  const { base } = rule
  const bits = family === 4 ? 32 : 128
  let source = prefixOf(base.source, family)
  let destination = prefixOf(base.destination, family)
  let sports: number[] | null = null
  let dports: number[] | null = null
  let mark: Narrow['mark'] = null
  for (const { match, data } of rule.matches) {
    if (!hasNoEffect(match, data)) break
    const told = match.narrows?.(data)
    if (told === undefined) continue
    source = longer(source, told.source, bits)
    destination = longer(destination, told.destination, bits)
    sports ??= portsOf(told.sports)
    dports ??= portsOf(told.dports)
    mark ??= told.mark ?? null
  }
  // Every pair of ports is an entry of its own.
  if (sports !== null && dports !== null && sports.length * dports.length > MOST_PORTS) {
    if (sports.length > dports.length) sports = null
    else dports = null
  }
  const { protocol } = base
  return {
    source,
    destination,
    protocol: protocol === null || protocol.invert ? 0 : protocol.number,
    sports,
    dports,
    inInterface: exactName(base.inInterface),
    outInterface: exactName(base.outInterface),
    mark,
  }
}
