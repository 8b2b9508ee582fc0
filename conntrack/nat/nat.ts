// NAT core. CONTRACT, to be filled in.

import type { HookFn } from '../../datapath/hooks.ts'
import type { Family, Packet } from '../../datapath/packet.ts'

/** struct nf_nat_range2. Addresses as words, ports in host order. */
export interface NatRange {
  readonly min: readonly [number, number, number, number] | null
  readonly max: readonly [number, number, number, number] | null
  readonly minPort: number
  readonly maxPort: number
  readonly hasPorts: boolean
  /** DNAT --to-destination a:lo-hi/base. */
  readonly basePort: number
  readonly offset: boolean
  readonly random: boolean
  readonly randomFully: boolean
  readonly persistent: boolean
  readonly netmap: boolean
}

export const Manip = { Src: 0, Dst: 1 } as const
export type Manip = (typeof Manip)[keyof typeof Manip]

export interface Nat {
  /**
   * The nat table of a family is in use: registers NAT's four hooks; `lookups[hook]` walks the table's chain for the
   * first packet of a connection. Returns the undo.
   */
  attach(family: Family, lookups: Readonly<Record<number, HookFn>>): () => void
  /** nf_nat_setup_info: binds pkt's connection. A Verdict. */
  setup(pkt: Packet, range: NatRange, manip: Manip): number
  /** nf_nat_masquerade_ipv4/6. */
  masquerade(pkt: Packet, range: NatRange): number
  /** nf_nat_redirect. `hook` is the hook number. */
  redirect(pkt: Packet, range: NatRange, hook: number): number
  /** An address left a device: masqueraded entries through it end. */
  addressGone(family: Family, device: number): void
}
