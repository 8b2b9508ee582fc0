// ULOG: NFLOG's predecessor, of IPv4 alone (libipt_ULOG of iptables 1.8.9). The tool still reads its options; Linux has
// had no such target since 3.17, so that no rule with it is ever taken.

import type { Target } from '../extension.ts'
import { OptionError, PARAMETER_PROBLEM } from '../options.ts'

function checkPrefix(text: string): void {
  if (text === '')
    throw new OptionError('Argument must have a minimum length of 1 characters\n', PARAMETER_PROBLEM, true)
  if (text.includes('\n'))
    throw new OptionError('Newlines not allowed in --ulog-prefix', PARAMETER_PROBLEM, true)
}

export interface Ulog {
  /** 1 to 32. */
  readonly group: number
  /** Bytes, 32 bits. */
  readonly range: number
  readonly threshold: number
  /** Up to 31 characters. */
  readonly prefix: string
}

export const ulog: Target<Ulog> = {
  kind: 'target',
  name: 'ULOG',
  families: [4],
  options: [
    { flag: 'ulog-nlgroup' },
    { flag: 'ulog-prefix', holds: 'log prefix' },
    { flag: 'ulog-cprange' },
    { flag: 'ulog-qthreshold' },
  ],
  help: `ULOG target options:
 --ulog-nlgroup nlgroup		NETLINK group used for logging
 --ulog-cprange size		Bytes of each packet to be passed
 --ulog-qthreshold		Threshold of in-kernel queue
 --ulog-prefix prefix		Prefix log messages with this prefix.
`,
  loadRemark: 'Warning: Extension ULOG revision 0 not supported, missing kernel module?\n',
  parse(o) {
    const group = o.has('ulog-nlgroup') ? o.uint('ulog-nlgroup', 32, 1, 32) : 1
    const prefix = o.has('ulog-prefix') ? o.text('ulog-prefix') : ''
    if (o.has('ulog-prefix')) checkPrefix(prefix)
    const range = o.has('ulog-cprange') ? Number(BigInt.asUintN(32, o.uint64('ulog-cprange'))) : 0
    const threshold = o.has('ulog-qthreshold') ? o.uint('ulog-qthreshold', 32, 1, 50) : 1
    return { group, range, threshold, prefix: prefix.slice(0, 31) }
  },
  print: () => '',
  list: ({ group, range, threshold, prefix }) =>
    `ULOG copy_range ${range} nlgroup ${group}${prefix === '' ? '' : ` prefix "${prefix}"`} queue_threshold ${threshold}`,
  check: () => ({ errno: 'ENOENT', reason: 'this Linux has no target ULOG' }),
  reads: [],
  flow: 'continue',
  emit: (_, js) => js`0`,
}
