// Questions to everybody on a network (nf_conntrack_broadcast.c, Linux 6.18): the answers come from addresses that
// nobody asked.
//
//     host:a -> broadcast:137     any address of the network:137 -> host:a  is expected, as often as it comes

import type { Packet } from '../../datapath/packet.ts'
import { RouteType } from '../../datapath/route.ts'
import type { Conntrack } from '../conntrack.ts'
import { ExpectFlag } from '../expect.ts'
import { announce, destinationOf, destinationPortOf, expectation, sourceOf } from './helper.ts'

/** nf_conntrack_broadcast_help(). `port`: the service's. Only what a socket of this host sends is looked at. */
export function expectAnswers(
  ct: Conntrack,
  pkt: Packet,
  entry: number,
  dir: number,
  port: number,
  seconds: number,
): void {
  if (!pkt.local || pkt.socketless || pkt.route?.type !== RouteType.Broadcast || dir !== 0) return
  const address = ct.host.devices.byIndex[pkt.oif]?.addresses.find(
    (a) => a.family === 4 && !a.secondary && a.broadcast === pkt.d0,
  )
  if (address === undefined || address.prefixLength === 0) return
  const expected = expectation(ct, entry, {
    source: sourceOf(ct, entry, 1),
    destination: destinationOf(ct, entry, 1),
    protocol: pkt.proto,
    sport: port,
    dport: destinationPortOf(ct, entry, 1),
    flags: ExpectFlag.Permanent,
  })
  announce(ct, { ...expected, mask: { ...expected.mask, s0: -1 << (32 - address.prefixLength) } })
  ct.core.prolong(entry, seconds * 1000)
}
