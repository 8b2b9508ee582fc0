// ecn: the ECN bits of IP and TCP (libxt_ecn of iptables 1.8.9, ecn_mt4() and ecn_mt6() of xt_ecn.c). As there, TCP's
// bits are looked for in later fragments too: behind the IPv4 header, or where transportStart() says.

import type { Packet } from '../../datapath/packet.ts'
import type { FrameMemory } from '../../datapath/ring.ts'
import { IPPROTO_TCP } from '../../datapath/wire/protocol.ts'
import type { Match } from '../extension.ts'
import { WholeError } from '../options.ts'
import { transportStart, words } from './parts.ts'
import { emitTos } from './tos.ts'

export interface EcnBits {
  /** Null: not asked; else whether the bit must be set. */
  readonly cwr: boolean | null
  readonly ece: boolean | null
  /** 0 to 3. */
  readonly ip: { readonly value: number; readonly invert: boolean } | null
}

const CWR = 0x80
const ECE = 0x40

/** Byte 13 of a TCP header that is all there, or -1. Does not allocate. */
function tcpFlags(pkt: Packet, memory: FrameMemory): number {
  const l4 = transportStart(pkt)
  return pkt.end - l4 >= 20 ? memory.bytes[l4 + 13]! : -1
}

/** Whether the bits of `mask` are `wanted`. */
const fits = (flags: number, mask: number, wanted: number): boolean => flags >= 0 && (flags & mask) === wanted

const bit = (name: string, asked: boolean | null, no: string): string =>
  asked === null ? '' : `${asked ? '' : no}${name}`

export const ecn: Match<EcnBits> = {
  kind: 'match',
  name: 'ecn',
  families: [4, 6],
  layout: {
    size: 8,
    fields: ({ cwr, ece, ip }) => [
      [0, 1, (ip ? 1 : 0) | (ece === null ? 0 : 0x10) | (cwr === null ? 0 : 0x20)],
      [1, 1, (ip?.invert ? 1 : 0) | (ece === false ? 0x10 : 0) | (cwr === false ? 0x20 : 0)],
      [2, 1, ip?.value ?? 0],
    ],
  },
  options: [
    { flag: 'ecn-tcp-cwr', arg: 'none', invertible: true },
    { flag: 'ecn-tcp-ece', arg: 'none', invertible: true },
    { flag: 'ecn-ip-ect', invertible: true },
  ],
  help: `ECN match options
[!] --ecn-tcp-cwr 		Match CWR bit of TCP header
[!] --ecn-tcp-ece		Match ECE bit of TCP header
[!] --ecn-ip-ect [0..3]	Match ECN codepoint in IPv4/IPv6 header
`,
  parse(o) {
    const asked = (flag: string): boolean | null => (o.has(flag) ? !o.inverted(flag) : null)
    const ip = o.has('ecn-ip-ect')
      ? { value: o.uint('ecn-ip-ect', 8, 0, 3), invert: o.inverted('ecn-ip-ect') }
      : null
    if (o.given().length === 0) throw new WholeError('ECN match: some option required')
    return { cwr: asked('ecn-tcp-cwr'), ece: asked('ecn-tcp-ece'), ip }
  },
  print: (m) =>
    words(
      bit('--ecn-tcp-ece', m.ece, '! '),
      bit('--ecn-tcp-cwr', m.cwr, '! '),
      m.ip === null ? '' : `${m.ip.invert ? '! ' : ''}--ecn-ip-ect ${m.ip.value}`,
    ),
  list: (m) =>
    words(
      'ECN match',
      bit('ECE', m.ece, '!'),
      bit('CWR', m.cwr, '!'),
      m.ip === null ? '' : `${m.ip.invert ? '!' : ''}ECT=${m.ip.value}`,
    ),
  check: (m, use) =>
    (m.cwr !== null || m.ece !== null) && (use.protocol?.number !== IPPROTO_TCP || use.protocol.invert)
      ? 'ecn: cannot match TCP bits in rule for non-tcp packets'
      : null,
  reads: ['tos', 'tcp', 'fragment'],
  emit(m, js) {
    const { memory } = js.env.host
    const mask = (m.cwr === null ? 0 : CWR) | (m.ece === null ? 0 : ECE)
    const wanted = (m.cwr === true ? CWR : 0) | (m.ece === true ? ECE : 0)
    return js.all([
      ...(m.ip === null ? [] : [js`((${emitTos(js)} & 3) === ${m.ip.value}) !== ${m.ip.invert}`]),
      ...(mask === 0 ? [] : [js`${js.bind(fits)}(${js.bind(tcpFlags)}(pkt, ${memory}), ${mask}, ${wanted})`]),
    ])
  },
}
