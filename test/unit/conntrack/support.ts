// Conntrack alone: a host without routes, frames handed straight to the hook functions.

import { Conntrack } from '../../../conntrack/conntrack.ts'
import { confirm, track } from '../../../conntrack/hooks.ts'
import { formatEntry } from '../../../conntrack/print.ts'
import { STATUS, STRIDE } from '../../../conntrack/table.ts'
import { Counters } from '../../../datapath/counters.ts'
import { Hook, Hooks, Verdict } from '../../../datapath/hooks.ts'
import type { Host } from '../../../datapath/host.ts'
import { type CtTemplate, Packet } from '../../../datapath/packet.ts'
import { parse } from '../../../datapath/parse.ts'
import { FrameMemory, HEADROOM } from '../../../datapath/ring.ts'
import { Tunables } from '../../../datapath/tunables.ts'
import { SeededRandom, udp } from '../../harness/frames.ts'

export const STATE_LETTER: Readonly<Record<number, string>> = { 1: 'I', 2: 'E', 4: 'R', 8: 'N', 64: 'U' }

export class Rig {
  readonly memory = new FrameMemory(8, 65535)
  readonly tunables = new Tunables()
  readonly counters = new Counters()
  readonly logs: string[] = []
  readonly host: Host
  readonly ct: Conntrack

  constructor(seed = 1) {
    this.host = {
      memory: this.memory,
      hooks: new Hooks(),
      tunables: this.tunables,
      counters: this.counters,
      random: new SeededRandom(seed),
      events: { log: (r: { text: string }) => this.logs.push(r.text), trace: null },
      devices: { byIndex: [] },
      fragments: { defrag: () => Verdict.Stolen },
      tracker: null,
      now: 1000,
      wall: 1_700_000_000_000,
      condResched: () => {},
    } as unknown as Host
    this.ct = new Conntrack(this.host)
  }

  set(name: string, value: number): void {
    this.tunables.set(`net.netfilter.nf_conntrack_${name}`, value)
  }

  /** Time passes. */
  pass(seconds: number): void {
    this.host.now += seconds * 1000
    this.host.wall += seconds * 1000
  }

  /** A parsed packet that holds a slot. */
  packet(frame: Uint8Array): Packet {
    const pkt = new Packet()
    const slot = this.memory.take()
    pkt.slot = slot
    pkt.l3 = slot + HEADROOM
    pkt.end = pkt.l3 + frame.length
    pkt.limit = slot + this.memory.stride
    this.memory.bytes.set(frame, pkt.l3)
    const refused = parse(pkt, { memory: this.memory, counters: this.counters })
    if (refused !== 0) throw new Error(`refused: ${refused}`)
    return pkt
  }

  done(pkt: Packet): void {
    this.ct.release(pkt)
    this.memory.give(pkt.slot)
  }

  /**
   * The way of a forwarded packet: PRE_ROUTING, then POST_ROUTING. The letter of its state, with `!` behind it if it
   * was dropped. `between` sees it while it is on the way.
   */
  forward(frame: Uint8Array, between: (pkt: Packet) => void = () => {}): string {
    const pkt = this.packet(frame)
    const verdict = track(this.ct, pkt, Hook.PreRouting)
    const letter = STATE_LETTER[this.ct.stateBit(pkt)] ?? '?'
    between(pkt)
    const last = verdict === Verdict.Accept ? confirm(this.ct, pkt) : verdict
    this.done(pkt)
    return last === Verdict.Accept ? letter : `${letter}!`
  }

  /** The entries that conntrack -L would show. */
  entries(): number[] {
    const found: number[] = []
    this.ct.forEach((entry) => {
      found.push(entry)
    })
    return found
  }

  status(entry: number): number {
    return this.ct.table.words[entry * STRIDE + STATUS]!
  }
}

export const A = '10.0.0.1'
export const B = '10.0.0.2'
export const there = (o: object = {}): Uint8Array =>
  udp({ src: A, dst: B, sport: 1, dport: 2, payload: 10, ...o })
export const back = (o: object = {}): Uint8Array =>
  udp({ src: B, dst: A, sport: 2, dport: 1, payload: 20, ...o })

export const template = (o: Partial<CtTemplate> = {}): CtTemplate => ({
  zone: 0,
  zoneDirs: 3,
  zoneFromMark: false,
  helper: null,
  timeoutPolicy: null,
  ctevents: null,
  expevents: null,
  ...o,
})

/** As Rig.forward, with a template as raw's CT target sets it. */
export function templated(rig: Rig, frame: Uint8Array, t: CtTemplate | null, mark = 0): string {
  const pkt = rig.packet(frame)
  pkt.ctTemplate = t
  pkt.mark = mark
  track(rig.ct, pkt, Hook.PreRouting)
  const letter = STATE_LETTER[rig.ct.stateBit(pkt)]!
  const verdict = confirm(rig.ct, pkt)
  rig.done(pkt)
  return verdict === Verdict.Accept ? letter : `${letter}!`
}

export const lines = (rig: Rig, options = {}): string[] =>
  rig.entries().map((e) => formatEntry(rig.ct, e, options))
