// Shorewall: an empty chain `shorewall` in the filter table tells that it was here; a chain ZONE-ZONE (or ZONE2ZONE) for
// each pair of zones.

import { oneOf, type Recogniser, type Surroundings } from './author.ts'

const KNOWN: Readonly<Record<string, string>> = {
  shorewall: 'tells when it was started',
  dynamic: 'addresses blocked at run time',
  logdrop: 'log and drop',
  logreject: 'log and reject',
  logflags: 'log odd TCP flags',
  reject: 'reject',
  smurfs: 'sources that are broadcasts',
  smurflog: 'log sources that are broadcasts',
  tcpflags: 'odd TCP flags',
  sfilter: 'packets that leave where they came from',
  dbl_log: 'dynamic blacklist',
}

/** Zones: whatever stands in front of _frwd, _in, _fwd, and the firewall itself. */
function zonesOf(chain: string, around: Surroundings): readonly [string, string] | null {
  const pair = /^([A-Za-z][\w]*?)(?:-|2)([A-Za-z][\w]*)$/.exec(chain)
  if (pair === null) return null
  const [, from = '', to = ''] = pair
  const isZone = (zone: string): boolean =>
    ['fw', 'all'].includes(zone) ||
    ['_frwd', '_fwd', '-fw', '2fw'].some((end) => around.has('filter', `${zone}${end}`))
  return isZone(from) && isZone(to) ? [from, to] : null
}

export const shorewall: Recogniser = {
  program: 'Shorewall',
  words: {
    beside: ['shorewall'],
    chains: [
      oneOf(Object.keys(KNOWN)),
      /^sha-(?:lh|rh)-(?<hash>[0-9a-f]+)$/,
      /^(?<name>.+)_(?:frwd|fwd|in|out|masq|mac|rec|iop|oop|ctrk|dnat|snat)$/,
      /^(?<name1>[A-Za-z]\w*?)(?:-|2)(?<name2>[A-Za-z]\w*)$/,
      /^(?<name>[A-Z]\w*)$/,
    ],
    logs: [/^Shorewall:(?<names>[^:]+):(?:ACCEPT|DROP|REJECT|LOG):$/],
  },
  chain(table, name, around) {
    if (!around.has('filter', 'shorewall') || /^(PREROUTING|INPUT|FORWARD|OUTPUT|POSTROUTING)$/.test(name))
      return null
    const known = KNOWN[name]
    if (known !== undefined) return known
    const pair = zonesOf(name, around)
    if (pair !== null) return `zone ${pair[0]} to zone ${pair[1]}`
    const forwarded = /^(.+)_(?:frwd|fwd)$/.exec(name)?.[1]
    if (forwarded !== undefined) return `zone ${forwarded}, forwarded`
    const masqueraded = /^(.+)_masq$/.exec(name)?.[1]
    if (masqueraded !== undefined) return `masquerading behind ${masqueraded}`
    if (/^sha-(lh|rh)-[0-9a-f]+$/.test(name)) return 'addresses and ports of several rules'
    // An action is a chain with a name that begins in upper case.
    return table === 'filter' && /^[A-Z]/.test(name) ? `action ${name}` : ''
  },
}
