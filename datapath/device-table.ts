// The host's interfaces: by number and name, their addresses, and net.ipv4.conf.*.
//
//     net.ipv4.conf.all.X ───┐
//                            ├─ max, or, and: as IN_DEV_MAXCONF and its kin ──▶ device.conf.x
//     net.ipv4.conf.DEV.X ───┘
//     net.ipv4.conf.default.X   what a new device starts with
//
// Hot code reads the plain fields of device.conf and never a sysctl name.

import {
  type Address,
  type Device,
  type DeviceConf,
  type DeviceOptions,
  newDevice,
  Scope,
} from './devices.ts'
import { isPermanent } from './lifetimes.ts'
import type { Tunables } from './tunables.ts'
import { isLoopback4 } from './wire/ipv4.ts'
import { IPV6_MIN_MTU } from './wire/ipv6.ts'

/** An address or device that cannot be had; the command words it as ip(8) does. */
export class DeviceError extends RangeError {
  override readonly name = 'DeviceError'
  /** errno of the kernel's refusal. */
  readonly code: 'EEXIST' | 'EINVAL' | 'EADDRNOTAVAIL' | 'ENODEV' | 'ENOENT'
  constructor(code: DeviceError['code'], message: string) {
    super(message)
    this.code = code
  }
}

/** Who wants to know: the FIB derives routes, masquerading ends connections. */
export interface DeviceListener {
  /** After the address stands in device.addresses; `old`: in whose place. */
  addressAdded?(device: Device, address: Address, old?: Address): void
  /** IPv6 addresses of a device that went down have been suspended. */
  addressesSuspended?(device: Device): void
  /** After it has gone from device.addresses; `ended`: with all others of IPv6, which the device has no more. */
  addressRemoved?(device: Device, address: Address, ended: boolean): void
  /** A primary address is about to go, and leaves its subnet to its secondary ones: this is one of them. */
  primaryLeaves?(device: Device, address: Address, primary: Address): void
  /** It has gone: what is left of its subnet, the first one primary by now. */
  primaryLeft?(device: Device, address: Address): void
  /** device.up changed. */
  linkChanged?(device: Device): void
  deviceAdded?(device: Device): void
  /** Before the device goes; its addresses have gone already. */
  deviceRemoved?(device: Device): void
  deviceRenamed?(device: Device, old: string): void
  mtuChanged?(device: Device): void
  /** The MTU that IPv6 has of the device, conf6.mtu, is about to be the device's own (rt6_mtu_change). */
  mtu6Changes?(device: Device): void
  /** device.conf6.forwarding or disabled changed. `turn`: IPv6 begins on the device, or ends. */
  ipv6Changed?(device: Device, turn?: 'begins' | 'ends'): void
  /** device.link.noArp changed, and the device is up. */
  arpChanged?(device: Device): void
}

type Combine = 'max' | 'or' | 'and' | 'own'

/** net.ipv4.conf.*: defaults of `all` and `default` (ipv4_devconf, ipv4_devconf_dflt in devinet.c), and how both count. */
interface ConfSpec {
  readonly name: string
  readonly all: number
  readonly initial: number
  readonly field?: keyof DeviceConf
  readonly combine?: Combine
  /** Value of a loopback device where it differs (inetdev_init, loopback). */
  readonly loopback?: number
  readonly readOnly?: boolean
  /** Written by ipv4_doint_and_flush(): `default` is for devices to come only. */
  readonly later?: boolean
}

/** Whether that it becomes `value` makes rtables invalid (devinet_conf_proc(), devinet_sysctl_forward()). */
const flushes = ({ name, later }: ConfSpec, value: number): boolean =>
  later === true ||
  name === 'forwarding' ||
  name === 'bc_forwarding' ||
  (name === 'accept_local' && value === 0)

