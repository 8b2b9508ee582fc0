// The protocols with a tracker of their own, and the generic one for the rest.

import { createGeneric } from './generic.ts'
import { createGre } from './gre.ts'
import { createIcmp } from './icmp.ts'
import { createIcmpv6 } from './icmpv6.ts'
import { createSctp } from './sctp.ts'
import { createTcp } from './tcp.ts'
import type { TrackerMaker } from './tracker.ts'
import { createUdp } from './udp.ts'
import { createUdplite } from './udplite.ts'

export const TRACKERS: readonly TrackerMaker[] = [
  createTcp,
  createUdp,
  createUdplite,
  createIcmp,
  createIcmpv6,
  createSctp,
  createGre,
  createGeneric,
]
