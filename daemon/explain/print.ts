// An explanation as text: the summary first, then every hook and table in order, then what changed.

import type { Colors } from '../colors.ts'
import { decode } from '../frames/decode.ts'
import type { Provenance } from '../provenance/index.ts'
import { changes } from './changes.ts'
import type {
  ConntrackStep,
  EntryFacts,
  Journey,
  MatchedRule,
  PacketFacts,
  RouteStep,
  RuleRef,
  Step,
  TableStep,
} from './record.ts'
import type { Played } from './stage.ts'
import { authorOf, endWords, natWords, placeOf, summarise } from './summary.ts'
import { hex } from './values.ts'

export interface PrintOptions {
  readonly colors: Colors
  readonly provenance: Provenance
  /** Rules that did not fit as well. */
  readonly all: boolean
}

/** Fields that differ between the pieces of one packet. */
const OF_PIECES: ReadonlySet<string> = new Set([
  'sport',
  'dport',
  'fragment',
  'length',
  'checksum',
  'payload',
])

const GOOD = new Set(['FORWARDED', 'DELIVERED', 'ACCEPT'])

/** One packet's explanation, with a line end behind the last line. */
export function printExplanation(played: Played, options: PrintOptions): string {
  return new Printer(options).packet(played)
}

class Printer {
  readonly #c: Colors
  readonly #provenance: Provenance
  readonly #all: boolean
  readonly #lines: string[] = []

  constructor({ colors, provenance, all }: PrintOptions) {
    this.#c = colors
    this.#provenance = provenance
    this.#all = all
  }

  packet(played: Played): string {
    const { record, words } = played
    const { verdict, text } = summarise(played, this.#provenance)
    this.#line(0, `${this.#verdict(verdict)} ${text}`.trimEnd())
    this.#line(0, '')
    for (const [i, journey] of record.journeys.entries()) {
      if (i > 0) this.#line(0, '')
      this.#line(0, this.#c.bold(i === 0 ? shorter(words ?? decode(played.came)) : this.#heading(journey)))
      for (const step of journey.steps) this.#step(step)
      this.#marks(journey)
    }
    if (record.journeys.length === 0) this.#line(0, this.#c.bold(shorter(words ?? decode(played.came))))
    this.#left(played)
    return `${this.#lines.join('\n')}\n`
  }

  #line(depth: number, text: string): void {
    this.#lines.push(text === '' ? '' : `${'  '.repeat(depth)}${text}`)
  }

