// HMARK: a mark by a hash of addresses, protocol and ports (libxt_HMARK of iptables 1.8.9, xt_HMARK.c). Both
// directions of a flow get the same mark: the smaller of each pair comes first.
//
//     addresses & prefixes, sorted ──┐
//     (ports & masks | values, sorted) ── jhash_3words ── ^ protocol & mask ── scaled to --hmark-mod ── + --hmark-offset

import { META, PORTS, SRC, STRIDE, TUPLE_WORDS, wordOf } from '../../conntrack/table.ts'
import { portsOffset } from '../../datapath/dissect.ts'
import type { Packet } from '../../datapath/packet.ts'
import {
  ICMP_DEST_UNREACH,
  ICMP_HEADER_LEN,
  ICMP_PARAMETERPROB,
  ICMP_REDIRECT,
  ICMP_SOURCE_QUENCH,
  ICMP_TIME_EXCEEDED,
} from '../../datapath/wire/icmp.ts'
import { IP_MF, IP_OFFSET, IPV4_FRAG, IPV4_HEADER_LEN } from '../../datapath/wire/ipv4.ts'
import { IPV6_DST, IPV6_HEADER_LEN, IPV6_NEXT_HEADER, IPV6_SRC } from '../../datapath/wire/ipv6.ts'
import {
  extensionLength,
  isExtension,
  NEXTHDR_AUTH,
  NEXTHDR_FRAGMENT,
  NEXTHDR_NONE,
  NEXTHDR_ROUTING,
} from '../../datapath/wire/ipv6-headers.ts'
import { jhashWords3, scale } from '../../datapath/wire/jhash.ts'
import { IPPROTO_ICMP, IPPROTO_ICMPV6 } from '../../datapath/wire/protocol.ts'
import type { CompileEnv, Target } from '../extension.ts'
import { addressField, networkField } from '../layout.ts'
import { words } from '../matches/parts.ts'
import { OptionError, type Options, PARAMETER_PROBLEM, WholeError } from '../options.ts'
import { parseAddress, prefixLength, prefixMask, type Words } from '../text/address.ts'
import { hex, wholeNumber } from '../text/numbers.ts'

export interface HMark {
  /** What was given: bits of HMarkFlag. */
  readonly flags: number
  /** Prefix lengths; 0 where none was given. */
  readonly srcPrefix: number
  readonly dstPrefix: number
  /** Source port << 16 | destination port, or the SPI; unsigned. */
  readonly portMask: number
  readonly portSet: number
  readonly protoMask: number
  readonly rnd: number
  readonly mod: number
  readonly offset: number
}

export const HMarkFlag = {
  Src: 1 << 0,
  Dst: 1 << 1,
  SpiMask: 1 << 2,
  Spi: 1 << 3,
  SportMask: 1 << 4,
  DportMask: 1 << 5,
  Sport: 1 << 6,
  Dport: 1 << 7,
  ProtoMask: 1 << 8,
  Offset: 1 << 9,
  Ct: 1 << 10,
} as const
const F = HMarkFlag

/** Types of --hmark-tuple, in the order in which an abbreviation finds them; the option that says the same. */
const TYPES: readonly (readonly [name: string, flag: string])[] = [
  ['ct', ''],
  ['src', 'hmark-src-prefix'],
  ['dst', 'hmark-dst-prefix'],
  ['sport', 'hmark-sport-mask'],
  ['dport', 'hmark-dport-mask'],
  ['proto', 'hmark-proto-mask'],
  ['spi', 'hmark-spi-mask'],
]

/** The types of a list. */
function tupleTypes(text: string): string[] {
  const types: string[] = []
  const add = (item: string, rest: string): void => {
    const found = TYPES.find(([name]) => name.startsWith(item.toLowerCase()))
    if (item === '' || found === undefined)
      throw new OptionError(`Bad type "${rest}"`, PARAMETER_PROBLEM, true)
    types.push(found[0])
  }
  let rest = text
  for (let comma = rest.indexOf(','); comma >= 0; comma = rest.indexOf(',')) {
    add(rest.slice(0, comma), rest)
    rest = rest.slice(comma + 1)
  }
  if (rest === '')
    throw new OptionError(
      '"--hmark-tuple" requires a list of types with no spaces, e.g. src,dst,sport,dport,proto',
      PARAMETER_PROBLEM,
      true,
    )
  add(rest, rest)
  return types
}

