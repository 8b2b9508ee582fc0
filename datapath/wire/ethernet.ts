// EtherTypes, in the kernel's spelling (if_ether.h), and the header in front of them.

export const ETH_P_IP = 0x0800
export const ETH_P_ARP = 0x0806
export const ETH_P_TEB = 0x6558
export const ETH_P_RARP = 0x8035
export const ETH_P_IPV6 = 0x86dd
export const ETH_P_MPLS_UC = 0x8847
export const ETH_P_MPLS_MC = 0x8848
/** Destination, source, EtherType: bytes. */
export const ETH_HEADER_LEN = 14
