// TTL: sets, raises or lowers the time to live (libipt_TTL of iptables 1.8.9, ttl_tg() of xt_HL.c).

import type { Packet } from '../../datapath/packet.ts'
import { setTtl } from '../../datapath/rewrite.ts'
import type { FrameMemory } from '../../datapath/ring.ts'
import { IPV4_TTL } from '../../datapath/wire/ipv4.ts'
import type { Target } from '../extension.ts'
import { WholeError } from '../options.ts'

export interface SetTtl {
  readonly mode: 'set' | 'inc' | 'dec'
  readonly value: number
}

const MODES = ['set', 'dec', 'inc'] as const
/** The numbers of the options. */
const NUMBERED: readonly string[] = ['set', 'inc', 'dec']
const LISTED = { set: 'set to', inc: 'increment by', dec: 'decrement by' } as const

/** By so much up or down, within 0 to 255. Does not allocate. */
function change(pkt: Packet, memory: FrameMemory, by: number): void {
  const ttl = memory.bytes[pkt.l3 + IPV4_TTL]! + by
  setTtl(pkt, memory, ttl > 255 ? 255 : Math.max(ttl, 0))
}

export const ttl: Target<SetTtl> = {
  kind: 'target',
  name: 'TTL',
  families: [4],
  tables: ['mangle'],
  options: MODES.map((mode) => ({
    flag: `ttl-${mode}`,
    id: NUMBERED.indexOf(mode),
    excludes: MODES.filter((other) => other !== mode).map((other) => `ttl-${other}`),
  })),
  help: `TTL target options
  --ttl-set value		Set TTL to <value 0-255>
  --ttl-dec value		Decrement TTL by <value 1-255>
  --ttl-inc value		Increment TTL by <value 1-255>
`,
  parse(o) {
    const mode = MODES.find((name) => o.has(`ttl-${name}`))
    if (mode === undefined) throw new WholeError('TTL: You must specify an action')
    return { mode, value: o.uint(`ttl-${mode}`, 8, mode === 'set' ? 0 : 1, 255) }
  },
  print: (m) => `--ttl-${m.mode} ${m.value}`,
  list: (m) => `TTL ${LISTED[m.mode]} ${m.value}`,
  check: (m) => (m.mode !== 'set' && m.value === 0 ? 'TTL: a change by 0' : null),
  reads: ['ttl'],
  writes: ['ttl'],
  flow: 'continue',
  repeats: 'each',
  emit(m, js) {
    const { memory } = js.env.host
    if (m.mode === 'set') return js`${js.bind(setTtl)}(pkt, ${memory}, ${m.value})`
    return js`${js.bind(change)}(pkt, ${memory}, ${m.mode === 'inc' ? m.value : -m.value})`
  },
}
