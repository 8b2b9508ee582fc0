// Packet words to steps.

import type { Family } from '../../datapath/packet.ts'
import { formatAddress, parseIpv4, parseIpv6 } from '../../datapath/wire/address.ts'
import { hasPorts, IPPROTO_ICMP, IPPROTO_ICMPV6, IPPROTO_TCP } from '../../datapath/wire/protocol.ts'
import { protocolByName, servicePort } from '../../rules/text/services.ts'
import { Line, type PlaceOf, placeIn, readNumber, shown } from './line.ts'
import type { Draft, From, PacketFields, PacketWords, Step } from './model.ts'
import {
  type About,
  bareNames,
  bareUsage,
  readBareWord,
  readIcmpType,
  WORDS,
  type Word,
} from './vocabulary.ts'

/** Words that begin a packet besides names of protocols. */
export const PROTOCOLS: ReadonlyMap<string, number> = new Map([
  ['tcp', 6],
  ['udp', 17],
  ['udplite', 136],
  ['icmp', 1],
  ['icmp6', 58],
  ['icmpv6', 58],
  ['sctp', 132],
  ['dccp', 33],
  ['gre', 47],
  ['esp', 50],
  ['ah', 51],
])

/** The port that a packet comes from if nothing is said. */
export const USUAL_PORT = 40000
const STEP_WORDS = 'a protocol (tcp, udp, icmp, proto N …), reply, again, error or wait'

export interface Conversation {
  readonly steps: readonly Step[]
  /** Where each step begins. */
  readonly offsets: readonly number[]
  readonly placeOf: PlaceOf
}

/**
 * One packet or several, in words. Throws PlaceError: line, column and what was expected there. `before`: a packet that
 * was sent before the first step, to which it may be a reply.
 */
export function parseWords(
  text: string,
  placeOf: PlaceOf = placeIn(text),
  before: About | null = null,
): Conversation {
  const line = new Line(text, placeOf)
  const steps: Step[] = []
  const offsets: number[] = []
  let about = before
  line.skipNext()
  while (!line.done) {
    offsets.push(line.token.at)
    const step = readStep(line, about)
    steps.push(step)
    if (step.kind === 'packet') about = step.packet
    else if (step.kind === 'error') about = { family: about!.family, protocol: icmpOf(about!.family) }
    if (!line.stepDone) line.failHere(`expected a comma or the end, not ${shown(line.token)}`)
    line.skipNext()
  }
  if (steps.length === 0) line.failHere(`expected ${STEP_WORDS}`)
  return { steps, offsets, placeOf }
}

/** Exactly one packet, without what it comes from: `10.0.0.5:40000 > 10.96.0.10:80 syn` of `protocol`. */
export function parsePacket(
  text: string,
  protocol: string | number,
  placeOf: PlaceOf = placeIn(text),
): PacketWords {
  const line = new Line(text, placeOf)
  const head = typeof protocol === 'number' ? 'proto' : protocol
  const packet = readPacket(line, typeof protocol === 'number' ? protocol : PROTOCOLS.get(protocol)!, head)
  if (!line.done) line.failHere(`expected the end, not ${shown(line.token)}`)
  return packet
}

const icmpOf = (family: Family): number => (family === 4 ? IPPROTO_ICMP : IPPROTO_ICMPV6)

function readStep(line: Line, about: About | null): Step {
  const head = line.take(STEP_WORDS)
  if (head === 'wait') return { kind: 'wait', ms: line.value('a time (5s, 200ms, 1m30s)', readDuration) }
  if (head === 'reply' || head === 'again') {
    if (about === null) line.fail(`"${head}" needs a packet before it`)
    return { kind: head, fields: readFields(line, about, false).fields }
  }
  if (head === 'error') {
    if (about === null) line.fail('"error" needs a packet before it')
    return readError(line, about)
  }
  let protocol = PROTOCOLS.get(head)
  if (head === 'proto')
    protocol = line.value('a protocol number from 0 to 255 or a name', (text) => {
      const n = readNumber(text) ?? PROTOCOLS.get(text) ?? protocolByName(text)
      return n !== null && n <= 255 ? n : null
    })
  protocol ??= protocolByName(head) ?? line.fail(`expected ${STEP_WORDS}, not "${head}"`)
  return { kind: 'packet', packet: readPacket(line, protocol, head) }
}

