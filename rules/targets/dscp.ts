// DSCP: sets the DSCP bits of the TOS byte (libxt_DSCP of iptables 1.8.9, dscp_tg() and
// dscp_tg6() of xt_DSCP.c).

import type { Packet } from '../../datapath/packet.ts'
import { setTos, tosOf } from '../../datapath/rewrite.ts'
import type { FrameMemory } from '../../datapath/ring.ts'
import { ECN_MASK } from '../../datapath/wire/ipv4.ts'
import type { Target } from '../extension.ts'
import { dscpClass } from '../matches/dscp.ts'
import { hexByte } from '../matches/tos.ts'
import { WholeError } from '../options.ts'

export interface SetDscp {
  /** 0 to 63. */
  readonly value: number
}

/** Does not allocate. */
function change(pkt: Packet, memory: FrameMemory, dscp: number): void {
  setTos(pkt, memory, (tosOf(pkt, memory) & ECN_MASK) | (dscp << 2))
}

export const dscp: Target<SetDscp> = {
  kind: 'target',
  name: 'DSCP',
  families: [4, 6],
  layout: { size: 8, fields: ({ value }) => [[0, 1, value]] },
  tables: ['mangle'],
  options: [
    { flag: 'set-dscp', excludes: ['set-dscp-class'] },
    { flag: 'set-dscp-class', excludes: ['set-dscp'] },
  ],
  help: `DSCP target options
  --set-dscp value		Set DSCP field in packet header to value
  		                This value can be in decimal (ex: 32)
               		or in hex (ex: 0x20)
  --set-dscp-class class	Set the DSCP field in packet header to the
				value represented by the DiffServ class value.
				This class may be EF,BE or any of the CSxx
				or AFxx classes.

				These two options are mutually exclusive !
`,
  parse(o) {
    if (o.has('set-dscp')) return { value: o.uint('set-dscp', 8, 0, 63) }
    if (o.has('set-dscp-class')) return { value: dscpClass(o.text('set-dscp-class')) }
    throw new WholeError('DSCP target: Parameter --set-dscp is required')
  },
  print: (m) => `--set-dscp ${hexByte(m.value)}`,
  list: (m) => `DSCP set ${hexByte(m.value)}`,
  reads: ['tos'],
  writes: ['tos'],
  flow: 'continue',
  repeats: 'each',
  emit: (m, js) => js`${js.bind(change)}(pkt, ${js.env.host.memory}, ${m.value})`,
}
