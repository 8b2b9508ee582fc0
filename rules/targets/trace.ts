// TRACE: marks the packet, so that its way through the tables is told (libxt_TRACE of iptables 1.8.9, trace_tg() of
// xt_TRACE.c).

import type { TraceRecord } from '../../datapath/events.ts'
import type { Host } from '../../datapath/host.ts'
import type { Target } from '../extension.ts'
import { LogFlag, logLine } from './log.ts'

export const trace: Target<null> = {
  kind: 'target',
  name: 'TRACE',
  families: [4, 6],
  layout: { size: 0 },
  tables: ['raw'],
  options: [],
  help: `TRACE does not take any options
`,
  parse: () => null,
  print: () => '',
  list: () => '',
  reads: [],
  flow: 'continue',
  emit: (_, js) => js`(pkt.trace = true)`,
}

/** LOGLEVEL_WARNING */
const LEVEL = 4
/** NF_LOG_DEFAULT_MASK */
const FLAGS = LogFlag.TcpSequence | LogFlag.TcpOptions | LogFlag.IpOptions | LogFlag.Uid

/** The record of the kernel log: `TRACE: raw:PREROUTING:rule:1 IN=eth0 OUT= ...`. */
export const traceLog = ({ table, chain, kind, rule, pkt }: TraceRecord, host: Host) => ({
  level: LEVEL,
  text: logLine(pkt, host, {
    prefix: `TRACE: ${table}:${chain}:${kind}:${rule} `,
    level: LEVEL,
    flags: FLAGS,
  }),
})
