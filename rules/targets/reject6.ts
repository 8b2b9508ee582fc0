// REJECT of IPv6: drops the packet and answers it (libip6t_REJECT of iptables 1.8.9, reject_tg6() of ip6t_REJECT.c).

import { Verdict } from '../../datapath/hooks.ts'
import { IPPROTO_TCP } from '../../datapath/wire/protocol.ts'
import type { Target } from '../extension.ts'
import { abbreviates } from '../matches/parts.ts'
import { OptionError } from '../options.ts'
import type { Reject } from './reject.ts'

/**
 * Name, short name, and the code of the ICMPv6 "destination unreachable" (RFC 4443 §3.1), null for the RST; in
 * iptables' order.
 */
const TYPES: readonly (readonly [name: string, alias: string, code: number | null])[] = [
  ['icmp6-no-route', 'no-route', 0],
  ['icmp6-adm-prohibited', 'adm-prohibited', 1],
  ['icmp6-addr-unreachable', 'addr-unreach', 3],
  ['icmp6-port-unreachable', 'port-unreach', 4],
  ['tcp-reset', 'tcp-reset', null],
  ['icmp6-policy-fail', 'policy-fail', 5],
  ['icmp6-reject-route', 'reject-route', 6],
]

/** enum ip6t_reject_with. */
const NUMBERS = [
  'icmp6-no-route',
  'icmp6-adm-prohibited',
  'icmp6-not-neighbour',
  'icmp6-addr-unreachable',
  'icmp6-port-unreachable',
  'icmp6-echo-reply',
  'tcp-reset',
  'icmp6-policy-fail',
  'icmp6-reject-route',
]

const DEFAULT = 'icmp6-port-unreachable'

/** An abbreviation takes the first type that it fits, the empty one too. */
function parseType(text: string): string {
  const found = TYPES.find(([name, alias]) => abbreviates(text, name) || abbreviates(text, alias))
  if (found === undefined) throw new OptionError(`unknown reject type "${text}"`)
  return found[0]
}

export const reject6: Target<Reject> = {
  kind: 'target',
  name: 'REJECT',
  families: [6],
  layout: { size: 8, fields: (m) => [[0, 4, NUMBERS.indexOf(m.with)]] },
  tables: ['filter'],
  chains: ['INPUT', 'FORWARD', 'OUTPUT'],
  options: [{ flag: 'reject-with' }],
  help: `REJECT target options:
--reject-with type              drop input packet and send back
                                a reply packet according to type:
Valid reject types:
    icmp6-no-route           	ICMPv6 no route
    no-route                 	alias
    icmp6-adm-prohibited     	ICMPv6 administratively prohibited
    adm-prohibited           	alias
    icmp6-addr-unreachable   	ICMPv6 address unreachable
    addr-unreach             	alias
    icmp6-port-unreachable   	ICMPv6 port unreachable
    port-unreach             	alias
    tcp-reset                	TCP RST packet
    tcp-reset                	alias
    icmp6-policy-fail        	ICMPv6 policy fail
    policy-fail              	alias
    icmp6-reject-route       	ICMPv6 reject route
    reject-route             	alias

`,
  parse: (o) => ({ with: o.has('reject-with') ? parseType(o.text('reject-with')) : DEFAULT }),
  print: (m) => `--reject-with ${m.with}`,
  list: (m) => `reject-with ${m.with}`,
  check: (m, use) =>
    m.with === 'tcp-reset' && (use.protocol?.number !== IPPROTO_TCP || use.protocol.invert)
      ? 'REJECT: tcp-reset is for TCP only'
      : null,
  reads: ['payload'],
  flow: 'final',
  emit(m, js) {
    const code = TYPES.find(([name]) => name === m.with)![2]
    const { replies6 } = js.env.host
    const answer =
      code === null ? js`${replies6}.tcpReset(pkt, hook)` : js`${replies6}.icmpReject(pkt, ${code}, hook)`
    return js`(${answer}, ${Verdict.Drop})`
  },
}
