// pkttype: to whom the packet was addressed at link level (libxt_pkttype of iptables 1.8.9, pkttype_mt() of
// xt_pkttype.c).

import { type Packet, PacketType } from '../../datapath/packet.ts'
import type { Match } from '../extension.ts'
import { OptionError } from '../options.ts'

export interface PktType {
  /** PacketType. */
  readonly type: number
  readonly invert: boolean
}

/** The names that are printed, and others that are understood. */
const NAMES: readonly (readonly [string, number])[] = [
  ['unicast', PacketType.Host],
  ['broadcast', PacketType.Broadcast],
  ['multicast', PacketType.Multicast],
  ['otherhost', PacketType.OtherHost],
  ['bcast', PacketType.Broadcast],
  ['mcast', PacketType.Multicast],
  ['host', PacketType.Host],
]

const nameOf = (type: number): string => NAMES.find(([, number]) => number === type)![0]

/** What a packet that came back through the loopback device would have been. Does not allocate. */
function looped(pkt: Packet): number {
  const multicast = pkt.family === 4 ? pkt.d0 >>> 28 === 0xe : pkt.d0 >>> 24 === 0xff
  return multicast ? PacketType.Multicast : PacketType.Broadcast
}

export const pkttype: Match<PktType> = {
  kind: 'match',
  name: 'pkttype',
  families: [4, 6],
  layout: {
    size: 8,
    fields: ({ type, invert }) => [
      [0, 4, type],
      [4, 4, invert ? 1 : 0],
    ],
  },
  options: [{ flag: 'pkt-type', required: true, invertible: true }],
  help: `pkttype match options:
[!] --pkt-type packettype    match packet type
Valid packet types:
	unicast       		to us
	broadcast     		to all
	multicast     		to group
	otherhost     		to someone else

`,
  parse(o) {
    const text = o.text('pkt-type')
    const found = NAMES.find(([name]) => name === text.toLowerCase())
    if (found === undefined) throw new OptionError(`Bad packet type '${text}'`)
    return { type: found[1], invert: o.inverted('pkt-type') }
  },
  print: (m) => `${m.invert ? '! ' : ''}--pkt-type ${nameOf(m.type)}`,
  list: (m) => `PKTTYPE ${m.invert ? '!=' : '='} ${nameOf(m.type)}`,
  reads: ['pkttype', 'destination'],
  emit(m, js) {
    const type = js`(pkt.pktType === ${PacketType.Loopback} ? ${js.bind(looped)}(pkt) : pkt.pktType)`
    return m.invert ? js`${type} !== ${m.type}` : js`${type} === ${m.type}`
  },
}
