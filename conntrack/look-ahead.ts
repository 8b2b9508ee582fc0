// Looking connections up ahead: a batch of frames is about to be received, and the connections of its TCP and UDP packets
// are brought into the processor's caches, many at a time, where each packet would wait for its own.
//
//     frames ─ hash ─▶ buckets ─▶ first entry ─▶ the one that fits ─▶ hints, for Packet.hint
//
// A pass for each arrow: what a pass reads of one connection does not wait for what it reads of another, so that the
// processor has as many reads under way as it can. Nothing changes by it but `hints`.

import type { Host } from '../datapath/host.ts'
import { IPV4_DST, IPV4_HEADER_LEN, IPV4_PROTOCOL, IPV4_SRC } from '../datapath/wire/ipv4.ts'
import { IPPROTO_TCP, IPPROTO_UDP } from '../datapath/wire/protocol.ts'
import type { Conntrack } from './conntrack.ts'

/** Version 4, five words of header. */
const PLAIN_HEADER = 0x45

export class LookAhead {
  readonly #host: Host
  readonly #conntrack: Conntrack
  /** Of each frame: handle of the connection that it seems to be of, -1 none. */
  hints = new Int32Array(256)

  constructor(host: Host, conntrack: Conntrack) {
    this.#host = host
    this.#conntrack = conntrack
  }

  /** `offsets`: first bytes of the frames in frame memory, in slots that hold whole headers. Hot: does not allocate. */
  batch(offsets: Int32Array, count: number): void {
    if (count > this.hints.length) this.hints = new Int32Array(count)
    const { hints } = this
    if (!this.#conntrack.isActive(4)) {
      hints.fill(-1, 0, count)
      return
    }
    const { table } = this.#conntrack
    const { view } = this.#host.memory
    for (let i = 0; i < count; i++) {
      const l3 = offsets[i]!
      let bucket = -1
      if (view.getUint8(l3) === PLAIN_HEADER) {
        const proto = view.getUint8(l3 + IPV4_PROTOCOL)
        if (proto === IPPROTO_UDP || proto === IPPROTO_TCP)
          bucket = table.bucketOf4(
            view.getInt32(l3 + IPV4_SRC),
            view.getInt32(l3 + IPV4_DST),
            view.getInt32(l3 + IPV4_HEADER_LEN),
            (proto << 8) | 4,
          )
      }
      hints[i] = bucket
    }
    for (let i = 0; i < count; i++) if (hints[i]! >= 0) hints[i] = table.first(hints[i]!)
    let touched = 0
    for (let i = 0; i < count; i++) if (hints[i]! >= 0) touched |= table.touch(hints[i]!)
    table.touched = touched
    for (let i = 0; i < count; i++) {
      const hint = hints[i]!
      const l3 = offsets[i]!
      if (hint >= 0)
        hints[i] = table.seek(
          hint,
          view.getInt32(l3 + IPV4_SRC),
          view.getInt32(l3 + IPV4_DST),
          view.getInt32(l3 + IPV4_HEADER_LEN),
        )
    }
  }
}
