// Sets as `ipset` 7.17 prints them: headers, elements and options, plain, as commands and as XML (print.c).

import { formatIpv4, formatIpv6 } from '../../datapath/wire/address.ts'
import { IPPROTO_ICMP, IPPROTO_ICMPV6 } from '../../datapath/wire/protocol.ts'
import type { Words } from '../text/address.ts'
import { protocolName } from '../text/services.ts'
import { ICMP_NAMES, ICMPV6_NAMES } from './icmp-names.ts'
import type { Part, SetOptions, SetType } from './set-type.ts'

function address(words: Words, family: number): string {
  return family === 6 ? formatIpv6(words[0], words[1], words[2], words[3]) : formatIpv4(words[0])
}

function ip(
  words: Words | undefined,
  cidr: number | undefined,
  to: Words | undefined,
  family: number,
): string {
  if (words === undefined) return ''
  const length = cidr === undefined || cidr === (family === 6 ? 128 : 32) ? '' : `/${cidr}`
  const text = `${address(words, family)}${length}`
  return to === undefined ? text : `${text}-${address(to, family)}${length}`
}

function protoPort({ proto = 0, port = 0, portTo }: SetOptions): string {
  const name = proto === 0 ? 'ip' : (protocolName(proto, true) ?? String(proto))
  const names = proto === IPPROTO_ICMP ? ICMP_NAMES : proto === IPPROTO_ICMPV6 ? ICMPV6_NAMES : null
  if (names !== null) {
    const known = names.find(([, type, code]) => ((type << 8) | code) === port)
    return `${name}:${known === undefined ? `${port >> 8}/${port & 0xff}` : known[0]}`
  }
  return `${name}:${port}${portTo === undefined ? '' : `-${portTo}`}`
}

function ether([first, second]: readonly [number, number]): string {
  return [first >>> 24, first >>> 16, first >>> 8, first, second >>> 8, second]
    .map((byte) => (byte & 0xff).toString(16).toUpperCase().padStart(2, '0'))
    .join(':')
}

const hex8 = (value: number): string => `0x${(value >>> 0).toString(16).padStart(8, '0')}`

function writePart(part: Part, o: SetOptions, family: number): string | null {
  switch (part.kind) {
    case 'ip':
    case 'single':
      return ip(o.ip, o.cidr, o.ipTo, family)
    case 'ip2':
    case 'single2':
      return ip(o.ip2, o.cidr2, o.ip2To, family)
    case 'proto-port':
      return protoPort(o)
    case 'port':
      return `${o.port ?? 0}${o.portTo === undefined ? '' : `-${o.portTo}`}`
    case 'ether':
      return o.ether === undefined ? null : ether(o.ether)
    case 'mark':
      return hex8(o.mark ?? 0)
    case 'iface':
      return `${o.physdev ? 'physdev:' : ''}${o.iface}`
    case 'set':
      // 7.17 says so of `before` too.
      return `${o.setName}${o.nameRef === undefined ? '' : ` after ${o.nameRef}`}`
  }
}

/** ipset_print_elem() */
export function writeElement(type: SetType, o: SetOptions, family: number): string {
  const words: string[] = []
  for (const part of type.parts) {
    const word = writePart(part, o, family)
    if (word === null) break
    words.push(word)
  }
  return words.join()
}

/** The value of an option; '' of a switch; null if it is not set. */
function value(name: string, type: SetType, o: SetOptions, family: number, creating: boolean): string | null {
  const flag = (set: true | undefined): string | null => (set === true ? '' : null)
  const plain = (given: number | bigint | undefined): string | null =>
    given === undefined ? null : String(given)
  switch (name) {
    case 'family':
      return type.family === 46 ? (family === 6 ? 'inet6' : 'inet') : null
    case 'range':
      return type.parts[0]!.kind === 'port' ? `${o.port}-${o.portTo}` : ip(o.ip, undefined, o.ipTo, family)
    case 'hashsize':
    case 'maxelem':
    case 'netmask':
    case 'size':
    case 'bucketsize':
    case 'timeout':
    case 'packets':
    case 'bytes':
    case 'skbqueue':
      return plain(o[name])
    case 'bitmask':
      return o.bitmask === undefined ? null : address(o.bitmask, family)
    case 'markmask':
    case 'initval':
      return o[name] === undefined ? null : hex8(o[name])
    // 7.17 has no words for forceadd here.
    case 'counters':
    case 'skbinfo':
    case 'nomatch':
    case 'wildcard':
      return flag(o[name])
    case 'comment':
      return creating ? flag(o.withComment) : o.comment === undefined ? null : `"${o.comment}"`
    case 'skbmark': {
      if (o.skbmark === undefined) return null
      const [mark, mask] = o.skbmark
      return mask === 0xffffffff ? `0x${mark.toString(16)}` : `0x${mark.toString(16)}/0x${mask.toString(16)}`
    }
    case 'skbprio':
      return o.skbprio === undefined
        ? null
        : `${(o.skbprio >>> 16).toString(16)}:${(o.skbprio & 0xffff).toString(16)}`
    default:
      return null
  }
}

/** Options in the order of the type: [name, value]. */
export function writeOptions(
  type: SetType,
  o: SetOptions,
  family: number,
  creating: boolean,
): (readonly [string, string])[] {
  const { options } = creating ? type.create : type.add
  return options.flatMap((name) => {
    const text = value(name, type, o, family, creating)
    return text === null ? [] : [[name, text] as const]
  })
}

export const joined = (options: readonly (readonly [string, string])[]): string =>
  options.map(([name, text]) => (text === '' ? ` ${name}` : ` ${name} ${text}`)).join('')
