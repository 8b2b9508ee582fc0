// The tools that the daemon answers for: a new one is one file in cli/ and one line here.

import { conntrackTool } from './cli/conntrack.ts'
import { isStandardInput } from './cli/files.ts'
import { ipTool } from './cli/ip.ts'
import { ipsetTool } from './cli/ipset.ts'
import { iptablesTools } from './cli/iptables-tools.ts'
import { nfctTool } from './cli/nfct.ts'
import { procTool } from './cli/proc.ts'
import { sysctlTool } from './cli/sysctl.ts'
import type { Say, Tool } from './cli/tool.ts'
import type { ToolCall, ToolResult } from './control/protocol.ts'
import type { Engine } from './engine.ts'

export const tools: readonly Tool[] = [
  ...iptablesTools,
  conntrackTool,
  nfctTool,
  ipsetTool,
  ipTool,
  sysctlTool,
  procTool,
]

const byName = new Map(tools.flatMap((tool) => tool.names.map((name) => [name, tool] as const)))

/** Every name that `tunwall exec` puts into PATH. */
export const toolNames: readonly string[] = [...byName.keys()]

export function wantsInput(call: Pick<ToolCall, 'tool' | 'argv'>): boolean {
  const tool = byName.get(call.tool)
  return (tool?.wantsInput?.(call.argv) ?? false) || (tool !== undefined && call.argv.some(isStandardInput))
}

/** Begins a call that goes on until its caller ends; null for every other call. Returns what ends it. */
export function followTool(call: ToolCall, engine: Engine, say: Say): (() => ToolResult) | null {
  return byName.get(call.tool)?.follow?.(call, engine, say) ?? null
}

/** Runs one tool against the engine; a mistake of ours becomes a message, not the end of the daemon. */
export function runTool(call: ToolCall, engine: Engine): ToolResult {
  const tool = byName.get(call.tool)
  if (tool === undefined)
    return {
      stdout: '',
      stderr: `tunwall: no tool "${call.tool}"; there are: ${toolNames.join(', ')}\n`,
      code: 127,
    }
  try {
    return tool.run(call, engine)
  } catch (error) {
    return {
      stdout: '',
      stderr: `${call.tool}: internal error: ${(error as Error).stack ?? error}\n`,
      code: 70,
    }
  }
}