/** `error host-unreachable [from ADDRESS] …`. */
function readError(line: Line, about: About): Step {
  const { family } = about
  const icmp = { family, protocol: icmpOf(family) }
  const usage = 'an ICMP error (host-unreachable, time-exceeded, 3/4 …)'
  const type = line.value(usage, (text) => readIcmpType(text, family))
  let by: string | null = null
  if (line.accept('from')) by = readAddress(line, family).address
  const { fields } = readFields(line, icmp, false)
  return { kind: 'error', by, fields: { ...fields, icmpType: type.type, icmpCode: type.code } }
}

const UNITS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 }

/** `1m30s`, `200ms`, `5` (seconds) in milliseconds; null if it is no time. */
export function readDuration(text: string): number | null {
  if (/^\d{1,9}(\.\d{1,6})?$/.test(text)) return Number((Number(text) * 1000).toFixed(6))
  if (!/^(\d{1,9}(\.\d{1,6})?(ms|s|m|h|d))+$/.test(text)) return null
  let ms = 0
  for (const [, n, unit] of text.matchAll(/([\d.]+)(ms|s|m|h|d)/g)) ms += Number(n) * UNITS[unit!]!
  return Number(ms.toFixed(6))
}

interface End {
  readonly family: Family
  readonly address: string
  readonly port: number | null
}

function readAddress(line: Line, family: Family | null): End {
  const what = family === null ? 'an address' : `an IPv${family} address`
  const end = line.value(what, readEnd)
  if (family !== null && end.family !== family)
    line.fail(`expected ${what} as on the other side of ">", not "${line.last.text}"`)
  return end
}

/** `10.0.0.1`, `10.0.0.1:80`, `[2001:db8::1]:80`, `2001:db8::1`. */
function readEnd(text: string): End | null {
  const found = /^\[([^\]]+)\](?::(.+))?$/.exec(text) ??
    /^(\d+\.\d+\.\d+\.\d+)(?::(.+))?$/.exec(text) ?? [text, text]
  const [, name, portText] = found
  const four = parseIpv4(name!)
  const six = four === null ? parseIpv6(name!) : null
  if (four === null && six === null) return null
  const port =
    portText === undefined ? null : /^\d{1,5}$/.test(portText) ? Number(portText) : servicePort(portText)
  if (portText !== undefined && (port === null || port > 65535)) return null
  return six === null
    ? { family: 4, address: formatAddress(4, [four!, 0, 0, 0]), port }
    : { family: 6, address: formatAddress(6, six), port }
}

/** Behind the protocol: `SRC > DST WORD… in DEV`. `head`: how the protocol was said; "icmp" is that of the family. */
function readPacket(line: Line, protocol: number, head: string): PacketWords {
  const ports = hasPorts(protocol)
  const family = head === 'icmp6' || head === 'icmpv6' ? 6 : null
  const src = readAddress(line, family)
  if (!ports && src.port !== null) line.fail(`"${line.last.text}": packets of this protocol have no ports`)
  if (!line.accept('>')) line.failHere(`expected ">" between the addresses, not ${shown(line.token)}`)
  const dst = readAddress(line, src.family)
  if (!ports && dst.port !== null) line.fail(`"${line.last.text}": packets of this protocol have no ports`)
  const to = line.last
  const about = { family: src.family, protocol: head === 'icmp' ? icmpOf(src.family) : protocol }
  const { fields, from } = readFields(line, about, true)
  const headless = fields.raw === true || (fields.fragment?.offset ?? 0) > 0
  if (ports && !headless && dst.port === null)
    line.failAt(
      to,
      `expected the port that it is sent to: ${dst.family === 4 ? dst.address : `[${dst.address}]`}:PORT`,
    )
  if (headless && (src.port !== null || dst.port !== null))
    line.failAt(to, 'a packet that does not begin with the header of its protocol has no ports')
  return {
    ...about,
    src: src.address,
    dst: dst.address,
    ...(ports && !headless && { sport: src.port ?? USUAL_PORT, dport: dst.port! }),
    ...fields,
    from,
  }
}

