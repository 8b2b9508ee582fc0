// The rule language as data. Rules and chains are immutable: an edit makes a new Chain, a commit puts it in
// place between two packets (commit.ts). Counters and match state live with the loaded chain, not here.

import type { Family } from '../datapath/packet.ts'
import type { Match, Target } from './extension.ts'

export const TABLE_NAMES = ['raw', 'mangle', 'nat', 'filter', 'security'] as const
export type TableName = (typeof TABLE_NAMES)[number]

/** Where a thing was written; line and column from 1. */
export interface Place {
  readonly file: string
  readonly line: number
  readonly column: number
}

/** Address and mask as signed 32-bit words (IPv4: word 0). The mask may have holes, as iptables allows. */
export interface AddressMatch {
  readonly words: readonly [number, number, number, number]
  readonly mask: readonly [number, number, number, number]
  readonly invert: boolean
}

/** `eth0` or `eth+`. */
export interface InterfaceMatch {
  readonly name: string
  readonly invert: boolean
}

/** struct ipt_ip: what every rule has, tested before its matches. Null: not asked. */
export interface BaseMatch {
  readonly source: AddressMatch | null
  readonly destination: AddressMatch | null
  readonly inInterface: InterfaceMatch | null
  readonly outInterface: InterfaceMatch | null
  readonly protocol: { readonly number: number; readonly invert: boolean } | null
  /** -f */
  readonly fragment: { readonly invert: boolean } | null
}

/** Of a rule that asks nothing but its matches. */
export const NO_BASE: BaseMatch = {
  source: null,
  destination: null,
  inInterface: null,
  outInterface: null,
  protocol: null,
  fragment: null,
}

export interface MatchUse<D = unknown> {
  readonly match: Match<D>
  readonly data: D
}

export type TargetUse<D = unknown> =
  | { readonly kind: 'none' }
  /** ACCEPT, DROP, QUEUE, RETURN. */
  | { readonly kind: 'standard'; readonly verdict: 'ACCEPT' | 'DROP' | 'QUEUE' | 'RETURN' }
  | { readonly kind: 'jump' | 'goto'; readonly chain: string }
  | { readonly kind: 'extension'; readonly target: Target<D>; readonly data: D }

export interface Rule {
  readonly base: BaseMatch
  readonly matches: readonly MatchUse[]
  readonly target: TargetUse
  readonly place: Place | null
  /** What there is to do when it comes or goes, bits of Need (needs.ts): its extensions need not be asked. */
  readonly needs: number
}

/**
 * Nothing but a verdict: the kernel takes it for the end of its chain, looks at no rule behind it when it checks a table, and
 * names it so in a trace (unconditional() in mark_source_chains() and get_chainname_rulenum()).
 */
export const isVerdictAlone = ({ base, matches, target }: Rule): boolean =>
  target.kind === 'standard' &&
  matches.length === 0 &&
  (base === NO_BASE || Object.values(base).every((part) => part === null))

/** The chain that a rule jumps or goes to, or null. */
export const calleeOf = (rule: Rule): string | null =>
  rule.target.kind === 'jump' || rule.target.kind === 'goto' ? rule.target.chain : null

export interface Chain {
  readonly name: string
  /** Built-in chains only. */
  readonly policy: 'ACCEPT' | 'DROP' | null
  readonly rules: readonly Rule[]
  /** Of all its rules together, as Rule.needs. */
  readonly needs: number
}

/** Packets and bytes, as -c and [packets:bytes] give them. */
export interface Counters {
  readonly packets: number
  readonly bytes: number
}

export interface TableModel {
  readonly family: Family
  readonly name: TableName
  /** Built-in chains first, in the kernel's order, then user chains in order of creation. */
  readonly chains: ReadonlyMap<string, Chain>
}

/** Built-in chains of each table, in the order that iptables-save prints. */
export const BUILTIN: Readonly<Record<TableName, readonly string[]>> = {
  raw: ['PREROUTING', 'OUTPUT'],
  mangle: ['PREROUTING', 'INPUT', 'FORWARD', 'OUTPUT', 'POSTROUTING'],
  nat: ['PREROUTING', 'INPUT', 'OUTPUT', 'POSTROUTING'],
  filter: ['INPUT', 'FORWARD', 'OUTPUT'],
  security: ['INPUT', 'FORWARD', 'OUTPUT'],
}

/** What a commit sets. `seen`: what was counted when that was decided; what has come since then is added. */
export interface NewCounters extends Counters {
  readonly seen?: Counters
}
