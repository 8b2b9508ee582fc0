// UDP (nf_conntrack_proto_udp.c). A flow with answers that is still alive two seconds after it began is a stream:
// it is assured and lives longer.

import { Hook } from '../../datapath/hooks.ts'
import type { Packet } from '../../datapath/packet.ts'
import { IPPROTO_UDP } from '../../datapath/wire/protocol.ts'
import { UDP_CHECKSUM, UDP_HEADER_LEN, UDP_LENGTH } from '../../datapath/wire/udp.ts'
import { assure, SINCE, STATUS, STRIDE, Status } from '../table.ts'
import type { Tracker, TrackerCore } from './tracker.ts'
import { Tracked } from './tracker.ts'

export const UNREPLIED = 0
export const REPLIED = 1
const STREAM_AFTER_MS = 2000
/** Age at which the word that tells of it begins to move along: it comes round after 24 days. */
const MOVE_ON_MS = 60_000

export function createUdp(core: TrackerCore): Tracker {
  const { table, host } = core
  const { view } = host.memory
  const standard = new Float64Array(2)
  core.declareTimeout('nf_conntrack_udp_timeout', 30, standard, UNREPLIED)
  core.declareTimeout('nf_conntrack_udp_timeout_stream', 120, standard, REPLIED)

  /** udp_error: true if the packet is INVALID. */
  function broken(pkt: Packet, hook: Hook): boolean {
    const { l4 } = pkt
    const room = pkt.end - l4
    if (room < UDP_HEADER_LEN) {
      core.logInvalid(pkt, IPPROTO_UDP, 'short packet')
      return true
    }
    const length = view.getUint16(l4 + UDP_LENGTH)
    if (length > room || length < UDP_HEADER_LEN) {
      core.logInvalid(pkt, IPPROTO_UDP, 'truncated/malformed packet')
      return true
    }
    if (hook !== Hook.PreRouting || view.getUint16(l4 + UDP_CHECKSUM) === 0) return false
    if (!core.checksum || core.checksumOk(pkt)) return false
    core.logInvalid(pkt, IPPROTO_UDP, 'bad checksum')
    return true
  }

  /** ms since the entry began; no more than 24 days. */
  const ageOf = (o: number): number => (host.now - table.words[o + SINCE]!) | 0

  // Assured or not: somebody may have said so of a flow that had no answer yet.
  const stateOf = (status: number, age: number): number =>
    (status & Status.SeenReply) === 0 || age <= STREAM_AFTER_MS ? UNREPLIED : REPLIED

  function steady(entry: number): number {
    const o = entry * STRIDE
    const status = table.words[o + STATUS]!
    const age = ageOf(o)
    const state = stateOf(status, age)
    return (state === UNREPLIED || (status & (Status.NatClash | Status.Assured)) !== 0) &&
      age <= MOVE_ON_MS &&
      core.timeouts(entry, standard)[state]! > 0
      ? state
      : -1
  }

  function heard(entry: number, dir: number, state: number, packets: number, bytes: number): void {
    core.refresh(entry, dir, bytes, core.timeouts(entry, standard)[state]!, packets)
  }

  return {
    protocol: IPPROTO_UDP,
    name: 'udp',
    allowClash: true,
    timeoutNames: ['unreplied', 'replied'],
    standard,
    /** nf_conntrack_udp_packet. */
    packet(pkt, entry, dir, hook) {
      if (broken(pkt, hook)) return Tracked.Invalid
      const w = table.words
      const o = entry * STRIDE
      const status = w[o + STATUS]!
      const age = ageOf(o)
      const state = stateOf(status, age)
      if (age > MOVE_ON_MS) w[o + SINCE] = host.now - STREAM_AFTER_MS - 1
      heard(entry, dir, state, 1, pkt.length)
      // A clashing entry goes soon, so it is never assured.
      if (state === REPLIED && (status & (Status.NatClash | Status.Assured)) === 0) assure(w, o)
      return Tracked.Accept
    },
    datagrams: { steady, heard },
  }
}
