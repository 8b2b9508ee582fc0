// What a rule tells the flow cache while a packet is being recorded: which of the facts that it asks for
// may be others for the next packet of the connection. It is told where the rule asks, so that a rule which fails before
// tells of nothing.

import { type FlowCache, Vary } from '../../conntrack/flow-cache.ts'
import type { Fact } from '../extension.ts'
import type { MatchUse } from '../model.ts'
import { type Code, EMPTY, type JsOf } from './template.ts'

/** Facts that are not here can change with anything. 0: fixed for a connection and direction, as long as ways last. */
const VARIES: Partial<Record<Fact, number>> = {
  source: 0,
  destination: 0,
  protocol: 0,
  ports: 0,
  in: 0,
  out: 0,
  // Packets that are recorded are whole.
  fragment: 0,
  // Begins as 0, and follows from what else is asked.
  mark: 0,
  ctstate: 0,
  pkttype: 0,
  fib: 0,
  // Neither TCP nor UDP.
  icmp: 0,
  connmark: Vary.Connmark,
  conntrack: Vary.Status,
  tos: Vary.Tos,
  ttl: Vary.Ttl,
}

const variesBy = (facts: readonly Fact[]): number =>
  facts.reduce((bits, fact) => bits | (VARIES[fact] ?? Vary.Never), 0)

/** Expression that tells of them, EMPTY if there is nothing to tell. */
export function tellFacts(facts: readonly Fact[], recorder: FlowCache, js: JsOf): Code {
  const bits = variesBy(facts)
  return bits === 0 ? EMPTY : js.statement`${js.bind(recorder)}.varies |= ${bits}`
}

/** As tellFacts, for one match of a rule. */
export function tellMatch({ match, data }: MatchUse, recorder: FlowCache, js: JsOf): Code {
  const r = js.bind(recorder)
  if (match.varies !== undefined) return js.statement`${r}.varies |= ${match.varies(data, js)}`
  const facts = typeof match.reads === 'function' ? match.reads(data) : match.reads
  const flags = match.tcpFlags?.(data) ?? -1
  if (flags < 0) return tellFacts(facts, recorder, js)
  const others = tellFacts(
    facts.filter((fact) => fact !== 'tcp'),
    recorder,
    js,
  )
  if (flags === 0) return others
  const asked = js.statement`${r}.flagsAsked |= ${flags}`
  return others === EMPTY ? asked : js.statement`${others}, ${asked}`
}
