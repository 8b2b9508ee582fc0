// The matches. A new one is one file and one line.

import type { Match } from '../extension.ts'
import { addrtype } from './addrtype.ts'
import { ah } from './ah.ts'
import { comment } from './comment.ts'
import { connmark } from './connmark.ts'
import { conntrack } from './conntrack.ts'
import { dccp } from './dccp.ts'
import { dscp } from './dscp.ts'
import { esp } from './esp.ts'
import { icmp } from './icmp.ts'
import { iprange } from './iprange.ts'
import { length } from './length.ts'
import { limit } from './limit.ts'
import { mac } from './mac.ts'
import { mark } from './mark.ts'
import { multiport } from './multiport.ts'
import { owner } from './owner.ts'
import { pkttype } from './pkttype.ts'
import { sctp } from './sctp.ts'
import { state } from './state.ts'
import { statistic } from './statistic.ts'
import { tcp } from './tcp.ts'
import { tcpmss } from './tcpmss.ts'
import { tos } from './tos.ts'
import { ttl } from './ttl.ts'
import { udp } from './udp.ts'

/** The data of each is its own: `any` lets them stand in one list. */
// biome-ignore lint/suspicious/noExplicitAny: see above
export const matches: readonly Match<any>[] = [
  addrtype,
  ah,
  comment,
  connmark,
  conntrack,
  dccp,
  dscp,
  esp,
  icmp,
  iprange,
  length,
  limit,
  mac,
  mark,
  multiport,
  owner,
  pkttype,
  sctp,
  state,
  statistic,
  tcp,
  tcpmss,
  tos,
  ttl,
  udp,
]