/** XTTYPE_PLENMASK: a length, or a mask of which 1.8.9 keeps the length; one with holes becomes a host's. */
function prefixOf(o: Options, flag: string): number {
  const bits = o.family === 4 ? 32 : 128
  const text = o.text(flag)
  const length = wholeNumber(text, 0, bits)
  if (length !== null) return length
  const mask = parseAddress(text, o.family)
  if (mask === null)
    throw new OptionError(
      `HMARK: bad value for option "--${flag}", neither a valid network mask nor valid CIDR (0-${bits}).\n`,
      PARAMETER_PROBLEM,
      true,
    )
  const known = prefixLength(mask, o.family)
  return known < 0 ? bits : known
}

/** hmark_addr6_mask() of an address in the packet. */
const masked = (view: DataView, at: number, mask: Words): number =>
  (view.getInt32(at) & mask[0]) ^
  (view.getInt32(at + 4) & mask[1]) ^
  (view.getInt32(at + 8) & mask[2]) ^
  (view.getInt32(at + 12) & mask[3])

const isError = (type: number): boolean =>
  type === ICMP_DEST_UNREACH ||
  type === ICMP_SOURCE_QUENCH ||
  type === ICMP_TIME_EXCEEDED ||
  type === ICMP_PARAMETERPROB ||
  type === ICMP_REDIRECT

/** What findUpper() found; one reused object. */
const upper = { proto: 0, at: 0, fragment: false }

/**
 * ipv6_find_hdr() for any upper header, an authentication header being one: into `upper`, with whether a fragment header
 * stood before it. False: the chain is cut short, or goes on in another fragment.
 */
function findUpper(view: DataView, l3: number, end: number): boolean {
  let proto = view.getUint8(l3 + IPV6_NEXT_HEADER)
  let at = l3 + IPV6_HEADER_LEN
  upper.fragment = false
  while (isExtension(proto) && proto !== NEXTHDR_NONE && proto !== NEXTHDR_AUTH) {
    if (at + (proto === NEXTHDR_FRAGMENT || proto === NEXTHDR_ROUTING ? 4 : 2) > end) return false
    const next = view.getUint8(at)
    let later = false
    if (proto === NEXTHDR_FRAGMENT) {
      upper.fragment = true
      later = (view.getUint16(at + 2) & 0xfff8) !== 0
      if (later && isExtension(next) && next !== NEXTHDR_NONE) return false
    }
    at += extensionLength(view, proto, at)
    proto = next
    if (later) break
  }
  // Its own two first bytes are asked for before it is known for what it is.
  if (proto === NEXTHDR_AUTH && at + 2 > end) return false
  upper.proto = proto
  upper.at = at
  return true
}

/** One rule's masks and the tuple of the packet at hand. Hot: does not allocate. */
class HMarker {
  readonly #m: HMark
  readonly #src: Words
  readonly #dst: Words
  readonly #env: CompileEnv

  constructor(m: HMark, family: 4 | 6, env: CompileEnv) {
    this.#m = m
    this.#src = prefixMask(m.srcPrefix, family)
    this.#dst = prefixMask(m.dstPrefix, family)
    this.#env = env
  }

