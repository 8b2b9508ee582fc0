// iptables, ip6tables, their -save and -restore, as tools of the daemon: file names are the caller's.

import type { Family } from '../../datapath/packet.ts'
import type { ToolCall, ToolResult } from '../control/protocol.ts'
import type { Engine } from '../engine.ts'
import { readCallFile, writeCallFile } from './files.ts'
import { runIptables } from './iptables.ts'
import type { ToolIo, ToolOutput, ToolWorld } from './iptables-common.ts'
import { restoreReadsInput, runIptablesRestore } from './iptables-restore.ts'
import { runIptablesSave } from './iptables-save.ts'
import { runIptablesXml, xmlReadsInput } from './iptables-xml.ts'
import type { Tool } from './tool.ts'

function ioOf(call: ToolCall, engine: Engine): ToolIo {
  return {
    stdin: () => call.stdin,
    readFile: (path) => readCallFile(call, path),
    writeFile: (path, text) => writeCallFile(call.directory, path, text),
    now: () => engine.host.wall,
  }
}

function worldOf(call: ToolCall, engine: Engine, family: Family): ToolWorld {
  return { family, io: ioOf(call, engine), rulesets: engine.rulesets, registry: engine.registry }
}

type Run = (argv: readonly string[], world: ToolWorld) => ToolOutput

function tool(suffix: string, run: Run, wantsInput?: (argv: readonly string[]) => boolean): Tool[] {
  return ([4, 6] as const).map((family) => {
    const base = family === 4 ? 'iptables' : 'ip6tables'
    return {
      names: [`${base}${suffix}`, `${base}-legacy${suffix}`],
      ...(wantsInput ? { wantsInput } : {}),
      run: (call, engine): ToolResult => run(call.argv, worldOf(call, engine, family)),
    }
  })
}

export const iptablesTools: readonly Tool[] = [
  ...tool('', runIptables),
  ...tool('-save', runIptablesSave),
  ...tool('-restore', runIptablesRestore, restoreReadsInput),
  {
    names: ['iptables-xml'],
    wantsInput: xmlReadsInput,
    run: (call, engine): ToolResult => runIptablesXml(call.argv, ioOf(call, engine)),
  },
]
