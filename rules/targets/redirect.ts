// REDIRECT: new connections come to this host itself (xt_REDIRECT.c, libxt_NAT of iptables 1.8.9).

import { type NatRange, NO_RANGE } from '../../conntrack/nat/range.ts'
import type { Target } from '../extension.ts'
import { flags, formatPorts, formatUse, parsePorts, rangeFields } from '../nat-range.ts'
import { WholeError } from '../options.ts'

export const redirect: Target<NatRange> = {
  kind: 'target',
  name: 'REDIRECT',
  families: [4, 6],
  layout: { size: 40, size4: 24, fields: rangeFields },
  options: [{ flag: 'to-ports' }, { flag: 'random', arg: 'none' }],
  help: `REDIRECT target options:
 --to-ports <port>[-<port>]
				Port (range) to map to.
 [--random]
`,
  tables: ['nat'],
  chains: ['PREROUTING', 'OUTPUT'],
  tracks: true,
  parse(o) {
    const range = {
      ...NO_RANGE,
      ...(o.has('to-ports') ? parsePorts(o.text('to-ports'), o) : null),
      ...flags(o),
    }
    if (range.offset) throw new WholeError('Shifted portmap ranges not supported with this kernel')
    return range
  },
  print: (range) => formatUse('--to-ports ', formatPorts(range), range, '--'),
  list: (range) => formatUse('redir ports ', formatPorts(range), range, ''),
  reads: ['conntrack'],
  flow: 'final',
  emit: (range, js) => js`${js.env.nat}.redirect(pkt, ${range}, hook)`,
}
