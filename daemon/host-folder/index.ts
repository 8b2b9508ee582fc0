// The host folder: files that stock tools print, and host.yaml written by hand, into one HostConfig.
//
//     ip-addr.json ─┐                      ┌─ interfaces, addresses, ports
//     ip-route.json ┼─ read ─ merge with ──┼─ routes and rules, devices resolved
//     ip-rule.json ─┤         host.yaml    ├─ sysctls
//     sysctl ───────┘                      └─ texts of iptables-save and its kin, parsed by the engine
//
// The first mistake ends it with a PlaceError; nothing has been applied by then.

import { statSync } from 'node:fs'
import { join } from 'node:path'
import { RouteType, type Words } from '../../datapath/fib.ts'
import type { Family } from '../../datapath/packet.ts'
import { inPrefix, maskedWords, sameWords } from '../../datapath/route.ts'
import { formatAddress } from '../../datapath/wire/address.ts'
import type { Place } from '../../rules/model.ts'
import { PlaceError, systemReason } from '../errors.ts'
import { formatPrefix } from './address.ts'
import type {
  AddressConfig,
  HostConfig,
  InterfaceConfig,
  LocalConfig,
  RouteConfig,
  RoutingConfig,
  RuleConfig,
  SysctlConfig,
} from './config.ts'
import { type HostYaml, type InterfaceWords, readHostYaml, type Said } from './host-yaml.ts'
import { readInterfaces, readRoutes, readRules } from './iproute.ts'
import { parseJson } from './json.ts'
import { SCOPE_HOST, TABLE_DEFAULT, TABLE_LOCAL, TABLE_MAIN, TableNames } from './names.ts'
import { type Cursor, type Origin, SourceFile } from './source.ts'
import { inOrderOfEffect, readSysctls, sysctlInterface } from './sysctl.ts'
import { isRefusal, plainRule } from './words.ts'
import { parseYaml } from './yaml.ts'

/** Reads a host folder. Throws PlaceError for the first thing that is wrong with it. */
export function loadHostFolder(directory: string): HostConfig {
  try {
    if (!statSync(directory).isDirectory())
      throw new PlaceError('is no directory', { file: directory, line: 1, column: 1 })
  } catch (error) {
    if (error instanceof PlaceError) throw error
    throw new PlaceError(`no host folder: ${systemReason(error)}`, { file: directory, line: 1, column: 1 })
  }
  return loadHost(directory, (name, bytes) => SourceFile.read(join(directory, name), bytes))
}

/**
 * A host from files wherever they are: `read` gives the file of that name in the folder, `bytes` with a character for
 * each byte, or null. `directory`: what messages call the folder. Throws PlaceError.
 */
export function loadHost(
  directory: string,
  read: (name: string, bytes: boolean) => SourceFile | null,
): HostConfig {
  const file = (name: string): SourceFile | null => read(name, false)
  const bytes = (name: string): SourceFile | null => read(name, true)
  const json = <T>(name: string, from: (root: Cursor) => T): T | null => {
    const source = file(name)
    return source === null ? null : from(parseJson(source))
  }

  const tables = new TableNames()
  const names = file('rt_tables')
  if (names !== null) tables.read(names)
  // Captured names first: host.yaml may then use them.
  const captured = json('ip-addr.json', readInterfaces)
  const spill6: RouteConfig[] = []
  const spill4: RouteConfig[] = []
  let routes4 = json('ip-route.json', (root) => readRoutes(root, 4, tables, spill6))
  let routes6 = json('ip6-route.json', (root) => readRoutes(root, 6, tables, spill4))
  if (routes6 === null && spill6.length > 0) routes6 = spill6
  if (routes4 === null && spill4.length > 0) routes4 = spill4
  const rules4 = json('ip-rule.json', (root) => readRules(root, 4, tables))
  const rules6 = json('ip6-rule.json', (root) => readRules(root, 6, tables))
  const sysctlFile = file('sysctl')
  const sysctls = sysctlFile === null ? [] : readSysctls(sysctlFile)
  const yamlFile = file('host.yaml')
  const yaml: HostYaml =
    yamlFile === null
      ? { interfaces: [], local: null, routes: [], rules: [], sysctls: [] }
      : readHostYaml(parseYaml(yamlFile), tables)

  const interfaces = mergeInterfaces(captured ?? [], yaml.interfaces, {
    file: join(directory, 'host.yaml'),
    line: 1,
    column: 1,
  })
  checkPorts(interfaces, yaml.local)
  return {
    directory,
    local: yaml.local,
    interfaces,
    ipv4: mergeRouting(4, interfaces, routes4, rules4, yaml),
    ipv6: mergeRouting(6, interfaces, routes6, rules6, yaml),
    sysctls: mergeSysctls(sysctls, yaml.sysctls, interfaces),
    iptables: bytes('iptables-save'),
    ip6tables: bytes('ip6tables-save'),
    ipset: bytes('ipset-save'),
    fingerprints: bytes('pf.os'),
    policies: bytes('nfct-timeout'),
  }
}

