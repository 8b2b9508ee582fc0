// eui64: whether the source address was made of the link address (libip6t_eui64 of iptables 1.8.9, eui64_mt6() of
// ip6t_eui64.c). Devices here have no link header, as TUN devices have none: no packet fits.

import type { Match } from '../extension.ts'

export const eui64: Match<null> = {
  kind: 'match',
  name: 'eui64',
  families: [6],
  chains: ['PREROUTING', 'INPUT', 'FORWARD'],
  options: [],
  help: `eui64 does not take any options
`,
  parse: () => null,
  print: () => '',
  list: () => 'eui64 ',
  listedTight: true,
  reads: [],
  emit: (_, js) => js`false`,
}
