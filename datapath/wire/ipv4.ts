// RFC 791. Offsets in bytes from l3; fields big-endian (DataView's default).
//
//     0               1               2               3
//    +-------+-------+---------------+-------------------------------+
//    |version|  IHL  |      TOS      |          total length         |
//    +-------+-------+---------------+-----+-------------------------+
//    |         identification        |0 D M|     fragment offset     |
//    +---------------+---------------+-----+-------------------------+
//    |      TTL      |   protocol    |        header checksum        |
//    +---------------+---------------+-------------------------------+
//    |        source address, destination address, options           |

export const IPV4_HEADER_LEN = 20
/** The first byte of a header without options: version 4, five words. */
export const IPV4_PLAIN = 0x45
export const IPV4_MAX_HEADER_LEN = 60
export const IPV4_TOS = 1
export const IPV4_TOTAL_LEN = 2
export const IPV4_ID = 4
export const IPV4_FRAG = 6
export const IPV4_TTL = 8
export const IPV4_PROTOCOL = 9
export const IPV4_CHECKSUM = 10
export const IPV4_SRC = 12
export const IPV4_DST = 16

/** Bits of the fragment word. */
export const IP_CE = 0x8000
export const IP_DF = 0x4000
export const IP_MF = 0x2000
export const IP_OFFSET = 0x1fff

/** RFC 2474 and 3168: TOS is DSCP << 2 | ECN. */
export const DSCP_MASK = 0xfc
export const ECN_MASK = 0x03

/**
 * If true, every getter below is in bounds: version 4, a header of 20 bytes or more inside `end`, a total length
 * that holds the header. Says nothing of the checksum, nor of a total length past `end`.
 */
export function ipv4Fits(v: DataView, l3: number, end: number): boolean {
  if (l3 + IPV4_HEADER_LEN > end) return false
  const first = v.getUint8(l3)
  if (first >> 4 !== 4) return false
  const header = (first & 0xf) << 2
  return header >= IPV4_HEADER_LEN && l3 + header <= end && v.getUint16(l3 + IPV4_TOTAL_LEN) >= header
}

export const ipv4HeaderLength = (v: DataView, l3: number): number => (v.getUint8(l3) & 0xf) << 2
export const ipv4Tos = (v: DataView, l3: number): number => v.getUint8(l3 + IPV4_TOS)
export const ipv4TotalLength = (v: DataView, l3: number): number => v.getUint16(l3 + IPV4_TOTAL_LEN)
export const ipv4Id = (v: DataView, l3: number): number => v.getUint16(l3 + IPV4_ID)
/** Flags and offset together, as iphdr.frag_off. */
export const ipv4Frag = (v: DataView, l3: number): number => v.getUint16(l3 + IPV4_FRAG)
/** In bytes. */
export const ipv4FragOffset = (v: DataView, l3: number): number =>
  (v.getUint16(l3 + IPV4_FRAG) & IP_OFFSET) << 3
export const ipv4Ttl = (v: DataView, l3: number): number => v.getUint8(l3 + IPV4_TTL)
export const ipv4Protocol = (v: DataView, l3: number): number => v.getUint8(l3 + IPV4_PROTOCOL)
export const ipv4Checksum = (v: DataView, l3: number): number => v.getUint16(l3 + IPV4_CHECKSUM)
/** Signed word. */
export const ipv4Src = (v: DataView, l3: number): number => v.getInt32(l3 + IPV4_SRC)
/** Signed word. */
export const ipv4Dst = (v: DataView, l3: number): number => v.getInt32(l3 + IPV4_DST)

/** 224.0.0.0/4. */
export const isMulticast4 = (word: number): boolean => word >>> 28 === 0xe
/** 127.0.0.0/8. */
export const isLoopback4 = (word: number): boolean => word >>> 24 === 127
/** ipv4_is_zeronet(): 0.0.0.0 alone; the rest of 0/8 is ordinary since Linux 5.3. */
export const isZeronet4 = (word: number): boolean => word === 0
