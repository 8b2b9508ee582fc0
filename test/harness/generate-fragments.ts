// How packets are cut on their way: in order or not, some missing, doubled, overlapping, of odd sizes, with headers that
// say otherwise. Every piece of IPv4 has a right header checksum unless it is one that was damaged on purpose.

import { fold, sum } from '../../datapath/wire/checksum.ts'
import { fragment, type SeededRandom } from './frames.ts'
import { shuffled } from './generate-world.ts'
import { headersOf, u16 } from './headers.ts'

const SIZES = [8, 16, 24, 64, 256, 512, 1000, 1232, 1400, 1448]

/**
 * The pieces of a packet of either family as they arrive; null for one that is not cut: too short, or a fragment. `ids`:
 * identifications that others have or had; the new ones are added.
 */
export function cutUp(frame: Uint8Array, random: SeededRandom, ids: number[]): Uint8Array[] | null {
  const h = headersOf(frame)
  if (h === null || h.fragment !== null) return null
  const four = h.family === 4
  const data = frame.length - (four ? h.l4 : 40)
  if (data <= 8) return null
  const plain = frame.slice()
  // DF stays now and then, which is odd but legal.
  if (four && !random.once(12)) plain[6]! &= 0x9f
  const smallest = Math.max(8, Math.ceil(data / 12 / 8) * 8)
  const size = Math.max(smallest, random.pick(SIZES))
  let id = four ? u16(frame, 4) : random.u32()
  if (ids.length > 0 && random.once(8)) id = random.pick(ids)
  ids.push(id)
  if (four) setId(plain, id)
  let pieces = fragment(plain, random.once(6) ? sizes(data, smallest, random) : size, id)
  // An atomic fragment is one too, over IPv6.
  if (pieces.length < 2 && (four || !random.once(4))) return null
  for (let changes = random.pick([0, 1, 1, 1, 1, 2]); changes > 0; changes--)
    pieces = changed(pieces, () => fragment(plain, size + 8, id), random, ids)
  return pieces
}

function sizes(data: number, smallest: number, random: SeededRandom): number[] {
  const out: number[] = []
  for (let left = data; left > 0; left -= out.at(-1)!)
    out.push(Math.max(smallest, 8 * (1 + random.below(Math.ceil(data / 16)))))
  return out
}

function changed(
  pieces: Uint8Array[],
  others: () => Uint8Array[],
  random: SeededRandom,
  ids: readonly number[],
): Uint8Array[] {
  const out = pieces.slice()
  if (out.length === 0) return out
  const at = random.below(out.length)
  const somewhere = (piece: Uint8Array): void => {
    out.splice(random.below(out.length + 1), 0, piece)
  }
  switch (random.below(13)) {
    case 0:
      return out.reverse()
    case 1:
    case 2:
      return shuffled(out, random)
    case 3:
      out.splice(at, 1)
      break
    case 4:
      somewhere(out[at]!.slice())
      break
    case 5:
      // Cut again with another size: the pieces overlap.
      somewhere(random.pick(others()))
      break
    case 6:
      somewhere(random.pick(others()))
      somewhere(random.pick(others()))
      return shuffled(out, random)
    case 7:
    case 8:
      out[at] = said(out[at]!, random, ids)
      break
    case 9: {
      // No multiple of eight, or nothing at all.
      const length = out[at]!.length - dataAt(out[at]!)
      out[at] = shortened(out[at]!, random.once(4) ? length : random.below(Math.min(length, 16) + 1))
      break
    }
    case 10:
      out[at] = placed(out[at]!, random.pick([8, 65528, 65520, 1480, random.below(8192) * 8]), random.once(2))
      break
    case 11:
      out[at] = placed(out[at]!, null, random.once(2))
      break
    case 12: {
      const damaged = out[at]!.slice()
      damaged[random.below(Math.min(damaged.length, 64))] = random.below(256)
      out[at] = damaged
      break
    }
  }
  return out
}

/** Something else than the rest: ECN, TTL, identification, protocol, DF. */
function said(piece: Uint8Array, random: SeededRandom, ids: readonly number[]): Uint8Array {
  const out = piece.slice()
  const four = out[0]! >> 4 === 4
  switch (random.below(5)) {
    case 0:
    case 1:
      if (four) out[1] = (out[1]! & 0xfc) | random.below(4)
      else out[1] = (out[1]! & 0xcf) | (random.below(4) << 4)
      break
    case 2:
      out[four ? 8 : 7] = random.pick([0, 1, 2, 64, 255])
      break
    case 3:
      setId(out, random.once(2) ? random.u32() : random.pick(ids))
      break
    case 4:
      if (random.once(2)) out[four ? 9 : fragmentAt(out)] = random.pick([6, 17, 1, 58, 132, 60, 0, 44, 255])
      else if (four) out[6] = out[6]! ^ 0x40
      break
  }
  return sealed(out)
}

/** The same with `by` bytes less. */
function shortened(piece: Uint8Array, by: number): Uint8Array {
  const out = piece.slice(0, piece.length - by)
  const four = out[0]! >> 4 === 4
  const length = four ? out.length : out.length - 40
  const at = four ? 2 : 4
  out[at] = length >> 8
  out[at + 1] = length & 0xff
  return sealed(out)
}

/** The same elsewhere (null: where it was), and as a last one or not. */
function placed(piece: Uint8Array, offset: number | null, more: boolean): Uint8Array {
  const out = piece.slice()
  const at = out[0]! >> 4 === 4 ? 6 : fragmentAt(out) + 2
  const four = at === 6
  const old = u16(out, at)
  const place = four
    ? (old & 0xc000) | (more ? 0x2000 : 0) | (offset === null ? old & 0x1fff : offset >> 3)
    : (offset ?? old & 0xfff8) | (more ? 1 : 0)
  out[at] = (place >> 8) & 0xff
  out[at + 1] = place & 0xff
  return sealed(out)
}

/** Of an IPv6 piece: where its fragment header begins, or what was one. */
function fragmentAt(piece: Uint8Array): number {
  let at = 40
  for (let next = piece[6]!; [0, 43, 60].includes(next); ) {
    const end = at + (piece[at + 1]! + 1) * 8
    if (end + 8 > piece.length) break
    next = piece[at]!
    at = end
  }
  return at
}

const dataAt = (piece: Uint8Array): number =>
  Math.min(piece[0]! >> 4 === 4 ? (piece[0]! & 15) * 4 : fragmentAt(piece) + 8, piece.length)

function setId(piece: Uint8Array, id: number): void {
  const view = new DataView(piece.buffer, piece.byteOffset, piece.length)
  if (piece[0]! >> 4 === 4) view.setUint16(4, id & 0xffff)
  else if (fragmentAt(piece) + 8 <= piece.length) view.setUint32(fragmentAt(piece) + 4, id)
}

/** With a right header checksum. */
function sealed(piece: Uint8Array): Uint8Array {
  if (piece[0]! >> 4 !== 4) return piece
  const header = Math.min((piece[0]! & 15) * 4, piece.length)
  piece[10] = piece[11] = 0
  const check = ~fold(sum(piece, 0, header)) & 0xffff
  piece[10] = check >> 8
  piece[11] = check & 0xff
  return piece
}
