// hash:net,net: elements are a network, a network.

import { HashSet } from './hash.ts'
import type { HashShape } from './hash-layout.ts'
import type { SetType } from './set-type.ts'
import { ADD_NET, FAMILY, HASH_EXTENSIONS, SIZES } from './words.ts'

const SHAPE: HashShape = { parts: ['net', 'net'], net0: true, netMasks: true }

export const hashNetNet: SetType = {
  name: 'hash:net,net',
  alias: 'netnethash',
  revision: 4,
  family: 46,
  parts: [
    { kind: 'ip', ip6: 'net' },
    { kind: 'ip2', ip6: 'net' },
  ],
  create: { options: [...FAMILY, ...SIZES, ...HASH_EXTENSIONS, 'bitmask', 'netmask'], ranges: [], help: '' },
  add: { options: ADD_NET, ranges: ['cidr', 'ip-to', 'ip2-to'], help: 'IP[/CIDR]|FROM-TO,IP[/CIDR]|FROM-TO' },
  del: { options: [], ranges: ['cidr', 'ip-to', 'ip2-to'], help: 'IP[/CIDR]|FROM-TO,IP[/CIDR]|FROM-TO' },
  test: { options: ['nomatch'], ranges: ['cidr'], help: 'IP[/CIDR],IP[/CIDR]' },
  usage: `where depending on the INET family
      IP is an IPv4 or IPv6 address (or hostname),
      CIDR is a valid IPv4 or IPv6 CIDR prefix.
      IP range is not supported with IPv6.`,
  nomatch: true,
  make: (options, env) => new HashSet(options.family ?? 4, SHAPE, options, env),
}
