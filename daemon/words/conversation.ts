// A conversation, packet by packet: fills in what both ends would know (sequence numbers, addresses behind NAT) and gives
// the frames.
//
//     tcp A > V syn ──▶ [host: DNAT] ──▶ A > B          left(eth1, frame)
//     reply syn,ack     B > A in eth1, ack = seq + 1     the reversed packet as it left, not as it came
//
// Numbers follow each connection under every name that it has: A > V, A > B and both reversed.

import { IPPROTO_ICMP, IPPROTO_ICMPV6, IPPROTO_TCP } from '../../datapath/wire/protocol.ts'
import { PlaceError } from '../errors.ts'
import { buildFrames } from './build.ts'
import type { From, PacketFields, PacketWords, Step } from './model.ts'
import { wordsOf } from './of-frame.ts'
import type { Conversation as Parsed } from './parse.ts'
import { echoRequest, isQuery } from './vocabulary.ts'

/** One frame on its way to the host. */
export interface Arrival {
  /** Interface; null: the host itself sends it. */
  readonly device: string | null
  readonly frame: Uint8Array
  readonly mark: number
  readonly cast: PacketWords['cast'] | null
}

/** A packet of a conversation, whole, with the frames that it is. */
export interface Sending {
  readonly packet: PacketWords
  readonly arrivals: readonly Arrival[]
}

/** What became of a packet. */
export interface Outcome {
  /** What left the host, in order. */
  readonly left: readonly { readonly device: string; readonly frame: Uint8Array }[]
  /** The packet as a process of the host got it; null: none did. */
  readonly delivered: Uint8Array | null
}

/** Next sequence number of each end of a TCP connection. */
interface Flow {
  readonly next: [number, number]
  /** Whether an end has been heard of. */
  readonly heard: [boolean, boolean]
}

interface Side {
  readonly flow: Flow
  readonly end: 0 | 1
}

const FIN = 1
const SYN = 2
const RST = 4
const ACK = 16
/** Where sequence numbers begin: of the end that spoke first, and of the other. */
const STARTS = [1000, 5000] as const

export class Talk {
  readonly #sides = new Map<string, Side>()
  /** The last packet that was no reply, as it was said. */
  #said: PacketWords | null = null
  /** The packet sent last, and whom it came from. */
  #sent: PacketWords | null = null
  #outcome: Outcome | null = null

  /**
   * The packet of a step that is no wait. `place`: for the message if there is nothing to answer (PlaceError).
   * Call settle() with what became of it before the next one.
   */
  send(step: Exclude<Step, { kind: 'wait' }>, fail: (reason: string) => never): Sending {
    const said = this.#packet(step, fail)
    const { from } = said
    if (from === null) fail('expected where the packet comes from: in DEVICE, or out')
    const packet = this.#number(said)
    if (step.kind === 'packet' || step.kind === 'again') this.#said = said
    this.#sent = packet
    this.#outcome = null
    const arrivals = buildFrames(packet).map((frame) => ({
      device: from === 'out' ? null : from.device,
      frame,
      mark: packet.mark ?? 0,
      cast: packet.cast ?? null,
    }))
    return { packet, arrivals }
  }

  /** What became of the packet that send() gave last. */
  settle(outcome: Outcome): void {
    this.#outcome = outcome
    const sent = this.#sent
    if (sent === null || sent.protocol !== IPPROTO_TCP) return
    const side = this.#sides.get(keyOf(sent))
    if (side === undefined) return
    // The packet goes by another name where it has been translated; what the host made itself is no name of it.
    const frames = outcome.left.map(({ frame }) => frame)
    if (outcome.delivered !== null) frames.push(outcome.delivered)
    for (const frame of frames) {
      const left = wordsOf(frame)
      if (left?.protocol === IPPROTO_TCP && left.seq === sent.seq && left.flags === sent.flags)
        this.#name(left, side)
    }
  }