  /** hmark_hash(): the mark, as a signed word. */
  #hash(src: number, dst: number, ports: number, proto: number): number {
    const m = this.#m
    const swap = dst >>> 0 < src >>> 0
    const hash = jhashWords3(swap ? dst : src, swap ? src : dst, ports, m.rnd | 0) ^ (proto & m.protoMask)
    return (scale(hash, m.mod | 0) + m.offset) | 0
  }

  /** hmark_swap_ports(). */
  #ports(word: number): number {
    const both = (word & this.#m.portMask) | this.#m.portSet
    const src = both >>> 16
    const dst = both & 0xffff
    return dst > src ? (dst << 16) | src : (src << 16) | dst
  }

  ipv4(pkt: Packet): void {
    const { view } = this.#env.host.memory
    let l3 = pkt.l3
    let l4 = pkt.l4
    let { s0, d0, proto } = pkt
    if (proto === IPPROTO_ICMP && l4 + ICMP_HEADER_LEN <= pkt.end && isError(view.getUint8(l4))) {
      l3 = l4 + ICMP_HEADER_LEN
      if (l3 + IPV4_HEADER_LEN > pkt.end) return
      l4 = l3 + ((view.getUint8(l3) & 0xf) << 2)
      s0 = view.getInt32(l3 + 12)
      d0 = view.getInt32(l3 + 16)
      proto = view.getUint8(l3 + 9)
    }
    let ports = 0
    const at = proto === IPPROTO_ICMP ? -1 : portsOffset(proto)
    if (at >= 0 && (view.getUint16(l3 + IPV4_FRAG) & (IP_MF | IP_OFFSET)) === 0 && l4 + at + 4 <= pkt.end)
      ports = this.#ports(view.getInt32(l4 + at))
    pkt.mark = this.#hash(s0 & this.#src[0], d0 & this.#dst[0], ports, proto) >>> 0
  }

  /** hmark_pkt_set_htuple_ipv6(): of the packet itself, or of the one that an ICMPv6 error quotes. */
  ipv6(pkt: Packet): void {
    const { view } = this.#env.host.memory
    const { l3, end } = pkt
    const s = this.#src
    const d = this.#dst
    if (!findUpper(view, l3, end)) {
      pkt.mark = this.#hash(0, 0, 0, 0) >>> 0
      return
    }
    let src = (pkt.s0 & s[0]) ^ (pkt.s1 & s[1]) ^ (pkt.s2 & s[2]) ^ (pkt.s3 & s[3])
    let dst = (pkt.d0 & d[0]) ^ (pkt.d1 & d[1]) ^ (pkt.d2 & d[2]) ^ (pkt.d3 & d[3])
    if (!upper.fragment && upper.proto === IPPROTO_ICMPV6 && upper.at + ICMP_HEADER_LEN <= end) {
      const type = view.getUint8(upper.at)
      if (type !== 0 && type < 128) {
        const inner = upper.at + ICMP_HEADER_LEN
        if (inner + IPV6_HEADER_LEN > end || view.getUint8(inner) >> 4 !== 6) return
        src = masked(view, inner + IPV6_SRC, s)
        dst = masked(view, inner + IPV6_DST, d)
        if (!findUpper(view, inner, end)) return
      }
    }
    const { proto, at, fragment } = upper
    let ports = 0
    const from = proto === IPPROTO_ICMPV6 || fragment ? -1 : portsOffset(proto)
    if (from >= 0 && at + from + 4 <= end) ports = this.#ports(view.getInt32(at + from))
    pkt.mark = this.#hash(src, dst, ports, proto) >>> 0
  }

  /** hmark_ct_set_htuple(): the original source and the source of the answers. */
  connection(pkt: Packet): void {
    const entry = pkt.ct
    if (entry < 0) {
      // A template is an entry of zeros.
      if (pkt.ctTemplate !== null) pkt.mark = this.#hash(0, 0, this.#ports(0), 0) >>> 0
      return
    }
    const w = this.#env.conntrack.table.words
    const o = entry * STRIDE
    const r = o + TUPLE_WORDS
    const s = this.#src
    const d = this.#dst
    let src = w[o + SRC]! & s[0]
    let dst = w[r + SRC]! & d[0]
    if ((w[o + META]! & 0xff) === 6)
      for (let i = 1; i < 4; i++) {
        src ^= w[o + wordOf(SRC, i)]! & s[i as 1 | 2 | 3]
        dst ^= w[r + wordOf(SRC, i)]! & d[i as 1 | 2 | 3]
      }
    const proto = w[o + META]! >> 8
    const ports =
      proto === IPPROTO_ICMP ? 0 : this.#ports((w[o + PORTS]! & 0xffff0000) | (w[r + PORTS]! >>> 16))
    pkt.mark = this.#hash(src, dst, ports, proto) >>> 0
  }
}

const pad = (value: number, digits: number): string => `0x${value.toString(16).padStart(digits, '0')}`

/** Bits of the kernel (XT_HMARK_*) for those of HMarkFlag, and those that every rule has: RND and MODULUS. */
const flagBits = ({ flags }: HMark): number =>
  [0, 1, 3, 2, 6, 7, 4, 5, 8, 11, 12].reduce(
    (all, bit, i) => ((flags >> i) & 1 ? all | (1 << bit) : all),
    (1 << 9) | (1 << 10),
  )

