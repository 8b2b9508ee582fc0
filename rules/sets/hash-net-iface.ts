// hash:net,iface: elements are a network, an interface.

import { HashSet } from './hash.ts'
import type { HashShape } from './hash-layout.ts'
import type { SetType } from './set-type.ts'
import { ADD_NET, FAMILY, HASH_EXTENSIONS, SIZES } from './words.ts'

const SHAPE: HashShape = { parts: ['net', 'iface'], net0: true }

export const hashNetIface: SetType = {
  name: 'hash:net,iface',
  alias: 'netifacehash',
  revision: 8,
  family: 46,
  parts: [{ kind: 'ip', ip6: 'net' }, { kind: 'iface' }],
  create: { options: [...FAMILY, ...SIZES, ...HASH_EXTENSIONS], ranges: [], help: '' },
  add: {
    options: ADD_NET.toSpliced(2, 0, 'wildcard'),
    ranges: ['cidr', 'ip-to'],
    help: 'IP[/CIDR]|FROM-TO,[physdev:]IFACE',
  },
  del: { options: [], ranges: ['cidr', 'ip-to'], help: 'IP[/CIDR]|FROM-TO,[physdev:]IFACE' },
  test: { options: ['nomatch'], ranges: ['cidr'], help: 'IP[/CIDR],[physdev:]IFACE' },
  usage: `where depending on the INET family
      IP is a valid IPv4 or IPv6 address (or hostname),
      CIDR is a valid IPv4 or IPv6 CIDR prefix.
      Adding/deleting multiple elements with IPv4 is supported.`,
  nomatch: true,
  make: (options, env) => new HashSet(options.family ?? 4, SHAPE, options, env),
}
