// Sysctls that change what addresses, links and routes do, as `sysctl -w` sets them between the lines of ip.

import { IP_DEVICES, IpWords } from './ip-words.ts'

const SWITCHES = [
  'net.ipv4.ip_forward',
  'net.ipv4.ip_nonlocal_bind',
  'net.ipv4.fwmark_reflect',
  'net.ipv6.conf.all.forwarding',
  'net.ipv6.conf.all.disable_ipv6',
  'net.ipv6.ip_nonlocal_bind',
  'net.ipv6.route.skip_notify_on_dev_down',
]
const OF_DEVICES_4 = [
  'forwarding',
  'rp_filter',
  'accept_local',
  'route_localnet',
  'promote_secondaries',
  'src_valid_mark',
  'ignore_routes_with_linkdown',
  'bc_forwarding',
]
const OF_DEVICES_6 = [
  'disable_ipv6',
  'disable_ipv6',
  'forwarding',
  'ignore_routes_with_linkdown',
  'use_oif_addrs_only',
  'keep_addr_on_down',
  'keep_addr_on_down',
]

export class IpSysctls extends IpWords {
  /** `sysctl -w NAME=VALUE`, without the command. */
  words(): string[] {
    return ['-w', `${this.#name()}=${this.one(['0', '1', '1'])}`]
  }

  #name(): string {
    if (this.chance(0.3)) return this.one(SWITCHES)
    const device = this.one(['all', 'default', 'lo', ...IP_DEVICES, ...IP_DEVICES])
    return this.chance(0.5)
      ? `net.ipv4.conf.${device}.${this.one(OF_DEVICES_4)}`
      : `net.ipv6.conf.${device}.${this.one(OF_DEVICES_6)}`
  }
}
