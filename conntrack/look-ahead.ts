// Looking connections up ahead: a batch of frames is about to be received, and the connections of its TCP and UDP packets
// are brought into the processor's caches, many at a time, where each packet would wait for its own.
//
//     frames ─ hash ─▶ buckets ─▶ first link ─▶ the link with that hash ─▶ its entry; hints, for Packet.hint
//
// A pass for each arrow (EntryTable.seekAll). Nothing changes by it but `hints`.

import type { Host } from '../datapath/host.ts'
import {
  IP_OFFSET,
  IPV4_DST,
  IPV4_FRAG,
  IPV4_HEADER_LEN,
  IPV4_PLAIN,
  IPV4_PROTOCOL,
  IPV4_SRC,
} from '../datapath/wire/ipv4.ts'
import { IPPROTO_TCP, IPPROTO_UDP } from '../datapath/wire/protocol.ts'
import type { Conntrack } from './conntrack.ts'

/** Hints that are no handle: ports that no connection has; a frame that is not looked up. */
export const HINT_NEW = -1
export const HINT_NONE = -2

export class LookAhead {
  readonly #host: Host
  readonly #conntrack: Conntrack
  /** Of each frame: handle of the connection that it seems to be of, HINT_NEW or HINT_NONE. */
  #hints = new Int32Array(256)
  /** Of each frame that has ports: hash of its tuple. */
  #hashes = new Int32Array(256)

  constructor(host: Host, conntrack: Conntrack) {
    this.#host = host
    this.#conntrack = conntrack
  }

  /** `offsets`: first bytes of the frames in frame memory, in slots that hold whole headers. Returns the hints, good until
   * the next batch. Hot: does not allocate. */
  batch(offsets: Int32Array, count: number): Int32Array {
    if (count > this.#hints.length) {
      this.#hints = new Int32Array(count)
      this.#hashes = new Int32Array(count)
    }
    const hints = this.#hints
    const active = this.#conntrack.isActive(4)
    const { table } = this.#conntrack
    const { view } = this.#host.memory
    const hashes = this.#hashes
    for (let i = 0; i < count; i++) {
      const l3 = offsets[i]!
      hints[i] = HINT_NONE
      if (view.getUint8(l3) !== IPV4_PLAIN || (view.getUint16(l3 + IPV4_FRAG) & IP_OFFSET) !== 0) continue
      const proto = view.getUint8(l3 + IPV4_PROTOCOL)
      if (proto !== IPPROTO_UDP && proto !== IPPROTO_TCP) continue
      hints[i] = active ? 0 : HINT_NEW
      hashes[i] = table.hashOf4(
        view.getInt32(l3 + IPV4_SRC),
        view.getInt32(l3 + IPV4_DST),
        view.getInt32(l3 + IPV4_HEADER_LEN),
        (proto << 8) | 4,
      )
    }
    table.seekAll(hashes, hints, count)
    if (active) this.#conntrack.limit.foresee(hashes, hints, count)
    return hints
  }
}
