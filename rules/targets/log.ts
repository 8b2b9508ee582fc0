// LOG: a line for the kernel log (libxt_LOG of iptables 1.8.9, nf_log_ip_packet() and nf_log_ip6_packet() of
// nf_log_syslog.c).
//
//     PREFIXIN=eth0 OUT=eth1 MAC= SRC=10.0.0.2 DST=10.1.0.2 LEN=60 TOS=0x00 PREC=0x00 TTL=63 ID=1 DF PROTO=TCP
//     SPT=40000 DPT=80 WINDOW=64240 RES=0x00 SYN URGP=0 MARK=0x1
//
// Every field ends with a blank, the last one too. An ICMP error shows the packet that it quotes in brackets.

import type { Host } from '../../datapath/host.ts'
import { linkHeaderOf } from '../../datapath/link-header.ts'
import type { Packet } from '../../datapath/packet.ts'
import {
  ICMP_ADDRESS,
  ICMP_ADDRESSREPLY,
  ICMP_DEST_UNREACH,
  ICMP_ECHO,
  ICMP_ECHOREPLY,
  ICMP_FRAG_NEEDED,
  ICMP_PARAMETERPROB,
  ICMP_REDIRECT,
  ICMP_SOURCE_QUENCH,
  ICMP_TIME_EXCEEDED,
  ICMP_TIMESTAMP,
  ICMP_TIMESTAMPREPLY,
} from '../../datapath/wire/icmp.ts'
import { IP_CE, IP_DF, IP_MF, IP_OFFSET } from '../../datapath/wire/ipv4.ts'
import {
  IPV6_DST,
  IPV6_HEADER_LEN,
  IPV6_SRC,
  ipv6FlowLabel,
  ipv6HopLimit,
  ipv6NextHeader,
  ipv6PayloadLength,
  ipv6TrafficClass,
} from '../../datapath/wire/ipv6.ts'
import {
  extensionLength,
  FRAGMENT_HEADER_LEN,
  isExtension,
  NEXTHDR_AUTH,
  NEXTHDR_ESP,
  NEXTHDR_FRAGMENT,
  NEXTHDR_NONE,
} from '../../datapath/wire/ipv6-headers.ts'
import {
  IPPROTO_AH,
  IPPROTO_ESP,
  IPPROTO_ICMP,
  IPPROTO_ICMPV6,
  IPPROTO_TCP,
  IPPROTO_UDP,
  IPPROTO_UDPLITE,
} from '../../datapath/wire/protocol.ts'
import type { Target } from '../extension.ts'
import { nameField } from '../layout.ts'
import { cutBytes } from '../matches/comment.ts'
import { words } from '../matches/parts.ts'
import { OptionError } from '../options.ts'
import { formatAddress } from '../text/address.ts'
import { hex } from '../text/numbers.ts'
import { saveString } from '../text/quote.ts'

export interface Log {
  readonly prefix: string
  /** 0 to 7. */
  readonly level: number
  /** XT_LOG_*. */
  readonly flags: number
}

/** XT_LOG_*. */
export const LogFlag = {
  TcpSequence: 0x01,
  TcpOptions: 0x02,
  IpOptions: 0x04,
  Uid: 0x08,
  MacDecode: 0x20,
} as const

const SWITCHES: readonly (readonly [name: string, bit: number])[] = [
  ['tcp-sequence', LogFlag.TcpSequence],
  ['tcp-options', LogFlag.TcpOptions],
  ['ip-options', LogFlag.IpOptions],
  ['uid', LogFlag.Uid],
  ['macdecode', LogFlag.MacDecode],
]

const LEVELS = ['emerg', 'alert', 'crit', 'err', 'warn', 'notice', 'info', 'debug'] as const
const DEFAULT_LEVEL = 4
/** Without the byte that ends it. */
const MAX_PREFIX = 29

