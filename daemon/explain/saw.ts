// What a condition that failed saw in the packet, in a few words: `source 192.168.1.1`, `mark 0x10000`.

import type { Packet } from '../../datapath/packet.ts'
import { formatAddress } from '../../datapath/wire/address.ts'
import type { Rule } from '../../rules/model.ts'
import { BASE_PARTS, type BasePart } from '../../rules/observe.ts'
import { protocolName } from '../../rules/text/services.ts'
import type { Engine } from '../engine.ts'
import { MATCH_VALUES } from './values.ts'

/** `condition`: as RuleObserver.miss has it. Called right after the condition was tried; changes nothing. */
export function sawAt(rule: Rule, condition: number, pkt: Packet, engine: Engine): string {
  const part = BASE_PARTS[condition]
  if (part !== undefined) return BASE_VALUES[part](pkt, engine)
  const { match } = rule.matches[condition - BASE_PARTS.length]!
  return MATCH_VALUES.get(match.name)?.(pkt, engine) ?? ''
}

const device = (name: string, index: number, engine: Engine): string =>
  index === 0 ? `no ${name} interface` : `${name} ${engine.host.devices.byIndex[index]?.name ?? index}`

const BASE_VALUES: Readonly<Record<BasePart, (pkt: Packet, engine: Engine) => string>> = {
  source: (pkt) => `source ${formatAddress(pkt.family, [pkt.s0, pkt.s1, pkt.s2, pkt.s3])}`,
  destination: (pkt) => `destination ${formatAddress(pkt.family, [pkt.d0, pkt.d1, pkt.d2, pkt.d3])}`,
  in: (pkt, engine) => device('in', pkt.iif, engine),
  out: (pkt, engine) => device('out', pkt.oif, engine),
  protocol: (pkt) => `protocol ${protocolName(pkt.proto, true) ?? pkt.proto}`,
  fragment: (pkt) => (pkt.fragOffset === 0 ? 'no later fragment' : `fragment at ${pkt.fragOffset}`),
}
