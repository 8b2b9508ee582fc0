// MASQUERADE: new connections get the address of the device they leave by (xt_MASQUERADE.c, libxt_NAT of iptables
// 1.8.9). They end when that address goes.

import { type NatRange, NO_RANGE } from '../../conntrack/nat/range.ts'
import type { Target } from '../extension.ts'
import { flags, formatPorts, formatUse, parsePorts, rangeFields } from '../nat-range.ts'

export const masquerade: Target<NatRange> = {
  kind: 'target',
  name: 'MASQUERADE',
  families: [4, 6],
  layout: { size: 40, size4: 24, fields: rangeFields },
  options: [{ flag: 'to-ports' }, { flag: 'random', arg: 'none' }, { flag: 'random-fully', arg: 'none' }],
  help: `MASQUERADE target options:
 --to-ports <port>[-<port>]
				Port (range) to map to.
 --random
				Randomize source port.
 --random-fully
				Fully randomize source port.
`,
  tables: ['nat'],
  chains: ['POSTROUTING'],
  tracks: true,
  parse: (o) => ({
    ...NO_RANGE,
    ...(o.has('to-ports') ? parsePorts(o.text('to-ports'), o) : null),
    ...flags(o),
    basePort: 0, // no room for it in this revision's structure
  }),
  print: (range) => formatUse('--to-ports ', formatPorts(range), range, '--'),
  list: (range) => formatUse('masq ports: ', formatPorts(range), range, ''),
  reads: ['conntrack'],
  flow: 'final',
  emit: (range, js) => js`${js.env.nat}.masquerade(pkt, ${range})`,
}
