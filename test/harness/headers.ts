// Where things are in a frame of either family: what conversations learn from the host's answers, what is masked in a
// comparison, and which ports NAT drew all start here. And addresses, counted.

import { isIpv6 } from '../../daemon/frames/headers.ts'
import { formatIpv4, formatIpv6, parseIpv4, parseIpv6 } from '../../datapath/wire/address.ts'

export * from '../../daemon/frames/headers.ts'

/** An address as one number, to count on from it. */
export function numberOf(address: string): bigint {
  const words = isIpv6(address) ? parseIpv6(address) : [parseIpv4(address) ?? 0]
  let n = 0n
  for (const word of words ?? []) n = (n << 32n) | BigInt(word >>> 0)
  return n
}

function format(n: bigint, six: boolean): string {
  const word = (shift: bigint): number => Number(BigInt.asIntN(32, n >> shift))
  return six ? formatIpv6(word(96n), word(64n), word(32n), word(0n)) : formatIpv4(word(0n))
}

/** The address `by` further on. */
export function beside(address: string, by: number): string {
  const six = isIpv6(address)
  return format(BigInt.asUintN(six ? 128 : 32, numberOf(address) + BigInt(by)), six)
}

/** The first address of the prefix that it lies in. */
export function masked(address: string, length: number): string {
  const six = isIpv6(address)
  const rest = BigInt((six ? 128 : 32) - length)
  return format((numberOf(address) >> rest) << rest, six)
}
