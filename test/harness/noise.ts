// What noise is, and the ordinary packets that most of it begins with.

import type { Wire } from './conversation.ts'
import * as build from './frames.ts'
import type { Reference, StepRun } from './scenario.ts'

export interface Noise {
  readonly dev: string
  readonly frame: Uint8Array
  readonly note: string
  readonly references?: readonly Reference[]
}

export type Maker = (w: Wire, history: readonly StepRun[]) => Noise | null

/** What only one of the families has. */
export interface FamilyNoise {
  /** Types and codes of errors, right and wrong ones. */
  readonly errors: readonly (readonly [number, number])[]
  /** The error about a packet that is too big. */
  readonly tooBig: readonly [number, number]
  /** What that says the MTU is. */
  readonly mtus: readonly number[]
  /** Of a quotation: whole headers, cut ones. */
  readonly quotes: readonly number[]
  /** To the host: ICMP types, protocols. */
  readonly icmpTypes: readonly number[]
  /** Types of ICMP that ask something or answer, besides echo. */
  readonly queries: readonly number[]
  readonly protocols: readonly number[]
  /** Of packets that are too short for their header. */
  readonly cut: readonly number[]
  readonly martians: readonly string[]
  readonly unroutable: readonly string[]
  readonly groups: readonly string[]
  /** What is wrong with an IP header. */
  readonly headers: readonly Partial<build.Ip>[]
  /** First bytes of something that looks like a packet. */
  readonly begins: readonly number[]
  /** Options, or extension headers, for a packet. */
  options(w: Wire): Partial<build.Ip>
  /** Makers of its own, by name. */
  readonly makers: Readonly<Record<string, Maker>>
}

export const anyDevice = (w: Wire): string => w.random.pick(w.world.devices).name

export function pair(w: Wire): { dev: string; src: string; dst: string } {
  const from = w.random.pick(w.world.peers)
  const others = w.world.peers.filter((p) => p.dev !== from.dev)
  return {
    dev: from.dev,
    src: from.address,
    dst: w.random.pick(others.length > 0 ? others : w.world.peers).address,
  }
}

export const common = (w: Wire): { id: number; df: boolean } => ({ id: w.id(), df: w.random.once(2) })

/** Any ordinary packet between the two. */
export function some(
  w: Wire,
  src: string,
  dst: string,
  extra: Partial<build.Ip> = {},
  size?: number,
): Uint8Array {
  const { random, world } = w
  const head = { src, dst, ...common(w), ...extra }
  const sport = random.pick(world.clientPorts)
  const dport = random.pick(world.serverPorts)
  const payload = size ?? random.pick([0, 8, 56, 200])
  switch (random.below(4)) {
    case 0:
      return build.tcp({
        ...head,
        sport,
        dport,
        flags: random.pick(['S', 'A', 'SA', 'FA', 'R', 'PA']),
        seq: random.u32(),
        payload,
      })
    case 1:
      return build.icmp({ ...head, echoId: random.pick([1, 77, 1000]), seq: random.below(10), payload })
    default:
      return build.udp({ ...head, sport, dport, payload })
  }
}

/** Inside of a tunnel: who talks there, of either family. */
const INSIDE = {
  4: ['10.99.0.1', '10.99.0.2', '172.30.1.1', '192.0.2.77'],
  6: ['2001:db8:99::1', '2001:db8:99::2', 'fd99:1::5', 'fe80::5'],
} as const
const IPIP = 4
const GRE = 47
const IPV6 = 41
const MPLS = 137

