// tcpmss: the MSS option of a TCP header (libxt_tcpmss of iptables 1.8.9, tcpmss_mt() of xt_tcpmss.c).

import type { Packet } from '../../datapath/packet.ts'
import type { FrameMemory } from '../../datapath/ring.ts'
import { IPPROTO_TCP } from '../../datapath/wire/protocol.ts'
import type { Match } from '../extension.ts'
import { OptionError } from '../options.ts'
import { printRange, type Range, SHORT_RANGE_LAYOUT, transportStart } from './parts.ts'

export interface TcpMss {
  readonly range: Range
  readonly invert: boolean
}

const KIND = 2
const BYTES = 4

/**
 * A header that is cut short, or says less than 20 bytes, drops the packet; none of the option is as much as out of
 * range. Later fragments are read as if a header stood in them, as the kernel reads them. Does not allocate.
 */
function fits(pkt: Packet, { bytes, view }: FrameMemory, min: number, max: number, invert: boolean): boolean {
  const l4 = transportStart(pkt)
  const at = l4 + 20
  const end = at > pkt.end ? 0 : l4 + ((bytes[l4 + 12]! >> 4) << 2)
  if (end < at || end > pkt.end) {
    pkt.hotdrop = true
    return false
  }
  let i = at
  while (i < end) {
    const kind = bytes[i]!
    if (kind === KIND && end - i >= BYTES && bytes[i + 1] === BYTES) {
      const mss = view.getUint16(i + 2)
      return (mss >= min && mss <= max) !== invert
    }
    if (kind < 2) i++
    else i += i + 1 < end && bytes[i + 1]! > 0 ? bytes[i + 1]! : 1
  }
  return invert
}

export const tcpmss: Match<TcpMss> = {
  kind: 'match',
  name: 'tcpmss',
  families: [4, 6],
  layout: SHORT_RANGE_LAYOUT,
  protocols: [IPPROTO_TCP],
  options: [{ flag: 'mss', required: true, invertible: true }],
  help: `tcpmss match options:
[!] --mss value[:value]	Match TCP MSS range.
				(only valid for TCP SYN or SYN/ACK packets)
`,
  parse(o) {
    const range = o.uintRange('mss', 16)
    if (range[0] > range[1]) throw new OptionError('tcpmss: invalid range given')
    return { range, invert: o.inverted('mss') }
  },
  print: (m) => `${m.invert ? '! ' : ''}--mss ${printRange(m.range)}`,
  list: (m) => `tcpmss match ${m.invert ? '!' : ''}${printRange(m.range)}`,
  reads: ['protocol', 'tcp'],
  hotdrop: true,
  emit: (m, js) =>
    js`${js.bind(fits)}(pkt, ${js.env.host.memory}, ${m.range[0]}, ${m.range[1]}, ${m.invert})`,
}
