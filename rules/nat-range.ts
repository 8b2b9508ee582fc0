// The text of NAT ranges, which DNAT, SNAT, MASQUERADE and REDIRECT share (libxt_NAT of iptables 1.8.9).
//
//     10.0.0.1-10.0.0.9:8000-8010/5000      [2001:db8::1]:80      :80      8000-8010
//     addresses         ports     base

import { type Manip, type NatRange, NO_RANGE } from '../conntrack/nat/range.ts'
import type { Family } from '../datapath/packet.ts'
import { type AddressWords, formatAddress, parseAddress } from '../datapath/wire/address.ts'
import {
  IPPROTO_DCCP,
  IPPROTO_ICMP,
  IPPROTO_SCTP,
  IPPROTO_TCP,
  IPPROTO_UDP,
} from '../datapath/wire/protocol.ts'
import type { Code, Js } from './compile/template.ts'
import type { Destination } from './extension.ts'
import { addressField, type Field, portField } from './layout.ts'
import { OptionError, type Options } from './options.ts'
import { strtoul } from './text/numbers.ts'
import { servicePort } from './text/services.ts'

type Ports = Pick<NatRange, 'minPort' | 'maxPort' | 'hasPorts' | 'basePort' | 'offset'>

/** struct nf_nat_range; of nf_nat_range2 all but the base port. */
export const rangeFields = (range: NatRange): Field[] => [
  [
    0,
    4,
    [
      range.min !== null,
      range.hasPorts,
      range.random,
      range.persistent,
      range.randomFully,
      range.offset,
    ].reduce((bits, set, i) => bits | (set ? 1 << i : 0), 0),
  ],
  addressField(4, range.min),
  addressField(20, range.max),
  portField(36, range.minPort),
  portField(38, range.maxPort),
]

/** Flags that any of the four may carry. */
export function flags(o: Options): Pick<NatRange, 'random' | 'randomFully' | 'persistent'> {
  return {
    random: o.has('random'),
    randomFully: o.has('random-fully'),
    persistent: o.has('persistent'),
  }
}

/** `address[-address][:ports]`, the argument of --to-source and --to-destination. Throws OptionError. */
export function parseTo(text: string, o: Options): NatRange {
  const open = text.indexOf('[')
  let from = 0
  let until = text.length
  let colon = text.indexOf(':')
  if (open >= 0) {
    const close = text.indexOf(']', open)
    if (close < 0 || o.family === 4) throw new OptionError('Invalid address format')
    from = open + 1
    until = close
    colon = text.indexOf(':', close + 1)
  } else if (colon >= 0 && text.indexOf(':', colon + 1) >= 0) colon = -1 // an IPv6 address
  let ports: Ports = NO_RANGE
  if (colon >= 0) {
    ports = parsePorts(text.slice(colon + 1), o)
    // `:80` and `[]:80` leave the address alone.
    if (colon === 0 || colon === 2) return rangeOf(null, null, ports)
    if (open < 0) until = colon
  }
  const addresses = text.slice(from, until)
  const dash = addresses.indexOf('-')
  const min = address(dash < 0 ? addresses : addresses.slice(0, dash), o.family)
  const max = dash < 0 ? min : address(addresses.slice(dash + 1), o.family)
  return rangeOf(min, max, ports)
}

/** Written out: there are many of these in a ruleset of kube-proxy. */
const rangeOf = (min: NatRange['min'], max: NatRange['max'], ports: Ports): NatRange => ({
  min,
  max,
  minPort: ports.minPort,
  maxPort: ports.maxPort,
  hasPorts: ports.hasPorts,
  basePort: ports.basePort,
  offset: ports.offset,
  random: false,
  randomFully: false,
  persistent: false,
  netmap: false,
})

function address(text: string, family: Family): AddressWords {
  const words = parseAddress(family, text)
  if (words === null) throw new OptionError(`Bad IP address "${text}"`)
  return words
}

/** Protocols for which ports may be given; `! -p tcp` passes too, as the tool looks at the number alone. */
const WITH_PORTS: readonly number[] = [IPPROTO_TCP, IPPROTO_UDP, IPPROTO_SCTP, IPPROTO_DCCP, IPPROTO_ICMP]

