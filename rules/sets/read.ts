// Elements and options of the ipset command as libipset 7.17 reads them (parse.c): text to SetOptions, or the words
// of its complaint.

import { IPPROTO_ICMP, IPPROTO_ICMPV6 } from '../../datapath/wire/protocol.ts'
import { parseAddress, type Words } from '../text/address.ts'
import { plainStrtoul, ULONG_MAX } from '../text/numbers.ts'
import { protocolName, protocolNumber, servicePort } from '../text/services.ts'
import { ICMP_NAMES, ICMPV6_NAMES, type IcmpNames } from './icmp-names.ts'
import { withPorts } from './port-word.ts'
import type { Part, SetOptions, SetType } from './set-type.ts'
import { PROBES, RANGE } from './words.ts'

/** A complaint in ipset's words; several lines if it tried several ways. */
export class ReadError extends Error {
  override readonly name = 'ReadError'
}

/** ICMP of the other family: 7.17 goes on to the end of the line before it gives up. */
export class FamilyError extends Error {
  override readonly name = 'FamilyError'
  constructor(text: string) {
    super(`Syntax error: ${text}`)
  }
}

/** IPSET_MAXNAMELEN without the final 0. */
const MAX_NAME = 31
const MAX_INTERFACE = 15
const MAX_COMMENT = 255
const MAX_TIMEOUT = 2147483n
/** ULLONG_MAX itself stands for no counter. */
const MAX_COUNTER = ULONG_MAX - 1n

const syntax = (text: string): ReadError => new ReadError(`Syntax error: ${text}`)

/** ipset_strchr(): where the separator stands, but not as first or last character. */
function separator(text: string, sep: string): number {
  return text[0] === sep || text.endsWith(sep) ? -1 : text.indexOf(sep)
}

/** string_to_number_ll() */
function number(text: string, min: bigint, max: bigint): bigint {
  const found = /^\s*([+-]?)(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)$/.exec(text)
  if (found === null) throw syntax(`'${text}' is invalid as number`)
  const digits = found[2]!
  let value = BigInt(/^0[0-7]+$/.test(digits) ? `0o${digits}` : digits)
  const over = value > ULONG_MAX
  if (found[1] === '-') value = BigInt.asUintN(64, -value)
  if (over || value < min || value > max) throw syntax(`'${text}' is out of range ${min}-${max}`)
  return value
}

const small = (text: string, max: number, min = 0): number => Number(number(text, BigInt(min), BigInt(max)))

export function readName(text: string): string {
  if (text.length > MAX_NAME) throw syntax(`setname '${text}' is longer than ${MAX_NAME} characters`)
  return text
}

function address(written: string, family: 4 | 6): Words {
  const text = unescaped(written)
  // As getaddrinfo(): other ways to write a number, but not hexadecimal ones.
  const words =
    text.toLowerCase() === 'localhost'
      ? parseAddress(family === 4 ? '127.0.0.1' : '::1', family)
      : family === 4 && /x/i.test(text)
        ? null
        : parseAddress(text, family)
  if (words === null)
    throw syntax(`cannot parse ${text}: resolving to ${family === 4 ? 'IPv4' : 'IPv6'} address failed`)
  return words
}

/** strip_escape(): names with dashes stand in brackets. */
function unescaped(text: string): string {
  if (!text.startsWith('[')) return text
  if (!text.endsWith(']')) throw noClosing(text)
  return text.slice(1, -1)
}

const noClosing = (text: string): ReadError => syntax(`cannot find closing escape character ']' in ${text}`)

/** Where the first bracket is closed. */
function closingBracket(text: string): number {
  const at = text.indexOf(']')
  if (at < 0) throw noClosing(text)
  return at
}

/** Where the dash of a range stands, -1 if there is none: not inside brackets. */
function rangeDash(text: string): number {
  const close = text.startsWith('[') ? text.indexOf(']') : -1
  if (close < 0) return text.startsWith('[') ? -1 : separator(text, '-')
  const at = separator(text.slice(close), '-')
  return at < 0 ? -1 : close + at
}

const familyOf = (options: SetOptions): 4 | 6 => (options.family === 6 ? 6 : 4)

