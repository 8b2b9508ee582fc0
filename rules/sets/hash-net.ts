// hash:net: elements are a network.

import { HashSet } from './hash.ts'
import type { HashShape } from './hash-layout.ts'
import type { SetType } from './set-type.ts'
import { ADD_NET, FAMILY, HASH_EXTENSIONS, PROBES, SIZES } from './words.ts'

const SHAPE: HashShape = { parts: ['net'] }

export const hashNet: SetType = {
  name: 'hash:net',
  alias: 'nethash',
  revision: 7,
  family: 46,
  parts: [{ kind: 'ip', ip6: 'net' }],
  create: { options: [...FAMILY, ...SIZES, ...HASH_EXTENSIONS, ...PROBES], ranges: [], help: '' },
  add: { options: ADD_NET, ranges: ['cidr', 'ip-to'], help: 'IP[/CIDR]' },
  del: { options: [], ranges: ['cidr', 'ip-to'], help: 'IP[/CIDR]' },
  test: { options: ['nomatch'], ranges: ['cidr'], help: 'IP[/CIDR]' },
  usage: `where depending on the INET family
      IP is an IPv4 or IPv6 address (or hostname),
      CIDR is a valid IPv4 or IPv6 CIDR prefix.`,
  nomatch: true,
  make: (options, env) => new HashSet(options.family ?? 4, SHAPE, options, env),
}
