// A tool that runs inside the daemon, beside the engine: arguments in, text and exit status out.

import type { ToolCall, ToolResult } from '../control/protocol.ts'
import type { Engine } from '../engine.ts'

/** Prints on standard output and standard error; either may be empty. */
export type Say = (stdout: string, stderr: string) => void

export interface Tool {
  /** The names it is called by: `iptables`, `iptables-legacy`. */
  readonly names: readonly string[]
  /** Whether this call reads standard input. */
  wantsInput?(argv: readonly string[]): boolean
  /**
   * A call that goes on until its caller ends (`conntrack -E`): `say` prints meanwhile. Returns what ends it, whose
   * answer is printed last; null for every other call, which run() answers.
   */
  follow?(call: ToolCall, engine: Engine, say: Say): (() => ToolResult) | null
  /** Must not throw for anything the arguments say. */
  run(call: ToolCall, engine: Engine): ToolResult
}