/** parse_ip(): address, address/length, or from-to; which of them is allowed, by `form`. */
function readIp(
  text: string,
  options: SetOptions,
  form: 'any' | 'single' | 'net' | 'netrange' | 'ipnet',
  second = false,
): void {
  const slash = separator(text, '/')
  const dash = rangeDash(text)
  const close = slash < 0 && text.startsWith('[') ? text.indexOf(']') + 1 : 0
  const host = slash >= 0 && text.slice(slash + 1) === (familyOf(options) === 4 ? '32' : '128')
  if (form === 'single' && (dash >= 0 || (slash >= 0 && !host)))
    throw syntax(`plain IP address must be supplied: ${text}`)
  if (form === 'net' && (slash < 0 || dash >= 0)) throw syntax(`IP/netblock must be supplied: ${text}`)
  if (form === 'netrange' && slash < 0 && dash < 0)
    throw syntax(`IP/cidr or IP-IP range must be specified: ${text}`)
  if (form === 'ipnet' && dash >= 0) throw syntax(`IP address or IP/cidr must be specified: ${text}`)
  if (close > 0 && close < text.length && text[close] !== '-')
    throw syntax(`range separator expected after '${text.slice(0, close)}'`)
  const family = familyOf(options)
  let from = text
  let to: string | null = null
  if (slash >= 0) {
    const cidr = prefix(text.slice(slash + 1), 0, family === 4 ? 32 : 128)
    if (second) options.cidr2 = cidr
    else options.cidr = cidr
    from = text.slice(0, slash)
  } else if (dash >= 0) {
    from = text.slice(0, dash)
    to = text.slice(dash + 1)
  }
  const words = address(from, family)
  if (second) options.ip2 = words
  else options.ip = words
  if (to === null) return
  if (second) options.ip2To = address(to, family)
  else options.ipTo = address(to, family)
}

/** string_to_cidr() */
function prefix(text: string, min: number, max: number): number {
  const value = small(text, 255)
  if (value < min || value > max) throw syntax(`'${text}' is out of range ${min}-${max}`)
  return value
}

/** The name of a protocol given as a number, else null. */
function protocolOfNumber(text: string): string | null {
  return /^\d+$/.test(text) ? protocolName(Number(text), true) : null
}

function onePort(text: string, proto: string): number {
  let complaint: string
  try {
    return small(text, 0xffff)
  } catch (error) {
    complaint = (error as Error).message
  }
  const number = protocolOfNumber(proto)
  if (text.startsWith('[') && !text.endsWith(']'))
    throw new ReadError(`${noClosing(text).message}\ncannot parse '${text}' as a ${proto} port`)
  const named = servicePort(unescaped(text), number ?? proto)
  if (named !== null) return named
  const second = number === null ? `\nSyntax error: '${proto}' is invalid as number` : ''
  throw new ReadError(`${complaint}${second}\ncannot parse '${text}' as a ${proto} port`)
}

/** A port, or two; the names of services stand in brackets like those of hosts. */
function readPorts(text: string, options: SetOptions, proto: string): void {
  const close = text.startsWith('[') ? closingBracket(text) + 1 : 0
  const dash = rangeDash(text)
  if (close > 0 && close < text.length && text[close] !== '-')
    throw syntax(`range separator expected after '${text.slice(0, close)}'`)
  if (dash >= 0) options.portTo = onePort(text.slice(dash + 1), proto)
  options.port = onePort(dash >= 0 ? text.slice(0, dash) : text, proto)
}

function readProto(text: string): number {
  const name = text.toLowerCase() === 'icmpv6' ? 'ipv6-icmp' : text
  // iptables' own words are not in /etc/protocols.
  const proto = name === 'all' ? null : protocolNumber(name)
  if (proto === null) throw syntax(`cannot parse '${text}' as a protocol`)
  // A number goes to the kernel, which minds.
  if (proto === 0 && !/^(0[xX])?0+$/.test(text)) throw syntax(`Unsupported protocol '${text}'`)
  return proto
}

