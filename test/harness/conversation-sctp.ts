// SCTP associations in their usual order, with chunks out of it.

import { be32, type Conversation, ipOptions, learn, opening, type View, type Wire } from './conversation.ts'
import * as build from './frames.ts'

/** Chunks of SCTP as bytes: type, flags, value. Padded to four bytes, as they must be. */
function chunk(type: number, flags: number, value: readonly number[] = []): number[] {
  const length = 4 + value.length
  return [type, flags, length >> 8, length & 255, ...value, ...Array<number>((4 - (length % 4)) % 4).fill(0)]
}

/** An association in its usual order: who sends, which chunk. Each end's tag is in what the other sends. */
const ASSOCIATION: readonly (readonly ['a' | 'b', number])[] = [
  ['a', 1],
  ['b', 2],
  ['a', 10],
  ['b', 11],
  ['a', 0],
  ['b', 3],
  ['b', 0],
  ['a', 4],
  ['b', 5],
  ['a', 7],
  ['b', 8],
  ['a', 14],
]
const CHUNK_TYPES = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 64, 128, 130, 132, 192, 193, 194, 255]

export class SctpConversation implements Conversation {
  readonly #w: Wire
  readonly #a: View
  #b: View | null = null
  #at = 0
  #turns = 0
  readonly #tags: Record<'a' | 'b', number>

  constructor(wire: Wire) {
    this.#w = wire
    this.#a = opening(wire)
    this.#tags = { a: 1 + wire.random.below(1000), b: 2000 + wire.random.below(1000) }
  }

  get done(): boolean {
    return this.#at >= ASSOCIATION.length || this.#turns > 20
  }

  #chunk(type: number, own: number): number[] {
    const { random } = this.#w
    if (type === 1 || type === 2) return chunk(type, 0, [...be32(own), 0, 1, 0, 0, 0, 10, 0, 10, 0, 0, 0, 1])
    const flags = type === 0 ? random.pick([3, 3, 7, 2, 1]) : random.once(6) ? 1 : 0
    const size = type === 0 ? 12 + random.pick([1, 4, 100]) : random.pick([0, 4, 8, 12])
    return chunk(type, flags, Array<number>(size).fill(7))
  }

  async turn(): Promise<void> {
    const { random } = this.#w
    this.#turns++
    let [who, type] = ASSOCIATION[this.#at]!
    if (random.once(5)) {
      // Out of turn.
      who = random.pick(['a', 'b'] as const)
      type = random.pick(CHUNK_TYPES)
    } else this.#at += random.once(8) ? 0 : 1
    const view = who === 'a' ? this.#a : this.#b
    if (view === null) return
    // Somebody who was started again has another tag.
    if (type <= 2 && type > 0 && random.once(8)) this.#tags[who] = random.u32()
    const own = this.#tags[who]
    const other = this.#tags[who === 'a' ? 'b' : 'a']
    const chunks = this.#chunk(type, own)
    for (let n = random.pick([0, 0, 0, 1, 2, 6]); n > 0; n--)
      chunks.push(...this.#chunk(random.pick(CHUNK_TYPES), own))
    // A last chunk that says it is longer than it is, or is none.
    if (random.once(16)) chunks.push(...random.pick([[0, 3, 0, 200], [6], [0, 0, 0, 0], [3, 0, 0, 3]]))
    const frame = build.sctp({
      src: view.local.address,
      dst: view.remote.address,
      sport: view.local.port,
      dport: view.remote.port,
      vtag:
        type === 1 && !random.once(16)
          ? 0
          : random.once(12)
            ? random.pick([0, own, random.below(4000)])
            : other,
      chunks,
      badChecksum: random.once(20),
      ...ipOptions(this.#w),
    })
    const run = await this.#w.send(view.dev, frame, `sctp ${who}: chunk ${type}`)
    if (view === this.#a) this.#b = learn(frame, run) ?? this.#b
  }
}
