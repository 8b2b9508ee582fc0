// Frames made in memory, for players: one at a time, on an interface by name.

import type { CaptureInterface } from '../../datapath/ports/pcap.ts'
import { LinkType } from '../../datapath/ports/pcap.ts'
import type { FrameSource } from '../replay/player.ts'

const ROOM = 128 * 1024

export class MemorySource implements FrameSource {
  readonly interfaces: CaptureInterface[] = []
  readonly bytes = new Uint8Array(ROOM)
  readonly words = new Int32Array(this.bytes.buffer)
  readonly view = new DataView(this.bytes.buffer)
  readonly at = 0
  length = 0
  originalLength = 0
  interface = 0
  seconds = 0
  nanos = 0
  block = 0
  readonly offset = 0

  /** The next frame, `ms` after the one before. */
  set(device: string, frame: Uint8Array, ms: number): void {
    let index = this.interfaces.findIndex(({ name }) => name === device)
    if (index < 0) index = this.interfaces.push({ name: device, linkType: LinkType.Raw, snapLength: 0 }) - 1
    this.interface = index
    this.bytes.set(frame)
    this.length = this.originalLength = frame.length
    this.block++
    this.nanos += Math.round(ms * 1e6)
    this.seconds += Math.floor(this.nanos / 1e9)
    this.nanos %= 1e9
  }
}