const CONF: readonly ConfSpec[] = [
  { name: 'accept_local', all: 0, initial: 0, field: 'acceptLocal', combine: 'or' },
  { name: 'accept_redirects', all: 1, initial: 1 },
  { name: 'accept_source_route', all: 0, initial: 1, field: 'acceptSourceRoute', combine: 'and' },
  { name: 'arp_accept', all: 0, initial: 0 },
  { name: 'arp_announce', all: 0, initial: 0 },
  { name: 'arp_evict_nocarrier', all: 1, initial: 1 },
  { name: 'arp_filter', all: 0, initial: 0 },
  { name: 'arp_ignore', all: 0, initial: 0 },
  { name: 'arp_notify', all: 0, initial: 0 },
  { name: 'bc_forwarding', all: 0, initial: 0, field: 'bcForwarding', combine: 'and' },
  { name: 'bootp_relay', all: 0, initial: 0 },
  { name: 'disable_policy', all: 0, initial: 0, loopback: 1, later: true },
  { name: 'disable_xfrm', all: 0, initial: 0, loopback: 1, later: true },
  { name: 'drop_gratuitous_arp', all: 0, initial: 0 },
  {
    name: 'drop_unicast_in_l2_multicast',
    all: 0,
    initial: 0,
    field: 'dropUnicastInL2Multicast',
    combine: 'or',
    later: true,
  },
  { name: 'force_igmp_version', all: 0, initial: 0 },
  { name: 'forwarding', all: 0, initial: 0, field: 'forwarding', combine: 'own' },
  { name: 'igmpv2_unsolicited_report_interval', all: 10000, initial: 10000 },
  { name: 'igmpv3_unsolicited_report_interval', all: 1000, initial: 1000 },
  { name: 'ignore_routes_with_linkdown', all: 0, initial: 0 },
  { name: 'log_martians', all: 0, initial: 0, field: 'logMartians', combine: 'or' },
  { name: 'mc_forwarding', all: 0, initial: 0, readOnly: true },
  { name: 'medium_id', all: 0, initial: 0 },
  {
    name: 'promote_secondaries',
    all: 0,
    initial: 0,
    field: 'promoteSecondaries',
    combine: 'or',
    later: true,
  },
  { name: 'proxy_arp', all: 0, initial: 0 },
  { name: 'proxy_arp_pvlan', all: 0, initial: 0 },
  { name: 'route_localnet', all: 0, initial: 0, field: 'routeLocalnet', combine: 'or', later: true },
  { name: 'rp_filter', all: 0, initial: 0, field: 'rpFilter', combine: 'max' },
  { name: 'secure_redirects', all: 1, initial: 1, field: 'secureRedirects', combine: 'or' },
  { name: 'send_redirects', all: 1, initial: 1, field: 'sendRedirects', combine: 'or' },
  { name: 'shared_media', all: 1, initial: 1, field: 'sharedMedia', combine: 'or' },
  { name: 'src_valid_mark', all: 0, initial: 0, field: 'srcValidMark', combine: 'or' },
  { name: 'tag', all: 0, initial: 0 },
]
const FORWARDING = CONF.findIndex((c) => c.name === 'forwarding')

/** One row of net.ipv4.conf: values in the order of CONF. */
interface ConfRow {
  readonly values: number[]
  /** Rows of devices: values written for this device, which `default` no longer changes (ipv4_devconf.state). */
  readonly own: boolean[]
}

const ALL = 'all'
const DEFAULT = 'default'
/** What the addresses of lo have in common. */
const LOOPBACK_ADDRESS = { broadcast: null, peer: null, scope: Scope.Host, secondary: false }

export class Devices {
  /** By ifindex; hole: undefined. */
  readonly byIndex: (Device | undefined)[] = []
  /** Raised at every change; interface-name tables of the rules compare it. */
  generation = 0
  /** Those of them for which the kernel keeps the rtables that it has made (rt_genid stays). */
  quietChanges = 0
  /** The loopback device; always there. */
  readonly loopback: Device

  readonly #names = new Map<string, Device>()
  readonly #altNames = new Map<string, Device>()
  readonly #rows = new Map<string, ConfRow>()
  readonly #tunables: Tunables
  readonly #listeners: DeviceListener[] = []
  /** Every IPv4 address of a device (inet_addr_lst), with how many times it stands there. */
  readonly #addresses4 = new Map<number, number>()
  /** While conf.all.forwarding or a default spreads: the rows are right already. */
  #spreading = false
  /** Defaults are being set, which is no write. */
  #declaring = false

