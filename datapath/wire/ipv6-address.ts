// What kind of address it is (RFC 4291 §2.4), in the kernel's bits: IPV6_ADDR_* of include/net/ipv6.h, the scope of
// RFC 4007 in the upper half.

export const Ipv6Address = {
  Any: 0,
  Unicast: 0x1,
  Multicast: 0x2,
  Loopback: 0x10,
  LinkLocal: 0x20,
  SiteLocal: 0x40,
  Compat4: 0x80,
  Mapped: 0x1000,
} as const

/** IPV6_ADDR_SCOPE_MASK: the bits that ipv6_addr_scope() gives. */
export const IPV6_SCOPE_BITS = 0xf0

/** IPV6_ADDR_SCOPE_*, as ipv6_addr_src_scope() gives them. */
export const Ipv6Scope = { Node: 1, Link: 2, Site: 5, Organisation: 8, Global: 14 } as const

const LINK = Ipv6Address.Unicast | Ipv6Address.LinkLocal | (Ipv6Scope.Link << 16)
const SITE = Ipv6Address.Unicast | Ipv6Address.SiteLocal | (Ipv6Scope.Site << 16)
const GLOBAL = Ipv6Address.Unicast | (Ipv6Scope.Global << 16)

/** __ipv6_addr_type() of four words: bits of Ipv6Address, and the scope << 16. Does not allocate. */
export function ipv6AddressType(w0: number, w1: number, w2: number, w3: number): number {
  const top = w0 >>> 29
  if (top !== 0 && top !== 7) return GLOBAL
  if (w0 >>> 24 === 0xff) {
    const scope = (w0 >>> 16) & 0xf
    let bits = Ipv6Address.Multicast | (scope << 16)
    if (scope === Ipv6Scope.Node) bits |= Ipv6Address.Loopback
    else if (scope === Ipv6Scope.Link) bits |= Ipv6Address.LinkLocal
    else if (scope === Ipv6Scope.Site) bits |= Ipv6Address.SiteLocal
    return bits
  }
  if (w0 >>> 22 === 0xfe80 >>> 6) return LINK
  if (w0 >>> 22 === 0xfec0 >>> 6) return SITE
  if (w0 !== 0 || w1 !== 0) return GLOBAL
  if (w2 === 0) {
    if (w3 === 0) return Ipv6Address.Any
    if (w3 === 1) return Ipv6Address.Unicast | Ipv6Address.Loopback | (Ipv6Scope.Link << 16)
    return GLOBAL | Ipv6Address.Compat4
  }
  return w2 === 0xffff ? Ipv6Address.Mapped | (Ipv6Scope.Global << 16) : GLOBAL
}

/** ipv6_addr_src_scope(): Ipv6Scope of an address, -1 for `::`. `type`: of ipv6AddressType(). */
export const ipv6SourceScope = (type: number): number => (type === Ipv6Address.Any ? -1 : type >> 16)
