// SNAT: new connections get another source (xt_nat.c, libxt_NAT of iptables 1.8.9).

import { Manip, type NatRange } from '../../conntrack/nat/range.ts'
import type { Target } from '../extension.ts'
import { emitSetup, flags, formatRange, formatUse, parseTo, rangeFields } from '../nat-range.ts'

export const snat: Target<NatRange> = {
  kind: 'target',
  name: 'SNAT',
  revision: 0,
  families: [4, 6],
  layout: { size: 40, size4: 24, fields: rangeFields },
  options: [
    { flag: 'to-source', holds: 'nat range', required: true },
    { flag: 'random', arg: 'none' },
    { flag: 'random-fully', arg: 'none' },
    { flag: 'persistent', arg: 'none' },
  ],
  help: `SNAT target options:
 --to-source [<ipaddr>[-<ipaddr>]][:port[-port]]
				Address to map source to.
[--random] [--random-fully] [--persistent]
`,
  tables: ['nat'],
  chains: ['INPUT', 'POSTROUTING'],
  tracks: true,
  // The structure of this revision has no room for a base; the flag stays, and counts from 0.
  parse: (o) => ({ ...parseTo(o.text('to-source'), o), ...flags(o), basePort: 0 }),
  print: (range, family) => formatUse('--to-source ', formatRange(range, family), range, '--'),
  list: (range, _numeric, family) => formatUse('to:', formatRange(range, family), range, ''),
  reads: ['conntrack'],
  flow: 'final',
  emit: (range, js) => emitSetup(range, Manip.Src, js),
}
