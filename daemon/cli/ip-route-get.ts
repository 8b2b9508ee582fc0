// ip route get: the engine's own look-ups, answered as the kernel answers RTM_GETROUTE.

import { type Device, Scope } from '../../datapath/devices.ts'
import { newFlowKey, type Route, RouteFailure, RouteType, Table, type Words } from '../../datapath/fib.ts'
import type { Family } from '../../datapath/packet.ts'
import { isErrorType } from '../../datapath/route-table.ts'
import { formatAddress } from '../../datapath/wire/address.ts'
import { isLoopback4, isMulticast4, isZeronet4 } from '../../datapath/wire/ipv4.ts'
import { ANY, bitsOf, sameWords } from '../host-folder/address.ts'
import { type IpContext, Refusal } from './ip-context.ts'
import {
  NO_FILTER,
  PREFERENCES,
  printFlags,
  printFlow,
  printGateway,
  printMetrics,
  printRoute,
} from './ip-route-print.ts'
import { routeUsage } from './ip-usage.ts'
import { type AnyPrefix, begins, ipProtocolNumber, type Line, tosNumber } from './ip-words.ts'

export function getRoute(context: IpContext, line: Line): number {
  let family: Family | 0 = context.options.family
  const settle = (p: AnyPrefix): AnyPrefix => {
    if (family === 0) family = p.family
    return p
  }
  let dst: AnyPrefix | null = null
  let from: AnyPrefix | null = null
  let tos = 0
  let mark = 0
  let iif: string | null = null
  let oif: string | null = null
  let fibmatch = false
  let notify = false
  let protocolSaid = false
  let uid = 0
  const port = { sport: 0, dport: 0, protocol: 0 }
  while (!line.done) {
    const word = line.take()
    if (word === 'tos' || begins(word, 'dsfield')) tos = line.named('TOS value is invalid\n', tosNumber)
    else if (begins(word, 'from')) {
      const text = line.next()
      if (begins(text, 'help')) line.die(routeUsage)
      from = settle(line.prefix(text, family))
    } else if (begins(word, 'iif')) iif = line.next()
    else if (begins(word, 'mark')) mark = line.number('invalid mark value')
    else if (begins(word, 'oif') || word === 'dev') oif = line.next()
    else if (begins(word, 'notify')) notify = true
    else if (begins(word, 'connected')) continue
    else if (begins(word, 'vrf')) line.invalid('Invalid VRF\n', line.next())
    else if (begins(word, 'uid')) uid = line.number('invalid UID\n')
    else if (begins(word, 'fibmatch')) fibmatch = true
    else if (begins(word, 'sport')) port.sport = line.number('invalid sport\n', 65535)
    else if (begins(word, 'dport')) port.dport = line.number('invalid dport\n', 65535)
    else if (begins(word, 'ipproto')) {
      port.protocol = line.named('Invalid "ipproto" value\n', ipProtocolNumber)
      protocolSaid = true
    } else {
      const text = word === 'to' ? line.next() : word
      if (begins(text, 'help')) line.die(routeUsage)
      dst = settle(line.prefix(text, family))
      if (family !== 0 && dst.length !== bitsOf(family))
        line.warn(
          `Warning: /${dst.length} as prefix is invalid, only /${bitsOf(family)} (or none) is supported.\n`,
        )
    }
  }
  if (dst === null) {
    line.warn('need at least a destination address\n')
    return 1
  }
  const devices: (Device | null)[] = []
  for (const name of [iif, oif]) {
    const device = name === null ? null : (context.device(name) ?? null)
    if (name !== null && device === null) return line.noDevice(name)
    devices.push(device)
  }
  const own: Family = (family as Family | 0) === 0 ? 4 : (family as Family)
  let answer: (() => void) | null = null
  const code = context.talk(() => {
    const key = newFlowKey()
    key.family = own
    ;[key.d0, key.d1, key.d2, key.d3] = dst!.words
    if (from !== null) [key.s0, key.s1, key.s2, key.s3] = from.words
    key.tos = tos
    key.mark = mark
    key.iif = devices[0]?.index ?? 0
    key.oif = devices[1]?.index ?? 0
    // inet_rtm_getroute() asks as for UDP unless told otherwise.
    key.protocol = own === 4 && !protocolSaid ? 17 : port.protocol
    key.sport = port.sport
    key.dport = port.dport
    if (protocolSaid && ![6, 17, own === 4 ? 1 : 58].includes(port.protocol))
      throw new Refusal('EOPNOTSUPP', 'Unsupported ip proto')
    if (notify && own === 6) throw new Refusal('EINVAL', 'ipv6: Invalid flags for get route request')
    answer = own === 4 ? get4(context, key, from, uid, fibmatch, notify) : get6(context, key, from, fibmatch)
  })
  if (code !== 0) return code
  context.out.list(() => context.out.object(null, answer!))
  return 0
}

