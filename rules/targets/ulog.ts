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

export const ulog: Target<null> = {
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
    if (o.has('ulog-nlgroup')) o.uint('ulog-nlgroup', 32, 1, 32)
    if (o.has('ulog-prefix')) checkPrefix(o.text('ulog-prefix'))
    if (o.has('ulog-cprange')) o.uint64('ulog-cprange')
    if (o.has('ulog-qthreshold')) o.uint('ulog-qthreshold', 32, 1, 50)
    return null
  },
  print: () => '',
  check: () => ({ errno: 'ENOENT', reason: 'this Linux has no target ULOG' }),
  reads: [],
  flow: 'continue',
  emit: (_, js) => js`0`,
}
