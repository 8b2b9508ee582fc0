// Which of several next hops a packet takes: fib_multipath_hash(), fib_select_multipath() (net/ipv4/route.c,
// fib_semantics.c), rt6_multipath_hash() (net/ipv6/route.c), over the hash of flow_dissector.c (6.18).
//
//     policy 0  addresses; of an ICMP error: those of the packet that it quotes
//     policy 1  addresses, protocol, ports (SPI of ESP and AH)
//     policy 2  addresses inside of IPIP, 6in4, 4in6 or GRE; of other packets as policy 0
//     policy 3  the fields of fib_multipath_hash_fields, outside and inside
//          │
//          └─▶ flow_keys, both directions alike ─▶ SipHash-2-4 with fib_multipath_hash_seed ─▶ 31 bits
//
//     31 bits against the next hops' shares of 2^31; a next hop whose own address is the source goes first

import { dissect6, dissected6, portsOffset } from './dissect.ts'
import { dissectFlow, flow } from './flow-dissector.ts'
import type { Packet } from './packet.ts'
import type { FrameMemory } from './ring.ts'
import type { FlowKey } from './route.ts'
import type { RouteEntry } from './route-table.ts'
import { ICMP_HEADER_LEN, icmpIsError } from './wire/icmp.ts'
import { IPV4_HEADER_LEN, ipv4Dst, ipv4Src } from './wire/ipv4.ts'
import { IPV6_HEADER_LEN, IPV6_NEXT_HEADER } from './wire/ipv6.ts'
import { jhashWords2 } from './wire/jhash.ts'
import { IPPROTO_ICMP, IPPROTO_ICMPV6 } from './wire/protocol.ts'

/** FIB_MULTIPATH_HASH_FIELD_*. */
const Field = { Src: 1, Dst: 2, Proto: 4, FlowLabel: 8, SrcPort: 16, DstPort: 32 } as const
const OUTER = 0x3f
const INNER_SHIFT = 6
const FLOW_LABEL = 0xfffff

/** What of net.ipv4 and net.ipv6 the choice follows. */
export interface MultipathConf {
  /** fib_multipath_hash_policy. */
  readonly multipathHashPolicy: number
  /** fib_multipath_hash_fields. */
  readonly multipathHashFields: number
  /** fib_multipath_hash_seed; 0: nobody has said one. */
  readonly multipathHashSeed: number
}

/**
 * Differs from Linux: without fib_multipath_hash_seed the kernel draws a secret at each boot. Here it is always this
 * one, so that the same capture takes the same way every time.
 */
const USUAL_SEED = 0x746e7761

/** struct flow_keys from `basic` on, in words as they lie in memory: little-endian numbers of the wire's bytes. */
const BASIC = 0
const TAGS = 1
const PORTS = 7
const ADDRESSES = 9
const KEY_WORDS = 18
/** What is hashed of the keys, in blocks of eight bytes, but for the addresses: a block for a pair of their words. */
const HASHED_BLOCKS = 5

/** Words of one address. */
const addressWords = (family: number): number => (family === 6 ? 4 : family === 4 ? 1 : 0)

/** The 32 bits of a wire word as a little-endian machine reads them. */
const swap = (w: number): number =>
  ((w & 0xff) << 24) | ((w & 0xff00) << 8) | ((w >>> 8) & 0xff00) | (w >>> 24)
const swap16 = (w: number): number => ((w & 0xff) << 8) | ((w >>> 8) & 0xff)

export type MultipathConf6 = Pick<MultipathConf, 'multipathHashPolicy' | 'multipathHashFields'>

export class Multipath {
  readonly #memory: FrameMemory
  readonly #conf: MultipathConf
  readonly #words = new Int32Array(KEY_WORDS)
  /** net.ipv6.fib_multipath_hash_policy and _fields. */
  conf6: MultipathConf6 = {
    multipathHashPolicy: 0,
    multipathHashFields: 7,
  }
  #v = new Int32Array(8)

