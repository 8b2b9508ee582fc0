// Datagrams of a few flows, in bursts, mostly as a sender makes them one behind the other, and everything that may come
// between: other headers, wrong checksums and none, fragments, options, other protocols.

import { fold, sumView } from '../../datapath/wire/checksum.ts'
import { UDP_CHECKSUM, UDP_HEADER_LEN } from '../../datapath/wire/udp.ts'
import { fragment, type SeededRandom, tcp, udp } from './frames.ts'

export interface Datagram {
  readonly frame: Uint8Array
  /** Its checksum is left to the device: the field holds the pseudo header's sum. */
  readonly pending: boolean
}

interface Flow {
  readonly src: string
  readonly dst: string
  readonly sport: number
  readonly dport: number
  readonly pending: boolean
  ttl: number
  tos: number
  df: boolean
  id: number
}

/** `net`, `net6`: where they go. */
export function drawDatagrams(random: SeededRandom, count: number, net: string, net6: string): Datagram[] {
  const flows = Array.from({ length: 1 + random.below(12) }, (): Flow => {
    const six = random.once(2)
    return {
      src: six ? `2001:db8:9::${2 + random.below(3)}` : `10.9.0.${2 + random.below(3)}`,
      dst: six ? `${net6}${2 + random.below(3)}` : `${net}${2 + random.below(3)}`,
      sport: 1000 + random.below(3),
      dport: random.pick([53, 443, 4000, 5000]),
      pending: random.once(3),
      ttl: random.pick([3, 64, 255]),
      tos: random.pick([0, 0, 2, 0xb8]),
      df: random.once(2),
      id: random.pick([0, 0xfff0, random.below(0x10000)]),
    }
  })
  // Some streams are as senders make them, all the way.
  const rare = random.pick([1, 1, 50])
  const out: Datagram[] = []
  while (out.length < count) {
    const flow = random.pick(flows)
    const size = random.pick([1, 2, 31, 32, 200, 1200, 1400, 1 + random.below(1400)])
    for (let left = 1 + random.below(random.pick([2, 10, 150])); left > 0 && out.length < count; left--) {
      const last = left === 1 && random.once(2)
      out.push(...drawOne(random, flow, last ? random.below(1400) : size, rare))
    }
  }
  return out.slice(0, count)
}

/** `rare`: how much rarer than usual odd ones are. */
function drawOne(random: SeededRandom, flow: Flow, size: number, rare: number): Datagram[] {
  if (random.once(60 * rare)) flow.tos ^= random.pick([1, 4])
  if (random.once(60 * rare)) flow.ttl = random.pick([3, 64, 255])
  if (random.once(60 * rare)) flow.df = !flow.df
  // Some senders have no identification.
  if (!random.once(40 * rare) && !(flow.df && flow.id === 0)) flow.id = (flow.id + 1) & 0xffff
  const common = { ...flow, payload: random.bytes(size) }
  if (random.once(50 * rare))
    return [{ frame: tcp({ ...common, seq: random.u32(), flags: 'S' }), pending: false }]
  if (random.once(60 * rare)) common.payload = new Uint8Array(0)
  const six = flow.src.includes(':')
  if (!six && random.once(80 * rare))
    return [{ frame: udp({ ...common, options: [1, 1, 1, 0] }), pending: false }]
  const frame = udp(common)
  const view = new DataView(frame.buffer, frame.byteOffset)
  const l4 = six ? 40 : 20
  if (size > 100 && !flow.df && random.once(60 * rare))
    return fragment(frame, 64, random.u32()).map((piece) => ({ frame: piece, pending: false }))
  if (flow.pending) {
    view.setUint16(l4 + UDP_CHECKSUM, 0)
    const pseudo = sumView(view, six ? 8 : 12, l4, 17 + frame.length - l4)
    view.setUint16(l4 + UDP_CHECKSUM, fold(pseudo))
    return [{ frame, pending: true }]
  }
  const odd = random.below(40 * rare)
  if (odd === 0) view.setUint16(l4 + UDP_CHECKSUM, 0)
  else if (odd === 1) frame[l4 + random.pick([UDP_CHECKSUM, UDP_HEADER_LEN - 1])]! ^= 1
  return [{ frame, pending: false }]
}