/** Bytes of ICMP that must be there for more than type and code to be shown. */
const ICMP_REQUIRED: Readonly<Record<number, number>> = {
  [ICMP_ECHOREPLY]: 4,
  [ICMP_DEST_UNREACH]: 28,
  [ICMP_SOURCE_QUENCH]: 28,
  [ICMP_REDIRECT]: 28,
  [ICMP_ECHO]: 4,
  [ICMP_TIME_EXCEEDED]: 28,
  [ICMP_PARAMETERPROB]: 28,
  [ICMP_TIMESTAMP]: 20,
  [ICMP_TIMESTAMPREPLY]: 20,
  [ICMP_ADDRESS]: 12,
  [ICMP_ADDRESSREPLY]: 12,
}

/** RFC 4443. */
const ICMPV6_DEST_UNREACH = 1
const ICMPV6_PKT_TOOBIG = 2
const ICMPV6_TIME_EXCEED = 3
const ICMPV6_PARAMPROB = 4
const ICMPV6_ECHO_REQUEST = 128
const ICMPV6_ECHO_REPLY = 129

const TCP_FLAGS = [
  [0x100, 'AE '],
  [0x80, 'CWR '],
  [0x40, 'ECE '],
  [0x20, 'URG '],
  [0x10, 'ACK '],
  [0x08, 'PSH '],
  [0x04, 'RST '],
  [0x02, 'SYN '],
  [0x01, 'FIN '],
] as const

/** Unsigned: a header may begin behind the end. */
const incomplete = (bytes: number): string => `INCOMPLETE [${bytes >>> 0} bytes] `
const byteHex = (value: number): string => `0x${value.toString(16).toUpperCase().padStart(2, '0')}`
const address = (view: DataView, at: number): string => formatAddress([view.getInt32(at), 0, 0, 0], 4)

/** `OPT (020405B4) `. */
function optionBytes(view: DataView, at: number, end: number): string {
  let text = 'OPT ('
  for (let i = at; i < end; i++) text += view.getUint8(i).toString(16).toUpperCase().padStart(2, '0')
  return `${text}) `
}

/** A part of a line; `stop`: nothing may follow it, not even the mark. */
interface Part {
  readonly text: string
  readonly stop: boolean
}
const part = (text: string, stop = false): Part => ({ text, stop })

function tcpPart(view: DataView, l4: number, end: number, flags: number): Part {
  if (end - l4 < 20) return part(incomplete(end - l4), true)
  let text = `SPT=${view.getUint16(l4)} DPT=${view.getUint16(l4 + 2)} `
  if (flags & LogFlag.TcpSequence) text += `SEQ=${view.getUint32(l4 + 4)} ACK=${view.getUint32(l4 + 8)} `
  const bits = view.getUint16(l4 + 12)
  const reserved = ((bits & 0x0e00) >> 6).toString(16).padStart(2, '0')
  text += `WINDOW=${view.getUint16(l4 + 14)} RES=0x${reserved} `
  for (const [bit, name] of TCP_FLAGS) if (bits & bit) text += name
  text += `URGP=${view.getUint16(l4 + 18)} `
  const header = (bits >> 12) << 2
  if ((flags & LogFlag.TcpOptions) === 0 || header <= 20) return part(text)
  if (l4 + header > end) return part(`${text}OPT (TRUNCATED)`, true)
  return part(text + optionBytes(view, l4 + 20, l4 + header))
}

function udpPart(view: DataView, l4: number, end: number): Part {
  if (end - l4 < 8) return part(incomplete(end - l4), true)
  return part(`SPT=${view.getUint16(l4)} DPT=${view.getUint16(l4 + 2)} LEN=${view.getUint16(l4 + 4)} `)
}

