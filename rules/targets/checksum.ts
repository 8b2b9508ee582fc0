// CHECKSUM: fills in a checksum that was left to the hardware (libxt_CHECKSUM of iptables 1.8.9).

import { completeChecksum } from '../../datapath/offload.ts'
import type { Packet } from '../../datapath/packet.ts'
import type { Memory } from '../../datapath/wire/checksum.ts'
import type { Target } from '../extension.ts'

/** checksum_tg() of xt_CHECKSUM.c: superframes are left to whoever cuts them. Does not allocate. */
function fill(pkt: Packet, memory: Memory): void {
  if (pkt.gsoSize !== 0) return
  if (pkt.csumPending) completeChecksum(pkt, memory)
  // The others have theirs, and only looked as if they had not.
  else pkt.csumPartial = false
}

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
  emit: (_, js) => js`${js.bind(fill)}(pkt, ${js.env.host.memory})`,
}
