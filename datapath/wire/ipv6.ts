// RFC 8200 §3. Offsets in bytes from l3.
//
//    +-------+---------------+---------------------------------------+
//    |version| traffic class |              flow label               |
//    +-------+---------------+-------+---------------+---------------+
//    |         payload length        |  next header  |   hop limit   |
//    +-------------------------------+---------------+---------------+
//    |        source address (16), destination address (16)          |

/** RFC 8200 section 5: on a device with less there is no IPv6. */
export const IPV6_MIN_MTU = 1280
export const IPV6_HEADER_LEN = 40
export const IPV6_PAYLOAD_LEN = 4
export const IPV6_NEXT_HEADER = 6
export const IPV6_HOP_LIMIT = 7
export const IPV6_SRC = 8
export const IPV6_DST = 24

/** If true, every getter below is in bounds. */
export function ipv6Fits(v: DataView, l3: number, end: number): boolean {
  return l3 + IPV6_HEADER_LEN <= end && v.getUint8(l3) >> 4 === 6
}

export const ipv6TrafficClass = (v: DataView, l3: number): number => (v.getUint16(l3) >> 4) & 0xff
export const ipv6FlowLabel = (v: DataView, l3: number): number => v.getUint32(l3) & 0xfffff
export const ipv6PayloadLength = (v: DataView, l3: number): number => v.getUint16(l3 + IPV6_PAYLOAD_LEN)
export const ipv6NextHeader = (v: DataView, l3: number): number => v.getUint8(l3 + IPV6_NEXT_HEADER)
export const ipv6HopLimit = (v: DataView, l3: number): number => v.getUint8(l3 + IPV6_HOP_LIMIT)
/** Signed word 0 to 3 of the address. */
export const ipv6Src = (v: DataView, l3: number, word: number): number => v.getInt32(l3 + IPV6_SRC + word * 4)
/** Signed word 0 to 3 of the address. */
export const ipv6Dst = (v: DataView, l3: number, word: number): number => v.getInt32(l3 + IPV6_DST + word * 4)
