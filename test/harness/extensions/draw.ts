// What an entry of the tables of matches and targets draws from: the world of the scenario, where the rule stands,
// and frames like those that the scenario will send. Values come out at, just inside or just outside what these have.

import type { SeededRandom } from '../frames.ts'
import type { Kind, World } from '../generate-world.ts'
import { headersOf } from '../headers.ts'
import type { Family } from '../scenario.ts'

export type Table = 'raw' | 'mangle' | 'nat' | 'filter' | 'security'
export type Hook = 'PREROUTING' | 'INPUT' | 'FORWARD' | 'OUTPUT' | 'POSTROUTING'

export interface Place {
  readonly table: Table
  /** Every hook the rule can be reached from. */
  readonly hooks: readonly Hook[]
  readonly builtin: boolean
}

/** One extension. A new extension is one of these. */
export interface Entry {
  readonly name: string
  /** For which the entry is; default both, as far as the extension is. */
  readonly families?: readonly Family[]
  /** The protocol whose match it is, if that has another name. */
  readonly own?: string
  /** Protocols of which the rule must name one. */
  readonly protocols?: readonly string[]
  readonly tables?: readonly Table[]
  /** Hooks from which alone it may be reached. */
  readonly hooks?: readonly Hook[]
  /** Only where this is so; default everywhere. */
  fits?(d: Draw): boolean
  /** Only where the scenario has sets. */
  readonly sets?: boolean
  /** Starts connection tracking. */
  readonly tracks?: boolean
  /** How often it is drawn, 1 unless said; by profile. */
  weight?(profile: Kind): number
  /** What follows `-m NAME` or `-j NAME`. */
  draw(d: Draw): string
}

const u16 = (b: Uint8Array, at: number): number => ((b[at] ?? 0) << 8) | (b[at + 1] ?? 0)
const u32 = (b: Uint8Array, at: number): number => u16(b, at) * 0x10000 + u16(b, at + 2)

const NUMBERS: Readonly<Record<string, number>> = {
  icmp: 1,
  tcp: 6,
  udp: 17,
  dccp: 33,
  esp: 50,
  ah: 51,
  ipcomp: 108,
  sctp: 132,
  udplite: 136,
  'ipv6-icmp': 58,
  'ipv6-mh': 135,
}

/** Protocols whose header begins with two ports. */
export const PORTED: readonly string[] = ['tcp', 'udp', 'udplite', 'sctp', 'dccp']

/** A frame and where its transport header is. */
export class Sample {
  readonly bytes: Uint8Array
  readonly l4: number
  constructor(bytes: Uint8Array) {
    this.bytes = bytes
    this.l4 = headersOf(bytes)?.l4 ?? (bytes.length >= 40 ? 40 : 20)
  }
  get six(): boolean {
    return this.u8(0) >> 4 === 6
  }
  /** TOS or traffic class. */
  get tos(): number {
    return this.six ? (this.u16(0) >> 4) & 0xff : this.u8(1)
  }
  /** TTL or hop limit. */
  get ttl(): number {
    return this.u8(this.six ? 7 : 8)
  }
  get length(): number {
    return this.bytes.length
  }
  u8(at: number): number {
    return this.bytes[at] ?? 0
  }
  u16(at: number): number {
    return u16(this.bytes, at)
  }
  u32(at: number): number {
    return u32(this.bytes, at)
  }
}

export class Draw {
  readonly random: SeededRandom
  readonly world: World
  readonly profile: Kind
  readonly place: Place
  /** Of the rule; '' if it names none, or all but one. */
  readonly protocol: string
  /** Wall clock when the scenario begins, milliseconds. */
  readonly wall: number
  readonly #frames: readonly Uint8Array[]

  constructor(
    o: Pick<Draw, 'random' | 'world' | 'profile' | 'place' | 'protocol' | 'wall'> & {
      readonly frames: readonly Uint8Array[]
    },
  ) {
    this.random = o.random
    this.world = o.world
    this.profile = o.profile
    this.place = o.place
    this.protocol = o.protocol
    this.wall = o.wall
    this.#frames = o.frames
  }

  get family(): Family {
    return this.world.family
  }

  /** The first for IPv4, the second for IPv6. */
  by<T>(four: T, six: T): T {
    return this.family === 4 ? four : six
  }

  can(hook: Hook): boolean {
    return this.place.hooks.includes(hook)
  }

  only(...hooks: readonly Hook[]): boolean {
    return this.place.hooks.every((h) => hooks.includes(h))
  }

  /** `! ` now and then. */
  not(oneIn = 6): string {
    return this.random.once(oneIn) ? '! ' : ''
  }

  pick<T>(list: readonly T[]): T {
    return this.random.pick(list)
  }

  /** One to three of them, in any order. */
  some<T>(list: readonly T[]): T[] {
    const rest = [...list]
    const out: T[] = []
    for (let n = 1 + this.random.below(Math.min(3, list.length)); n > 0; n--)
      out.push(...rest.splice(this.random.below(rest.length), 1))
    return out
  }

  /** `n`, one less or one more. */
  near(n: number, max = 0xffffffff, min = 0): number {
    return Math.min(max, Math.max(min, n + this.pick([0, 0, -1, 1])))
  }

  /** `n` or `from:to` with one of its ends near `n`; `strict`: two different ones. */
  range(n: number, max: number, between = ':', open = true, strict = false): string {
    const { random } = this
    const at = this.near(n, strict ? max - 1 : max, strict ? 1 : 0)
    const away = random.pick([0, 1, 2, 100, 1000])
    switch (random.below(open ? 5 : 3)) {
      case 0:
        return String(at)
      case 1:
        return `${at}${between}${Math.min(max, at + away + (strict ? 1 : 0))}`
      case 2:
        return `${Math.max(0, at - away - (strict ? 1 : 0))}${between}${at}`
      case 3:
        return `${at}${between}`
      default:
        return `${between}${at}`
    }
  }

  /** A frame, of the rule's protocol if it names one and there are any. */
  frame(protocol = this.protocol): Sample {
    const number = NUMBERS[protocol] ?? Number(protocol)
    const fit =
      protocol === '' || Number.isNaN(number)
        ? []
        : this.#frames.filter((f) => f.length > 20 && headersOf(f)?.protocol === number)
    const list = fit.length > 0 ? fit : this.#frames
    return new Sample(list.length > 0 ? this.pick(list) : new Uint8Array(this.family === 4 ? 20 : 40))
  }

  /** The first frames, as many as asked for. */
  first(n: number): readonly Uint8Array[] {
    return this.#frames.slice(0, n)
  }

  address(): string {
    const { random, world } = this
    return random.pick(random.once(3) ? world.own : world.peers.map((p) => p.address))
  }

  port(): number {
    const { random, world } = this
    if (PORTED.includes(this.protocol) && random.once(2)) {
      const f = this.frame()
      return f.u16(f.l4 + random.pick([0, 2]))
    }
    return random.once(12)
      ? random.below(65536)
      : random.pick(random.once(3) ? world.clientPorts : world.serverPorts)
  }

  ports(): string {
    return this.random.once(3) ? this.range(this.port(), 65535) : String(this.port())
  }

  mark(): string {
    return hex(this.random.once(5) ? 0 : this.pick(this.world.marks))
  }

  markMask(): string {
    return `${this.mark()}${this.pick(['', '', '/0xff', '/0xffff', '/0x1', '/0xf0000', '/0xffffffff', '/0x0'])}`
  }
}

export const hex = (n: number, digits = 0): string => `0x${(n >>> 0).toString(16).padStart(digits, '0')}`
