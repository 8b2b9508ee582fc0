// Entries and expectations as conntrack(8) 1.4.7 prints them (libnetfilter_conntrack, snprintf_default.c).
//
//   ipv4     2 tcp      6 431999 ESTABLISHED src=10.0.0.1 dst=10.0.0.2 sport=1 dport=2 packets=3 bytes=180
//     src=10.0.0.2 dst=10.0.0.1 sport=2 dport=1 packets=2 bytes=120 [ASSURED] mark=0 zone=3 helper=ftp use=1

import { formatAddress } from '../datapath/wire/address.ts'
import {
  IPPROTO_DCCP,
  IPPROTO_GRE,
  IPPROTO_ICMP,
  IPPROTO_ICMPV6,
  IPPROTO_SCTP,
  IPPROTO_TCP,
  IPPROTO_UDP,
  IPPROTO_UDPLITE,
} from '../datapath/wire/protocol.ts'
import type { Conntrack } from './conntrack.ts'
import { describe, type Flow, type FlowTuple } from './ctnetlink.ts'
import type { Expectation } from './expect.ts'
import { Status } from './table.ts'
import { SCTP_STATE_NAMES } from './trackers/sctp.ts'
import { TCP_STATE_NAMES } from './trackers/tcp-states.ts'
import { Tuple } from './tuple.ts'

export interface FormatOptions {
  /** -o extended: the network protocol first. */
  readonly extended?: boolean
  /** -o id */
  readonly id?: boolean
  /** -o ktimestamp */
  readonly timestamps?: boolean
  /** -o labels: name of a label's bit, undefined for bits without one; true: no names are known (connlabel.conf). */
  readonly labels?: boolean | ((bit: number) => string | undefined)
}

/** The table's own names, not /etc/protocols. */
const PROTOCOL_NAMES: Readonly<Record<number, string>> = {
  [IPPROTO_ICMP]: 'icmp',
  [IPPROTO_TCP]: 'tcp',
  [IPPROTO_UDP]: 'udp',
  [IPPROTO_DCCP]: 'dccp',
  [IPPROTO_GRE]: 'gre',
  [IPPROTO_ICMPV6]: 'icmpv6',
  [IPPROTO_SCTP]: 'sctp',
  [IPPROTO_UDPLITE]: 'udplite',
}

/** One line, without newline. */
export function formatEntry(ct: Conntrack, entry: number, options: FormatOptions = {}): string {
  return formatFlow(describe(ct, entry), ct.host.wall, options)
}

/** What happened, for a line of `conntrack -E`. */
export type Happening = 'new' | 'update' | 'destroy'

const TAGS: Readonly<Record<Happening, string>> = {
  new: '    [NEW] ',
  update: ' [UPDATE] ',
  destroy: '[DESTROY] ',
}

/** One line, without newline (__snprintf_conntrack_default). `wall`: now, ms since 1970. */
export function formatFlow(flow: Flow, wall: number, options: FormatOptions = {}, event?: Happening): string {
  const { orig, reply } = flow
  const protocol = orig.protocol ?? 0
  const parts: string[] = []
  if (options.extended === true) parts.push(orig.family === 4 ? 'ipv4     2' : 'ipv6     10')
  parts.push(`${(PROTOCOL_NAMES[protocol] ?? 'unknown').padEnd(8)} ${protocol}`)
  if (flow.timeout !== undefined) parts.push(String(flow.timeout))
  const state = stateName(flow)
  if (state !== undefined) parts.push(state)
  parts.push(...sideWords(flow, orig, false))
  if (flow.origZone !== undefined) parts.push(`zone-orig=${flow.origZone}`)
  if (flow.counters) parts.push(`packets=${flow.counters[0]} bytes=${flow.counters[1]}`)
  const status = flow.status ?? 0
  if ((status & Status.SeenReply) === 0) parts.push('[UNREPLIED]')
  parts.push(...sideWords(flow, reply, true))
  if (flow.replyZone !== undefined) parts.push(`zone-reply=${flow.replyZone}`)
  if (flow.counters) parts.push(`packets=${flow.counters[2]} bytes=${flow.counters[3]}`)
  if ((status & Status.Offload) !== 0) parts.push('[OFFLOAD]')
  else if ((status & Status.Assured) !== 0) parts.push('[ASSURED]')
  if (flow.mark !== undefined) parts.push(`mark=${flow.mark}`)
  if (flow.secmark !== undefined) parts.push(`secmark=${flow.secmark}`)
  if (flow.zone !== undefined) parts.push(`zone=${flow.zone}`)
  if (flow.start !== undefined) {
    const end = Math.floor((flow.stop ?? wall) / 1000)
    parts.push(`delta-time=${end - Math.floor(flow.start / 1000)}`)
    if (options.timestamps === true) {
      parts.push(`[start=${ctime(flow.start)}]`)
      if (flow.stop !== undefined) parts.push(`[stop=${ctime(flow.stop)}]`)
    }
  }
  if (flow.helper !== undefined) parts.push(`helper=${flow.helper}`)
  if (flow.use !== undefined) parts.push(`use=${flow.use}`)
  if (options.id === true && flow.id !== undefined) parts.push(`id=${flow.id}`)
  if (typeof options.labels === 'function') {
    const names = (flow.labels ?? []).map(options.labels).filter((name) => name !== undefined)
    if (names.length > 0) parts.push(`labels=${names.join(',')}`)
  }
  return (event === undefined ? '' : TAGS[event]) + parts.join(' ')
}

