// The fragments of a frame, as a sender or a router would cut it.

import { type Ip4Packet, ip4 } from './build.ts'

/**
 * The fragments of a frame, each with up to `size` bytes of data (a multiple of 8, the last one apart) or with the
 * sizes listed (the rest in one more). IPv4 options: only those with the copied bit go into later ones. `id`: of the
 * fragment headers of IPv6.
 */
export function fragment(frame: Uint8Array, size: number | readonly number[], id = 1): Uint8Array[] {
  if (frame[0]! >> 4 === 6) return fragment6(frame, size, id)
  const v = new DataView(frame.buffer, frame.byteOffset, frame.byteLength)
  const header = (v.getUint8(0) & 0xf) * 4
  const start = (v.getUint16(6) & 0x1fff) * 8
  const more = (v.getUint16(6) & 0x2000) !== 0
  const data = frame.slice(header)
  const pieces: Uint8Array[] = []
  const base: Omit<Ip4Packet, 'payload'> = {
    src: v.getInt32(12),
    dst: v.getInt32(16),
    proto: v.getUint8(9),
    ttl: v.getUint8(8),
    tos: v.getUint8(1),
    id: v.getUint16(4),
    df: (v.getUint16(6) & 0x4000) !== 0,
  }
  for (let at = 0, n = 0; at < data.length; n++) {
    const length = Math.min(typeof size === 'number' ? size : (size[n] ?? data.length), data.length - at)
    const options = at === 0 ? frame.slice(20, header) : copiedOptions(frame.slice(20, header))
    pieces.push(
      ip4({
        ...base,
        options,
        fragOffset: start + at,
        mf: more || at + length < data.length,
        payload: data.slice(at, at + length),
      }),
    )
    at += length
  }
  return pieces
}

function copiedOptions(options: Uint8Array): number[] {
  const kept: number[] = []
  for (let at = 0; at < options.length; ) {
    const kind = options[at]!
    if (kind === 0) break
    if (kind === 1) {
      kept.push(1)
      at++
      continue
    }
    const length = options[at + 1] ?? 0
    if (length < 2) break
    if (kind & 0x80) kept.push(...options.slice(at, at + length))
    at += length
  }
  return kept
}

/** Fragment headers come behind hop-by-hop options and, with a routing header, what stands before and in it. */
function fragment6(frame: Uint8Array, size: number | readonly number[], id: number): Uint8Array[] {
  let link = 6
  let at = 40
  for (let walk = 40, from = 6, next = frame[6]!; [0, 43, 60].includes(next) && walk + 8 <= frame.length; ) {
    const end = walk + (frame[walk + 1]! + 1) * 8
    if (end > frame.length) break
    if (next !== 60) {
      link = walk
      at = end
    }
    from = walk
    next = frame[from]!
    walk = end
  }
  const head = frame.slice(0, at)
  const protocol = head[link]!
  head[link] = 44
  const data = frame.slice(at)
  const pieces: Uint8Array[] = []
  for (let from = 0, n = 0; from < data.length; n++) {
    const length = Math.min(typeof size === 'number' ? size : (size[n] ?? data.length), data.length - from)
    const piece = new Uint8Array(at + 8 + length)
    const v = new DataView(piece.buffer)
    piece.set(head)
    v.setUint16(4, at - 40 + 8 + length)
    v.setUint8(at, protocol)
    v.setUint16(at + 2, from | (from + length < data.length ? 1 : 0))
    v.setUint32(at + 4, id)
    piece.set(data.subarray(from, from + length), at + 8)
    pieces.push(piece)
    from += length
  }
  return pieces
}
