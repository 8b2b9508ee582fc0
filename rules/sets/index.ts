// The set types, in the order of `ipset help`. A new one is one file and one line.

import { bitmapIp } from './bitmap-ip.ts'
import { bitmapIpMac } from './bitmap-ip-mac.ts'
import { bitmapPort } from './bitmap-port.ts'
import { hashIp } from './hash-ip.ts'
import { hashIpMac } from './hash-ip-mac.ts'
import { hashIpMark } from './hash-ip-mark.ts'
import { hashIpPort } from './hash-ip-port.ts'
import { hashIpPortIp } from './hash-ip-port-ip.ts'
import { hashIpPortNet } from './hash-ip-port-net.ts'
import { hashMac } from './hash-mac.ts'
import { hashNet } from './hash-net.ts'
import { hashNetIface } from './hash-net-iface.ts'
import { hashNetNet } from './hash-net-net.ts'
import { hashNetPort } from './hash-net-port.ts'
import { hashNetPortNet } from './hash-net-port-net.ts'
import { listSet } from './list-set.ts'
import type { SetType } from './set-type.ts'

export const setTypes: readonly SetType[] = [
  listSet,
  hashMac,
  hashIpMac,
  hashNetIface,
  hashNetPort,
  hashNetPortNet,
  hashNetNet,
  hashNet,
  hashIpPortNet,
  hashIpPortIp,
  hashIpMark,
  hashIpPort,
  hashIp,
  bitmapPort,
  bitmapIpMac,
  bitmapIp,
]