/** Where the other side of a clash stands: "DIR/ip-addr.json:3:5". */
function at(origin: Origin): string {
  const { file, line, column } = origin.place()
  return `${file}:${line}:${column}`
}

function clash(what: string, here: Origin, there: Origin): never {
  throw new PlaceError(`${what} at ${at(there)}`, here.place())
}

// -- interfaces

/** Two interfaces cannot share the device behind their ports, nor one and the local port. */
function checkPorts(interfaces: readonly InterfaceConfig[], local: LocalConfig | null): void {
  const taken = new Map<string, InterfaceConfig>()
  for (const item of interfaces) {
    if (item.port === null) continue
    const device = `${item.port.namespace ?? ''} ${item.port.name}`
    const other = taken.get(device)
    if (other?.port)
      clash(
        `"${item.name}" and "${other.name}" have the same device behind their ports`,
        item.port.origin,
        other.port.origin,
      )
    taken.set(device, item)
  }
  const other = local === null ? undefined : taken.get(`${local.namespace} ${local.name}`)
  if (other?.port)
    clash(
      `"${other.name}" has the same device behind its port as the local port`,
      local!.origin,
      other.port.origin,
    )
}

const LOOPBACK_MTU = 65536

function mergeInterfaces(
  captured: InterfaceConfig[],
  words: readonly InterfaceWords[],
  nowhere: Place,
): InterfaceConfig[] {
  const byName = new Map<string, InterfaceConfig>()
  const byIndex = new Map<number, InterfaceConfig>()
  for (const found of captured) {
    const twin = byName.get(found.name)
    if (twin !== undefined)
      clash(`interface "${found.name}" is here a second time, first`, found.origin, twin.origin)
    const same = byIndex.get(found.index)
    if (same !== undefined)
      clash(`ifindex ${found.index} is that of "${same.name}"`, found.origin, same.origin)
    byName.set(found.name, found)
    byIndex.set(found.index, found)
  }
  if (!byName.has('lo') && !byIndex.has(1)) {
    const lo = loopback(words.find((w) => w.name === 'lo')?.origin ?? { place: () => nowhere })
    byName.set('lo', lo)
    byIndex.set(1, lo)
  }
  let next = 2
  for (const word of words) {
    const known = byName.get(word.name)
    if (known === undefined) {
      while (byIndex.has(next)) next++
      const made = newInterface(word, next)
      byName.set(word.name, made)
      byIndex.set(next, made)
    } else {
      const merged = mergeInterface(known, word)
      byName.set(word.name, merged)
      byIndex.set(merged.index, merged)
    }
  }
  checkNames([...byName.values()])
  return [...byIndex.entries()].sort((a, b) => a[0] - b[0]).map(([, found]) => withSecondaries(found))
}

/** No name is that of two interfaces. */
function checkNames(interfaces: readonly InterfaceConfig[]): void {
  const taken = new Map(interfaces.map(({ name, origin }) => [name, origin]))
  for (const { altNames } of interfaces)
    for (const { name, origin } of altNames) {
      const other = taken.get(name)
      if (other !== undefined) clash(`altname "${name}" is a name already, of`, origin, other)
      taken.set(name, origin)
    }
}