  #verdict(verdict: string): string {
    const { bold, green, red, yellow } = this.#c
    const color = GOOD.has(verdict) ? green : verdict === 'DROP' || verdict === 'DROPPED' ? red : yellow
    return bold(color(verdict))
  }

  #heading({ kind, packet }: Journey): string {
    const words = {
      arrived: 'arrived',
      'made here': 'sent by this host',
      looped: 'came back by lo',
      copy: 'a copy',
    }
    return `${factWords(packet)}, ${words[kind]}`
  }

  #step(step: Step): void {
    switch (step.at) {
      case 'hook': {
        const ways = [
          step.in === null ? '' : `in ${step.in}`,
          step.out === null ? '' : `out ${step.out}`,
        ].filter((way) => way !== '')
        this.#line(1, `${this.#c.cyan(step.hook)}${ways.length === 0 ? '' : `, ${ways.join(', ')}`}`)
        break
      }
      case 'defrag':
        this.#line(
          2,
          step.complete
            ? `fragments put together: ${step.length} bytes`
            : 'fragment kept until the others come',
        )
        break
      case 'conntrack':
        this.#conntrack(step)
        break
      case 'table':
        this.#table(step)
        break
      case 'nat': {
        const changed = step.before[0] !== step.after[0] || step.before[1] !== step.after[1]
        const how =
          step.binding === 'null'
            ? 'no rule: the connection keeps its own'
            : step.binding === 'old'
              ? 'as the connection was bound'
              : `by ${step.rule?.name}`
        this.#line(
          2,
          changed
            ? this.#c.yellow(`${natWords({ ...step, rule: null })} ${how}`)
            : this.#c.dim(`nat: ${step.changes} ${endWords(step.before)} stays, ${how}`),
        )
        break
      }
      case 'route':
        this.#route(step)
        break
      case 'confirm':
        this.#line(2, `conntrack: the connection is in the table: ${entryWords(step.entry)}`)
        break
      case 'drop':
        this.#line(2, this.#c.red(`dropped: ${step.reason}`))
        break
      case 'sent':
        this.#line(1, `out of ${step.dev}: ${step.length} bytes`)
        break
    }
  }

  #conntrack({ state, direction, before, after, why, sysctl, window }: ConntrackStep): void {
    const way = direction === 'reply' ? ', reply' : ''
    const shown = state === 'INVALID' ? this.#c.red(state) : this.#c.bold(state)
    this.#line(2, `conntrack: ${shown}${way}`)
    if (before !== null) this.#line(3, `before: ${entryWords(before)}`)
    if (after !== null) this.#line(3, `${before === null ? 'new' : 'after'}: ${entryWords(after)}`)
    else if (before === null && state === 'INVALID') this.#line(3, 'no connection')
    if (why !== null) this.#line(3, `why: ${why}`)
    if (window !== null && why !== null && /\b(SEQ|ACK|bytes more)\b/.test(why)) {
      const { seq, ack, sender, receiver } = window
      this.#line(4, `this packet: seq ${seq}, ack ${ack}`)
      this.#line(4, `its sender: sent up to ${sender.end}, may send up to ${sender.limit}`)
      this.#line(4, `its receiver: sent up to ${receiver.end}, announced a window of ${receiver.window}`)
    }
    if (sysctl !== null) this.#line(3, `${sysctl} would make it otherwise`)
  }

  #route({ dst, src, mark, rule, route, to, dev, via, why }: RouteStep): void {
    const asked = `${dst} from ${src}${mark === 0 ? '' : ` mark ${hex(mark)}`}`
    const answer =
      to === 'nowhere'
        ? this.#c.red('nowhere')
        : to === 'forward'
          ? `${via === null ? 'on the link' : `via ${via}`} dev ${dev}`
          : `to this host${to === 'local' ? '' : `, ${to}`}`
    this.#line(1, `${this.#c.cyan('routing')}: ${asked}: ${answer}`)
    if (rule !== null) this.#line(2, this.#c.dim(`rule  ${rule}`))
    if (route !== null) this.#line(2, this.#c.dim(`route ${route}`))
    if (why !== null) this.#line(2, why)
  }

  #table({ table, chain, rules, verdict, by }: TableStep): void {
    const shown = this.#all ? rules : rules.filter((rule) => rule.matched || rule.dropped)
    const end = `${this.#verdict(verdictWord(verdict, by))}${by.number === 0 ? this.#c.dim(` policy`) : ` by ${by.chain} ${by.number}`}`
    this.#line(2, `${this.#c.bold(table)} ${chain}: ${end}`)
    for (const rule of shown) {
      const text = `${rule.rule.chain} ${rule.rule.number}  ${this.#text(rule.rule)}`
      if (rule.matched)
        this.#line(
          3 + rule.depth,
          `${this.#all ? '+ ' : ''}${text}${this.#changed(rule)}${this.#more(rule.rule)}`,
        )
      else {
        const failed =
          rule.failed === '' ? rule.saw : `${rule.failed}${rule.saw === '' ? '' : ` saw ${rule.saw}`}`
        this.#line(3 + rule.depth, this.#c.dim(`- ${text}: not ${failed}${rule.dropped ? ', dropped' : ''}`))
      }
    }
  }

  /** What iptables-save prints, without the chain. */
  #text({ text, chain }: RuleRef): string {
    return text.slice(`-A ${chain} `.length)
  }

  #changed({ mark, ctmark }: MatchedRule): string {
    const words = [
      mark === undefined ? '' : `mark ${hex(mark[0])} -> ${hex(mark[1])}`,
      ctmark === undefined ? '' : `connmark ${hex(ctmark[0])} -> ${hex(ctmark[1])}`,
    ].filter((text) => text !== '')
    return words.length === 0 ? '' : `  ${this.#c.yellow(`[${words.join(', ')}]`)}`
  }

  #more(rule: RuleRef): string {
    // The folder stands in the command, and in the first line.
    const place = placeOf(rule)?.replace(/^.*\//, '') ?? null
    const words = [place, authorOf(rule, this.#provenance)].filter((text) => text !== null)
    return words.length === 0 ? '' : `  ${this.#c.dim(`# ${words.join(', ')}`)}`
  }

  /** Bits of packet mark and connmark at the end, and who set each. */
  #marks(journey: Journey): void {
    for (const [name, kind] of [
      ['mark', 'mark'],
      ['connmark', 'ctmark'],
    ] as const) {
      const setters = markBits(journey, kind)
      if (setters === null) continue
      const before = kind === 'mark' ? 'where it came from' : 'earlier packets'
      const parts = setters.bits.map(
        ({ bits, rule }) => `${hex(bits)} by ${rule === null ? before : rule.name}`,
      )
      this.#line(
        1,
        `${name} at the end ${hex(setters.mark)}${parts.length === 0 ? '' : `: ${parts.join(', ')}`}`,
      )
    }
  }

  #left({ record, came, left }: Played): void {
    if (left.length === 0) return
    const own = new Set(
      (record.journeys[0]?.steps ?? []).filter((step) => step.at === 'sent').map((step) => step.frame),
    )
    // What came was a piece of what left.
    const whole = record.journeys[0]?.steps.some((step) => step.at === 'defrag') !== true
    for (const [i, { device, frame }] of left.entries()) {
      this.#line(0, '')
      this.#line(0, `${this.#c.bold(`left by ${device}`)}  ${decode(frame)}`)
      if (!own.has(i)) continue
      const list = changes(came, frame).filter(({ field }) => whole || !OF_PIECES.has(field))
      const width = Math.max(0, ...list.map(({ field }) => field.length))
      for (const { field, before, after } of list)
        this.#line(1, `${field.padEnd(width)}  ${this.#c.red(before)} -> ${this.#c.green(after)}`)
    }
  }
}

