// What one conntrack command line asks for, before and after it is read; and the complaint that ends it.

import type { Flow, FlowTuple, Words } from '../../conntrack/ctnetlink.ts'
import type { Family } from '../../datapath/packet.ts'

/** Ends the command with a complaint, as exit_error() does. `status` 2: followed by the hint. */
export class Complaint extends Error {
  readonly status: 1 | 2
  constructor(message: string, status: 1 | 2 = 2) {
    super(message)
    this.status = status
  }
}

export type Command =
  | 'list'
  | 'create'
  | 'update'
  | 'delete'
  | 'get'
  | 'flush'
  | 'event'
  | 'version'
  | 'help'
  | 'expect-list'
  | 'expect-create'
  | 'expect-delete'
  | 'expect-get'
  | 'expect-flush'
  | 'expect-event'
  | 'count'
  | 'expect-count'
  | 'stats'
  | 'expect-stats'
  | 'add'

export type CtTable = 'conntrack' | 'expect' | 'dying' | 'unconfirmed'

/** What -o asks for. */
export const OutputBit = {
  Xml: 1,
  Extended: 2,
  Timestamp: 4,
  Id: 8,
  KernelTimes: 16,
  Labels: 32,
  Save: 64,
} as const
/** What -e asks for. */
export const EventBit = { New: 1, Update: 2, Destroy: 4 } as const

export interface NatFilter {
  readonly address: Words
  readonly family: Family
  readonly port: number | null
}

/** A command as it was typed. */
export interface Wish {
  command: Command | null
  table: CtTable
  /** Names of the options given, as OPTIONS has them. */
  readonly given: Set<string>
  family: Family | 0
  /** Everything asked of, or for, a connection. */
  readonly flow: Flow
  /** Of an expectation: its tuple and mask. */
  readonly expected: FlowTuple
  readonly mask: FlowTuple
  /** What the tool sets, or compares itself. */
  mark: { readonly value: number; readonly mask: number } | null
  /** What the dump is asked for. */
  kernelMark: { readonly value: number; readonly mask: number } | null
  /** For the kernel's filter of -L. */
  statusMask: number
  snat: NatFilter | null
  dnat: NatFilter | null
  outputs: number
  events: number
  bufferSize: number
  protocol: Protocol | null
  /** The errno that reading the words left behind, negative; the tool tells it where its library has none. */
  left: number
  /** What was said on standard error meanwhile. */
  warnings: string
}

export interface Long {
  readonly name: string
  /** 0 none, 1 required, 2 optional. */
  readonly argument: 0 | 1 | 2
  readonly key: string
}

/** What options of one transport protocol do. */
export type Key =
  | 'sport'
  | 'dport'
  | 'reply-sport'
  | 'reply-dport'
  | 'mask-sport'
  | 'mask-dport'
  | 'state'
  | 'tuple-sport'
  | 'tuple-dport'
  | 'orig-vtag'
  | 'reply-vtag'
  | 'role'
  | 'type'
  | 'code'
  | 'id'

export interface Protocol {
  readonly name: string
  readonly number: number
  readonly long: readonly Long[]
  /** Names as complaints have them, in their order. */
  readonly names: readonly (readonly [Key, string])[]
  /** How many options it looks at where that is more: an earlier -p may have made them known. */
  readonly slots?: number
  readonly takes: Readonly<Partial<Record<Command, string>>>
  /** Complaints about half a pair. */
  readonly pairs: readonly [string, string] | null
  readonly help: string
}
