// tos: the type of service byte under a mask (libxt_tos of iptables 1.8.9, tos_mt() of xt_dscp.c).

import type { Code, Js } from '../compile/template.ts'
import type { Match } from '../extension.ts'

export interface Tos {
  readonly value: number
  readonly mask: number
  readonly invert: boolean
}

/** A name stands for the value under this mask. */
const NAMED_MASK = 0x3f
const NAMES: readonly (readonly [number, string])[] = [
  [0x10, 'Minimize-Delay'],
  [0x08, 'Maximize-Throughput'],
  [0x04, 'Maximize-Reliability'],
  [0x02, 'Minimize-Cost'],
  [0x00, 'Normal-Service'],
]

/** The symbolic name of a value and mask, or null. */
export const tosName = (value: number, mask: number): string | null =>
  mask === NAMED_MASK ? (NAMES.find(([tos]) => tos === value)?.[1] ?? null) : null

export const hexByte = (value: number): string => `0x${value.toString(16).padStart(2, '0')}`

/** The TOS byte, or IPv6's traffic class. */
export function emitTos(js: Js): Code {
  const { memory } = js.env.host
  return js.family === 4 ? js`${memory.bytes}[pkt.l3 + 1]` : js`(${memory.view}.getUint16(pkt.l3) >> 4 & 255)`
}

export const tos: Match<Tos> = {
  kind: 'match',
  name: 'tos',
  revision: 1,
  families: [4, 6],
  layout: {
    size: 8,
    fields: ({ value, mask, invert }) => [
      [0, 1, mask],
      [1, 1, value],
      [2, 1, invert ? 1 : 0],
    ],
  },
  options: [{ flag: 'tos', required: true, invertible: true }],
  help: `tos match options:
[!] --tos value[/mask]    Match Type of Service/Priority field value
[!] --tos symbol          Match TOS field (IPv4 only) by symbol
                          Accepted symbolic names for value are:
                          (0x10) 16 Minimize-Delay
                          (0x08)  8 Maximize-Throughput
                          (0x04)  4 Maximize-Reliability
                          (0x02)  2 Minimize-Cost
                          (0x00)  0 Normal-Service

`,
  parse: (o) => ({ ...o.tosMask('tos'), invert: o.inverted('tos') }),
  print: (m) => `${m.invert ? '! ' : ''}--tos ${hexByte(m.value)}/${hexByte(m.mask)}`,
  // iptables puts no blank behind "match" but before a name.
  list(m, numeric) {
    const name = numeric ? null : tosName(m.value, m.mask)
    return `tos match${m.invert ? '!' : ''}${name === null ? `${hexByte(m.value)}/${hexByte(m.mask)}` : ` ${name}`}`
  },
  reads: ['tos'],
  emit(m, js) {
    const masked = js`(${emitTos(js)} & ${m.mask})`
    return m.invert ? js`${masked} !== ${m.value}` : js`${masked} === ${m.value}`
  },
}
