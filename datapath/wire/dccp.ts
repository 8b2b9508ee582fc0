// RFC 4340 §5.1. The header starts with ports; the checksum stands at 6 and covers what CsCov says.

export const DCCP_HEADER_LEN = 12
export const DCCP_DATA_OFFSET = 4
export const DCCP_CSCOV = 5
export const DCCP_CHECKSUM = 6

export const dccpFits = (l4: number, end: number): boolean => l4 + DCCP_HEADER_LEN <= end

/** End of the bytes that the checksum covers (RFC 4340 §9.2), never past `end`. */
export function dccpCoveredEnd(v: DataView, l4: number, end: number): number {
  const coverage = v.getUint8(l4 + DCCP_CSCOV) & 0xf
  if (coverage === 0) return end
  return Math.min(end, l4 + v.getUint8(l4 + DCCP_DATA_OFFSET) * 4 + (coverage - 1) * 4)
}
