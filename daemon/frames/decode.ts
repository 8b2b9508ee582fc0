// What a frame holds, in one line.

import { formatIpv4 } from '../../datapath/wire/address.ts'
import { fold, pseudo4, sum } from '../../datapath/wire/checksum.ts'
import { icmpIsError } from '../../datapath/wire/icmp.ts'
import { sctpCrc } from '../../datapath/wire/sctp.ts'
import { TCP_LETTERS, toHex } from './build.ts'
import { addressAt, quotes } from './headers.ts'

/**
 * One line for failure messages:
 * `192.0.2.1 > 198.51.100.2 ttl 64 id 7 DF tcp 1024 > 80 [S] seq 1 ack 0 win 65535 len 0`; wrong lengths and checksums
 * are named, an ICMP error shows its quote in brackets. Never throws.
 */
export function decode(frame: Uint8Array): string {
  if (frame.length === 0) return '(empty)'
  const version = frame[0]! >> 4
  if (version === 4) return decode4(frame, false)
  if (version === 6) return decode6(frame)
  return `(version ${version}) ${toHex(frame.slice(0, 64))}`
}

function decode4(frame: Uint8Array, quoted: boolean): string {
  const v = new DataView(frame.buffer, frame.byteOffset, frame.byteLength)
  const header = (frame[0]! & 0xf) * 4
  if (frame.length < 20 || header < 20 || header > frame.length)
    return `(damaged IPv4) ${toHex(frame.slice(0, 64))}`
  const total = v.getUint16(2)
  const words = [`${formatIpv4(v.getInt32(12))} > ${formatIpv4(v.getInt32(16))}`, `ttl ${frame[8]}`]
  if (frame[1] !== 0) words.push(`tos 0x${frame[1]!.toString(16)}`)
  words.push(`id ${v.getUint16(4)}`)
  const frag = v.getUint16(6)
  if (frag & 0x8000) words.push('CE')
  if (frag & 0x4000) words.push('DF')
  if (frag & 0x3fff)
    words.push(
      `frag ${(frag & 0x1fff) * 8}+${Math.min(frame.length, total) - header}${frag & 0x2000 ? ' MF' : ''}`,
    )
  if (header > 20) words.push(`options ${toHex(frame.slice(20, header))}`)
  if (fold(sum(frame, 0, header)) !== 0xffff) words.push('BAD-IP-CSUM')
  if (total !== frame.length && !quoted) words.push(`total ${total} of ${frame.length}`)
  const end = Math.min(frame.length, Math.max(total, header))
  const data = frame.subarray(header, end)
  const proto = frame[9]!
  if (frag & 0x1fff) words.push(`proto ${proto}`)
  else {
    const whole = (frag & 0x2000) === 0 && (!quoted || frame.length >= total)
    words.push(transport(proto, data, whole, pseudo4(v.getInt32(12), v.getInt32(16), proto, data.length)))
  }
  return words.join(' ')
}

const EXTENSIONS: Readonly<Record<number, string>> = { 0: 'hbh', 43: 'rt', 44: 'frag', 51: 'ah', 60: 'dst' }

function decode6(frame: Uint8Array, quoted = false): string {
  if (frame.length < 40) return `(damaged IPv6) ${toHex(frame)}`
  const v = new DataView(frame.buffer, frame.byteOffset, frame.byteLength)
  const words = [`${addressAt(frame, 8, 6)} > ${addressAt(frame, 24, 6)} hlim ${frame[7]}`]
  const first = v.getUint32(0)
  if ((first >>> 20) & 0xff) words.push(`tc 0x${((first >>> 20) & 0xff).toString(16)}`)
  if (first & 0xfffff) words.push(`flow 0x${(first & 0xfffff).toString(16)}`)
  const said = v.getUint16(4)
  if (said !== frame.length - 40 && !quoted) words.push(`length ${said} of ${frame.length - 40}`)
  const end = Math.min(frame.length, 40 + said)
  let next = frame[6]!
  let at = 40
  let whole = true
  while (EXTENSIONS[next] !== undefined && at + 8 <= end) {
    const name = EXTENSIONS[next]!
    if (next === 44) {
      const cut = v.getUint16(at + 2)
      words.push(
        `frag ${cut & 0xfff8}+${end - at - 8}${cut & 1 ? ' MF' : ''} id 0x${v.getUint32(at + 4).toString(16)}`,
      )
      if (cut & 6) words.push(`reserved ${cut & 6}`)
      if (cut & 0xfff9) whole = false
      next = frame[at]!
      at += 8
      if (cut & 0xfff8) {
        words.push(`proto ${next}`)
        return words.join(' ')
      }
      continue
    }
    const length = next === 51 ? (frame[at + 1]! + 2) * 4 : (frame[at + 1]! + 1) * 8
    words.push(`${name} ${toHex(frame.slice(at + 1, Math.min(end, at + length, at + 40)))}`)
    next = frame[at]!
    at += length
  }
  if (at > end) words.push('(cut)')
  const data = frame.subarray(Math.min(at, end), end)
  words.push(
    transport(
      next,
      data,
      whole && (!quoted || 40 + said <= frame.length),
      sum(frame, 8, 40, next + data.length),
    ),
  )
  return words.join(' ')
}

