// ip route get: the engine's own look-ups, answered as the kernel answers RTM_GETROUTE.

import { type Device, Scope } from '../../datapath/devices.ts'
import { newFlowKey, type Route, RouteType, Table, type Words } from '../../datapath/fib.ts'
import { interfaceOf } from '../../datapath/ipv6/routes.ts'
import { selectAddress6 } from '../../datapath/ipv6/source-address.ts'
import type { Family } from '../../datapath/packet.ts'
import { isErrorType } from '../../datapath/route-table.ts'
import { formatAddress } from '../../datapath/wire/address.ts'
import { isMulticast4 } from '../../datapath/wire/ipv4.ts'
import { ANY, bitsOf } from '../host-folder/address.ts'
import { IpContext, Refusal } from './ip-context.ts'
import { FAILURES, type InputRoute, routeIn } from './ip-route-in.ts'
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
import { type AnyPrefix, begins, ipProtocolNumber, type Line, stays } from './ip-words.ts'

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
  let connected = false
  let notify = false
  let newDestination = false
  let protocolSaid = false
  let uid = 0
  const port = { sport: 0, dport: 0, protocol: 0 }
  while (!line.done) {
    const word = line.take()
    if (word === 'tos' || begins(word, 'dsfield'))
      tos = line.named('TOS value is invalid\n', line.numbers.tos)
    else if (begins(word, 'from')) {
      const text = line.next()
      if (begins(text, 'help')) line.die(routeUsage)
      from = stays(from, settle(line.prefix(text, family)))
    } else if (begins(word, 'iif')) iif = line.next()
    else if (begins(word, 'mark')) mark = line.number('invalid mark value')
    else if (begins(word, 'oif') || word === 'dev') oif = line.next()
    else if (begins(word, 'notify')) notify = true
    else if (begins(word, 'connected')) connected = true
    else if (begins(word, 'vrf')) line.invalid('Invalid VRF\n', line.next())
    else if (begins(word, 'uid')) uid = line.number('invalid UID\n')
    else if (begins(word, 'fibmatch')) fibmatch = true
    else if (word === 'as') {
      const text = line.next()
      const address = line.address(text === 'to' ? line.next() : text, family)
      if (family === 0) family = address.family
      newDestination = true
    } else if (begins(word, 'sport')) port.sport = line.number('invalid sport\n', 65535)
    else if (begins(word, 'dport')) port.dport = line.number('invalid dport\n', 65535)
    else if (begins(word, 'ipproto')) {
      port.protocol = line.named('Invalid "ipproto" value\n', ipProtocolNumber)
      protocolSaid = true
    } else {
      const text = word === 'to' ? line.next() : word
      if (begins(text, 'help')) line.die(routeUsage)
      const said = settle(line.prefix(text, family))
      dst = stays(dst, said)
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
    if (name !== null && device === null && !context.isNobody(name)) return line.noDevice(name)
    devices.push(device)
  }
  const own: Family = (family as Family | 0) === 0 ? 4 : (family as Family)
  let answer: ((context: IpContext) => void) | null = null
  const code = context.talk(() => {
    if (context.options.foreign !== null) throw new Refusal('EOPNOTSUPP')
    if (context.strict) checkHeader(own, from, notify, newDestination)
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
    const [inNobody, outNobody] = [iif, oif].map((name) => name !== null && context.isNobody(name))
    if (inNobody) throw new Refusal('ENODEV')
    // IPv6 finds no route that has it; IPv4 looks for it, unless the source is no address of ours.
    if (outNobody) throw new Refusal(own === 4 && from === null ? 'ENODEV' : 'ENETUNREACH')
    answer = own === 4 ? get4(context, key, from, uid, fibmatch, notify) : get6(context, key, from, fibmatch)
  })
  if (code !== 0) return code
  context.out.list(() => context.out.object(null, () => answer!(context)))
  if (!connected || from !== null) return 0
  // The route is asked for again as it was, and printed as text.
  const { json, color } = context.options
  const options = { ...context.options, json: false, color: color && !json }
  const text = new IpContext(context.host, options, context.session)
  answer!(text)
  if (!/[ m]src /.test(text.out.text) && (own === 4 || fibmatch)) {
    // Without a source it ends before its JSON does.
    context.out.text = context.out.text.replace(/ ?\]\n$/, '')
    line.warn('Failed to connect the route\n')
    return 1
  }
  context.out.raw(text.out.text)
  return 0
}

/** 224.0.0.1: every interface is in that group. */
const ALL_HOSTS = 0xe0000001 | 0

