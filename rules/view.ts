// Tables in force as those see them who read, draft and print.

import type { Family } from '../datapath/packet.ts'
import type { Chain, TableName } from './model.ts'

/** A chain in force; LoadedChain has this shape. */
export interface ChainView {
  readonly model: Chain
  /** [packets, bytes] of each rule in turn, as they were when they were asked for. */
  readonly counters: ArrayLike<number>
  readonly policyPackets: number
  readonly policyBytes: number
}

/** A table in force; LoadedTable has this shape. */
export interface TableView {
  readonly family: Family
  readonly name: TableName
  readonly chains: ReadonlyMap<string, ChainView>
}