  constructor(memory: FrameMemory, conf: MultipathConf) {
    this.#memory = memory
    this.#conf = conf
  }

  /** Another packet between the same IPv4 addresses takes the same next hop. */
  byAddresses4(pkt: Packet): boolean {
    return this.#conf.multipathHashPolicy === 0 && pkt.proto !== IPPROTO_ICMP
  }

  /**
   * fib_select_multipath() of an IPv4 route with several next hops. `pkt`: the packet that is forwarded, or that an
   * error is about; null: the key says all. `source`: next hops whose own address is key.s0 come first. Does not
   * allocate.
   */
  choose4(route: RouteEntry, key: FlowKey, pkt: Packet | null, source: boolean): RouteEntry {
    const paths = route.paths!
    const h = this.#hash4(key, pkt)
    const from = source ? key.s0 : 0
    let total = 0
    for (let i = 0; i < paths.length; i++) if (!paths[i]!.dead) total += paths[i]!.weight
    let sum = 0
    let best = paths[0]!
    let score = -1
    for (let i = 0; i < paths.length; i++) {
      const path = paths[i]!
      if (path.dead) continue
      sum += path.weight
      // fib_rebalance(): the upper bound of its share.
      const bound = Math.floor((sum * 0x80000000 + (total >> 1)) / total) - 1
      let points = h <= bound ? 1 : 0
      if (from !== 0 && path.ownAddress === from) points += 2
      if (points <= score) continue
      best = path
      if (points === 3 || (from === 0 && points === 1)) return best
      score = points
    }
    return best
  }

  /**
   * fib6_select_path() of an IPv6 route with several next hops. `pkt`: the packet that is forwarded or that an error is
   * about; null: the key says all, its flow label being 0. `early`: a policy rule wanted the packet that comes in
   * dissected (fib6_rules_early_flow_dissect). Does not allocate.
   */
  choose6(route: RouteEntry, key: FlowKey, pkt: Packet | null, early: boolean): RouteEntry {
    const paths = route.paths!
    const h = this.#hash6(key, pkt, early)
    let total = 0
    for (let i = 0; i < paths.length; i++) if (!paths[i]!.dead) total += paths[i]!.weight
    let sum = 0
    for (let i = 0; i < paths.length; i++) {
      const path = paths[i]!
      if (path.dead) continue
      sum += path.weight
      // rt6_upper_bound_set().
      if (h <= Math.floor((sum * 0x80000000 + (total >> 1)) / total) - 1) return path
    }
    return paths[0]!
  }

  // -- hashes

