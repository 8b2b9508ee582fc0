// iptables and ip6tables 1.8.9 (legacy): one command line, one table, one commit.

import { CommandParser } from '../../rules/text/command.ts'
import { TableError, ToolError } from '../../rules/text/errors.ts'
import { execute } from '../../rules/text/execute.ts'
import {
  failure,
  noTable,
  Output,
  type ToolOutput,
  type ToolWorld,
  tableFailure,
  toolName,
} from './iptables-common.ts'

/** `argv` without the program's name. */
export function runIptables(argv: readonly string[], world: ToolWorld): ToolOutput {
  const { family, registry, rulesets } = world
  const program = toolName(family)
  const output = new Output(world.rulesets.host)
  try {
    const command = new CommandParser({ registry, family, program, warn: (text) => output.err(text) }).parse(
      argv,
    )!
    const draft = rulesets.open(family, command.table)
    if (draft === null)
      throw new ToolError(
        `can't initialize ${program} table \`${command.table}': ${noTable(command.table)}`,
        3,
      )
    execute(command, draft, output, null)
    rulesets.commit(draft)
    return output.finish(0)
  } catch (error) {
    if (error instanceof TableError) {
      output.err(tableFailure(error, program))
      return output.finish(1)
    }
    const failed = failure(error, program, null)
    output.out(failed.stdout)
    output.err(failed.stderr)
    return output.finish(failed.code)
  }
}
