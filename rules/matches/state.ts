// state: the conntrack match under its old name, with the state alone (libxt_conntrack of iptables 1.8.9).

import type { Match } from '../extension.ts'
import {
  type Asked,
  conntrackFields,
  emitConntrack,
  NOTHING_ASKED,
  parseState,
  printState,
  STATE_ALIAS,
} from './conntrack.ts'

export const state: Match<Asked<number>> = {
  kind: 'match',
  name: 'state',
  families: [4, 6],
  layout: {
    realName: 'conntrack',
    size: 168,
    fields: (data) => conntrackFields({ ...NOTHING_ASKED, state: data }, STATE_ALIAS),
  },
  options: [{ flag: 'state', required: true, invertible: true }],
  help: `state match options:
 [!] --state [INVALID|ESTABLISHED|NEW|RELATED|UNTRACKED][,...]
				State(s) to match
`,
  parse: (o) => ({ value: parseState(o.text('state')), invert: o.inverted('state') }),
  print: (m) => `${m.invert ? '! ' : ''}--state ${printState(m.value)}`,
  list: (m) => `${m.invert ? '! ' : ''}state ${printState(m.value)}`,
  tracks: true,
  reads: ['ctstate'],
  emit: (m, js) => emitConntrack({ ...NOTHING_ASKED, state: m }, js),
}
