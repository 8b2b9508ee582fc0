// helper: connections that a helper expected (libxt_helper of iptables 1.8.9, helper_mt() of xt_helper.c).

import type { Conntrack } from '../../conntrack/conntrack.ts'
import { MASTER, STRIDE } from '../../conntrack/table.ts'
import type { Packet } from '../../datapath/packet.ts'
import type { Match } from '../extension.ts'
import { nameField } from '../layout.ts'
import { saveString } from '../text/quote.ts'
import { cutBytes } from './comment.ts'

export interface HelperMatch {
  /** '': any helper. */
  readonly name: string
  readonly invert: boolean
}

const MAX_NAME = 29

/** The name must begin with the helper's, as the kernel compares them. Does not allocate. */
function expectedBy(pkt: Packet, conntrack: Conntrack, name: string): boolean {
  if (pkt.ct < 0) return false
  const master = conntrack.table.words[pkt.ct * STRIDE + MASTER]! - 1
  if (master < 0) return false
  const helper = conntrack.helpers.of(master)
  return helper !== null && (name === '' || name.startsWith(helper.name))
}

export const helper: Match<HelperMatch> = {
  kind: 'match',
  name: 'helper',
  families: [4, 6],
  layout: { size: 40, fields: ({ name, invert }) => [[0, 4, invert ? 1 : 0], nameField(4, 30, name)] },
  options: [{ flag: 'helper', required: true, invertible: true }],
  help: `helper match options:
[!] --helper string        Match helper identified by string
`,
  parse: (o) => ({ name: cutBytes(o.text('helper'), MAX_NAME), invert: o.inverted('helper') }),
  print: (m) => `${m.invert ? '! ' : ''}--helper ${saveString(m.name)}`,
  list: (m) => `helper match ${m.invert ? '! ' : ''}"${m.name}"`,
  tracks: true,
  reads: ['conntrack'],
  emit: (m, js) => js`${js.bind(expectedBy)}(pkt, ${js.env.conntrack}, ${m.name}) !== ${m.invert}`,
}