function icmpText(view: DataView, l4: number, end: number, flags: number, inner: boolean): string {
  if (end - l4 < 8) return incomplete(end - l4)
  const type = view.getUint8(l4)
  const code = view.getUint8(l4 + 1)
  let text = `TYPE=${type} CODE=${code} `
  if (end - l4 < (ICMP_REQUIRED[type] ?? 0)) return text + incomplete(end - l4)
  switch (type) {
    case ICMP_ECHOREPLY:
    case ICMP_ECHO:
      return `${text}ID=${view.getUint16(l4 + 4)} SEQ=${view.getUint16(l4 + 6)} `
    case ICMP_PARAMETERPROB:
      return `${text}PARAMETER=${view.getUint8(l4 + 4)} `
    case ICMP_REDIRECT:
      text += `GATEWAY=${address(view, l4 + 4)} `
      break
    case ICMP_DEST_UNREACH:
    case ICMP_SOURCE_QUENCH:
    case ICMP_TIME_EXCEEDED:
      break
    default:
      return text
  }
  if (!inner) text += `[${ipPart(view, l4 + 8, end, flags, true).text}] `
  if (type === ICMP_DEST_UNREACH && code === ICMP_FRAG_NEEDED) text += `MTU=${view.getUint16(l4 + 6)} `
  return text
}

/** dump_ipv4_packet(): the packet at l3, which ends at `end`; `inner`: quoted by an ICMP error. */
function ipPart(view: DataView, l3: number, end: number, flags: number, inner: boolean): Part {
  if (end - l3 < 20) return part('TRUNCATED', true)
  const tos = view.getUint8(l3 + 1)
  const fragment = view.getUint16(l3 + 6)
  const proto = view.getUint8(l3 + 9)
  const l4 = l3 + ((view.getUint8(l3) & 0xf) << 2)
  let text = `SRC=${address(view, l3 + 12)} DST=${address(view, l3 + 16)} `
  text += `LEN=${view.getUint16(l3 + 2)} TOS=${byteHex(tos & 0x1e)} PREC=${byteHex(tos & 0xe0)} `
  text += `TTL=${view.getUint8(l3 + 8)} ID=${view.getUint16(l3 + 4)} `
  if (fragment & IP_CE) text += 'CE '
  if (fragment & IP_DF) text += 'DF '
  if (fragment & IP_MF) text += 'MF '
  const later = (fragment & IP_OFFSET) !== 0
  if (later) text += `FRAG:${fragment & IP_OFFSET} `
  if (flags & LogFlag.IpOptions && l4 - l3 > 20) {
    if (l4 > end) return part(`${text}TRUNCATED`, true)
    text += optionBytes(view, l3 + 20, l4)
  }
  switch (proto) {
    case IPPROTO_TCP:
    case IPPROTO_UDP:
    case IPPROTO_UDPLITE: {
      text += `PROTO=${proto === IPPROTO_TCP ? 'TCP' : proto === IPPROTO_UDP ? 'UDP' : 'UDPLITE'} `
      if (later) return part(text)
      const rest = proto === IPPROTO_TCP ? tcpPart(view, l4, end, flags) : udpPart(view, l4, end)
      return part(text + rest.text, rest.stop)
    }
    case IPPROTO_ICMP:
      return part(`${text}PROTO=ICMP ${later ? '' : icmpText(view, l4, end, flags, inner)}`)
    case IPPROTO_AH:
      // A later fragment of AH shows no protocol at all.
      if (later) return part(text)
      return part(
        `${text}PROTO=AH ${end - l4 < 12 ? incomplete(end - l4) : `SPI=${hex(view.getUint32(l4 + 4))} `}`,
      )
    case IPPROTO_ESP:
      if (later) return part(`${text}PROTO=ESP `)
      return part(
        `${text}PROTO=ESP ${end - l4 < 8 ? incomplete(end - l4) : `SPI=${hex(view.getUint32(l4))} `}`,
      )
    default:
      return part(`${text}PROTO=${proto} `)
  }
}

/** %pI6: all eight groups, all digits. */
function address6(view: DataView, at: number): string {
  const groups: string[] = []
  for (let i = 0; i < 16; i += 2)
    groups.push(
      view
        .getUint16(at + i)
        .toString(16)
        .padStart(4, '0'),
    )
  return groups.join(':')
}

