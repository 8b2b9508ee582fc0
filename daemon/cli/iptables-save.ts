// iptables-save and ip6tables-save 1.8.9 (legacy).

import type { Rule } from '../../rules/model.ts'
import { VARIANT } from '../../rules/text/command-model.ts'
import { printRemarks } from '../../rules/text/print.ts'
import { saveTable } from '../../rules/text/save.ts'
import { isStandardOutput } from './files.ts'
import { getopt, type LongOption } from './getopt.ts'
import { noTable, Output, type ToolOutput, type ToolWorld, toolName } from './iptables-common.ts'

const LONG: readonly LongOption[] = [
  { name: 'counters', letter: 'c', argument: 'none' },
  { name: 'version', letter: 'V', argument: 'none' },
  { name: 'dump', letter: 'd', argument: 'none' },
  { name: 'table', letter: 't', argument: 'required' },
  { name: 'modprobe', letter: 'M', argument: 'required' },
  { name: 'file', letter: 'f', argument: 'required' },
]

/** `argv` without the program's name. */
export function runIptablesSave(argv: readonly string[], world: ToolWorld): ToolOutput {
  const { family, io, rulesets } = world
  const program = toolName(family, '-save')
  const output = new Output(world.rulesets.host)
  const end = (code: number, stderr: string): ToolOutput => {
    output.err(stderr)
    return output.finish(code)
  }
  let counters = false
  let table: string | null = null
  /** Where standard output goes; the tool opens the file when it reads -f. */
  let path: string | null = null
  const say = (text: string): void => {
    if (path === null || isStandardOutput(path)) output.out(text)
    else io.writeFile(path, text)
  }
  const save = (): ToolOutput => {
    let text = ''
    const now = io.now()
    const remark = (rule: Rule): void => output.err(printRemarks(rule))
    if (table === null)
      for (const view of rulesets.used(family)) text += saveTable(view, counters, program, now, remark)
    else {
      const draft = rulesets.open(family, table)
      if (draft === null) return end(1, `${program} v${VARIANT}: Cannot initialize: ${noTable(table)}\n`)
      text = saveTable(draft.view, counters, program, now, remark)
    }
    say(text)
    return output.finish(0)
  }
  const parsed = getopt(argv, 'bcdt:M:f:V', LONG, program)
  for (const { letter, value } of parsed.options) {
    if (letter === 'c') counters = true
    else if (letter === 't') table = value
    else if (letter === 'f') {
      path = value
      try {
        say('')
      } catch (error) {
        return end(1, `Failed to open file, error: ${reasonOf(error)}\n`)
      }
    } else if (letter === 'b') output.err('-b/--binary option is not implemented\n')
    else if (letter === 'V') {
      say(`${program} v${VARIANT}\n`)
      return output.finish(0)
    } else if (letter === 'd') return save() // What stands behind it is not looked at.
  }
  if (parsed.error !== null)
    return end(1, `${parsed.error}Look at manual page \`${program}.8' for more information.\n`)
  if (parsed.rest.length > 0) return end(1, 'Unknown arguments found on commandline\n')
  return save()
}

/** strerror() of a failed file operation. */
export function reasonOf(error: unknown): string {
  const reasons: Readonly<Record<string, string>> = {
    ENOENT: 'No such file or directory',
    EACCES: 'Permission denied',
    EISDIR: 'Is a directory',
    ENOTDIR: 'Not a directory',
    EROFS: 'Read-only file system',
  }
  const code = (error as { code?: string }).code ?? ''
  return reasons[code] ?? String((error as Error).message)
}
