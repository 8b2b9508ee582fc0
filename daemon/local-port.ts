// The namespace of the host's processes: a TUN device with the host's addresses, and routes by which all that they send
// comes to tunwall, to their own addresses too. Kept as the host's addresses and routes are.
//
//     pref 10  from the TUN device     all addresses are local          what INPUT accepted
//     pref 20  sent here               the host's routes, by the TUN    source addresses as the host would choose them
//     pref 30  the rest                the namespace's local table
//
// The rule for the local table has priority 0 and would come first: it moves to 30. 127.0.0.0/8 goes through tunwall's lo
// like the host's other addresses; ::1 stays where it is (pref 15), because no TUN device may carry it.

import { spawnSync } from 'node:child_process'
import { RouteType, Table } from '../datapath/fib.ts'
import type { Host } from '../datapath/host.ts'
import type { Family } from '../datapath/packet.ts'
import { formatAddress } from '../datapath/wire/address.ts'
import { CommandError } from './errors.ts'
import type { LocalConfig } from './host-folder/config.ts'
import { netnsPath } from './netns.ts'

/** Tables of the namespace: what comes from tunwall, what goes there. */
const IN = 29811
const OUT = 29812
const MTU = 65535
/** Hosts with more routes than this have one in the namespace, so that a change costs no more than a moment. */
const MOST_ROUTES = 1024
/** The last of all: whatever the host's routes do not say is the host's to refuse. */
const LAST_METRIC = 0xffffffff
const FAMILIES = [4, 6] as const
const NOTHING: { readonly addresses: ReadonlySet<string>; readonly routes: ReadonlySet<string> } = {
  addresses: new Set(),
  routes: new Set(),
}

export class LocalNamespace {
  readonly #config: LocalConfig
  readonly #host: Host
  /** What of the host stands in the namespace, in the words of ip(8). */
  readonly #there = { 4: NOTHING, 6: NOTHING }
  #devicesGeneration = -1
  #fibGeneration = -1

  constructor(config: LocalConfig, host: Host) {
    this.#config = config
    this.#host = host
  }

