// What a comparison says: flows that differ, grouped by what they differ in and by both deciding rules.

import type { FATE_NAMES } from '../../datapath/fate.ts'
import type { Colors } from '../colors.ts'
import type { RuleRef } from '../explain/record.ts'
import { authorOf } from '../explain/summary.ts'
import type { Provenance } from '../provenance/index.ts'
import { ruleWords } from '../replay/summary.ts'
import { KINDS, type Kind } from './outcome.ts'

/** What one host made of a packet. */
export interface SideOutcome {
  readonly verdict: (typeof FATE_NAMES)[number]
  /** The replay report's word. */
  readonly reason: string
  /** What decided; null: no rule. */
  readonly rule: RuleRef | null
  /** Rules of the nat table that bound the connection. */
  readonly nat: readonly RuleRef[]
  readonly out: readonly OutPacket[]
}

/** What left. */
export interface OutPacket {
  /** Null: it reached the host itself. */
  readonly dev: string | null
  /** Protocol and both ends. */
  readonly flow: string
  /** The packet in words. */
  readonly packet: string
}

/** Packets of one flow that differ in one way. */
export interface FlowDifference {
  /** `tcp 10.0.0.1:1000 > 10.0.0.2:80 in eth0`. */
  readonly flow: string
  readonly in: string
  readonly kind: Kind
  readonly a: SideOutcome
  readonly b: SideOutcome
  packets: number
  /** From the network header on. */
  bytes: number
  /** Number of the first such packet, from 0. */
  readonly first: number
}

export interface Comparison {
  /** Packets compared. */
  readonly packets: number
  readonly different: number
  readonly flows: readonly FlowDifference[]
}

/** Flows of one group that are listed. */
const FLOWS = 5
/** Groups that are printed. */
const GROUPS = 40

const HEADS: Readonly<Record<Kind, string>> = {
  verdict: 'another verdict',
  way: 'another way out',
  translation: 'another translation',
  contents: 'other contents',
  rule: 'another rule decides',
}

interface Group {
  readonly kind: Kind
  readonly a: string
  readonly b: string
  readonly flows: FlowDifference[]
  packets: number
  bytes: number
}

const count = (n: number, word: string): string => `${n.toLocaleString('en')} ${word}${n === 1 ? '' : 's'}`

/** The comparison as text. Provenance of both sides names who wrote a rule. */
export function printComparison(
  { packets, different, flows }: Comparison,
  provenance: readonly [Provenance, Provenance],
  paint: Colors,
): string {
  if (flows.length === 0) return `no difference in ${count(packets, 'packet')}\n`
  const words = (outcome: SideOutcome, kind: Kind, side: 0 | 1): string =>
    outcomeWords(outcome, kind, provenance[side], paint)
  const groups = new Map<string, Group>()
  for (const flow of flows) {
    const [a, b] = [words(flow.a, flow.kind, 0), words(flow.b, flow.kind, 1)]
    const key = `${flow.kind}\n${a}\n${b}`
    let group = groups.get(key)
    if (group === undefined)
      groups.set(key, (group = { kind: flow.kind, a, b, flows: [], packets: 0, bytes: 0 }))
    group.flows.push(flow)
    group.packets += flow.packets
    group.bytes += flow.bytes
  }
  const sorted = [...groups.values()].toSorted(
    (x, y) => KINDS.indexOf(x.kind) - KINDS.indexOf(y.kind) || y.packets - x.packets,
  )
  const lines: string[] = []
  for (const group of sorted.slice(0, GROUPS)) {
    const total = `${count(group.flows.length, 'flow')}, ${count(group.packets, 'packet')}, ${count(group.bytes, 'byte')}`
    lines.push(`${paint.bold(HEADS[group.kind])}: ${total}`, `  A  ${group.a}`, `  B  ${group.b}`)
    const shown = group.flows.toSorted((x, y) => y.packets - x.packets || x.first - y.first).slice(0, FLOWS)
    const width = Math.max(...shown.map(({ flow }) => flow.length))
    for (const one of shown) {
      const { flow, packets: n, bytes, first } = one
      lines.push(
        paint.dim(
          `     ${flow.padEnd(width)}  ${count(n, 'packet')}, ${count(bytes, 'byte')}, first ${first}`,
        ),
      )
      if (LEAVING.has(one.kind))
        lines.push(`       A  ${leaving(one.a, one.kind)}`, `       B  ${leaving(one.b, one.kind)}`)
    }
    if (group.flows.length > shown.length)
      lines.push(paint.dim(`     and ${count(group.flows.length - shown.length, 'more flow')}`))
    lines.push('')
  }
  if (sorted.length > GROUPS)
    lines.push(`and ${count(sorted.length - GROUPS, 'group')} more: --json has all`, '')
  lines.push(
    `${count(flows.length, 'flow')} differ${flows.length === 1 ? 's' : ''}: ${different.toLocaleString('en')} of ${count(packets, 'packet')}`,
  )
  return `${lines.join('\n')}\n`
}

const COLOURS = {
  forwarded: 'green',
  delivered: 'green',
  dropped: 'red',
  replied: 'yellow',
  consumed: 'dim',
} as const

/** `dropped by -A FORWARD -j DROP (b/iptables-save:12)`; with translation where that is what differs. */
export function outcomeWords(
  { verdict, reason, rule, nat }: SideOutcome,
  kind: Kind,
  provenance: Provenance,
  paint: Colors,
): string {
  const said = paint[COLOURS[verdict]](verdict)
  const ended = reason !== '' && reason !== 'rule' && reason !== 'delivered' && reason !== 'echo'
  const by = ended ? `: ${reason}` : rule === null ? '' : ` by ${named(rule, provenance, paint)}`
  const bound = LEAVING.has(kind) ? nat.filter((r) => r !== rule) : []
  return `${said}${by}${bound.map((r) => `, ${named(r, provenance, paint)}`).join('')}`
}

/** What leaves is what differs. */
const LEAVING: ReadonlySet<Kind> = new Set<Kind>(['way', 'translation', 'contents'])

function leaving({ out }: SideOutcome, kind: Kind): string {
  if (out.length === 0) return 'nothing leaves'
  const words = ({ flow, packet }: OutPacket): string =>
    kind === 'contents' ? packet.replace(/ payload .*/, '') : flow
  return out.map((o) => `${o.dev === null ? 'to the host itself' : `out ${o.dev}`}: ${words(o)}`).join('; ')
}

function named(rule: RuleRef, provenance: Provenance, paint: Colors): string {
  const [text, place] = ruleWords(rule)
  const author = authorOf(rule, provenance)
  return `${text}${place === '' ? '' : paint.dim(` (${place})`)}${author === null ? '' : paint.dim(` [${author}]`)}`
}

/** The comparison as JSON, pretty. */
export const comparisonJson = (comparison: Comparison): string => `${JSON.stringify(comparison, null, 2)}\n`

/** One conversation on which the hosts differ, as text. */
export function printFound(
  words: string,
  { kind, a, b }: { readonly kind: Kind; readonly a: SideOutcome; readonly b: SideOutcome },
  provenance: readonly [Provenance, Provenance],
  paint: Colors,
): string {
  const lines = [`${paint.bold(HEADS[kind])}: ${words}`]
  for (const [name, side, i] of [
    ['A', a, 0],
    ['B', b, 1],
  ] as const) {
    lines.push(`  ${name}  ${outcomeWords(side, kind, provenance[i], paint)}`)
    if (LEAVING.has(kind)) lines.push(`     ${leaving(side, kind)}`)
  }
  return `${lines.join('\n')}\n`
}
