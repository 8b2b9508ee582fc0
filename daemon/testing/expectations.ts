// What a test may expect of a packet, for vitest's matchers and for YAML: each answers null, or says what was otherwise.

import { formatAddress, parseIpv4, parseIpv6 } from '../../datapath/wire/address.ts'
import { parseTos } from '../host-folder/names.ts'
import type { PacketWords } from '../words/model.ts'
import { printTcpFlags, readTcpFlags } from '../words/vocabulary.ts'
import { endText, type Result, ruleText } from './result.ts'
import type { RuleName } from './rule-names.ts'

/** How a packet that left, or was delivered, must look; what is not said may be anything. */
export interface OutFields {
  /** The interface by which it left. */
  readonly dev?: string
  /** Next hop; null: on the link. */
  readonly via?: string | null
  /** `10.0.0.1`, `10.0.0.1:80`, `[2001:db8::1]:80`. */
  readonly src?: string
  readonly dst?: string
  readonly ttl?: number
  readonly tos?: number
  readonly dscp?: number | string
  /** `syn,ack`. */
  readonly flags?: string
  /** Bytes from the IP header on, of the first frame. */
  readonly length?: number
  /** Bytes of payload: text, or bytes. */
  readonly payload?: string | Uint8Array
  /** Frames in which it left. */
  readonly frames?: number
  /** Of the packet and of its connection at the end. */
  readonly mark?: number
  readonly ctmark?: number
  /** `NEW`, `ESTABLISHED`, `RELATED`, `INVALID`, `UNTRACKED`. */
  readonly state?: string
  /** A rule that it must have matched on its way, or several. */
  readonly rule?: RuleName | readonly RuleName[]
}

/** Names of OutFields, for YAML. */
export const OUT_FIELDS = [
  'dev',
  'via',
  'src',
  'dst',
  'ttl',
  'tos',
  'dscp',
  'flags',
  'length',
  'payload',
  'frames',
  'mark',
  'ctmark',
  'state',
  'rule',
] as const

/** What a matcher answers: null, or why not, without the summary. */
export type Mismatch = string | null

/** The way people write ends, as endText() has them; the port counts only if it is said. */
function sameEnd(packet: PacketWords, side: 'src' | 'dst', wanted: string): boolean {
  const [, bracketed, plain, port] =
    /^(?:\[([^\]]+)\]|(\d+\.\d+\.\d+\.\d+|[0-9a-fA-F:.]*))(?::(\d+))?$/.exec(wanted) ?? []
  const text = bracketed ?? plain ?? wanted
  const four = parseIpv4(text)
  const six = four === null ? parseIpv6(text) : null
  const address =
    four !== null ? formatAddress(4, [four, 0, 0, 0]) : six !== null ? formatAddress(6, six) : text
  if (packet[side] !== address) return false
  return port === undefined || Number(port) === (side === 'src' ? packet.sport : packet.dport)
}

const payloadHex = (payload: string | Uint8Array): string => Buffer.from(payload).toString('hex')

/** Its conntrack state is another. */
export function stateMismatch(result: Result, wanted: string): Mismatch {
  const state = wanted.toUpperCase()
  if (result.state === state) return null
  const none = 'none: conntrack did not see it, which is off while no rule asks for it'
  return `expected the state ${state}, it was ${result.state ?? none}`
}

/** The first field that is otherwise. `out`, `frame`: the packet that is looked at, usually as it left. */
export function fieldMismatch(
  result: Result,
  fields: OutFields,
  out = result.out,
  frame = result.sent[0] ?? result.delivered,
): Mismatch {
  if (out === null) return 'there is no packet'
  const differs = (name: string, is: unknown, wanted: unknown): Mismatch =>
    is === wanted
      ? null
      : `expected ${name} ${String(wanted)}, it was ${is === null || is === undefined ? 'none' : String(is)}`
  const dscp = (wanted: number | string): number =>
    typeof wanted === 'number' ? wanted : (parseTos(wanted.toUpperCase()) ?? Number.NaN) >> 2
  const checks: { readonly [K in keyof OutFields]-?: (wanted: NonNullable<OutFields[K]>) => Mismatch } = {
    dev: (dev) => differs('dev', frame?.dev ?? 'lo', dev),
    via: (via) => differs('via', result.via, via),
    src: (src) => (sameEnd(out, 'src', src) ? null : `expected src ${src}, it was ${endText(out, 'src')}`),
    dst: (dst) => (sameEnd(out, 'dst', dst) ? null : `expected dst ${dst}, it was ${endText(out, 'dst')}`),
    ttl: (ttl) => differs('ttl', out.ttl ?? 64, ttl),
    tos: (tos) => differs('tos', out.tos ?? 0, tos),
    dscp: (wanted) => differs('dscp', (out.tos ?? 0) >> 2, dscp(wanted)),
    flags: (flags) =>
      differs('flags', printTcpFlags(out.flags ?? 0), printTcpFlags(readTcpFlags(flags) ?? Number.NaN)),
    length: (length) => differs('length', frame?.frame.length ?? 0, length),
    payload: (payload) => differs('payload 0x', out.payload ?? '', payloadHex(payload)),
    frames: (frames) => differs('frames', result.sent.length, frames),
    mark: (mark) => differs('mark', result.mark, mark),
    ctmark: (mark) => differs('ctmark', result.ctmark, mark),
    state: (state) => stateMismatch(result, state),
    rule: (rule) => {
      const rules = Array.isArray(rule) ? rule : [rule as RuleName]
      const missed = rules.find((one) => !result.matched(one))
      return missed === undefined ? null : `expected it to match ${String(missed)}`
    },
  }
  for (const [name, wanted] of Object.entries(fields)) {
    if (wanted === undefined) continue
    const check = checks[name as keyof OutFields] as ((wanted: unknown) => Mismatch) | undefined
    if (check === undefined) return `"${name}" is none of the fields: ${OUT_FIELDS.join(', ')}`
    const mismatch = wanted === null && name === 'via' ? differs('via', result.via, null) : check(wanted)
    if (mismatch !== null) return mismatch
  }
  return null
}

