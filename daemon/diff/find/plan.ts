// A packet that meets conditions: each field gets the first value that all conditions on it allow, the plainest first.

import type { Family } from '../../../datapath/packet.ts'
import { hasPorts, IPPROTO_ICMP, IPPROTO_ICMPV6, IPPROTO_TCP } from '../../../datapath/wire/protocol.ts'
import type { PacketWords } from '../../words/model.ts'
import { USUAL_PORT } from '../../words/parse.ts'
import { type Condition, type Field, toText, type Value } from './conditions.ts'
import type { HostWorld } from './world.ts'

/** Where a walk begins: which way the packet must take to come there. */
export type Entry = 'PREROUTING' | 'INPUT' | 'FORWARD' | 'OUTPUT' | 'POSTROUTING'

export interface Plan {
  readonly family: Family
  /** Null: the host itself sends it. */
  readonly in: string | null
  readonly src: bigint
  readonly dst: bigint
  readonly protocol: number
  readonly sport: number
  readonly dport: number
  readonly flags: number
  /** type * 256 + code */
  readonly icmp: number
  readonly mark: number
  readonly ttl: number
  readonly tos: number
  readonly payload: number
  readonly fragment: boolean
  /** Random draws that miss before one hits. */
  readonly luck: number
  /** States that the packet may be asked to be in; empty: any, NEW will do. */
  readonly states: readonly string[]
}

export type Fixed = Partial<Record<Field, Value>>

const SYN = 2
const ACK = 16
const USUAL_TTL = 64
const USUAL_DPORT = 80

/** Fills in a packet; null where conditions contradict each other. `fixed` values stand, whatever conditions say. */
export function solve(
  conditions: readonly Condition[],
  family: Family,
  entry: Entry,
  luck: number,
  world: HostWorld,
  fixed: Fixed = {},
): Plan | null {
  const by = new Map<Field, Condition[]>()
  for (const condition of conditions) {
    const list = by.get(condition.field)
    if (list === undefined) by.set(condition.field, [condition])
    else list.push(condition)
  }
  let failed = false
  const pick = (field: Field, ...plain: readonly Value[]): Value => {
    const given = fixed[field]
    if (given !== undefined) return given
    const of = by.get(field) ?? []
    for (const value of [...plain, ...of.flatMap(({ inside }) => inside)])
      if (of.every((condition) => condition.fits(value))) return value
    failed = true
    return plain[0] ?? 0
  }
  const asked = (field: Field): boolean => by.has(field) || fixed[field] !== undefined

  const usual = asked('icmp') ? (family === 4 ? IPPROTO_ICMP : IPPROTO_ICMPV6) : IPPROTO_TCP
  const protocol = Number(
    pick('protocol', usual, 17, IPPROTO_TCP, family === 4 ? IPPROTO_ICMP : IPPROTO_ICMPV6, 47),
  )
  const local = entry === 'OUTPUT'
  // The way out decides about the destination, the source about the way in.
  const wantedSrc = asked('src') && !local ? pick('src') : null
  failed = false
  const homes = typeof wantedSrc === 'bigint' ? [world.deviceOf(wantedSrc, family)] : []
  const devices = [...homes.filter((d) => d !== null), ...world.devices]
  const inbound = local ? null : String(pick('in', ...devices))
  const outs = by.get('out') ?? []
  const leaves = (address: bigint): boolean => {
    const device = world.deviceOf(address, family)
    return device !== null && outs.every((condition) => condition.fits(device))
  }
  const others = world.devices.filter((d) => d !== inbound && outs.every((c) => c.fits(d)))
  const same = inbound !== null && outs.every((c) => c.fits(inbound)) ? [inbound] : []
  const far = [...others, ...same].flatMap((device) => world.behind(device, family))
  const destinations = entry === 'INPUT' ? world.own(family, inbound) : far
  const dst = pick('dst', ...destinations)
  if (typeof dst !== 'bigint') return null
  if (outs.length > 0 && !leaves(dst) && fixed.dst === undefined) failed = true
  const out = world.deviceOf(dst, family)
  const sources = local
    ? [...(out === null ? [] : world.own(family, out)), ...world.own(family)]
    : inbound === null
      ? []
      : world.behind(inbound, family)
  const src = pick('src', ...sources.filter((address) => address !== dst))
  if (typeof src !== 'bigint') return null
  const plan: Plan = {
    family,
    in: inbound,
    src,
    dst,
    protocol,
    sport: Number(pick('sport', USUAL_PORT)),
    dport: Number(pick('dport', USUAL_DPORT)),
    flags: Number(pick('flags', SYN, ACK, SYN | ACK, 0)),
    icmp: Number(pick('icmp', (family === 4 ? 8 : 128) * 256)),
    mark: Number(pick('mark', 0)),
    ttl: Number(pick('ttl', USUAL_TTL)),
    tos: Number(pick('tos', 0)),
    payload: 0,
    fragment: Number(pick('fragment', 0)) === 1,
    luck,
    states: asked('state') ? statesOf(by.get('state') ?? [], fixed.state) : [],
  }
  const headers = headerBytes(plan)
  const length = Number(pick('length', headers))
  return failed ? null : { ...plan, payload: Math.max(0, length - headers) }
}

function statesOf(conditions: readonly Condition[], fixed: Value | undefined): string[] {
  const all = ['NEW', 'ESTABLISHED', 'RELATED', 'INVALID']
  if (fixed !== undefined) return [String(fixed)]
  return all.filter((state) => conditions.every((condition) => condition.fits(state)))
}

function headerBytes({ family, protocol }: Plan): number {
  const l3 = family === 4 ? 20 : 40
  if (protocol === IPPROTO_TCP) return l3 + 20
  return l3 + 8
}

/** The packet in words. */
export function wordsOfPlan(plan: Plan): PacketWords {
  const { family, protocol } = plan
  const icmp = protocol === (family === 4 ? IPPROTO_ICMP : IPPROTO_ICMPV6)
  return {
    family,
    protocol,
    src: toText(plan.src, family),
    dst: toText(plan.dst, family),
    ...(hasPorts(protocol) && { sport: plan.sport, dport: plan.dport }),
    ...(protocol === IPPROTO_TCP && { flags: plan.flags }),
    ...(icmp && { icmpType: plan.icmp >> 8, icmpCode: plan.icmp & 255 }),
    ...(plan.ttl !== USUAL_TTL && { ttl: plan.ttl }),
    ...(plan.tos !== 0 && { tos: plan.tos }),
    ...(plan.mark !== 0 && { mark: plan.mark }),
    ...(plan.payload > 0 && { payload: '00'.repeat(plan.payload) }),
    ...(plan.fragment && {
      fragment: { offset: 8, more: false },
      payload: '00'.repeat(16),
      raw: true as const,
    }),
    from: plan.in === null ? 'out' : { device: plan.in },
  }
}
