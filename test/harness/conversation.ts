// Conversations through the host. Each one has two ends; what the far end knows (addresses and ports after
// translation) it learned from frames that the host really sent, so its replies are right whatever the rules
// did. Ports drawn at random are repeated by reference (scenario.ts), so that another run can fill in its own.

import { harmless } from './extension-headers.ts'
import type * as build from './frames.ts'
import type { SeededRandom } from './frames.ts'
import type { Peer, World } from './generate-world.ts'
import { type Headers, headersOf, ICMP, ICMPV6, isIcmp, TCP, UDP, u16, u32 } from './headers.ts'
import type { Reference, StepRun } from './scenario.ts'

/** What a conversation may do to the world. */
export interface Wire {
  readonly world: World
  readonly random: SeededRandom
  /** Sends a frame in at an interface, perhaps in fragments. */
  send(dev: string, frame: Uint8Array, note: string, references?: readonly Reference[]): Promise<StepRun>
  /** A fresh IP identification. */
  id(): number
  /** One frame in so many of IPv6 has extension headers. */
  readonly headersOnceIn: number
}

/** Where an end stands: its packets go in at `dev`, from `local` to `remote`. */
export interface View {
  readonly dev: string
  readonly local: { readonly address: string; readonly port: number }
  readonly remote: { readonly address: string; readonly port: number }
  /** The answer from which it was learned, if a port in it was changed on the way. */
  readonly learned: { readonly step: number; readonly answer: number; readonly l4: number } | null
}

/** Headers with what follows them, if it is the begin of a message. */
function whole(frame: Uint8Array): Headers | null {
  const h = headersOf(frame)
  // Of IPv4 no fragment at all, of IPv6 one that is the whole message is one.
  if (h === null || (h.fragment !== null && (h.family === 4 || h.fragment.more || h.fragment.offset > 0)))
    return null
  return frame.length >= h.l4 + 8 ? h : null
}

/** Is `out` what became of `went` on its way through? */
function sameMessage(went: Uint8Array, out: Uint8Array): boolean {
  const x = whole(went)
  const y = whole(out)
  if (x === null || y === null || x.family !== y.family || x.protocol !== y.protocol) return false
  const a = x.l4
  const b = y.l4
  // IPv6 has no identification: length and first bytes say it, of what NAT leaves alone.
  const alike = x.family === 4 ? u16(went, 4) === u16(out, 4) : went.length - a === out.length - b
  switch (x.protocol) {
    case TCP:
      return u32(went, a + 4) === u32(out, b + 4) && went[a + 13] === out[b + 13]
    case ICMP:
    case ICMPV6:
      return went[a] === out[b] && u16(went, a + 6) === u16(out, b + 6)
    case UDP:
      return u16(went, a + 4) === u16(out, b + 4) && alike
  }
  return alike
}

/** The far end's view, learned from the answers to `went`; null when it did not get through. `same`: what came of it. */
export function learn(went: Uint8Array, run: StepRun, same = sameMessage): View | null {
  const answer = run.sent.findIndex((s) => same(went, s.bytes))
  if (answer < 0) return null
  const { dev, bytes } = run.sent[answer]!
  const { l4, protocol, src, dst } = headersOf(bytes)!
  const icmp = isIcmp(protocol)
  const from = icmp ? u16(bytes, l4 + 4) : u16(bytes, l4)
  const to = icmp ? from : u16(bytes, l4 + 2)
  const a = headersOf(went)!.l4
  const changed = icmp ? u16(went, a + 4) !== from : u16(went, a) !== from || u16(went, a + 2) !== to
  return {
    dev,
    local: { address: dst, port: to },
    remote: { address: src, port: from },
    learned: changed ? { step: run.id, answer, l4 } : null,
  }
}

/** References of a frame from `view`. */
export function referencesOf(frame: Uint8Array, view: View): Reference[] {
  const h = headersOf(frame)
  if (view.learned === null || h === null) return []
  const { step, answer, l4 } = view.learned
  const at = h.l4
  switch (h.protocol) {
    case ICMP:
    case ICMPV6:
      return [{ at: at + 4, step, answer, from: l4 + 4 }]
    case TCP:
    case UDP:
    case UDPLITE:
      return [
        { at, step, answer, from: l4 + 2 },
        { at: at + 2, step, answer, from: l4 },
      ]
  }
  return []
}

/** References for the quotation of an answer inside an ICMP error. */
export function quotedReferences(error: Uint8Array, run: StepRun, answer: number): Reference[] {
  const sent = run.sent[answer]!.bytes
  const h = whole(sent)
  if (h === null) return []
  const { l4 } = h
  const base = headersOf(error)!.l4 + 8
  const offsets = isIcmp(h.protocol) ? [4] : [TCP, UDP, UDPLITE].includes(h.protocol) ? [0, 2] : []
  return offsets
    .filter((o) => base + l4 + o + 2 <= error.length)
    .map((o) => ({ at: base + l4 + o, step: run.id, answer, from: l4 + o }))
}

export interface Conversation {
  readonly done: boolean
  /** Sends one packet or so. */
  turn(): Promise<void>
}

export const UDPLITE = 136

/** What the IP header says now and then. */
export const ipOptions = (w: Wire): Partial<build.Ip> => ({
  id: w.id(),
  df: w.random.once(2),
  ...(w.world.family === 6 && w.random.once(w.headersOnceIn) ? { extensions: harmless(w) } : {}),
  ...(w.world.family === 6 && w.random.once(20) ? { flowLabel: w.random.below(1 << 20) } : {}),
  ...(w.random.once(12) ? { ttl: w.random.pick([1, 2, 3, 128, 255]) } : {}),
  ...(w.random.once(12) ? { tos: w.random.pick([0x10, 0x08, 0xb8, 0x03, 0x02, 0x20, 0xff]) } : {}),
})

/** Somebody to talk to: a peer behind another interface, a virtual address, the host. */
export function destination(world: World, random: SeededRandom, from: Peer): string {
  switch (random.below(12)) {
    case 0:
    case 1:
      return random.pick(world.own)
    case 2:
    case 3:
      return random.pick(world.virtual)
    case 4:
      return random.once(3) && world.refused.length > 0
        ? random.pick(world.refused)
        : random.pick(world.peers).address
  }
  const others = world.peers.filter((p) => p.dev !== from.dev)
  return random.pick(others.length > 0 ? others : world.peers).address
}

export function opening(w: Wire): View {
  const from = w.random.pick(w.world.peers)
  const port = (list: readonly number[]): number => (w.random.once(3) ? list[0]! : w.random.pick(list))
  return {
    dev: from.dev,
    local: { address: from.address, port: port(w.world.clientPorts) },
    remote: { address: destination(w.world, w.random, from), port: port(w.world.serverPorts) },
    learned: null,
  }
}

/** A word as the four bytes of it. */
export const be32 = (n: number): number[] => [n >>> 24, (n >>> 16) & 255, (n >>> 8) & 255, n & 255]
