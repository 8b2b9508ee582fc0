// How rules stand in the memory of the tools, for what they compare byte by byte (check-mask.ts) and dump (text/dump.ts).

import type { Family } from '../datapath/packet.ts'
import type { Match, Target } from './extension.ts'
import type { BaseMatch } from './model.ts'

/** A value with its place. Numbers are in the machine's order; anything but numbers and bytes is compared whole. */
export type Field = readonly [at: number, length: number, value: unknown]

/** Of the last revision's structure, as the tools of 1.8.9 have it on 64 bits. */
export interface Layout<D> {
  /** Bytes, aligned to 8 (XT_ALIGN of xtables_match.size). */
  readonly size: number
  /** Of iptables, where it differs from that of ip6tables. */
  readonly size4?: number
  /** The kernel's name for it (xtables_match.real_name); absent: its own. */
  readonly realName?: string
  /** Bytes that are not the kernel's own (userspacesize); absent: all. */
  readonly own?: number
  /** Absent: the data are compared whole. */
  fields?(data: D): Field[]
}

/** Of extensions that have none: eight bytes, compared whole. */
export const PLAIN_LAYOUT: Layout<unknown> = { size: 8 }

/** XT_ALIGN(sizeof(struct xt_entry_match)), and of a target: what stands before the data. */
export const HEADER_SIZE = 32

/** sizeof(struct ipt_entry), sizeof(struct ip6t_entry): what stands before the first match. */
export const ENTRY_SIZE: Readonly<Record<Family, number>> = { 4: 112, 6: 168 }

export const kernelName = ({ name, layout }: Match | Target): string => layout?.realName ?? name

/** Bytes of an interface's mask that are set (xtables_parse_interface()): the name with its end, or up to the plus. */
export const interfaceMaskLength = (name: string): number =>
  name === '' ? 0 : name.endsWith('+') ? name.length - 1 : name.length + 1

/** ipt_ip.invflags and ip6t_ip6.invflags, which have the same bits. */
export const inversionFlags = (base: BaseMatch): number =>
  (base.inInterface?.invert ? 1 : 0) |
  (base.outInterface?.invert ? 2 : 0) |
  (base.source?.invert ? 8 : 0) |
  (base.destination?.invert ? 0x10 : 0) |
  (base.fragment?.invert ? 0x20 : 0) |
  (base.protocol?.invert ? 0x40 : 0)

/** union nf_inet_addr: the words in the order of the network; zeros for none. */
export function addressField(at: number, words: readonly number[] | null | undefined): Field {
  const bytes = new Uint8Array(16)
  const view = new DataView(bytes.buffer)
  for (let i = 0; i < 4; i++) view.setInt32(4 * i, words?.[i] ?? 0)
  return [at, 16, bytes]
}

/** A port in the order of the network. */
export const portField = (at: number, port: number): Field => [at, 2, ((port & 0xff) << 8) | (port >>> 8)]

/** A string in an array of char, zeros behind it. */
export const nameField = (at: number, length: number, text: string): Field => [
  at,
  length,
  Uint8Array.from(Buffer.from(text, 'latin1')),
]

/** 32 bits in the order of the network. */
export const networkField = (at: number, value: number): Field => [
  at,
  4,
  Uint8Array.of(value >>> 24, value >>> 16, value >>> 8, value),
]

/** Flags: bit i for the i-th. */
export const bits = (...set: readonly (boolean | undefined)[]): number =>
  set.reduce<number>((all, on, i) => (on ? all | (1 << i) : all), 0)
