// TCPOPTSTRIP: overwrites TCP options with NOPs (libxt_TCPOPTSTRIP of iptables 1.8.9, tcpoptstrip_mangle_packet() of
// xt_TCPOPTSTRIP.c).

import { Verdict } from '../../datapath/hooks.ts'
import type { Packet } from '../../datapath/packet.ts'
import { ensureWritable, setTcp16 } from '../../datapath/rewrite.ts'
import type { FrameMemory } from '../../datapath/ring.ts'
import { IPPROTO_TCP } from '../../datapath/wire/protocol.ts'
import { CONTINUE, type Target } from '../extension.ts'
import type { Field } from '../layout.ts'
import { OptionError } from '../options.ts'
import { wholeNumber } from '../text/numbers.ts'

export interface StripOptions {
  /** Kinds, ascending. */
  readonly kinds: readonly number[]
}

const NAMES: readonly (readonly [string, number])[] = [
  ['wscale', 3],
  ['mss', 2],
  ['sack-permitted', 4],
  ['sack', 5],
  ['timestamp', 8],
  ['md5', 19],
]
const TCP_HEADER = 20
const NOP = 1

/** Writes one byte of the TCP header through its word, so that the checksum follows. */
function putByte(pkt: Packet, memory: FrameMemory, at: number, value: number): void {
  const odd = (at - pkt.l4) & 1
  const word = memory.view.getUint16(at - odd)
  setTcp16(pkt, memory, at - odd, odd ? (word & 0xff00) | value : (word & 0xff) | (value << 8))
}

/** Does not allocate. */
function strip(pkt: Packet, memory: FrameMemory, kinds: Uint8Array): number {
  if (pkt.fragOffset !== 0) return CONTINUE
  const { bytes } = memory
  const length = pkt.end - pkt.l4
  if (length < TCP_HEADER) return Verdict.Drop
  const header = (bytes[pkt.l4 + 12]! >> 4) << 2
  if (length < header || header < TCP_HEADER) return Verdict.Drop
  ensureWritable(pkt, pkt.l4 - pkt.l3 + header)
  for (let i = TCP_HEADER; i < header - 1; ) {
    const at = pkt.l4 + i
    const kind = bytes[at]!
    const size = kind <= NOP || bytes[at + 1] === 0 ? 1 : bytes[at + 1]!
    if (i + size > header) break
    if (kinds[kind] === 1) for (let j = 0; j < size; j++) putByte(pkt, memory, at + j, NOP)
    i += size
  }
  return CONTINUE
}

function parseKind(text: string): number {
  const named = NAMES.find(([name]) => name === text)
  if (named !== undefined) return named[1]
  const kind = wholeNumber(text, 0, 255)
  if (kind === null) throw new OptionError(`Bad TCP option value "${text}"`)
  if (kind < 2) throw new OptionError('Option value may not be 0 or 1')
  return kind
}

function parseKinds(text: string): number[] {
  const kinds = new Set<number>()
  for (const word of text.split(',')) {
    const kind = parseKind(word)
    if (kinds.has(kind)) throw new OptionError(`Option "${word}" already specified`)
    kinds.add(kind)
  }
  return [...kinds].sort((a, b) => a - b)
}

export const tcpoptstrip: Target<StripOptions> = {
  kind: 'target',
  name: 'TCPOPTSTRIP',
  families: [4, 6],
  layout: {
    size: 32,
    fields: ({ kinds }) => {
      const words = new Uint32Array(8)
      for (const kind of kinds) words[kind >>> 5]! |= 1 << (kind & 31)
      return Array.from(words, (word, i): Field => [4 * i, 4, word])
    },
  },
  tables: ['mangle'],
  protocols: [IPPROTO_TCP],
  options: [{ flag: 'strip-options' }],
  help: `TCPOPTSTRIP target options:
  --strip-options value     strip specified TCP options denoted by value
                            (separated by comma) from TCP header
  Instead of the numeric value, you can also use the following names:
    wscale            strip "Window scale" option
    mss               strip "Maximum Segment Size" option
    sack-permitted    strip "SACK permitted" option
    sack              strip "Selective ACK" option
    timestamp         strip "Timestamp" option
    md5               strip "MD5 signature" option
`,
  parse: (o) => ({
    kinds: o.has('strip-options') ? parseKinds(o.text('strip-options')) : [],
  }),
  print: (m) => (m.kinds.length === 0 ? '' : `--strip-options ${m.kinds.join(',')}`),
  list(m, numeric) {
    if (m.kinds.length === 0) return ''
    const name = (kind: number): string | undefined => NAMES.find(([, k]) => k === kind)?.[0]
    return `TCPOPTSTRIP options ${m.kinds.map((kind) => (numeric ? kind : (name(kind) ?? kind))).join(',')}`
  },
  reads: ['tcp'],
  writes: ['tcp'],
  flow: 'dynamic',
  emit(m, js) {
    const kinds = new Uint8Array(256)
    for (const kind of m.kinds) kinds[kind] = 1
    return js`${js.bind(strip)}(pkt, ${js.env.host.memory}, ${kinds})`
  },
}