  /** Once, when the device is there. Throws CommandError. */
  setUp(): void {
    const { name } = this.#config
    this.#run(['sh', '-ec', SYSCTLS, 'sh', name])
    this.#leave()
    this.#batch(4, ['link set dev lo up', `link set dev ${name} mtu ${MTU} up`], true)
    for (const family of FAMILIES) {
      if (family === 6 && !this.#hasIpv6()) continue
      const lines = [
        `route replace local default dev ${name} table ${IN}`,
        `rule add pref 10 iif ${name} lookup ${IN}`,
        `rule add pref 20 iif lo lookup ${OUT}`,
        ...(family === 6 ? ['rule add pref 15 to ::1 lookup local'] : []),
        'rule add pref 30 lookup local',
        'rule del pref 0',
      ]
      this.#batch(family, lines, true)
    }
    this.sync()
  }

  /** Follows the host's addresses and routes, if they have changed. */
  sync(): void {
    const { devices, fib } = this.#host
    if (devices.generation === this.#devicesGeneration && fib.generation === this.#fibGeneration) return
    this.#devicesGeneration = devices.generation
    this.#fibGeneration = fib.generation
    for (const family of FAMILIES) {
      const addresses = new Set(this.#wantedAddresses(family))
      const routes = new Set(this.#wantedRoutes(family))
      const old = this.#there[family]
      // Routes name source addresses: they go first and come last.
      const lines = [
        ...[...old.routes].filter((r) => !routes.has(r)).map((r) => `route del ${r}`),
        ...[...old.addresses].filter((a) => !addresses.has(a)).map((a) => `addr del ${a}`),
        ...[...addresses].filter((a) => !old.addresses.has(a)).map((a) => `addr add ${a}`),
        ...[...routes].filter((r) => !old.routes.has(r)).map((r) => `route add ${r}`),
      ]
      this.#there[family] = { addresses, routes }
      if (lines.length > 0) this.#batch(family, lines, false)
    }
  }

  /** The namespace's own rules again. */
  close(): void {
    this.#leave()
  }

  #hasIpv6(): boolean {
    return this.#host.devices.all().some((d) => d.addresses.some((a) => a.family === 6 && !d.loopback))
  }

  *#wantedAddresses(family: Family): Iterable<string> {
    const { name } = this.#config
    for (const device of this.#host.devices.all())
      if (!device.loopback)
        for (const a of device.addresses)
          if (a.family === family)
            yield `${formatAddress(family, a.words)}/${family === 4 ? 32 : 128} dev ${name}${family === 4 ? '' : ' nodad'}`
  }

  *#wantedRoutes(family: Family): Iterable<string> {
    const { name } = this.#config
    const { devices, fib } = this.#host
    let first: string | null = null
    for (const device of devices.all()) {
      if (device.loopback) continue
      for (const address of device.addresses) {
        if (address.family !== family) continue
        const text = formatAddress(family, address.words)
        if (address.scope === 0) first ??= text
        yield `${text}/${family === 4 ? 32 : 128} dev ${name} src ${text} table ${OUT}`
      }
    }
    if (family === 4) yield `127.0.0.0/8 dev ${name} src 127.0.0.1 table ${OUT}`
    const known = new Set<string>()
    const listed = [...fib.routes(family, Table.Main), ...fib.routes(family, Table.Default)]
    for (const r of listed.length > MOST_ROUTES ? [] : listed) {
      const from = r.from === null ? '' : ` from ${formatAddress(6, r.from.words)}/${r.from.prefixLength}`
      const prefix = `${formatAddress(family, r.dst)}/${r.prefixLength}${from}`
      if (r.type !== RouteType.Unicast || known.has(prefix)) continue
      const via = r.nexthops?.[0]?.device ?? r.device
      if (via === null || via.loopback) continue
      known.add(prefix)
      const word = family === 4 ? fib.sourceFor(r, r.dst[0]) : 0
      const source = r.source ?? (word === 0 ? null : ([word, 0, 0, 0] as const))
      const src = source === null ? '' : ` src ${formatAddress(family, source)}`
      yield `${prefix} dev ${name}${src} mtu ${r.mtu === 0 ? via.mtu : r.mtu} table ${OUT}`
    }
    if (first !== null)
      yield `default dev ${name} src ${first} mtu ${this.#widest()} metric ${LAST_METRIC} table ${OUT}`
  }

  #widest(): number {
    return Math.max(...this.#host.devices.all().map((d) => (d.loopback ? 1280 : d.mtu)))
  }

  /** What an earlier run, or this one, has put into the namespace. */
  #leave(): void {
    for (const family of FAMILIES)
      this.#batch(
        family,
        [
          'rule add pref 0 protocol kernel lookup local',
          ...[10, 15, 20, 30].map((p) => `rule del pref ${p}`),
        ],
        false,
      )
  }

  #exec(argv: readonly string[], lines: readonly string[]) {
    const path = netnsPath(this.#config.namespace)!
    return spawnSync('nsenter', [`--net=${path}`, ...argv], {
      encoding: 'utf8',
      input: lines.map((l) => `${l}\n`).join(''),
    })
  }

  /** `strict`: a refusal ends the start; later ones leave what could be had. */
  #batch(family: Family, lines: readonly string[], strict: boolean): void {
    const done = this.#exec(['ip', `-${family}`, ...(strict ? [] : ['-force']), '-batch', '-'], lines)
    if (!strict || done.status === 0) return
    const at = /^Command failed -:(\d+)/m.exec(done.stderr ?? '')
    const which = at === null ? '' : `ip ${lines[Number(at[1]) - 1]}`
    this.#complain(which, done.error?.message ?? done.stderr)
  }

  #run(argv: readonly string[]): void {
    const done = this.#exec(argv, [])
    if (done.status !== 0) this.#complain('sysctls', done.error?.message ?? done.stderr)
  }

  #complain(what: string, reason: string): never {
    throw new CommandError(`${what} (in ${this.#config.namespace}): ${reason.trim().split('\n')[0]}`)
  }
}

/** What comes from tunwall has been looked at there. IPv6 may be off altogether. */
const SYSCTLS = `
set_() { if [ -e "/proc/sys/net/$1" ]; then echo "$2" > "/proc/sys/net/$1"; fi; }
set_ "ipv4/conf/$1/rp_filter" 0
set_ "ipv4/conf/$1/accept_local" 1
set_ "ipv4/conf/$1/route_localnet" 1
set_ "ipv6/conf/$1/addr_gen_mode" 1
set_ "ipv6/conf/$1/accept_ra" 0
set_ "ipv6/conf/$1/accept_dad" 0
set_ "ipv6/conf/$1/disable_ipv6" 0
`