function readProtoPort(text: string, options: SetOptions): void {
  const colon = separator(text, ':')
  if (colon < 0) {
    options.proto = 6
    readPorts(text, options, 'tcp')
    return
  }
  const name = text.slice(0, colon)
  const port = text.slice(colon + 1)
  const proto = readProto(name)
  options.proto = proto
  if (withPorts(proto)) readPorts(port, options, name)
  else if (proto === IPPROTO_ICMP) {
    if (familyOf(options) !== 4) throw new FamilyError('Protocol ICMP can be used with family inet only')
    options.port = readIcmp(port, ICMP_NAMES, 'ICMP')
  } else if (proto === IPPROTO_ICMPV6) {
    if (familyOf(options) !== 6) throw new FamilyError('Protocol ICMPv6 can be used with family inet6 only')
    options.port = readIcmp(port, ICMPV6_NAMES, 'ICMPv6')
  } else {
    if (port !== '0') throw syntax(`Protocol ${name} can be used with pseudo port value 0 only.`)
    options.port = 0
  }
}

function readIcmp(text: string, names: IcmpNames, what: string): number {
  const lower = text.toLowerCase()
  const named = names.find(([name]) => name.toLowerCase().startsWith(lower))
  if (named !== undefined) return (named[1] << 8) | named[2]
  const slash = separator(text, '/')
  if (slash < 0) throw new ReadError(`Cannot parse ${text} as an ${what} type/code.`)
  return (small(text.slice(0, slash), 255) << 8) | small(text.slice(slash + 1), 255)
}

/**
 * `tcp:80-90`, `udp:domain`: the protocol only helps to find a name (ipset_parse_tcp_udp_port). Differs from 7.17: that
 * crashes of ICMP.
 */
function readPort(text: string, options: SetOptions): void {
  const colon = separator(text, ':')
  const named = colon < 0 ? 0 : readProto(text.slice(0, colon))
  if (named !== IPPROTO_ICMP && named !== IPPROTO_ICMPV6) readProtoPort(text, options)
  if (options.proto !== 6 && options.proto !== 17) throw syntax('Only protocols TCP and UDP are valid')
  delete options.proto
}

/** `00:11:22:33:44:55` has 17 characters. */
const MAC_LENGTH = 17

/** strtol(3) of base 16 for each of six parts, which may be empty (ipset_parse_ether). */
function readEther(text: string, options: SetOptions): void {
  const bytes = text.split(':').map((part) => {
    const { value, end } = plainStrtoul(part, 16)
    return end === part.length && value <= 255n ? Number(value) : null
  })
  if (text.length > MAC_LENGTH || bytes.length !== 6 || bytes.includes(null))
    throw syntax(`cannot parse '${text}' as ethernet address`)
  options.ether = [
    (bytes[0]! << 24) | (bytes[1]! << 16) | (bytes[2]! << 8) | bytes[3]!,
    (bytes[4]! << 8) | bytes[5]!,
  ]
}

function readInterface(text: string, options: SetOptions): void {
  let name = text
  if (name.startsWith('physdev:')) {
    options.physdev = true
    name = name.slice(8)
  }
  if (name.length > MAX_INTERFACE)
    throw syntax(`interface name '${name}' is longer than ${MAX_INTERFACE} characters`)
  options.iface = name
}

/** `NAME,before,OTHER` of old (ipset_parse_name_compat). */
function readMember(text: string, options: SetOptions): void {
  const comma = separator(text, ',')
  if (comma < 0) {
    options.setName = readName(text)
    return
  }
  const rest = text.slice(comma + 1)
  const next = separator(rest, ',')
  const where = next < 0 ? rest : rest.slice(0, next)
  if (next < 0 || (where !== 'before' && where !== 'after'))
    throw new ReadError('you must specify elements as setname,[before|after],setname')
  options.setName = readName(text.slice(0, comma))
  options.nameRef = readName(rest.slice(next + 1))
  if (where === 'before') options.before = true
}

function readPart(part: Part, text: string, options: SetOptions): void {
  switch (part.kind) {
    case 'ip':
    case 'ip2': {
      const v6 = part.ip6 === 'net' ? 'ipnet' : part.ip6
      readIp(text, options, familyOf(options) === 4 ? 'any' : v6, part.kind === 'ip2')
      return
    }
    case 'single':
      readIp(text, options, 'single')
      return
    case 'single2':
      readIp(text, options, 'single', true)
      return
    case 'proto-port':
      readProtoPort(text, options)
      return
    case 'port':
      readPort(text, options)
      return
    case 'ether':
      readEther(text, options)
      return
    case 'mark':
      options.mark = small(text, 0xffffffff)
      return
    case 'iface':
      readInterface(text, options)
      return
    case 'set':
      options.setName = readName(text)
  }
}

