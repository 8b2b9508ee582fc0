// What the engine says besides frames: LOG and TRACE records, conntrack events. Nobody listening costs one test.

import type { LinkHeader } from './link-header.ts'
import type { Family, Packet } from './packet.ts'

export interface LogRecord {
  /** syslog level 0 to 7. */
  readonly level: number
  /** The kernel's line without its time stamp: "PREFIXIN=eth0 OUT= SRC=... ". */
  readonly text: string
}

export interface TraceRecord {
  readonly table: string
  readonly chain: string
  /** 'rule', 'policy' or 'return'. */
  readonly kind: 'rule' | 'policy' | 'return'
  readonly rule: number
  readonly pkt: Packet
}

/** A packet for the listeners of an NFLOG group. */
export interface NflogRecord {
  readonly family: Family
  readonly group: number
  readonly prefix: string
  readonly hook: number
  /** ifindex, 0 none. */
  readonly iif: number
  readonly oif: number
  readonly mark: number
  readonly link: LinkHeader | null
  /** Of the whole packet; `bytes` may be cut short (--nflog-size). */
  readonly length: number
  /** From the network header on. */
  readonly bytes: Uint8Array
}

export interface Events {
  log: ((record: LogRecord) => void) | null
  trace: ((record: TraceRecord) => void) | null
  nflog?: ((record: NflogRecord) => void) | null
}
