// CONNSECMARK: copies the security mark between packet and connection, where there is none yet (libxt_CONNSECMARK of
// iptables 1.8.9, connsecmark_tg() of xt_CONNSECMARK.c).

import type { Conntrack } from '../../conntrack/conntrack.ts'
import { SECMARK } from '../../conntrack/table.ts'
import type { Packet } from '../../datapath/packet.ts'
import type { Target } from '../extension.ts'
import { WholeError } from '../options.ts'

export interface ConnSecMark {
  readonly mode: 'save' | 'restore'
}

function save(pkt: Packet, conntrack: Conntrack): void {
  const { table } = conntrack
  if (pkt.ct >= 0 && pkt.secmark !== 0 && table.extraOf(pkt.ct, SECMARK) === 0)
    table.setExtra(pkt.ct, SECMARK, pkt.secmark)
}

function restore(pkt: Packet, conntrack: Conntrack): void {
  if (pkt.secmark === 0 && pkt.ct >= 0) pkt.secmark = conntrack.table.extraOf(pkt.ct, SECMARK) >>> 0
}

export const connsecmark: Target<ConnSecMark> = {
  kind: 'target',
  name: 'CONNSECMARK',
  families: [4, 6],
  layout: { size: 8, fields: ({ mode }) => [[0, 1, mode === 'save' ? 1 : 2]] },
  tables: ['mangle', 'security'],
  options: [
    { flag: 'save', arg: 'none', excludes: ['restore'] },
    { flag: 'restore', arg: 'none', excludes: ['save'] },
  ],
  help: `CONNSECMARK target options:
  --save                   Copy security mark from packet to conntrack
  --restore                Copy security mark from connection to packet
`,
  parse(o) {
    if (o.given().length === 0) throw new WholeError('CONNSECMARK target: parameter required')
    return { mode: o.has('save') ? 'save' : 'restore' }
  },
  print: (m) => `--${m.mode}`,
  list: (m) => `CONNSECMARK ${m.mode}`,
  tracks: true,
  reads: ['conntrack'],
  writes: ['conntrack'],
  flow: 'continue',
  emit: (m, js) => js`${js.bind(m.mode === 'save' ? save : restore)}(pkt, ${js.env.conntrack})`,
}
