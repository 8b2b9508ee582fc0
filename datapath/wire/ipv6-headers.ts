// The chain of IPv6 extension headers (RFC 8200 §4), walked as the kernel's matches walk it.
//
//     IPv6 ─ hop-by-hop ─ routing ─ fragment ─ AH ─ destination options ─ upper header
//
// A header's length is not held against the packet's end: what follows a header that says too much is cut short.
// Nothing here allocates.

import { IPV6_HEADER_LEN, IPV6_NEXT_HEADER } from './ipv6.ts'

export const NEXTHDR_HOP = 0
export const NEXTHDR_ROUTING = 43
export const NEXTHDR_FRAGMENT = 44
export const NEXTHDR_ESP = 50
export const NEXTHDR_AUTH = 51
export const NEXTHDR_NONE = 59
export const NEXTHDR_DEST = 60
export const NEXTHDR_MOBILITY = 135

/** Bytes that must be there of any extension header. */
const OPT_HEADER = 2
export const FRAGMENT_HEADER_LEN = 8

/** Answers of findHeader() that are no offset: -ENOENT, -EBADMSG. */
export const NO_HEADER = -1
export const CUT_HEADER = -2

/** ipv6_ext_hdr(): "none" is one, ESP is not. */
export const isExtension = (next: number): boolean =>
  next === NEXTHDR_HOP ||
  next === NEXTHDR_ROUTING ||
  next === NEXTHDR_FRAGMENT ||
  next === NEXTHDR_AUTH ||
  next === NEXTHDR_NONE ||
  next === NEXTHDR_DEST

/** ipv6_optlen(), ipv6_authlen() and the fragment header's fixed length: bytes of the extension header at `at`. */
export function extensionLength(view: DataView, next: number, at: number): number {
  if (next === NEXTHDR_FRAGMENT) return FRAGMENT_HEADER_LEN
  const length = view.getUint8(at + 1)
  return next === NEXTHDR_AUTH ? (length + 2) << 2 : (length + 1) << 3
}

/**
 * ipv6_find_hdr() with a target: where the first header of the kind begins in the packet [l3, end), or NO_HEADER, or
 * CUT_HEADER for a chain that ends in the middle. Behind a later fragment's header nothing is looked for.
 */
export function findHeader(view: DataView, l3: number, end: number, target: number): number {
  let next = view.getUint8(l3 + IPV6_NEXT_HEADER)
  let at = l3 + IPV6_HEADER_LEN
  for (;;) {
    const found = next === target
    if (!isExtension(next) || next === NEXTHDR_NONE) return found ? at : NO_HEADER
    if (at + OPT_HEADER > end) return CUT_HEADER
    if (next === NEXTHDR_ROUTING && at + 4 > end) return CUT_HEADER
    if (next === NEXTHDR_FRAGMENT) {
      if (at + 4 > end) return CUT_HEADER
      if ((view.getUint16(at + 2) & 0xfff8) !== 0) return found ? at : NO_HEADER
    }
    if (found) return at
    const length = extensionLength(view, next, at)
    next = view.getUint8(at)
    at += length
  }
}

/** What skipHeaders() found besides the offset: the kind of the header there; one reused object. */
export const skipped = {
  next: 0,
  /** Bytes in front of what the last fragment header met is about; 0: none was met. */
  offset: 0,
  /** The field of that header that holds the offset, with its reserved bits and M. */
  field: 0,
}

/**
 * ipv6_skip_exthdr() from the fixed header on: where the upper header begins, or -1 if there is none or the chain is
 * cut short. In a later fragment it stops at the fragment header, which `skipped.next` then names.
 */
export function skipHeaders(view: DataView, l3: number, end: number): number {
  return skipHeadersFrom(view, l3 + IPV6_HEADER_LEN, end, view.getUint8(l3 + IPV6_NEXT_HEADER))
}

/** The same from the header at `at` on, which is of the kind `next`. */
export function skipHeadersFrom(view: DataView, at: number, end: number, next: number): number {
  skipped.offset = skipped.field = 0
  while (isExtension(next)) {
    if (next === NEXTHDR_NONE || at + OPT_HEADER > end) return -1
    if (next === NEXTHDR_FRAGMENT) {
      if (at + 4 > end) return -1
      skipped.field = view.getUint16(at + 2)
      skipped.offset = skipped.field & 0xfff8
      if (skipped.offset !== 0) break
    }
    const length = extensionLength(view, next, at)
    next = view.getUint8(at)
    at += length
  }
  skipped.next = next
  return at
}