/** ipset_parse_elem(). `options.family` must be the set's. */
export function readElement(type: SetType, text: string, options: SetOptions): void {
  const { parts } = type
  const words: string[] = []
  let rest = text
  for (let at = separator(rest, ','); at >= 0 && words.length < 3; at = separator(rest, ',')) {
    words.push(rest.slice(0, at))
    rest = rest.slice(at + 1)
  }
  words.push(rest)
  const optional = type.lastOptional === true
  if (parts.length > 1 && words.length < 2 && !optional)
    throw syntax(`Second element is missing from ${text}.`)
  if (parts.length === 1 && words.length > 1) {
    if (parts[0]!.kind === 'set') {
      readMember(text, options)
      return
    }
    throw syntax(`Elem separator in ${text}, but settype ${type.name} supports none.`)
  }
  if (parts.length > 2 && words.length < 3 && !optional)
    throw syntax(`Third element is missing from ${text}.`)
  if (parts.length === 2 && words.length > 2)
    throw syntax(`Two elem separators in ${text}, but settype ${type.name} supports one.`)
  if (words.length > 3)
    throw syntax(`Three elem separators in ${text}, but settype ${type.name} supports two.`)
  let late: FamilyError | null = null
  for (const [i, part] of parts.entries()) {
    if (words[i] === undefined) continue
    try {
      readPart(part, words[i], options)
    } catch (error) {
      if (error instanceof FamilyError) {
        late = error
        // The data were given back: what comes is read as of the default family.
        options.family = 4
      } else if (late !== null && error instanceof ReadError)
        throw new ReadError(`${late.message}\n${error.message}`)
      else throw error
    }
  }
  if (late !== null) throw late
}

type Reader = (text: string, options: SetOptions) => void

/** `%x` of sscanf: what follows does not matter, of long numbers the last 32 bits count, and `0x` alone is 0. */
function scanHex(text: string): { value: number; rest: string } | null {
  const found = /^\s*([+-]?)(?:0[xX]([0-9a-fA-F]*)|([0-9a-fA-F]+))/.exec(text)
  if (found === null) return null
  const value = Number(BigInt(`0x${found[2] || found[3] || '0'}`) & 0xffffffffn)
  return { value: (found[1] === '-' ? -value : value) >>> 0, rest: text.slice(found[0].length) }
}

