// RFC 9293 §3.1. Offsets in bytes from l4; fields big-endian.
//
//    +-------------------------------+-------------------------------+
//    |          source port          |       destination port        |
//    +-------------------------------+-------------------------------+
//    |                        sequence number                        |
//    |                    acknowledgment number                      |
//    +-------+-------+---------------+-------------------------------+
//    | offset|  rsvd |     flags     |            window             |
//    +-------+-------+---------------+-------------------------------+
//    |            checksum           |         urgent pointer        |

export const TCP_HEADER_LEN = 20
export const TCP_SEQ = 4
export const TCP_ACK_SEQ = 8
export const TCP_DATA_OFFSET = 12
export const TCP_FLAGS = 13
export const TCP_WINDOW = 14
export const TCP_CHECKSUM = 16
export const TCP_URGENT = 18

export const TCP_FIN = 0x01
export const TCP_SYN = 0x02
export const TCP_RST = 0x04
export const TCP_PSH = 0x08
export const TCP_ACK = 0x10
export const TCP_URG = 0x20
export const TCP_ECE = 0x40
export const TCP_CWR = 0x80

export const TCPOPT_EOL = 0
export const TCPOPT_NOP = 1
export const TCPOPT_MSS = 2
export const TCPOPT_WINDOW = 3
export const TCPOPT_SACK_PERM = 4
export const TCPOPT_SACK = 5
export const TCPOPT_TIMESTAMP = 8
export const TCPOPT_MD5SIG = 19
export const TCPOPT_AO = 29
/** Bytes of the option with a signature, and of the other's head. */
const MD5SIG_LEN = 18
const AO_HEAD_LEN = 4

/** The fixed header and the options that the data offset announces lie inside `end`. */
export function tcpFits(v: DataView, l4: number, end: number): boolean {
  if (l4 + TCP_HEADER_LEN > end) return false
  const header = tcpHeaderLength(v, l4)
  return header >= TCP_HEADER_LEN && l4 + header <= end
}

export const tcpSrcPort = (v: DataView, l4: number): number => v.getUint16(l4)
export const tcpDstPort = (v: DataView, l4: number): number => v.getUint16(l4 + 2)
/** Unsigned. */
export const tcpSeq = (v: DataView, l4: number): number => v.getUint32(l4 + TCP_SEQ)
/** Unsigned. */
export const tcpAckSeq = (v: DataView, l4: number): number => v.getUint32(l4 + TCP_ACK_SEQ)
export const tcpHeaderLength = (v: DataView, l4: number): number =>
  (v.getUint8(l4 + TCP_DATA_OFFSET) >> 4) << 2
/** FIN to CWR, one byte. */
export const tcpFlags = (v: DataView, l4: number): number => v.getUint8(l4 + TCP_FLAGS)
export const tcpWindow = (v: DataView, l4: number): number => v.getUint16(l4 + TCP_WINDOW)
export const tcpChecksum = (v: DataView, l4: number): number => v.getUint16(l4 + TCP_CHECKSUM)

/**
 * Offset of the first option of a kind (its kind byte), or -1. Walks as tcp_parse_options: stops at the end marker
 * and at lengths below 2 or past the header. `l4 + header length` must be in bounds (tcpFits).
 */
export function tcpOption(v: DataView, l4: number, kind: number): number {
  const end = l4 + tcpHeaderLength(v, l4)
  let at = l4 + TCP_HEADER_LEN
  while (at < end) {
    const k = v.getUint8(at)
    if (k === TCPOPT_EOL) return -1
    if (k === TCPOPT_NOP) {
      at++
      continue
    }
    if (at + 1 >= end) return -1
    const length = v.getUint8(at + 1)
    if (length < 2 || at + length > end) return -1
    if (k === kind) return at
    at += length
  }
  return -1
}

/** What tcp_parse_auth_options() says of a segment's options. */
export const TcpAuth = { None: 0, Md5: 1, Ao: 2, Bad: 3 } as const

/**
 * Which of the options that authenticate a segment it has; Bad: more than one, or a length that cannot be. Options are
 * looked at while there is room for the longer of the two. `l4 + header length` must be in bounds (tcpFits).
 */
export function tcpAuth(v: DataView, l4: number): number {
  const end = l4 + tcpHeaderLength(v, l4)
  let at = l4 + TCP_HEADER_LEN
  let found: number = TcpAuth.None
  while (end - at >= MD5SIG_LEN) {
    const kind = v.getUint8(at)
    if (kind === TCPOPT_EOL) break
    if (kind === TCPOPT_NOP) {
      at++
      continue
    }
    const length = v.getUint8(at + 1)
    if (length < 2 || at + length > end) return TcpAuth.Bad
    if (kind === TCPOPT_MD5SIG || kind === TCPOPT_AO) {
      const fits = kind === TCPOPT_AO ? length > AO_HEAD_LEN : length === MD5SIG_LEN
      if (!fits || found !== TcpAuth.None) return TcpAuth.Bad
      found = kind === TCPOPT_AO ? TcpAuth.Ao : TcpAuth.Md5
    }
    at += length
  }
  return found
}