/** Without rules of its own a host has its local IPv4 table in the main one. */
const shownTable = (context: IpContext, r: Route): number =>
  r.family === 4 && r.table === Table.Local && !context.host.fib.customRules(4) ? Table.Main : r.table

type Key = ReturnType<typeof newFlowKey>

const FAILURES: Readonly<Record<number, string>> = {
  [RouteFailure.None]: 'ENETUNREACH',
  [RouteFailure.Prohibited]: 'EACCES',
  [RouteFailure.Invalid]: 'EINVAL',
  [RouteFailure.NetUnreach]: 'ENETUNREACH',
  [RouteFailure.HostUnreach]: 'EHOSTUNREACH',
}

/** What ip_route_input_slow() refuses for its addresses alone; groups have no members here. */
function isMartian4(iif: Device, s: number, d: number): boolean {
  if (isMulticast4(d)) return true
  if (isMulticast4(s) || s === -1) return true
  if (d === -1) return false
  if (isZeronet4(s) || isZeronet4(d)) return true
  return (isLoopback4(s) || isLoopback4(d)) && !iif.conf.routeLocalnet
}

/** fib_validate_source(): a source may not be this host's own; whoever has routes or rules of its own looks it up. */
function isMartianSource4(context: IpContext, iif: Device, key: Key): boolean {
  const { fib, devices } = context.host
  if (!fib.needsFullSourceCheck()) return devices.hasAddress4(key.s0) && !iif.conf.acceptLocal
  const failure = fib.failure
  const back = fib.find({ ...key, d0: key.s0, s0: key.d0, iif: 0, oif: 0 })
  fib.failure = failure
  if (back === null || isErrorType(back.type) || back.type === RouteType.Unicast) return false
  return back.type !== RouteType.Local || !iif.conf.acceptLocal
}

/** inet_rtm_getroute(). */
function get4(
  context: IpContext,
  key: Key,
  from: AnyPrefix | null,
  uid: number,
  fibmatch: boolean,
  notify: boolean,
): () => void {
  const { fib, devices } = context.host
  const asked = { ...key }
  const refuse = (): never => {
    throw new Refusal(FAILURES[fib.failure] ?? 'ENETUNREACH')
  }
  const iif = devices.byIndex[key.iif]
  let route: Route | null
  if (iif !== undefined) {
    if (isMartian4(iif, key.s0, key.d0)) throw new Refusal('EINVAL')
    const found = fib.find(key)
    if (found === null || isErrorType(found.type))
      throw new Refusal(
        found === null && !iif.conf.forwarding ? 'EHOSTUNREACH' : (FAILURES[fib.failure] ?? 'ENETUNREACH'),
      )
    const here = found.type === RouteType.Local || found.type === RouteType.Broadcast
    if (!here && !iif.conf.forwarding) throw new Refusal('EHOSTUNREACH')
    if (isMartianSource4(context, iif, asked)) throw new Refusal('EINVAL')
    if (here) route = fib.loopOf(found)
    else route = fib.forwarding(found, key, null)
  } else {
    route = fib.output(key)
    if (route === null) return refuse()
  }
  if (fibmatch) {
    // Decided without the tables, or against them: out of the interface that was asked for.
    const untold =
      iif === undefined &&
      (asked.d0 === 0 ||
        ((asked.d0 === -1 || isMulticast4(asked.d0)) &&
          (asked.oif === 0 ? asked.s0 !== 0 : asked.d0 === -1 || asked.d0 >>> 8 === 0xe00000)))
    const found = untold ? null : fib.find(asked)
    if (found === null || isErrorType(found.type)) throw new Refusal('EHOSTUNREACH')
    return () => printRoute(context, found, { ...NO_FILTER }, shownTable(context, found))
  }
  const out = route
  return () => printGet4(context, asked, key, out, from, uid, notify)
}

