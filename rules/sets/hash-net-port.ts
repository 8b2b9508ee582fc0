// hash:net,port: elements are a network, a protocol and port.

import { HashSet } from './hash.ts'
import type { HashShape } from './hash-layout.ts'
import type { SetType } from './set-type.ts'
import { ADD_NET, FAMILY, HASH_EXTENSIONS, SIZES } from './words.ts'

const SHAPE: HashShape = { parts: ['net', 'port'] }

export const hashNetPort: SetType = {
  name: 'hash:net,port',
  alias: 'netporthash',
  revision: 8,
  family: 46,
  parts: [{ kind: 'ip', ip6: 'net' }, { kind: 'proto-port' }],
  create: { options: [...FAMILY, ...SIZES, ...HASH_EXTENSIONS], ranges: [], help: '' },
  add: { options: ADD_NET, ranges: ['cidr', 'ip-to', 'port-to'], help: 'IP[/CIDR]|FROM-TO,[PROTO:]PORT' },
  del: { options: [], ranges: ['cidr', 'ip-to', 'port-to'], help: 'IP[/CIDR]|FROM-TO,[PROTO:]PORT' },
  test: { options: ['nomatch'], ranges: ['cidr'], help: 'IP[/CIDR],[PROTO:]PORT' },
  usage: `where depending on the INET family
      IP is a valid IPv4 or IPv6 address (or hostname),
      CIDR is a valid IPv4 or IPv6 CIDR prefix.
      Adding/deleting multiple elements with TCP/SCTP/UDP/UDPLITE
      port range is supported both for IPv4 and IPv6.`,
  portUsage: true,
  nomatch: true,
  make: (options, env) => new HashSet(options.family ?? 4, SHAPE, options, env),
}
