// The contract of matches and targets. An extension is one file and one line in its folder's index.ts.

import type { Conntrack } from '../conntrack/conntrack.ts'
import type { Nat } from '../conntrack/nat/nat.ts'
import type { Host } from '../datapath/host.ts'
import type { Family } from '../datapath/packet.ts'
import type { Narrowing } from './compile/narrow.ts'
import type { Code, Js } from './compile/template.ts'
import type { Layout } from './layout.ts'
import type { BaseMatch, MatchUse, Rule, TableName } from './model.ts'
import type { OptionSpec, Options } from './options.ts'
import type { Sets } from './sets/store.ts'

/** What emitted code may reach. */
export interface CompileEnv {
  readonly host: Host
  readonly conntrack: Conntrack
  readonly nat: Nat
  readonly sets: Sets
  /** Chains of this many rules and more are looked up instead of walked, if it helps; absent: as many as make it pay. */
  readonly indexFrom?: number
}

/**
 * What an expression depends on. Facts fixed for a flow, direction and conntrack state can be cached and
 * indexed; `clock`, `random`, `state` (the rule's own), `length`, `payload` and `tcp` change from packet to packet.
 */
export type Fact =
  | 'source'
  | 'destination'
  | 'protocol'
  | 'ports'
  | 'in'
  | 'out'
  | 'fragment'
  | 'mark'
  | 'connmark'
  | 'ctstate'
  | 'conntrack'
  | 'icmp'
  | 'tcp'
  | 'length'
  | 'tos'
  | 'ttl'
  | 'options'
  | 'payload'
  | 'pkttype'
  | 'fib'
  | 'set'
  | 'clock'
  | 'random'
  | 'state'

interface Extension<D> {
  readonly name: string
  readonly revision?: number
  readonly families: readonly Family[]
  /** Absent: PLAIN_LAYOUT. */
  readonly layout?: Layout<D>
  readonly options: readonly OptionSpec[]
  /** Text of `-m NAME -h`, without the leading blank line. */
  readonly help: string
  /** Options to data. Throws OptionError with iptables' words. */
  parse(o: Options): D
  /** What iptables says on standard error when it loads it: that the kernel has none of it. */
  readonly loadRemark?: string
  /** The options as iptables-save prints them, without `-m NAME`; '' if there are none. */
  print(data: D, family: Family): string
  /** The part of an `iptables -L` line, without leading or trailing blank. `numeric`: -n. Defaults to print. */
  list?(data: D, numeric: boolean, family: Family): string
  /** The text of `list` follows the listing's columns without a further blank (eui64). */
  readonly listedTight?: boolean
  /**
   * Own state, made anew whenever the table is committed (as checkentry does). Reached as `js.state`. Null: with
   * these data there is none, and none will be asked for again.
   */
  state?(data: D, env: CompileEnv, family: Family): object | null
  /** With these data `state` gives null, which need not be asked. */
  stateless?(data: D): boolean
  /** The rule's state is not needed any more: after the new ones of the whole table are made (as destroy does). */
  release?(data: D, env: CompileEnv, family: Family): void
  /** Needs connection tracking in this family (nf_ct_netns_get): see kernel-notes 8. */
  readonly tracks?: boolean | ((data: D) => boolean)
  /** Sets that a rule with it holds, by name; once for each reference. */
  sets?(data: D): readonly string[]
  /** Upper protocols this may be used with, as xt_match.proto; the error is iptables'. Empty: any. */
  readonly protocols?: readonly number[]
  /** Tables and chains it is confined to (xt_target.table, .hooks); a kernel refusal is "Invalid argument". */
  readonly tables?: readonly TableName[]
  readonly chains?: readonly string[]
  /** What the kernel's checkentry refuses: the reason for the log (EINVAL) or with its error, or null. */
  check?(data: D, use: CheckContext): string | Refusal | null
}