function printGet4(
  context: IpContext,
  asked: Key,
  key: Key,
  r: Route,
  from: AnyPrefix | null,
  uid: number,
  notify: boolean,
): void {
  const { out, names, options } = context
  if (r.type !== RouteType.Unicast || options.details)
    out.any('type', names.type(r.type), `${names.type(r.type)} `)
  const dst = formatAddress(4, [key.d0, 0, 0, 0])
  out.any('dst', dst, `${dst} `)
  if (from !== null && asked.s0 !== 0) {
    const text = formatAddress(4, from.words)
    out.any('from', text, `from ${text} `)
  }
  // The tos of the route, not of the question.
  if (r.tos !== 0) out.any('tos', names.tos(r.tos), `tos ${names.tos(r.tos)} `)
  if (r.type !== RouteType.Local)
    printGateway(context, 4, r.nexthopScope === Scope.Link ? r.gateway : null, r.extras?.via6)
  const device = r.type === RouteType.Local ? context.devices.loopback : r.device!
  out.any('dev', device.name, `dev ${device.name} `)
  const table = shownTable(context, r)
  if (table !== 0 && (table !== Table.Main || options.details))
    out.any('table', names.table(table), `table ${names.table(table)} `)
  if (asked.iif === 0 && asked.s0 !== key.s0) {
    const text = formatAddress(4, [key.s0, 0, 0, 0])
    out.any('prefsrc', text, `src ${text} `)
  }
  // RTCF_MULTICAST is the same bit as RTM_F_OFFLOAD_FAILED.
  printFlags(context, [
    ...(notify ? ['notify'] : []),
    ...(r.type === RouteType.Multicast ? ['rt_offload_failed'] : []),
  ])
  if (asked.mark !== 0) {
    out.member('mark', asked.mark)
    out.plain(asked.mark >= 16 ? `mark 0x${asked.mark.toString(16)} ` : `mark ${asked.mark} `)
  }
  if (r.realm !== 0) printFlow(context, r.realm)
  if (asked.iif === 0) out.any('uid', uid, `uid ${uid} `)
  const flags = [
    ...(r.type === RouteType.Local || r.type === RouteType.Broadcast || (asked.iif === 0 && device.loopback)
      ? ['local']
      : []),
    ...(r.type === RouteType.Multicast ? ['mc'] : []),
    ...(r.type === RouteType.Broadcast ? ['brd'] : []),
    ...(notify ? ['notify'] : []),
  ]
  out.member('cache', flags)
  out.plain(`${out.lineEnd}    cache ${flags.length === 0 ? '' : `<${flags.join(',')}> `}`)
  printMetrics(context, r.mtu, r.extras)
  if (asked.iif !== 0) {
    const name = context.devices.byIndex[asked.iif]!.name
    out.any('iif', name, `iif ${name} `)
  }
  out.plain('\n')
}

