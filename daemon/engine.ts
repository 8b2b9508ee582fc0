import { endLifetimes, FOREVER } from '../datapath/lifetimes.ts'
// One emulated host, wired: devices, addresses, routes, rules, sysctls, rulesets. Gateway and replay drive the very
// same engine; they differ in where frames, time and randomness come from.
//
//     HostConfig ─▶ devices ─▶ addresses ─▶ routes, policy rules ─▶ sysctls ─▶ sets ─▶ tables
//
// A mistake ends it before the engine is handed out: nothing is ever half applied.

import { Conntrack } from '../conntrack/conntrack.ts'
import { Errno } from '../conntrack/errno.ts'
import { Nat } from '../conntrack/nat/nat.ts'
import { DeviceError } from '../datapath/device-table.ts'
import type { Events } from '../datapath/events.ts'
import { RouteError, type RouteExtras, type RouteSpec, Table } from '../datapath/fib.ts'
import { Host, type Random } from '../datapath/host.ts'
import type { Family } from '../datapath/packet.ts'
import type { Egress, FrameMemory } from '../datapath/ring.ts'
import { TunableError } from '../datapath/tunables.ts'
import { matches } from '../rules/matches/index.ts'
import { FingerprintError, readFingerprints, setFingerprints } from '../rules/matches/osf-fingerprints.ts'
import { setAccounts } from '../rules/matches/owner.ts'
import { Ruleset } from '../rules/ruleset.ts'
import { Sets } from '../rules/sets/store.ts'
import { Tables } from '../rules/tables.ts'
import { targets } from '../rules/targets/index.ts'
import { LogFlag, logLine } from '../rules/targets/log.ts'
import { RuleError } from '../rules/text/errors.ts'
import { Registry } from '../rules/text/registry.ts'
import { loadRules } from '../rules/text/restore.ts'
import { MachineAccounts } from './accounts.ts'
import { textOf } from './bytes.ts'
import { restoreSets } from './cli/ipset.ts'
import { tuneCompiler } from './compiler.ts'
import { PlaceError } from './errors.ts'
import type {
  AddressConfig,
  HostConfig,
  InterfaceConfig,
  RouteConfig,
  RoutingConfig,
} from './host-folder/config.ts'
import { readPolicies } from './host-folder/nfct.ts'
import type { Origin, SourceFile } from './host-folder/source.ts'

export interface EngineOptions {
  readonly memory: FrameMemory
  readonly egress: Egress
  readonly random: Random
  /** HostOptions.dice. */
  readonly dice?: Random
  /** HostOptions.ports. */
  readonly ports?: Random
  readonly events?: Events
  /** CompileEnv.indexFrom. */
  readonly indexFrom?: number
}

export interface Engine {
  readonly config: HostConfig
  readonly host: Host
  readonly conntrack: Conntrack
  readonly nat: Nat
  readonly tables: Tables
  readonly sets: Sets
  /** The tables as the commands see them. */
  readonly rulesets: Ruleset
  /** Matches and targets that rules may name. */
  readonly registry: Registry
  /**
   * A batch of frames is about to be received; `offsets`: their first bytes in frame memory. Returns of each the hint for its
   * Packet; good until the next batch. Hot.
   */
  lookAhead(offsets: Int32Array, count: number): Int32Array
  /** Runs timers that are due at host.now; bounded work. True: more is due, call again when there is time. */
  tick(): boolean
}

/** One for all: users are the machine's. */
const accounts = new MachineAccounts()

/** As nf_log_syslog says it unless told otherwise: default_loginfo, NF_LOG_DEFAULT_MASK. */
const LEVEL_NOTICE = 5
const INVALID_LOG = {
  level: LEVEL_NOTICE,
  flags: LogFlag.TcpSequence | LogFlag.TcpOptions | LogFlag.IpOptions | LogFlag.Uid,
}

