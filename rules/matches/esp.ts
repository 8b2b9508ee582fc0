// esp: the security parameters index of an ESP header (libxt_esp of iptables 1.8.9, esp_mt() of xt_esp.c).

import { IPPROTO_ESP } from '../../datapath/wire/protocol.ts'
import type { Code, Js } from '../compile/template.ts'
import type { Match } from '../extension.ts'
import { headerFits, inRange, printRange, type Range } from './parts.ts'

export interface Spi {
  readonly range: Range
  readonly invert: boolean
}

export const ALL_SPIS: Range = [0, 0xffffffff]

const all = ([min, max]: Range): boolean => min === 0 && max === 0xffffffff

/** `! 0:4294967295` is lost, as iptables-save loses it. */
export const printSpi = (m: Spi, flag: string): string =>
  all(m.range) ? '' : `${m.invert ? '! ' : ''}--${flag} ${printRange(m.range)}`

export function listSpi(m: Spi): string {
  if (all(m.range) && !m.invert) return ''
  const plural = m.range[0] === m.range[1] ? '' : 's'
  return `spi${plural}:${m.invert ? '!' : ''}${printRange(m.range)}`
}

/** `bytes`: what must be there of the header; `at`: where the SPI stands in it. */
export function emitSpi(m: Spi, bytes: number, at: number, js: Js): Code {
  const spi = js`${js.env.host.memory.view}.getUint32(pkt.l4 + ${at})`
  return js`${headerFits(bytes, js)} && ${inRange(spi, m.range, 0xffffffff, m.invert, js)}`
}

export const esp: Match<Spi> = {
  kind: 'match',
  name: 'esp',
  families: [4, 6],
  layout: {
    size: 16,
    fields: ({ range, invert }) => [
      [0, 4, range[0]],
      [4, 4, range[1]],
      [8, 1, invert ? 1 : 0],
    ],
  },
  protocols: [IPPROTO_ESP],
  options: [{ flag: 'espspi', invertible: true }],
  help: `esp match options:
[!] --espspi spi[:spi]
				match spi (range)
`,
  parse: (o) => ({
    range: o.has('espspi') ? o.uintRange('espspi', 32) : ALL_SPIS,
    invert: o.has('espspi') && o.inverted('espspi'),
  }),
  print: (m) => printSpi(m, 'espspi'),
  list: (m) => `esp ${listSpi(m)}`.trimEnd(),
  reads: ['protocol', 'fragment', 'payload'],
  hotdrop: true,
  emit: (m, js) => emitSpi(m, 8, 0, js),
}
