// Extended echo (PROBE, RFC 8335): somebody asks about an interface of this host, by its name, its number or an address.
// As icmp_build_probe() of Linux 6.18, which ICMP and ICMPv6 share.
//
//    l4 + 8  version, reserved, checksum            the extension's header; nobody reads it
//    l4 + 12 length, class, type of the question    of the object: these four bytes and what follows
//    l4 + 16 name | number | family, length, reserved, address

import type { Device } from './devices.ts'
import type { Host } from './host.ts'
import type { Packet } from './packet.ts'
import { ICMP_CODE, ICMP_HEADER_LEN, ICMP_SEQUENCE } from './wire/icmp.ts'

/** Of the object, from the ICMP header on: behind that stands the extension's. */
export const PROBE_OBJECT = ICMP_HEADER_LEN + 4
export const OBJECT_HEADER_LEN = 4
/** sizeof(struct icmp_ext_echo_iio): an IPv6 address and what stands in front of it. */
const OBJECT_MAX = 24
export const CLASS_TYPE = 3

/** ICMP_EXT_ECHO_CTYPE_*. */
export const BY_NAME = 1
export const BY_INDEX = 2
export const BY_ADDRESS = 3
const IFNAMSIZ = 16
export const ADDRESS_HEADER_LEN = 4
/** ICMP_AFI_*. */
export const AFI_IP = 1
export const AFI_IP6 = 2

/** Of the sequence field, whose low byte is flags: the interface is this host's own (L bit). */
const LOCAL = 1

const CODE_MALFORMED = 1
const CODE_NO_INTERFACE = 2
const ACTIVE = 4
const HAS_IPV4 = 2
const HAS_IPV6 = 1

/** Whether such a question is answered at all. */
export const answersProbe = (pkt: Packet, host: Host): boolean =>
  host.ipv4.icmpEchoEnableProbe && (host.memory.view.getUint16(pkt.l4 + ICMP_SEQUENCE) & LOCAL) !== 0

/** Writes code and status into an answer that is a copy of the question `pkt`. */
export function answerProbe(pkt: Packet, host: Host, answer: Packet): void {
  const { view } = host.memory
  const sequence = view.getUint16(pkt.l4 + ICMP_SEQUENCE) & 0xff00
  const device = asked(pkt, host)
  view.setUint16(answer.l4 + ICMP_SEQUENCE, sequence)
  if (device === undefined) view.setUint8(answer.l4 + ICMP_CODE, CODE_MALFORMED)
  else if (device === null) view.setUint8(answer.l4 + ICMP_CODE, CODE_NO_INTERFACE)
  else view.setUint16(answer.l4 + ICMP_SEQUENCE, sequence | statusOf(device))
}

function statusOf({ up, addresses }: Device): number {
  const has = (family: number): boolean => addresses.some((a) => a.family === family)
  return (up ? ACTIVE : 0) | (has(4) ? HAS_IPV4 : 0) | (has(6) ? HAS_IPV6 : 0)
}

/** The interface in question, null: there is none like it; undefined: the question makes no sense. */
function asked(pkt: Packet, host: Host): Device | null | undefined {
  const { view } = host.memory
  const object = pkt.l4 + PROBE_OBJECT
  const at = object + OBJECT_HEADER_LEN
  if (at > pkt.end) return undefined
  const objectLength = view.getUint16(object)
  if (objectLength <= OBJECT_HEADER_LEN || objectLength > OBJECT_MAX || object + objectLength > pkt.end)
    return undefined
  const length = objectLength - OBJECT_HEADER_LEN
  switch (view.getUint8(object + CLASS_TYPE)) {
    case BY_NAME:
      return length >= IFNAMSIZ ? undefined : (host.devices.byAnyName(nameAt(view, at, length)) ?? null)
    case BY_INDEX:
      return length !== 4 ? undefined : (host.devices.byIndex[view.getUint32(at)] ?? null)
    case BY_ADDRESS:
      return byAddress(host, at, length)
  }
  return undefined
}

function byAddress(host: Host, at: number, length: number): Device | null | undefined {
  const { view } = host.memory
  if (length < ADDRESS_HEADER_LEN || length !== ADDRESS_HEADER_LEN + view.getUint8(at + 2)) return undefined
  const first = at + ADDRESS_HEADER_LEN
  const size = length - ADDRESS_HEADER_LEN
  switch (view.getUint16(at)) {
    case AFI_IP:
      return size !== 4 ? undefined : host.fib.deviceOf4(view.getInt32(first))
    case AFI_IP6:
      return size !== 16 ? undefined : deviceOf6(host, first)
  }
  return undefined
}

/** ipv6_dev_find(): of several interfaces with the address the one that has it last. */
function deviceOf6(host: Host, at: number): Device | null {
  const { view } = host.memory
  const isIt = ({ family, words }: Device['addresses'][number]): boolean =>
    family === 6 && words.every((word, i) => word === view.getInt32(at + i * 4))
  return host.devices.all().findLast(({ addresses }) => addresses.some(isIt)) ?? null
}

/** Up to the first zero. */
function nameAt(view: DataView, at: number, length: number): string {
  let name = ''
  for (let i = at; i < at + length && view.getUint8(i) !== 0; i++)
    name += String.fromCharCode(view.getUint8(i))
  return name
}
