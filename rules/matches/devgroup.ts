// devgroup: the group of a device, `ip link set DEV group N` (libxt_devgroup of iptables 1.8.9, devgroup_mt() of
// xt_devgroup.c).

import type { Host } from '../../datapath/host.ts'
import type { Code, Js } from '../compile/template.ts'
import type { Match } from '../extension.ts'
import { bits } from '../layout.ts'
import { WholeError } from '../options.ts'
import { formatNamedMask, type NamedMask, parseNamedMask } from './named-mask.ts'
import { words } from './parts.ts'

export interface DevGroup {
  readonly source: NamedMask | null
  readonly destination: NamedMask | null
}

const DEFAULT_NAME = 'default'
const WITHOUT_SOURCE = ['OUTPUT', 'POSTROUTING']
const WITHOUT_DESTINATION = ['PREROUTING', 'INPUT']

const format = (m: DevGroup, dashes: string, numeric: boolean): string => {
  const put = (flag: string, group: NamedMask | null): string =>
    group === null
      ? ''
      : `${group.invert ? '! ' : ''}${dashes}${flag} ${formatNamedMask(group, DEFAULT_NAME, numeric)}`
  return words(put('src-group', m.source), put('dst-group', m.destination))
}

/** 0 where there is no device. Does not allocate. */
function groupOf(host: Host, index: number): number {
  const device = host.devices.byIndex[index]
  return device === undefined ? 0 : device.link.group
}

/** A group with bits outside of the mask is compared by those inside. */
const fits = (group: NamedMask | null, index: Code, js: Js): Code =>
  group === null
    ? js`true`
    : js`((${js.bind(groupOf)}(${js.env.host}, ${index}) ^ ${group.value | 0}) & ${group.mask | 0}) !== 0 === ${group.invert}`

export const devgroup: Match<DevGroup> = {
  kind: 'match',
  name: 'devgroup',
  families: [4, 6],
  layout: {
    size: 24,
    fields: ({ source, destination }) => [
      [0, 4, bits(source !== null, source?.invert, destination !== null, destination?.invert)],
      [4, 4, source?.value ?? 0],
      [8, 4, source?.mask ?? 0],
      [12, 4, destination?.value ?? 0],
      [16, 4, destination?.mask ?? 0],
    ],
  },
  options: [
    { flag: 'src-group', invertible: true },
    { flag: 'dst-group', invertible: true },
  ],
  help: `devgroup match options:
[!] --src-group value[/mask]	Match device group of incoming device
[!] --dst-group value[/mask]	Match device group of outgoing device
`,
  parse(o) {
    const group = (flag: string) => (o.has(flag) ? parseNamedMask(o, flag, DEFAULT_NAME) : null)
    const data = { source: group('src-group'), destination: group('dst-group') }
    if (o.given().length === 0)
      throw new WholeError("devgroup match: You must specify either '--src-group' or '--dst-group'")
    return data
  },
  print: (m) => format(m, '--', false),
  list: (m, numeric) => format(m, '', numeric),
  check(m, use) {
    if (m.source !== null && use.hooks.some((hook) => WITHOUT_SOURCE.includes(hook)))
      return 'devgroup: --src-group where no device is known that a packet came from'
    if (m.destination !== null && use.hooks.some((hook) => WITHOUT_DESTINATION.includes(hook)))
      return 'devgroup: --dst-group where no device is known that a packet leaves by'
    return null
  },
  reads: ['in', 'out'],
  emit: (m, js) => js.all([fits(m.source, js`pkt.iif`, js), fits(m.destination, js`pkt.oif`, js)]),
}
