// What a match looks at, in a few words, by the match's name: said of a packet that it did not fit. Every match of
// rules/matches/index.ts is here.

import { Tuple } from '../../conntrack/tuple.ts'
import { RouteType } from '../../datapath/fib.ts'
import { type Packet, PacketType } from '../../datapath/packet.ts'
import { IPV4_TTL, ipv4Tos } from '../../datapath/wire/ipv4.ts'
import { ipv6HopLimit, ipv6TrafficClass } from '../../datapath/wire/ipv6.ts'
import { TCP_FLAGS, TCP_HEADER_LEN } from '../../datapath/wire/tcp.ts'
import type { Engine } from '../engine.ts'
import { TCP_FLAGS as FLAG_NAMES } from '../words/vocabulary.ts'
import { addressText } from './address.ts'

/** Must change nothing. */
export type MatchValue = (pkt: Packet, engine: Engine) => string

export const hex = (value: number): string => `0x${(value >>> 0).toString(16)}`

const STATES: Readonly<Record<number, string>> = {
  1: 'INVALID',
  2: 'ESTABLISHED',
  4: 'RELATED',
  8: 'NEW',
  64: 'UNTRACKED',
}

export const stateName = (bit: number): string => STATES[bit] ?? String(bit)

const source = (pkt: Packet): string => addressText(pkt.family, pkt.s0, pkt.s1, pkt.s2, pkt.s3)
const destination = (pkt: Packet): string => addressText(pkt.family, pkt.d0, pkt.d1, pkt.d2, pkt.d3)
const device = (index: number, { host }: Engine): string =>
  index === 0 ? 'none' : (host.devices.byIndex[index]?.name ?? String(index))

const port = (name: string, value: number): string => (value < 0 ? `no ${name}` : `${name} ${value}`)
const ports: MatchValue = (pkt) => `${port('sport', pkt.sport)}, ${port('dport', pkt.dport)}`
const addresses: MatchValue = (pkt) => `source ${source(pkt)}, destination ${destination(pkt)}`

const tos: MatchValue = (pkt, { host }) => {
  const { view } = host.memory
  const value = pkt.family === 4 ? ipv4Tos(view, pkt.l3) : ipv6TrafficClass(view, pkt.l3)
  return `tos ${hex(value)}: dscp ${hex(value >> 2)}, ecn ${value & 3}`
}

const ttl: MatchValue = (pkt, { host }) => {
  const { view } = host.memory
  return pkt.family === 4
    ? `ttl ${view.getUint8(pkt.l3 + IPV4_TTL)}`
    : `hop limit ${ipv6HopLimit(view, pkt.l3)}`
}

const state: MatchValue = (pkt, { conntrack }) => {
  const name = `state ${stateName(conntrack.stateBit(pkt))}`
  if (pkt.ct < 0) return name
  const t = conntrack.table.readTuple(pkt.ct, 0, new Tuple())
  const from = addressText(t.family, t.s0, t.s1, t.s2, t.s3)
  const to = addressText(t.family, t.d0, t.d1, t.d2, t.d3)
  return `${name}, connection ${from} ${t.ports >>> 16} > ${to} ${t.ports & 0xffff}`
}

const icmp: MatchValue = (pkt, { host }) => {
  if (pkt.fragOffset !== 0 || pkt.l4 + 2 > pkt.end) return 'no ICMP header'
  const { view } = host.memory
  return `type ${view.getUint8(pkt.l4)}, code ${view.getUint8(pkt.l4 + 1)}`
}

const tcp: MatchValue = (pkt, engine) => {
  if (pkt.fragOffset !== 0 || pkt.l4 + TCP_HEADER_LEN > pkt.end) return 'no TCP header'
  const bits = engine.host.memory.view.getUint8(pkt.l4 + TCP_FLAGS)
  const flags = FLAG_NAMES.filter((_, i) => (bits >> i) & 1).map((name) => name.toUpperCase())
  return `${ports(pkt, engine)}, flags ${flags.join(',') || 'none'}`
}

const TYPES = new Map(Object.entries(RouteType).map(([name, type]) => [type as number, name.toUpperCase()]))

const addrtype: MatchValue = (pkt, { host }) => {
  const { family } = pkt
  const from = host.fib.addressType(family, pkt.s0, pkt.s1, pkt.s2, pkt.s3, 0)
  const to = host.fib.addressType(family, pkt.d0, pkt.d1, pkt.d2, pkt.d3, 0)
  return `source ${source(pkt)} ${TYPES.get(from)}, destination ${destination(pkt)} ${TYPES.get(to)}`
}

