// Protocols without a tracker: told apart by address and protocol alone (generic_packet in nf_conntrack_core.c).

import type { Tracker, TrackerCore } from './tracker.ts'
import { Tracked } from './tracker.ts'

const TIMEOUT = 0

export function createGeneric(core: TrackerCore): Tracker {
  const standard = new Float64Array(1)
  core.declareTimeout('nf_conntrack_generic_timeout', 600, standard, TIMEOUT)
  return {
    protocol: 255,
    name: 'unknown',
    allowClash: true,
    timeoutNames: ['timeout'],
    standard,
    packet(pkt, entry, dir) {
      core.refresh(entry, dir, pkt.length, core.timeouts(entry, standard)[TIMEOUT]!)
      return Tracked.Accept
    },
  }
}
