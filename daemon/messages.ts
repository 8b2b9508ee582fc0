// What the daemon's main thread and its worker tell each other.

import type { LogRecord } from '../datapath/events.ts'
import type { ToolCall, ToolResult } from './control/protocol.ts'

export interface WorkerStart {
  /** The host folder. */
  readonly directory: string
  /** Seed of the engine's random numbers; null: from the system. */
  readonly seed: number | null
  /** Directory for the packets that NFLOG hands out; null: nobody listens. */
  readonly nflog: string | null
}

export type ToWorker =
  | { readonly kind: 'call'; readonly id: number; readonly call: ToolCall }
  | { readonly kind: 'end'; readonly id: number }
  | { readonly kind: 'stop' }

export interface PortSummary {
  readonly device: string
  readonly namespace: string | null
  readonly name: string
}

export type FromWorker =
  | { readonly kind: 'ready'; readonly wakeFd: number; readonly ports: readonly PortSummary[] }
  | { readonly kind: 'failed'; readonly message: string; readonly status: number }
  | { readonly kind: 'result'; readonly id: number; readonly result: ToolResult }
  /** The call goes on: what it prints follows, and its result when it was ended. */
  | { readonly kind: 'follow'; readonly id: number }
  | { readonly kind: 'said'; readonly id: number; readonly stdout: string; readonly stderr: string }
  | { readonly kind: 'log'; readonly records: readonly LogRecord[] }
  | { readonly kind: 'stopped' }
