// What matches of transport headers share: the look at the header's length, ports, options, SPIs.

import type { Packet } from '../../datapath/packet.ts'
import type { Narrowing } from '../compile/narrow.ts'
import type { Code, Js } from '../compile/template.ts'
import type { Field, Layout } from '../layout.ts'
import { OptionError, type Options } from '../options.ts'
import { parsePort, serviceName } from '../text/services.ts'

/** From and to, both included. */
export type Range = readonly [number, number]

export const ALL_PORTS: Range = [0, 0xffff]

/** A header that is not all there: the packet is dropped, unless it is a later fragment. Always false. */
function cut(pkt: Packet): boolean {
  if (pkt.fragOffset === 0) pkt.hotdrop = true
  return false
}

/**
 * As cut(); the later fragment that would overwrite TCP's flags is dropped too (tcp_mt, offset 1). IPv6 offsets are in
 * bytes there, and none is 1.
 */
function cutTcp(pkt: Packet): boolean {
  if (pkt.fragOffset === 0 || (pkt.fragOffset === 8 && pkt.family === 4)) pkt.hotdrop = true
  return false
}

/**
 * par->thoff, for the matches that do not ask whether the packet is a later fragment: ipv6_find_hdr() finds no
 * transport header in such a one and leaves 0, which is the IPv6 header.
 */
export const transportStart = (pkt: Packet): number =>
  pkt.family === 6 && pkt.fragOffset !== 0 ? pkt.l3 : pkt.l4

/** True if `bytes` of transport header are there; false, and hotdrop set, if not; false for later fragments. */
export const headerFits = (bytes: number, js: Js): Code =>
  js`pkt.fragOffset === 0 && pkt.end - pkt.l4 >= ${bytes} || ${js.bind(cut)}(pkt)`

/** headerFits() for TCP's 20 bytes. */
export const tcpHeaderFits = (js: Js): Code =>
  js`pkt.fragOffset === 0 && pkt.end - pkt.l4 >= 20 || ${js.bind(cutTcp)}(pkt)`

/** A number against a range; `over`: the largest value there is. */
export function inRange(value: Code, [min, max]: Range, over: number, invert: boolean, js: Js): Code {
  if (min === max) return invert ? js`${value} !== ${min}` : js`${value} === ${min}`
  if (min === 0 && max === over) return js`${!invert}`
  const parts: Code[] = []
  if (min > 0) parts.push(js`${value} >= ${min}`)
  if (max < over) parts.push(js`${value} <= ${max}`)
  const inside = js.all(parts)
  return invert ? js`!${inside}` : inside
}

export interface Ports {
  readonly sport: Range
  readonly dport: Range
  readonly sportInvert: boolean
  readonly dportInvert: boolean
}

/** struct xt_length_info, struct xt_tcpmss_match_info. */
export const SHORT_RANGE_LAYOUT: Layout<{ readonly range: Range; readonly invert: boolean }> = {
  size: 8,
  fields: ({ range, invert }) => [
    [0, 2, range[0]],
    [2, 2, range[1]],
    [4, 1, invert ? 1 : 0],
  ],
}

/** Both ranges as struct xt_tcp and xt_udp begin with them. */
export const portFields = ({ sport, dport }: Ports): Field[] =>
  [...sport, ...dport].map((port, i): Field => [2 * i, 2, port])

/** The ports of a packet whose transport header is there. */
export function emitPorts(ports: Ports, js: Js): Code[] {
  const parts: Code[] = []
  if (asked(ports.sport, ports.sportInvert))
    parts.push(inRange(js`pkt.sport`, ports.sport, 0xffff, ports.sportInvert, js))
  if (asked(ports.dport, ports.dportInvert))
    parts.push(inRange(js`pkt.dport`, ports.dport, 0xffff, ports.dportInvert, js))
  return parts
}

/** What the ports of a rule tell the index. */
export const narrowsPorts = (ports: Ports): Narrowing => ({
  ...(!ports.sportInvert && asked(ports.sport, false) && { sports: [ports.sport] }),
  ...(!ports.dportInvert && asked(ports.dport, false) && { dports: [ports.dport] }),
})

/** False for a range that holds every port. */
export const asked = ([min, max]: Range, invert: boolean): boolean => min !== 0 || max !== 0xffff || invert

