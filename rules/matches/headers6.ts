// What the matches of IPv6 extension headers share.

import type { Packet } from '../../datapath/packet.ts'
import type { FrameMemory } from '../../datapath/ring.ts'
import { CUT_HEADER, findHeader } from '../../datapath/wire/ipv6-headers.ts'
import type { Options } from '../options.ts'

/** A number that is asked for, 32 bit; null: it is not. */
export interface AskedNumber {
  readonly value: number
  readonly invert: boolean
}

/** The option's number, or null. */
export const askedNumber = (o: Options, flag: string, bits: 8 | 16 | 32 = 32): AskedNumber | null =>
  o.has(flag) ? { value: o.uint(flag, bits), invert: o.inverted(flag) } : null

/** `! --flag 5`. */
export const printNumber = (flag: string, asked: AskedNumber | null): string =>
  asked === null ? '' : `${asked.invert ? '! ' : ''}--${flag} ${asked.value}`

/** `length:!24`. */
export const listNumber = (name: string, asked: AskedNumber | null): string =>
  asked === null ? '' : `${name}:${asked.invert ? '!' : ''}${asked.value}`

/** Whether a field is as asked; true where nothing is. */
export const fitsNumber = (field: number, asked: AskedNumber | null): boolean =>
  asked === null || (field === asked.value) !== asked.invert

/**
 * The first header of the kind, of which `bytes` are there; -1 if there is none. A chain or header that is cut short
 * drops the packet. Does not allocate.
 */
export function headerOf(pkt: Packet, memory: FrameMemory, kind: number, bytes: number): number {
  const at = findHeader(memory.view, pkt.l3, pkt.end, kind)
  if (at >= 0 && at + bytes <= pkt.end) return at
  if (at >= 0 || at === CUT_HEADER) pkt.hotdrop = true
  return -1
}

/** spi_match() and its like: a number in a range, both ends included. */
export const within = (field: number, range: readonly [number, number], invert: boolean): boolean =>
  (field >= range[0] && field <= range[1]) !== invert

/** The same of the unsigned word at `at`; handed over itself, a large one would be allocated. */
export function wordWithin(
  view: DataView,
  at: number,
  range: readonly [number, number],
  invert: boolean,
): boolean {
  const word = view.getUint32(at)
  return (word >= range[0] && word <= range[1]) !== invert
}