export interface CheckContext {
  readonly family: Family
  readonly table: TableName
  /** Built-in chains from which the rule's chain can be reached. */
  readonly hooks: readonly string[]
  readonly protocol: { readonly number: number; readonly invert: boolean } | null
  /** The matches of the rule, in order. */
  readonly matches: readonly MatchUse[]
  /** The rule's own conditions; null: not known. */
  readonly base?: BaseMatch | null
  /** The host that the table is of, for what rules share by name; null: none yet. */
  readonly host?: Host | null
  /** The rules that stand before it in the kernel's order, which are checked first. */
  readonly earlier?: () => Iterable<Rule>
}

/** A refusal that iptables words otherwise: ENOENT "No chain/target/match by that name.", ERANGE "Numerical result out of range.". */
export interface Refusal {
  readonly errno: 'EINVAL' | 'ENOENT' | 'ERANGE'
  readonly reason: string
}

export interface Match<D = unknown> extends Extension<D> {
  readonly kind: 'match'
  /** Looked up by protocol (`-p tcp --dport` without -m tcp). */
  readonly reads: readonly Fact[] | ((data: D) => readonly Fact[])
  /** The TCP flags that it looks at as `tcp`; -1: at more than those. Absent: -1. */
  tcpFlags?(data: D): number
  /**
   * Says what the flow cache is to know in place of `reads`: an expression whose value are bits of Vary, asked when a packet
   * is recorded.
   */
  varies?(data: D, js: Js): Code
  /**
   * With these data its expression draws from host.dice and asks nothing else, if that: it may be asked ahead, of dice.ahead
   * (rules/look-ahead.ts).
   */
  byChance?(data: D): boolean
  /** May set pkt.hotdrop. */
  readonly hotdrop?: boolean
  /**
   * What it tells of the packets that fit, for the index. Of the matches that may set pkt.hotdrop only those may have it
   * that do so for a transport header that is cut short, or once all that they tell here fits.
   */
  narrows?(data: D): Narrowing
  /** Beside `narrows`: with these data it drops packets whose transport header is whole, too. */
  dropsWhole?(data: D): boolean
  /** A boolean expression over `pkt`. Evaluated exactly when the kernel would evaluate it. */
  emit(data: D, js: Js): Code
  /** What a command that prints a rule with it says on standard error, once. */
  readonly printRemark?: string
  /** xt_match.proto-style alias names, `-m state` style renames when printed, etc. */
  readonly alias?: (data: D) => { name: string; text: string }
}

/** 'continue': never ends the walk; 'final': always does; 'dynamic': the expression says. */
export type TargetFlow = 'continue' | 'final' | 'dynamic'

/** An IPv4 address and a port, as expressions; -1: the packet's own port. */
export interface Destination {
  readonly address: Code
  readonly port: Code
}

export interface Target<D = unknown> extends Extension<D> {
  readonly kind: 'target'
  readonly reads: readonly Fact[]
  readonly writes?: readonly Fact[]
  readonly flow: TargetFlow
  /**
   * For packets of one connection, direction and state it does the same each time. 'once': and it shows in the packet's
   * mark, priority and the like alone, which nobody sees behind the rules; 'each': it changes the header of each packet.
   * Absent: the flow cache leaves such packets alone.
   */
  readonly repeats?: 'once' | 'each'
  /** The target column of `iptables -L`, where it is not the name (NOTRACK is listed as CT). */
  readonly column?: string
  /** What it gives its packets for a destination, where that is one alone: for who looks ahead, and for emit(). */
  destination?(data: D, js: Js): Destination | null
  /**
   * An expression over `pkt`. flow 'continue': its value is ignored; otherwise a Verdict, or CONTINUE (-1) to go on
   * with the next rule. `to`: what destination() has given.
   */
  emit(data: D, js: Js, to?: Destination | null): Code
}

/** XT_CONTINUE of an emitted target. */
export const CONTINUE = -1
