// Packets whose every field is drawn, by nobody's idea of what is likely: all bits of TCP's flags, any type and code of ICMP,
// any protocol, options of any kind with right and wrong lengths, sums that come to nothing.

import type { Wire } from './conversation.ts'
import { anyChain } from './extension-headers.ts'
import * as build from './frames.ts'
import type { Maker } from './noise.ts'
import type { StepRun } from './scenario.ts'

type Random = Wire['random']

const bytes = (random: Random, length: number): number[] => Array.from({ length }, () => random.below(256))

/** Kinds of IPv4 options: those that Linux knows, with and without the bit that copies them, and any. */
const IP_OPTIONS = [0, 1, 7, 0x44, 0x82, 0x83, 0x85, 0x86, 0x88, 0x89, 0x94, 0x95, 0x19, 0x1e, 0xcd]

/** Kinds of TCP options: those that somebody uses, and any. */
const TCP_OPTIONS = [0, 1, 2, 3, 4, 5, 8, 14, 19, 27, 28, 29, 30, 34, 253, 254]
const TCP_LENGTHS: Readonly<Record<number, number>> = {
  2: 4,
  3: 3,
  4: 2,
  5: 10,
  8: 10,
  19: 18,
  28: 4,
  30: 12,
}

/** Options up to `room` bytes, a multiple of four: type, length, and bytes, as often as not what they should be. */
function options(
  random: Random,
  kinds: readonly number[],
  room: number,
  usual: (kind: number) => number,
): number[] {
  const out: number[] = []
  const wanted = random.below(room / 4 + 1) * 4
  while (out.length < wanted) {
    const kind = random.once(8) ? random.below(256) : random.pick(kinds)
    out.push(kind)
    if (kind <= 1) continue
    const length = random.once(4) ? random.below(16) : usual(kind)
    out.push(length, ...bytes(random, Math.max(0, length - 2)))
  }
  return out.slice(0, wanted)
}

/** An IPv4 option with its pointer at one of its places, and addresses that are the world's. */
function ipOptions(w: Wire): number[] {
  const { random, world } = w
  const out = options(random, IP_OPTIONS, 40, () => random.pick([4, 7, 8, 11, 12, 15]))
  for (let at = 0; at + 2 < out.length; ) {
    const kind = out[at]!
    if (kind <= 1) {
      at++
      continue
    }
    if (random.once(2)) out[at + 2] = random.pick([4, 5, 8, 9, 12, 13])
    const address = random.pick([...world.own, ...world.peers.map((p) => p.address)])
    const place = at + (kind === 0x44 ? 4 : 3)
    if (random.once(2) && place + 4 <= out.length) out.splice(place, 4, ...address.split('.').map(Number))
    at += Math.max(1, out[at + 1]!)
  }
  return out
}

/** Who sends it where, and what stands in its IP header. */
function head(w: Wire): { dev: string; ip: build.Ip & { src: string; dst: string } } {
  const { random, world } = w
  const from = random.pick(world.peers)
  const dst = random.once(3)
    ? random.pick([...world.own, ...world.broadcasts, ...world.virtual])
    : random.pick(world.peers).address
  return {
    dev: from.dev,
    ip: {
      src: from.address,
      dst,
      id: w.id(),
      df: random.once(2),
      tos: random.once(3) ? random.below(256) : 0,
      ttl: random.once(4) ? random.pick([0, 1, 2, 255, random.below(256)]) : 64,
      ...(world.family === 6 && random.once(4) ? { flowLabel: random.below(0x100000) } : {}),
      ...(world.family === 6 && random.once(8) ? { extensions: anyChain(w) } : {}),
      ...(world.family === 4 && random.once(4) ? { options: ipOptions(w) } : {}),
    },
  }
}

/** A datagram whose sum comes to nothing, which is sent as 0xffff: its last word is the sum of all others. */
function zeroSum(o: build.Udp): Uint8Array {
  const plain = build.udp({ ...o, payload: Uint8Array.of(1, 2, 3, 4, 0, 0) })
  const view = new DataView(plain.buffer, plain.byteOffset)
  const sum = view.getUint16(plain.length - 8)
  return build.udp({ ...o, payload: Uint8Array.of(1, 2, 3, 4, sum >> 8, sum & 255) })
}

