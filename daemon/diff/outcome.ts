// What two hosts made of the same packet, and in what they differ.
//
// Not compared: what a host draws at random for packets of its own making (identification, IPv6 flow label), which
// nobody would call a difference between two rulesets.

import { hasPorts, IPPROTO_TCP } from '../../datapath/wire/protocol.ts'
import type { RuleRef } from '../explain/record.ts'
import { LOCAL, type Side } from './side.ts'

/**
 * verdict: what became of it. way: by which interfaces it left. translation: with which addresses and ports. contents:
 * other bytes (TTL, TOS, MSS …). rule: all the same, but another rule decided.
 */
export type Kind = 'verdict' | 'way' | 'translation' | 'contents' | 'rule'
export const KINDS: readonly Kind[] = ['verdict', 'way', 'translation', 'contents', 'rule']

/** In what the sides differ after a packet; null: in nothing. Does not allocate for packets that are alike. */
export function difference(a: Side, b: Side): Kind | null {
  if (a.fate !== b.fate || a.reason !== b.reason) return 'verdict'
  const frames = compareFrames(a, b)
  if (frames !== null) return frames
  return !BY_RULE.has(a.reason) || sameRule(a.rule, b.rule) ? null : 'rule'
}

/** Reasons that leave the decision to a rule: not that a TTL was used up behind it. */
const BY_RULE = new Set(['', 'rule', 'delivered', 'echo', 'port-unreachable', 'protocol-unreachable'])

function compareFrames(a: Side, b: Side): Kind | null {
  const [x, y] = [a.held, b.held]
  if (x.count !== y.count) return 'way'
  for (let i = 0; i < x.count; i++) {
    const [dx, dy] = [x.dev(i), y.dev(i)]
    if (dx !== dy && a.names[dx] !== b.names[dy]) return 'way'
  }
  let kind: Kind | null = null
  for (let i = 0; i < x.count; i++) {
    if (sameBytes(x.bytes, x.at(i), x.length(i), y.bytes, y.at(i), y.length(i))) continue
    const [f, g] = [masked(x.frame(i)), masked(y.frame(i))]
    if (sameBytes(f, 0, f.length, g, 0, g.length)) continue
    if (endsOf(f) !== endsOf(g)) return 'translation'
    kind = 'contents'
  }
  return kind
}

function sameBytes(
  a: Uint8Array,
  at: number,
  length: number,
  b: Uint8Array,
  from: number,
  count: number,
): boolean {
  if (length !== count) return false
  for (let i = 0; i < length; i++) if (a[at + i] !== b[from + i]) return false
  return true
}

/** Without what hosts draw. */
function masked(frame: Uint8Array): Uint8Array {
  const out = frame.slice()
  if (out[0]! >> 4 === 4) out.fill(0, 4, 6).fill(0, 10, 12)
  else out.fill(0, 1, 4)
  return out
}

/** Both ends as hex: what NAT changes. */
function endsOf(frame: Uint8Array): string {
  const six = frame[0]! >> 4 === 6
  const addresses = six ? frame.subarray(8, 40) : frame.subarray(12, 20)
  const l4 = six ? 40 : (frame[0]! & 15) * 4
  const protocol = six ? frame[6]! : frame[9]!
  const ports = hasPorts(protocol) || protocol === IPPROTO_TCP ? frame.subarray(l4, l4 + 4) : []
  return Buffer.from([...addresses, ...ports]).toString('hex')
}

/** A rule by what it is, wherever it stands: the other folder has other lines. */
const keys = new WeakMap<RuleRef, string>()
export function ruleKey(rule: RuleRef): string {
  let key = keys.get(rule)
  if (key === undefined) keys.set(rule, (key = `${rule.family} ${rule.table} ${rule.text}`))
  return key
}

/** Pairs that were found alike; by rule of a. */
const alike = new WeakMap<RuleRef, RuleRef>()

export function sameRule(a: RuleRef | null, b: RuleRef | null): boolean {
  if (a === null || b === null) return a === b
  if (alike.get(a) === b) return true
  if (ruleKey(a) !== ruleKey(b)) return false
  alike.set(a, b)
  return true
}

/** Where frames of the side went: an interface, or the host itself. */
export const wayOf = (side: Side, dev: number): string =>
  dev === LOCAL ? 'the host itself' : (side.names[dev] ?? `if${dev}`)
