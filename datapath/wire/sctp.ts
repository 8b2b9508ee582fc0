// RFC 9260 §3.1: ports, verification tag, CRC32c (stored least significant byte first, RFC 9260 appendix A).

export const SCTP_HEADER_LEN = 12
export const SCTP_VTAG = 4
export const SCTP_CHECKSUM = 8

export const sctpFits = (l4: number, end: number): boolean => l4 + SCTP_HEADER_LEN <= end
/** Unsigned. */
export const sctpVtag = (v: DataView, l4: number): number => v.getUint32(l4 + SCTP_VTAG)

/** CRC32c by bytes, reflected polynomial 0x82f63b78. */
const TABLE = new Int32Array(256).map((_, n) => {
  let c = n
  for (let k = 0; k < 8; k++) c = c & 1 ? (c >>> 1) ^ 0x82f63b78 : c >>> 1
  return c | 0
})

/** CRC32c of the SCTP packet [l4, end) with its checksum field taken as zero, as read little-endian from the field, signed. */
export function sctpCrc(bytes: Uint8Array, l4: number, end: number): number {
  let crc = -1
  for (let i = l4; i < end; i++) {
    const byte = i >= l4 + SCTP_CHECKSUM && i < l4 + SCTP_CHECKSUM + 4 ? 0 : bytes[i]!
    crc = TABLE[(crc ^ byte) & 0xff]! ^ (crc >>> 8)
  }
  return ~crc
}
