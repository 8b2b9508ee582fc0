// Looking replies up ahead: of each connection that begins NAT asks whether somebody has the reply that it would have, once
// for its destination and once for its source. The marks that know (tuple-hash.ts) are in no cache. What became of the last
// connection's source most likely becomes of the next ones': their marks are read together, where each packet would wait
// for its own.
//
// Nothing changes by it; what is guessed wrongly has cost a read.

import type { Dice } from '../../datapath/dice.ts'
import type { EntryTable } from '../table.ts'

export class NatLookAhead {
  readonly #table: EntryTable
  /** What ports are drawn from. */
  readonly #ports: Dice
  /** The IPv4 address that the last connection got, 0: it kept its own. */
  #source = 0
  /** The range that its port was drawn from, first and size; no size: it was not drawn. */
  #from = 0
  #size = 0
  /** Hashes of the replies, and how many. */
  #hashes = new Int32Array(256)
  #count = 0
  /** Ports that they will take. */
  #drawn = 0

  constructor(table: EntryTable, ports: Dice) {
    this.#table = table
    this.#ports = ports
  }

  /** What became of the source of a connection over IPv4. Hot. */
  note(source: number, from: number, size: number): void {
    this.#source = source
    this.#from = from
    this.#size = size
  }

  /** Connections are about to begin, `most` at most. */
  begin(most: number): void {
    this.#count = this.#drawn = 0
    if (most * 2 > this.#hashes.length) this.#hashes = new Int32Array(most * 2)
  }

  /** One of them, over IPv4: its source, and the destination that it seems to get. Hot. */
  add(s0: number, sport: number, d0: number, dport: number, proto: number): void {
    const table = this.#table
    const hashes = this.#hashes
    const meta = (proto << 8) | 4
    hashes[this.#count++] = table.hashOf4(d0, s0, (dport << 16) | sport, meta)
    if (this.#source === 0) return
    const port = this.#size === 0 ? sport : this.#draw()
    hashes[this.#count++] = table.hashOf4(d0, this.#source, (dport << 16) | port, meta)
  }

  /** As UniqueTuple does. */
  #draw(): number {
    return (this.#from + ((this.#ports.peek(this.#drawn++) & 0xffff) % this.#size)) & 0xffff
  }

  /** Reads what NAT will ask of those that were added. Hot. */
  touch(): void {
    this.#table.touchFirst(this.#hashes, this.#count)
  }
}