/** Without rules of its own a host has its local IPv4 table in the main one. */
const shownTable = (context: IpContext, r: Route): number =>
  r.family === 4 && r.table === Table.Local && !context.host.fib.customRules(4) ? Table.Main : r.table

type Key = ReturnType<typeof newFlowKey>

/** inet_rtm_getroute(). */
function get4(
  context: IpContext,
  key: Key,
  from: AnyPrefix | null,
  uid: number,
  fibmatch: boolean,
  notify: boolean,
): (context: IpContext) => void {
  const { fib, devices } = context.host
  const asked = { ...key }
  const refuse = (): never => {
    throw new Refusal(FAILURES[fib.failure] ?? 'ENETUNREACH')
  }
  const iif = devices.byIndex[key.iif]
  let found: InputRoute
  if (iif !== undefined) found = routeIn(context.host, key, iif)
  else {
    const route = fib.output(key)
    if (route === null) return refuse()
    found = { route, realm: route.realm, redirect: false }
  }
  // Decided without the tables, or against them: out of the interface that was asked for.
  const untold =
    iif === undefined
      ? asked.d0 === 0 ||
        ((asked.d0 === -1 || isMulticast4(asked.d0)) &&
          (asked.oif === 0 ? asked.s0 !== 0 : asked.d0 === -1 || asked.d0 >>> 8 === 0xe00000))
      : asked.d0 === -1 || (asked.d0 === 0 && asked.s0 === 0)
  if (fibmatch) {
    const match = untold ? null : fib.find(asked)
    if (match === null || isErrorType(match.type)) throw new Refusal('EHOSTUNREACH')
    // The type is that of the packet: one to a group goes out by a unicast route.
    const { type } = found.route
    return (context) => printRoute(context, match, { ...NO_FILTER }, shownTable(context, match), null, type)
  }
  // What goes to all or to a group has no route of the table's, but the table is told (fib_result).
  const by = iif === undefined && !untold && found.route.table === 0 ? fib.find(asked) : null
  const table = shownTable(context, by === null || isErrorType(by.type) ? found.route : by)
  return (context) => printGet4(context, asked, key, found, table, from, uid, notify)
}

