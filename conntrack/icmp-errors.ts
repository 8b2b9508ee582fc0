// ICMP errors belong to the connection that they quote (nf_conntrack_icmpv4_error, nf_conntrack_icmpv6_error and
// nf_conntrack_inet_error, Linux 6.18).
//
//     IP | ICMP error | quoted IP | quoted transport ...   the quoted packet, inverted, is the tuple to look up

import { Hook } from '../datapath/hooks.ts'
import { CtInfo, type CtTemplate, type Family, type Packet } from '../datapath/packet.ts'
import { formatAddress } from '../datapath/wire/address.ts'
import { ICMP_HEADER_LEN, icmpIsError, NR_ICMP_TYPES } from '../datapath/wire/icmp.ts'
import { IPPROTO_GRE, IPPROTO_ICMP, IPPROTO_ICMPV6 } from '../datapath/wire/protocol.ts'
import type { Conntrack } from './conntrack.ts'
import { addressAt, DST, isAddress, STRIDE, TUPLE_WORDS } from './table.ts'
import { Tracked } from './trackers/tracker.ts'
import { invert, Tuple, tupleAt } from './tuple.ts'

const quoted = new Tuple()

// ICMPv6 types: neighbour discovery and multicast listeners, which have no connection.
const UNTRACKED6 = new Uint8Array(256)
for (const type of [130, 131, 132, 133, 134, 135, 136, 143, 151, 152]) UNTRACKED6[type] = 1
const NDISC_REDIRECT = 137
/** Redirect message up to its options; RFC 4861 §4.5. */
const REDIRECT_LEN = 40
const ND_OPT_REDIRECT_HDR = 4

/**
 * nf_conntrack_handle_icmp. Accept: not an error, or the packet now holds the connection it quotes (or is marked
 * untracked); Invalid: a broken message, or an error about nothing known.
 */
export function icmpError(ct: Conntrack, pkt: Packet, template: CtTemplate | null, hook: Hook): Tracked {
  if (pkt.family === 4) return pkt.proto === IPPROTO_ICMP ? error4(ct, pkt, template, hook) : Tracked.Accept
  return pkt.proto === IPPROTO_ICMPV6 ? error6(ct, pkt, template, hook) : Tracked.Accept
}

function error4(ct: Conntrack, pkt: Packet, template: CtTemplate | null, hook: Hook): Tracked {
  const { l4 } = pkt
  if (l4 + ICMP_HEADER_LEN > pkt.end) return invalid(ct, pkt, 'short packet')
  if (hook === Hook.PreRouting && ct.core.checksum && !ct.core.checksumOk(pkt))
    return invalid(ct, pkt, 'bad hw icmp checksum')
  const type = ct.host.memory.view.getUint8(l4)
  if (type > NR_ICMP_TYPES) return invalid(ct, pkt, 'invalid icmp type')
  if (!icmpIsError(type)) return Tracked.Accept
  return related(ct, pkt, template, l4 + ICMP_HEADER_LEN)
}

function error6(ct: Conntrack, pkt: Packet, template: CtTemplate | null, hook: Hook): Tracked {
  const { l4 } = pkt
  const { view } = ct.host.memory
  if (l4 + ICMP_HEADER_LEN > pkt.end) return invalid(ct, pkt, 'short packet')
  if (hook === Hook.PreRouting && ct.core.checksum && !ct.core.checksumOk(pkt))
    return invalid(ct, pkt, 'ICMPv6 checksum failed')
  const type = view.getUint8(l4)
  if (UNTRACKED6[type] !== 0) {
    pkt.ctInfo = CtInfo.Untracked
    return Tracked.Accept
  }
  if (type === NDISC_REDIRECT) return redirect6(ct, pkt, template)
  return type >= 128 ? Tracked.Accept : related(ct, pkt, template, l4 + ICMP_HEADER_LEN)
}

/** nf_conntrack_icmpv6_redirect: the packet that was redirected is quoted in an option. */
function redirect6(ct: Conntrack, pkt: Packet, template: CtTemplate | null): Tracked {
  const { view } = ct.host.memory
  const option = pkt.l4 + REDIRECT_LEN
  if (option > pkt.end) return invalid(ct, pkt, 'short redirect')
  if (view.getUint8(pkt.l4 + 1) !== 0) return Tracked.Accept
  const linkLocal = pkt.s0 >>> 22 === 0xfe80 >>> 6
  if (view.getUint8(pkt.l3 + 7) !== 255 || !linkLocal)
    return invalid(ct, pkt, 'invalid saddr or hoplimit for redirect')
  if (option + 2 > pkt.end || view.getUint8(option + 1) === 0)
    return invalid(ct, pkt, 'redirect without options')
  if (view.getUint8(option) !== ND_OPT_REDIRECT_HDR) return Tracked.Accept
  return related(ct, pkt, template, option + 8)
}

/** nf_conntrack_inet_error: `at` is the quoted packet's network header. */
function related(ct: Conntrack, pkt: Packet, template: CtTemplate | null, at: number): Tracked {
  if (!tupleAt(ct.host.memory.view, at, pkt.end, pkt.family, quoted)) return Tracked.Invalid
  if (quoted.protocol === IPPROTO_GRE) ct.callIds.complete(quoted)
  if (!invert(quoted, quoted)) return Tracked.Invalid
  quoted.zone = 0
  const handle = template === null ? ct.find(quoted) : ct.findZoned(quoted, pkt, template)
  if (handle < 0) return Tracked.Invalid
  // The error must go where the quoted packet came from, else anybody could make errors pass as related.
  const w = ct.table.words
  const o = (handle >> 1) * STRIDE + (handle & 1) * TUPLE_WORDS
  if (!isAddress(w, o, DST, pkt.d0, pkt.d1, pkt.d2, pkt.d3)) return astray(ct, pkt, o)
  ct.hold(pkt, handle >> 1, (handle & 1) !== 0 ? CtInfo.RelatedReply : CtInfo.Related)
  return Tracked.Accept
}

/** `o`: first word of the tuple to whose destination the error should have gone. */
function astray(ct: Conntrack, pkt: Packet, o: number): Tracked {
  if (!ct.core.logs(pkt.proto)) return Tracked.Invalid
  const outer = plainAddress(pkt.family, [pkt.d0, pkt.d1, pkt.d2, pkt.d3])
  const inner = plainAddress(pkt.family, addressAt(ct.table.words, o, DST))
  ct.core.logInvalid(pkt, pkt.proto, 'outer daddr %s != inner %s', outer, inner)
  return Tracked.Invalid
}

/** %pI4, or %pI6, which leaves nothing out. */
function plainAddress(family: Family, words: [number, number, number, number]): string {
  if (family === 4) return formatAddress(4, words)
  const digits = words.map((word) => (word >>> 0).toString(16).padStart(8, '0'))
  return digits.map((eight) => `${eight.slice(0, 4)}:${eight.slice(4)}`).join(':')
}

function invalid(ct: Conntrack, pkt: Packet, reason: string): Tracked {
  ct.core.logInvalid(pkt, pkt.proto, reason)
  return Tracked.Invalid
}
