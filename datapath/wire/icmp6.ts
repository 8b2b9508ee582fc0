// RFC 4443. The header is laid out as ICMP's (icmp.ts); the checksum has a pseudo header.

export const ICMPV6_DEST_UNREACH = 1
export const ICMPV6_PKT_TOOBIG = 2
export const ICMPV6_TIME_EXCEED = 3
export const ICMPV6_PARAMPROB = 4
/** Types from here on are no errors. */
export const ICMPV6_INFOMSG_MASK = 0x80
export const ICMPV6_ECHO_REQUEST = 128
export const ICMPV6_ECHO_REPLY = 129
export const ICMPV6_MGM_QUERY = 130
export const ICMPV6_MGM_REPORT = 131
export const ICMPV6_MGM_REDUCTION = 132
export const NDISC_ROUTER_SOLICITATION = 133
export const NDISC_ROUTER_ADVERTISEMENT = 134
export const NDISC_NEIGHBOUR_SOLICITATION = 135
export const NDISC_NEIGHBOUR_ADVERTISEMENT = 136
export const NDISC_REDIRECT = 137
export const ICMPV6_MLD2_REPORT = 143
/** RFC 8335. */
export const ICMPV6_EXT_ECHO_REQUEST = 160
export const ICMPV6_EXT_ECHO_REPLY = 161

/** Codes of ICMPV6_DEST_UNREACH. */
export const ICMPV6_NOROUTE = 0
export const ICMPV6_ADM_PROHIBITED = 1
export const ICMPV6_NOT_NEIGHBOUR = 2
export const ICMPV6_ADDR_UNREACH = 3
export const ICMPV6_PORT_UNREACH = 4

/** Codes of ICMPV6_TIME_EXCEED. */
export const ICMPV6_EXC_HOPLIMIT = 0
export const ICMPV6_EXC_FRAGTIME = 1

/** Codes of ICMPV6_PARAMPROB. */
export const ICMPV6_HDR_FIELD = 0
export const ICMPV6_UNK_NEXTHDR = 1
export const ICMPV6_UNK_OPTION = 2
export const ICMPV6_HDR_INCOMP = 3
