// What a match looks at, in a few words, by the match's name. A match that is not here is told by its options alone.

import type { Packet } from '../../datapath/packet.ts'
import type { Engine } from '../engine.ts'

/** Must change nothing. '': nothing to say. */
export type MatchValue = (pkt: Packet, engine: Engine, data: unknown) => string

export const hex = (value: number): string => `0x${(value >>> 0).toString(16)}`

const STATES: Readonly<Record<number, string>> = {
  1: 'INVALID',
  2: 'ESTABLISHED',
  4: 'RELATED',
  8: 'NEW',
  64: 'UNTRACKED',
}

export const stateName = (bit: number): string => STATES[bit] ?? String(bit)

const state: MatchValue = (pkt, engine) => `state ${stateName(engine.conntrack.stateBit(pkt))}`
const port = (name: string, value: number): string => (value < 0 ? `no ${name}` : `${name} ${value}`)
const ports: MatchValue = (pkt) => `${port('sport', pkt.sport)} ${port('dport', pkt.dport)}`

export const MATCH_VALUES: Readonly<Record<string, MatchValue>> = {
  conntrack: state,
  state,
  mark: (pkt) => `mark ${hex(pkt.mark)}`,
  connmark: (pkt, engine) =>
    pkt.ct < 0 ? 'no connection' : `connmark ${hex(engine.conntrack.mark(pkt.ct))}`,
  multiport: ports,
  udp: ports,
  sctp: ports,
  udplite: ports,
  dccp: ports,
  length: (pkt) => `length ${pkt.end - pkt.l3}`,
}