function stateName(flow: Flow): string | undefined {
  if (flow.state === undefined) return undefined
  const names = flow.orig.protocol === IPPROTO_SCTP ? SCTP_STATE_NAMES : TCP_STATE_NAMES
  return names[flow.state] ?? 'NONE'
}

function sideWords(flow: Flow, side: FlowTuple, reply: boolean): string[] {
  const family = side.family ?? 4
  const words = [
    `src=${formatAddress(family, [...(side.src ?? NOWHERE)])}`,
    `dst=${formatAddress(family, [...(side.dst ?? NOWHERE)])}`,
  ]
  const protocol = side.protocol ?? 0
  if (PORTED.has(protocol)) words.push(`sport=${side.sport ?? 0}`, `dport=${side.dport ?? 0}`)
  else if (protocol === IPPROTO_GRE)
    words.push(`srckey=0x${(side.sport ?? 0).toString(16)}`, `dstkey=0x${(side.dport ?? 0).toString(16)}`)
  else if (protocol === IPPROTO_ICMP || protocol === IPPROTO_ICMPV6)
    words.push(
      `type=${(reply ? flow.replyIcmpType : flow.icmpType) ?? 0}`,
      `code=${flow.icmpCode ?? 0}`,
      `id=${(reply ? (flow.replyIcmpId ?? flow.icmpId) : flow.icmpId) ?? 0}`,
    )
  return words
}

const NOWHERE = [0, 0, 0, 0] as const
const PORTED: ReadonlySet<number> = new Set([
  IPPROTO_TCP,
  IPPROTO_UDP,
  IPPROTO_UDPLITE,
  IPPROTO_SCTP,
  IPPROTO_DCCP,
])

/** `-o xml` (__snprintf_conntrack_xml). `wall`: now, ms since 1970; `when`: to be said, as -o timestamp asks. */
export function formatXml(flow: Flow, wall: number, event?: Happening, when = false): string {
  const type = event === undefined ? '' : ` type="${event}"`
  let inner = ''
  const state = flow.state === undefined ? undefined : TCP_STATE_NAMES[flow.state]
  if (flow.state !== undefined) inner += `<state>${state ?? 'NONE'}</state>`
  if (flow.timeout !== undefined) inner += `<timeout>${flow.timeout}</timeout>`
  if (flow.mark !== undefined) inner += `<mark>${flow.mark}</mark>`
  if (flow.secmark !== undefined) inner += `<secmark>${flow.secmark}</secmark>`
  if (flow.zone !== undefined) inner += `<zone>${flow.zone}</zone>`
  if (flow.use !== undefined) inner += `<use>${flow.use}</use>`
  if (flow.id !== undefined) inner += `<id>${flow.id}</id>`
  const status = flow.status ?? 0
  if ((status & Status.Assured) !== 0) inner += '<assured/>'
  if ((status & Status.SeenReply) === 0) inner += '<unreplied/>'
  if (flow.start !== undefined) {
    const span = `<start>${Math.round(flow.start * 1e6)}</start>${flow.stop === undefined ? '' : `<stop>${Math.round(flow.stop * 1e6)}</stop>`}`
    const end = Math.floor((flow.stop ?? wall) / 1000)
    inner += `<timestamp>${span}</timestamp>`
    if (flow.stop !== undefined) inner += `<deltatime>${end - Math.floor(flow.start / 1000)}</deltatime>`
  }
  const sides = xmlSide(flow.orig, 'original', flow.origZone, flow.counters?.slice(0, 2))
  const back = xmlSide(flow.reply, 'reply', flow.replyZone, flow.counters?.slice(2))
  return `<flow${type}>${sides}${back}<meta direction="independent">${inner}</meta>${when ? xmlWhen(wall) : ''}</flow>`
}

