// What became of a capture, by verdict and deciding rule: the table that a person reads after a replay.
//
//       packets      bytes  verdict    decided by
//     1,022,311  9,204,114  forwarded  -A FORWARD -i lan -j ACCEPT                                iptables-save:14
//            17      1,020  replied    -A FORWARD -p tcp -m tcp --dport 23 -j REJECT …            iptables-save:12
//             3        180  dropped    no-route

import { FATE_NAMES, type Fate } from '../../datapath/fate.ts'
import type { RuleRef } from '../explain/record.ts'

export interface SummaryRow {
  packets: number
  /** From the network header on, as counters have it. */
  bytes: number
  readonly verdict: (typeof FATE_NAMES)[number]
  /** The report's word; '' and `rule`: the rule says all. */
  readonly reason: string
  /** Null: no rule decided. */
  readonly rule: RuleRef | null
}

/** Rows that are printed; the rest is one line. */
const ROWS = 24
const LONGEST_RULE = 110

export class Summary {
  readonly #rows: SummaryRow[] = []
  /** By Fate, then by rule; rows of one rule by reason. */
  readonly #found: Map<RuleRef | null, SummaryRow[]>[] = FATE_NAMES.map(() => new Map())

  /** Hot: counts a packet. `rule` decided, as the same object each time. */
  packet(fate: Fate, reason: string, rule: RuleRef | null, bytes: number): void {
    let rows = this.#found[fate]!.get(rule)
    if (rows === undefined) this.#found[fate]!.set(rule, (rows = []))
    for (let i = 0; i < rows.length; i++) {
      const row = rows[i]!
      if (row.reason !== reason) continue
      row.packets++
      row.bytes += bytes
      return
    }
    const row = { packets: 1, bytes, verdict: FATE_NAMES[fate]!, reason, rule }
    rows.push(row)
    this.#rows.push(row)
  }

  /** Most packets first. */
  rows(): SummaryRow[] {
    return this.#rows.toSorted((a, b) => b.packets - a.packets)
  }
}

const number = (n: number): string => n.toLocaleString('en')

/** `-A FORWARD -j DROP  host/iptables-save:12`: the rule, and where it stands. */
export function ruleWords(rule: RuleRef): [text: string, place: string] {
  const family = rule.family === 6 ? 'ip6 ' : ''
  const table = rule.table === 'filter' ? '' : `-t ${rule.table} `
  const place = rule.file === null || rule.line === null ? '' : `${rule.file}:${rule.line}`
  return [`${family}${table}${rule.text}`, place]
}

/** Words of the report that leave the decision to the rule. */
const BY_RULE = new Set(['', 'rule', 'delivered', 'echo'])

/** Who decided, in words: the rule, or what the host itself had against a packet that rules let pass. */
function decidedBy({ reason, rule }: SummaryRow): [text: string, place: string] {
  if (!BY_RULE.has(reason)) return [reason, '']
  return rule === null ? [reason === '' || reason === 'rule' ? 'no rule' : reason, ''] : ruleWords(rule)
}

const cut = (text: string): string =>
  text.length <= LONGEST_RULE ? text : `${text.slice(0, LONGEST_RULE - 1)}…`

/** Rows that read alike are one. */
function merged(
  rows: readonly SummaryRow[],
): { cells: [string, string, string]; packets: number; bytes: number }[] {
  const found = new Map<string, { cells: [string, string, string]; packets: number; bytes: number }>()
  for (const row of rows) {
    const [text, place] = decidedBy(row)
    const key = `${row.verdict}\n${text}\n${place}`
    const known = found.get(key)
    if (known === undefined)
      found.set(key, { cells: [row.verdict, cut(text), place], packets: row.packets, bytes: row.bytes })
    else {
      known.packets += row.packets
      known.bytes += row.bytes
    }
  }
  return [...found.values()].toSorted((a, b) => b.packets - a.packets)
}

const COLOURS: Readonly<Record<string, number>> = {
  forwarded: 32,
  delivered: 32,
  dropped: 31,
  replied: 33,
  consumed: 36,
}

/** The table as text. `colour`: with colours of a terminal. */
export function printSummary(rows: readonly SummaryRow[], colour: boolean): string {
  const lines = merged(rows)
  const shown = lines.slice(0, ROWS)
  const table = [
    ['packets', 'bytes', 'verdict', 'decided by', ''],
    ...shown.map(({ cells, packets, bytes }) => [number(packets), number(bytes), ...cells]),
  ]
  const rest = lines.slice(ROWS)
  const width = (column: number): number => Math.max(...table.map((row) => row[column]!.length))
  const widths = [0, 1, 2, 3].map(width)
  const text = table.map((row, i) => {
    const verdict = row[2]!.padEnd(widths[2]!)
    const code = COLOURS[row[2]!]
    const painted = colour && i > 0 && code !== undefined ? `\u001b[${code}m${verdict}\u001b[0m` : verdict
    const line = `${row[0]!.padStart(widths[0]!)}  ${row[1]!.padStart(widths[1]!)}  ${painted}  ${row[3]!.padEnd(widths[3]!)}  ${row[4]!}`
    return colour && i === 0 ? `\u001b[1m${line.trimEnd()}\u001b[0m` : line.trimEnd()
  })
  if (rest.length > 0) {
    const packets = rest.reduce((sum, row) => sum + row.packets, 0)
    const bytes = rest.reduce((sum, row) => sum + row.bytes, 0)
    text.push(
      `${number(packets).padStart(widths[0]!)}  ${number(bytes).padStart(widths[1]!)}  by ${rest.length} others`,
    )
  }
  return `${text.join('\n')}\n`
}