/** inet6_rtm_getroute(). */
function get6(context: IpContext, key: Key, from: AnyPrefix | null, fibmatch: boolean): () => void {
  const { fib, devices } = context.host
  const found = fib.find(key)
  if (found === null || isErrorType(found.type)) throw new Refusal(FAILURES[fib.failure] ?? 'ENETUNREACH')
  if (fibmatch) return () => printRoute(context, found, { ...NO_FILTER })
  const hop = found.nexthops?.find((h) => h.device.up) ?? null
  const local = found.type === RouteType.Local
  const device = local ? devices.loopback : (hop?.device ?? found.device!)
  const dst: Words = [key.d0, key.d1, key.d2, key.d3]
  const source = found.source ?? sourceFor6(context, device, local ? found.device! : device, dst)
  return () => {
    const { out, names, options } = context
    if (found.type !== RouteType.Unicast || options.details)
      out.any('type', names.type(found.type), `${names.type(found.type)} `)
    const text = formatAddress(6, dst)
    out.any('dst', text, `${text} `)
    const asked = formatAddress(6, from?.words ?? ANY)
    out.any('from', asked, `from ${asked} `)
    printGateway(context, 6, hop?.gateway ?? found.gateway, undefined)
    out.any('dev', device.name, `dev ${device.name} `)
    if (found.table !== Table.Main || options.details)
      out.any('table', names.table(found.table), `table ${names.table(found.table)} `)
    if (found.protocol !== 'boot' || options.details)
      out.any('protocol', names.protocol(found.protocol), `proto ${names.protocol(found.protocol)} `)
    if (options.details)
      out.any('scope', names.scope(Scope.Universe), `scope ${names.scope(Scope.Universe)} `)
    if (source !== null && key.iif === 0) {
      const shown = formatAddress(6, source)
      out.any('prefsrc', shown, `src ${shown} `)
    }
    out.any('metric', found.metric, `metric ${found.metric} `)
    printFlags(context, [])
    printMetrics(context, found.mtu, found.extras)
    if (key.iif !== 0) {
      const name = devices.byIndex[key.iif]!.name
      out.any('iif', name, `iif ${name} `)
    }
    const preference = PREFERENCES[found.extras?.preference ?? 0] ?? 'medium'
    out.any('pref', preference, `pref ${preference}`)
    out.plain('\n')
  }
}

const commonBits = (a: Words, b: Words): number => {
  for (let i = 0; i < 4; i++) if (a[i] !== b[i]) return i * 32 + Math.clz32(a[i]! ^ b[i]!)
  return 128
}

/** Scope of an address (RFC 4007): 1 host, 2 link, 5 site, 14 global. */
const scope6 = (w: Words): number => {
  const top = w[0] >>> 0
  if (top >>> 24 === 0xff) return (top >>> 16) & 15
  if (top >>> 22 === 0x3fa) return 2
  if (top >>> 22 === 0x3fb) return 5
  return w[0] === 0 && w[1] === 0 && w[2] === 0 && w[3] === 1 ? 1 : 14
}

/** Label of an address in the policy table of RFC 6724, as addrlabel.c has it. */
const label6 = (w: Words): number => {
  const top = w[0] >>> 0
  if (w[0] === 0 && w[1] === 0) {
    if (w[2] === 0) return w[3] === 1 ? 0 : 3
    if (w[2] === 0xffff) return 4
  }
  if (top >>> 25 === 0x7e) return 5
  if (top === 0x20010000) return 6
  if (top >>> 4 === 0x2001001) return 7
  if (top >>> 22 === 0x3fb) return 11
  if (top >>> 16 === 0x3ffe) return 12
  return top >>> 16 === 0x2002 ? 2 : 1
}

/** ipv6_dev_get_saddr() by rules 1, 2, 5, 6 and 8 of RFC 6724. */
function sourceFor6(context: IpContext, out: Device, home: Device, dst: Words): Words | null {
  const wanted = scope6(dst)
  let best: Words | null = null
  let score: readonly number[] = []
  for (const device of context.devices.all())
    for (const a of device.addresses) {
      if (a.family !== 6) continue
      const scope = scope6(a.words)
      if ((wanted <= 2 || dst[0] >>> 24 === 0xff) && device !== out && device !== home) continue
      const own = [
        sameWords(a.words, dst) ? 1 : 0,
        scope === wanted ? 1000 : scope > wanted ? 500 - scope : scope,
        device === out ? 1 : 0,
        label6(a.words) === label6(dst) ? 1 : 0,
        Math.min(commonBits(a.words, dst), a.prefixLength),
      ]
      const at = own.findIndex((n, i) => n !== (score[i] ?? -1))
      if (best === null || (at >= 0 && own[at]! > score[at]!)) {
        best = a.words
        score = own
      }
    }
  return best
}
