// icmp6: type and code of the ICMPv6 header; see icmp-type.ts.

import { IPPROTO_ICMPV6 } from '../../datapath/wire/protocol.ts'
import type { Match } from '../extension.ts'
import { all, allCodes, emitType, type Icmp, type IcmpName, listType, one, parseType } from './icmp-type.ts'
import { headerFits } from './parts.ts'

/** In iptables' order: an abbreviation must fit only one, and a listing names the first that fits. */
export const ICMPV6_NAMES: readonly IcmpName[] = [
  all('destination-unreachable', 1),
  one('no-route', 1, 0),
  one('communication-prohibited', 1, 1),
  one('beyond-scope', 1, 2),
  one('address-unreachable', 1, 3),
  one('port-unreachable', 1, 4),
  one('failed-policy', 1, 5),
  one('reject-route', 1, 6),
  all('packet-too-big', 2),
  all('time-exceeded', 3),
  all('ttl-exceeded', 3),
  one('ttl-zero-during-transit', 3, 0),
  one('ttl-zero-during-reassembly', 3, 1),
  all('parameter-problem', 4),
  one('bad-header', 4, 0),
  one('unknown-header-type', 4, 1),
  one('unknown-option', 4, 2),
  all('echo-request', 128),
  all('ping', 128),
  all('echo-reply', 129),
  all('pong', 129),
  all('router-solicitation', 133),
  all('router-advertisement', 134),
  all('neighbour-solicitation', 135),
  all('neighbor-solicitation', 135),
  all('neighbour-advertisement', 136),
  all('neighbor-advertisement', 136),
  all('redirect', 137),
]

export const icmp6: Match<Icmp> = {
  kind: 'match',
  name: 'icmp6',
  families: [6],
  layout: {
    size: 8,
    fields: ({ type, codeMin, codeMax, invert }) => [
      [0, 1, type],
      [1, 1, codeMin],
      [2, 1, codeMax],
      [3, 1, Number(invert)],
    ],
  },
  protocols: [IPPROTO_ICMPV6],
  options: [{ flag: 'icmpv6-type', invertible: true, required: true }],
  help: `icmpv6 match options:
[!] --icmpv6-type typename	match icmpv6 type
				(or numeric type or type/code)
Valid ICMPv6 Types:
destination-unreachable
   no-route
   communication-prohibited
   beyond-scope
   address-unreachable
   port-unreachable
   failed-policy
   reject-route
packet-too-big
time-exceeded (ttl-exceeded)
   ttl-zero-during-transit
   ttl-zero-during-reassembly
parameter-problem
   bad-header
   unknown-header-type
   unknown-option
echo-request (ping)
echo-reply (pong)
router-solicitation
router-advertisement
neighbour-solicitation (neighbor-solicitation)
neighbour-advertisement (neighbor-advertisement)
redirect
`,
  parse: (o) => ({
    ...parseType(o.text('icmpv6-type'), ICMPV6_NAMES, 'ICMPv6'),
    invert: o.inverted('icmpv6-type'),
  }),
  // A range of codes is cut to its first, as ip6tables-save cuts it.
  print: (m) => `${m.invert ? '! ' : ''}--icmpv6-type ${m.type}${allCodes(m) ? '' : `/${m.codeMin}`}`,
  list: (m, numeric) => listType(m, numeric, ICMPV6_NAMES, 'ipv6-icmp'),
  reads: ['protocol', 'fragment', 'icmp'],
  hotdrop: true,
  emit(m, js) {
    const [fits, same] = [headerFits(8, js), emitType(m, js)]
    return m.invert ? js`${fits} && !${same}` : js`${fits} && ${same}`
  },
}