  /**
   * Declares net.ipv4.conf.{all,default} and net.ipv4.ip_forward, and makes `lo` (ifindex 1, up, without
   * addresses: Host gives it 127.0.0.1/8 once the routes are there to follow).
   */
  constructor(tunables: Tunables) {
    this.#tunables = tunables
    this.#declareRow(ALL, null)
    this.#declareRow(DEFAULT, null)
    tunables.alias('net.ipv4.ip_forward', `net.ipv4.conf.${ALL}.forwarding`)
    this.loopback = this.add('lo', 65536, { index: 1, loopback: true })
  }

  listen(listener: DeviceListener): void {
    this.#listeners.push(listener)
  }

  byName(name: string): Device | undefined {
    return this.#names.get(name)
  }

  /** By its name, or another one that it has been given (__dev_get_by_name). */
  byAnyName(name: string): Device | undefined {
    return this.#names.get(name) ?? this.#altNames.get(name)
  }

  /** netdev_name_node_alt_create(). Throws DeviceError if some device has that name. */
  addAltName(device: Device, name: string): void {
    if (this.byAnyName(name) !== undefined) throw new DeviceError('EEXIST', 'File exists')
    device.link.altNames.push(name)
    this.#altNames.set(name, device)
    this.generation++
  }

  /** netdev_name_node_alt_destroy(). Throws DeviceError if it is not another name of this device. */
  removeAltName(device: Device, name: string): void {
    const found = this.byAnyName(name)
    if (found === undefined) throw new DeviceError('ENOENT', 'No such file or directory')
    const at = device.link.altNames.indexOf(name)
    if (at < 0) throw new DeviceError('EINVAL', 'Invalid argument')
    device.link.altNames.splice(at, 1)
    this.#altNames.delete(name)
    this.generation++
  }

  all(): Device[] {
    return this.byIndex.filter((d) => d !== undefined)
  }