const otherwise = (result: Result, wanted: string): string =>
  `expected it to be ${wanted}, it was ${result.outcome()}`

/** It left the host: forwarded, or sent by the host itself. */
export function forwarded(result: Result, fields: OutFields = {}): Mismatch {
  if (result.verdict !== 'forwarded' && result.verdict !== 'sent') return otherwise(result, 'forwarded')
  return fieldMismatch(result, fields)
}

/** A process of the host got it, or the host itself answered it because nothing forbade that (a ping). */
export function delivered(result: Result, fields: OutFields = {}): Mismatch {
  const byStack =
    result.verdict === 'replied' &&
    ['delivered', 'port-unreachable', 'protocol-unreachable', 'echo'].includes(result.reason)
  if (result.verdict !== 'delivered' && !byStack) return otherwise(result, 'delivered')
  if (Object.keys(fields).length === 0) return null
  return result.out === null
    ? 'the host answered it: no process got it whose packet could be looked at'
    : fieldMismatch(result, fields)
}

/** It ended without an answer. */
export function dropped(result: Result, reason?: string): Mismatch {
  if (result.verdict !== 'dropped') return otherwise(result, 'dropped')
  return reason === undefined || result.reason === reason
    ? null
    : `expected the reason ${reason}, it was ${result.reason}`
}

/** This rule or policy dropped it. */
export function droppedBy(result: Result, rule: RuleName): Mismatch {
  if (result.verdict !== 'dropped') return otherwise(result, `dropped by ${String(rule)}`)
  return decidedBy(result, rule)
}

/** This rule or policy decided, whatever it was. */
export function decidedBy(result: Result, rule: RuleName): Mismatch {
  if (result.decidedBy(rule)) return null
  const by = result.decision === null ? 'no rule decided' : `${ruleText(result.decision.rule)} decided`
  return `expected ${String(rule)} to decide, ${by}`
}

/** A rule answered it: `tcp-reset`, `icmp-port-unreachable`; null: with anything. */
export function rejected(result: Result, how: string | null = null): Mismatch {
  if (result.verdict !== 'replied' || result.reason !== 'rule') return otherwise(result, 'rejected')
  return how === null || result.rejection === how
    ? null
    : `expected ${how}, it was ${result.rejection ?? 'another answer'}`
}

/** The host answered, and the answer looks so. */
export function answered(result: Result, fields: OutFields = {}): Mismatch {
  const answer = result.answers[0]
  return answer === undefined
    ? otherwise(result, 'answered')
    : fieldMismatch(result, fields, answer.packet, answer)
}

/** NAT changed it so; null: this side must not be changed. */
export function translated(
  result: Result,
  wanted: { readonly src?: string | null; readonly dst?: string | null } = {},
): Mismatch {
  const { nat, out } = result
  if (out === null) return otherwise(result, 'translated')
  if (wanted.src === undefined && wanted.dst === undefined)
    return nat.src === null && nat.dst === null ? 'expected it to be translated, nothing changed' : null
  for (const side of ['src', 'dst'] as const) {
    const want = wanted[side]
    if (want === undefined) continue
    if (want === null) {
      if (nat[side] !== null) return `expected ${side} to stay, it became ${nat[side]}`
    } else if (nat[side] === null)
      return `expected ${side} to become ${want}, it stayed ${endText(out, side)}`
    else if (!sameEnd(out, side, want)) return `expected ${side} to become ${want}, it became ${nat[side]}`
  }
  return null
}

/** It matched this rule on its way. */
export const matchedRule = (result: Result, rule: RuleName): Mismatch =>
  result.matched(rule) ? null : `expected it to match ${String(rule)}`