function icmp6Text(view: DataView, l4: number, end: number, flags: number, inner: boolean): Part {
  if (end - l4 < 8) return part(incomplete(end - l4), true)
  const type = view.getUint8(l4)
  let text = `TYPE=${type} CODE=${view.getUint8(l4 + 1)} `
  switch (type) {
    case ICMPV6_ECHO_REQUEST:
    case ICMPV6_ECHO_REPLY:
      text += `ID=${view.getUint16(l4 + 4)} SEQ=${view.getUint16(l4 + 6)} `
      break
    case ICMPV6_PARAMPROB:
      text += `POINTER=${view
        .getUint32(l4 + 4)
        .toString(16)
        .padStart(8, '0')} `
      if (!inner) text += `[${ip6Part(view, l4 + 8, end, flags, true).text}] `
      break
    case ICMPV6_DEST_UNREACH:
    case ICMPV6_PKT_TOOBIG:
    case ICMPV6_TIME_EXCEED:
      if (!inner) text += `[${ip6Part(view, l4 + 8, end, flags, true).text}] `
      if (type === ICMPV6_PKT_TOOBIG) text += `MTU=${view.getUint32(l4 + 4)} `
      break
  }
  return part(text)
}

/** dump_ipv6_packet(): as ipPart(). --log-ip-options shows the extension headers, in parentheses. */
function ip6Part(view: DataView, l3: number, end: number, flags: number, inner: boolean): Part {
  if (end - l3 < IPV6_HEADER_LEN) return part('TRUNCATED', true)
  const options = (flags & LogFlag.IpOptions) !== 0
  let text = `SRC=${address6(view, l3 + IPV6_SRC)} DST=${address6(view, l3 + IPV6_DST)} `
  text += `LEN=${ipv6PayloadLength(view, l3) + IPV6_HEADER_LEN} TC=${ipv6TrafficClass(view, l3)} `
  text += `HOPLIMIT=${ipv6HopLimit(view, l3)} FLOWLBL=${ipv6FlowLabel(view, l3)} `
  let later = false
  let next = ipv6NextHeader(view, l3)
  let at = l3 + IPV6_HEADER_LEN
  while (next !== NEXTHDR_NONE && (isExtension(next) || next === NEXTHDR_ESP)) {
    if (at + 2 > end) return part(`${text}TRUNCATED`, true)
    if (options) text += 'OPT ( '
    if (next === NEXTHDR_FRAGMENT) {
      text += 'FRAG:'
      if (at + FRAGMENT_HEADER_LEN > end) return part(`${text}TRUNCATED `, true)
      const word = view.getUint16(at + 2)
      text += `${word & 0xfff8} ${word & 1 ? 'INCOMPLETE ' : ''}`
      text += `ID:${view
        .getUint32(at + 4)
        .toString(16)
        .padStart(8, '0')} `
      if ((word & 0xfff8) !== 0) later = true
    } else if (next === NEXTHDR_AUTH || next === NEXTHDR_ESP) {
      const isAh = next === NEXTHDR_AUTH
      if (options) {
        text += isAh ? 'AH ' : 'ESP '
        if (later) return part(`${text})`, true)
        if (at + (isAh ? 12 : 8) > end) return part(`${text}${incomplete(end - at)})`, true)
        text += `SPI=${hex(view.getUint32(isAh ? at + 4 : at))} ${isAh ? '' : ')'}`
      }
      if (!isAh) return part(text, true)
    } else if (later) return part(options ? `${text})` : text, true)
    if (options) text += ') '
    const length = extensionLength(view, next, at)
    next = view.getUint8(at)
    at += length
  }
  switch (next) {
    case IPPROTO_TCP:
    case IPPROTO_UDP:
    case IPPROTO_UDPLITE: {
      text += `PROTO=${next === IPPROTO_TCP ? 'TCP' : next === IPPROTO_UDP ? 'UDP' : 'UDPLITE'} `
      if (later) return part(text)
      const rest = next === IPPROTO_TCP ? tcpPart(view, at, end, flags) : udpPart(view, at, end)
      return part(text + rest.text, rest.stop)
    }
    case IPPROTO_ICMPV6: {
      const rest = later ? part('') : icmp6Text(view, at, end, flags, inner)
      return part(`${text}PROTO=ICMPv6 ${rest.text}`, rest.stop)
    }
    default:
      return part(`${text}PROTO=${next} `)
  }
}

