// eui64: whether the source address was made of the link address (libip6t_eui64 of iptables 1.8.9, eui64_mt6() of
// ip6t_eui64.c).
//
// The kernel reads the link header that stands where the device left it. A TUN device has none: the kernel reads the
// first bytes of the IPv6 header in its place, and so does this match.
//
//     Ethernet   type 12-13    source 6-11
//     IPv6       source 2, 3   next header, hop limit, source 0-3

import type { Packet } from '../../datapath/packet.ts'
import type { FrameMemory } from '../../datapath/ring.ts'
import type { Match } from '../extension.ts'

const ETHER_TYPE = 12
const ETHER_SOURCE = 6
const ETH_P_IPV6 = 0x86dd
/** Universal or local. */
const LOCAL_BIT = 0x02

/** Does not allocate. */
function fits(pkt: Packet, { view }: FrameMemory): boolean {
  const l3 = pkt.l3
  if (view.getUint16(l3 + ETHER_TYPE) !== ETH_P_IPV6) return false
  const high = ((view.getUint32(l3 + ETHER_SOURCE) & 0xffffff00) ^ (LOCAL_BIT << 24)) | 0xff
  const low = 0xfe000000 | (view.getUint32(l3 + ETHER_SOURCE + 2) & 0xffffff)
  return pkt.s2 === (high | 0) && pkt.s3 === (low | 0)
}

export const eui64: Match<null> = {
  kind: 'match',
  name: 'eui64',
  families: [6],
  chains: ['PREROUTING', 'INPUT', 'FORWARD'],
  options: [],
  help: `eui64 does not take any options
`,
  parse: () => null,
  print: () => '',
  list: () => 'eui64 ',
  listedTight: true,
  reads: ['source', 'ttl', 'protocol'],
  emit: (_, js) => js`${js.bind(fits)}(pkt, ${js.env.host.memory})`,
}
