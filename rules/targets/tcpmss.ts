// TCPMSS: lowers the MSS of a SYN, to a number or to what the routes both ways can carry (libxt_TCPMSS of iptables
// 1.8.9, tcpmss_tg4() and tcpmss_tg6() of xt_TCPMSS.c).
//
//     option there, larger      lowered
//     option there, not larger  left alone
//     no option, no data        added: min(wanted, 536), or 1220 over IPv6: RFC 9293 §3.7.1's defaults
//     no option, data           left alone
//     header cut short          dropped

import { type FlowKey, newFlowKey, type Route } from '../../datapath/fib.ts'
import { Verdict } from '../../datapath/hooks.ts'
import type { Host } from '../../datapath/host.ts'
import type { Packet } from '../../datapath/packet.ts'
import { addTcpMss, ensureWritable, setTcpMss } from '../../datapath/rewrite.ts'
import { isErrorType } from '../../datapath/route-table.ts'
import { IPPROTO_TCP } from '../../datapath/wire/protocol.ts'
import { type CheckContext, CONTINUE, type Target } from '../extension.ts'
import { TCP_SYN, type Tcp } from '../matches/tcp.ts'
import { WholeError } from '../options.ts'

export interface SetMss {
  /** Null: what the path carries. */
  readonly mss: number | null
}

const TCP_HEADER = 20
/** IP and TCP without options. */
const HEADERS = { 4: 40, 6: 60 } as const
const DEFAULT_MSS = { 4: 536, 6: 1220 } as const
const KIND = 2
const BYTES = 4
const NO_LIMIT = 0xffffffff

/** One reused question of each family. */
const key: FlowKey = newFlowKey()
const key6: FlowKey = newFlowKey()
key6.family = 6

/** dst_mtu(). */
function routeMtu(route: Route): number {
  if (route.mtu !== 0) return route.mtu
  const mtu = route.device?.mtu ?? 0xffff
  return Math.min(mtu, 0xffff)
}

/** dst_mtu() of the packet's route. */
function forwardMtu(pkt: Packet, host: Host): number {
  const { route } = pkt
  if (route === null) return NO_LIMIT
  return pkt.family === 4 ? routeMtu(route) : host.path.mtu6(route, pkt)
}

/** MTU of the way back to the packet's source, asked as for a packet of this host (tcpmss_reverse_mtu). */
function reverseMtu(pkt: Packet, host: Host): number {
  if (pkt.family === 6) {
    key6.d0 = pkt.s0
    key6.d1 = pkt.s1
    key6.d2 = pkt.s2
    key6.d3 = pkt.s3
    // To this host itself it is that of lo.
    const route = host.path.routes6.output(key6)
    return isErrorType(route.type) ? NO_LIMIT : host.path.mtu6(route, key6)
  }
  key.d0 = pkt.s0
  const route = host.fib.lookup(key)
  return route === null ? NO_LIMIT : routeMtu(route)
}

/** tcpmss_mangle_packet(): CONTINUE, or Drop for a header that is cut short. `mss` -1: clamp. Does not allocate. */
function change(pkt: Packet, host: Host, mss: number): number {
  if (pkt.fragOffset !== 0) return CONTINUE
  const { memory } = host
  const { bytes, view } = memory
  if (pkt.isNonlinear) ensureWritable(pkt, pkt.end - pkt.l3)
  const l4 = pkt.l4
  const length = pkt.end - l4
  if (length < TCP_HEADER) return Verdict.Drop
  const header = (bytes[l4 + 12]! >> 4) << 2
  if (length < header || header < TCP_HEADER) return Verdict.Drop
  let wanted = mss
  if (mss < 0) {
    const mtu = Math.min(forwardMtu(pkt, host), reverseMtu(pkt, host))
    if (mtu <= HEADERS[pkt.family]) return Verdict.Drop
    wanted = mtu - HEADERS[pkt.family]
  }
  for (let i = l4 + TCP_HEADER; i <= l4 + header - BYTES; ) {
    const kind = bytes[i]!
    const size = bytes[i + 1]!
    if (kind === KIND && size === BYTES) {
      if (view.getUint16(i + 2) > wanted) setTcpMss(pkt, memory, i, wanted)
      return CONTINUE
    }
    i += kind <= 1 || size === 0 ? 1 : size
  }
  if (length === header) addTcpMss(pkt, memory, Math.min(wanted, DEFAULT_MSS[pkt.family]))
  return CONTINUE
}

/** find_syn_match(): some `-m tcp` of the rule lets only packets with SYN pass. */
function onlySyn(use: CheckContext): boolean {
  return use.matches.some(({ match, data }) => {
    if (match.name !== 'tcp') return false
    const tcp = data as Tcp
    return (tcp.flagsCompare & TCP_SYN) !== 0 && !tcp.flagsInvert
  })
}

const common: Omit<Target<SetMss>, 'families' | 'help'> = {
  kind: 'target',
  name: 'TCPMSS',
  layout: { size: 8, fields: ({ mss }) => [[0, 2, mss ?? 0xffff]] },
  protocols: [IPPROTO_TCP],
  options: [{ flag: 'set-mss' }, { flag: 'clamp-mss-to-pmtu', arg: 'none' }],
  parse(o) {
    // The last one given counts.
    const last = o.given().at(-1)
    if (last === undefined) throw new WholeError('TCPMSS target: At least one parameter is required')
    const mss = o.has('set-mss') ? o.uint('set-mss', 16, 0, 0xffff - HEADERS[o.family] + TCP_HEADER) : null
    return { mss: last === 'set-mss' ? mss : null }
  },
  print: (m) => (m.mss === null ? '--clamp-mss-to-pmtu' : `--set-mss ${m.mss}`),
  list: (m) => (m.mss === null ? 'TCPMSS clamp to PMTU' : `TCPMSS set ${m.mss}`),
  check(m, use) {
    if (m.mss === null && use.hooks.some((hook) => hook === 'PREROUTING' || hook === 'INPUT'))
      return 'TCPMSS: path-MTU clamping only supported in FORWARD, OUTPUT and POSTROUTING'
    return onlySyn(use) ? null : 'TCPMSS: only works on TCP SYN packets'
  },
  reads: ['tcp', 'length', 'fib'],
  writes: ['tcp', 'length'],
  flow: 'dynamic',
  emit: (m, js) => js`${js.bind(change)}(pkt, ${js.env.host}, ${m.mss ?? -1})`,
}

const help = (bytes: number): string => `TCPMSS target mutually-exclusive options:
  --set-mss value               explicitly set MSS option to specified value
  --clamp-mss-to-pmtu           automatically clamp MSS value to (path_MTU - ${bytes})
`

export const tcpmss: Target<SetMss> = { ...common, families: [4], help: help(20) }
export const tcpmss6: Target<SetMss> = { ...common, families: [6], help: help(40) }
