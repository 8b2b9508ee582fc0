// RFC 2784, 2890 and 2637 (PPTP, version 1). Offsets in bytes from l4.

export const GRE_HEADER_LEN = 4
export const GRE_PROTOCOL = 2
/** Version 1: payload length, call id. */
export const GRE_CALL_ID = 6
export const GRE_PPTP_HEADER_LEN = 8
/** Bits of the first word; each of the first four says that a field follows. */
export const GRE_CHECKSUM_FLAG = 0x8000
export const GRE_ROUTING_FLAG = 0x4000
export const GRE_KEY_FLAG = 0x2000
export const GRE_SEQUENCE_FLAG = 0x1000
/** Version 1. */
export const GRE_ACK_FLAG = 0x80
export const GRE_VERSION = 7
/** What PPTP carries, where an EtherType stands else. */
export const GRE_PROTO_PPP = 0x880b

/** Bytes of a header with the fields that its first word tells of, version 0 or 1, those of routing left out. */
export const greHeaderLength = (flags: number): number =>
  GRE_HEADER_LEN +
  ((flags & GRE_CHECKSUM_FLAG) === 0 ? 0 : 4) +
  ((flags & GRE_KEY_FLAG) === 0 ? 0 : 4) +
  ((flags & GRE_SEQUENCE_FLAG) === 0 ? 0 : 4) +
  ((flags & GRE_ACK_FLAG) === 0 || (flags & GRE_VERSION) !== 1 ? 0 : 4)
export const greFits = (l4: number, end: number): boolean => l4 + GRE_HEADER_LEN <= end
export const greVersion = (v: DataView, l4: number): number => v.getUint16(l4) & GRE_VERSION
export const greProtocol = (v: DataView, l4: number): number => v.getUint16(l4 + GRE_PROTOCOL)
export const greCallId = (v: DataView, l4: number): number => v.getUint16(l4 + GRE_CALL_ID)
