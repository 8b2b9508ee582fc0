// hash:ip,port,net: elements are an address, a protocol and port, a network.

import { HashSet } from './hash.ts'
import type { HashShape } from './hash-layout.ts'
import type { SetType } from './set-type.ts'
import { ADD_NET, FAMILY, HASH_EXTENSIONS, PROBES, RANGE, SIZES } from './words.ts'

const SHAPE: HashShape = { parts: ['ip', 'port', 'net'] }

export const hashIpPortNet: SetType = {
  name: 'hash:ip,port,net',
  alias: 'ipportnethash',
  revision: 8,
  family: 46,
  parts: [{ kind: 'ip', ip6: 'single' }, { kind: 'proto-port' }, { kind: 'ip2', ip6: 'net' }],
  create: { options: [...FAMILY, ...SIZES, ...HASH_EXTENSIONS, ...PROBES, ...RANGE], ranges: [], help: '' },
  add: { options: ADD_NET, ranges: ['ip-to', 'port-to', 'ip2-to'], help: 'IP,[PROTO:]PORT,IP[/CIDR]' },
  del: { options: [], ranges: ['ip-to', 'port-to', 'ip2-to'], help: 'IP,[PROTO:]PORT,IP[/CIDR]' },
  // 7.17 lets the end of a range through there, and looks at its beginning.
  test: { options: ['nomatch'], ranges: ['ip2-to'], help: 'IP,[PROTO:]PORT,IP[/CIDR]' },
  usage: `where depending on the INET family
      IP are valid IPv4 or IPv6 addresses (or hostnames),
      CIDR is a valid IPv4 or IPv6 CIDR prefix.
      Adding/deleting multiple elements in IP/CIDR or FROM-TO form
      in the first IP component is supported for IPv4.
      Adding/deleting multiple elements with TCP/SCTP/UDP/UDPLITE
      port range is supported both for IPv4 and IPv6.`,
  portUsage: true,
  nomatch: true,
  make: (options, env) => new HashSet(options.family ?? 4, SHAPE, options, env),
}