/** `port[-port[/base]]`, the argument of --to-ports. Throws OptionError. */
export function parsePorts(text: string, o: Options): Ports {
  if (!WITH_PORTS.includes(o.protocol))
    throw new OptionError('Need TCP, UDP, SCTP or DCCP with port specification')
  const first = strtoui(text, 0)
  if (first === null) return single(service(text))
  const rest = first.rest
  if (rest === '') return single(first.value)
  if (rest.startsWith(':')) throw new OptionError('Invalid port:port syntax - use dash')
  if (!rest.startsWith('-')) throw new OptionError(`Garbage after port value: \`${rest}'`)

  // Names are for single ports.
  const last = strtoui(rest.slice(1), 0)
  if (last === null) throw new OptionError(`Port \`${rest.slice(1)}' not valid`)
  if (last.value < first.value) throw new OptionError(`Port range \`${rest.slice(1)}' funky`)
  const range = { minPort: first.value, maxPort: last.value, hasPorts: true }
  if (last.rest === '') return { ...range, basePort: 0, offset: false }
  if (!last.rest.startsWith('/')) throw new OptionError(`Garbage after port range: \`${last.rest}'`)

  // What stands behind a base is not looked at.
  const base = last.rest.slice(1)
  return { ...range, basePort: strtoui(base, 1)?.value ?? service(base), offset: true }
}

const single = (port: number): Ports => ({
  minPort: port,
  maxPort: port,
  hasPorts: true,
  basePort: 0,
  offset: false,
})

function service(text: string): number {
  const port = servicePort(text)
  if (port === null) throw new OptionError(`Port \`${text}' not valid`)
  return port
}

/** xtables_strtoui with an end pointer: a number at the start, `min` to 65535, and what stands behind it. */
function strtoui(text: string, min: number): { readonly value: number; readonly rest: string } | null {
  const read = strtoul(text, min, 0xffff)
  return read === null ? null : { value: read.value, rest: text.slice(read.end) }
}

/** As iptables-save prints a range: '' for none. */
export function formatRange(range: NatRange, family: Family): string {
  let text = ''
  if (range.min !== null && range.max !== null) {
    const { min, max } = range
    text = formatAddress(family, min)
    if (min.some((word, i) => word !== max[i])) text += `-${formatAddress(family, max)}`
    if (family === 6 && range.hasPorts) text = `[${text}]`
  }
  return range.hasPorts ? `${text}:${formatPorts(range)}` : text
}

export function formatPorts(range: NatRange): string {
  if (!range.hasPorts) return ''
  let text = String(range.minPort)
  if (range.maxPort !== range.minPort) text += `-${range.maxPort}`
  if (range.offset) text += `/${range.basePort}`
  return text
}

const isSame = (a: AddressWords, b: AddressWords): boolean => a.every((word, i) => word === b[i])

/** SNAT or DNAT to a range. `to`: what plainAddress() gives of it. */
export function emitSetup(range: NatRange, manip: Manip, js: Js, to = plainAddress(range, js)): Code {
  const { nat } = js.env
  return to === null
    ? js`${nat}.setup(pkt, ${range}, ${manip})`
    : js`${nat}.setup4(pkt, ${to.address}, ${to.port}, ${manip})`
}

/** A range that is one address and at most one port, so that the code has the numbers in it. */
export function plainAddress(range: NatRange, js: Js): Destination | null {
  const { min, max, minPort, maxPort, hasPorts, offset, random, randomFully, persistent, netmap } = range
  const isOne = min !== null && max !== null && isSame(min, max) && minPort === maxPort
  if (!isOne || js.family === 6 || offset || random || randomFully || persistent || netmap) return null
  return { address: js`${min[0]}`, port: js`${hasPorts ? minPort : -1}` }
}

/** A range behind its option, and the flags with `dashes` before each: `--to-source 10.0.0.1 --random`. */
export function formatUse(option: string, text: string, range: NatRange, dashes: '--' | ''): string {
  const parts = text === '' ? [] : [`${option}${text}`]
  if (range.random) parts.push(`${dashes}random`)
  if (range.randomFully) parts.push(`${dashes}random-fully`)
  if (range.persistent) parts.push(`${dashes}persistent`)
  return parts.join(' ')
}
