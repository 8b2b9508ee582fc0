// What became of a packet that a test sent: its fate, the frames, the rules, the translation, and the record behind it.

import type { Engine } from '../engine.ts'
import type { Decision, Journey, PacketRecord, RuleRef, Step } from '../explain/record.ts'
import { authorOf } from '../explain/summary.ts'
import { Provenance } from '../provenance/index.ts'
import { reply } from '../words/conversation.ts'
import type { PacketWords } from '../words/model.ts'
import { parsePacket } from '../words/parse.ts'
import { printPacket } from '../words/print.ts'
import { isQuery } from '../words/vocabulary.ts'
import { optionWords, type Packet } from './packets.ts'
import { isRule, type RuleName } from './rule-names.ts'

/** A frame that left the host, or that a process of the host got (`dev` is lo). */
export interface OutFrame {
  readonly dev: string
  /** From the IP header on. */
  readonly frame: Uint8Array
  /** What it holds; null: no IP packet. */
  readonly packet: PacketWords | null
}

/** forwarded and sent (by the host itself) left; delivered reached a process; replied was answered by the host. */
export type Verdict = 'forwarded' | 'sent' | 'delivered' | 'dropped' | 'replied' | 'consumed'

/** Address and port, as `10.0.0.1:80`, `[2001:db8::1]:80`, or the address alone. */
export type EndText = string

/** @internal One frame of the packet through the engine. */
export interface Seen {
  readonly record: PacketRecord
  readonly frames: readonly OutFrame[]
  readonly local: boolean
  readonly fate: string
}

export class Result {
  /** The packet as it was sent; null: bytes that are no IP packet. */
  readonly packet: PacketWords | null
  readonly verdict: Verdict
  /** Why it ended here (`rule`, `no-route`, `ttl`, `delivered` …); '' for one that left. */
  readonly reason: string
  /** The rule or policy that decided; null: no rule did. */
  readonly decision: Decision | null
  /** The packet as it left, in as many frames as it did. */
  readonly sent: readonly OutFrame[]
  /** What the host made because of it: answers, copies. */
  readonly answers: readonly OutFrame[]
  /** The packet as a process of the host got it; null: none did. */
  readonly delivered: OutFrame | null
  /** Rules that it matched, in order. */
  readonly rules: readonly RuleRef[]
  /** The mark at its end. */
  readonly mark: number
  /** The record behind all this; of a packet in fragments that of the last one. */
  readonly record: PacketRecord
  readonly #engine: Engine

  /** @internal */
  constructor(engine: Engine, packet: PacketWords | null, seen: readonly Seen[]) {
    this.#engine = engine
    const last = seen.at(-1)!
    const { record } = last
    const sent: OutFrame[] = []
    const answers: OutFrame[] = []
    let delivered: OutFrame | null = null
    for (const { record, frames } of seen) {
      const answered = new Set<number>()
      record.journeys.forEach((journey, n) => {
        if (n > 0 && isOwn(journey, record)) return
        if (n > 0) for (const step of journey.steps) if (step.at === 'sent') answered.add(step.frame)
      })
      frames.forEach((frame, n) => {
        if (frame.dev === 'lo') delivered = frame
        else if (answered.has(n)) answers.push(frame)
        else sent.push(frame)
      })
    }
    this.packet = packet
    this.record = record
    this.sent = sent
    this.answers = answers
    this.delivered = delivered
    this.decision = record.decision
    this.rules = seen.flatMap(({ record }) => matched(record))
    this.mark = seen.map(({ record }) => markOf(record)).at(-1)!
    this.verdict = verdictOf(last, sent.length > 0, delivered !== null, answers.length > 0)
    const passed = this.verdict === 'forwarded' || this.verdict === 'sent'
    this.reason = passed ? '' : this.verdict === 'delivered' ? 'delivered' : record.reason
  }

  /** The packet as it left or was delivered; null: it did neither. */
  get out(): PacketWords | null {
    return this.sent[0]?.packet ?? this.delivered?.packet ?? null
  }

  /** Addresses and ports that NAT changed, after it; null where nothing changed. */
  get nat(): { readonly src: EndText | null; readonly dst: EndText | null } {
    const { packet, out } = this
    if (packet === null || out === null) return { src: null, dst: null }
    const src = endText(out, 'src')
    const dst = endText(out, 'dst')
    return {
      src: src === endText(packet, 'src') ? null : src,
      dst: dst === endText(packet, 'dst') ? null : dst,
    }
  }

  /** With what the host rejected it, in REJECT's words (`tcp-reset`, `icmp-port-unreachable`); null: it did not. */
  get rejection(): string | null {
    const answer = this.answers[0]?.packet
    return this.verdict === 'replied' && answer ? rejectionName(answer) : null
  }