  /** fib_multipath_hash(): 31 bits. */
  #hash4(key: FlowKey, pkt: Packet | null): number {
    const w = this.#words
    w.fill(0)
    const { multipathHashPolicy: policy, multipathHashFields: fields } = this.#conf
    if (policy === 1) {
      this.#fill4(key, pkt, Field.Src | Field.Dst | Field.Proto | Field.SrcPort | Field.DstPort)
      return this.#finish(4) >>> 1
    }
    if (policy === 3) {
      let outer = 0
      if ((fields & OUTER) !== 0) {
        this.#fill4(key, pkt, fields)
        outer = this.#finish(4)
      }
      if (pkt === null) return outer >>> 1
      return jhashWords2(outer, this.#inner(pkt, fields >> INNER_SHIFT), 0) >>> 1
    }
    if (policy === 2 && pkt !== null) {
      dissectFlow(pkt, this.#memory.view)
      if (flow.family !== 0) return this.#innermost(flow.family)
    }
    this.#fill4(key, pkt, Field.Src | Field.Dst)
    if (pkt !== null) this.#quotedAddresses(pkt)
    return this.#finish(4) >>> 1
  }

  /** rt6_multipath_hash(): 31 bits. */
  #hash6(key: FlowKey, pkt: Packet | null, early: boolean): number {
    const w = this.#words
    w.fill(0)
    const { multipathHashPolicy: policy, multipathHashFields: fields } = this.conf6
    if (policy === 1) {
      this.#fill6(key, pkt, Field.Src | Field.Dst | Field.Proto | Field.SrcPort | Field.DstPort)
      return this.#finish(6) >>> 1
    }
    if (policy === 3) {
      let outer = 0
      if ((fields & OUTER) !== 0) {
        this.#fill6(key, pkt, fields)
        if (pkt !== null && (fields & Field.FlowLabel) !== 0)
          w[TAGS] = this.#memory.view.getUint32(pkt.l3) & FLOW_LABEL
        outer = this.#finish(6)
      }
      if (pkt === null) return outer >>> 1
      return jhashWords2(outer, this.#inner(pkt, fields >> INNER_SHIFT), 0) >>> 1
    }
    if (policy === 2 && pkt !== null) {
      dissectFlow(pkt, this.#memory.view)
      return this.#innermost(flow.family === 4 ? 4 : 6)
    }
    this.#fill6(key, pkt, Field.Src | Field.Dst | Field.Proto)
    if (pkt !== null && !this.#quoted6(pkt)) {
      // Only ICMPv6 is hashed before the routes are asked, and then by what was dissected for the rules.
      if (early && key.protocol === IPPROTO_ICMPV6) w[TAGS] = this.#memory.view.getUint32(pkt.l3) & FLOW_LABEL
      else {
        w[TAGS] = swap(this.#memory.view.getUint32(pkt.l3) & FLOW_LABEL)
        w[BASIC] = this.#memory.view.getUint8(pkt.l3 + IPV6_NEXT_HEADER) << 16
      }
    }
    return this.#finish(6) >>> 1
  }

  #fill6(key: FlowKey, pkt: Packet | null, fields: number): void {
    const w = this.#words
    const from = pkt ?? key
    if ((fields & Field.Src) !== 0) {
      w[ADDRESSES] = swap(from.s0)
      w[ADDRESSES + 1] = swap(from.s1)
      w[ADDRESSES + 2] = swap(from.s2)
      w[ADDRESSES + 3] = swap(from.s3)
    }
    if ((fields & Field.Dst) !== 0) {
      w[ADDRESSES + 4] = swap(from.d0)
      w[ADDRESSES + 5] = swap(from.d1)
      w[ADDRESSES + 6] = swap(from.d2)
      w[ADDRESSES + 7] = swap(from.d3)
    }
    if (pkt !== null) dissect6(pkt, this.#memory.view)
    if ((fields & Field.Proto) !== 0) w[BASIC] = (pkt === null ? key.protocol : dissected6.proto) << 16
    if ((fields & (Field.SrcPort | Field.DstPort)) === 0) return
    const ports = pkt === null ? (key.sport << 16) | key.dport : dissected6.ports
    if ((fields & Field.SrcPort) !== 0) w[PORTS] = swap16(ports >>> 16)
    if ((fields & Field.DstPort) !== 0) w[PORTS] = w[PORTS]! | (swap16(ports) << 16)
  }

  /** ip6_multipath_l3_keys(): addresses, flow label and next header of the packet that an error quotes; false: it is none. */
  #quoted6(pkt: Packet): boolean {
    const { view } = this.#memory
    const w = this.#words
    const l4 = pkt.l3 + IPV6_HEADER_LEN
    const at = l4 + ICMP_HEADER_LEN
    if (view.getUint8(pkt.l3 + IPV6_NEXT_HEADER) !== IPPROTO_ICMPV6 || at + IPV6_HEADER_LEN > pkt.end)
      return false
    if (view.getUint8(l4) < 1 || view.getUint8(l4) > 4) return false
    for (let i = 0; i < 8; i++) w[ADDRESSES + i] = swap(view.getInt32(at + 8 + 4 * i))
    w[TAGS] = swap(view.getUint32(at) & FLOW_LABEL)
    w[BASIC] = view.getUint8(at + IPV6_NEXT_HEADER) << 16
    return true
  }

  /** The packet's own fields, whatever the key asks for; without one the key's. */
  #fill4(key: FlowKey, pkt: Packet | null, fields: number): void {
    const w = this.#words
    if ((fields & Field.Src) !== 0) w[ADDRESSES] = swap(pkt === null ? key.s0 : pkt.s0)
    if ((fields & Field.Dst) !== 0) w[ADDRESSES + 1] = swap(pkt === null ? key.d0 : pkt.d0)
    if ((fields & Field.Proto) !== 0) w[BASIC] = (pkt === null ? key.protocol : pkt.proto) << 16
    if ((fields & (Field.SrcPort | Field.DstPort)) === 0) return
    const ports = pkt === null ? (key.sport << 16) | key.dport : dissectedPorts(pkt, this.#memory)
    if ((fields & Field.SrcPort) !== 0) w[PORTS] = swap16(ports >>> 16)
    if ((fields & Field.DstPort) !== 0) w[PORTS] = w[PORTS]! | (swap16(ports) << 16)
  }

  /** ip_multipath_l3_keys(): an ICMP error goes the way of what it is about. */
  #quotedAddresses(pkt: Packet): void {
    if (pkt.proto !== IPPROTO_ICMP || pkt.fragOffset !== 0 || pkt.l4 + ICMP_HEADER_LEN > pkt.end) return
    const { view } = this.#memory
    if (!icmpIsError(view.getUint8(pkt.l4))) return
    const inner = pkt.l4 + ICMP_HEADER_LEN
    if (inner + IPV4_HEADER_LEN > pkt.end) return
    this.#words[ADDRESSES] = swap(ipv4Src(view, inner))
    this.#words[ADDRESSES + 1] = swap(ipv4Dst(view, inner))
  }

  /**
   * Policy 2: by what the dissector found innermost, or outside where there is no tunnel. The label is in the host's byte
   * order, and no quotation is looked at.
   */
  #innermost(family: number): number {
    this.#fillFlow(family, Field.Src | Field.Dst | (family === 6 ? Field.Proto | Field.FlowLabel : 0))
    return this.#finish(family) >>> 1
  }

