// DNAT: new connections go to another destination (xt_nat.c, libxt_NAT of iptables 1.8.9).

import { Manip, type NatRange } from '../../conntrack/nat/range.ts'
import type { Target } from '../extension.ts'
import { portField } from '../layout.ts'
import { emitSetup, flags, formatRange, formatUse, parseTo, plainAddress, rangeFields } from '../nat-range.ts'

export const dnat: Target<NatRange> = {
  kind: 'target',
  name: 'DNAT',
  revision: 2,
  families: [4, 6],
  layout: { size: 48, fields: (range) => [...rangeFields(range), portField(40, range.basePort)] },
  options: [
    { flag: 'to-destination', holds: 'nat range', required: true },
    { flag: 'random', arg: 'none' },
    { flag: 'persistent', arg: 'none' },
  ],
  help: `DNAT target options:
 --to-destination [<ipaddr>[-<ipaddr>]][:port[-port[/port]]]
				Address to map destination to.
[--random] [--persistent]
`,
  tables: ['nat'],
  chains: ['PREROUTING', 'OUTPUT'],
  tracks: true,
  parse: (o) => ({ ...parseTo(o.text('to-destination'), o), ...flags(o) }),
  print: (range, family) => formatUse('--to-destination ', formatRange(range, family), range, '--'),
  list: (range, _numeric, family) => formatUse('to:', formatRange(range, family), range, ''),
  reads: ['conntrack'],
  flow: 'final',
  destination: plainAddress,
  emit: (range, js, to) => emitSetup(range, Manip.Dst, js, to),
}
