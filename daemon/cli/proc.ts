// tunwall proc: files that the kernel would have below /proc/net (daemon/proc.ts).
//
//     tunwall proc                               which there are
//     tunwall proc net/xt_recent/ssh             as cat /proc/net/xt_recent/ssh
//     tunwall proc net/xt_recent/ssh +10.0.0.7   as echo +10.0.0.7 > /proc/net/xt_recent/ssh

import type { ToolCall, ToolResult } from '../control/protocol.ts'
import type { Engine } from '../engine.ts'
import { type ProcFile, procFiles } from '../proc.ts'
import type { Tool } from './tool.ts'

const USAGE = `Usage: proc                list the files
       proc FILE           print a file
       proc FILE TEXT      write a line to a file

Files are named as below /proc: net/snmp, net/xt_recent/NAME, net/ipt_hashlimit/NAME ...
A list of -m recent takes +ADDRESS, -ADDRESS and / (forget all).
`

const failed = (stderr: string, code: number): ToolResult => ({ stdout: '', stderr, code })
const printed = (stdout: string): ToolResult => ({ stdout, stderr: '', code: 0 })

function write(file: ProcFile, name: string, line: string): ToolResult {
  if (file.write === undefined) return failed(`proc: ${name}: Permission denied\n`, 1)
  return file.write(line) ? printed('') : failed(`proc: ${name}: Invalid argument\n`, 1)
}

export const procTool: Tool = {
  names: ['proc'],
  run({ argv }: ToolCall, engine: Engine): ToolResult {
    const [name, line] = argv
    if (name === '-h' || name === '--help') return printed(USAGE)
    if (argv.length > 2) return failed(USAGE, 2)
    const files = procFiles(engine)
    if (name === undefined) return printed(files.map(({ path }) => `${path}\n`).join(''))
    const path = name.replace(/^\/+(proc\/+)?/, '').replace(/^self\/+/, '')
    const file = files.find((f) => f.path === path)
    if (file === undefined) return failed(`proc: ${name}: No such file or directory\n`, 1)
    return line === undefined ? printed(file.read()) : write(file, name, line)
  },
}
