// Conversations that bring a packet into the state that is asked for.

import { hasPorts, IPPROTO_TCP } from '../../../datapath/wire/protocol.ts'
import type { PacketWords, Step } from '../../words/model.ts'
import { type Plan, wordsOfPlan } from './plan.ts'
import type { HostWorld } from './world.ts'

const ACK = 16

const packet = (words: PacketWords): Step => ({ kind: 'packet', packet: words })

/** The packet, what the other end says to it, and the next one: NEW, then ESTABLISHED both ways. */
function there(words: PacketWords): Step[] {
  const fields = words.protocol === IPPROTO_TCP ? { flags: ACK } : {}
  return [packet(words), { kind: 'reply', fields: {} }, { kind: 'again', fields }]
}

/** Conversations for a plan, the likeliest first. */
export function conversations(plan: Plan, world: HostWorld): Step[][] {
  const words = wordsOfPlan(plan)
  const { states } = plan
  if (states.length === 0 || states.includes('NEW')) return [there(words)]
  const all: Step[][] = []
  const back = reversed(words, plan, world)
  if (states.includes('ESTABLISHED')) {
    all.push(there(words))
    if (back !== null) all.push([packet(back), { kind: 'reply', fields: {} }])
  }
  if (states.includes('RELATED')) {
    const error: Step = {
      kind: 'error',
      by: null,
      fields: { icmpType: plan.family === 4 ? 3 : 1, icmpCode: 1 },
    }
    all.push([packet({ ...words, protocol: 17, dport: 53, sport: 40000 }), error])
    if (back !== null) all.push([packet(back), error])
    all.push([packet(words), error])
  }
  if (states.includes('INVALID')) {
    all.push([packet({ ...words, badChecksum: true })])
    if (words.protocol === IPPROTO_TCP) all.push([packet({ ...words, flags: 3 })])
  }
  if (all.length === 0) all.push(there(words))
  return all
}

/** The packet that it would be an answer to. */
function reversed(words: PacketWords, plan: Plan, world: HostWorld): PacketWords | null {
  const device = world.deviceOf(plan.dst, plan.family)
  const { flags: _, ...rest } = words
  return {
    ...rest,
    src: words.dst,
    dst: words.src,
    ...(hasPorts(words.protocol) && { sport: words.dport!, dport: words.sport! }),
    from: device === null ? 'out' : { device },
  }
}