function loopback(origin: Origin): InterfaceConfig {
  const address = {
    peer: null,
    broadcast: null,
    scope: SCOPE_HOST,
    secondary: false,
    noPrefixRoute: false,
    byHand: true,
    metric: 0,
    deprecated: false,
    tentative: false,
    flags: [],
    origin,
  }
  return {
    name: 'lo',
    altNames: [],
    index: 1,
    mtu: LOOPBACK_MTU,
    up: true,
    loopback: true,
    pointToPoint: false,
    mac: null,
    group: 0,
    addresses: [
      { ...address, family: 4, words: [0x7f00_0001, 0, 0, 0], prefixLength: 8, label: 'lo' },
      { ...address, family: 6, words: [0, 0, 0, 1], prefixLength: 128, label: null },
    ],
    port: null,
    origin,
  }
}

function newInterface(word: InterfaceWords, index: number): InterfaceConfig {
  const mac = word.mac?.value ?? null
  const addresses: AddressConfig[] = []
  for (const address of word.addresses) addAddress(addresses, address)
  return {
    name: word.name,
    altNames: [],
    index,
    mtu: word.mtu?.value ?? 1500,
    up: word.up?.value ?? true,
    loopback: false,
    // As a TUN device; an Ethernet interface is not.
    pointToPoint:
      word.pointToPoint?.value ?? (mac === null && (word.port === null || word.port.kind === 'tun')),
    mac,
    group: word.group?.value ?? 0,
    addresses,
    port: word.port,
    origin: word.origin,
  }
}

function mergeInterface(known: InterfaceConfig, word: InterfaceWords): InterfaceConfig {
  const agree = <T>(what: string, said: Said<T>, have: T): T => {
    if (said !== null && said.value !== have)
      clash(`${what} ${said.value} of "${known.name}" clashes with ${have}`, said.origin, known.origin)
    return have
  }
  const addresses = [...known.addresses]
  for (const address of word.addresses) addAddress(addresses, address)
  return {
    ...known,
    mtu: agree('mtu', word.mtu, known.mtu),
    up: agree('up', word.up, known.up),
    pointToPoint: agree('point_to_point', word.pointToPoint, known.pointToPoint),
    mac: word.mac === null ? known.mac : agree<string | null>('mac', word.mac, known.mac),
    group: agree('group', word.group, known.group),
    addresses,
    port: word.port,
  }
}

/** The same address said twice alike is one address; said differently it is a clash. */
function addAddress(addresses: AddressConfig[], added: AddressConfig): void {
  const same = addresses.find((a) => a.family === added.family && sameWords(a.words, added.words))
  if (same === undefined || (same.prefixLength !== added.prefixLength && added.family === 4)) {
    addresses.push(added)
    return
  }
  const alike =
    same.prefixLength === added.prefixLength &&
    sameWords(same.peer, added.peer) &&
    (added.broadcast === null || sameWords(same.broadcast, added.broadcast)) &&
    same.scope === added.scope
  const text = formatAddress(added.family, added.words)
  if (!alike) clash(`address ${text} clashes with ${text}/${same.prefixLength}`, added.origin, same.origin)
}

/** __inet_insert_ifa: a later address of the same subnet and mask is secondary. */
function withSecondaries(found: InterfaceConfig): InterfaceConfig {
  const subnet = (a: AddressConfig): Words => maskedWords(a.peer ?? a.words, a.prefixLength)
  const addresses = found.addresses.map((address, i) => {
    const isSecondary = found.addresses
      .slice(0, i)
      .some(
        (a) =>
          a.family === 4 && a.prefixLength === address.prefixLength && sameWords(subnet(a), subnet(address)),
      )
    return address.family === 4 && isSecondary && !address.secondary
      ? { ...address, secondary: true }
      : address
  })
  return { ...found, addresses }
}

// -- routes and rules

function mergeRouting(
  family: Family,
  interfaces: readonly InterfaceConfig[],
  captured: RouteConfig[] | null,
  capturedRules: RuleConfig[] | null,
  yaml: HostYaml,
): RoutingConfig {
  const names = new Set(interfaces.map((i) => i.name))
  const from =
    captured === null ? 'addresses' : captured.some((r) => r.table === TABLE_LOCAL) ? 'tables' : 'main'
  const routes = new RouteSet(interfaces, family, (address) => from === 'addresses' || address.byHand)
  for (const route of captured ?? []) {
    checkDevices(route, names)
    routes.addCaptured(route)
  }
  for (const route of yaml.routes) {
    if (route.family !== family) continue
    checkDevices(route, names)
    routes.add(route)
  }
  const rules = capturedRules ?? defaultRules(family)
  for (const rule of yaml.rules) if (rule.family === family) addRule(rules, rule)
  return { from, routes: routes.routes, rules }
}

