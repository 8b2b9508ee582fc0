// A difference made plain: fewer packets, usual values wherever they show it as well, a seed instead of luck.

import { hasPorts, IPPROTO_TCP } from '../../../datapath/wire/protocol.ts'
import type { PacketWords, Step } from '../../words/model.ts'
import { USUAL_PORT } from '../../words/parse.ts'
import { toBig, toText } from './conditions.ts'
import type { Found, Probe } from './probe.ts'
import type { Hit } from './search.ts'
import type { HostWorld } from './world.ts'

/** Seeds that are tried for the random draws that the difference needs. */
const MOST_SEEDS = 20_000
const SYN = 2

/** A conversation that shows the difference with nothing but a seed. */
export interface Plain {
  readonly steps: readonly Step[]
  readonly seed: number
  readonly found: Found
}

export function shrink(hit: Hit, probe: Probe, world: HostWorld): Hit {
  let best = hit
  const attempt = (steps: readonly Step[], luck: number): boolean => {
    if (steps.length === 0) return false
    const found = probe.play(steps, luck)
    if (found === null || (found.kind === 'rule' && best.found.kind !== 'rule')) return false
    best = { steps, luck, found }
    return true
  }
  attempt(best.steps.slice(0, best.found.step + 1), best.luck)
  for (let i = best.steps.length - 2; i >= 0; i--)
    attempt([...best.steps.slice(0, i), ...best.steps.slice(i + 1)], best.luck)
  attempt(best.steps, 0)
  for (let round = 0; round < 3; round++) {
    let better = false
    for (const [i, step] of best.steps.entries()) {
      if (step.kind !== 'packet') continue
      for (const packet of plainer(step.packet, world)) {
        const steps = best.steps.map((s, j): Step => (j === i ? { kind: 'packet', packet } : s))
        if (attempt(steps, best.luck)) {
          better = true
          break
        }
      }
    }
    if (!better) break
  }
  return best
}

/** The same packet with one thing more as usual; all of them first. */
function plainer(packet: PacketWords, world: HostWorld): PacketWords[] {
  const found: PacketWords[] = []
  const without = (...keys: (keyof PacketWords)[]): void => {
    if (!keys.some((key) => packet[key] !== undefined)) return
    const copy: Record<string, unknown> = { ...packet }
    for (const key of keys) delete copy[key]
    found.push(copy as unknown as PacketWords)
  }
  const extras = ['payload', 'ttl', 'tos', 'mark', 'badChecksum'] as const
  without(...extras)
  for (const key of extras) without(key)
  without('fragment', 'raw', 'payload')
  const { protocol, family, from } = packet
  if (hasPorts(protocol)) {
    if (packet.sport !== USUAL_PORT) found.push({ ...packet, sport: USUAL_PORT })
    if (packet.dport !== 80) found.push({ ...packet, dport: 80 })
  }
  if (protocol === IPPROTO_TCP && packet.flags !== SYN) found.push({ ...packet, flags: SYN })
  if (from !== null && from !== 'out') {
    const src = world.behind(from.device, family)[0]
    if (src !== undefined && toBig(packet.src) !== src) found.push({ ...packet, src: toText(src, family) })
  }
  // One change at a time that was made already is no change.
  return found.filter((one) => JSON.stringify(one) !== JSON.stringify(packet))
}

/** A seed with which the random numbers of a new host show the difference; null: none of many. */
export function withSeed({ steps, found: { kind } }: Hit, probe: Probe): Plain | null {
  for (let seed = 1; seed <= MOST_SEEDS; seed++) {
    const found = probe.play(steps, null, seed)
    if (found !== null && (found.kind === kind || found.kind !== 'rule')) return { steps, seed, found }
  }
  return null
}
