// connbytes: what a connection has carried so far (libxt_connbytes of iptables 1.8.9, connbytes_mt() of
// xt_connbytes.c). A rule turns accounting on, for connections that are made from then on.

import type { Conntrack } from '../../conntrack/conntrack.ts'
import type { Packet } from '../../datapath/packet.ts'
import type { Match } from '../extension.ts'
import { MissingOption, OptionError } from '../options.ts'
import { ULONG_MAX } from '../text/numbers.ts'

export interface ConnBytes {
  readonly from: bigint
  readonly to: bigint
  readonly invert: boolean
  readonly direction: 'original' | 'reply' | 'both'
  readonly mode: 'packets' | 'bytes' | 'avgpkt'
}

const DIRECTIONS = ['original', 'reply', 'both'] as const
const MODES = ['packets', 'bytes', 'avgpkt'] as const

/**
 * No connection that is counted fits nothing, inverted or not. One function, as a call would allocate a large number that
 * it gives. Does not allocate.
 */
function fits(
  pkt: Packet,
  conntrack: Conntrack,
  dirs: number,
  mode: number,
  from: number,
  to: number,
  invert: boolean,
): boolean {
  const { ct } = pkt
  if (ct < 0 || conntrack.packets(ct, 0) < 0) return false
  const { acct } = conntrack.table
  let packets = 0
  let bytes = 0
  for (let dir = 0; dir < 2; dir++) {
    if ((dirs & (1 << dir)) === 0) continue
    packets += acct[ct * 4 + dir * 2]!
    bytes += acct[ct * 4 + dir * 2 + 1]!
  }
  const average = packets === 0 ? 0 : Math.floor(bytes / packets)
  const value = mode === 0 ? packets : mode === 1 ? bytes : average
  return (value >= from && value <= to) !== invert
}

/** An upper end of 0 is not printed either, as libxt_connbytes has it. */
const range = (m: ConnBytes): string =>
  m.to === ULONG_MAX || m.to === 0n ? `${m.from}` : `${m.from}:${m.to}`

export const connbytes: Match<ConnBytes> = {
  kind: 'match',
  name: 'connbytes',
  families: [4, 6],
  layout: {
    size: 24,
    fields: ({ from, to, invert, mode, direction }) => [
      [0, 8, invert ? to : from],
      [8, 8, invert ? from : to],
      [16, 1, MODES.indexOf(mode)],
      [17, 1, DIRECTIONS.indexOf(direction)],
    ],
  },
  options: [
    { flag: 'connbytes', required: true, invertible: true },
    { flag: 'connbytes-dir', required: true },
    { flag: 'connbytes-mode', required: true },
  ],
  help: `connbytes match options:
 [!] --connbytes from:[to]
     --connbytes-dir [original, reply, both]
     --connbytes-mode [packets, bytes, avgpkt]
`,
  parse(o) {
    const dir = o.has('connbytes-dir') ? o.text('connbytes-dir') : null
    const direction = DIRECTIONS.find((name) => name === dir)
    if (dir !== null && direction === undefined) throw new OptionError(`Unknown --connbytes-dir \`${dir}'`)
    const how = o.has('connbytes-mode') ? o.text('connbytes-mode') : null
    const mode = MODES.find((name) => name === how)
    if (how !== null && mode === undefined) throw new OptionError(`Unknown --connbytes-mode \`${how}'`)
    const [from, end] = o.uint64Range('connbytes')
    const to = o.text('connbytes').includes(':') ? end : ULONG_MAX
    if (to < from) throw new OptionError(`${from} should be less than ${to}`)
    // The kernel tells an inverted range by its ends, which are swapped: one number cannot be inverted.
    const invert = o.inverted('connbytes') && from !== to
    if (direction === undefined || mode === undefined)
      throw new MissingOption('connbytes: --connbytes-dir and --connbytes-mode are required')
    return { from, to, invert, direction, mode }
  },
  print: (m) =>
    `${m.invert ? '! ' : ''}--connbytes ${range(m)} --connbytes-mode ${m.mode} --connbytes-dir ${m.direction}`,
  list: (m) =>
    `${m.invert ? '! ' : ''}connbytes ${range(m)} connbytes mode ${m.mode} connbytes direction ${m.direction}`,
  tracks: true,
  state: (_, env): object => {
    // connbytes_mt_check() turns accounting on and nobody turns it off again.
    env.host.tunables.set('net.netfilter.nf_conntrack_acct', 1)
    return {}
  },
  reads: ['conntrack', 'state'],
  emit(m, js) {
    const dirs = m.direction === 'both' ? 3 : m.direction === 'original' ? 1 : 2
    const mode = MODES.indexOf(m.mode)
    return js`${js.bind(fits)}(pkt, ${js.env.conntrack}, ${dirs}, ${mode}, ${Number(m.from)}, ${Number(m.to)}, ${m.invert})`
  },
}