function transport(proto: number, d: Uint8Array, whole: boolean, start: number): string {
  const v = new DataView(d.buffer, d.byteOffset, d.byteLength)
  const bad = (s: number, name = 'BAD-CSUM'): string =>
    whole && fold(sum(d, 0, d.length, s)) !== 0xffff ? ` ${name}` : ''
  switch (proto) {
    case 6: {
      if (d.length < 8) break
      const ports = `tcp ${v.getUint16(0)} > ${v.getUint16(2)}`
      if (d.length < 20) return `${ports} seq ${v.getUint32(4)} (cut at ${d.length})`
      const flags = [...TCP_LETTERS].filter((_, i) => d[13]! & (1 << i)).join('')
      const header = (d[12]! >> 4) * 4
      const options = header > 20 ? ` opt ${toHex(d.slice(20, header))}` : ''
      return `${ports} [${flags}] seq ${v.getUint32(4)} ack ${v.getUint32(8)} win ${v.getUint16(14)}${options} len ${d.length - header}${bad(start)}`
    }
    case 17:
    case 136: {
      if (d.length < 8) break
      const name = proto === 17 ? 'udp' : 'udplite'
      const length = v.getUint16(4)
      const said = length === d.length ? '' : ` length ${length} of ${d.length}`
      const check = v.getUint16(6) === 0 ? ' no-csum' : proto === 17 ? bad(start) : ''
      return `${name} ${v.getUint16(0)} > ${v.getUint16(2)} len ${d.length - 8}${said}${check}`
    }
    case 1: {
      if (d.length < 8) break
      const head = `icmp ${d[0]}/${d[1]}`
      if (!icmpIsError(d[0]!))
        return `${head} id ${v.getUint16(4)} seq ${v.getUint16(6)} len ${d.length - 8}${bad(0)}`
      const rest = v.getUint32(4) === 0 ? '' : ` rest 0x${v.getUint32(4).toString(16)}`
      const inner = d.length > 8 ? decode4(d.subarray(8), true) : ''
      return `${head}${rest} len ${d.length - 8}${bad(0)} [${inner}]`
    }
    case 58:
      if (d.length < 8) break
      if (!quotes(58, d[0]!))
        return `icmp6 ${d[0]}/${d[1]} id ${v.getUint16(4)} seq ${v.getUint16(6)} len ${d.length - 8}${bad(start)}`
      return `icmp6 ${d[0]}/${d[1]} rest 0x${v.getUint32(4).toString(16)} len ${d.length - 8}${bad(start)} [${
        d.length > 8 && d[8]! >> 4 === 6 ? decode6(d.subarray(8), true) : toHex(d.slice(8, 48))
      }]`
    case 132:
      if (d.length < 12) break
      return `sctp ${v.getUint16(0)} > ${v.getUint16(2)} vtag ${v.getUint32(4)} ${toHex(d.slice(12, 28))} len ${d.length}${
        whole && v.getInt32(8, true) !== sctpCrc(d, 0, d.length) ? ' BAD-CRC' : ''
      }`
    case 33:
      if (d.length < 12) break
      return `dccp ${v.getUint16(0)} > ${v.getUint16(2)} len ${d.length}${bad(start)}`
    case 47:
      if (d.length < 4) break
      return `gre 0x${v.getUint16(0).toString(16)} proto 0x${v.getUint16(2).toString(16)} len ${d.length}`
  }
  return `proto ${proto} len ${d.length} ${toHex(d.slice(0, 16))}`
}
