// RFC 792. Offsets in bytes from l4.
//
//    +---------------+---------------+-------------------------------+
//    |     type      |     code      |           checksum            |
//    +---------------+---------------+-------------------------------+
//    |  rest: id and sequence, next-hop MTU, gateway or pointer      |
//    +---------------------------------------------------------------+
//    |  data; in errors the header and first bytes of the culprit    |

export const ICMP_HEADER_LEN = 8
export const ICMP_CODE = 1
export const ICMP_CHECKSUM = 2
export const ICMP_REST = 4
export const ICMP_ID = 4
export const ICMP_SEQUENCE = 6

export const ICMP_ECHOREPLY = 0
export const ICMP_DEST_UNREACH = 3
export const ICMP_SOURCE_QUENCH = 4
export const ICMP_REDIRECT = 5
export const ICMP_ECHO = 8
export const ICMP_TIME_EXCEEDED = 11
export const ICMP_PARAMETERPROB = 12
export const ICMP_TIMESTAMP = 13
export const ICMP_TIMESTAMPREPLY = 14
export const ICMP_INFO_REQUEST = 15
export const ICMP_INFO_REPLY = 16
export const ICMP_ADDRESS = 17
export const ICMP_ADDRESSREPLY = 18
/** RFC 8335. */
export const ICMP_EXT_ECHO = 42
export const ICMP_EXT_ECHOREPLY = 43
/** Highest type the kernel's tables know (NR_ICMP_TYPES). */
export const NR_ICMP_TYPES = 18

/** Codes of ICMP_DEST_UNREACH. */
export const ICMP_NET_UNREACH = 0
export const ICMP_HOST_UNREACH = 1
export const ICMP_PROT_UNREACH = 2
export const ICMP_PORT_UNREACH = 3
export const ICMP_FRAG_NEEDED = 4
export const ICMP_SR_FAILED = 5
export const ICMP_NET_ANO = 9
export const ICMP_HOST_ANO = 10
export const ICMP_PKT_FILTERED = 13
export const NR_ICMP_UNREACH = 15

/** Codes of ICMP_TIME_EXCEEDED. */
export const ICMP_EXC_TTL = 0
export const ICMP_EXC_FRAGTIME = 1

export const icmpFits = (l4: number, end: number): boolean => l4 + ICMP_HEADER_LEN <= end

export const icmpType = (v: DataView, l4: number): number => v.getUint8(l4)
export const icmpCode = (v: DataView, l4: number): number => v.getUint8(l4 + ICMP_CODE)
export const icmpChecksum = (v: DataView, l4: number): number => v.getUint16(l4 + ICMP_CHECKSUM)
export const icmpId = (v: DataView, l4: number): number => v.getUint16(l4 + ICMP_ID)
export const icmpSequence = (v: DataView, l4: number): number => v.getUint16(l4 + ICMP_SEQUENCE)
/** Unsigned. */
export const icmpRest = (v: DataView, l4: number): number => v.getUint32(l4 + ICMP_REST)

/** Types that quote a packet (icmp_pointers[].error, icmp_is_err). */
export function icmpIsError(type: number): boolean {
  return (
    type === ICMP_DEST_UNREACH ||
    type === ICMP_SOURCE_QUENCH ||
    type === ICMP_REDIRECT ||
    type === ICMP_TIME_EXCEEDED ||
    type === ICMP_PARAMETERPROB
  )
}
