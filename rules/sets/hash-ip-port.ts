// hash:ip,port: elements are an address, a protocol and port.

import { HashSet } from './hash.ts'
import type { HashShape } from './hash-layout.ts'
import type { SetType } from './set-type.ts'
import { ADD, FAMILY, HASH_EXTENSIONS, PROBES, RANGE, SIZES } from './words.ts'

const SHAPE: HashShape = { parts: ['ip', 'port'], masks: 'address' }

export const hashIpPort: SetType = {
  name: 'hash:ip,port',
  alias: 'ipporthash',
  revision: 7,
  family: 46,
  parts: [{ kind: 'ip', ip6: 'single' }, { kind: 'proto-port' }],
  create: {
    options: [...FAMILY, ...SIZES, ...HASH_EXTENSIONS, 'netmask', 'bitmask', ...PROBES, ...RANGE],
    ranges: [],
    help: '',
  },
  add: { options: ADD, ranges: ['ip-to', 'port-to'], help: 'IP,[PROTO:]PORT' },
  del: { options: [], ranges: ['ip-to', 'port-to'], help: 'IP,[PROTO:]PORT' },
  test: { options: [], ranges: [], help: 'IP,[PROTO:]PORT' },
  usage: `where depending on the INET family
      IP is a valid IPv4 or IPv6 address (or hostname).
      Adding/deleting multiple elements in IP/CIDR or FROM-TO form
      is supported for IPv4.
      Adding/deleting multiple elements with TCP/SCTP/UDP/UDPLITE
      port range is supported both for IPv4 and IPv6.`,
  portUsage: true,
  make: (options, env) => new HashSet(options.family ?? 4, SHAPE, options, env),
}
