// ICMPv6 queries (nf_conntrack_proto_icmpv6.c): echo and node information.

import { IPPROTO_ICMPV6 } from '../../datapath/wire/protocol.ts'
import { PORTS, STATUS, STRIDE, Status } from '../table.ts'
import type { Tracker, TrackerCore } from './tracker.ts'
import { Tracked } from './tracker.ts'

const TIMEOUT = 0
const ICMPV6_ECHO_REQUEST = 128
const ICMPV6_NI_QUERY = 139

export function createIcmpv6(core: TrackerCore): Tracker {
  const { table } = core
  const standard = new Float64Array(1)
  core.declareTimeout('nf_conntrack_icmpv6_timeout', 30, standard, TIMEOUT)
  return {
    protocol: IPPROTO_ICMPV6,
    name: 'icmpv6',
    allowClash: true,
    timeoutNames: ['timeout'],
    standard,
    /** nf_conntrack_icmpv6_packet. */
    packet(pkt, entry, dir) {
      if (pkt.family !== 6) return Tracked.Invalid
      const o = entry * STRIDE
      if ((table.words[o + STATUS]! & Status.Confirmed) === 0) {
        const type = (table.words[o + PORTS]! >>> 8) & 0xff
        if (type !== ICMPV6_ECHO_REQUEST && type !== ICMPV6_NI_QUERY) return Tracked.Invalid
      }
      core.refresh(entry, dir, pkt.length, core.timeouts(entry, standard)[TIMEOUT]!)
      return Tracked.Accept
    },
  }
}
