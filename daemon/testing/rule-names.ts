// What tests call a rule. All of these may mean the same one; a built-in chain alone is that of the filter table:
//
//     'filter FORWARD 3'   'FORWARD 3'                 where it stands (`filter FORWARD policy`: the policy)
//     '-A FORWARD -p tcp --dport 22 -j DROP'           what it says, as it was typed or as iptables-save prints it
//     'no ssh'                                         its comment
//     'iptables-save:14'                               its file and line
//     'FORWARD'  'filter FORWARD'                      any rule of the chain, and its policy
//     /--dport 22/                                     whatever fits the text

// What tests call a rule. All of these mean the same one:
//
//     'filter FORWARD 3'   'FORWARD 3'                 where it stands (`filter FORWARD policy`: the policy)
//     '-A FORWARD -p tcp --dport 22 -j DROP'           what it says, also as it was typed
//     'no ssh'                                         its comment
//     'iptables-save:14'                               its file and line
//     'FORWARD'                                        any rule of the chain, and its policy
//     /--dport 22/                                     whatever fits the text

import { BUILTIN, type TableName, type TargetUse } from '../../rules/model.ts'
import { OptionError } from '../../rules/options.ts'
import { CommandParser } from '../../rules/text/command.ts'
import { makeRules } from '../../rules/text/command-model.ts'
import { ToolError } from '../../rules/text/errors.ts'
import { LineError, splitWords } from '../../rules/text/line.ts'
import { saveRule } from '../../rules/text/print.ts'
import { textOf } from '../bytes.ts'
import type { Engine } from '../engine.ts'
import type { RuleRef } from '../explain/record.ts'

export type RuleName = string | RegExp

/** Whether `name` means `rule`. */
export function isRule(rule: RuleRef, name: RuleName, engine: Engine | null = null): boolean {
  if (name instanceof RegExp) return name.test(rule.text)
  const wanted = name.trim().replace(/\s+/g, ' ')
  const place = `${rule.chain} ${rule.number === 0 ? 'policy' : rule.number}`
  if ([rule.name, rule.text, `${rule.table} ${rule.chain}`].includes(wanted)) return true
  // As for iptables, filter is the table that is meant where none is said.
  const meant = rule.table === 'filter' || !BUILTIN[rule.table as TableName].includes(rule.chain)
  if (meant && [place, rule.chain].includes(wanted)) return true
  if (rule.file !== null && rule.line !== null) {
    const at = `${rule.file}:${rule.line}`
    if (at === wanted || at.endsWith(`/${wanted}`)) return true
  }
  if (commentsOf(rule.text).includes(wanted)) return true
  return engine !== null && /(^| )-[AI] /.test(wanted) && canonical(name, rule, engine).includes(rule.text)
}

/** The comments of a rule. */
export function commentsOf(text: string): string[] {
  return [...text.matchAll(/--comment ("(?:[^"\\]|\\.)*"|\S+)/g)].map(([, word]) =>
    word!.startsWith('"') ? word!.slice(1, -1).replace(/\\(.)/g, '$1') : word!,
  )
}

/** What a rule that was typed stands for, as iptables-save prints it; [] if it is none, or one of another table. */
function canonical(typed: string, { table, family }: RuleRef, { registry }: Engine): string[] {
  try {
    const argv: string[] = []
    splitWords(typed.replace(/^ip6?tables(-legacy)? /, ''), 0, argv)
    if (!argv.some((word) => word === '-t' || word === '--table')) argv.unshift('-t', table)
    const parser = new CommandParser({ registry, family, program: 'iptables', warn: () => {} })
    const command = parser.parse(argv)
    if (command === null || command.table !== table || command.chain === null) return []
    const { jumpTo, goto } = command.rule
    const target: TargetUse =
      command.rule.target ??
      (jumpTo === '' ? { kind: 'none' } : { kind: goto ? 'goto' : 'jump', chain: jumpTo })
    return makeRules(command.rule, target, null).map((rule) => textOf(saveRule(command.chain!, rule, family)))
  } catch (error) {
    if (error instanceof ToolError || error instanceof OptionError || error instanceof LineError) return []
    throw error
  }
}
