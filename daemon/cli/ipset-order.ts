// The order of `ipset -sorted` (7.17): elements are compared as text, piece by piece, every piece a hexadecimal number
// where it can be read as one.
//
//     10.0.0.0/24 < 10.0.0.0/8     what follows `/` the other way round
//     tcp:80 < udp:8 < icmp:…      words: the shorter first, then by letters
//     eth2                         0xe, and then `h2`: a word

/** strtol(3) of base 16: the low 32 bits as int, and where it ended (`from`: nothing read). */
function hexadecimal(text: string, from: number): readonly [number, number] {
  let at = from
  while (/[ \t-\r]/.test(text[at] ?? '')) at++
  const negative = text[at] === '-'
  if (negative || text[at] === '+') at++
  if (/^0x[0-9a-f]/i.test(text.slice(at, at + 3))) at += 2
  const digits = /^[0-9a-f]*/i.exec(text.slice(at, at + 64))![0]
  if (digits === '') return [0, from]
  const value = BigInt(`0x${digits}`)
  const most = negative ? 2n ** 63n : 2n ** 63n - 1n
  const cut = value > most ? most : value
  return [Number(BigInt.asIntN(32, negative ? -cut : cut)), at + digits.length]
}

const wordEnd = (text: string, from: number): number => {
  let at = from
  while (at < text.length && text[at] !== ':' && text[at] !== ',') at++
  return at
}

const byLetters = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0)

/** Of two elements with their options, as they are listed, the line end included: below, at or above 0. */
export function elementOrder(a: string, b: string): number {
  let i = 0
  let j = 0
  let sign = 1
  while (i < a.length) {
    if (j >= b.length) return 1
    const [x, afterX] = hexadecimal(a, i)
    const [y, afterY] = hexadecimal(b, j)
    if (afterX === i || afterY === j) {
      const endA = wordEnd(a, i)
      const endB = wordEnd(b, j)
      if (endA === i && endB === j) return byLetters(a.slice(i), b.slice(j))
      if (endA - i !== endB - j) return endA - i - (endB - j)
      const order = byLetters(a.slice(i, endA), b.slice(j, endB))
      if (order !== 0) return order
      sign = 1
      i = endA + 1
      j = endB + 1
      continue
    }
    if (x !== y) return sign * ((x - y) | 0)
    // An address without a length comes before its networks.
    if (a[afterX] === '/' && b[afterY] !== '/') return 1
    if (a[afterX] !== '/' && b[afterY] === '/') return -1
    if (a[afterX] === '/') sign = -1
    i = afterX + 1
    j = afterY + 1
    // `::` is longer than any group.
    if (a[i] === ':' && b[j] !== ':') return -1
    if (a[i] !== ':' && b[j] === ':') return 1
    if (a[i] === ':') {
      i++
      j++
    }
  }
  return j < b.length ? -1 : 0
}
