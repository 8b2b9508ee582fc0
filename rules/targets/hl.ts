// HL: sets, raises or lowers the hop limit (libip6t_HL of iptables 1.8.9, hl_tg6() of xt_HL.c).

import type { Packet } from '../../datapath/packet.ts'
import { setHopLimit } from '../../datapath/rewrite.ts'
import type { FrameMemory } from '../../datapath/ring.ts'
import { IPV6_HOP_LIMIT } from '../../datapath/wire/ipv6.ts'
import type { Target } from '../extension.ts'
import { WholeError } from '../options.ts'
import type { SetTtl } from './ttl.ts'

const MODES = ['set', 'dec', 'inc'] as const
/** The numbers of the options. */
const NUMBERED: readonly string[] = ['set', 'inc', 'dec']
const LISTED = { set: 'set to', inc: 'increment by', dec: 'decrement by' } as const

/** By so much up or down, within 0 to 255. Does not allocate. */
function change(pkt: Packet, memory: FrameMemory, by: number): void {
  const limit = memory.bytes[pkt.l3 + IPV6_HOP_LIMIT]! + by
  setHopLimit(pkt, memory, limit > 255 ? 255 : Math.max(limit, 0))
}

export const hl: Target<SetTtl> = {
  kind: 'target',
  name: 'HL',
  families: [6],
  tables: ['mangle'],
  options: MODES.map((mode) => ({
    flag: `hl-${mode}`,
    id: NUMBERED.indexOf(mode),
    excludes: MODES.filter((other) => other !== mode).map((other) => `hl-${other}`),
  })),
  help: `HL target options
  --hl-set value		Set HL to <value 0-255>
  --hl-dec value		Decrement HL by <value 1-255>
  --hl-inc value		Increment HL by <value 1-255>
`,
  parse(o) {
    const mode = MODES.find((name) => o.has(`hl-${name}`))
    if (mode === undefined) throw new WholeError('HL: You must specify an action')
    return { mode, value: o.uint(`hl-${mode}`, 8, mode === 'set' ? 0 : 1, 255) }
  },
  print: (m) => `--hl-${m.mode} ${m.value}`,
  list: (m) => `HL ${LISTED[m.mode]} ${m.value}`,
  check: (m) => (m.mode !== 'set' && m.value === 0 ? 'HL: a change by 0' : null),
  reads: ['ttl'],
  writes: ['ttl'],
  flow: 'continue',
  repeats: 'each',
  emit(m, js) {
    const { memory } = js.env.host
    if (m.mode === 'set') return js`${js.bind(setHopLimit)}(pkt, ${memory}, ${m.value})`
    return js`${js.bind(change)}(pkt, ${memory}, ${m.mode === 'inc' ? m.value : -m.value})`
  },
}
