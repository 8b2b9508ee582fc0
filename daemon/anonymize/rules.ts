// Rules: parsed by the engine, printed by their own extensions, mapped value by value. Lines stay where they were, so that
// an answer which names a file and a line is about that line of the owner's file, too.

import type { Family } from '../../datapath/packet.ts'
import { BUILTIN, type InterfaceMatch, type Rule, type TargetUse } from '../../rules/model.ts'
import type { OptionSpec } from '../../rules/options.ts'
import type { Tables } from '../../rules/tables.ts'
import { fields } from '../../rules/text/line.ts'
import { saveRule } from '../../rules/text/print.ts'
import type { TableView } from '../../rules/view.ts'
import { textOf } from '../bytes.ts'
import type { SourceFile } from '../host-folder/source.ts'
import type { Mapping } from './mapping.ts'
import { freezeNetwork, freezeOptions, mapNetwork, mapOptions, type Within } from './values.ts'

/** A rule with its own part of the file. */
interface Placed {
  readonly chain: string
  readonly rule: Rule
  readonly packets: number
  readonly bytes: number
}

/** Texts of a rule's matches and target with their options, as they are printed. */
function* printed(rule: Rule, family: Family): Generator<readonly [string, string, readonly OptionSpec[]]> {
  for (const { match, data } of rule.matches) {
    const alias = match.alias?.(data)
    yield [` -m ${alias?.name ?? match.name}`, alias?.text ?? match.print(data, family), match.options]
  }
  if (rule.target.kind === 'extension') {
    const { target, data } = rule.target
    yield [` -j ${target.name}`, target.print(data, family), target.options]
  }
}

function withinOf(mapping: Mapping, family: Family, chain: string, rule: Rule): Within {
  const { file, line, column } = rule.place ?? { file: 'rules', line: 1, column: 1 }
  return { mapping, family, chain, base: rule.base, where: `${file}:${line}:${column}` }
}

export function freezeRules(tables: Tables, family: Family, mapping: Mapping): void {
  for (const { chains } of tables.used(family))
    for (const [chain, { model }] of chains) {
      mapping.names.see(textOf(chain))
      for (const rule of model.rules) {
        const within = withinOf(mapping, family, chain, rule)
        for (const one of [rule.base.source, rule.base.destination])
          if (one !== null) freezeNetwork(one.words, one.mask, within)
        for (const [, text, options] of printed(rule, family)) freezeOptions(text, options, within)
      }
    }
}

/** `-A CHAIN …`, without the line end. */
function mapRule({ chain, rule }: Placed, family: Family, mapping: Mapping): string {
  const within = withinOf(mapping, family, chain, rule)
  const { source, destination, inInterface, outInterface } = rule.base
  const address = (one: typeof source): typeof source =>
    one === null ? null : { ...one, words: mapNetwork(one.words, one.mask, within) }
  const device = (one: InterfaceMatch | null): InterfaceMatch | null =>
    one === null ? null : { ...one, name: mapping.names.interface(textOf(one.name)) }
  const base = {
    ...rule.base,
    source: address(source),
    destination: address(destination),
    inInterface: device(inInterface),
    outInterface: device(outInterface),
  }
  const none: TargetUse = { kind: 'none' }
  let text = saveRule(
    mapping.names.chain(textOf(chain)),
    { ...rule, base, matches: [], target: none },
    family,
  )
  for (const [head, options, specs] of printed(rule, family))
    text += options === '' ? head : `${head} ${mapOptions(options, specs, within)}`
  const { target } = rule
  if (target.kind === 'jump' || target.kind === 'goto')
    text += ` -${target.kind === 'jump' ? 'j' : 'g'} ${mapping.names.chain(textOf(target.chain))}`
  else if (target.kind === 'standard') text += ` -j ${target.verdict}`
  return text
}

/** The file's text with everything mapped. */
export function mapRules(source: SourceFile, tables: Tables, family: Family, mapping: Mapping): string {
  const views = tables.used(family)
  const byLine = new Map<number, Placed[]>()
  let rules = 0
  for (const { chains } of views)
    for (const [chain, { model, counters }] of chains)
      for (const [i, rule] of model.rules.entries()) {
        rules++
        const placed = { chain, rule, packets: counters[2 * i]!, bytes: counters[2 * i + 1]! }
        const line = rule.place?.line ?? 0
        const there = byLine.get(line)
        if (there === undefined) byLine.set(line, [placed])
        else there.push(placed)
      }
  return asWritten(source, byLine, rules, family, mapping) ?? anew(views, family, mapping)
}

/** Line by line as the file has them; null: it does not only append rules. */
function asWritten(
  source: SourceFile,
  byLine: ReadonlyMap<number, readonly Placed[]>,
  rules: number,
  family: Family,
  mapping: Mapping,
): string | null {
  const out: string[] = []
  let found = 0
  for (const [i, line] of source.text.replace(/\n$/, '').split('\n').entries()) {
    const first = line[0]
    if (first === undefined) out.push('')
    else if (first === '#') out.push('#')
    else if (first === '*') out.push(`*${fields(line.slice(1))[0]}`)
    else if (first === ':') out.push(chainLine(line, mapping))
    else if (line === 'COMMIT') out.push(line)
    else {
      const placed = byLine.get(i + 1)
      if (placed === undefined || !/^(?:\[[^\]]*\] *)?(?:-A|--append)\s/.test(line)) return null
      for (const one of placed) {
        const counters = first === '[' ? `[${one.packets}:${one.bytes}] ` : ''
        out.push(counters + mapRule(one, family, mapping))
        found++
      }
    }
  }
  return found === rules ? `${out.join('\n')}\n` : null
}

function chainLine(line: string, mapping: Mapping): string {
  const [name = '', policy = '-', counters] = fields(line.slice(1))
  const to = mapping.names.chain(textOf(name))
  return `:${to} ${policy}${counters === undefined ? '' : ` ${counters}`}`
}

/** As iptables-save would print the tables. */
function anew(views: readonly TableView[], family: Family, mapping: Mapping): string {
  let text = ''
  for (const { name: table, chains } of views) {
    text += `*${table}\n`
    for (const [name, { model, policyPackets, policyBytes }] of chains)
      text += `:${mapping.names.chain(textOf(name))} ${model.policy ?? '-'} [${policyPackets}:${policyBytes}]\n`
    const builtin = BUILTIN[table]
    const names = [...builtin, ...[...chains.keys()].filter((name) => !builtin.includes(name))]
    for (const chain of names) {
      const { model, counters } = chains.get(chain)!
      for (const [i, rule] of model.rules.entries()) {
        const one = { chain, rule, packets: counters[2 * i]!, bytes: counters[2 * i + 1]! }
        text += `[${one.packets}:${one.bytes}] ${mapRule(one, family, mapping)}\n`
      }
    }
    text += 'COMMIT\n'
  }
  return text
}
