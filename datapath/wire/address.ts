// Addresses as text and as signed 32-bit words, in the exact forms of inet_ntop(3) and inet_pton(3) of glibc.
// An IPv4 address is one word, an IPv6 address four, most significant first.

export type AddressWords = readonly [number, number, number, number]

/** `192.0.2.1`. */
export function formatIpv4(word: number): string {
  return `${word >>> 24}.${(word >>> 16) & 0xff}.${(word >>> 8) & 0xff}.${word & 0xff}`
}

/** Four decimal numbers without leading zeros, as inet_pton; null for anything else. */
export function parseIpv4(text: string): number | null {
  let word = 0
  let octet = -1
  let octets = 0
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i)
    if (c >= 0x30 && c <= 0x39) {
      if (octet === 0) return null
      if (octet < 0) {
        if (++octets > 4) return null
        octet = 0
      }
      octet = octet * 10 + c - 0x30
      if (octet > 255) return null
    } else if (c === 0x2e && octet >= 0 && octets < 4) {
      word = (word << 8) | octet
      octet = -1
    } else return null
  }
  return octets === 4 && octet >= 0 ? (word << 8) | octet : null
}

/**
 * Lower-case hexadecimal, the leftmost longest run of two or more zero groups as `::`; IPv4-compatible and
 * IPv4-mapped addresses end in dotted decimal.
 */
export function formatIpv6(w0: number, w1: number, w2: number, w3: number): string {
  const groups = [
    w0 >>> 16,
    w0 & 0xffff,
    w1 >>> 16,
    w1 & 0xffff,
    w2 >>> 16,
    w2 & 0xffff,
    w3 >>> 16,
    w3 & 0xffff,
  ]
  let base = -1
  let length = 1
  for (let i = 0; i < 8; i++) {
    let n = 0
    while (i + n < 8 && groups[i + n] === 0) n++
    if (n > length) {
      base = i
      length = n
    }
    i += n
  }
  let text = ''
  for (let i = 0; i < 8; i++) {
    if (i === base) {
      text += '::'
      i += length - 1
      continue
    }
    if (i > 0 && !text.endsWith(':')) text += ':'
    if (i === 6 && base === 0 && (length === 6 || (length === 5 && groups[5] === 0xffff)))
      return text + formatIpv4(w3)
    text += groups[i]!.toString(16)
  }
  return text
}

/** Any textual form that inet_pton takes; null for anything else. */
export function parseIpv6(text: string): AddressWords | null {
  const groups: number[] = []
  let gap = -1
  let at = 0
  if (text.startsWith(':')) {
    if (text[1] !== ':') return null
    at = 1
  }
  // `at` stands on a group's first character, or on the second colon of `::`.
  while (at < text.length) {
    if (text[at] === ':') {
      if (gap >= 0) return null
      gap = groups.length
      at++
      continue
    }
    let end = at
    while (end < text.length && text[end] !== ':') end++
    const word = text.slice(at, end)
    if (word.includes('.')) {
      const ipv4 = end === text.length ? parseIpv4(word) : null
      if (ipv4 === null || groups.length > 6) return null
      groups.push(ipv4 >>> 16, ipv4 & 0xffff)
      at = end
      break
    }
    if (!/^[0-9a-fA-F]{1,4}$/.test(word) || groups.length > 7) return null
    groups.push(Number.parseInt(word, 16))
    if (end === text.length - 1) return null // a single colon at the end
    at = end + 1
  }
  if (gap >= 0) {
    if (groups.length === 8) return null
    groups.splice(gap, 0, ...new Array<number>(8 - groups.length).fill(0))
  }
  if (groups.length !== 8) return null
  const word = (i: number): number => (groups[i]! << 16) | groups[i + 1]!
  return [word(0), word(2), word(4), word(6)]
}

/** An address of either family as words; IPv4 in word 0. */
export function formatAddress(family: 4 | 6, w: AddressWords): string {
  return family === 4 ? formatIpv4(w[0]) : formatIpv6(w[0], w[1], w[2], w[3])
}

/** As inet_pton of the family: IPv4 gives [word, 0, 0, 0]; null if the text is no such address. */
export function parseAddress(family: 4 | 6, text: string): AddressWords | null {
  if (family === 6) return parseIpv6(text)
  const word = parseIpv4(text)
  return word === null ? null : [word, 0, 0, 0]
}

/** inet_make_mask: /0 to /32 as a word. */
export function prefixMask4(length: number): number {
  return length <= 0 ? 0 : length >= 32 ? -1 : -1 << (32 - length)
}
