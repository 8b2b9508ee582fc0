// GRE (nf_conntrack_proto_gre.c). Flows of version 1 (PPTP) are told apart by call id, others by address.

import { IPPROTO_GRE } from '../../datapath/wire/protocol.ts'
import { assure, PRIVATE, STATUS, STRIDE, Status } from '../table.ts'
import type { Tracker, TrackerCore } from './tracker.ts'
import { Tracked } from './tracker.ts'

const UNREPLIED = 0
const REPLIED = 1
// Private words: an entry keeps the timeouts that it was made with, in seconds.
const TIMEOUT = PRIVATE
const STREAM_TIMEOUT = PRIVATE + 1

export function createGre(core: TrackerCore): Tracker {
  const { table } = core
  const standard = new Float64Array(2)
  core.declareTimeout('nf_conntrack_gre_timeout', 30, standard, UNREPLIED)
  core.declareTimeout('nf_conntrack_gre_timeout_stream', 180, standard, REPLIED)
  return {
    protocol: IPPROTO_GRE,
    name: 'gre',
    allowClash: true,
    timeoutNames: ['unreplied', 'replied'],
    standard,
    /** nf_conntrack_gre_packet. */
    packet(pkt, entry, dir) {
      const w = table.words
      const o = entry * STRIDE
      const status = w[o + STATUS]!
      if ((status & Status.Confirmed) === 0) {
        const timeouts = core.timeouts(entry, standard)
        w[o + STREAM_TIMEOUT] = timeouts[REPLIED]! / 1000
        w[o + TIMEOUT] = timeouts[UNREPLIED]! / 1000
      }
      if ((status & Status.SeenReply) === 0) {
        core.refresh(entry, dir, pkt.length, w[o + TIMEOUT]! * 1000)
        return Tracked.Accept
      }
      core.refresh(entry, dir, pkt.length, w[o + STREAM_TIMEOUT]! * 1000)
      // A clashing entry goes soon, so it is never assured.
      if ((status & Status.NatClash) === 0) assure(w, o)
      return Tracked.Accept
    },
  }
}
