// A parsed command carried out on a draft of its table: do_command4() of iptables 1.8.9. The caller commits.

import type { Draft } from '../draft.ts'
import type { Place, Rule, TargetUse } from '../model.ts'
import { type Command, makeRules, type Op } from './command-model.ts'
import { dumpTable } from './dump.ts'
import { kernelError, PrintEnds, TableError, ToolError } from './errors.ts'
import {
  countText,
  describeRule,
  type ListFormat,
  listHeader,
  listRule,
  printRemarks,
  saveRule,
} from './print.ts'

/** Where a command prints. */
export interface Sink {
  out(text: string): void
  err(text: string): void
}

/** Commands that change nothing. */
const READING: ReadonlySet<Op> = new Set(['C', 'L', 'S'])

/** Throws ToolError, or TableError where libiptc refuses: then nothing must be committed. */
export function execute(command: Command, draft: Draft, sink: Sink, place: Place | null): void {
  if ([...command.ops].some((op) => !READING.has(op))) draft.begin()
  if (command.verbose < 2) {
    carryOutAll(command, draft, sink, place)
    return
  }
  // What libiptc refuses is dumped too; what the tool itself ends at is not.
  let failed: TableError | null = null
  try {
    carryOutAll(command, draft, sink, place)
  } catch (error) {
    if (!(error instanceof TableError)) throw error
    failed = error
  }
  dumpTable(draft.view, sink)
  // iptc_strerror() words an error by the operation done last, and that is the dump.
  if (failed !== null) throw kernelError(failed.errno, failed.reason, failed.place)
}

function carryOutAll(command: Command, draft: Draft, sink: Sink, place: Place | null): void {
  for (const op of command.ops) {
    // -Z beside -L or -S comes after them, whatever the order.
    if ((op === 'Z' || op === 'z') && command.ops.size > 1) continue
    carryOut(op, command, draft, sink, place)
  }
  if (command.ops.size > 1) {
    if (command.ops.has('Z')) forChains(draft, command, true, (name) => zero(name, command, draft, sink))
    if (command.ops.has('z')) draft.zeroNumber(command.chain!, command.number)
  }
}

function carryOut(op: string, command: Command, draft: Draft, sink: Sink, place: Place | null): void {
  const chain = command.chain!
  switch (op) {
    case 'A':
    case 'I':
    case 'R':
    case 'D':
    case 'C':
      ruleCommand(op, command, draft, sink, place)
      return
    case 'n':
      draft.deleteNumber(chain, command.number)
      return
    case 'L':
      list(command, draft, sink)
      return
    case 'S':
      listRules(command, draft, sink)
      return
    case 'F':
      forChains(draft, command, true, (name) => {
        if (command.verbose > 0) sink.out(`Flushing chain \`${name}'\n`)
        draft.flush(name)
      })
      return
    case 'Z':
      forChains(draft, command, true, (name) => zero(name, command, draft, sink))
      return
    case 'z':
      draft.zeroNumber(chain, command.number)
      return
    case 'N':
      draft.create(chain)
      return
    case 'X':
      forChains(draft, command, false, (name) => {
        if (command.verbose > 0) sink.out(`Deleting chain \`${name}'\n`)
        draft.remove(name)
      })
      return
    case 'E':
      draft.rename(chain, command.newName!)
      return
    case 'P':
      draft.setPolicy(chain, command.policy!, command.counters)
  }
}

function ruleCommand(op: string, command: Command, draft: Draft, sink: Sink, place: Place | null): void {
  const chain = command.chain!
  const { family } = draft.view
  const target = resolveTarget(command, draft, sink)
  // With several addresses each is tried; the last failure is the one reported.
  let failed: unknown = null
  for (const rule of makeRules(command.rule, target, place)) {
    if (command.verbose > 0) {
      try {
        sink.out(describeRule(rule, family))
      } catch (error) {
        if (!(error instanceof PrintEnds)) throw error
        sink.out(error.message)
        throw new ToolError('', 1, null, true)
      }
      sink.err(printRemarks(rule))
    }
    try {
      applyRule(op, chain, command, draft, rule)
    } catch (error) {
      if (!(error instanceof TableError)) throw error
      failed = error
    }
  }
  if (failed !== null) throw failed
}

