// hash:net,port,net: elements are a network, a protocol and port, a network.

import { HashSet } from './hash.ts'
import type { HashShape } from './hash-layout.ts'
import type { SetType } from './set-type.ts'
import { ADD_NET, FAMILY, HASH_EXTENSIONS, SIZES } from './words.ts'

const SHAPE: HashShape = { parts: ['net', 'port', 'net'], net0: true }

export const hashNetPortNet: SetType = {
  name: 'hash:net,port,net',
  alias: 'netportnethash',
  revision: 3,
  family: 46,
  parts: [{ kind: 'ip', ip6: 'net' }, { kind: 'proto-port' }, { kind: 'ip2', ip6: 'net' }],
  create: { options: [...FAMILY, ...SIZES, ...HASH_EXTENSIONS], ranges: [], help: '' },
  add: {
    options: ADD_NET,
    ranges: ['cidr', 'ip-to', 'port-to', 'ip2-to'],
    help: 'IP[/CIDR],[PROTO:]PORT,IP[/CIDR]',
  },
  del: {
    options: [],
    ranges: ['cidr', 'ip-to', 'port-to', 'ip2-to'],
    help: 'IP[/CIDR],[PROTO:]PORT,IP[/CIDR]',
  },
  test: { options: ['nomatch'], ranges: ['cidr'], help: 'IP[/CIDR],[PROTO:]PORT,IP[/CIDR]' },
  usage: `where depending on the INET family
      IP are valid IPv4 or IPv6 addresses (or hostnames),
      CIDR is a valid IPv4 or IPv6 CIDR prefix.
      Adding/deleting multiple elements in IP/CIDR or FROM-TO form
      in both IP components are supported for IPv4.
      Adding/deleting multiple elements with TCP/SCTP/UDP/UDPLITE
      port range is supported both for IPv4 and IPv6.`,
  portUsage: true,
  nomatch: true,
  make: (options, env) => new HashSet(options.family ?? 4, SHAPE, options, env),
}
