// Protocols without ports, and those with ports that are rare.

import {
  be32,
  type Conversation,
  ipOptions,
  learn,
  opening,
  referencesOf,
  type View,
  type Wire,
} from './conversation.ts'
import * as build from './frames.ts'
import { headersOf, u16 } from './headers.ts'

/**
 * The checksum as udplite_error() of Linux wants it: over a pseudo header that says UDP. With the right one, every
 * UDP-Lite packet is INVALID.
 */
function likeUdp(frame: Uint8Array): void {
  const at = headersOf(frame)!.l4 + 6
  // ~sum grows by what the pseudo header loses.
  const check = u16(frame, at) + (136 - 17)
  const folded = (check & 0xffff) + (check >>> 16)
  frame[at] = folded >>> 8
  frame[at + 1] = folded & 0xff
}

/** Bytes behind the first 16 of a DCCP header, by type. */
const DCCP_HEADERS = [4, 12, 0, 8, 8, 8, 8, 12, 8, 8]
const DCCP_OPTIONS = [
  [2, 1, 32, 3, 9],
  [32, 4, 1, 41],
  [41, 2, 3, 3],
]

/** A protocol without ports, both ways; or with ports that this host does not track by. */
export class OtherConversation implements Conversation {
  readonly #w: Wire
  readonly #a: View
  readonly #kind: 'gre' | 'dccp' | 'udplite' | 'ah' | 'esp' | 'ipcomp' | 'mobility' | 'raw'
  readonly #protocol: number
  #b: View | null = null
  #left: number

  constructor(wire: Wire) {
    this.#w = wire
    this.#a = opening(wire)
    this.#left = 1 + wire.random.below(4)
    const last = wire.world.family === 6 ? 'mobility' : 'raw'
    this.#kind = wire.random.pick(['gre', 'udplite', 'dccp', 'dccp', 'ah', 'esp', 'ipcomp', 'raw', last])
    this.#protocol = wire.random.pick([50, 51, 4, 89, 103, 108, 2, 255, 0, 200, 33])
  }

  get done(): boolean {
    return this.#left <= 0
  }

  async turn(): Promise<void> {
    const { random } = this.#w
    this.#left--
    const view = this.#b !== null && random.once(2) ? this.#b : this.#a
    const head = { src: view.local.address, dst: view.remote.address, ...ipOptions(this.#w) }
    const ports = { sport: view.local.port, dport: view.remote.port }
    const spi = random.pick([1, 2, 255, 256, 4096, 0xffffffff])
    const raw = (proto: number, bytes: readonly number[]): Uint8Array =>
      build.ip({
        ...head,
        proto,
        // Whole, or cut just where the header ends.
        payload: random.once(6) ? bytes.slice(0, random.pick([bytes.length - 1, 4, 8, 11, 12])) : bytes,
      })
    let frame: Uint8Array
    switch (this.#kind) {
      case 'gre':
        frame = random.once(3)
          ? raw(47, [
              ...random.pick([
                [0x30, 0x01],
                [0x30, 0x81],
                [0x20, 0x01],
                [0x00, 0x01],
                [0x20, 0x02],
              ]),
              ...[0x88, 0x0b, 0, 4],
              ...be32(random.pick([1, 7, 0xffff])).slice(2),
              ...be32(random.below(9)),
              ...[0xff, 3, 0, 0x21],
            ])
          : build.gre({ ...head, payload: 40, ...(random.once(3) ? { key: random.pick([7, 0x70000]) } : {}) })
        break
      case 'udplite':
        frame = build.udplite({ ...head, ...ports, payload: 30, coverage: random.pick([0, 8, 20]) })
        if (random.once(2)) likeUdp(frame)
        break
      case 'dccp': {
        frame = build.dccp({
          ...head,
          ...ports,
          type: random.below(12),
          payload: random.pick([0, 4, 8, 12, 20, 24]),
        })
        const at = headersOf(frame)!.l4
        // Options: some behind the header of the type, whose words the offset counts; the rest is data.
        if (!random.once(4)) {
          const type = (frame[at + 8]! >> 1) & 15
          const options = at + 16 + (random.once(4) ? 4 : (DCCP_HEADERS[type] ?? 0))
          frame[at + 4] = random.once(3) ? random.pick([3, 4, 5, 6, 7, 10, 60]) : (options - at) / 4 + 1
          const written = random.pick(DCCP_OPTIONS)
          if (options < frame.length) frame.set(written.slice(0, frame.length - options), options)
        }
        break
      }
      case 'ah':
        // Of IPv6 it is an extension header: no next header follows it.
        frame = raw(51, [
          this.#w.world.family === 6 ? 59 : 6,
          4,
          0,
          0,
          ...be32(spi),
          ...be32(1),
          ...Array<number>(12).fill(3),
          1,
          2,
          3,
          4,
        ])
        break
      case 'esp':
        frame = raw(50, [...be32(spi), ...be32(1), 9, 9, 9, 9])
        break
      case 'mobility':
        // RFC 6275: no next header, its length, type, reserved, checksum, data.
        frame = raw(135, [59, 1, random.below(24), 0, 0, 0, ...Array<number>(10).fill(0)])
        break
      case 'ipcomp':
        frame = raw(108, [4, 0, ...be32(spi).slice(2), 1, 2, 3])
        break
      default:
        frame = build.ip({ ...head, proto: this.#protocol, payload: random.pick([0, 4, 20, 60]) })
    }
    const run = await this.#w.send(view.dev, frame, this.#kind, referencesOf(frame, view))
    if (view === this.#a) this.#b = learn(frame, run) ?? this.#b
  }
}
