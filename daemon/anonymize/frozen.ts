// Bits of addresses that the mapping leaves alone. A prefix-preserving mapping decides at each node of the tree of
// prefixes whether the bit behind it is flipped; here stands at which nodes it must not be.
//
//     pin    the way to an address: special ranges stay where they are, the first and last address of a subnet too
//     hold   bits below a prefix: both ends of a range, masks with holes, NETMAP's host bits

import type { AddressWords as Words } from '../../datapath/wire/address.ts'

interface Node {
  zero: Node | null
  one: Node | null
  /** The bit behind this prefix is not flipped. */
  pinned: boolean
  /** Bits that are not flipped in addresses of this prefix. */
  held: [number, number, number, number] | null
}

const node = (): Node => ({ zero: null, one: null, pinned: false, held: null })

export const bitAt = (words: Words, at: number): number => (words[at >> 5]! >>> (31 - (at & 31))) & 1

export class Frozen {
  readonly #root = node()

  /** Bits `from` to `to` - 1 of the address, in it and in all that share what stands before each of them. */
  pin(words: Words, from: number, to: number): void {
    let at = this.#root
    for (let depth = 0; depth < to; depth++) {
      if (depth >= from) at.pinned = true
      if (depth + 1 < to) at = step(at, bitAt(words, depth))
    }
  }

  /** The bits of `mask` in all addresses of a prefix. */
  hold(words: Words, length: number, mask: Words): void {
    let at = this.#root
    for (let depth = 0; depth < length; depth++) at = step(at, bitAt(words, depth))
    at.held ??= [0, 0, 0, 0]
    for (let i = 0; i < 4; i++) at.held[i] = at.held[i]! | mask[i]!
  }

  /** The bits of an address that stay. */
  of(words: Words): [number, number, number, number] {
    const frozen: [number, number, number, number] = [0, 0, 0, 0]
    let at: Node | null = this.#root
    for (let depth = 0; at !== null; depth++) {
      if (at.held !== null) for (let i = 0; i < 4; i++) frozen[i] = frozen[i]! | at.held[i]!
      if (depth === 128) break
      if (at.pinned) frozen[depth >> 5] = frozen[depth >> 5]! | (1 << (31 - (depth & 31)))
      at = bitAt(words, depth) === 1 ? at.one : at.zero
    }
    return frozen
  }
}

function step(at: Node, bit: number): Node {
  if (bit === 1) {
    at.one ??= node()
    return at.one
  }
  at.zero ??= node()
  return at.zero
}
