// Two hosts, the same packets: which flows do they treat differently?
//
//     capture ─┬─▶ host A ─┐
//              └─▶ host B ─┴─▶ alike, or a flow's difference

import { FATE_NAMES } from '../../datapath/fate.ts'
import type { RuleRef } from '../explain/record.ts'
import type { FrameSource } from '../replay/player.ts'
import { wordsOf } from '../words/of-frame.ts'
import { printPacket } from '../words/print.ts'
import { difference, type Kind, ruleKey } from './outcome.ts'
import type { Comparison, FlowDifference, SideOutcome } from './report.ts'
import { LOCAL, type Side } from './side.ts'

/** Flows whose NAT rules are remembered, so that later packets of a connection name them. */
const MOST_FLOWS = 200_000

export class Comparer {
  readonly #a: Side
  readonly #b: Side
  readonly #source: FrameSource
  readonly #flows = new Map<string, FlowDifference>()
  /** Rules that bound a flow's connection on each side, by the flow's words. */
  readonly #bound = new Map<string, readonly [readonly RuleRef[], readonly RuleRef[]]>()
  #packets = 0
  #different = 0

  constructor(a: Side, b: Side, source: FrameSource) {
    this.#a = a
    this.#b = b
    this.#source = source
  }

  /** The source's frame, number `n`; what differs. Throws PlaceError where a host knows no such interface. */
  packet(n: number): Kind | null {
    const [a, b] = [this.#a, this.#b]
    a.receive(n)
    b.receive(n)
    this.#packets++
    const kind = difference(a, b)
    if (kind === null) return null
    this.#different++
    this.#note(n, kind)
    return kind
  }

  #note(n: number, kind: Kind): void {
    const [a, b] = [this.#a, this.#b]
    const device = a.player.device?.name ?? ''
    const flow = this.#flowWords(device)
    const nat = this.#natOf(flow)
    const key = `${flow}\n${kind}\n${shortKey(a)}\n${shortKey(b)}\n${nat.flat().map(ruleKey).join('\n')}`
    const known = this.#flows.get(key)
    if (known !== undefined) {
      known.packets++
      known.bytes += a.player.length
      return
    }
    this.#flows.set(key, {
      flow,
      in: device,
      kind,
      a: outcomeOf(a, nat[0]),
      b: outcomeOf(b, nat[1]),
      packets: 1,
      bytes: a.player.length,
      first: n,
    })
  }

  #natOf(flow: string): readonly [readonly RuleRef[], readonly RuleRef[]] {
    const now = [this.#a.natRules(), this.#b.natRules()] as const
    if (now[0].length > 0 || now[1].length > 0) {
      if (this.#bound.size < MOST_FLOWS) this.#bound.set(flow, now)
      return now
    }
    return this.#bound.get(flow) ?? now
  }

  /** Both ends of the frame: what its packets have in common. */
  #flowWords(device: string): string {
    const { bytes, at, length } = this.#source
    const whole = bytes.subarray(at, at + length)
    // Behind the link header: its length is the difference.
    const packet = whole.subarray(Math.max(0, length - this.#a.player.length))
    return `${flowOf(packet) ?? `a frame of ${length} bytes`} in ${device}`
  }

  result(): Comparison {
    return { packets: this.#packets, different: this.#different, flows: [...this.#flows.values()] }
  }
}

function shortKey(side: Side): string {
  const { rule } = side
  return `${side.fate} ${side.reason} ${rule === null ? '' : ruleKey(rule)}`
}

/** What the side made of the packet at hand. */
export function outcomeOf(side: Side, nat: readonly RuleRef[]): SideOutcome {
  const { held } = side
  return {
    verdict: FATE_NAMES[side.fate]!,
    reason: side.reason,
    rule: side.rule,
    nat,
    out: Array.from({ length: held.count }, (_, i) => {
      const words = wordsOf(held.frame(i))
      const dev = held.dev(i)
      return {
        dev: dev === LOCAL ? null : (side.names[dev] ?? `if${dev}`),
        flow: flowOf(held.frame(i)) ?? `${held.length(i)} bytes`,
        packet: words === null ? `${held.length(i)} bytes` : printPacket(words),
      }
    }),
  }
}

/** Protocol and both ends of a packet in words; null: its headers are not all there. */
export function flowOf(packet: Uint8Array): string | null {
  const words = wordsOf(packet)
  if (words === null) return null
  const { family, protocol, src, dst, sport, dport, icmpType, icmpCode } = words
  return printPacket({
    family,
    protocol,
    src,
    dst,
    ...(sport !== undefined && { sport }),
    ...(dport !== undefined && { dport }),
    ...(icmpType !== undefined && { icmpType }),
    ...(icmpCode !== undefined && { icmpCode }),
    from: null,
  })
}
