// What became of one packet, and why: plain data, as `tunwall explain --json` and `tunwall replay --trace` print it.
//
//     PacketRecord ── journeys ─┬─ [0] the packet itself ── steps: hook, conntrack, table, nat, route, … in order
//                               └─ [1…] what it made the host send: an answer, a copy, itself again through lo
//
// Everything is JSON: no undefined, no typed arrays. Addresses are text, marks unsigned numbers, lengths bytes, times
// seconds.

/** One packet through the host. */
export interface PacketRecord {
  /** Number of the packet, as the caller counts. */
  readonly n: number
  /** The interface it came in by. */
  readonly in: string
  /** The packet as it came; null when it was refused before its header could be read. */
  readonly packet: PacketFacts | null
  /** As in replay's report. */
  readonly verdict: 'forwarded' | 'delivered' | 'dropped' | 'replied' | 'consumed'
  /** A word of REASONS (datapath/counters.ts); '' for a forwarded packet. */
  readonly reason: string
  /** What decided: the rule or policy that dropped, rejected or, last of all, accepted it; null: no rule did. */
  readonly decision: Decision | null
  readonly journeys: readonly Journey[]
}

/** Header fields that a person names a packet by. */
export interface PacketFacts {
  readonly family: 4 | 6
  /** `tcp`, or the number of a protocol without a name. */
  readonly protocol: string
  readonly src: string
  readonly dst: string
  /** -1: the protocol has none, or they are not there. */
  readonly sport: number
  readonly dport: number
  /** From the network header on. */
  readonly length: number
  readonly mark: number
}

/** Where a rule stands, and what it says. One object a rule, as long as it stands there: compare with ===. */
export interface RuleRef {
  readonly family: 4 | 6
  readonly table: string
  readonly chain: string
  /** From 1; 0: the chain's policy. */
  readonly number: number
  /** As iptables-save prints it; `-P FORWARD DROP` for a policy. */
  readonly text: string
  /** `filter FORWARD 3`, `filter FORWARD policy`. */
  readonly name: string
  /** The save file's name, and the line from 1; null: not from a file. */
  readonly file: string | null
  readonly line: number | null
}

export interface Decision {
  readonly rule: RuleRef
  /** `ACCEPT`, `DROP`, or the name of the target that decided: `REJECT`. */
  readonly verdict: string
}

export interface Journey {
  /** looped: out by lo, and in again. copy: of a broadcast or by TEE, for its own way. */
  readonly kind: 'arrived' | 'made here' | 'looped' | 'copy'
  /** Number of the journey in the middle of which it began, null for the first. */
  readonly cause: number | null
  /** Where there: behind so many of its steps, and so many rules of the last of them; null for the first. */
  readonly began: readonly [steps: number, rules: number] | null
  /** At the beginning. */
  readonly packet: PacketFacts
  readonly steps: readonly Step[]
}

export type Step =
  | HookStep
  | DefragStep
  | ConntrackStep
  | TableStep
  | NatStep
  | RouteStep
  | ConfirmStep
  | DropStep
  | SentStep

/** Comes to a hook point. */
export interface HookStep {
  readonly at: 'hook'
  readonly hook: 'PREROUTING' | 'INPUT' | 'FORWARD' | 'OUTPUT' | 'POSTROUTING'
  readonly in: string | null
  readonly out: string | null
}

/** Fragments: kept until the others come, or put together. */
export interface DefragStep {
  readonly at: 'defrag'
  readonly complete: boolean
  /** Of the packet afterwards. */
  readonly length: number
}

export interface ConntrackStep {
  readonly at: 'conntrack'
  readonly state: 'NEW' | 'ESTABLISHED' | 'RELATED' | 'INVALID' | 'UNTRACKED'
  readonly direction: 'original' | 'reply'
  /** The entry as it was found; null: there was none. */
  readonly before: EntryFacts | null
  readonly after: EntryFacts | null
  /** Why INVALID, or why NEW in the middle of a connection; null: nothing odd. */
  readonly why: string | null
  /** The sysctl that would have changed it, as `name=value`; null: none would. */
  readonly sysctl: string | null
  /** What a TCP window was gone by when `why` was said; null: it is not about that. */
  readonly window: WindowFacts | null
}

/** TCP: the packet's numbers, and what both ends have sent and may send. Sequence numbers are unsigned. */
export interface WindowFacts {
  readonly seq: number
  readonly ack: number
  readonly sender: WindowSide
  readonly receiver: WindowSide
}

