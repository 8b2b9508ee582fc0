// Captures: frames of all link types that replay reads, mapped one by one into a pcapng of the same interfaces, times and
// lengths. Comments and other blocks of the original are left out.

import { CaptureWriter } from '../../datapath/ports/capture-writer.ts'
import { knownLinkType } from '../../datapath/ports/link.ts'
import { LinkType } from '../../datapath/ports/pcap.ts'
import { ETH_P_ARP, ETH_P_IP, ETH_P_IPV6, ETH_P_RARP } from '../../datapath/wire/ethernet.ts'
import { PlaceError } from '../errors.ts'
import type { OutputFiles } from '../output-files.ts'
import { CaptureFile } from '../replay/capture-file.ts'
import type { Mapping } from './mapping.ts'
import { PacketMapper } from './packets.ts'

const VLAN_TAGS = [0x8100, 0x88a8]

/** Frames with what their links put before the packet. */
export class FrameMapper extends PacketMapper {
  frame(linkType: number, bytes: Uint8Array, at: number, end: number): void {
    this.bytes = bytes
    switch (linkType) {
      case LinkType.Ethernet:
        if (at + 14 > end) {
          this.zeros(at, end)
          return
        }
        this.mac(at)
        this.mac(at + 6)
        this.#etherType(at + 12, end)
        return
      case LinkType.LinuxSll:
        if (at + 16 > end) {
          this.zeros(at, end)
          return
        }
        this.#hardware(at + 6, this.u16(at + 4))
        this.#etherType(at + 14, end)
        return
      case LinkType.LinuxSll2:
        if (at + 20 > end) {
          this.zeros(at, end)
          return
        }
        this.#hardware(at + 12, bytes[at + 11]!)
        this.#protocol(this.u16(at), at + 20, end)
        return
      case LinkType.Null:
      case LinkType.Loop:
        this.inner(Math.min(at + 4, end), end, 0)
        return
      default:
        this.inner(at, end, 0)
    }
  }

  /** Eight bytes with an address in front. */
  #hardware(at: number, length: number): void {
    if (length === 6) {
      this.mac(at)
      this.zeros(at + 6, at + 8)
    } else this.zeros(at, at + 8)
  }

  #etherType(at: number, end: number): void {
    if (at + 2 > end) {
      this.zeros(at, end)
      return
    }
    this.#protocol(this.u16(at), at + 2, end)
  }

  #protocol(type: number, at: number, end: number): void {
    if (type === ETH_P_IP || type === ETH_P_IPV6) {
      this.inner(at, end, 0)
      return
    }
    if (VLAN_TAGS.includes(type)) {
      if (at + 4 <= end) this.#etherType(at + 2, end)
      else this.zeros(at, end)
      return
    }
    if (type === ETH_P_ARP || type === ETH_P_RARP) {
      this.#arp(at, end)
      return
    }
    this.zeros(at, end)
  }

  #arp(at: number, end: number): void {
    // Ethernet and IPv4.
    if (at + 28 > end || this.u16(at + 2) !== ETH_P_IP || this.u16(at + 4) !== 0x0604) {
      this.zeros(Math.min(at + 8, end), end)
      return
    }
    this.mac(at + 8)
    this.address4(at + 14)
    this.mac(at + 18)
    this.address4(at + 24)
    this.zeros(at + 28, end)
  }
}

/** Answers how many packets there were. Throws PlaceError for what cannot be read. */
export function captureTo(from: string, to: string, outputs: OutputFiles, mapping: Mapping): number {
  const file = new CaptureFile(from)
  try {
    const { reader } = file
    const writer = new CaptureWriter(outputs.bytes(to))
    const frames = new FrameMapper(mapping)
    let described = 0
    const describe = (): void => {
      for (; described < reader.interfaces.length; described++) {
        const { name, linkType } = reader.interfaces[described]!
        if (!knownLinkType(linkType))
          throw new PlaceError(
            `link type ${linkType} of interface ${name ?? described} is none that holds IP: see docs/replay.md`,
            { file: file.path, line: reader.block, column: reader.offset + 1 },
          )
        writer.interface(name === null ? null : mapping.names.interface(name), linkType)
      }
    }
    while (file.next()) {
      describe()
      const { at, length, originalLength, seconds, nanos } = reader
      frames.frame(reader.interfaces[reader.interface]!.linkType, reader.bytes, at, at + length)
      writer.packet(reader.interface, seconds, nanos, reader.bytes, at, length, originalLength)
    }
    describe()
    writer.flush()
    return file.count
  } finally {
    file.close()
  }
}
