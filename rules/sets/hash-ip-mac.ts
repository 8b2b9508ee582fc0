// hash:ip,mac: elements are an address, a MAC.

import { HashSet } from './hash.ts'
import type { HashShape } from './hash-layout.ts'
import type { SetType } from './set-type.ts'
import { ADD, FAMILY, HASH_EXTENSIONS, SIZES } from './words.ts'

const SHAPE: HashShape = { parts: ['ip', 'mac'] }

export const hashIpMac: SetType = {
  name: 'hash:ip,mac',
  alias: 'ipmachash',
  revision: 1,
  family: 46,
  parts: [{ kind: 'ip', ip6: 'single' }, { kind: 'ether' }],
  create: { options: [...FAMILY, ...SIZES, ...HASH_EXTENSIONS], ranges: [], help: '' },
  add: { options: ADD, ranges: [], help: 'IP,MAC' },
  del: { options: [], ranges: [], help: 'IP,MAC' },
  test: { options: [], ranges: [], help: 'IP,MAC' },
  usage: `where depending on the INET family
      IP is a valid IPv4 or IPv6 address (or hostname),
      MAC is a MAC address.`,
  make: (options, env) => new HashSet(options.family ?? 4, SHAPE, options, env),
}
