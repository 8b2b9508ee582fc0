// IANA protocol numbers, in the kernel's spelling.

export const IPPROTO_ICMP = 1
export const IPPROTO_IGMP = 2
export const IPPROTO_IPIP = 4
export const IPPROTO_TCP = 6
export const IPPROTO_UDP = 17
export const IPPROTO_DCCP = 33
export const IPPROTO_IPV6 = 41
export const IPPROTO_GRE = 47
export const IPPROTO_ESP = 50
export const IPPROTO_AH = 51
export const IPPROTO_ICMPV6 = 58
export const IPPROTO_PIM = 103
export const IPPROTO_SCTP = 132
export const IPPROTO_UDPLITE = 136
export const IPPROTO_MPLS = 137
export const IPPROTO_RAW = 255

/** Whether a transport header of this protocol starts with source and destination port. */
export function hasPorts(proto: number): boolean {
  return (
    proto === IPPROTO_TCP ||
    proto === IPPROTO_UDP ||
    proto === IPPROTO_SCTP ||
    proto === IPPROTO_UDPLITE ||
    proto === IPPROTO_DCCP
  )
}