const counted: MatchValue = (pkt, { conntrack }) => {
  if (pkt.ct < 0) return 'no connection'
  if (conntrack.packets(pkt.ct, 0) < 0) return 'a connection without counters (nf_conntrack_acct)'
  const dir = (d: number): string =>
    `${conntrack.packets(pkt.ct, d)} packets, ${conntrack.bytes(pkt.ct, d)} bytes`
  return `original ${dir(0)}; reply ${dir(1)}`
}

const KINDS = new Map(Object.entries(PacketType).map(([name, type]) => [type as number, name]))

const headers: MatchValue = (pkt) =>
  pkt.family === 4 ? 'no such header' : `its extension headers, then protocol ${pkt.proto}`
const spi: MatchValue = (pkt) => `protocol ${pkt.proto}, its SPI`
const noSocket: MatchValue = () => 'no socket: nobody here sends or listens'
const turn: MatchValue = () => 'not its turn'

const VALUES: Readonly<Record<string, MatchValue>> = {
  addrtype,
  ah: spi,
  bpf: (pkt) => `the bytes of the packet, ${pkt.end - pkt.l3} of them`,
  cgroup: noSocket,
  cluster: (pkt, engine) => `${state(pkt, engine)}: of another node`,
  comment: () => '',
  connbytes: counted,
  connlabel: (pkt) => (pkt.ct < 0 ? 'no connection' : 'a connection without the label'),
  connlimit: (pkt) => `the number of connections of ${source(pkt)}`,
  connmark: (pkt, { conntrack }) =>
    pkt.ct < 0 ? 'no connection' : `connmark ${hex(conntrack.mark(pkt.ct))}`,
  conntrack: state,
  cpu: () => 'cpu 0',
  dccp: ports,
  devgroup: (pkt, engine) => {
    const group = (index: number): string =>
      `${device(index, engine)}${index === 0 ? '' : ` of group ${engine.host.devices.byIndex[index]?.link.group}`}`
    return `in ${group(pkt.iif)}, out ${group(pkt.oif)}`
  },
  dscp: tos,
  dst: headers,
  ecn: tos,
  esp: spi,
  eui64: (pkt) => `source ${source(pkt)}`,
  frag: headers,
  hashlimit: (pkt, engine) => `${addresses(pkt, engine)}: on the other side of the limit`,
  hbh: headers,
  helper: (pkt, { conntrack }) => {
    const name = pkt.ct < 0 ? undefined : conntrack.helpers.of(pkt.ct)?.name
    return name === undefined ? 'no helper' : `helper ${name}`
  },
  hl: ttl,
  icmp,
  icmp6: icmp,
  ipcomp: spi,
  iprange: addresses,
  ipv6header: headers,
  ipvs: () => 'no IPVS connection',
  length: (pkt) => `length ${pkt.end - pkt.l3}`,
  limit: () => 'the limit, used up for now',
  mac: () => 'no such MAC address: none is kept',
  mark: (pkt) => `mark ${hex(pkt.mark)}`,
  mh: headers,
  multiport: ports,
  nfacct: () => '',
  osf: tcp,
  owner: noSocket,
  physdev: (pkt, engine) => `no bridge: in ${device(pkt.iif, engine)}, out ${device(pkt.oif, engine)}`,
  pkttype: (pkt) => `type ${KINDS.get(pkt.pktType)?.toLowerCase() ?? pkt.pktType}`,
  policy: () => 'no IPsec',
  quota: () => 'the quota, used up',
  rateest: () => 'the estimated rate',
  realm: (pkt) => `realm ${hex(pkt.route?.realm ?? 0)}`,
  recent: (pkt, engine) => `${addresses(pkt, engine)}: the list says otherwise`,
  rpfilter: (pkt, engine) => `source ${source(pkt)} by ${device(pkt.iif, engine)}`,
  rt: headers,
  sctp: ports,
  set: (pkt, engine) => `${addresses(pkt, engine)}${pkt.sport < 0 ? '' : `, ${ports(pkt, engine)}`}`,
  socket: noSocket,
  srh: headers,
  state,
  statistic: turn,
  string: (pkt) => `the bytes of the packet, ${pkt.end - pkt.l3} of them`,
  tcp,
  tcpmss: (pkt, engine) => `${tcp(pkt, engine)}, its MSS`,
  time: (_, { host }) =>
    `time ${new Date(host.wall)
      .toISOString()
      .replace(/\.\d+Z$/, ' UTC')
      .replace('T', ' ')}`,
  tos,
  ttl,
  u32: (pkt) => `the bytes of the packet, ${pkt.end - pkt.l3} of them`,
  udp: ports,
}

/** By the name of the match. */
export const MATCH_VALUES: ReadonlyMap<string, MatchValue> = new Map(Object.entries(VALUES))
