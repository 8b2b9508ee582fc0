// REJECT: drops the packet and answers it (libipt_REJECT of iptables 1.8.9, reject_tg() of ipt_REJECT.c).

import { Verdict } from '../../datapath/hooks.ts'
import {
  ICMP_HOST_ANO,
  ICMP_HOST_UNREACH,
  ICMP_NET_ANO,
  ICMP_NET_UNREACH,
  ICMP_PKT_FILTERED,
  ICMP_PORT_UNREACH,
  ICMP_PROT_UNREACH,
} from '../../datapath/wire/icmp.ts'
import { IPPROTO_TCP } from '../../datapath/wire/protocol.ts'
import type { Target } from '../extension.ts'
import { abbreviates } from '../matches/parts.ts'
import { OptionError } from '../options.ts'

export interface Reject {
  readonly with: string
}

/** Name, short name, and the code of the ICMP "destination unreachable", null for the RST; in iptables' order. */
const TYPES: readonly (readonly [name: string, alias: string, code: number | null])[] = [
  ['icmp-net-unreachable', 'net-unreach', ICMP_NET_UNREACH],
  ['icmp-host-unreachable', 'host-unreach', ICMP_HOST_UNREACH],
  ['icmp-proto-unreachable', 'proto-unreach', ICMP_PROT_UNREACH],
  ['icmp-port-unreachable', 'port-unreach', ICMP_PORT_UNREACH],
  ['icmp-net-prohibited', 'net-prohib', ICMP_NET_ANO],
  ['icmp-host-prohibited', 'host-prohib', ICMP_HOST_ANO],
  ['tcp-reset', 'tcp-rst', null],
  ['icmp-admin-prohibited', 'admin-prohib', ICMP_PKT_FILTERED],
]

const DEFAULT = 'icmp-port-unreachable'

/** An abbreviation takes the first type that it fits, the empty one too. */
function parseType(text: string, warn: (text: string) => void): string {
  const found = TYPES.find(([name, alias]) => abbreviates(text, name) || abbreviates(text, alias))
  if (found === undefined && ['echo-reply', 'echoreply'].some((gone) => abbreviates(text, gone)))
    warn('--reject-with echo-reply no longer supported\n')
  if (found === undefined) throw new OptionError(`unknown reject type "${text}"`)
  return found[0]
}

export const reject: Target<Reject> = {
  kind: 'target',
  name: 'REJECT',
  families: [4],
  tables: ['filter'],
  chains: ['INPUT', 'FORWARD', 'OUTPUT'],
  options: [{ flag: 'reject-with' }],
  help: `REJECT target options:
--reject-with type              drop input packet and send back
                                a reply packet according to type:
Valid reject types:
    icmp-net-unreachable     	ICMP network unreachable
    net-unreach              	alias
    icmp-host-unreachable    	ICMP host unreachable
    host-unreach             	alias
    icmp-proto-unreachable   	ICMP protocol unreachable
    proto-unreach            	alias
    icmp-port-unreachable    	ICMP port unreachable (default)
    port-unreach             	alias
    icmp-net-prohibited      	ICMP network prohibited
    net-prohib               	alias
    icmp-host-prohibited     	ICMP host prohibited
    host-prohib              	alias
    tcp-reset                	TCP RST packet
    tcp-rst                  	alias
    icmp-admin-prohibited    	ICMP administratively prohibited (*)
    admin-prohib             	alias

(*) See man page or read the INCOMPATIBILITES file for compatibility issues.
`,
  parse: (o) => ({
    with: o.has('reject-with') ? parseType(o.text('reject-with'), (text) => o.warn(text)) : DEFAULT,
  }),
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
    const { replies } = js.env.host
    const answer =
      code === null ? js`${replies}.tcpReset(pkt, hook)` : js`${replies}.icmpReject(pkt, ${code}, hook)`
    return js`(${answer}, ${Verdict.Drop})`
  },
}
