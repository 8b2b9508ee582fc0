// udp: ports of the UDP header (libxt_udp of iptables 1.8.9, udp_mt() of xt_tcpudp.c).

import { IPPROTO_UDP } from '../../datapath/wire/protocol.ts'
import type { Match } from '../extension.ts'
import { bits } from '../layout.ts'
import {
  emitPorts,
  headerFits,
  listPorts,
  narrowsPorts,
  type Ports,
  portFields,
  printPorts,
  words,
  xtablesPorts,
} from './parts.ts'

export const udp: Match<Ports> = {
  kind: 'match',
  name: 'udp',
  families: [4, 6],
  layout: {
    size: 16,
    fields: (data) => [...portFields(data), [8, 1, bits(data.sportInvert, data.dportInvert)]],
  },
  protocols: [IPPROTO_UDP],
  options: [
    { flag: 'source-port', aliases: ['sport'], invertible: true },
    { flag: 'destination-port', aliases: ['dport'], invertible: true },
  ],
  help: `udp match options:
[!] --source-port port[:port]
 --sport ...
				match source port(s)
[!] --destination-port port[:port]
 --dport ...
				match destination port(s)
`,
  parse: xtablesPorts,
  print: (m) =>
    words(printPorts('sport', m.sport, m.sportInvert), printPorts('dport', m.dport, m.dportInvert)),
  list(m, numeric) {
    const transport = numeric ? null : 'udp'
    return words(
      'udp',
      listPorts('spt', m.sport, m.sportInvert, transport),
      listPorts('dpt', m.dport, m.dportInvert, transport),
    )
  },
  reads: ['protocol', 'fragment', 'ports'],
  hotdrop: true,
  narrows: narrowsPorts,
  emit: (m, js) => js.all([headerFits(8, js), ...emitPorts(m, js)]),
}
