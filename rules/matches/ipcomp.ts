// ipcomp: the compression parameter index (libxt_ipcomp of iptables 1.8.9, comp_mt() of xt_ipcomp.c).

import type { Packet } from '../../datapath/packet.ts'
import type { FrameMemory } from '../../datapath/ring.ts'
import type { Match } from '../extension.ts'
import { headerFits, inRange, printRange, type Range } from './parts.ts'

export interface IpComp {
  readonly range: Range
  readonly invert: boolean
  readonly reserved: boolean
}

const IPPROTO_COMP = 108
const MAX = 0xffffffff

const isAll = ([min, max]: Range): boolean => min === 0 && max === MAX
const cpi = (pkt: Packet, memory: FrameMemory): number => memory.view.getUint16(pkt.l4 + 2)

export const ipcomp: Match<IpComp> = {
  kind: 'match',
  name: 'ipcomp',
  families: [4, 6],
  layout: {
    size: 16,
    fields: ({ range, invert, reserved }) => [
      [0, 4, range[0]],
      [4, 4, range[1]],
      [8, 1, invert ? 1 : 0],
      [9, 1, reserved ? 1 : 0],
    ],
  },
  protocols: [IPPROTO_COMP],
  options: [
    { flag: 'ipcompspi', invertible: true },
    { flag: 'compres', arg: 'none' },
  ],
  help: `comp match options:
[!] --ipcompspi spi[:spi]
				match spi (range)
`,
  // Without --ipcompspi it asks for 0.
  parse: (o) => ({
    range: o.has('ipcompspi') ? o.uintRange('ipcompspi', 32) : [0, 0],
    invert: o.has('ipcompspi') && o.inverted('ipcompspi'),
    reserved: o.has('compres'),
  }),
  print: (m) =>
    [
      ...(isAll(m.range) ? [] : [`${m.invert ? '! ' : ''}--ipcompspi ${printRange(m.range)}`]),
      ...(m.reserved ? ['--compres'] : []),
    ].join(' '),
  list(m) {
    const [min, max] = m.range
    const inverted = m.invert ? '!' : ''
    const spi = min === max ? `spi:${inverted}${min}` : `spis:${inverted}${min}:${max}`
    return `comp ${isAll(m.range) && !m.invert ? '' : spi}${m.reserved ? ' reserved' : ''}`
  },
  hotdrop: true,
  reads: ['payload', 'fragment'],
  emit: (m, js) =>
    js`${headerFits(4, js)} && ${inRange(js`${js.bind(cpi)}(pkt, ${js.env.host.memory})`, m.range, MAX, m.invert, js)}`,
}