/** Builds a host. Throws PlaceError for what the files ask and the host refuses. */
export function createEngine(config: HostConfig, options: EngineOptions): Engine {
  tuneCompiler()
  setAccounts(accounts)
  const host = new Host(options)
  const conntrack = new Conntrack(host)
  const nat = new Nat(host, conntrack)
  conntrack.core.onInvalid = (pkt, prefix) =>
    host.events.log?.({ level: LEVEL_NOTICE, text: logLine(pkt, host, { ...INVALID_LOG, prefix }) })
  const sets = new Sets(host)
  const tables = new Tables({
    host,
    conntrack,
    nat,
    sets,
    ...(options.indexFrom !== undefined && { indexFrom: options.indexFrom }),
  })
  const rulesets = new Ruleset(tables)
  const registry = new Registry(matches, targets, sets)
  addDevices(host, config.interfaces)
  addAddresses(host, config.interfaces, false)
  addRouting(host, 4, config.ipv4)
  addRouting(host, 6, config.ipv6)
  addAddresses(host, config.interfaces, true)
  for (const [family, { routes }] of [[4, config.ipv4] as const, [6, config.ipv6] as const])
    for (const route of routes) addRoute(host, family, route)
  host.fib.live = true
  setSysctls(host, config)
  // Rules name sets, so these come first.
  if (config.ipset !== null) loadSets(config.ipset, sets)
  if (config.fingerprints !== null) loadFingerprints(config.fingerprints, host)
  if (config.policies !== null) loadPolicies(config.policies, conntrack)
  for (const [family, source] of [[4, config.iptables] as const, [6, config.ip6tables] as const])
    if (source !== null) loadTables(source, family, rulesets, registry)
  return {
    config,
    host,
    conntrack,
    nat,
    tables,
    sets,
    rulesets,
    registry,
    lookAhead: (offsets, count) => {
      const hints = conntrack.ahead.batch(offsets, count)
      tables.ahead.batch(offsets, hints, count)
      return hints
    },
    tick: () => {
      endLifetimes(host.devices, host.fib, host.now)
      host.fragments.tick()
      host.fragments6.tick()
      return conntrack.tick()
    },
  }
}

function loadFingerprints(source: SourceFile, host: Host): void {
  try {
    setFingerprints(host, readFingerprints(source.text))
  } catch (error) {
    if (!(error instanceof FingerprintError)) throw error
    throw new PlaceError(error.message, { file: source.path, line: error.line, column: 1 })
  }
}

function loadPolicies(source: SourceFile, { policies }: Conntrack): void {
  for (const { name, family, protocol, seconds, offset } of readPolicies(source)) {
    const known = policies.names(protocol)
    const odd = seconds.find(([state]) => !known.includes(state))
    if (odd !== undefined || policies.add(name, family, protocol, seconds) !== Errno.None)
      throw new PlaceError(`the host refuses the policy "${textOf(name)}"`, source.placeAt(offset))
  }
}

function loadSets(source: SourceFile, sets: Sets): void {
  const refused = restoreSets(source.text, sets)
  if (refused !== null)
    throw new PlaceError(textOf(refused.reason), { file: source.path, line: refused.line, column: 1 })
}

function loadTables(source: SourceFile, family: Family, rulesets: Ruleset, registry: Registry): void {
  try {
    loadRules(source.text, { family, registry, rulesets, file: source.path })
  } catch (error) {
    if (!(error instanceof RuleError)) throw error
    const { file, line, column } = error.place
    throw new PlaceError(textOf(error.message.slice(`${file}:${line}:${column}: `.length)), error.place)
  }
}

/** Turns a refusal of the host into a mistake at the place that asked for it. */
function at(origin: Origin, what: string, apply: () => void): void {
  try {
    apply()
  } catch (error) {
    if (error instanceof DeviceError || error instanceof RouteError || error instanceof TunableError)
      throw new PlaceError(`${what}${error.message}`, origin.place())
    throw error
  }
}

function addDevices(host: Host, interfaces: readonly InterfaceConfig[]): void {
  const { devices } = host
  // lo is there with its usual address; the folder says which it has.
  for (const address of [...devices.loopback.addresses]) devices.removeAddress(devices.loopback, address)
  for (const { name, mtu, index, up, loopback, pointToPoint, mac, group, origin } of interfaces)
    at(origin, '', () => {
      devices.add(name, mtu, { index, up, loopback, pointToPoint, mac }).link.group = group
    })
  // When all have their first names, which nobody may have for another.
  for (const { name, altNames } of interfaces)
    for (const other of altNames)
      at(other.origin, `altname "${other.name}": `, () => {
        devices.addAltName(devices.byName(name)!, other.name)
      })
}