/** A transport header of any kind, with fields of any value. */
function packet(
  w: Wire,
  ip: build.Ip & { src: string; dst: string },
  history: readonly StepRun[],
): Uint8Array {
  const { random, world } = w
  const port = (known: readonly number[]): number =>
    random.once(6) ? random.below(65536) : random.pick(known)
  const ends = { ...ip, sport: port(world.clientPorts), dport: port(world.serverPorts) }
  const payload = Uint8Array.from(bytes(random, random.pick([0, 0, 1, 7, 8, 20, 64])))
  const badChecksum = random.once(12)
  switch (random.below(10)) {
    case 0:
    case 1:
    case 2:
      return build.tcp({
        ...ends,
        flags: random.once(3)
          ? random.pick([0, 0xff, 0x29, 1, 3, 5, 6, 0x3f, 0xc2, 0x12])
          : random.below(256),
        reserved: random.once(8) ? random.below(16) : 0,
        seq: random.u32(),
        ack: random.once(2) ? random.u32() : 0,
        window: random.pick([0, 1, 1024, 65535]),
        urgent: random.once(4) ? random.below(65536) : 0,
        tcpOptions: random.once(2) ? options(random, TCP_OPTIONS, 40, (kind) => TCP_LENGTHS[kind] ?? 4) : [],
        payload,
        badChecksum,
      })
    case 3:
      return random.once(3)
        ? zeroSum(ends)
        : build.udp({ ...ends, payload, badChecksum, noChecksum: random.once(4) })
    case 4:
      return build.icmp({
        ...ip,
        type: random.below(256),
        code: random.once(2) ? 0 : random.below(256),
        rest: random.u32(),
        payload,
        badChecksum,
      })
    case 5: {
      const went = history.filter((r) => r.injected !== null && r.injected.length >= 28)
      const run = went.length === 0 ? null : random.pick(went)
      const sent = run === null || run.sent.length === 0 ? null : random.pick(run.sent).bytes
      const about = random.once(2) ? sent : (run?.injected ?? null)
      if (about === null || about[0]! >> 4 !== (world.family === 4 ? 4 : 6)) break
      const type = world.family === 4 ? random.pick([3, 3, 3, 4, 5, 11, 12]) : random.pick([1, 1, 2, 3, 4, 5])
      return build.icmpError(type, random.below(18), about, {
        ...ip,
        quote: random.pick([0, 8, 20, 24, 27, 28, 32, 36, 40, 48, 60, 68, 88]),
        rest: random.once(2) ? 0 : random.pick([68, 576, 1280, 1400, random.u32()]),
        badChecksum,
      })
    }
    case 6:
      return build.sctp({
        ...ends,
        vtag: random.once(3) ? 0 : random.u32(),
        chunks: chunks(random),
        badChecksum,
      })
    case 7:
      return build.dccp({ ...ends, type: random.below(16), seq: random.u32(), payload, badChecksum })
    case 8:
      return build.udplite({ ...ends, coverage: random.pick([0, 8, 9, 12, 16]), payload, badChecksum })
  }
  const proto = random.once(2) ? random.pick([2, 47, 50, 51, 89, 103, 108, 112, 115, 255]) : random.below(256)
  return build.ip({
    ...ip,
    proto,
    payload: Uint8Array.from(bytes(random, random.pick([0, 3, 8, 12, 24, 40]))),
  })
}

/** Chunks of SCTP: any type, flags, and lengths that are right more often than not. */
function chunks(random: Random): Uint8Array {
  const out: number[] = []
  for (let n = random.below(4); n > 0; n--) {
    const type = random.once(4) ? random.below(256) : random.below(16)
    const length = 4 + random.pick([0, 0, 4, 12, 16, 20])
    const said = random.once(8) ? random.below(40) : length
    out.push(type, random.once(2) ? 0 : random.below(16), said >> 8, said & 255, ...bytes(random, length - 4))
  }
  return Uint8Array.from(out)
}

/** Any packet at all. */
export const wild: Maker = (w, history) => {
  const { dev, ip } = head(w)
  return { dev, frame: packet(w, ip, history), note: 'anything' }
}