/** Words up to the end of the step, or a closing parenthesis. */
function readFields(line: Line, about: About, mayFrom: boolean): { fields: PacketFields; from: From } {
  const fields: Draft = {}
  const said = new Set<unknown>()
  let from: From = null
  while (!line.stepDone && !(line.token.kind === 'word' && line.token.text === ')')) {
    if (line.token.kind === 'text') line.failHere('text in quotes stands behind "payload"')
    const name = line.take('a word')
    if (name === 'in' || name === 'out') {
      if (!mayFrom) line.fail(`"${name}" is said with the packet itself`)
      if (from !== null) line.fail('where the packet comes from is said twice')
      from = name === 'out' ? 'out' : { device: line.take('the name of an interface') }
    } else if (name === 'about' && isIcmp(about)) {
      if (fields.about !== undefined) line.fail('"about" is said twice')
      fields.about = readQuoted(line)
    } else {
      const word = findWord(name, about)
      if (word !== undefined) {
        if (said.has(word) && !word.repeats) line.fail(`"${name}" is said twice`)
        said.add(word)
        word.read(line, fields, about)
      } else if (!readBareWord(name, fields, about)) line.fail(unknown(name, about))
    }
  }
  if (fields.payload === '') delete fields.payload
  if (about.family === 4 && (fields.ipId ?? 0) > 0xffff) line.fail('expected an ip-id from 0 to 65535')
  if (fields.fragment !== undefined && fields.pieces !== undefined)
    line.fail('"fragment" is one piece, "pieces" makes several: expected one of them')
  if (about.family === 4 && fields.fragment?.offset === 0 && !fields.fragment.more) delete fields.fragment
  return { fields, from }
}

const isIcmp = (about: About): boolean => about.protocol === icmpOf(about.family)

function readQuoted(line: Line): PacketWords {
  if (!line.accept('(')) line.failHere(`expected "(" and the packet that is quoted, not ${shown(line.token)}`)
  const step = readStep(line, null)
  if (step.kind !== 'packet') line.fail('expected a packet within the parentheses')
  if (step.packet.from !== null) line.fail('a packet that is quoted comes from nowhere')
  if (!line.accept(')'))
    line.failHere(`expected ")" behind the packet that is quoted, not ${shown(line.token)}`)
  return step.packet
}

const findWord = (name: string, about: About): Word | undefined =>
  WORDS.find((word) => word.names.includes(name) && (word.when?.(about) ?? true))

function unknown(name: string, about: About): string {
  const of = `IPv${about.family} ${protocolLabel(about.protocol)} packets`
  if (WORDS.some((word) => word.names.includes(name))) return `"${name}" says nothing about ${of}`
  const known = WORDS.filter((word) => word.when?.(about) ?? true)
  const near = [...bareNames(about), ...known.flatMap((word) => word.names)].find((other) =>
    isNear(name, other),
  )
  if (near !== undefined) return `unknown word "${name}": did you mean "${near}"?`
  if (about.protocol === IPPROTO_TCP && name.includes(','))
    return `unknown TCP flags "${name}": expected some of syn, ack, fin, rst, psh, urg, ece, cwr with commas`
  const bare = bareUsage(about)
  const usages = [...(bare === null ? [] : [bare]), ...known.map((word) => word.usage)]
  return `unknown word "${name}": of ${of} may be said ${usages.join(', ')}, in DEVICE, out`
}

export const protocolLabel = (protocol: number): string =>
  [...PROTOCOLS].find(([, number]) => number === protocol)?.[0] ?? `protocol ${protocol}`

/** One letter too many, too few, wrong, or two swapped. */
function isNear(a: string, b: string): boolean {
  if (a === b || Math.abs(a.length - b.length) > 1 || b.length < 3) return false
  let i = 0
  while (i < a.length && a[i] === b[i]) i++
  const [x, y] = [a.slice(i), b.slice(i)]
  return (
    x.slice(1) === y ||
    x === y.slice(1) ||
    x.slice(1) === y.slice(1) ||
    (x.slice(2) === y.slice(2) && x[0] === y[1] && x[1] === y[0])
  )
}
