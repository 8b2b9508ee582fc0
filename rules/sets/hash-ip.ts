// hash:ip: elements are an address.

import { HashSet } from './hash.ts'
import type { HashShape } from './hash-layout.ts'
import type { SetType } from './set-type.ts'
import { ADD, FAMILY, HASH_EXTENSIONS, PROBES, SIZES } from './words.ts'

const SHAPE: HashShape = { parts: ['ip'], masks: 'network' }

export const hashIp: SetType = {
  name: 'hash:ip',
  alias: 'iphash',
  revision: 6,
  family: 46,
  parts: [{ kind: 'ip', ip6: 'single' }],
  create: {
    options: [...FAMILY, ...SIZES, 'netmask', 'bitmask', ...HASH_EXTENSIONS, ...PROBES, 'gc'],
    ranges: [],
    help: '',
  },
  add: { options: ADD, ranges: ['ip-to'], help: 'IP' },
  del: { options: [], ranges: ['ip-to'], help: 'IP' },
  test: { options: [], ranges: ['ip-to'], help: 'IP' },
  usage: `where depending on the INET family
      IP is a valid IPv4 or IPv6 address (or hostname),
      CIDR is a valid IPv4 or IPv6 CIDR prefix.
      Adding/deleting multiple elements in IP/CIDR or FROM-TO form
      is supported for IPv4.`,
  make: (options, env) => new HashSet(options.family ?? 4, SHAPE, options, env),
}
