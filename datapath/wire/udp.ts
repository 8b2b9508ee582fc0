// RFC 768, and RFC 3828 (UDP-Lite) whose length field is the checksum coverage. Offsets in bytes from l4.

export const UDP_HEADER_LEN = 8
export const UDP_DST = 2
export const UDP_LENGTH = 4
export const UDP_CHECKSUM = 6

/** The header lies inside `end`, and so does the length it claims. */
export function udpFits(v: DataView, l4: number, end: number): boolean {
  if (l4 + UDP_HEADER_LEN > end) return false
  const length = udpLength(v, l4)
  return length >= UDP_HEADER_LEN && l4 + length <= end
}

export const udpSrcPort = (v: DataView, l4: number): number => v.getUint16(l4)
export const udpDstPort = (v: DataView, l4: number): number => v.getUint16(l4 + 2)
/** UDP-Lite: the coverage in bytes, 0 for all. */
export const udpLength = (v: DataView, l4: number): number => v.getUint16(l4 + UDP_LENGTH)
export const udpChecksum = (v: DataView, l4: number): number => v.getUint16(l4 + UDP_CHECKSUM)
