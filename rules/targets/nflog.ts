// NFLOG: hands a copy of the packet to whoever listens to a group (libxt_NFLOG of iptables 1.8.9, nflog_tg() of
// xt_NFLOG.c, nfulnl_log_packet() of nfnetlink_log.c).

import type { Hook } from '../../datapath/hooks.ts'
import type { Host } from '../../datapath/host.ts'
import { linkHeaderOf } from '../../datapath/link-header.ts'
import { writePartialChecksum } from '../../datapath/offload.ts'
import type { Packet } from '../../datapath/packet.ts'
import type { Target } from '../extension.ts'
import { nameField } from '../layout.ts'
import { cutBytes } from '../matches/comment.ts'
import { words } from '../matches/parts.ts'
import { OptionError } from '../options.ts'
import { saveString } from '../text/quote.ts'

export interface NfLog {
  readonly prefix: string
  readonly group: number
  /** Bytes to copy; null: all. */
  readonly size: number | null
  /** --nflog-range, which never had an effect. */
  readonly range: number
  readonly threshold: number
}

const MAX_PREFIX = 63

const format = (m: NfLog, dashes: string): string =>
  words(
    m.prefix === '' ? '' : `${dashes}nflog-prefix ${saveString(m.prefix)}`,
    m.group === 0 ? '' : `${dashes}nflog-group ${m.group}`,
    m.size === null ? '' : `${dashes}nflog-size ${m.size}`,
    m.range === 0 ? '' : `${dashes}nflog-range ${m.range}`,
    m.threshold === 0 ? '' : `${dashes}nflog-threshold ${m.threshold}`,
  )

/** The packet up to `end` as a listener gets it: a checksum that the device is to make is not there yet. */
export function copyOf(pkt: Packet, host: Host, end: number = pkt.end): Uint8Array {
  const bytes = host.memory.bytes.slice(pkt.l3, end)
  if (pkt.csumPartial) {
    const copy = { bytes, view: new DataView(bytes.buffer) }
    writePartialChecksum(pkt, host.memory, pkt.l4 - pkt.l3, bytes.length, copy)
  }
  return bytes
}

/** Copies the packet, if somebody listens. */
function hand(pkt: Packet, hook: Hook, host: Host, m: NfLog): void {
  const end = m.size === null ? pkt.end : Math.min(pkt.end, pkt.l3 + m.size)
  host.events.nflog?.({
    family: pkt.family,
    group: m.group,
    prefix: m.prefix,
    hook,
    iif: pkt.iif,
    oif: pkt.oif,
    mark: pkt.mark,
    link: linkHeaderOf(pkt, host.memory),
    length: pkt.end - pkt.l3,
    bytes: copyOf(pkt, host, end),
  })
}

function parsePrefix(text: string): string {
  if (text === '') throw new OptionError('Argument must have a minimum length of 1 characters\n')
  if (text.includes('\n')) throw new OptionError('Newlines not allowed in --log-prefix')
  return cutBytes(text, MAX_PREFIX)
}

export const nflog: Target<NfLog> = {
  kind: 'target',
  name: 'NFLOG',
  families: [4, 6],
  layout: {
    size: 80,
    fields: (m) => [
      [0, 4, m.size ?? m.range],
      [4, 2, m.group],
      [6, 2, m.threshold],
      [8, 2, m.size === null ? 0 : 1],
      nameField(12, 64, m.prefix),
    ],
  },
  options: [
    { flag: 'nflog-group' },
    { flag: 'nflog-prefix', holds: 'log prefix' },
    { flag: 'nflog-range', excludes: ['nflog-size'] },
    { flag: 'nflog-size', excludes: ['nflog-range'] },
    { flag: 'nflog-threshold' },
  ],
  help: `NFLOG target options:
 --nflog-group NUM		NETLINK group used for logging
 --nflog-range NUM		This option has no effect, use --nflog-size
 --nflog-size NUM		Number of bytes to copy
 --nflog-threshold NUM		Message threshold of in-kernel queue
 --nflog-prefix STRING		Prefix string for log messages
`,
  parse(o) {
    const prefix = o.has('nflog-prefix') ? parsePrefix(o.text('nflog-prefix')) : ''
    if (o.has('nflog-range'))
      o.warn(
        'warn: --nflog-range has never worked and is no longer supported, please use --nflog-size instead\n',
        true,
      )
    return {
      prefix,
      group: o.has('nflog-group') ? o.uint('nflog-group', 16) : 0,
      size: o.has('nflog-size') ? o.uint('nflog-size', 32) : null,
      range: o.has('nflog-range') ? o.uint('nflog-range', 32) : 0,
      threshold: o.has('nflog-threshold') ? o.uint('nflog-threshold', 16) : 0,
    }
  },
  print: (m) => format(m, '--'),
  list: (m) => format(m, ''),
  reads: ['payload'],
  flow: 'continue',
  emit: (m, js) =>
    js`${js.env.host.events}.nflog != null && ${js.bind(hand)}(pkt, hook, ${js.env.host}, ${m})`,
}
