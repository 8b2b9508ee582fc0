// Coverage for people and for tools: a summary, the rules as they stand in their files with what hit them (as gcov does),
// and lcov's format.

import { readFileSync } from 'node:fs'
import type { Family } from '../../datapath/packet.ts'
import type { Covered } from './collect.ts'
import type { Never } from './shadow.ts'

/** Where texts come from that are in no file of their own. */
export type ReadText = (file: string) => string

export const readText: ReadText = (file) => readFileSync(file, 'utf8')

export interface Sums {
  readonly rules: number
  readonly hit: number
  readonly never: number
}

const isRule = ({ number }: Covered): boolean => number > 0

export function sums(rules: readonly Covered[]): Sums {
  const own = rules.filter(isRule)
  return {
    rules: own.length,
    hit: own.filter(({ hits }) => hits > 0).length,
    never: own.filter(({ never, hits }) => never !== null && hits === 0).length,
  }
}

const percent = (part: number, whole: number): string =>
  whole === 0 ? '100%' : `${Math.floor((part * 100) / whole)}%`

/** By table and in all. */
export function summary(rules: readonly Covered[]): string {
  const lines: [string, ...string[]][] = [['', 'rules', 'hit', '', 'never hit', 'can never be hit']]
  const say = (name: string, list: readonly Covered[]): void => {
    const { rules: all, hit, never } = sums(list)
    lines.push([name, `${all}`, `${hit}`, percent(hit, all), `${all - hit - never}`, `${never}`])
  }
  const tables = new Map<string, Covered[]>()
  for (const rule of rules) {
    const name = `${rule.family === 4 ? 'iptables' : 'ip6tables'} ${rule.table}`
    const list = tables.get(name)
    if (list === undefined) tables.set(name, [rule])
    else list.push(rule)
  }
  for (const [name, list] of tables) if (list.some(isRule)) say(name, list)
  say('all', rules)
  const widths = lines[0]!.map((_, i) => Math.max(...lines.map((line) => line[i]!.length)))
  return lines
    .map((line) =>
      line
        .map((cell, i) => (i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!)))
        .join('  ')
        .trimEnd(),
    )
    .map((line) => `${line}\n`)
    .join('')
}

/** Why a rule can never be hit, with the rules that are to blame. */
export function whyNever(never: Never, rule: Covered, all: readonly Covered[]): string {
  if (never.why === 'impossible') return 'can never be hit: its conditions exclude each other'
  if (never.why === 'unreachable') return `can never be hit: nothing that can be hit jumps to ${rule.chain}`
  const names = never.by.slice(0, 4).map((number) => {
    const other = all.find(
      (one) =>
        one.family === rule.family &&
        one.table === rule.table &&
        one.chain === rule.chain &&
        one.number === number,
    )
    return other?.line == null ? `rule ${number}` : `line ${other.line}`
  })
  return `can never be hit: shadowed by ${names.join(', ')}${never.by.length > 4 ? ` and ${never.by.length - 4} more` : ''}`
}

interface LineFacts {
  hits: number
  /** Null: some packet might hit it. */
  never: string | null
  rules: number
}

/** Facts of the lines of each file, policies on the lines that set them. */
function byFile(
  rules: readonly Covered[],
  read: ReadText,
): Map<string, { readonly lines: string[]; readonly facts: Map<number, LineFacts> }> {
  const files = new Map<string, { lines: string[]; facts: Map<number, LineFacts> }>()
  const factsOf = (file: string): Map<number, LineFacts> => {
    let known = files.get(file)
    if (known === undefined) {
      known = { lines: read(file).replace(/\n$/, '').split('\n'), facts: new Map() }
      files.set(file, known)
    }
    return known.facts
  }
  const all = index(rules)
  for (const rule of rules) {
    if (rule.file === null || rule.line === null) continue
    const facts = factsOf(rule.file)
    const never = rule.never === null || rule.hits > 0 ? null : whyNever(rule.never, rule, all(rule))
    const known = facts.get(rule.line)
    if (known === undefined) facts.set(rule.line, { hits: rule.hits, never, rules: 1 })
    else {
      // One line may be several rules (-s A,B): it is dead if all of them are.
      known.hits += rule.hits
      known.never = known.never !== null && never !== null ? known.never : null
      known.rules++
    }
  }
  for (const [file, { lines, facts }] of files)
    policies(lines, facts, rules, rules.find((rule) => rule.file === file)!.family)
  return files
}

/** The rules of the same chain. */
function index(rules: readonly Covered[]): (rule: Covered) => readonly Covered[] {
  const chains = new Map<string, Covered[]>()
  const key = ({ family, table, chain }: Covered): string => `${family} ${table} ${chain}`
  for (const rule of rules) {
    const list = chains.get(key(rule))
    if (list === undefined) chains.set(key(rule), [rule])
    else list.push(rule)
  }
  return (rule) => chains.get(key(rule)) ?? []
}

/** `:FORWARD DROP [0:0]` counts what the policy counted. */
function policies(
  lines: readonly string[],
  facts: Map<number, LineFacts>,
  rules: readonly Covered[],
  family: Family,
): void {
  const counted = new Map(
    rules.filter((r) => r.number === 0 && r.family === family).map((r) => [`${r.table} ${r.chain}`, r.hits]),
  )
  let table = ''
  lines.forEach((text, i) => {
    const begins = /^\s*\*(\S+)/.exec(text)
    if (begins !== null) table = begins[1]!
    const policy = /^\s*:(\S+) (ACCEPT|DROP)\b/.exec(text)
    const hits = policy === null ? undefined : counted.get(`${table} ${policy[1]}`)
    if (hits !== undefined) facts.set(i + 1, { hits, never: null, rules: 0 })
  })
}

/**
 * The files with a column of hits: `#####` for rules that were never hit, `=====` for those that can never be, `-` for
 * lines without a rule.
 */
export function annotated(rules: readonly Covered[], read: ReadText = readText): string {
  let text = ''
  for (const [file, { lines, facts }] of byFile(rules, read)) {
    text += `${' '.repeat(8)}-:    0:Source:${file}\n`
    lines.forEach((line, i) => {
      const known = facts.get(i + 1)
      const count =
        known === undefined
          ? '-'
          : known.hits > 0
            ? String(known.hits)
            : known.never !== null
              ? '====='
              : known.rules === 0
                ? '0'
                : '#####'
      const why = known?.never == null ? '' : `  # ${known.never}`
      text += `${count.padStart(9)}:${String(i + 1).padStart(5)}:${line}${why}\n`
    })
  }
  return text
}

/** lcov's tracefile: a line of a rule is a line of code. */
export function lcov(rules: readonly Covered[], read: ReadText = readText): string {
  let text = ''
  for (const [file, { facts }] of byFile(rules, read)) {
    const lines = [...facts].sort(([a], [b]) => a - b)
    text += `TN:\nSF:${file}\n`
    for (const [line, { hits }] of lines) text += `DA:${line},${hits}\n`
    text += `LF:${lines.length}\nLH:${lines.filter(([, { hits }]) => hits > 0).length}\nend_of_record\n`
  }
  return text
}
