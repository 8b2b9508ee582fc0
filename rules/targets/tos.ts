// TOS: sets bits of the type of service byte, or of IPv6's traffic class (libxt_TOS of iptables 1.8.9, tos_tg() and tos_tg6() of xt_DSCP.c).

import type { Packet } from '../../datapath/packet.ts'
import { setTos, tosOf } from '../../datapath/rewrite.ts'
import type { FrameMemory } from '../../datapath/ring.ts'
import type { Target } from '../extension.ts'
import { hexByte, tosName } from '../matches/tos.ts'
import { WholeError } from '../options.ts'

/** tos = (tos & ~mask) ^ value. */
export interface SetTos {
  readonly value: number
  readonly mask: number
}

const FLAGS = ['set-tos', 'and-tos', 'or-tos', 'xor-tos'] as const

/** Does not allocate. */
function change(pkt: Packet, memory: FrameMemory, keep: number, value: number): void {
  setTos(pkt, memory, (tosOf(pkt, memory) & keep) ^ value)
}

export const tos: Target<SetTos> = {
  kind: 'target',
  name: 'TOS',
  revision: 1,
  families: [4, 6],
  layout: {
    size: 8,
    fields: ({ value, mask }) => [
      [0, 1, value],
      [1, 1, mask],
    ],
  },
  tables: ['mangle'],
  options: FLAGS.map((flag) => ({ flag, excludes: FLAGS.filter((other) => other !== flag) })),
  help: `TOS target vlibxtables.so.12 options:
  --set-tos value[/mask]  Set Type of Service/Priority field to value
                          (Zero out bits in mask and XOR value into TOS)
  --set-tos symbol        Set TOS field (IPv4 only) by symbol
                          (this zeroes the 4-bit Precedence part!)
                          Accepted symbolic names for value are:
                            (0x10) 16 Minimize-Delay
                            (0x08)  8 Maximize-Throughput
                            (0x04)  4 Maximize-Reliability
                            (0x02)  2 Minimize-Cost
                            (0x00)  0 Normal-Service

  --and-tos bits          Binary AND the TOS value with bits
  --or-tos  bits          Binary OR the TOS value with bits
  --xor-tos bits          Binary XOR the TOS value with bits
`,
  parse(o) {
    if (o.has('set-tos')) return o.tosMask('set-tos')
    if (o.has('and-tos')) return { value: 0, mask: ~o.uint('and-tos', 8) & 0xff }
    if (o.has('or-tos')) {
      const bits = o.uint('or-tos', 8)
      return { value: bits, mask: bits }
    }
    if (o.has('xor-tos')) return { value: o.uint('xor-tos', 8), mask: 0 }
    throw new WholeError('TOS: An action is required')
  },
  print: (m) => `--set-tos ${hexByte(m.value)}/${hexByte(m.mask)}`,
  list({ value, mask }, numeric) {
    const set = `TOS set ${hexByte(value)}/${hexByte(mask)}`
    if (numeric) return set
    const name = tosName(value, mask)
    // The blanks are iptables'.
    if (name !== null) return ` TOS set${name}`
    if (value === 0) return `TOS and ${hexByte(~mask & 0xff)}`
    if (value === mask) return `TOS or ${hexByte(value)}`
    if (mask === 0) return `TOS xor ${hexByte(value)}`
    return set
  },
  reads: ['tos'],
  writes: ['tos'],
  flow: 'continue',
  repeats: 'each',
  emit: (m, js) => js`${js.bind(change)}(pkt, ${js.env.host.memory}, ${~m.mask & 0xff}, ${m.value})`,
}