function printGet4(
  context: IpContext,
  asked: Key,
  key: Key,
  { route: r, realm, redirect }: InputRoute,
  table: number,
  from: AnyPrefix | null,
  uid: number,
  notify: boolean,
): void {
  const { out, names, options } = context
  if (r.type !== RouteType.Unicast || options.details)
    out.any('type', names.type(r.type), `${names.type(r.type)} `)
  const dst = formatAddress(4, [asked.d0, 0, 0, 0])
  out.any('dst', dst, out.paint('inet', `${dst} `))
  if (from !== null && asked.s0 !== 0) {
    const text = formatAddress(4, from.words)
    out.any('from', text, out.paint('inet', `from ${text} `))
  }
  // The tos of the route, not of the question.
  if (r.tos !== 0) out.any('tos', names.tos(r.tos), `tos ${names.tos(r.tos)} `)
  if (r.type !== RouteType.Local)
    printGateway(context, 4, r.nexthopScope === Scope.Link ? r.gateway : null, r.extras?.via6)
  const device = r.type === RouteType.Local ? context.devices.loopback : r.device!
  out.any('dev', device.name, `dev ${out.paint('name', `${device.name} `)}`)
  if (table !== 0 && (table !== Table.Main || options.details))
    out.any('table', names.table(table), `table ${names.table(table)} `)
  if (asked.iif === 0 && asked.s0 !== key.s0) {
    const text = formatAddress(4, [key.s0, 0, 0, 0])
    out.any('prefsrc', text, `src ${out.paint('inet', `${text} `)}`)
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
  if (realm !== 0) printFlow(context, realm)
  // INVALID_UID
  if (asked.iif === 0 && uid !== 0xffff_ffff) out.any('uid', uid, `uid ${uid} `)
  // __mkroute_output(): who is not in the group hears nothing, on lo neither.
  const local =
    r.type === RouteType.Multicast
      ? key.d0 === ALL_HOSTS
      : r.type === RouteType.Local || r.type === RouteType.Broadcast || (asked.iif === 0 && device.loopback)
  const flags = [
    ...(local ? ['local'] : []),
    ...(redirect ? ['redirect'] : []),
    ...(r.type === RouteType.Multicast ? ['mc'] : []),
    ...(r.type === RouteType.Broadcast ? ['brd'] : []),
    ...(notify ? ['notify'] : []),
  ]
  out.member('cache', flags)
  out.plain(`${out.lineEnd}    cache ${flags.length === 0 ? '' : `<${flags.join(',')}> `}`)
  printMetrics(context, r.mtu, r.extras)
  if (asked.iif !== 0) {
    const name = context.devices.byIndex[asked.iif]!.name
    out.any('iif', name, `iif ${out.paint('name', `${name} `)}`)
  }
  out.plain('\n')
}

const ERRORS6: Readonly<Record<number, string>> = {
  [RouteType.Unreachable]: 'EHOSTUNREACH',
  [RouteType.Prohibit]: 'EACCES',
  [RouteType.Blackhole]: 'EINVAL',
}

/** The chosen next hop, then those behind it in turn: the kernel's ring of siblings. */
function fromHop(whole: Route, device: Device | null, gateway: Words | null): Route {
  const hops = whole.nexthops
  if (hops === null) return whole
  const at = hops.findIndex((h) => h.device === device && String(h.gateway) === String(gateway))
  return { ...whole, nexthops: [...hops.slice(at), ...hops.slice(0, at)] }
}

/** inet6_rtm_getroute(), rt6_fill_node(). */
function get6(
  context: IpContext,
  key: Key,
  from: AnyPrefix | null,
  fibmatch: boolean,
): (context: IpContext) => void {
  const { fib, devices, path } = context.host
  fib.freshNames()
  const { whole, route, hop } = path.routes6.ask(key)
  if (isErrorType(route.type))
    throw new Refusal(path.routes6.isNone(route) ? 'ENETUNREACH' : (ERRORS6[route.type] ?? 'EINVAL'))
  // rt6_fill_node() asks a multicast router for what comes in so, and there is none.
  if (key.iif !== 0 && whole.dst[0] >>> 24 === 0xff) throw new Refusal('EMSGSIZE')
  if (fibmatch)
    return (context) => {
      const shown = fromHop(whole, hop.device, hop.gateway)
      printRoute(context, shown, NO_FILTER, shown.table, devices.byIndex[key.iif] ?? null)
    }
  const dst: Words = [key.d0, key.d1, key.d2, key.d3]
  const source = route.source ?? selectAddress6(devices, interfaceOf(route), ...dst)?.words ?? null
  return (context) => {
    const { out, names, options } = context
    if (route.type !== RouteType.Unicast || options.details)
      out.any('type', names.type(route.type), `${names.type(route.type)} `)
    const text = formatAddress(6, dst)
    out.any('dst', text, out.paint('inet6', `${text} `))
    const asked = formatAddress(6, from?.words ?? ANY)
    out.any('from', asked, out.paint('inet6', `from ${asked} `))
    printGateway(context, 6, hop.gateway, undefined)
    const device = route.device!
    out.any('dev', device.name, `dev ${out.paint('name', `${device.name} `)}`)
    if (route.table !== Table.Main || options.details)
      out.any('table', names.table(route.table), `table ${names.table(route.table)} `)
    if (route.protocol !== 'boot' || options.details)
      out.any('protocol', names.protocol(route.protocol), `proto ${names.protocol(route.protocol)} `)
    if (options.details)
      out.any('scope', names.scope(Scope.Universe), `scope ${names.scope(Scope.Universe)} `)
    if (source !== null && key.iif === 0) {
      const shown = formatAddress(6, source)
      out.any('prefsrc', shown, `src ${out.paint('inet6', `${shown} `)}`)
    }
    out.any('metric', route.metric, `metric ${route.metric} `)
    printFlags(context, [])
    printMetrics(context, route.mtu, route.extras)
    if (key.iif !== 0) {
      const name = devices.byIndex[key.iif]!.name
      out.any('iif', name, `iif ${out.paint('name', `${name} `)}`)
    }
    const preference = PREFERENCES[route.extras?.preference ?? 0] ?? 'medium'
    out.any('pref', preference, `pref ${preference}`)
    out.plain('\n')
  }
}

/** inet_rtm_valid_getroute_req(), inet6_rtm_valid_getroute_req(): what a strict question may say. */
function checkHeader(family: Family, from: AnyPrefix | null, notify: boolean, newDestination: boolean): void {
  const whole = bitsOf(family)
  const request = family === 4 ? 'route get' : 'get route'
  if (from !== null && from.length !== 0 && from.length !== whole)
    throw new Refusal('EINVAL', `ipv${family}: Invalid values in header for ${request} request`)
  if (notify && family === 6) throw new Refusal('EINVAL', 'ipv6: Invalid flags for get route request')
  if (from?.given && from.length === 0)
    throw new Refusal('EINVAL', `ipv${family}: rtm_src_len and rtm_dst_len must be ${whole} for IPv${family}`)
  if (newDestination) throw new Refusal('EINVAL', `ipv${family}: Unsupported attribute in ${request} request`)
}