  #packet(step: Exclude<Step, { kind: 'wait' }>, fail: (reason: string) => never): PacketWords {
    if (step.kind === 'packet') return step.packet
    if (step.kind === 'again') {
      const said = this.#said ?? fail('"again" needs a packet before it')
      return again(said, step.fields)
    }
    const answered = this.#lastSeen()
    if (answered === null) fail(`nothing to answer: the packet before neither left the host nor reached it`)
    return step.kind === 'reply'
      ? reply(answered.packet, answered.from, step.fields)
      : errorAbout(answered, step.by, step.fields)
  }

  /** What the other end got last, and where an answer to it comes from. */
  #lastSeen(): { packet: PacketWords; frame: Uint8Array; from: From } | null {
    const outcome = this.#outcome
    if (outcome === null) return null
    for (let i = outcome.left.length - 1; i >= 0; i--) {
      const { device, frame } = outcome.left[i]!
      const packet = wordsOf(frame)
      if (packet !== null) return { packet, frame, from: { device } }
    }
    const packet = outcome.delivered === null ? null : wordsOf(outcome.delivered)
    return packet === null ? null : { packet, frame: outcome.delivered!, from: 'out' }
  }

  /** Fills in sequence and acknowledgement numbers that were not said, and remembers where the connection is. */
  #number(packet: PacketWords): PacketWords {
    if (packet.protocol !== IPPROTO_TCP || packet.fragment !== undefined) return packet
    const flags = packet.flags ?? SYN
    let side = this.#sides.get(keyOf(packet))
    // A SYN by itself begins anew.
    if (side === undefined || ((flags & (SYN | ACK)) === SYN && packet.seq === undefined)) {
      side = { flow: { next: [...STARTS], heard: [false, false] }, end: 0 }
      this.#name(packet, side)
    }
    const { flow, end } = side
    const other = end === 0 ? 1 : 0
    const seq = packet.seq ?? flow.next[end]
    const ack = packet.ack ?? (flags & ACK ? flow.next[other] : 0)
    const length = (packet.payload?.length ?? 0) / 2 + (flags & SYN ? 1 : 0) + (flags & FIN ? 1 : 0)
    if (!(flags & RST)) flow.next[end] = (seq + length) >>> 0
    // An end that was never heard is where its acknowledgements say.
    if (flags & ACK && !flow.heard[other]) flow.next[other] = ack
    flow.heard[end] = true
    return { ...packet, flags, seq, ack }
  }

  #name(packet: PacketWords, side: Side): void {
    this.#sides.set(keyOf(packet), side)
    this.#sides.set(keyOf(reversed(packet)), { flow: side.flow, end: side.end === 0 ? 1 : 0 })
  }
}

const keyOf = ({ src, sport, dst, dport }: PacketWords): string => `${src} ${sport} ${dst} ${dport}`

const reversed = (packet: PacketWords): PacketWords => ({
  ...packet,
  src: packet.dst,
  dst: packet.src,
  ...(packet.sport !== undefined && { sport: packet.dport!, dport: packet.sport }),
})

/** The headers that an answer has for itself are left out. */
function bare({ family, protocol, src, dst, sport, dport }: PacketWords): Omit<PacketWords, 'from'> {
  return { family, protocol, src, dst, ...(sport !== undefined && { sport, dport: dport! }) }
}

/** The same packet with other fields. Numbers that its connection knows are not repeated unless they are said. */
function again(said: PacketWords, fields: PacketFields): PacketWords {
  const { seq: _, ack: __, payload: ___, flags, ...rest } = said
  const tcp = said.protocol === IPPROTO_TCP
  const kept = tcp ? { ...rest, ...(flags !== undefined && { flags }) } : said
  return { ...kept, ...fields }
}

/** What the other end answers: SYN+ACK to a SYN, an echo reply to an echo request, else the same protocol back. */
export function reply(packet: PacketWords, from: From, fields: PacketFields): PacketWords {
  const back = { ...bare(reversed(packet)), from }
  const { protocol, family } = packet
  if (protocol === IPPROTO_TCP) {
    const flags = ((packet.flags ?? SYN) & (SYN | ACK)) === SYN ? SYN | ACK : ACK
    return { ...back, flags, ...fields }
  }
  if (protocol === (family === 4 ? IPPROTO_ICMP : IPPROTO_ICMPV6)) {
    const type = packet.icmpType ?? echoRequest(family)
    // Requests and their replies are neighbours: 8 and 0, 13 and 14, 15 and 16, 17 and 18, 128 and 129.
    const answer = type === 8 ? 0 : type + 1
    return {
      ...back,
      ...(isQuery(type) && { icmpType: answer, icmpCode: 0 }),
      ...(packet.rest !== undefined && { rest: packet.rest }),
      ...(packet.payload !== undefined && { payload: packet.payload }),
      ...fields,
    }
  }
  return {
    ...back,
    ...(packet.key !== undefined && { key: packet.key }),
    ...(packet.ethertype !== undefined && { ethertype: packet.ethertype }),
    ...(packet.spi !== undefined && { spi: packet.spi }),
    ...fields,
  }
}

/** An ICMP error that quotes what left, to its source. */
function errorAbout(
  { packet, from }: { readonly packet: PacketWords; readonly from: From },
  by: string | null,
  fields: PacketFields,
): PacketWords {
  const { family } = packet
  const { from: _, ...quoted } = packet
  return {
    family,
    protocol: family === 4 ? IPPROTO_ICMP : IPPROTO_ICMPV6,
    src: by ?? packet.dst,
    dst: packet.src,
    about: { ...quoted, from: null },
    ...fields,
    from,
  }
}

/** A mistake in step `n` of a conversation. */
export const failAt =
  ({ offsets, placeOf }: Parsed, n: number) =>
  (reason: string): never => {
    throw new PlaceError(reason, placeOf(offsets[n] ?? 0))
  }
