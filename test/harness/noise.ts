// What noise is, and the ordinary packets that most of it begins with.

import type { Wire } from './conversation.ts'
import * as build from './frames.ts'
import type { Reference, StepRun } from './scenario.ts'

export interface Noise {
  readonly dev: string
  readonly frame: Uint8Array
  readonly note: string
  readonly references?: readonly Reference[]
}

export type Maker = (w: Wire, history: readonly StepRun[]) => Noise | null

/** What only one of the families has. */
export interface FamilyNoise {
  /** Types and codes of errors, right and wrong ones. */
  readonly errors: readonly (readonly [number, number])[]
  /** The error about a packet that is too big. */
  readonly tooBig: readonly [number, number]
  /** What that says the MTU is. */
  readonly mtus: readonly number[]
  /** Of a quotation: whole headers, cut ones. */
  readonly quotes: readonly number[]
  /** To the host: ICMP types, protocols. */
  readonly icmpTypes: readonly number[]
  readonly protocols: readonly number[]
  /** Of packets that are too short for their header. */
  readonly cut: readonly number[]
  readonly martians: readonly string[]
  readonly unroutable: readonly string[]
  readonly groups: readonly string[]
  /** What is wrong with an IP header. */
  readonly headers: readonly Partial<build.Ip>[]
  /** First bytes of something that looks like a packet. */
  readonly begins: readonly number[]
  /** Options, or extension headers, for a packet. */
  options(w: Wire): Partial<build.Ip>
  /** Makers of its own, by name. */
  readonly makers: Readonly<Record<string, Maker>>
}

export const anyDevice = (w: Wire): string => w.random.pick(w.world.devices).name

export function pair(w: Wire): { dev: string; src: string; dst: string } {
  const from = w.random.pick(w.world.peers)
  const others = w.world.peers.filter((p) => p.dev !== from.dev)
  return {
    dev: from.dev,
    src: from.address,
    dst: w.random.pick(others.length > 0 ? others : w.world.peers).address,
  }
}

export const common = (w: Wire): { id: number; df: boolean } => ({ id: w.id(), df: w.random.once(2) })

/** Any ordinary packet between the two. */
export function some(
  w: Wire,
  src: string,
  dst: string,
  extra: Partial<build.Ip> = {},
  size?: number,
): Uint8Array {
  const { random, world } = w
  const head = { src, dst, ...common(w), ...extra }
  const sport = random.pick(world.clientPorts)
  const dport = random.pick(world.serverPorts)
  const payload = size ?? random.pick([0, 8, 56, 200])
  switch (random.below(4)) {
    case 0:
      return build.tcp({
        ...head,
        sport,
        dport,
        flags: random.pick(['S', 'A', 'SA', 'FA', 'R', 'PA']),
        seq: random.u32(),
        payload,
      })
    case 1:
      return build.icmp({ ...head, echoId: random.pick([1, 77, 1000]), seq: random.below(10), payload })
    default:
      return build.udp({ ...head, sport, dport, payload })
  }
}
