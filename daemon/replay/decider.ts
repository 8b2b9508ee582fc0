// Which rule decided of a packet, and nothing else: what Recorder.decision() says, for a fraction of its price, so that
// a long replay can be summed up by rule.

import { Verdict } from '../../datapath/hooks.ts'
import type { Family, Packet } from '../../datapath/packet.ts'
import type { LoadedChain } from '../../rules/chain.ts'
import { CONTINUE } from '../../rules/extension.ts'
import type { TableName } from '../../rules/model.ts'
import type { RuleObserver } from '../../rules/observe.ts'
import type { Engine } from '../engine.ts'
import type { Decision, RuleRef } from '../explain/record.ts'
import { References } from '../explain/references.ts'

export class Decider implements RuleObserver {
  readonly misses = false
  readonly references: References
  /** What decided: number of the chain, -1 no rule was asked; its slot, -1 the policy; Verdict. */
  chainNumber = -1
  slot = -1
  verdict = 0
  readonly #own: Packet
  /** By chain: it belongs to the filter table. */
  readonly #filter: boolean[] = []
  #dropped = false
  #walking = false
  #lastChain = -1
  #lastSlot = -1

  /** `own`: the one packet that is asked about; what the host makes meanwhile are others. */
  constructor(engine: Engine, own: Packet) {
    this.references = new References(engine)
    this.#own = own
    engine.tables.observe(this)
  }

  /** Before a packet. */
  begin(): void {
    this.chainNumber = this.slot = -1
    this.#dropped = this.#walking = false
  }

  /** The rule of decision(). */
  rule(): RuleRef | null {
    return this.chainNumber < 0 ? null : this.references.rule(this.chainNumber, this.slot)
  }

  /** Of the packet since begin(): what dropped or answered it, or let it pass in the filter table; null: no rule did. */
  decision(): Decision | null {
    return this.chainNumber < 0 ? null : this.references.decision(this.chainNumber, this.slot, this.verdict)
  }

  chain(family: Family, table: TableName, chain: LoadedChain): number {
    const number = this.references.chain(family, table, chain)
    this.#filter[number] = table === 'filter'
    return number
  }

  walk(chain: number, pkt: Packet): void {
    this.#walking = pkt === this.#own
    if (!this.#walking) return
    this.#lastChain = chain
    this.#lastSlot = -1
  }

  walked(chain: number, pkt: Packet, verdict: number): void {
    if (pkt !== this.#own) {
      // A target of ours may have sent it: what we met stands.
      this.#walking = true
      return
    }
    this.#walking = false
    const policy = verdict === CONTINUE
    const said = policy ? this.references.chains[chain]!.policy() : verdict
    if (said === Verdict.Accept) {
      if (this.#dropped) return
      if (this.chainNumber >= 0 && this.#filter[this.chainNumber] && !this.#filter[chain]) return
    } else this.#dropped = true
    this.chainNumber = policy ? chain : this.#lastChain
    this.slot = policy ? -1 : this.#lastSlot
    this.verdict = said
  }

  hit(chain: number, slot: number, pkt: Packet): void {
    if (pkt !== this.#own) return
    this.#lastChain = chain
    this.#lastSlot = slot
  }

  did(): void {}

  hotdrop(chain: number, slot: number): void {
    if (!this.#walking) return
    this.#lastChain = chain
    this.#lastSlot = slot
  }

  miss(): void {}
}
