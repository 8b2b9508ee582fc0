// A set asked by a rule: what holds for all types (ip_set_test(), ip_set_add(), ip_set_del() of ip_set_core.c).

import type { Packet } from '../../datapath/packet.ts'
import { type PacketExtension, RETURN_NOMATCH } from './extensions.ts'
import type { LoadedSet } from './set-type.ts'

/** Too few dimensions in the rule, or a packet of the other family. */
const unfit = (set: LoadedSet, pkt: Packet, ext: PacketExtension): boolean =>
  ext.dim < set.type.parts.length || (set.family !== 0 && set.family !== pkt.family)

/** Hot. */
export function matchSet(set: LoadedSet, pkt: Packet, dirs: number, ext: PacketExtension): boolean {
  if (unfit(set, pkt, ext)) return false
  const result = set.data.match(pkt, dirs, ext)
  return (ext.flags & RETURN_NOMATCH) !== 0 && set.type.nomatch === true ? result < 0 : result > 0
}

/** Hot. */
export function addToSet(set: LoadedSet, pkt: Packet, dirs: number, ext: PacketExtension): boolean {
  return !unfit(set, pkt, ext) && set.data.addPacket(pkt, dirs, ext)
}

/** Hot. */
export function deleteFromSet(set: LoadedSet, pkt: Packet, dirs: number, ext: PacketExtension): boolean {
  return !unfit(set, pkt, ext) && set.data.delPacket(pkt, dirs, ext)
}
