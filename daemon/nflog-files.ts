// What NFLOG hands out, as capture files: one pcap for each group, nflog-GROUP.pcap, link type NFLOG (239). A record is
// the message that nfnetlink_log of Linux 6.18 would send to the group's listener.
//
//     family 1 | version 1 | group 2 (big-endian)    then attributes: length 2 | type 2 | value, padded to 4
//
// Length and type have the byte order of the file, which is little-endian; values are big-endian.

import type { NflogRecord } from '../datapath/events.ts'
import { Hook } from '../datapath/hooks.ts'
import type { Host } from '../datapath/host.ts'
import type { WriteBytes } from '../datapath/ports/capture-writer.ts'
import { ETH_P_IP, ETH_P_IPV6 } from '../datapath/wire/ethernet.ts'

const LINKTYPE_NFLOG = 239
const SNAP_LENGTH = 0x40000
const BUFFER = 256 * 1024
const HEADER = 24
const RECORD = 16
/** Attributes but for prefix and payload need less. */
const ROOM = 256

/** NFULA_* */
const Attribute = {
  PacketHeader: 1,
  Mark: 2,
  Timestamp: 3,
  InDevice: 4,
  OutDevice: 5,
  HardwareAddress: 8,
  Payload: 9,
  Prefix: 10,
  HardwareType: 15,
  HardwareHeader: 16,
  HardwareLength: 17,
} as const

const AF_INET = 2
const AF_INET6 = 10

/** One group's file. */
class GroupFile {
  readonly #write: WriteBytes
  readonly #bytes = new Uint8Array(BUFFER)
  readonly #view = new DataView(this.#bytes.buffer)
  #at = HEADER

  constructor(write: WriteBytes) {
    this.#write = write
    const v = this.#view
    v.setUint32(0, 0xa1b2c3d4, true)
    v.setUint16(4, 2, true)
    v.setUint16(6, 4, true)
    v.setUint32(16, SNAP_LENGTH, true)
    v.setUint32(20, LINKTYPE_NFLOG, true)
  }

  /** The head of an attribute of `length` bytes; answers where the value goes, padded with zeros. */
  #attribute(type: number, length: number): number {
    const at = this.#at
    this.#view.setUint16(at, length + 4, true)
    this.#view.setUint16(at + 2, type, true)
    this.#at = at + 4 + ((length + 3) & ~3)
    this.#bytes.fill(0, at + 4, this.#at)
    return at + 4
  }

  #word(type: number, value: number): void {
    this.#view.setUint32(this.#attribute(type, 4), value)
  }

  #half(type: number, value: number): void {
    this.#view.setUint16(this.#attribute(type, 2), value)
  }

  /** __build_packet_message() */
  add(record: NflogRecord, wall: number): void {
    const prefix = Buffer.from(record.prefix, 'latin1')
    const { bytes } = record
    if (this.#at + RECORD + ROOM + prefix.length + bytes.length > BUFFER) this.flush()
    const v = this.#view
    const start = this.#at
    const six = record.family === 6
    this.#at += RECORD
    v.setUint8(this.#at, six ? AF_INET6 : AF_INET)
    v.setUint8(this.#at + 1, 0)
    v.setUint16(this.#at + 2, record.group)
    this.#at += 4
    const header = this.#attribute(Attribute.PacketHeader, 4)
    v.setUint16(header, six ? ETH_P_IPV6 : ETH_P_IP)
    v.setUint8(header + 2, record.hook)
    this.#bytes.set(prefix, this.#attribute(Attribute.Prefix, prefix.length + 1))
    if (record.iif !== 0) this.#word(Attribute.InDevice, record.iif)
    if (record.oif !== 0) this.#word(Attribute.OutDevice, record.oif)
    if (record.mark !== 0) this.#word(Attribute.Mark, record.mark)
    const { link } = record
    if (link !== null) {
      if (link.addressed) v.setUint16(this.#attribute(Attribute.HardwareAddress, 12), 6)
      this.#half(Attribute.HardwareType, link.type)
      this.#half(Attribute.HardwareLength, link.bytes.length)
      this.#bytes.set(link.bytes, this.#attribute(Attribute.HardwareHeader, link.bytes.length))
    }
    const seconds = Math.floor(wall / 1000)
    const micros = Math.floor((wall - seconds * 1000) * 1000)
    if (record.hook <= Hook.Forward) {
      const at = this.#attribute(Attribute.Timestamp, 16)
      v.setUint32(at + 4, seconds)
      v.setUint32(at + 12, micros)
    }
    if (bytes.length > 0) this.#bytes.set(bytes, this.#attribute(Attribute.Payload, bytes.length))
    const length = this.#at - start - RECORD
    v.setUint32(start, seconds, true)
    v.setUint32(start + 4, micros, true)
    v.setUint32(start + 8, length, true)
    v.setUint32(start + 12, length + record.length - bytes.length, true)
  }

  flush(): void {
    if (this.#at > 0) this.#write(this.#bytes, this.#at)
    this.#at = 0
  }
}

export class NflogFiles {
  readonly #host: Host
  readonly #open: (name: string) => WriteBytes
  readonly #groups = new Map<number, GroupFile>()

  /** Listens to all groups of the host. `open` makes a file of a name that it has not been asked for before. */
  constructor(host: Host, open: (name: string) => WriteBytes) {
    this.#host = host
    this.#open = open
    host.events.nflog = (record) => this.#add(record)
  }

  #add(record: NflogRecord): void {
    let file = this.#groups.get(record.group)
    if (file === undefined) {
      file = new GroupFile(this.#open(`nflog-${record.group}.pcap`))
      this.#groups.set(record.group, file)
    }
    file.add(record, this.#host.wall)
  }

  /** All that was recorded is written. */
  flush(): void {
    for (const file of this.#groups.values()) file.flush()
  }
}