export interface WindowSide {
  /** One past the last byte that it sent. */
  readonly end: number
  /** One past the last byte that it may send. */
  readonly limit: number
  /** The largest window that it announced. */
  readonly window: number
}

/** A conntrack entry. */
export interface EntryFacts {
  /** Number of the entry in the table: the same number, the same connection, while it lives. */
  readonly entry: number
  readonly protocol: string
  /** `ESTABLISHED`; '' for protocols without states. */
  readonly state: string
  /** Seconds until it ends. */
  readonly timeout: number
  /** EXPECTED, SEEN_REPLY, ASSURED, CONFIRMED, SRC_NAT, DST_NAT, … (enum ip_conntrack_status). */
  readonly status: readonly string[]
  readonly mark: number
  readonly original: TupleFacts
  readonly reply: TupleFacts
  /** Entry of the connection that announced it, null none. */
  readonly master: number | null
}

export interface TupleFacts {
  readonly src: string
  readonly dst: string
  /** Ports; identifier, then type << 8 | code for ICMP; 0 for protocols that have neither. */
  readonly sport: number
  readonly dport: number
}

/** A walk through a table, from a built-in chain on. */
export interface TableStep {
  readonly at: 'table'
  readonly table: string
  readonly chain: string
  /** Rules that fit, in order of the walk; with misses asked for, those that did not as well. */
  readonly rules: readonly RuleStep[]
  /** `ACCEPT`, `DROP`, `QUEUE`, `STOLEN`. */
  readonly verdict: string
  /** What ended the walk. */
  readonly by: RuleRef
}

export type RuleStep = MatchedRule | MissedRule

export interface MatchedRule {
  readonly matched: true
  readonly rule: RuleRef
  /** Jumps that led to its chain. */
  readonly depth: number
  /** What the target changed: [before, after]. */
  readonly mark?: readonly [number, number]
  readonly ctmark?: readonly [number, number]
}

export interface MissedRule {
  readonly matched: false
  readonly rule: RuleRef
  readonly depth: number
  /** The first condition that failed, as its options: `-s 10.0.0.0/8`, `-m mark --mark 0x1`. */
  readonly failed: string
  /** What it saw: `source 192.168.1.1`. */
  readonly saw: string
  /** The condition dropped the packet, which was too short for it. */
  readonly dropped?: true
}

export interface NatStep {
  readonly at: 'nat'
  readonly hook: HookStep['hook']
  readonly changes: 'source' | 'destination'
  /** rule: a rule bound the connection. null: none did. old: bound before. */
  readonly binding: 'rule' | 'null' | 'old'
  readonly rule: RuleRef | null
  /** Address and port before and after. The same: nothing changed. */
  readonly before: readonly [string, number]
  readonly after: readonly [string, number]
}

export interface RouteStep {
  readonly at: 'route'
  /** What was asked: of the destination, and all that a policy rule may look at. */
  readonly dst: string
  readonly src: string
  readonly mark: number
  readonly tos: number
  readonly in: string | null
  /** The `ip rule` that chose: `32766: from all lookup main`; null: no rule led anywhere. */
  readonly rule: string | null
  readonly table: string | null
  /** As ip(8) prints it: `10.0.0.0/24 dev eth1 proto kernel scope link`; null: there is none. */
  readonly route: string | null
  readonly to: 'local' | 'forward' | 'broadcast' | 'multicast' | 'nowhere'
  readonly dev: string | null
  /** Next hop, null on the link. */
  readonly via: string | null
  /** What rp_filter and its like said of the source, where that ended the packet; null: nothing. */
  readonly why: string | null
}

/** The connection is real from here on. */
export interface ConfirmStep {
  readonly at: 'confirm'
  readonly entry: EntryFacts
}

export interface DropStep {
  readonly at: 'drop'
  /** A word of REASONS; or which part of the kernel did it, no rule: conntrack, confirm, nat-src, nat-dst, reroute. */
  readonly reason: string
}

/** A frame left. */
export interface SentStep {
  readonly at: 'sent'
  /** Number among the frames of this record, in the order in which they left; from 0. */
  readonly frame: number
  readonly dev: string
  readonly length: number
  /** Hexadecimal; absent unless frames are asked for. */
  readonly bytes?: string
}
