// hash:ip,port,ip: elements are an address, a protocol and port, an address.

import { HashSet } from './hash.ts'
import type { HashShape } from './hash-layout.ts'
import type { SetType } from './set-type.ts'
import { ADD, FAMILY, HASH_EXTENSIONS, PROBES, RANGE, SIZES } from './words.ts'

const SHAPE: HashShape = { parts: ['ip', 'port', 'ip'] }

export const hashIpPortIp: SetType = {
  name: 'hash:ip,port,ip',
  alias: 'ipportiphash',
  revision: 6,
  family: 46,
  parts: [{ kind: 'ip', ip6: 'single' }, { kind: 'proto-port' }, { kind: 'single2' }],
  create: { options: [...FAMILY, ...SIZES, ...HASH_EXTENSIONS, ...PROBES, ...RANGE], ranges: [], help: '' },
  add: { options: ADD, ranges: ['ip-to', 'port-to'], help: 'IP,[PROTO:]PORT,IP' },
  del: { options: [], ranges: ['ip-to', 'port-to'], help: 'IP,[PROTO:]PORT,IP' },
  test: { options: [], ranges: [], help: 'IP,[PROTO:]PORT,IP' },
  usage: `where depending on the INET family
      IP is a valid IPv4 or IPv6 address (or hostname).
      Adding/deleting multiple elements in IP/CIDR or FROM-TO form
      in the first IP component is supported for IPv4.
      Adding/deleting multiple elements with TCP/SCTP/UDP/UDPLITE
      port range is supported both for IPv4 and IPv6.`,
  portUsage: true,
  make: (options, env) => new HashSet(options.family ?? 4, SHAPE, options, env),
}