  /** fib_multipath_custom_hash_inner(), of IPv6 too. */
  #inner(pkt: Packet, fields: number): number {
    if ((fields & OUTER) === 0) return 0
    dissectFlow(pkt, this.#memory.view)
    if (!flow.encapsulated) return 0
    this.#words.fill(0)
    this.#fillFlow(flow.family, fields)
    return this.#finish(flow.family)
  }

  /** Fields of the innermost headers that could be read. */
  #fillFlow(family: number, fields: number): void {
    const w = this.#words
    const { addresses } = flow
    const n = addressWords(family)
    for (let i = 0; i < n; i++) {
      if ((fields & Field.Src) !== 0) w[ADDRESSES + i] = swap(addresses[i]!)
      if ((fields & Field.Dst) !== 0) w[ADDRESSES + n + i] = swap(addresses[n + i]!)
    }
    if ((fields & Field.Proto) !== 0) w[BASIC] = flow.proto << 16
    if ((fields & Field.FlowLabel) !== 0 && family === 6) w[TAGS] = flow.flowLabel
    if ((fields & Field.SrcPort) !== 0) w[PORTS] = swap16(flow.ports >>> 16)
    if ((fields & Field.DstPort) !== 0) w[PORTS] = w[PORTS]! | (swap16(flow.ports) << 16)
  }

  /** __flow_hash_from_keys(): both directions of a flow have one hash; never 0. A signed word. */
  #finish(family: number): number {
    const w = this.#words
    const n = addressWords(family)
    if (family === 6 ? precedes(w, ADDRESSES + 4, ADDRESSES) : w[ADDRESSES + 1]! >>> 0 < w[ADDRESSES]! >>> 0)
      for (let i = 0; i < n; i++) {
        const x = w[ADDRESSES + i]!
        w[ADDRESSES + i] = w[ADDRESSES + n + i]!
        w[ADDRESSES + n + i] = x
      }
    const ports = w[PORTS]!
    if (family !== 0 && ports >>> 16 < (ports & 0xffff)) w[PORTS] = (ports << 16) | (ports >>> 16)
    const { multipathHashSeed } = this.#conf
    const seed = multipathHashSeed === 0 ? USUAL_SEED : multipathHashSeed
    const hash = sipHash(this.#v, w, HASHED_BLOCKS + n, seed | 0)
    return hash === 0 ? 1 : hash
  }
}