/** Without most of a long payload. */
const shorter = (words: string): string =>
  words.replace(/payload 0x([0-9a-f]{32})[0-9a-f]{32,}/g, (all, head) => {
    const bytes = (all.length - 'payload 0x'.length) / 2
    return `payload 0x${head}… (${bytes} bytes)`
  })

/** REJECT and its like end a walk with DROP: they are what decided. */
const verdictWord = (verdict: string, { text }: RuleRef): string =>
  verdict === 'DROP' ? (/ -j ([A-Z]+)/.exec(text)?.[1] ?? verdict) : verdict

/** The mark (or connmark) as the journey left it, and the rules that set its bits; null: it was never other than 0. */
export function markBits(
  journey: Journey,
  kind: 'mark' | 'ctmark' = 'mark',
): {
  readonly mark: number
  readonly bits: { readonly bits: number; readonly rule: RuleRef | null }[]
} | null {
  let mark = kind === 'mark' ? journey.packet.mark : 0
  const owner: (RuleRef | null)[] = new Array(32).fill(null)
  let touched = mark !== 0
  for (const step of journey.steps) {
    if (step.at === 'conntrack' && kind === 'ctmark') {
      mark = step.after?.mark ?? 0
      touched ||= mark !== 0
    }
    if (step.at !== 'table') continue
    for (const rule of step.rules) {
      const change = rule.matched ? rule[kind] : undefined
      if (change === undefined) continue
      touched = true
      const [before, after] = change
      for (let bit = 0; bit < 32; bit++) if (((before ^ after) >>> bit) & 1) owner[bit] = rule.rule
      mark = after
    }
  }
  if (!touched) return null
  const by = new Map<RuleRef | null, number>()
  for (let bit = 0; bit < 32; bit++)
    if ((mark >>> bit) & 1) by.set(owner[bit]!, ((by.get(owner[bit]!) ?? 0) | (1 << bit)) >>> 0)
  return { mark, bits: [...by].map(([rule, bits]) => ({ bits, rule })) }
}

export const factWords = ({ protocol, src, dst, sport, dport }: PacketFacts): string =>
  `${protocol} ${endWords([src, sport])} > ${endWords([dst, dport])}`

function entryWords({ protocol, state, timeout, status, original, reply, mark, master }: EntryFacts): string {
  const ports = protocol === 'icmp' || protocol === 'icmpv6' ? [-1, -1] : null
  const side = (t: EntryFacts['original']): string => {
    const none = ports !== null || (t.sport === 0 && t.dport === 0)
    return `${endWords([t.src, none ? -1 : t.sport])} > ${endWords([t.dst, none ? -1 : t.dport])}`
  }
  const flags = [
    status.includes('SEEN_REPLY') ? '' : 'UNREPLIED',
    status.includes('ASSURED') ? 'ASSURED' : '',
    status.includes('SRC_NAT') ? 'SNAT' : '',
    status.includes('DST_NAT') ? 'DNAT' : '',
  ].filter((flag) => flag !== '')
  return [
    protocol,
    state,
    `${timeout} s`,
    side(original),
    `reply ${side(reply)}`,
    flags.length === 0 ? '' : `[${flags.join(', ')}]`,
    mark === 0 ? '' : `mark ${hex(mark)}`,
    master === null ? '' : `announced by connection ${master}`,
  ]
    .filter((word) => word !== '')
    .join(' ')
}
