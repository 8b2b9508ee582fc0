// hash:ip,mark: elements are an address, a mark.

import { HashSet } from './hash.ts'
import type { HashShape } from './hash-layout.ts'
import type { SetType } from './set-type.ts'
import { ADD, FAMILY, HASH_EXTENSIONS, PROBES, RANGE, SIZES } from './words.ts'

const SHAPE: HashShape = { parts: ['ip', 'mark'] }

export const hashIpMark: SetType = {
  name: 'hash:ip,mark',
  alias: 'ipmarkhash',
  revision: 3,
  family: 46,
  parts: [{ kind: 'ip', ip6: 'single' }, { kind: 'mark' }],
  create: {
    options: [...FAMILY, 'markmask', ...SIZES, ...HASH_EXTENSIONS, ...PROBES, ...RANGE],
    ranges: [],
    help: '',
  },
  add: { options: ADD, ranges: ['ip-to'], help: 'IP,MARK' },
  del: { options: [], ranges: ['ip-to'], help: 'IP,MARK' },
  test: { options: [], ranges: ['ip-to'], help: 'IP,MARK' },
  usage: `where depending on the INET family
      IP is a valid IPv4 or IPv6 address (or hostname).
      Adding/deleting multiple elements in IP/CIDR or FROM-TO form
      is supported for IPv4.
      Adding/deleting single mark element
      is supported both for IPv4 and IPv6.`,
  make: (options, env) => new HashSet(options.family ?? 4, SHAPE, options, env),
}