function addAddresses(host: Host, interfaces: readonly InterfaceConfig[], byHand: boolean): void {
  for (const { name, addresses } of interfaces)
    for (const address of addresses)
      if (address.byHand === byHand)
        at(address.origin, '', () => {
          const device = host.devices.byName(name)!
          host.devices.addAddress(device, addressOf(address, device.up))
        })
}

const addressOf = (a: AddressConfig, up: boolean) => ({
  family: a.family,
  words: a.words,
  prefixLength: a.prefixLength,
  broadcast: a.broadcast === null ? null : a.broadcast[0],
  peer: a.peer === null || a.family === 6 ? null : a.peer[0],
  peer6: a.family === 6 ? a.peer : null,
  scope: a.scope,
  secondary: a.secondary,
  label: a.label,
  noPrefixRoute: a.noPrefixRoute,
  metric: a.metric,
  ...(a.flags.length > 0 && { flags: a.flags }),
  ...(a.tentative && !up && { suspended: true }),
  ...(a.deprecated && { deprecated: true, lifetime: { since: 0, valid: FOREVER, preferred: 0 } }),
})

/** Where the folder lists routes, those that followed from captured addresses make room for them. */
function addRouting(host: Host, family: Family, { from, rules }: RoutingConfig): void {
  const { fib } = host
  if (from === 'tables') fib.flushRoutes(family)
  else if (from === 'main') for (const route of fib.routes(family, Table.Main)) fib.deleteRoute(route)
  fib.setRules(
    family,
    rules.map(({ origin: _, ...rule }) => rule),
  )
}

function addRoute(host: Host, family: Family, route: RouteConfig): void {
  const device = (name: string | null) => (name === null ? null : host.devices.byName(name)!)
  const spec: RouteSpec = {
    family,
    type: route.type,
    dst: route.dst,
    prefixLength: route.prefixLength,
    from: route.source,
    table: route.table,
    tos: route.tos,
    metric: route.metric,
    scope: route.scope,
    protocol: route.protocol,
    device: device(route.device),
    // `via inet6` (RFC 5549): to IPv4 the destination is as on the link, as rt_nexthop() has it.
    gateway: route.gatewayFamily === family ? route.gateway : null,
    source: route.preferredSource,
    mtu: route.mtu,
    realm: route.realm,
    extras: extrasOf(route),
    nexthops:
      route.nexthops?.map((n) => ({ device: device(n.device)!, gateway: n.gateway, weight: n.weight })) ??
      null,
  }
  at(route.origin, 'the host refuses this route: ', () => host.fib.addRoute(spec, 'append'))
}

/** What of a route look-ups do not ask; null: nothing. */
function extrasOf({ onlink, metrics, locked, preference = 0 }: RouteConfig): RouteExtras | null {
  if (!onlink && metrics.length === 0 && locked.length === 0 && preference === 0) return null
  return {
    ...(onlink ? { onlink } : {}),
    ...(metrics.length > 0 ? { metrics } : {}),
    ...(locked.length > 0 ? { locked } : {}),
    ...(preference === 0 ? {} : { preference }),
  }
}

/**
 * A captured host's read-only values (nf_conntrack_count) are passed over; asking for one by hand is a mistake. What is
 * refused gets another chance once the rest is set: a name may bound another that comes before it in the alphabet.
 */
function setSysctls(host: Host, config: HostConfig): void {
  const { tunables } = host
  const set = ({ name, value, byHand }: HostConfig['sysctls'][number]): void => {
    if (byHand && tunables.has(name)) tunables.set(name, value)
    else tunables.keep(name, value)
  }
  const refused = config.sysctls.filter((sysctl) => {
    try {
      set(sysctl)
      return false
    } catch (error) {
      if (error instanceof TunableError) return true
      throw error
    }
  })
  for (const sysctl of refused) at(sysctl.origin, '', () => set(sysctl))
}
