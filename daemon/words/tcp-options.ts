// TCP options between words and bytes (RFC 9293 §3.1, RFC 7323, RFC 2018).

import type { Line } from './line.ts'
import { mayHex } from './options.ts'

type Name = 'mss' | 'wscale' | 'sack-ok' | 'sack' | 'timestamp' | 'nop' | 'tcp-options'

const hex = (value: number, bytes: number): string => value.toString(16).padStart(bytes * 2, '0')
const U32 = 0xffffffff

/** `1:2` to numbers, or null. */
function pair(text: string, separator: string): [number, number] | null {
  const parts = text.split(separator)
  if (parts.length > 2 || !parts.every((p) => /^\d{1,10}$/.test(p) && Number(p) <= U32)) return null
  return [Number(parts[0]), Number(parts[1] ?? 0)]
}

export const TcpOptionsDraft = {
  usage: {
    mss: 'mss N',
    wscale: 'wscale N',
    'sack-ok': 'sack-ok',
    sack: 'sack LEFT-RIGHT[,…]',
    timestamp: 'timestamp VALUE[:ECHO]',
    nop: 'nop',
    'tcp-options': 'tcp-options 0xHEX',
  } satisfies Record<Name, string>,

  /** Appends what the line says behind the name to options in hex. */
  add(to: string, name: Name, line: Line): string {
    switch (name) {
      case 'mss':
        return `${to}0204${hex(line.number(0xffff), 2)}`
      case 'wscale':
        return `${to}0303${hex(line.number(255), 1)}`
      case 'sack-ok':
        return `${to}0402`
      case 'nop':
        return `${to}01`
      case 'timestamp': {
        const [value, echo] = line.value('VALUE or VALUE:ECHO', (text) => pair(text, ':'))
        return `${to}080a${hex(value, 4)}${hex(echo, 4)}`
      }
      case 'sack': {
        const blocks = line.value('one to four blocks LEFT-RIGHT, with commas', (text) => {
          const list = text.split(',').map((part) => (part.includes('-') ? pair(part, '-') : null))
          return list.length <= 4 && list.every((block) => block !== null) ? list : null
        })
        return `${to}05${hex(2 + blocks.length * 8, 1)}${blocks.map(([l, r]) => hex(l, 4) + hex(r, 4)).join('')}`
      }
      case 'tcp-options':
        return to + line.value('options as 0xHEX', mayHex)
    }
  },
}

/** Options in words; those that no word says, and all behind them, in hex. */
export function tcpOptionsWords(options: string): string {
  const bytes = Buffer.from(options, 'hex')
  const words: string[] = []
  let at = 0
  while (at < bytes.length) {
    const kind = bytes[at]!
    const length = kind === 1 ? 1 : (bytes[at + 1] ?? 0)
    const said = at + length <= bytes.length ? sayOption(kind, bytes.subarray(at, at + length)) : null
    if (said === null) {
      words.push(`tcp-options 0x${bytes.subarray(at).toString('hex')}`)
      break
    }
    words.push(said)
    at += length
  }
  return words.join(' ')
}

function sayOption(kind: number, o: Buffer): string | null {
  if (kind === 1) return 'nop'
  if (kind === 2 && o.length === 4) return `mss ${o.readUInt16BE(2)}`
  if (kind === 3 && o.length === 3) return `wscale ${o[2]}`
  if (kind === 4 && o.length === 2) return 'sack-ok'
  if (kind === 8 && o.length === 10) {
    const echo = o.readUInt32BE(6)
    return `timestamp ${o.readUInt32BE(2)}${echo === 0 ? '' : `:${echo}`}`
  }
  if (kind !== 5 || o.length < 10 || o.length > 34 || o.length % 8 !== 2) return null
  const blocks: string[] = []
  for (let at = 2; at < o.length; at += 8) blocks.push(`${o.readUInt32BE(at)}-${o.readUInt32BE(at + 4)}`)
  return `sack ${blocks.join(',')}`
}
