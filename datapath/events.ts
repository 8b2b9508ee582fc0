// What the engine says besides frames: LOG and TRACE records, conntrack events. Nobody listening costs one test.

import type { Packet } from './packet.ts'

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

export interface Events {
  log: ((record: LogRecord) => void) | null
  trace: ((record: TraceRecord) => void) | null
}
