// A tool that runs inside the daemon, beside the engine: arguments in, text and exit status out.

import type { ToolCall, ToolResult } from '../control/protocol.ts'
import type { Engine } from '../engine.ts'

export interface Tool {
  /** The names it is called by: `iptables`, `iptables-legacy`. */
  readonly names: readonly string[]
  /** Whether this call reads standard input. */
  wantsInput?(argv: readonly string[]): boolean
  /** Must not throw for anything the arguments say. */
  run(call: ToolCall, engine: Engine): ToolResult
}
