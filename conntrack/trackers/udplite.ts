// UDP-Lite (nf_conntrack_proto_udp.c): UDP's timeouts, but the checksum is required and may cover only a part, and a
// flow is assured with the first packet after an answer.

import { Hook } from '../../datapath/hooks.ts'
import type { Packet } from '../../datapath/packet.ts'
import { fold, pseudo, sumView } from '../../datapath/wire/checksum.ts'
import { IPPROTO_UDP, IPPROTO_UDPLITE } from '../../datapath/wire/protocol.ts'
import { UDP_CHECKSUM, UDP_HEADER_LEN, UDP_LENGTH } from '../../datapath/wire/udp.ts'
import { assure, STATUS, STRIDE, Status } from '../table.ts'
import type { Tracker, TrackerCore } from './tracker.ts'
import { Tracked } from './tracker.ts'
import { REPLIED, UNREPLIED } from './udp.ts'

export function createUdplite(core: TrackerCore): Tracker {
  const { table, host } = core
  const udp = core.standardOf(IPPROTO_UDP)
  const { view } = host.memory

  /** udplite_error: true if the packet is INVALID. */
  function broken(pkt: Packet, hook: Hook): boolean {
    const { l4 } = pkt
    const room = pkt.end - l4
    if (room < UDP_HEADER_LEN) {
      core.logInvalid(pkt, IPPROTO_UDPLITE, 'short packet')
      return true
    }
    const coverage = view.getUint16(l4 + UDP_LENGTH)
    if (coverage !== 0 && (coverage < UDP_HEADER_LEN || coverage > room)) {
      core.logInvalid(pkt, IPPROTO_UDPLITE, 'invalid checksum coverage')
      return true
    }
    if (view.getUint16(l4 + UDP_CHECKSUM) === 0) {
      core.logInvalid(pkt, IPPROTO_UDPLITE, 'checksum missing')
      return true
    }
    if (hook !== Hook.PreRouting || !core.checksum || pkt.csumOk) return false
    // As udplite_error of 6.18 has it checked: with UDP's number in the pseudo header, so that a right checksum is a
    // wrong one.
    const covered = coverage === 0 ? pkt.end : l4 + coverage
    if (fold(sumView(view, l4, covered, pseudo(pkt, IPPROTO_UDP, room))) === 0xffff) return false
    core.logInvalid(pkt, IPPROTO_UDPLITE, 'bad checksum')
    return true
  }

  return {
    protocol: IPPROTO_UDPLITE,
    name: 'udplite',
    allowClash: true,
    timeoutNames: ['unreplied', 'replied'],
    standard: udp,
    /** nf_conntrack_udplite_packet. */
    packet(pkt, entry, dir, hook) {
      if (broken(pkt, hook)) return Tracked.Invalid
      const timeouts = core.timeouts(entry, udp)
      const at = entry * STRIDE + STATUS
      const status = table.words[at]!
      if ((status & Status.SeenReply) === 0) {
        core.refresh(entry, dir, pkt.length, timeouts[UNREPLIED]!)
        return Tracked.Accept
      }
      core.refresh(entry, dir, pkt.length, timeouts[REPLIED]!)
      if ((status & Status.NatClash) === 0) assure(table.words, entry * STRIDE)
      return Tracked.Accept
    },
  }
}