/** Options with a value, by name. */
const VALUES: Readonly<Record<string, Reader>> = {
  family(text, o) {
    if (['inet', 'ipv4', '-4'].includes(text)) o.family = 4
    else if (['inet6', 'ipv6', '-6'].includes(text)) o.family = 6
    else if (['any', 'unspec'].includes(text)) o.family = 0
    else throw syntax(`unknown inet family ${text}`)
  },
  hashsize: (text, o) => {
    o.hashsize = small(text, 0xffffffff)
  },
  maxelem: (text, o) => {
    o.maxelem = small(text, 0xffffffff)
  },
  size: (text, o) => {
    o.size = small(text, 0xffffffff)
  },
  bucketsize: (text, o) => {
    o.bucketsize = small(text, 255)
  },
  initval: (text, o) => {
    o.initval = small(text, 0xffffffff)
  },
  markmask: (text, o) => {
    o.markmask = small(text, 0xffffffff)
  },
  netmask(text, o) {
    const max = familyOf(o) === 4 ? 32 : 128
    if (o.bitmask !== undefined) throw syntax('bitmask and netmask are mutually exclusive, provide only one')
    try {
      o.netmask = prefix(text, 1, max)
    } catch (error) {
      throw new ReadError(
        `${(error as Error).message}\nSyntax error: netmask is out of the inclusive range of 1-${max}`,
      )
    }
  },
  bitmask(text, o) {
    if (o.netmask !== undefined) throw syntax('bitmask and netmask are mutually exclusive, provide only one')
    try {
      o.bitmask = onlyAddress(text, o, 'any')
    } catch (error) {
      const family = familyOf(o) === 4 ? 'inet' : 'inet6'
      throw new ReadError(
        `${(error as Error).message}\nSyntax error: bitmask is not valid for family = ${family}`,
      )
    }
  },
  timeout: (text, o) => {
    o.timeout = Number(number(text, 0n, MAX_TIMEOUT))
  },
  packets: (text, o) => {
    o.packets = number(text, 0n, MAX_COUNTER)
  },
  bytes: (text, o) => {
    o.bytes = number(text, 0n, MAX_COUNTER)
  },
  comment(text, o) {
    if (text.includes('"')) throw syntax('" character is not permitted in comments')
    if (text.length > MAX_COMMENT)
      throw syntax(`Comment is longer than the maximum allowed ${MAX_COMMENT} characters`)
    o.comment = text
  },
  skbmark(text, o) {
    const mark = text.startsWith('0x') ? scanHex(text.slice(2)) : null
    if (mark === null) throw syntax('Invalid skbmark format, it should be:  MARK/MASK or MARK (see manpage)')
    const mask = mark.rest.startsWith('/0x') ? scanHex(mark.rest.slice(3)) : null
    o.skbmark = [mark.value, mask?.value ?? 0xffffffff]
  },
  skbprio(text, o) {
    const major = scanHex(text)
    const minor = major?.rest.startsWith(':') === true ? scanHex(major.rest.slice(1)) : null
    if (major === null || minor === null)
      throw syntax('Invalid skbprio format, it should be:MAJOR:MINOR (see manpage)')
    o.skbprio = (((major.value & 0xffff) << 16) | (minor.value & 0xffff)) >>> 0
  },
  skbqueue: (text, o) => {
    o.skbqueue = small(text, 0xffff)
  },
  before(text, o) {
    if (o.nameRef !== undefined) throw syntax('mixed syntax, before|after option already used')
    o.before = true
    o.nameRef = readName(text)
  },
  after(text, o) {
    if (o.nameRef !== undefined) throw syntax('mixed syntax, before|after option already used')
    o.nameRef = readName(text)
  },
  network: (text, o) => readIp(text, o, 'net'),
}

/** An address of which a length or an end behind it is read, and not kept. */
function onlyAddress(text: string, { family }: SetOptions, form: 'any' | 'single'): Words {
  const read: SetOptions = family === undefined ? {} : { family }
  readIp(text, read, form)
  return read.ip!
}

const SWITCHES: Readonly<Record<string, (options: SetOptions) => void>> = {
  '-4': (o) => {
    o.family = 4
  },
  '-6': (o) => {
    o.family = 6
  },
  counters: (o) => {
    o.counters = true
  },
  forceadd: (o) => {
    o.forceadd = true
  },
  skbinfo: (o) => {
    o.skbinfo = true
  },
  nomatch: (o) => {
    o.nomatch = true
  },
  wildcard: (o) => {
    o.wildcard = true
  },
}

/** Whether an option takes an argument: `comment` only behind an element. */
export function takesValue(name: string, creating: boolean): boolean {
  return !(name in SWITCHES || (creating && name === 'comment'))
}

/**
 * What a warning calls an option of versions long gone, whose argument is read over; null: it counts. Only bitmaps have
 * ends.
 */
export function ignoredAs(type: SetType, name: string): string | null {
  if (PROBES.includes(name) || name === 'gc') return name
  if (!RANGE.includes(name) || type.name.startsWith('bitmap:')) return null
  return name === 'network' ? 'from' : name
}

/** One option into `options`. */
export function readOption(
  type: SetType,
  name: string,
  text: string,
  options: SetOptions,
  creating: boolean,
): void {
  if (creating && name === 'comment') options.withComment = true
  else if (name === 'range') {
    if (type.parts[0]!.kind === 'port') readPort(text, options)
    else readIp(text, options, 'netrange')
  } else if (name === 'from' || name === 'to') {
    const ports = type.parts[0]!.kind === 'port'
    if (ports && name === 'from') options.port = onePort(text, 'tcp')
    else if (ports) options.portTo = onePort(text, 'tcp')
    else if (name === 'from') options.ip = onlyAddress(text, options, 'single')
    else options.ipTo = onlyAddress(text, options, 'single')
  } else if (name in SWITCHES) SWITCHES[name]!(options)
  else VALUES[name]!(text, options)
}