/** `MAC=`: where the packet has a link header of some bytes and its device knows such, those (dump_mac_header()). */
function linkText(pkt: Packet, host: Host): string {
  const link = pkt.linkBytes > 0 ? linkHeaderOf(pkt, host.memory) : null
  const bytes = link === null ? [] : [...link.bytes]
  return `MAC=${bytes.map((byte) => byte.toString(16).padStart(2, '0')).join(':')} `
}

/** The whole line, without its time and its end. */
export function logLine(pkt: Packet, host: Host, m: Log): string {
  const incoming = host.devices.byIndex[pkt.iif]
  const outgoing = host.devices.byIndex[pkt.oif]
  let text = `${m.prefix}IN=${incoming?.name ?? ''} OUT=${outgoing?.name ?? ''} `
  // Packets without a socket's file have no owner to name: --log-uid adds nothing.
  if (incoming) text += linkText(pkt, host)
  const read = pkt.family === 4 ? ipPart : ip6Part
  const packet = read(host.memory.view, pkt.l3, pkt.end, m.flags, false)
  text += packet.text
  return packet.stop || pkt.mark === 0 ? text : `${text}MARK=${hex(pkt.mark)} `
}

/** Writes the line, if somebody listens. */
function write(pkt: Packet, host: Host, m: Log): void {
  host.events.log?.({ level: m.level, text: logLine(pkt, host, m) })
}

function parsePrefix(text: string): string {
  if (text === '') throw new OptionError('Argument must have a minimum length of 1 characters\n')
  if (text.includes('\n')) throw new OptionError('Newlines not allowed in --log-prefix')
  return cutBytes(text, MAX_PREFIX)
}

export const log: Target<Log> = {
  kind: 'target',
  name: 'LOG',
  families: [4, 6],
  layout: {
    size: 32,
    fields: ({ level, flags, prefix }) => [[0, 1, level], [1, 1, flags], nameField(2, 30, prefix)],
  },
  options: [
    { flag: 'log-level' },
    { flag: 'log-prefix', holds: 'log prefix' },
    ...SWITCHES.map(([name]) => ({ flag: `log-${name}`, arg: 'none' as const })),
  ],
  help: `LOG target options:
 --log-level level		Level of logging (numeric or see syslog.conf)
 --log-prefix prefix		Prefix log messages with this prefix.
 --log-tcp-sequence		Log TCP sequence numbers.
 --log-tcp-options		Log TCP options.
 --log-ip-options		Log IP options.
 --log-uid			Log UID owning the local socket.
 --log-macdecode		Decode MAC addresses and protocol.
`,
  parse: (o) => ({
    prefix: o.has('log-prefix') ? parsePrefix(o.text('log-prefix')) : '',
    level: o.has('log-level') ? o.syslogLevel('log-level') : DEFAULT_LEVEL,
    flags: SWITCHES.reduce((bits, [name, bit]) => (o.has(`log-${name}`) ? bits | bit : bits), 0),
  }),
  print: (m) =>
    words(
      m.prefix === '' ? '' : `--log-prefix ${saveString(m.prefix)}`,
      m.level === DEFAULT_LEVEL ? '' : `--log-level ${m.level}`,
      ...SWITCHES.map(([name, bit]) => (m.flags & bit ? `--log-${name}` : '')),
    ),
  list: (m, numeric) =>
    words(
      numeric ? `LOG flags ${m.flags} level ${m.level}` : `LOG level ${LEVELS[m.level]}`,
      ...SWITCHES.map(([name, bit]) => (!numeric && m.flags & bit ? name : '')),
      m.prefix === '' ? '' : `prefix "${m.prefix}"`,
    ),
  reads: ['payload'],
  flow: 'continue',
  emit: (m, js) => js`${js.env.host.events}.log !== null && ${js.bind(write)}(pkt, ${js.env.host}, ${m})`,
}
