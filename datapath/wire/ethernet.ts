// EtherTypes, in the kernel's spelling (if_ether.h), and the header in front of them.

export const ETH_P_IP = 0x0800
export const ETH_P_ARP = 0x0806
export const ETH_P_BATMAN = 0x4305
export const ETH_P_TEB = 0x6558
export const ETH_P_RARP = 0x8035
export const ETH_P_8021Q = 0x8100
export const ETH_P_IPV6 = 0x86dd
export const ETH_P_MPLS_UC = 0x8847
export const ETH_P_MPLS_MC = 0x8848
export const ETH_P_PPP_SES = 0x8864
export const ETH_P_8021AD = 0x88a8
export const ETH_P_TIPC = 0x88ca
export const ETH_P_1588 = 0x88f7
export const ETH_P_PRP = 0x88fb
export const ETH_P_CFM = 0x8902
export const ETH_P_FCOE = 0x8906
export const ETH_P_HSR = 0x892f
/** Destination, source, EtherType: bytes. */
export const ETH_HEADER_LEN = 14