  /** The mark that its connection has; null: it belongs to none. */
  get ctmark(): number | null {
    let mark: number | null = null
    for (const step of this.#own()) {
      if (step.at === 'conntrack') mark = step.after?.mark ?? null
      else if (step.at === 'confirm') mark = step.entry.mark
      else if (step.at === 'table')
        for (const rule of step.rules) if (rule.matched && rule.ctmark) mark = rule.ctmark[1]
    }
    return mark
  }

  /** `NEW`, `ESTABLISHED`, `RELATED`, `INVALID`, `UNTRACKED`; null: conntrack did not see it. */
  get state(): string | null {
    for (const step of this.#own()) if (step.at === 'conntrack') return step.state
    return null
  }

  /** Next hop of the route that it took; null: none, or its destination is on the link. */
  get via(): string | null {
    let via: string | null = null
    for (const step of this.#own()) if (step.at === 'route') via = step.via
    return via
  }

  /** Whether it matched a rule; see RuleName for what rules may be called. */
  matched(rule: RuleName): boolean {
    return this.rules.some((ref) => isRule(ref, rule, this.#engine))
  }

  /** Whether this rule, or policy, decided. */
  decidedBy(rule: RuleName): boolean {
    return this.decision !== null && isRule(this.decision.rule, rule, this.#engine)
  }

  /**
   * What the other end would answer, ready for Host.send(): addresses turned around as the packet left, or as a process
   * of the host got it. SYN+ACK to a SYN, an echo reply to an echo request. Throws if nobody got the packet.
   */
  reply(options: object = {}): Packet {
    const { out } = this
    if (out === null) throw new Error(`nobody got the packet, so nobody can reply:\n${this.summary()}`)
    const words = optionWords(options)
    const plain = reply(out, out.from, {})
    if (words === '') return plain
    const { family, protocol, src, dst, sport, dport, from } = plain
    const end = (address: string, port: number | undefined): string =>
      port === undefined ? address : `${family === 6 ? `[${address}]` : address}:${port}`
    const said = parsePacket(`${end(src, sport)} > ${end(dst, dport)} ${words}`, protocol)
    return { ...plain, ...said, from }
  }

  *#own(): Generator<Step> {
    for (const [n, journey] of this.record.journeys.entries())
      if (n === 0 || isOwn(journey, this.record)) yield* journey.steps
  }

  /** The packet and what became of it in one line, then what decided, table by table. */
  summary(): string {
    const lines = [this.headline()]
    for (const step of this.#own()) {
      const said = sayStep(step)
      if (said !== null) lines.push(`  ${said}`)
    }
    for (const { dev, packet } of this.sent)
      if (packet !== null) lines.push(`  sent by ${dev}: ${printPacket({ ...packet, from: null })}`)
    for (const { dev, packet } of this.answers)
      if (packet !== null) lines.push(`  answered by ${dev}: ${printPacket({ ...packet, from: null })}`)
    return lines.join('\n')
  }

  /** `tcp 10.0.0.5:40000 > 10.0.0.9:22 syn in eth0: dropped by filter FORWARD 3 (-A FORWARD … -j DROP)`. */
  headline(): string {
    const who = this.packet === null ? 'a frame that is no packet' : shortWords(this.packet)
    return `${who}: ${this.outcome()}`
  }

  /** `dropped by filter FORWARD 3 (…)`, `forwarded to eth1 as 10.0.0.5:40000 > 10.200.3.7:8080`. */
  outcome(): string {
    const { decision, verdict } = this
    const by = decision === null ? '' : ` by ${ruleText(decision.rule, this.#author(decision.rule))}`
    switch (verdict) {
      case 'forwarded':
      case 'sent': {
        const as = this.nat.src === null && this.nat.dst === null ? '' : ` as ${route(this.out!)}`
        return `${verdict} to ${this.sent[0]?.dev}${as}`
      }
      case 'delivered': {
        const as = this.nat.src === null && this.nat.dst === null ? '' : ` as ${route(this.out!)}`
        return `delivered to the host${as}`
      }
      case 'replied': {
        const answer =
          this.rejection ?? (this.answers[0]?.packet ? shortWords(this.answers[0].packet) : 'something')
        return this.reason === 'rule'
          ? `rejected with ${answer}${by}`
          : `answered with ${answer} (${this.reason})`
      }
      case 'consumed':
        return `taken away (${this.reason || 'fragment or queue'})${by}`
      default:
        return this.reason === 'rule' ? `dropped${by}` : `dropped: ${this.reason}${this.#why()}`
    }
  }

  /** `kube-proxy: service default/web:http`; null: nobody known. */
  #author(rule: RuleRef): string | null {
    return authorOf(rule, new Provenance(this.#engine.tables))
  }

  #why(): string {
    for (const step of this.#own()) if (step.at === 'route' && step.why !== null) return ` (${step.why})`
    return ''
  }
}

/** Out by lo and in again is the same packet. */
const isOwn = (journey: Journey, record: PacketRecord): boolean =>
  journey.kind === 'looped' && (journey.cause === 0 || record.journeys[journey.cause ?? 0]?.kind === 'looped')

function matched({ journeys }: PacketRecord): RuleRef[] {
  const rules: RuleRef[] = []
  for (const [n, journey] of journeys.entries()) {
    if (n > 0 && journey.kind !== 'looped') continue
    for (const step of journey.steps)
      if (step.at === 'table') {
        for (const rule of step.rules) if (rule.matched) rules.push(rule.rule)
        if (step.by.number === 0) rules.push(step.by)
      }
  }
  return rules
}

function markOf({ packet, journeys }: PacketRecord): number {
  let mark = journeys[0]?.packet.mark ?? packet?.mark ?? 0
  for (const step of journeys[0]?.steps ?? [])
    if (step.at === 'table')
      for (const rule of step.rules) if (rule.matched && rule.mark !== undefined) mark = rule.mark[1]
  return mark
}

function verdictOf({ local, fate }: Seen, left: boolean, delivered: boolean, answered: boolean): Verdict {
  if (local) return left ? 'sent' : delivered ? 'delivered' : answered ? 'replied' : 'dropped'
  if (delivered && fate !== 'replied') return 'delivered'
  return fate as Verdict
}

const REJECTIONS: Readonly<Record<string, string>> = {
  '4 3/0': 'icmp-net-unreachable',
  '4 3/1': 'icmp-host-unreachable',
  '4 3/2': 'icmp-proto-unreachable',
  '4 3/3': 'icmp-port-unreachable',
  '4 3/9': 'icmp-net-prohibited',
  '4 3/10': 'icmp-host-prohibited',
  '4 3/13': 'icmp-admin-prohibited',
  '6 1/0': 'icmp6-no-route',
  '6 1/1': 'icmp6-adm-prohibited',
  '6 1/3': 'icmp6-addr-unreachable',
  '6 1/4': 'icmp6-port-unreachable',
  '6 1/5': 'icmp6-policy-fail',
  '6 1/6': 'icmp6-reject-route',
}

const RST = 4

/** What REJECT calls this answer; null: it is no rejection. */
export function rejectionName({
  family,
  protocol,
  flags = 0,
  icmpType,
  icmpCode = 0,
}: PacketWords): string | null {
  if (protocol === 6) return flags & RST ? 'tcp-reset' : null
  if (icmpType === undefined || isQuery(icmpType)) return null
  return REJECTIONS[`${family} ${icmpType}/${icmpCode}`] ?? null
}

/** `10.0.0.1:80`, or the address where the protocol has no ports. */
export function endText(packet: PacketWords, side: 'src' | 'dst'): EndText {
  const port = side === 'src' ? packet.sport : packet.dport
  if (port === undefined) return packet[side]
  return packet.family === 6 ? `[${packet[side]}]:${port}` : `${packet[side]}:${port}`
}

const route = (packet: PacketWords): string => `${endText(packet, 'src')} > ${endText(packet, 'dst')}`

/** Words without what is only noise in a message. */
function shortWords(packet: PacketWords): string {
  const { seq: _, ack: __, window: ___, tcpOptions: ____, ...short } = packet
  return printPacket(short)
}

/** A rule for people: where it stands, what it says, and who wrote it, where that is known. */
export function ruleText({ name, text, number, file, line }: RuleRef, author: string | null = null): string {
  const place = file === null || number === 0 ? '' : `${file}:${line}: `
  return `${name} (${place}${text})${author === null ? '' : `, written by ${author}`}`
}

function sayStep(step: Step): string | null {
  switch (step.at) {
    case 'hook':
      return `${step.hook}${step.in === null ? '' : ` in ${step.in}`}${step.out === null ? '' : ` out ${step.out}`}`
    case 'conntrack':
      return `  conntrack: ${step.state}${step.why === null ? '' : `: ${step.why}`}${step.sysctl === null ? '' : ` (${step.sysctl} would change that)`}`
    case 'table': {
      const rules = step.rules.filter((rule) => rule.matched).map(({ rule }) => `    ${rule.text}`)
      if (rules.length === 0 && step.by.number === 0 && step.verdict === 'ACCEPT') return null
      const end = step.by.number === 0 ? ` by policy of ${step.by.chain}` : ''
      return [`  ${step.table}: ${step.verdict}${end}`, ...rules.map((rule) => `  ${rule}`)].join('\n')
    }
    case 'nat':
      return step.before.join(':') === step.after.join(':')
        ? null
        : `  nat: ${step.changes} ${step.before.join(':')} becomes ${step.after.join(':')}`
    case 'route':
      return `  route to ${step.dst}: ${step.why ?? step.route ?? 'none'}`
    case 'drop':
      return `  dropped: ${step.reason}`
    default:
      return null
  }
}