function xmlSide(
  side: FlowTuple,
  name: string,
  zone: number | undefined,
  counters: readonly number[] | undefined,
): string {
  const family = side.family ?? 4
  const protocol = side.protocol ?? 0
  const l3 = family === 4 ? 'protonum="2" protoname="ipv4"' : 'protonum="10" protoname="ipv6"'
  let ports = ''
  if (protocol === IPPROTO_GRE)
    ports = `<srckey>0x${(side.sport ?? 0).toString(16)}</srckey><dstkey>0x${(side.dport ?? 0).toString(16)}</dstkey>`
  else if (PORTED.has(protocol)) ports = `<sport>${side.sport ?? 0}</sport><dport>${side.dport ?? 0}</dport>`
  const addresses = `<src>${formatAddress(family, [...(side.src ?? NOWHERE)])}</src><dst>${formatAddress(family, [...(side.dst ?? NOWHERE)])}</dst>`
  const zoned = zone === undefined ? '' : `<zone>${zone}</zone>`
  const counted =
    counters === undefined
      ? ''
      : `<counters><packets>${counters[0]}</packets><bytes>${counters[1]}</bytes></counters>`
  return `<meta direction="${name}"><layer3 ${l3}>${addresses}</layer3><layer4 protonum="${protocol}" protoname="${PROTOCOL_NAMES[protocol] ?? 'unknown'}">${ports}</layer4>${zoned}${counted}</meta>`
}

function xmlWhen(ms: number): string {
  const t = new Date(ms)
  const two = (n: number): string => String(n).padStart(2, '0')
  return `<when><hour>${t.getHours()}</hour><min>${two(t.getMinutes())}</min><sec>${two(t.getSeconds())}</sec><wday>${t.getDay() + 1}</wday><day>${t.getDate()}</day><month>${t.getMonth() + 1}</month><year>${t.getFullYear()}</year></when>`
}

const STATUS_NAMES: readonly (readonly [number, string])[] = [
  [Status.Expected, 'EXPECTED'],
  [Status.SeenReply, 'SEEN_REPLY'],
  [Status.Assured, 'ASSURED'],
  [Status.FixedTimeout, 'FIXED_TIMEOUT'],
]

const SAVE_COMMANDS: Readonly<Record<Happening, string>> = { new: '-A', update: '-U', destroy: '-D' }

/** `-o save`: options that conntrack -R takes. */
export function formatSave(flow: Flow, command: Happening): string {
  const { orig, reply } = flow
  const parts = [SAVE_COMMANDS[command]]
  const option = (name: string, value: number | string | undefined): void => {
    if (value !== undefined) parts.push(`${name} ${value}`)
  }
  option('-t', flow.timeout)
  const status = flow.status ?? 0
  const names = STATUS_NAMES.filter(([bit]) => (status & bit) !== 0).map(([, name]) => name)
  option('-u', names.join(',') || 'UNSET')
  option('-c', flow.secmark)
  option('-w', flow.zone)
  option('--orig-zone', flow.origZone)
  option('--reply-zone', flow.replyZone)
  const family = orig.family ?? 4
  const address = (w: readonly number[] | undefined): string =>
    formatAddress(family, [...(w ?? NOWHERE)] as [number, number, number, number])
  option('-s', address(orig.src))
  option('-d', address(orig.dst))
  option(isTranslated(flow, false, 'address') ? '-g' : '-r', address(reply.src))
  option(isTranslated(flow, true, 'address') ? '-n' : '-q', address(reply.dst))
  const protocol = orig.protocol ?? 0
  option('-p', PROTOCOL_NAMES[protocol] ?? protocol)
  // The kernel sends no ports of DCCP since 6.16; the other forms print 0 then.
  if ((PORTED.has(protocol) && protocol !== IPPROTO_DCCP) || protocol === IPPROTO_GRE) {
    const [own, back] = protocol === IPPROTO_GRE ? ['key', 'key'] : ['port', 'port']
    option(protocol === IPPROTO_GRE ? '--srckey' : '--sport', orig.sport)
    option(protocol === IPPROTO_GRE ? '--dstkey' : '--dport', orig.dport)
    option(`--reply-${own}-src`, reply.sport)
    option(`--reply-${back}-dst`, reply.dport)
  } else if (protocol === IPPROTO_ICMP || protocol === IPPROTO_ICMPV6) {
    const name = PROTOCOL_NAMES[protocol]
    option(`--${name}-type`, flow.icmpType)
    option(`--${name}-code`, flow.icmpCode)
    option(`--${name}-id`, flow.icmpId)
  }
  option('--state', stateName(flow))
  option('--orig-vtag', flow.tags?.[0])
  option('--reply-vtag', flow.tags?.[1])
  return parts.join(' ')
}

/**
 * Whether libnetfilter_conntrack takes the address, or the port, for translated (NFCT_GOPT_IS_SNAT and its like): the
 * binding is made, and the other direction is not the mirror image. It compares what stands where ports do: of ICMP the
 * identifier on the one side, type and code on the other, which are the same now and then.
 */