function checkDevices(route: RouteConfig, names: ReadonlySet<string>): void {
  const devices = [route.device, ...(route.nexthops?.map((n) => n.device) ?? [])]
  for (const device of devices)
    if (device !== null && device !== '' && !names.has(device))
      throw new PlaceError(
        `the route to ${destination(route)} leaves through "${device}", which is no interface of this host`,
        route.origin.place(),
      )
}

const destination = (route: RouteConfig): string => formatPrefix(route.family, route.dst, route.prefixLength)

/** Something the gateway of a later route may be reached by. */
interface OnLink {
  readonly dst: Words
  readonly length: number
  readonly device: string
  readonly origin: Origin
  /** The connected route of an address, which is in no list of routes. */
  readonly connected: boolean
  readonly metric: number
}

class RouteSet {
  readonly routes: RouteConfig[] = []
  readonly #family: Family
  readonly #onLink: OnLink[] = []
  readonly #own: AddressConfig[] = []
  readonly #byKey = new Map<string, RouteConfig>()

  /** `follows`: whether the connected route of an address is made from it. */
  constructor(
    interfaces: readonly InterfaceConfig[],
    family: Family,
    follows: (address: AddressConfig) => boolean,
  ) {
    this.#family = family
    for (const { name, up, addresses } of interfaces)
      for (const address of addresses) {
        if (address.family !== family) continue
        this.#own.push(address)
        // fib_check_nh() takes a gateway that is this host's own address; ip6_route_check_nh() does not.
        if (up && family === 4)
          this.#onLink.push({
            dst: address.words,
            length: 32,
            device: name,
            origin: address.origin,
            connected: false,
            metric: address.metric,
          })
        if (!up || address.secondary || address.noPrefixRoute) continue
        this.#onLink.push({
          dst: maskedWords(address.peer ?? address.words, address.prefixLength),
          length: address.prefixLength,
          device: name,
          origin: address.origin,
          connected: follows(address) && address.prefixLength > 0,
          metric: address.metric,
        })
      }
  }

  /** A route that the kernel has: taken as it is. */
  addCaptured(route: RouteConfig): void {
    this.#byKey.set(keyOf(route), route)
    this.#put(route)
  }

  /** A route as `ip route add` would add it. */
  add(written: RouteConfig): void {
    const route = this.#resolved(written)
    const same = this.#byKey.get(keyOf(route))
    if (same !== undefined) {
      if (alike(same, route)) return
      clash(`the route to ${destination(route)} clashes with the one`, route.origin, same.origin)
    }
    const connected =
      this.#family === 4 && route.table === TABLE_MAIN && route.tos === 0
        ? this.#onLink.find(
            (l) =>
              l.connected &&
              l.metric === route.metric &&
              l.length === route.prefixLength &&
              sameWords(l.dst, route.dst),
          )
        : undefined
    if (connected !== undefined)
      clash(
        `the route to ${destination(route)} clashes with the one of "${connected.device}"'s address`,
        route.origin,
        connected.origin,
      )
    this.#byKey.set(keyOf(route), route)
    this.#put(route)
  }

  #put(route: RouteConfig): void {
    this.routes.push(route)
    if (route.type !== RouteType.Unicast || route.gateway !== null || route.device === null) return
    this.#onLink.push({
      dst: route.dst,
      length: route.prefixLength,
      device: route.device,
      origin: route.origin,
      connected: false,
      metric: route.metric,
    })
  }

  #resolved(route: RouteConfig): RouteConfig {
    if (isRefusal(route.type)) return route
    const device = (name: string | null, gateway: Words | null): string =>
      gateway === null ? name! : this.#through(route, name === '' ? null : name, gateway)
    if (route.nexthops === null) return { ...route, device: device(route.device, route.gateway) }
    return { ...route, nexthops: route.nexthops.map((n) => ({ ...n, device: device(n.device, n.gateway) })) }
  }

  /** The device through which a gateway is on the link (fib_check_nh). */
  #through(route: RouteConfig, device: string | null, gateway: Words): string {
    const family = route.gatewayFamily
    const text = formatAddress(family, gateway)
    const refuse = (reason: string): never => {
      throw new PlaceError(`gateway ${text} ${reason}`, route.origin.place())
    }
    const strict = route.onlink || family === 6
    if (strict && this.#own.some((a) => family === this.#family && sameWords(a.words, gateway)))
      return refuse('is an address of this host')
    // Link-local and foreign gateways say nothing of their interface.
    const linkLocal = family === 6 && (gateway[0] & 0xffc0_0000) >>> 0 === 0xfe80_0000
    if (route.onlink || linkLocal || family !== this.#family)
      return device ?? refuse('needs "dev": it tells no interface')
    let best: OnLink | null = null
    for (const link of this.#onLink)
      if (
        (device === null || link.device === device) &&
        (best === null || link.length > best.length) &&
        inPrefix(link.dst, link.length, ...gateway)
      )
        best = link
    if (best === null)
      return refuse(
        device === null
          ? 'is on no link of this host'
          : `is on no link of "${device}" (say "onlink" if it is)`,
      )
    return best.device
  }
}

function keyOf(route: RouteConfig): string {
  // IPv6 takes several routes to one destination as next hops of one (rt6_qualify_for_ecmp).
  const hop = route.family === 6 ? ` ${route.device} ${route.gateway}` : ''
  return `${route.table} ${route.dst}/${route.prefixLength} ${route.source?.words}/${route.source?.prefixLength} ${route.tos} ${route.metric}${hop}`
}

function alike(a: RouteConfig, b: RouteConfig): boolean {
  return (
    a.type === b.type &&
    a.scope === b.scope &&
    a.device === b.device &&
    sameWords(a.gateway, b.gateway) &&
    sameWords(a.preferredSource, b.preferredSource) &&
    a.mtu === b.mtu &&
    a.realm === b.realm &&
    JSON.stringify(a.nexthops) === JSON.stringify(b.nexthops)
  )
}

const KERNEL: Origin = { place: () => ({ file: 'kernel', line: 1, column: 1 }) }

/** The rules of a fresh network namespace. IPv6 has no default table. */
function defaultRules(family: Family): RuleConfig[] {
  const lookup = (priority: number, table: number): RuleConfig => ({
    ...plainRule(family),
    priority,
    table,
    origin: KERNEL,
  })
  const rules = [lookup(0, TABLE_LOCAL), lookup(32766, TABLE_MAIN)]
  if (family === 4) rules.push(lookup(32767, TABLE_DEFAULT))
  return rules
}

/** Puts a rule behind those of the same priority; without one it goes before the second (fib_default_rule_pref). */
function addRule(rules: RuleConfig[], added: RuleConfig): void {
  const second = rules[1]
  const priority =
    added.priority >= 0
      ? added.priority
      : second !== undefined && second.priority > 0
        ? second.priority - 1
        : 0
  const rule = { ...added, priority }
  if (rule.action === 'goto' && rule.target <= priority)
    throw new PlaceError('"goto" must lead to a rule of higher priority number', rule.origin.place())
  const text = (r: RuleConfig): string => JSON.stringify({ ...r, origin: null })
  const twin = rules.find((r) => text(r) === text(rule))
  if (twin !== undefined && twin.origin !== KERNEL)
    clash(`the rule with priority ${priority} is there already,`, rule.origin, twin.origin)
  if (twin !== undefined) return
  const behind = rules.findIndex((r) => r.priority > priority)
  rules.splice(behind < 0 ? rules.length : behind, 0, rule)
}

// -- sysctls

function mergeSysctls(
  captured: readonly SysctlConfig[],
  yaml: readonly SysctlConfig[],
  interfaces: readonly InterfaceConfig[],
): SysctlConfig[] {
  const byName = new Map(captured.map((s) => [s.name, s]))
  for (const sysctl of yaml) {
    const device = sysctlInterface(sysctl.name)
    if (device !== null && !interfaces.some((i) => i.name === device))
      throw new PlaceError(`${sysctl.name}: this host has no interface "${device}"`, sysctl.origin.place())
    const same = byName.get(sysctl.name)
    if (same !== undefined && same.value !== sysctl.value)
      clash(`${sysctl.name} = ${sysctl.value} clashes with ${same.value}`, sysctl.origin, same.origin)
    byName.set(sysctl.name, sysctl)
  }
  return inOrderOfEffect([...byName.values()])
}
