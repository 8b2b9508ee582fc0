// icmp: type and code of the ICMP header; see icmp-type.ts.

import { IPPROTO_ICMP } from '../../datapath/wire/protocol.ts'
import type { Match } from '../extension.ts'
import { all, allCodes, emitType, type Icmp, type IcmpName, listType, one, parseType } from './icmp-type.ts'
import { headerFits } from './parts.ts'

const ANY_TYPE = 0xff

/** In iptables' order: an abbreviation must fit only one, and a listing names the first that fits. */
export const ICMP_NAMES: readonly IcmpName[] = [
  all('any', ANY_TYPE),
  all('echo-reply', 0),
  all('pong', 0),
  all('destination-unreachable', 3),
  one('network-unreachable', 3, 0),
  one('host-unreachable', 3, 1),
  one('protocol-unreachable', 3, 2),
  one('port-unreachable', 3, 3),
  one('fragmentation-needed', 3, 4),
  one('source-route-failed', 3, 5),
  one('network-unknown', 3, 6),
  one('host-unknown', 3, 7),
  one('network-prohibited', 3, 9),
  one('host-prohibited', 3, 10),
  one('TOS-network-unreachable', 3, 11),
  one('TOS-host-unreachable', 3, 12),
  one('communication-prohibited', 3, 13),
  one('host-precedence-violation', 3, 14),
  one('precedence-cutoff', 3, 15),
  all('source-quench', 4),
  all('redirect', 5),
  one('network-redirect', 5, 0),
  one('host-redirect', 5, 1),
  one('TOS-network-redirect', 5, 2),
  one('TOS-host-redirect', 5, 3),
  all('echo-request', 8),
  all('ping', 8),
  all('router-advertisement', 9),
  all('router-solicitation', 10),
  all('time-exceeded', 11),
  all('ttl-exceeded', 11),
  one('ttl-zero-during-transit', 11, 0),
  one('ttl-zero-during-reassembly', 11, 1),
  all('parameter-problem', 12),
  one('ip-header-bad', 12, 0),
  one('required-option-missing', 12, 1),
  all('timestamp-request', 13),
  all('timestamp-reply', 14),
  all('address-mask-request', 17),
  all('address-mask-reply', 18),
]

export const icmp: Match<Icmp> = {
  kind: 'match',
  name: 'icmp',
  families: [4],
  protocols: [IPPROTO_ICMP],
  options: [{ flag: 'icmp-type', invertible: true, required: true }],
  help: `icmp match options:
[!] --icmp-type typename	match icmp type
[!] --icmp-type type[/code]	(or numeric type or type/code)
Valid ICMP Types:
any
echo-reply (pong)
destination-unreachable
   network-unreachable
   host-unreachable
   protocol-unreachable
   port-unreachable
   fragmentation-needed
   source-route-failed
   network-unknown
   host-unknown
   network-prohibited
   host-prohibited
   TOS-network-unreachable
   TOS-host-unreachable
   communication-prohibited
   host-precedence-violation
   precedence-cutoff
source-quench
redirect
   network-redirect
   host-redirect
   TOS-network-redirect
   TOS-host-redirect
echo-request (ping)
router-advertisement
router-solicitation
time-exceeded (ttl-exceeded)
   ttl-zero-during-transit
   ttl-zero-during-reassembly
parameter-problem
   ip-header-bad
   required-option-missing
timestamp-request
timestamp-reply
address-mask-request
address-mask-reply
`,
  parse: (o) => ({ ...parseType(o.text('icmp-type'), ICMP_NAMES, 'ICMP'), invert: o.inverted('icmp-type') }),
  // A range of codes is cut to its first, as iptables-save cuts it.
  print(m) {
    const type = m.type === ANY_TYPE ? 'any' : allCodes(m) ? `${m.type}` : `${m.type}/${m.codeMin}`
    return `${m.invert ? '! ' : ''}--icmp-type ${type}`
  },
  list: (m, numeric) => listType(m, numeric, ICMP_NAMES, 'icmp'),
  reads: ['protocol', 'fragment', 'icmp'],
  hotdrop: true,
  emit(m, js) {
    const fits = headerFits(8, js)
    if (m.type === ANY_TYPE) return m.invert ? js`${fits} && false` : fits
    const same = emitType(m, js)
    return m.invert ? js`${fits} && !${same}` : js`${fits} && ${same}`
  },
}
