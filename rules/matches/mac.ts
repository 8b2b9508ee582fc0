// mac: the Ethernet source address (libxt_mac of iptables 1.8.9, mac_mt() of xt_mac.c). The interfaces of this host
// carry IP packets without a link header, as TUN devices do: for those the kernel's match is false, inverted too.

import type { Match } from '../extension.ts'
import { macBytes } from '../options.ts'

export interface Mac {
  readonly address: readonly number[]
  readonly invert: boolean
}

const format = (m: Mac): string => m.address.map((byte) => byte.toString(16).padStart(2, '0')).join(':')

export const mac: Match<Mac> = {
  kind: 'match',
  name: 'mac',
  families: [4, 6],
  layout: {
    size: 16,
    fields: (data) => [
      [0, 6, Uint8Array.from(data.address)],
      [8, 4, data.invert ? 1 : 0],
    ],
  },
  chains: ['PREROUTING', 'INPUT', 'FORWARD'],
  options: [{ flag: 'mac-source', holds: 'mac', required: true, invertible: true }],
  help: `mac match options:
[!] --mac-source XX:XX:XX:XX:XX:XX
				Match source MAC address
`,
  parse: (o) => ({ address: macBytes(o.text('mac-source')), invert: o.inverted('mac-source') }),
  print: (m) => `${m.invert ? '! ' : ''}--mac-source ${format(m)}`,
  list: (m) => `MAC ${m.invert ? '! ' : ''}${format(m)}`,
  reads: [],
  emit: (_, js) => js`false`,
}
