// TRACE: marks the packet, so that its way through the tables is told (libxt_TRACE of iptables 1.8.9, trace_tg() of
// xt_TRACE.c).

import type { Target } from '../extension.ts'

export const trace: Target<null> = {
  kind: 'target',
  name: 'TRACE',
  families: [4, 6],
  tables: ['raw'],
  options: [],
  help: `TRACE does not take any options
`,
  parse: () => null,
  print: () => '',
  list: () => '',
  reads: [],
  flow: 'continue',
  emit: (_, js) => js`(pkt.trace = true)`,
}
