// Multicast groups that the host is in (mc_list of ipv6_add_dev() and dev_forward_change(), Linux 6.18). Solicited-node
// groups are for links with neighbours: a TUN device has none (IFF_NOARP).

import type { Device } from '../devices.ts'

const ALL_NODES = 1
const ALL_ROUTERS = 2

const NODE_LOCAL = 0xff010000 | 0
const LINK_LOCAL = 0xff020000 | 0
const SITE_LOCAL = 0xff050000 | 0

/** ipv6_chk_mcast_addr(): whether the host listens to a group on a device. Nobody here filters sources. */
export function inGroup(device: Device, d0: number, d1: number, d2: number, d3: number): boolean {
  if ((d1 | d2) !== 0) return !device.link.noArp && isSolicited(device, d0, d1, d2, d3)
  if (d3 === ALL_NODES) return d0 === LINK_LOCAL || d0 === NODE_LOCAL
  if (d3 === ALL_ROUTERS)
    return (
      device.conf6.forwarding &&
      device.link.multicast &&
      (d0 === LINK_LOCAL || d0 === NODE_LOCAL || d0 === SITE_LOCAL)
    )
  return false
}

/** addrconf_join_solict(): ff02::1:ff00:0/104 with the low bits of an address of the device. */
function isSolicited(device: Device, d0: number, d1: number, d2: number, d3: number): boolean {
  if (device.loopback || d0 !== LINK_LOCAL || d1 !== 0 || d2 !== 1 || d3 >>> 24 !== 0xff) return false
  for (const a of device.addresses) if (a.family === 6 && ((a.words[3] ^ d3) & 0xffffff) === 0) return true
  return false
}