export function isTranslated(flow: Flow, source: boolean, what: 'address' | 'port'): boolean {
  const { orig, reply } = flow
  const done = source ? Status.SrcNatDone : Status.DstNatDone
  if (((flow.status ?? 0) & done) === 0) return false
  if (what === 'port') {
    if (flow.icmpType !== undefined) {
      const type = source ? flow.replyIcmpType : flow.icmpType
      const id = source ? flow.icmpId : flow.replyIcmpId
      return (((type ?? 0) << 8) | (flow.icmpCode ?? 0)) !== (id ?? 0)
    }
    return source ? orig.sport !== reply.dport : orig.dport !== reply.sport
  }
  const here = source ? orig.src : orig.dst
  const there = source ? reply.dst : reply.src
  return here?.some((word, i) => word !== there?.[i]) ?? false
}

/** All lines of `conntrack -L`, in no particular order, as the kernel has none either. */
export function formatTable(ct: Conntrack, options: FormatOptions = {}): string[] {
  const lines: string[] = []
  ct.forEach((entry) => {
    lines.push(formatEntry(ct, entry, options))
  })
  return lines
}

/** By bit of ExpectFlag. */
const EXPECT_FLAGS = ['PERMANENT', 'INACTIVE', 'USERSPACE']

/** One line of `conntrack -L expect`. */
export function formatExpectation(ct: Conntrack, e: Expectation): string {
  const t = e.tuple
  const master = ct.table.readTuple(e.master, 0, new Tuple())
  const mask = new Tuple()
  mask.s0 = e.mask.s0
  mask.s1 = e.mask.s1
  mask.s2 = e.mask.s2
  mask.s3 = e.mask.s3
  mask.d0 = mask.d1 = mask.d2 = mask.d3 = -1
  mask.ports = (e.mask.port << 16) | 0xffff
  mask.meta = t.meta
  const parts = [
    String(Math.max(0, Math.floor((e.expires - ct.host.now) / 1000))),
    `proto=${t.protocol}`,
    ...printTuple(t),
    `mask-${source(mask)}`,
    `mask-${destination(mask)}`,
    ...transport(mask),
    `master-${source(master)}`,
    `master-${destination(master)}`,
    ...transport(master),
  ]
  const flags = EXPECT_FLAGS.filter((_, bit) => (e.flags & (1 << bit)) !== 0)
  if (flags.length > 0) parts.push(flags.join(','))
  parts.push(`class=${e.class}`)
  if (e.name !== '') parts.push(`helper=${e.name}`)
  return parts.join(' ')
}

/** Lines of `conntrack -S`: one CPU. */
export function formatStats(ct: Conntrack): string {
  const s = ct.stats
  return `cpu=0   \tfound=${s.found} invalid=${s.invalid} insert=${s.insert} insert_failed=${s.insertFailed} drop=${s.drop} early_drop=${s.earlyDrop} error=${s.error} search_restart=${s.searchRestart} clash_resolve=${s.clashResolve} chaintoolong=${s.chainTooLong} `
}

/** Lines of `conntrack -S expect`: one CPU. */
export function formatExpectStats(ct: Conntrack): string {
  const { matched, created, deleted } = ct.expectations
  return `cpu=0   \texpect_new=${matched} expect_create=${created} expect_delete=${deleted} `
}

function printTuple(t: Tuple): string[] {
  return [source(t), destination(t), ...transport(t)]
}

const source = (t: Tuple): string => `src=${formatAddress(t.family, [t.s0, t.s1, t.s2, t.s3])}`
const destination = (t: Tuple): string => `dst=${formatAddress(t.family, [t.d0, t.d1, t.d2, t.d3])}`

function transport(t: Tuple): string[] {
  const high = t.ports >>> 16
  const low = t.ports & 0xffff
  switch (t.protocol) {
    case IPPROTO_TCP:
    case IPPROTO_UDP:
    case IPPROTO_UDPLITE:
    case IPPROTO_SCTP:
    case IPPROTO_DCCP:
      return [`sport=${high}`, `dport=${low}`]
    case IPPROTO_GRE:
      return [`srckey=0x${high.toString(16)}`, `dstkey=0x${low.toString(16)}`]
    case IPPROTO_ICMP:
    case IPPROTO_ICMPV6:
      return [`type=${low >> 8}`, `code=${low & 0xff}`, `id=${high}`]
    default:
      return []
  }
}

/** ctime(3) without its newline, local time. `ms`: since 1970. */
function ctime(ms: number): string {
  const t = new Date(ms)
  const two = (n: number): string => String(n).padStart(2, '0')
  const day = ['Sun', 'Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat'][t.getDay()]
  const month = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'][
    t.getMonth()
  ]
  const time = `${two(t.getHours())}:${two(t.getMinutes())}:${two(t.getSeconds())}`
  return `${day} ${month} ${String(t.getDate()).padStart(2)} ${time} ${t.getFullYear()}`
}
