// bitmap:port: ports of a range.

import { portBitmap } from './bitmap.ts'
import type { SetType } from './set-type.ts'
import { ADD, BITMAP_EXTENSIONS } from './words.ts'

export const bitmapPort: SetType = {
  name: 'bitmap:port',
  alias: 'portmap',
  revision: 3,
  family: 0,
  parts: [{ kind: 'port' }],
  create: {
    options: ['range', ...BITMAP_EXTENSIONS, 'from', 'to'],
    ranges: ['port-to'],
    help: 'range [PROTO:]FROM-TO',
  },
  add: { options: ADD, ranges: ['port-to'], help: '[PROTO:]PORT|FROM-TO' },
  del: { options: [], ranges: ['port-to'], help: '[PROTO:]PORT|FROM-TO' },
  test: { options: [], ranges: [], help: '[PROTO:]PORT' },
  usage: `where PORT, FROM and TO are port numbers or port names from /etc/services.
      PROTO is only needed if a service name is used and it does not exist
      as a TCP service; just the resolved service numer is stored in the set.`,
  make: (options, env) => portBitmap(options, env),
}
