// ECN: sets or clears the ECN bits of TCP and IP (libipt_ECN of iptables 1.8.9, ecn_tg() of ipt_ECN.c). A TCP header
// that is cut short drops the packet.

import { Verdict } from '../../datapath/hooks.ts'
import type { Packet } from '../../datapath/packet.ts'
import { setTcp16, setTos } from '../../datapath/rewrite.ts'
import type { FrameMemory } from '../../datapath/ring.ts'
import { IPV4_TOS } from '../../datapath/wire/ipv4.ts'
import { IPPROTO_TCP } from '../../datapath/wire/protocol.ts'
import { CONTINUE, type Target } from '../extension.ts'
import { words } from '../matches/parts.ts'
import { WholeError } from '../options.ts'

/** Null: left alone. */
export interface SetEcn {
  readonly ece: 0 | 1 | null
  readonly cwr: 0 | 1 | null
  /** 0 to 3. */
  readonly ip: number | null
}

const CWR = 0x80
const ECE = 0x40
const TCP_HEADER = 20
/** The word with data offset and flags. */
const FLAGS_WORD = 12

/** `ip` -1: left alone; TCP's bits of `mask` become `bits`. Does not allocate. */
function change(pkt: Packet, memory: FrameMemory, ip: number, mask: number, bits: number): number {
  const tos = memory.bytes[pkt.l3 + IPV4_TOS]!
  if (ip >= 0 && (tos & 3) !== ip) setTos(pkt, memory, (tos & 0xfc) | ip)
  if (mask === 0 || pkt.proto !== IPPROTO_TCP) return CONTINUE
  if (pkt.end - pkt.l4 < TCP_HEADER) return Verdict.Drop
  const old = memory.view.getUint16(pkt.l4 + FLAGS_WORD)
  if ((old & mask) !== bits) setTcp16(pkt, memory, pkt.l4 + FLAGS_WORD, (old & ~mask) | bits)
  return CONTINUE
}

const TCP_FLAGS = ['ecn-tcp-cwr', 'ecn-tcp-ece'] as const

export const ecn: Target<SetEcn> = {
  kind: 'target',
  name: 'ECN',
  families: [4],
  tables: ['mangle'],
  options: [
    { flag: 'ecn-tcp-remove', arg: 'none', excludes: [...TCP_FLAGS] },
    ...TCP_FLAGS.map((flag) => ({ flag, excludes: ['ecn-tcp-remove'] })),
    { flag: 'ecn-ip-ect' },
  ],
  help: `ECN target options
  --ecn-tcp-remove		Remove all ECN bits from TCP header
`,
  parse(o) {
    const remove = o.has('ecn-tcp-remove') ? 0 : null
    const bit = (flag: string): 0 | 1 | null => (o.has(flag) ? (o.uint(flag, 8, 0, 1) as 0 | 1) : remove)
    const data = {
      ece: bit('ecn-tcp-ece'),
      cwr: bit('ecn-tcp-cwr'),
      ip: o.has('ecn-ip-ect') ? o.uint('ecn-ip-ect', 8, 0, 3) : null,
    }
    if (o.given().length === 0) throw new WholeError('ECN target: An operation is required')
    return data
  },
  print: (m) =>
    m.ece === 0 && m.cwr === 0 && m.ip === null
      ? '--ecn-tcp-remove'
      : words(
          m.ece === null ? '' : `--ecn-tcp-ece ${m.ece}`,
          m.cwr === null ? '' : `--ecn-tcp-cwr ${m.cwr}`,
          m.ip === null ? '' : `--ecn-ip-ect ${m.ip}`,
        ),
  list: (m) =>
    m.ece === 0 && m.cwr === 0 && m.ip === null
      ? 'ECN TCP remove'
      : words(
          'ECN',
          m.ece === null ? '' : `ECE=${m.ece}`,
          m.cwr === null ? '' : `CWR=${m.cwr}`,
          m.ip === null ? '' : `ECT codepoint=${m.ip}`,
        ),
  check: (m, use) =>
    (m.ece !== null || m.cwr !== null) && (use.protocol?.number !== IPPROTO_TCP || use.protocol.invert)
      ? 'ECN: cannot use operation on non-tcp rule'
      : null,
  reads: ['tos', 'tcp'],
  writes: ['tos', 'tcp'],
  flow: 'dynamic',
  emit(m, js) {
    const mask = (m.ece === null ? 0 : ECE) | (m.cwr === null ? 0 : CWR)
    const bits = (m.ece === 1 ? ECE : 0) | (m.cwr === 1 ? CWR : 0)
    return js`${js.bind(change)}(pkt, ${js.env.host.memory}, ${m.ip ?? -1}, ${mask}, ${bits})`
  },
}
