// CHECKSUM: fills in a checksum that was left to the hardware (libxt_CHECKSUM of iptables 1.8.9, checksum_tg() of
// xt_CHECKSUM.c). Packets here always have theirs, and the kernel leaves such ones alone.

import type { Target } from '../extension.ts'

export const checksum: Target<null> = {
  kind: 'target',
  name: 'CHECKSUM',
  families: [4, 6],
  tables: ['mangle'],
  options: [{ flag: 'checksum-fill', arg: 'none', required: true }],
  help: `CHECKSUM target options
  --checksum-fill			Fill in packet checksum.
`,
  parse: () => null,
  print: () => '--checksum-fill',
  list: () => 'CHECKSUM fill',
  reads: [],
  flow: 'continue',
  emit: (_, js) => js`false`,
}
