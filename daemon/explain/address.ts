// Addresses as text, of which the same few come again and again.

import type { Family } from '../../datapath/packet.ts'
import { formatAddress } from '../../datapath/wire/address.ts'

const MOST = 8192
const texts = new Map<number, string>()

/** By words, signed or not. */
export function addressText(family: Family, w0: number, w1: number, w2: number, w3: number): string {
  if (family === 6) return formatAddress(6, [w0, w1, w2, w3])
  let text = texts.get(w0)
  if (text === undefined) {
    if (texts.size >= MOST) texts.clear()
    text = formatAddress(4, [w0, 0, 0, 0])
    texts.set(w0, text)
  }
  return text
}
