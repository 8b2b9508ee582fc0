// IPv4 options, IPv6 extension headers and SCTP chunks between words and bytes. All are kept as hex.

export const hexOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')

/** `0x0aFF` to `0aff`; null if it is none or is half a byte too long. */
export function mayHex(text: string): string | null {
  const digits = /^0x((?:[0-9a-fA-F]{2})+)$/.exec(text)
  return digits === null ? null : digits[1]!.toLowerCase()
}

/** RFC 791: record route and timestamp with room for three addresses, four times; RFC 2113. */
const IP_OPTIONS: readonly (readonly [string, string])[] = [
  ['router-alert', '94040000'],
  ['record-route', `070f04${'00'.repeat(12)}`],
  ['timestamp', `44140500${'00'.repeat(16)}`],
  ['nop', '01'],
]

export function ipOptionsFrom(text: string): string | null {
  const parts = text.split(',').map((part) => IP_OPTIONS.find(([name]) => name === part)?.[1] ?? mayHex(part))
  const all = parts.join('')
  return parts.includes(null) || all.length > 80 ? null : all
}

export function ipOptionsWords(hex: string): string {
  const words: string[] = []
  let rest = hex
  while (rest !== '') {
    const known = IP_OPTIONS.find(([, bytes]) => rest.startsWith(bytes))
    words.push(known?.[0] ?? `0x${rest}`)
    rest = known === undefined ? '' : rest.slice(known[1].length)
  }
  return words.join(',')
}

/** Name, number, what it holds if nothing is said: PadN; a routing header of type 2 with no
 * segments left; the only fragment with identification 1. */
export const EXTENSIONS: readonly (readonly [string, number, string])[] = [
  ['hop-by-hop', 0, '010400000000'],
  ['destination', 60, '010400000000'],
  ['routing', 43, '020000000000'],
  ['fragment', 44, '000000000001'],
]

/** RFC 9260 §3.3: the least that each chunk holds; `_` is the initiate tag. */
const CHUNKS: ReadonlyMap<string, string> = new Map([
  ['data', '00030014000000010000000000000000deadbeef'],
  ['init', '01000014_00010000000a000a00000001'],
  ['init-ack', '0200001c_00010000000a000a0000000100070008c00c1e00'],
  ['sack', '03000010000000010001000000000000'],
  ['heartbeat', '0400000c0001000812345678'],
  ['heartbeat-ack', '0500000c0001000812345678'],
  ['abort', '06000004'],
  ['shutdown', '0700000800000001'],
  ['shutdown-ack', '08000004'],
  ['error', '09000004'],
  ['cookie-echo', '0a000008c00c1e00'],
  ['cookie-ack', '0b000004'],
  ['shutdown-complete', '0e000004'],
])
export const sctpChunkNames = [...CHUNKS.keys()]

export const sctpChunk = (name: string, tag: number): string =>
  CHUNKS.get(name)!.replace('_', tag.toString(16).padStart(8, '0'))

/** Chunks in words; those that no word says, and all behind them, in hex. */
export function sctpWords(hex: string): string {
  const words: string[] = []
  let rest = hex
  while (rest !== '') {
    const found = [...CHUNKS].find(([, bytes]) => {
      const [head, tail] = bytes.split('_')
      return rest.startsWith(head!) && (tail === undefined || rest.startsWith(tail, head!.length + 8))
    })
    if (found === undefined) {
      words.push(`chunks 0x${rest}`)
      break
    }
    const tag = found[1].includes('_') ? Number.parseInt(rest.slice(8, 16), 16) : 1
    words.push(tag === 1 ? found[0] : `${found[0]} tag ${tag}`)
    rest = rest.slice(sctpChunk(found[0], tag).length)
  }
  return words.join(' ')
}