/** `80`, `1024:65535`. */
export const printRange = ([min, max]: Range): string => (min === max ? `${min}` : `${min}:${max}`)

/** `--sport 1:2`, '' for all. `! --sport 0:65535` is lost, as iptables-save loses it. */
export function printPorts(flag: string, range: Range, invert: boolean): string {
  if (range[0] === 0 && range[1] === 0xffff) return ''
  return `${invert ? '! ' : ''}--${flag} ${printRange(range)}`
}

/** `spt:80`, `dpts:!1:2` of a listing; names where `transport` is given. */
export function listPorts(name: string, range: Range, invert: boolean, transport: string | null): string {
  if (!asked(range, invert)) return ''
  const [min, max] = range
  const inverted = invert ? '!' : ''
  if (min === max) return `${name}:${inverted}${portName(min, transport)}`
  return `${name}s:${inverted}${portName(min, transport)}:${portName(max, transport)}`
}

export const portName = (port: number, transport: string | null): string =>
  (transport === null ? null : serviceName(port, transport)) ?? String(port)

/** Joins the parts that are not empty with blanks. */
export const words = (...parts: readonly string[]): string => parts.filter((part) => part !== '').join(' ')

/** One port as xtables_parse_port() reads it. */
export function onePort(text: string, transport: string): number {
  const port = parsePort(text, transport)
  if (port === null) throw new OptionError(`invalid port/service \`${text}' specified`)
  return port
}

/** `a`, `a:b`, `a:`, `:b` as parse_tcp_ports() reads it. */
export function portRange(text: string, transport: string): Range {
  const colon = text.indexOf(':')
  if (colon < 0) {
    const port = onePort(text, transport)
    return [port, port]
  }
  const from = text.slice(0, colon)
  const to = text.slice(colon + 1)
  const min = from === '' ? 0 : onePort(from, transport)
  const max = to === '' ? 0xffff : onePort(to, transport)
  if (min > max) throw new OptionError('invalid portrange (min > max)')
  return [min, max]
}

/** Source and destination ports of the extensions that parse their own words (tcp, sctp). */
export function ownPorts(o: Options, transport: string): Ports {
  return {
    sport: o.has('source-port') ? portRange(only(o, 'source-port'), transport) : ALL_PORTS,
    dport: o.has('destination-port') ? portRange(only(o, 'destination-port'), transport) : ALL_PORTS,
    sportInvert: o.has('source-port') && o.inverted('source-port'),
    dportInvert: o.has('destination-port') && o.inverted('destination-port'),
  }
}

/** Source and destination ports of the extensions whose words xtables parses (udp, dccp). */
export function xtablesPorts(o: Options): Ports {
  return {
    sport: o.has('source-port') ? o.portRange('source-port') : ALL_PORTS,
    dport: o.has('destination-port') ? o.portRange('destination-port') : ALL_PORTS,
    sportInvert: o.has('source-port') && o.inverted('source-port'),
    dportInvert: o.has('destination-port') && o.inverted('destination-port'),
  }
}

/** The argument of an option that an extension of the old kind allows once. */
export function only(o: Options, flag: string): string {
  const given = o.texts(flag)
  if (given.length > 1) throw new OptionError(`Only one \`--${flag}' allowed`)
  return given[0] ?? ''
}

/** True if any of the packet's TCP options in [at, end) is of the kind (tcp_find_option). Does not allocate. */
export function hasTcpOption(bytes: Uint8Array, at: number, end: number, kind: number): boolean {
  let i = at
  while (i < end) {
    const found = bytes[i]!
    if (found === kind) return true
    if (found < 2) i++
    else i += i + 1 < end && bytes[i + 1]! > 0 ? bytes[i + 1]! : 1
  }
  return false
}

/** Splits a list at commas as the extensions do, and gives each word with what stands from it on. */
export function* listItems(text: string): Generator<{ item: string; rest: string; last: boolean }> {
  let at = 0
  for (;;) {
    const comma = text.indexOf(',', at)
    const rest = text.slice(at)
    if (comma < 0) {
      yield { item: rest, rest, last: true }
      return
    }
    yield { item: text.slice(at, comma), rest, last: false }
    at = comma + 1
  }
}

/** strncasecmp(name, text, strlen(text)) == 0: `text` abbreviates the name. */
export const abbreviates = (text: string, name: string): boolean =>
  name.slice(0, text.length).toLowerCase() === text.toLowerCase()
