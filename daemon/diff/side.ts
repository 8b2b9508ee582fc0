// One of two hosts that are compared: fed by the same source, with the same random numbers, and looked at after each
// packet.

import { Reason } from '../../datapath/counters.ts'
import { Fate } from '../../datapath/fate.ts'
import { Verdict } from '../../datapath/hooks.ts'
import type { Random } from '../../datapath/host.ts'
import { load, type Packet } from '../../datapath/packet.ts'
import { parse } from '../../datapath/parse.ts'
import { FrameMemory } from '../../datapath/ring.ts'
import { CONTINUE } from '../../rules/extension.ts'
import { createEngine, type Engine } from '../engine.ts'
import type { RuleRef } from '../explain/record.ts'
import type { HostConfig } from '../host-folder/config.ts'
import { SeededRandom } from '../random.ts'
import { Decider } from '../replay/decider.ts'
import { HeldFrames, ReplayEgress } from '../replay/egress.ts'
import { type FrameSource, MAX_FRAME, Player, SLOTS } from '../replay/player.ts'

/** Stands in for an interface: the packet reached the host itself. */
export const LOCAL = 0

/**
 * Random numbers that begin anew with each packet, so that a host that draws once more for one packet draws the same as
 * the other for the next.
 */
export class PacketRandom implements Random {
  readonly #seed: number
  /** Numbers drawn so far. */
  drawn = 0
  inner: Random

  constructor(seed: number) {
    this.#seed = seed
    this.inner = new SeededRandom(seed)
  }

  /** What the next packets draw from instead; null: each begins anew. */
  next: Random | null = null

  begin(n: number): void {
    this.inner = this.next ?? new SeededRandom(this.#seed * 0x1_0000_0000 + n + 1)
  }

  i32(): number {
    this.drawn++
    return this.inner.i32()
  }
}

/** Rules of the nat table that bound the packet's connection, and the rule that decided. */
class Observer extends Decider {
  readonly #mine: Packet
  /** Chain and slot in turns. */
  readonly nat: number[] = []
  /** All rules that fit, chain and slot in turns; null: nobody asks. */
  hits: number[] | null = null
  #chain = -1
  #slot = -1

  constructor(engine: Engine, own: Packet) {
    super(engine, own)
    this.#mine = own
  }

  override begin(): void {
    super.begin()
    this.nat.length = 0
    if (this.hits !== null) this.hits.length = 0
  }

  override hit(chain: number, slot: number, pkt: Packet): void {
    super.hit(chain, slot, pkt)
    if (pkt !== this.#mine) return
    this.#chain = chain
    this.#slot = slot
    this.hits?.push(chain, slot)
  }

  override walked(chain: number, pkt: Packet, verdict: number): void {
    super.walked(chain, pkt, verdict)
    if (pkt !== this.#mine || verdict === CONTINUE || verdict !== Verdict.Accept) return
    if (this.references.chains[chain]!.table === 'nat') this.nat.push(this.#chain, this.#slot)
  }
}

export class Side {
  readonly config: HostConfig
  readonly engine: Engine
  readonly player: Player
  readonly random: PacketRandom
  readonly observer: Observer
  /** What left because of the packet; with LOCAL for what reached the host itself. */
  readonly held = new HeldFrames()
  /** Names by ifindex; LOCAL is the host itself. */
  readonly names: (string | undefined)[] = []
  fate: Fate = Fate.Dropped
  /** A process takes what reaches the host itself. */
  listening = false
  /** Numbers drawn while the host was built. */
  readonly drawnBefore: number

  /** Throws PlaceError for a folder that no host can be built of. */
  constructor(config: HostConfig, source: FrameSource, file: string, iface: string | null, seed: number) {
    this.config = config
    this.random = new PacketRandom(seed)
    const memory = new FrameMemory(SLOTS, MAX_FRAME)
    const egress = new ReplayEgress(memory)
    egress.held = this.held
    this.engine = createEngine(config, { memory, egress, random: this.random })
    this.drawnBefore = this.random.drawn
    const { host } = this.engine
    for (const device of host.devices.all()) this.names[device.index] = device.name
    host.path.localDelivery = (pkt) => {
      this.held.add(LOCAL, memory.bytes, pkt.l3, pkt.end - pkt.l3, egress.seconds, egress.nanos)
      return this.listening
    }
    this.player = new Player({ engine: this.engine, source, file, iface, stamped: egress })
    // What timers send is no packet's.
    this.player.onTimers = () => this.held.clear()
    this.observer = new Observer(this.engine, this.player.packet)
  }

  /** Packet `n` of the source. `mark`: as if something before the tables had set it. */
  receive(n: number, mark = 0): void {
    this.#begin(n)
    this.fate = this.player.receive(mark)
  }

  /** Packet `n` is the host's own: a process sends it. */
  sendLocal(n: number, frame: Uint8Array, mark = 0): void {
    this.#begin(n)
    const { host } = this.engine
    const pkt = this.player.packet
    if (!load(pkt, host.memory, frame)) throw new Error('all frame memory is held')
    pkt.mark = mark
    const refused = parse(pkt, host)
    if (refused !== Reason.None) {
      this.fate = host.path.drop(pkt, refused)
      return
    }
    pkt.local = true
    pkt.oif = 0
    host.path.why = Reason.None
    const drops = (): number => host.counters.drops.reduce((sum, n) => sum + n, 0)
    const before = drops()
    host.path.sendLocal(pkt)
    this.fate = drops() > before ? Fate.Dropped : Fate.Forwarded
  }

  #begin(n: number): void {
    this.random.begin(n)
    this.player.setClock()
    this.held.clear()
    this.observer.begin()
  }

  get reason(): string {
    return this.player.reason
  }

  /** What decided; null: no rule. */
  get rule(): RuleRef | null {
    return this.observer.rule()
  }

  /** Rules that bound the packet's connection just now. */
  natRules(): RuleRef[] {
    const { nat, references } = this.observer
    const rules: RuleRef[] = []
    for (let i = 0; i < nat.length; i += 2) rules.push(references.rule(nat[i]!, nat[i + 1]!))
    return rules
  }
}
