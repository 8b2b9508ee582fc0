// Extended echo (RFC 8335), of ICMP and ICMPv6: the interface that is asked for, by its name or an address of it.

import {
  ADDRESS_HEADER_LEN,
  AFI_IP,
  AFI_IP6,
  BY_ADDRESS,
  BY_INDEX,
  BY_NAME,
  CLASS_TYPE,
  OBJECT_HEADER_LEN,
  PROBE_OBJECT,
} from '../../datapath/probe.ts'
import { ICMP_HEADER_LEN } from '../../datapath/wire/icmp.ts'
import type { PacketMapper } from './packets.ts'

/** The whole message but its checksum. A longer name than there is room for becomes zeros: that probe asks for nobody then. */
export function mapProbe(by: PacketMapper, at: number, end: number): void {
  const object = at + PROBE_OBJECT
  const content = object + OBJECT_HEADER_LEN
  if (content > end) {
    by.blank(at + ICMP_HEADER_LEN, end)
    return
  }
  const stop = Math.min(Math.max(object + by.u16(object), content), end)
  switch (by.bytes[object + CLASS_TYPE]) {
    case BY_NAME:
      interfaceName(by, content, stop)
      break
    case BY_ADDRESS: {
      const address = content + ADDRESS_HEADER_LEN
      const family = address <= stop ? by.u16(content) : 0
      if (family === AFI_IP && address + 4 <= stop) {
        by.address4(address)
        by.blank(address + 4, stop)
      } else if (family === AFI_IP6 && address + 16 <= stop) {
        by.address6(address)
        by.blank(address + 16, stop)
      } else by.blank(address, stop)
      break
    }
    case BY_INDEX:
      by.blank(content + 4, stop)
      break
    default:
      by.blank(content, stop)
  }
  by.blank(stop, end)
}

/** Up to the first zero. */
function interfaceName(by: PacketMapper, from: number, stop: number): void {
  const field = by.bytes.subarray(from, stop)
  const zero = field.indexOf(0)
  const name = Buffer.from(zero < 0 ? field : field.subarray(0, zero)).toString('latin1')
  // No interface has such a name; it may be anything.
  if (!/^[!-.0-9;-~]{1,15}$/.test(name)) {
    by.blank(from, stop)
    return
  }
  const to = Buffer.from(by.mapping.names.interface(name), 'latin1')
  by.zeros(from, stop)
  if (to.length <= field.length) by.bytes.set(to, from)
}
