// bitmap:ip: addresses of a range.

import { addressBitmap } from './bitmap.ts'
import type { SetType } from './set-type.ts'
import { ADD, BITMAP_EXTENSIONS, RANGE } from './words.ts'

export const bitmapIp: SetType = {
  name: 'bitmap:ip',
  alias: 'ipmap',
  revision: 3,
  family: 4,
  parts: [{ kind: 'ip', ip6: 'any' }],
  create: {
    options: ['range', 'netmask', ...BITMAP_EXTENSIONS, ...RANGE],
    ranges: ['ip-to'],
    help: 'range IP/CIDR|FROM-TO',
  },
  add: { options: ADD, ranges: ['ip-to'], help: 'IP|IP/CIDR|FROM-TO' },
  del: { options: [], ranges: ['ip-to'], help: 'IP|IP/CIDR|FROM-TO' },
  test: { options: [], ranges: [], help: 'IP' },
  usage: `where IP, FROM and TO are IPv4 addresses (or hostnames),
      CIDR is a valid IPv4 CIDR prefix.`,
  make: (options, env) => addressBitmap(options, env, false),
}
