// Why a rule did not fit: the condition that failed, or who ended the walk before it, or why nothing led to its chain.

import { BUILTIN, type TableName } from '../../rules/model.ts'
import type { Engine } from '../engine.ts'
import { CommandError, ExitCode } from '../errors.ts'
import type { Provenance } from '../provenance/index.ts'
import type { HookStep, PacketRecord, RuleRef, TableStep } from './record.ts'
import type { References } from './references.ts'
import { nameOf } from './summary.ts'

/**
 * The rule that a person means: `filter FORWARD 3`, `FILE:LINE`, or its text. Throws CommandError: none, or several.
 * `family`: of the packet, whose rules come first.
 */
export function findRule(asked: string, engine: Engine, references: References, family: 4 | 6): RuleRef {
  const all = rulesOf(engine, references, family)
  const words = asked.trim().replace(/\s+/g, ' ')
  const named = /^(?:-t )?(\w+)[ /](\S+)[ /](\d+)$/.exec(words)
  const place = /^(?:(.+):)?(\d+)$/.exec(words)
  let found: RuleRef[]
  if (named !== null)
    found = all.filter((r) => r.table === named[1] && r.chain === named[2] && r.number === Number(named[3]))
  else if (place !== null)
    found = all.filter(
      (r) =>
        r.line === Number(place[2]) &&
        (place[1] === undefined || r.file === place[1] || r.file?.endsWith(`/${place[1]}`)),
    )
  else {
    const table = /^-t (\w+) /.exec(words)?.[1]
    const text = words.replace(/^-t \w+ /, '')
    const of = all.filter((r) => table === undefined || r.table === table)
    found = of.filter((r) => r.text === text || r.text.slice(`-A ${r.chain} `.length) === text)
    if (found.length === 0) found = of.filter((r) => r.text.includes(text))
  }
  if (found.length === 1) return found[0]!
  if (found.length === 0)
    throw new CommandError(
      `--why-not ${asked}: no such rule; say "filter FORWARD 3", FILE:LINE or the rule's text`,
      ExitCode.Unusable,
    )
  const some = found.slice(0, 3).map(({ name }) => name)
  throw new CommandError(
    `--why-not ${asked}: ${found.length} rules fit: ${some.join(', ')}${found.length > 3 ? ' …' : ''}`,
    ExitCode.Unusable,
  )
}

function rulesOf(engine: Engine, references: References, family: 4 | 6): RuleRef[] {
  const all: RuleRef[] = []
  for (const table of engine.tables.used(family))
    for (const chain of table.chains.values()) {
      const number = references.chain(family, table.name, chain)
      for (let i = 0; i < chain.slots.count; i++) all.push(references.rule(number, chain.slots.at[i]!))
    }
  return all
}

/** How deep callers of chains are asked after. */
const DEEPEST = 6

/** The answer, a line each, by depth. */
export function whyNot(
  rule: RuleRef,
  record: PacketRecord,
  engine: Engine,
  references: References,
  provenance: Provenance,
): string[] {
  const steps = record.journeys.flatMap(({ steps }) => steps)
  const walks = steps.filter((step): step is TableStep => step.at === 'table' && step.table === rule.table)
  const hooks = steps.filter((step): step is HookStep => step.at === 'hook').map(({ hook }) => hook)
  const lines: string[] = []
  const say = (depth: number, text: string): void => {
    lines.push(`${'  '.repeat(depth)}${text}`)
  }

  const seen = new Set<RuleRef>()
  const ask = (about: RuleRef, depth: number): void => {
    const name = nameOf(about, provenance)
    for (const walk of walks) {
      const tried = walk.rules.find(({ rule }) => rule === about)
      if (tried === undefined) continue
      if (tried.matched) say(depth, `${name} did fit, in ${walk.table} ${walk.chain}`)
      else {
        const saw = tried.saw === '' ? '' : `: saw ${tried.saw}`
        say(depth, `${name} did not fit: ${tried.failed}${saw}`)
      }
      return
    }
    if (seen.has(about) || depth > DEEPEST) return
    seen.add(about)
    const through = walks.find(
      (walk) =>
        walk.chain === about.chain ||
        walk.rules.some(({ rule }) => rule.chain === about.chain || leadsTo(rule, about.chain)),
    )
    const entered =
      through !== undefined &&
      (through.chain === about.chain || through.rules.some((r) => r.matched && leadsTo(r.rule, about.chain)))
    if (entered) {
      say(
        depth,
        `${name} was not reached: ${nameOf(through.by, provenance)} ended the walk before it with ${through.verdict}`,
      )
      return
    }
    if (BUILTIN[about.table as TableName].includes(about.chain)) {
      say(depth, `${name} was not reached: ${whyNoWalk(about, hooks, record)}`)
      return
    }
    const callers = callersOf(about, engine, references)
    if (callers.length === 0) {
      say(depth, `${name} was not reached: no rule leads to the chain ${about.chain}`)
      return
    }
    say(depth, `${name} was not reached: nothing led to the chain ${about.chain}`)
    for (const caller of callers) ask(caller, depth + 1)
  }
  ask(rule, 0)
  return lines
}

const leadsTo = ({ text }: RuleRef, chain: string): boolean => / -[jg] (\S+)$/.exec(text)?.[1] === chain

function callersOf({ family, table, chain }: RuleRef, engine: Engine, references: References): RuleRef[] {
  const callers: RuleRef[] = []
  for (const loaded of engine.tables.table(family, table as TableName).chains.values()) {
    const number = references.chain(family, table as TableName, loaded)
    for (let i = 0; i < loaded.slots.count; i++) {
      const slot = loaded.slots.at[i]!
      const { target } = loaded.slots.bySlot[slot]!
      if ((target.kind === 'jump' || target.kind === 'goto') && target.chain === chain)
        callers.push(references.rule(number, slot))
    }
  }
  return callers
}

function whyNoWalk(
  { table, chain }: RuleRef,
  hooks: readonly string[],
  { verdict, reason }: PacketRecord,
): string {
  if (!hooks.includes(chain as HookStep['hook']))
    return `the packet did not come to ${chain}${reason === '' ? '' : ` (${verdict}: ${reason})`}`
  if (table === 'nat')
    return `the nat table is asked only for the first packet of a connection, and of none that is INVALID or UNTRACKED`
  return `the packet ended at ${chain} before the table ${table}`
}
