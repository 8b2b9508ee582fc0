// ah of IPv6: the authentication header, wherever it stands in the chain (libip6t_ah of iptables 1.8.9, ah_mt6() of
// ip6t_ah.c).

import type { Packet } from '../../datapath/packet.ts'
import type { FrameMemory } from '../../datapath/ring.ts'
import { extensionLength, NEXTHDR_AUTH } from '../../datapath/wire/ipv6-headers.ts'
import type { Match } from '../extension.ts'
import { bits } from '../layout.ts'
import { ALL_SPIS, listSpi, printSpi, type Spi } from './esp.ts'
import {
  type AskedNumber,
  askedNumber,
  fitsNumber,
  headerOf,
  listNumber,
  printNumber,
  wordWithin,
} from './headers6.ts'
import { words } from './parts.ts'

export interface Ah6 extends Spi {
  /** Bytes. */
  readonly length: AskedNumber | null
  /** The reserved field must be 0. */
  readonly reserved: boolean
}

const AH_HEADER_LEN = 12

/** Does not allocate. */
function fits(pkt: Packet, memory: FrameMemory, m: Ah6): boolean {
  const at = headerOf(pkt, memory, NEXTHDR_AUTH, AH_HEADER_LEN)
  if (at < 0) return false
  const { view } = memory
  const length = extensionLength(view, NEXTHDR_AUTH, at)
  if (pkt.end - at < length) {
    pkt.hotdrop = true
    return false
  }
  if (!wordWithin(view, at + 4, m.range, m.invert)) return false
  if (!fitsNumber(length, m.length)) return false
  return !m.reserved || view.getUint16(at + 2) === 0
}

/** A length of 0 is not asked for; `! 0` prints though every header has it. */
const asked = (length: AskedNumber | null): AskedNumber | null =>
  length !== null && length.value === 0 && !length.invert ? null : length

export const ah6: Match<Ah6> = {
  kind: 'match',
  name: 'ah',
  families: [6],
  layout: {
    size: 16,
    fields: ({ range, invert, length, reserved }) => [
      [0, 4, range[0]],
      [4, 4, range[1]],
      [8, 4, length?.value ?? 0],
      [12, 1, reserved ? 1 : 0],
      [13, 1, bits(invert, length?.invert)],
    ],
  },
  options: [
    { flag: 'ahspi', invertible: true },
    { flag: 'ahlen', invertible: true },
    { flag: 'ahres', arg: 'none' },
  ],
  help: `ah match options:
[!] --ahspi spi[:spi]          match spi (range)
[!] --ahlen length             total length of this header
 --ahres                       check the reserved field too
`,
  parse: (o) => ({
    range: o.has('ahspi') ? o.uintRange('ahspi', 32) : ALL_SPIS,
    invert: o.has('ahspi') && o.inverted('ahspi'),
    length: asked(askedNumber(o, 'ahlen')),
    reserved: o.has('ahres'),
  }),
  print: (m) => words(printSpi(m, 'ahspi'), printNumber('ahlen', m.length), m.reserved ? '--ahres' : ''),
  // The missing blank before "length" is iptables'.
  list: (m) => `ah ${listSpi(m)}${listNumber('length', m.length)}${m.reserved ? ' reserved' : ''}`,
  reads: ['payload'],
  hotdrop: true,
  emit: (m, js) => js`${js.bind(fits)}(pkt, ${js.env.host.memory}, ${m})`,
}