/** A packet in a tunnel, whose own headers nobody on the way reads but what hashes flows; now and then in two, or cut. */
export function tunnelled(w: Wire, src: string, dst: string, depth = 0): Uint8Array {
  const { random } = w
  const family = random.pick([4, 6] as const)
  const [a, b] = [random.pick(INSIDE[family]), random.pick(INSIDE[family])]
  const inner =
    depth === 0 && random.once(6)
      ? tunnelled(w, a, b, 1)
      : some(w, a, b, {
          ...(random.once(8) ? { mf: true } : {}),
          ...(random.once(8) ? { fragOffset: 16 } : {}),
          ...(random.once(4) ? { flowLabel: random.below(4) } : {}),
          ...(random.once(6) ? { ihl: random.pick([4, 6]) } : {}),
        })
  const gre = random.once(2)
  const payload = gre ? [...greHeader(random, family === 4 ? 0x0800 : 0x86dd), ...inner] : [...inner]
  return build.ip({
    src,
    dst,
    proto: gre ? GRE : random.once(12) ? random.pick([IPIP, IPV6, MPLS]) : family === 4 ? IPIP : IPV6,
    payload: random.once(6) ? payload.slice(0, random.below(payload.length)) : payload,
    ...common(w),
    ...(random.once(8) ? { ttl: random.pick([1, 2]) } : {}),
  })
}

/** What GRE may carry in front of IP, and what it is called: right, or with a bit that is not. */
const LINKS: readonly ((random: Wire['random'], inside: number) => readonly [number, readonly number[]])[] = [
  // Ethernet, VLAN tags, PRP and HSR.
  (_, inside) => [0x6558, [...Array<number>(12).fill(2), ...word(inside)]],
  (random, inside) => [random.pick([0x8100, 0x88a8]), [0, 5, ...word(inside)]],
  (_, inside) => [0x8100, [0, 5, ...word(0x8100), 0, 6, ...word(inside)]],
  (random, inside) => [random.pick([0x88fb, 0x892f]), [0, 1, 0, 2, ...word(inside)]],
  // PPPoE, whose PPP has numbers of its own.
  (random, inside) => [
    0x8864,
    [
      ...random.pick([
        [0x11, 0],
        [0x11, 0],
        [0x11, 7],
        [0x21, 0],
      ]),
      ...[0, 9, 0, 60],
      ...word(random.once(3) ? random.pick([0x281, 0x283, 0xc021, 0x21ff, 0x100, 0x101]) : pppOf(inside)),
    ],
  ],
  // batman-adv: a unicast packet of version 15.
  (random, inside) => [
    0x4305,
    [
      random.pick([0x40, 0x40, 0x41]),
      random.pick([15, 15, 14]),
      ...Array<number>(20).fill(3),
      ...word(inside),
    ],
  ],
  // MPLS, TIPC, time, faults, storage, addresses, and nobody knows what.
  (random) => [random.pick([0x8847, 0x8848, 0x88ca, 0x88f7, 0x8902, 0x8906, 0x0806, 0x8035, 0x9000]), []],
  (random) => [random.pick([0x6558, 0x880b, 0x0800, 0x86dd]), []],
]

const word = (n: number): number[] => [n >> 8, n & 255]
const pppOf = (etherType: number): number => (etherType === 0x0800 ? 0x21 : 0x57)

/** RFC 2784 and 2890: flags, version, what is inside; checksum, key and sequence number as the flags say. */
function greHeader(random: Wire['random'], inside: number): number[] {
  if (random.once(8)) return pptpHeader(random, inside)
  const flags = random.pick([0, 0, 0x8000, 0x2000, 0x3000, 0xb000, 0x4000, 0x0001, 0x2001])
  const [type, link] = random.once(4) ? random.pick(LINKS)(random, inside) : [inside, []]
  const words = [0x8000, 0x2000, 0x1000].filter((bit) => (flags & bit) !== 0).length
  return [...word(flags), ...word(type), ...Array.from({ length: words * 4 }, () => random.below(3)), ...link]
}

/** RFC 2637: version 1, length and call, a sequence number and one that is acknowledged, PPP's header. */
function pptpHeader(random: Wire['random'], inside: number): number[] {
  const flags = random.pick([0x2001, 0x3001, 0x3081, 0x2081, 0x3002])
  const words = [0x1000, 0x80].filter((bit) => (flags & bit) !== 0).length
  const ppp = random.once(4) ? 0xc021 : pppOf(inside)
  return [
    ...word(flags),
    ...word(0x880b),
    ...[0, 60, 0, random.below(3)],
    ...Array.from({ length: words * 4 }, () => random.below(3)),
    ...[0xff, 3],
    ...word(ppp),
  ]
}
