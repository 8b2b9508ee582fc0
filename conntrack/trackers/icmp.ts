// ICMP queries (nf_conntrack_proto_icmp.c): echo, timestamp, information and address mask. Errors are related to the
// connection that they quote: see ../icmp-errors.ts.

import { ICMP_ADDRESS, ICMP_ECHO, ICMP_INFO_REQUEST, ICMP_TIMESTAMP } from '../../datapath/wire/icmp.ts'
import { IPPROTO_ICMP } from '../../datapath/wire/protocol.ts'
import { PORTS, STRIDE } from '../table.ts'
import type { Tracker, TrackerCore } from './tracker.ts'
import { Tracked } from './tracker.ts'

const TIMEOUT = 0

export function createIcmp(core: TrackerCore): Tracker {
  const { table } = core
  const standard = new Float64Array(1)
  core.declareTimeout('nf_conntrack_icmp_timeout', 30, standard, TIMEOUT)
  return {
    protocol: IPPROTO_ICMP,
    name: 'icmp',
    allowClash: true,
    timeoutNames: ['timeout'],
    standard,
    /** nf_conntrack_icmp_packet. The entry stays after the answer: duplicates of that are expected too. */
    packet(pkt, entry, dir) {
      if (pkt.family !== 4) return Tracked.Invalid
      const type = (table.words[entry * STRIDE + PORTS]! >>> 8) & 0xff
      if (
        type !== ICMP_ECHO &&
        type !== ICMP_TIMESTAMP &&
        type !== ICMP_INFO_REQUEST &&
        type !== ICMP_ADDRESS
      )
        return Tracked.Invalid
      core.refresh(entry, dir, pkt.length, core.timeouts(entry, standard)[TIMEOUT]!)
      return Tracked.Accept
    },
  }
}