export const hmark: Target<HMark> = {
  kind: 'target',
  name: 'HMARK',
  families: [4, 6],
  layout: {
    size: 64,
    fields: (m) => [
      addressField(0, prefixMask(m.srcPrefix, 6)),
      addressField(16, prefixMask(m.dstPrefix, 6)),
      networkField(32, m.portMask),
      networkField(36, m.portSet),
      [40, 4, flagBits(m)],
      [44, 2, m.protoMask],
      [48, 4, m.rnd],
      [52, 4, m.mod],
      [56, 4, m.offset],
    ],
  },
  options: [
    { flag: 'hmark-tuple' },
    { flag: 'hmark-src-prefix' },
    { flag: 'hmark-dst-prefix' },
    { flag: 'hmark-sport-mask' },
    { flag: 'hmark-dport-mask' },
    { flag: 'hmark-spi-mask' },
    { flag: 'hmark-sport' },
    { flag: 'hmark-dport' },
    { flag: 'hmark-spi' },
    { flag: 'hmark-proto-mask' },
    { flag: 'hmark-rnd' },
    { flag: 'hmark-mod' },
    { flag: 'hmark-offset' },
  ],
  help: `HMARK target options, i.e. modify hash calculation by:
  --hmark-tuple [src|dst|sport|dport|spi|proto|ct][,...]
  --hmark-mod value		    nfmark modulus value
  --hmark-offset value		    Last action add value to nfmark

  --hmark-rnd			    Random see for hashing
 Alternatively, fine tuning of what will be included in hash calculation
  --hmark-src-prefix length	    Source address mask CIDR prefix
  --hmark-dst-prefix length	    Dest address mask CIDR prefix
  --hmark-sport-mask value	    Mask src port with value
  --hmark-dport-mask value	    Mask dst port with value
  --hmark-spi-mask value	    For esp and ah AND spi with value
  --hmark-sport value		    OR src port with value
  --hmark-dport value		    OR dst port with value
  --hmark-spi value		    For esp and ah OR spi with value
  --hmark-proto-mask value	    Mask Protocol with value
`,
  parse(o) {
    const bits = o.family === 4 ? 32 : 128
    let flags = 0
    let srcPrefix = 0
    let dstPrefix = 0
    let portMask = 0
    let portSet = 0
    let protoMask = 0
    // One after the other: a later option writes over what an earlier one said.
    const high = (old: number, value: number): number => ((old & 0xffff) | (value << 16)) >>> 0
    const low = (old: number, value: number): number => ((old & 0xffff0000) | value) >>> 0
    const said = new Set<string>()
    for (const flag of o.given()) {
      if (said.has(flag))
        throw new OptionError(`HMARK: option "--${flag}" can only be used once.\n`, PARAMETER_PROBLEM, true)
      switch (flag) {
        case 'hmark-tuple':
          for (const type of tupleTypes(o.text(flag))) {
            const same = TYPES.find(([name]) => name === type)![1]
            if (same !== '') said.add(same)
            if (type === 'ct') flags |= F.Ct
            else if (type === 'src') {
              flags |= F.Src
              srcPrefix = bits
            } else if (type === 'dst') {
              flags |= F.Dst
              dstPrefix = bits
            } else if (type === 'sport') {
              flags |= F.SportMask
              portMask = high(portMask, 0xffff)
            } else if (type === 'dport') {
              flags |= F.DportMask
              portMask = low(portMask, 0xffff)
            } else if (type === 'proto') {
              flags |= F.ProtoMask
              protoMask = 0xffff
            } else {
              flags |= F.SpiMask
              portMask = 0xffffffff
            }
          }
          break
        case 'hmark-src-prefix':
          flags |= F.Src
          srcPrefix = prefixOf(o, flag)
          break
        case 'hmark-dst-prefix':
          flags |= F.Dst
          dstPrefix = prefixOf(o, flag)
          break
        case 'hmark-sport-mask':
          flags |= F.SportMask
          portMask = high(portMask, o.uint(flag, 16))
          break
        case 'hmark-dport-mask':
          flags |= F.DportMask
          portMask = low(portMask, o.uint(flag, 16))
          break
        case 'hmark-spi-mask':
          flags |= F.SpiMask
          portMask = o.uint(flag, 32)
          break
        case 'hmark-sport':
          flags |= F.Sport
          portSet = high(portSet, o.uint(flag, 16))
          break
        case 'hmark-dport':
          flags |= F.Dport
          portSet = low(portSet, o.uint(flag, 16))
          break
        case 'hmark-spi':
          flags |= F.Spi
          portSet = o.uint(flag, 32)
          break
        case 'hmark-proto-mask':
          flags |= F.ProtoMask
          protoMask = o.uint(flag, 16)
          break
      }
    }
    const rnd = o.has('hmark-rnd') ? o.uint('hmark-rnd', 32) : 0
    const mod = o.has('hmark-mod') ? o.uint('hmark-mod', 32, 1) : 0
    const offset = o.has('hmark-offset') ? o.uint('hmark-offset', 32) : 0
    if (!o.has('hmark-mod')) throw new WholeError('--hmark-mod is mandatory')
    if (!o.has('hmark-rnd')) throw new WholeError('--hmark-rnd is mandatory')
    if ((flags & F.SpiMask) !== 0 && (flags & (F.SportMask | F.DportMask)) !== 0)
      throw new WholeError('you cannot use --hmark-spi-mask and --hmark-?port-mask,at the same time')
    if (flags === 0) throw new WholeError('you have to specify --hmark-tuple at least')
    if (o.has('hmark-offset')) flags |= F.Offset
    return { flags, srcPrefix, dstPrefix, portMask, portSet, protoMask, rnd, mod, offset }
  },
  print: (m) =>
    words(
      m.flags & F.Src ? `--hmark-src-prefix ${m.srcPrefix}` : '',
      m.flags & F.Dst ? `--hmark-dst-prefix ${m.dstPrefix}` : '',
      m.flags & F.SportMask ? `--hmark-sport-mask ${pad(m.portMask >>> 16, 4)}` : '',
      m.flags & F.DportMask ? `--hmark-dport-mask ${pad(m.portMask & 0xffff, 4)}` : '',
      m.flags & F.SpiMask ? `--hmark-spi-mask ${pad(m.portMask, 8)}` : '',
      m.flags & F.Sport ? `--hmark-sport ${pad(m.portSet >>> 16, 4)}` : '',
      m.flags & F.Dport ? `--hmark-dport ${pad(m.portSet & 0xffff, 4)}` : '',
      m.flags & F.Spi ? `--hmark-spi ${pad(m.portSet, 8)}` : '',
      m.flags & F.ProtoMask ? `--hmark-proto-mask ${pad(m.protoMask, 2)}` : '',
      `--hmark-rnd ${pad(m.rnd, 8)} --hmark-mod ${m.mod}`,
      m.flags & F.Offset ? `--hmark-offset ${m.offset}` : '',
      m.flags & F.Ct ? '--hmark-tuple ct' : '',
    ),
  list(m, _, family) {
    // ip6tables prints what follows the slash of a mask, and a host's has none.
    const prefix = (length: number): string => (family === 4 || length !== 128 ? String(length) : '')
    return `${words(
      `HMARK mod ${m.mod}`,
      m.flags & F.Offset ? `+ ${hex(m.offset)}` : '',
      m.flags & F.Ct ? 'ct,' : '',
      m.flags & F.Src ? `src-prefix ${prefix(m.srcPrefix)}` : '',
      m.flags & F.Dst ? `dst-prefix ${prefix(m.dstPrefix)}` : '',
      m.flags & F.SportMask ? `sport-mask ${hex(m.portMask >>> 16)}` : '',
      m.flags & F.DportMask ? `dport-mask ${hex(m.portMask & 0xffff)}` : '',
      m.flags & F.SpiMask ? `spi-mask ${hex(m.portMask)}` : '',
      m.flags & F.Sport ? `sport ${hex(m.portSet >>> 16)}` : '',
      m.flags & F.Dport ? `dport ${hex(m.portSet & 0xffff)}` : '',
      m.flags & F.Spi ? `spi ${hex(m.portSet)}` : '',
      m.flags & F.ProtoMask ? `proto-mask ${hex(m.protoMask)}` : '',
      `rnd ${hex(m.rnd)}`,
    )} `
  },
  check: (m) =>
    (m.flags & F.Spi) !== 0 && (m.flags & (F.Sport | F.Dport)) !== 0
      ? "HMARK: spi-set and port-set can't be combined"
      : null,
  reads: ['source', 'destination', 'protocol', 'ports', 'payload', 'conntrack'],
  writes: ['mark'],
  flow: 'continue',
  emit(m, js) {
    const marker = js.bind(new HMarker(m, js.family, js.env))
    if ((m.flags & F.Ct) !== 0) return js`${marker}.connection(pkt)`
    return js.family === 4 ? js`${marker}.ipv4(pkt)` : js`${marker}.ipv6(pkt)`
  },
}