  /**
   * A new device. Asking for a loopback device again changes the MTU and state of the one that is there.
   * Throws DeviceError for a name or number in use, or an unusable name (dev_valid_name).
   */
  add(name: string, mtu: number, options: DeviceOptions = {}): Device {
    const there = this.byAnyName(name)
    if (there?.loopback && options.loopback && (options.index ?? 1) === there.index) {
      this.setMtu(there, mtu)
      this.setUp(there, options.up ?? true)
      this.generation++
      return there
    }
    if (there !== undefined) throw new DeviceError('EEXIST', `device "${name}" already exists`)
    if (!validName(name)) throw new DeviceError('EINVAL', `"${name}" is not a valid interface name`)
    let index = options.index ?? 0
    if (index === 0) {
      index = 1
      while (this.byIndex[index] !== undefined) index++
    } else if (this.byIndex[index] !== undefined)
      throw new DeviceError('EEXIST', `interface number ${index} is in use by "${this.byIndex[index]!.name}"`)
    const device = newDevice(index, name, mtu, options)
    while (this.byIndex.length <= index) this.byIndex.push(undefined)
    this.byIndex[index] = device
    this.#names.set(name, device)
    this.#declareRow(name, device)
    this.generation++
    for (const l of this.#listeners) l.deviceAdded?.(device)
    return device
  }

  remove(device: Device): void {
    if (device.loopback) throw new DeviceError('EINVAL', 'the loopback device cannot be removed')
    for (const address of [...device.addresses].reverse())
      if (device.addresses.includes(address)) this.removeAddress(device, address)
    if (device.up) this.setUp(device, false)
    for (const l of this.#listeners) l.deviceRemoved?.(device)
    for (const spec of CONF) this.#tunables.undeclare(sysctl(device.name, spec.name))
    this.#rows.delete(device.name)
    this.#names.delete(device.name)
    for (const other of device.link.altNames) this.#altNames.delete(other)
    this.byIndex[device.index] = undefined
    this.generation++
  }

  setUp(device: Device, up: boolean): void {
    if (device.up === up) return
    device.up = up
    if (up && !device.link.wasUp) {
      device.link.wasUp = true
      device.link.noQueue ||= device.link.txQueueLength === 0
    }
    this.generation++
    if (up) this.#resumeAddresses6(device)
    for (const l of this.#listeners) l.linkChanged?.(device)
    if (device.loopback && up) {
      this.#loopback4(device)
      this.#loopback6(device)
    }
    if (!up) {
      if (device.conf6.keepsAddresses && !device.conf6.disabled) this.#suspendAddresses6(device)
      this.#dropAddresses6(device)
    }
  }

  /** inetdev_event(): lo that comes up has its address. */
  #loopback4(device: Device): void {
    if (device.addresses.some((a) => a.family === 4 && a.words[0] === 0x7f000001 && a.prefixLength === 8))
      return
    this.addAddress(device, {
      ...LOOPBACK_ADDRESS,
      family: 4,
      words: [0x7f000001, 0, 0, 0],
      prefixLength: 8,
      label: device.name,
    })
  }

  /** init_loopback(): so it has that of IPv6, for a moment only where the MTU is too small. */
  #loopback6(device: Device): void {
    if (device.mtu < IPV6_MIN_MTU) return
    const itself = (a: Address): boolean =>
      a.family === 6 && a.words[3] === 1 && (a.words[0] | a.words[1] | a.words[2]) === 0
    if (device.addresses.some(itself)) return
    this.addAddress(device, {
      ...LOOPBACK_ADDRESS,
      family: 6,
      words: [0, 0, 0, 1],
      prefixLength: 128,
      label: null,
    })
  }

  /** dev_change_name(): only the device's own sysctls follow. Throws DeviceError for a name in use or unusable. */
  rename(device: Device, name: string): void {
    if (device.name === name) return
    if (this.byAnyName(name) !== undefined) throw new DeviceError('EEXIST', 'File exists')
    if (!validName(name)) throw new DeviceError('EINVAL', 'Invalid argument')
    const row = this.#rows.get(device.name)!
    const old = device.name
    for (const spec of CONF) this.#tunables.undeclare(sysctl(device.name, spec.name))
    this.#rows.delete(device.name)
    this.#names.delete(device.name)
    let nth = 0
    for (const [i, a] of device.addresses.entries())
      if (a.family === 4) device.addresses[i] = { ...a, label: relabel(a.label ?? old, name, ++nth) }
    device.name = name
    this.#names.set(name, device)
    this.#declareRow(name, device)
    for (const [i, spec] of CONF.entries()) {
      this.#spreading = true
      if (!spec.readOnly) this.#tunables.set(sysctl(name, spec.name), row.values[i]!)
      this.#spreading = false
      this.#rows.get(name)!.own[i] = row.own[i]!
    }
    this.#combine(device)
    this.generation++
    for (const l of this.#listeners) l.deviceRenamed?.(device, old)
  }

  /** Replaces an address in its place (`ip addr change`): the same words and length. */
  changeAddress(device: Device, old: Address, now: Address): void {
    const at = device.addresses.indexOf(old)
    if (at < 0) throw new DeviceError('EADDRNOTAVAIL', 'Address not found')
    device.addresses[at] = now
    if (now.lifetime !== undefined) this.mortal = true
    this.generation++
    for (const l of this.#listeners) l.addressAdded?.(device, now, old)
  }

  /** Some address has a lifetime. */
  mortal = false

  /** An address whose preferred time is over. */
  markDeprecated(device: Device, address: Address): void {
    device.addresses[device.addresses.indexOf(address)] = { ...address, deprecated: true }
    this.generation++
  }

  /** What `device.link` says has changed: what was looked up by it is old. */
  touch(flushes = true): void {
    this.generation++
    if (!flushes) this.quietChanges++
  }

  /** device.link.noArp says something else. */
  arpChanged(device: Device): void {
    this.generation++
    if (device.up) for (const l of this.#listeners) l.arpChanged?.(device)
  }

  setMtu(device: Device, mtu: number): void {
    // netif_set_mtu_ext(): nobody is told then.
    if (device.mtu === mtu) return
    device.mtu = mtu
    this.generation++
    for (const l of this.#listeners) l.mtuChanged?.(device)
  }

  /** See DeviceListener. */
  announceMtu6(device: Device): void {
    for (const l of this.#listeners) l.mtu6Changes?.(device)
  }

  /**
   * device.conf6 says something else: addresses go with IPv6 (addrconf_ifdown), those of lo come again with it. `turn`: IPv6
   * was disabled there, or is now.
   */
  ipv6Changed(device: Device, turn?: 'begins' | 'ends'): void {
    this.generation++
    if (device.conf6.disabled) this.#dropAddresses6(device)
    else if (turn === 'begins' && device.loopback && device.up) this.#loopback6(device)
    for (const l of this.#listeners) l.ipv6Changed?.(device, turn)
  }

  /** addrconf_ifdown(): IPv6 addresses outlive neither IPv6 nor, but for those that are kept, the link. */
  #dropAddresses6(device: Device): void {
    for (const address of device.addresses.filter((a) => a.family === 6))
      if (device.conf6.disabled || !address.suspended)
        this.#drop(device, device.addresses.indexOf(address), true)
  }

  /** addrconf_ifdown() of a link that keeps addresses: permanent ones of more than the link. */
  #suspendAddresses6(device: Device): void {
    const isKept = (a: Address): boolean =>
      a.family === 6 && isPermanent(a) && a.scope !== Scope.Link && a.scope !== Scope.Host
    for (const [i, address] of device.addresses.entries())
      if (isKept(address)) device.addresses[i] = { ...address, suspended: true }
    for (const l of this.#listeners) l.addressesSuspended?.(device)
  }

  /** addrconf_permanent_addr(): what was kept is used again, if it is permanent still. */
  #resumeAddresses6(device: Device): void {
    for (const [i, address] of device.addresses.entries()) {
      if (!address.suspended || !isPermanent(address)) continue
      const { suspended: _, peerRoute: _peer, ...resumed } = address
      device.addresses[i] = resumed
    }
  }

  /**
   * As __inet_insert_ifa(): an address in the subnet of one that is there becomes a secondary one, and stands
   * behind all primary ones. Throws DeviceError for one that the device has already.
   */
  addAddress(device: Device, address: Address): void {
    let secondary = address.secondary
    for (const other of device.addresses) {
      if (other.family !== address.family) continue
      if (address.family === 4) {
        if (other.prefixLength !== address.prefixLength || !inSubnet(prefixOf(address), other)) continue
        if (other.words[0] === address.words[0]) throw new DeviceError('EEXIST', 'Address already assigned')
        if (other.scope !== address.scope) throw new DeviceError('EINVAL', 'Invalid scope value')
        secondary = true
      } else if (other.words.every((w, i) => w === address.words[i]))
        throw new DeviceError('EEXIST', 'Address already assigned')
    }
    const own: Address = secondary === address.secondary ? address : { ...address, secondary }
    if (own.family === 4) {
      // Primary ones behind those of the same or a narrower scope.
      const behind = device.addresses.findLastIndex(
        (a) => a.family === 4 && (secondary || (!a.secondary && own.scope <= a.scope)),
      )
      device.addresses.splice(behind + 1, 0, own)
    } else {
      // ipv6_link_dev_addr(): wide scopes first, in each the youngest first.
      const before = device.addresses.findIndex((a) => a.family === 6 && a.scope >= own.scope)
      device.addresses.splice(before < 0 ? device.addresses.length : before, 0, own)
    }
    if (own.family === 4) {
      const word = own.words[0]
      this.#addresses4.set(word, (this.#addresses4.get(word) ?? 0) + 1)
      // ipv4_devconf_setall(): from the first address on, `default` no longer reaches this device.
      this.#rows.get(device.name)!.own.fill(true)
    }
    if (own.lifetime !== undefined) this.mortal = true
    this.generation++
    for (const l of this.#listeners) l.addressAdded?.(device, own)
  }

  /**
   * As __inet_del_ifa(): with a primary address its secondary ones go, unless promote_secondaries makes the first
   * of them primary. Throws DeviceError if the device has no such address.
   */
  removeAddress(device: Device, address: Address): void {
    const at = device.addresses.findIndex(
      (a) =>
        a.family === address.family &&
        a.prefixLength === address.prefixLength &&
        a.words.every((w, i) => w === address.words[i]),
    )
    if (at < 0) throw new DeviceError('EADDRNOTAVAIL', 'Address not found')
    const gone = device.addresses[at]!
    const dependants =
      gone.family === 4 && !gone.secondary
        ? device.addresses.filter(
            (a) =>
              a.family === 4 &&
              a.secondary &&
              a.prefixLength === gone.prefixLength &&
              inSubnet(prefixOf(gone), a),
          )
        : []
    if (device.conf.promoteSecondaries && dependants.length > 0) {
      this.#promote(device, gone, dependants)
      return
    }
    for (const d of dependants) this.#drop(device, device.addresses.indexOf(d))
    this.#drop(device, device.addresses.indexOf(gone))
  }

  /** __inet_del_ifa(): the first secondary address takes the place of a primary one. */
  #promote(device: Device, gone: Address, dependants: readonly Address[]): void {
    for (const l of this.#listeners) for (const d of dependants) l.primaryLeaves?.(device, d, gone)
    this.#drop(device, device.addresses.indexOf(gone))
    const promoted = { ...dependants[0]!, secondary: false }
    device.addresses.splice(device.addresses.indexOf(dependants[0]!), 1)
    const primaries = device.addresses.findLastIndex((a) => a.family === 4 && !a.secondary)
    device.addresses.splice(primaries + 1, 0, promoted)
    for (const l of this.#listeners)
      for (const d of [promoted, ...dependants.slice(1)]) l.primaryLeft?.(device, d)
  }

  #drop(device: Device, at: number, ended = false): void {
    const [gone] = device.addresses.splice(at, 1)
    if (gone!.family === 4) {
      const left = this.#addresses4.get(gone!.words[0])! - 1
      if (left === 0) this.#addresses4.delete(gone!.words[0])
      else this.#addresses4.set(gone!.words[0], left)
    }
    this.generation++
    for (const l of this.#listeners) l.addressRemoved?.(device, gone!, ended)
  }

  /** inet_lookup_ifaddr_rcu(): some device has exactly this address. */
  hasAddress4(word: number): boolean {
    return this.#addresses4.has(word)
  }

  /**
   * inet_select_addr(): the address with which `device` would talk to `dst` (0: anybody), of at most that scope;
   * 0 if there is none on any device.
   */
  selectAddress4(device: Device, dst: number, scope: number): number {
    const localnet = device.conf.routeLocalnet ? Scope.Link : Scope.Host
    let found = 0
    for (const a of device.addresses) {
      if (a.family !== 4 || a.secondary) continue
      if (Math.min(a.scope, localnet) > scope) continue
      if (dst === 0 || inSubnet(dst, a)) return a.words[0]
      if (found === 0) found = a.words[0]
    }
    if (found !== 0) return found
    for (const other of this.byIndex) {
      if (other === undefined || other === device) continue
      for (const a of other.addresses)
        if (a.family === 4 && !a.secondary && a.scope !== Scope.Link && a.scope <= scope) return a.words[0]
    }
    return 0
  }

  /** inet_addr_onlink(): both words lie in the subnet of one primary address of the device; `b` 0: not asked. */
  onLink4(device: Device, a: number, b: number): boolean {
    for (const x of device.addresses)
      if (x.family === 4 && !x.secondary && inSubnet(a, x) && (b === 0 || inSubnet(b, x))) return true
    return false
  }

  #declareRow(name: string, device: Device | null): void {
    const base = name === ALL ? null : this.#rows.get(DEFAULT)
    const row: ConfRow = {
      values: CONF.map((c, i) => {
        if (name === ALL) return c.all
        if (device?.loopback && c.loopback !== undefined) return c.loopback
        return base?.values[i] ?? c.initial
      }),
      // inetdev_init() copies the whole of ipv4_devconf_dflt, what was written to it included.
      own: CONF.map((_, i) => base?.own[i] ?? false),
    }
    this.#rows.set(name, row)
    for (const [i, spec] of CONF.entries()) {
      const full = sysctl(name, spec.name)
      const kept = this.#tunables.text(full)
      this.#declaring = true
      this.#tunables.declare({
        name: full,
        default: row.values[i]!,
        min: -0x80000000,
        max: 0x7fffffff,
        ...(spec.readOnly ? { readOnly: true } : {}),
        apply: (value) => this.#write(name, i, value),
        // devinet_conf_proc() marks the value as the device's own, whatever was written.
        refused: () => {
          row.own[i] = true
        },
      })
      this.#declaring = false
      // A value that was kept for a device to come is a write.
      if (kept !== undefined) row.own[i] = true
    }
    if (device !== null) this.#combine(device)
  }

  /** A sysctl was written (devinet_conf_proc, devinet_sysctl_forward). */
  #write(name: string, i: number, value: number): void {
    const row = this.#rows.get(name)!
    const changed = row.values[i] !== value
    row.values[i] = value
    if (this.#spreading || this.#declaring) return
    row.own[i] = true
    if (!changed) return
    this.generation++
    if (!flushes(CONF[i]!, value)) this.quietChanges++
    if (name === ALL && i === FORWARDING) {
      this.#spread(i, value, true)
      this.#redirects(value)
    } else if (name === DEFAULT && i !== FORWARDING && !CONF[i]!.later) this.#spread(i, value, false)
    for (const device of this.byIndex) if (device !== undefined) this.#combine(device)
  }

  /**
   * inet_forward_change(): `all` sets `default` and every device. devinet_copy_dflt_conf(): `default` sets the
   * devices that never had a value of their own.
   */
  #spread(i: number, value: number, everywhere: boolean): void {
    this.#spreading = true
    for (const [name, row] of this.#rows) {
      if (name === ALL || (name === DEFAULT && !everywhere)) continue
      if (!everywhere && row.own[i]) continue
      if (everywhere) row.own[i] = true
      this.#tunables.set(sysctl(name, CONF[i]!.name), value)
    }
    this.#spreading = false
  }

  /** inet_forward_change(): a router does not listen to redirects. */
  #redirects(forwarding: number): void {
    this.#spreading = true
    this.#tunables.set(sysctl(ALL, 'accept_redirects'), forwarding === 0 ? 1 : 0)
    this.#spreading = false
  }

  #combine(device: Device): void {
    const all = this.#rows.get(ALL)!.values
    const own = this.#rows.get(device.name)!.values
    const conf = device.conf as unknown as Record<string, boolean | number>
    for (const [i, spec] of CONF.entries()) {
      if (spec.field === undefined) continue
      const a = all[i]!
      const b = own[i]!
      if (spec.combine === 'max') conf[spec.field] = Math.max(a, b)
      else if (spec.combine === 'or') conf[spec.field] = a !== 0 || b !== 0
      else if (spec.combine === 'and') conf[spec.field] = a !== 0 && b !== 0
      else conf[spec.field] = b !== 0
    }
  }
}

/** IFNAMSIZ without the final 0. */
const MAX_LABEL = 15

/** dev_valid_name(), and none that would clash with a sysctl's. */
function validName(name: string): boolean {
  return /^[^\s/:]{1,15}$/.test(name) && name !== '.' && name !== '..' && name !== ALL && name !== DEFAULT
}

/**
 * inetdev_changename(): the label of IPv4 address number `nth` (1 for the first) of a device that has a new name. The first has
 * the name alone, the others what stood behind the colon of theirs, or their number.
 */
function relabel(label: string, name: string, nth: number): string {
  if (nth === 1) return name
  const colon = label.indexOf(':')
  const tail = colon < 0 ? `:${nth}` : label.slice(colon)
  return name.slice(0, MAX_LABEL - tail.length) + tail
}

/** Name of a device's sysctl; a dot in an interface name is printed as a slash. */
export function sysctl(device: string, name: string): string {
  return `net.ipv4.conf.${device.replaceAll('.', '/')}.${name}`
}

/** ifa_address: what the prefix is of. */
export function prefixOf(a: Address): number {
  return a.peer ?? a.words[0]
}

/** inet_ifa_match(): the word lies in the subnet of an address. */
export function inSubnet(word: number, a: Address): boolean {
  return a.prefixLength === 0 || (word ^ prefixOf(a)) >>> (32 - a.prefixLength) === 0
}

/** Scope that `ip addr add` gives an IPv4 address when none is said. */
export function defaultScope(word: number): number {
  return isLoopback4(word) ? Scope.Host : Scope.Universe
}
