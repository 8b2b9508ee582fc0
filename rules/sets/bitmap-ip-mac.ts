// bitmap:ip,mac: addresses of a range, each with a MAC or without.

import { addressBitmap } from './bitmap.ts'
import type { SetType } from './set-type.ts'
import { ADD, BITMAP_EXTENSIONS, RANGE } from './words.ts'

export const bitmapIpMac: SetType = {
  name: 'bitmap:ip,mac',
  alias: 'macipmap',
  revision: 3,
  family: 4,
  parts: [{ kind: 'single' }, { kind: 'ether' }],
  lastOptional: true,
  create: {
    options: ['range', ...BITMAP_EXTENSIONS, ...RANGE],
    ranges: ['ip-to'],
    help: 'range IP/CIDR|FROM-TO',
  },
  add: { options: ADD, ranges: [], help: 'IP[,MAC]' },
  del: { options: [], ranges: [], help: 'IP[,MAC]' },
  test: { options: [], ranges: [], help: 'IP[,MAC]' },
  usage: `where IP, FROM and TO are IPv4 addresses (or hostnames),
      CIDR is a valid IPv4 CIDR prefix.
      MAC is a valid MAC address.`,
  make: (options, env) => addressBitmap(options, env, true),
}