function applyRule(op: string, chain: string, command: Command, draft: Draft, rule: Rule): void {
  switch (op) {
    case 'A':
      draft.append(chain, rule, command.counters)
      return
    case 'I':
      draft.insert(chain, command.number, rule, command.counters)
      return
    case 'R':
      draft.replace(chain, command.number, rule, command.counters)
      return
    default:
      draft.delete(chain, rule, op === 'C')
  }
}

/** What -j or -g names: a chain if there is one, else the extension. */
function resolveTarget(command: Command, draft: Draft, sink: Sink): TargetUse {
  const { jumpTo, goto, target } = command.rule
  if (jumpTo === '') return target!
  if (draft.isChain(jumpTo)) {
    if (target !== null && !goto) sink.err(`Warning: using chain ${jumpTo}, not extension\n`)
    return { kind: goto ? 'goto' : 'jump', chain: jumpTo }
  }
  if (goto) throw new ToolError(`goto '${jumpTo}' is not a chain`)
  if (target === null) throw new ToolError(`Couldn't load target \`${jumpTo}':No such file or directory\n`)
  return target
}

/** One chain, or all of them; each is tried, the last failure is the one reported. */
function forChains(draft: Draft, command: Command, builtin: boolean, each: (name: string) => void): void {
  if (command.chain !== null) {
    each(command.chain)
    return
  }
  let failed: unknown = null
  for (const name of draft.names()) {
    if (!builtin && draft.isBuiltin(name)) continue
    try {
      each(name)
    } catch (error) {
      if (!(error instanceof TableError)) throw error
      failed = error
    }
  }
  if (failed !== null) throw failed
}

function zero(name: string, command: Command, draft: Draft, sink: Sink): void {
  if (command.verbose > 0) sink.out(`Zeroing chain \`${name}'\n`)
  draft.zero(name)
}

function chainsOf(command: Command, draft: Draft): string[] {
  if (command.chain === null) return draft.names()
  if (!draft.isChain(command.chain)) throw new TableError('ENOENT', 'No chain/target/match by that name')
  return [command.chain]
}

function list(command: Command, draft: Draft, sink: Sink): void {
  const format: ListFormat = {
    family: draft.view.family,
    numeric: command.numeric,
    verbose: command.verbose > 0,
    exact: command.exact,
    lineNumbers: command.lineNumbers,
  }
  for (const [i, name] of chainsOf(command, draft).entries()) {
    if (i > 0) sink.out('\n')
    if (command.number === 0)
      sink.out(
        listHeader(name, draft.isBuiltin(name) ? draft.policy(name) : null, draft.references(name), format),
      )
    const counters = draft.counters(name)
    for (const [index, rule] of draft.rules(name).entries())
      if (command.number === 0 || command.number === index + 1) {
        sink.out(listRule(rule, index + 1, counters(rule, index), format))
        sink.err(printRemarks(rule))
      }
  }
}

function listRules(command: Command, draft: Draft, sink: Sink): void {
  const names = chainsOf(command, draft)
  const style = command.verbose > 0 ? 'option' : 'none'
  if (command.number === 0)
    for (const name of names) {
      if (!draft.isBuiltin(name)) {
        sink.out(`-N ${name}\n`)
        continue
      }
      const { policy, packets, bytes } = draft.policy(name)
      sink.out(
        `-P ${name} ${policy}${style === 'option' ? ` -c ${countText(packets)} ${countText(bytes)}` : ''}\n`,
      )
    }
  for (const name of names) {
    const counters = draft.counters(name)
    const newCallee = draft.newCallees(name)
    for (const [index, rule] of draft.rules(name).entries())
      if (command.number === 0 || command.number === index + 1) {
        const text = saveRule(name, rule, draft.view.family, style, counters(rule, index))
        // Until it is committed a jump is a target of the name that it was drafted with (print_rule4).
        const callee = newCallee(rule)
        if (callee !== null) {
          sink.out(text.slice(0, text.lastIndexOf(` -${rule.target.kind === 'goto' ? 'g' : 'j'} `)))
          throw new ToolError(`Can't find library for target \`${callee}'`, 1, null, true)
        }
        sink.out(`${text}\n`)
        sink.err(printRemarks(rule))
      }
  }
}
