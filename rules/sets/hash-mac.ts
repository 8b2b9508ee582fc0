// hash:mac: elements are a MAC.

import { HashSet } from './hash.ts'
import type { HashShape } from './hash-layout.ts'
import type { SetType } from './set-type.ts'
import { ADD, HASH_EXTENSIONS, SIZES } from './words.ts'

const SHAPE: HashShape = { parts: ['mac'] }

export const hashMac: SetType = {
  name: 'hash:mac',
  alias: 'machash',
  revision: 1,
  family: 0,
  parts: [{ kind: 'ether' }],
  create: { options: [...SIZES, ...HASH_EXTENSIONS], ranges: [], help: '' },
  add: { options: ADD, ranges: [], help: 'MAC' },
  del: { options: [], ranges: [], help: 'MAC' },
  test: { options: [], ranges: [], help: 'MAC' },
  usage: '',
  make: (options, env) => new HashSet(0, SHAPE, options, env),
}
