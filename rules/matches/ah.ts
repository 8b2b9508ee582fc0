// ah: the security parameters index of an IPv4 AH header (libipt_ah of iptables 1.8.9, ah_mt() of ipt_ah.c).

import { IPPROTO_AH } from '../../datapath/wire/protocol.ts'
import type { Match } from '../extension.ts'
import { ALL_SPIS, emitSpi, listSpi, printSpi, type Spi } from './esp.ts'

export const ah: Match<Spi> = {
  kind: 'match',
  name: 'ah',
  families: [4],
  layout: { size: 16 },
  protocols: [IPPROTO_AH],
  options: [{ flag: 'ahspi', invertible: true }],
  help: `ah match options:
[!] --ahspi spi[:spi]
				match spi (range)
`,
  parse: (o) => ({
    range: o.has('ahspi') ? o.uintRange('ahspi', 32) : ALL_SPIS,
    invert: o.has('ahspi') && o.inverted('ahspi'),
  }),
  print: (m) => printSpi(m, 'ahspi'),
  // Without an SPI the blank stays, as in iptables.
  list: (m) => `ah ${listSpi(m)}`,
  reads: ['protocol', 'fragment', 'payload'],
  hotdrop: true,
  emit: (m, js) => emitSpi(m, 12, 4, js),
}
