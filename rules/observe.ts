// Who wants to know which rules a packet meets. While nobody does, the chains' code has no trace of it; code for an
// observer is made when one comes, and thrown away when it goes (Tables.observe).

import type { Family, Packet } from '../datapath/packet.ts'
import type { LoadedChain } from './chain.ts'
import type { TableName } from './model.ts'

/** What a rule asks before its matches, in the kernel's order (struct ipt_ip). */
export const BASE_PARTS = ['source', 'destination', 'in', 'out', 'protocol', 'fragment'] as const
export type BasePart = (typeof BASE_PARTS)[number]

/**
 * Hears of a packet's walk through the chains. Rules are named by the number that chain() gave their chain, and by
 * their slot there. Called in the middle of the packet path: must not throw, and must leave the packet as it is.
 */
export interface RuleObserver {
  /** Misses are asked for: every rule of a chain is then tried in turn, whatever could have been looked up. */
  readonly misses: boolean
  /** A number for a chain, asked once whenever its code is made. */
  chain(family: Family, table: TableName, chain: LoadedChain): number
  /** The walk through a table begins, at a built-in chain. */
  walk(chain: number, pkt: Packet): void
  /** It is over: a Verdict, or CONTINUE for the policy. */
  walked(chain: number, pkt: Packet, verdict: number): void
  /** All conditions hold; the rule has been counted, its target comes next. */
  hit(chain: number, slot: number, pkt: Packet): void
  /** The target of the last rule was an extension, and is done. */
  did(pkt: Packet): void
  /** A match found the packet broken: dropped, without the rule being counted. */
  hotdrop(chain: number, slot: number): void
  /**
   * A condition failed, the others behind it were not asked: a BASE_PARTS position, or BASE_PARTS.length and the number
   * of the match.
   */
  miss(chain: number, slot: number, condition: number, pkt: Packet): void
}

/** A chain and its observer, for the compiler. */
export interface Observed {
  readonly observer: RuleObserver
  readonly chain: number
}