/** memcmp(): the four words at `a` come before those at `b`, as bytes. */
function precedes(w: Int32Array, a: number, b: number): boolean {
  for (let i = 0; i < 4; i++) {
    const x = swap(w[a + i]!) >>> 0
    const y = swap(w[b + i]!) >>> 0
    if (x !== y) return x < y
  }
  return false
}

/** Both ports of a packet, source first, as skb_flow_dissect() finds them: of a whole one, SPIs too. 0: none. */
export function dissectedPorts(pkt: Packet, memory: FrameMemory): number {
  if (pkt.moreFragments || pkt.fragOffset !== 0) return 0
  const offset = portsOffset(pkt.proto)
  const at = pkt.l4 + offset
  return offset < 0 || at + 4 > pkt.end ? 0 : memory.view.getInt32(at)
}

/** SipHash-2-4 of `n` blocks of eight bytes, both halves of the key {seed, seed}: the low 32 bits, as a signed word. */
function sipHash(v: Int32Array, words: Int32Array, n: number, seed: number): number {
  // v0..v3, each low half first.
  v[0] = 0x70736575 ^ seed
  v[1] = 0x736f6d65 ^ seed
  v[2] = 0x6e646f6d ^ seed
  v[3] = 0x646f7261 ^ seed
  v[4] = 0x6e657261 ^ seed
  v[5] = 0x6c796765 ^ seed
  v[6] = 0x79746573 ^ seed
  v[7] = 0x74656462 ^ seed
  for (let i = 0; i < n; i++) {
    const low = words[2 * i]!
    const high = words[2 * i + 1]!
    v[6] = v[6]! ^ low
    v[7] = v[7]! ^ high
    round(v)
    round(v)
    v[0] = v[0]! ^ low
    v[1] = v[1]! ^ high
  }
  const last = (n * 8) << 24
  v[7] = v[7]! ^ last
  round(v)
  round(v)
  v[1] = v[1]! ^ last
  v[4] = v[4]! ^ 0xff
  for (let i = 0; i < 4; i++) round(v)
  return v[0]! ^ v[2]! ^ v[4]! ^ v[6]!
}

function round(v: Int32Array): void {
  add(v, 0, 2)
  rotate(v, 2, 13)
  mix(v, 2, 0)
  swapHalves(v, 0)
  add(v, 4, 6)
  rotate(v, 6, 16)
  mix(v, 6, 4)
  add(v, 0, 6)
  rotate(v, 6, 21)
  mix(v, 6, 0)
  add(v, 4, 2)
  rotate(v, 2, 17)
  mix(v, 2, 4)
  swapHalves(v, 4)
}

function add(v: Int32Array, a: number, b: number): void {
  const low = (v[a]! >>> 0) + (v[b]! >>> 0)
  v[a + 1] = v[a + 1]! + v[b + 1]! + (low > 0xffffffff ? 1 : 0)
  v[a] = low
}

function mix(v: Int32Array, a: number, b: number): void {
  v[a] = v[a]! ^ v[b]!
  v[a + 1] = v[a + 1]! ^ v[b + 1]!
}

/** Left by 1 to 31 bits. */
function rotate(v: Int32Array, a: number, bits: number): void {
  const low = v[a]!
  const high = v[a + 1]!
  v[a] = (low << bits) | (high >>> (32 - bits))
  v[a + 1] = (high << bits) | (low >>> (32 - bits))
}

function swapHalves(v: Int32Array, a: number): void {
  const low = v[a]!
  v[a] = v[a + 1]!
  v[a + 1] = low
}
