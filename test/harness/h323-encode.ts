// Messages of H.323 in packed encoding, drawn at random from the descriptions that conntrack's helper reads by: what is
// wanted is there, of the rest now and then something. (The kernel reads them by its own.)

import type { Count, Type } from '../../conntrack/helpers/h323-per.ts'
import { parseIpv4, parseIpv6 } from '../../datapath/wire/address.ts'
import type { SeededRandom } from './frames.ts'

export interface Place {
  readonly address: string
  readonly port: number
}

export interface Wish {
  readonly random: SeededRandom
  /** Names of fields and alternatives to be there. */
  readonly want: ReadonlySet<string>
  /** The address for the innermost named field around it. */
  place(name: string): Place
  /** Every length is right. Else one in sixty is off by one, and what comes behind is read from the wrong place. */
  readonly honest?: boolean
}

class BitWriter {
  readonly #bytes: number[] = []
  /** Bits of the last byte that are written; 8: all. */
  #used = 8

  put(value: number, bits: number): void {
    for (let left = bits; left > 0; ) {
      if (this.#used === 8) {
        this.#bytes.push(0)
        this.#used = 0
      }
      const some = Math.min(left, 8 - this.#used)
      left -= some
      const part = Math.floor(value / 2 ** left) & ((1 << some) - 1)
      this.#bytes[this.#bytes.length - 1]! |= part << (8 - this.#used - some)
      this.#used += some
    }
  }

  align(): void {
    this.#used = 8
  }

  bytes(list: Iterable<number>): void {
    for (const b of list) this.put(b, 8)
  }

  done(): Uint8Array {
    return Uint8Array.from(this.#bytes)
  }
}

/** X.691's length, up to 16383. */
function length(w: BitWriter, n: number): void {
  w.align()
  if (n < 128) w.put(n, 8)
  else w.put(0x8000 | n, 16)
}

function count(w: BitWriter, how: Count, n: number): void {
  if (typeof how === 'number') w.put(n, how)
  else if (how === 'length') length(w, n)
  else {
    w.align()
    w.put(n, how === 'byte' ? 8 : 16)
  }
  w.align()
}

const ADDRESSES: readonly string[] = ['ip', 'network']
/** Alternatives that say nothing of what an address is for. */
const KINDS: ReadonlySet<string> = new Set([
  'ipAddress',
  'ip6Address',
  'iPAddress',
  'iP6Address',
  'unicastAddress',
])
const nameOf = ({ name }: Type, around: string): string =>
  name === undefined || KINDS.has(name) ? around : name

export function addressBytes(address: string): number[] {
  const words = address.includes(':') ? parseIpv6(address)! : [parseIpv4(address)!]
  return words.flatMap((word) => [word >>> 24, (word >>> 16) & 255, (word >>> 8) & 255, word & 255])
}

const noise = (random: SeededRandom, most: number): number[] =>
  Array.from({ length: random.below(most) }, () => random.below(256))

/** Names anywhere inside a type, so that the way to what is wanted is found. */
const inside = new WeakMap<Type, Set<string>>()
function namesIn(type: Type): Set<string> {
  let names = inside.get(type)
  if (names !== undefined) return names
  names = new Set(type.name === undefined ? [] : [type.name])
  inside.set(type, names)
  const parts =
    type.is === 'sequence'
      ? [...type.fields, ...Object.values(type.additions?.kept ?? {})]
      : type.is === 'choice'
        ? [...type.of, ...Object.values(type.additions?.kept ?? {})]
        : type.is === 'list'
          ? [type.item]
          : []
  for (const part of parts) for (const name of namesIn(part)) names.add(name)
  return names
}

const wanted = (type: Type, { want }: Wish): boolean => type.name !== undefined && want.has(type.name)

/** One value. `name`: of the innermost named field around it. */
function put(w: BitWriter, type: Type, wish: Wish, around: string): void {
  const { random } = wish
  const name = nameOf(type, around)
  switch (type.is) {
    case 'nothing':
      return
    case 'stop':
      w.align()
      w.bytes(noise(random, 6))
      return
    case 'bits':
      w.put(random.below(2 ** type.bits), type.bits)
      return
    case 'bytes':
      w.align()
      w.bytes(Array.from({ length: type.bytes }, () => random.below(256)))
      return
    case 'number': {
      const size = 1 + random.below(4)
      w.put(size - 1, 2)
      w.align()
      // Beyond 8589934 s the clock's 32 bits are too few: at once, or alive again when they have come round.
      const value = random.pick([0, 1, 60, 299, 3600, 100_000, 8_589_000, 8_600_000, 17_179_869, 0xfffffffe])
      w.put(value % 2 ** (8 * size), 8 * size)
      return
    }
    case 'string': {
      const most = typeof type.count === 'number' ? Math.min(12, 2 ** type.count) : 12
      const units = random.below(most)
      count(w, type.count, units)
      for (let n = units + type.least; n > 0; n--) w.put(random.below(2 ** type.unit), type.unit)
      return
    }
    case 'open': {
      const bytes = noise(random, 8)
      w.put(bytes.length, 8)
      w.bytes(bytes)
      return
    }
    case 'list': {
      const some = name === around && !type.wrapped ? 3 : random.once(20) ? 40 : 4
      const n = type.name === undefined ? random.below(3) : random.once(12) ? 0 : 1 + random.below(some)
      length(w, n)
      for (let i = 0; i < n; i++)
        if (type.wrapped) wrapped(w, type.item, wish, name)
        else put(w, type.item, wish, name)
      return
    }
    case 'sequence':
      sequence(w, type, wish, name)
      return
    case 'choice':
      choice(w, type, wish, name)
      return
  }
}

function wrapped(w: BitWriter, type: Type | null, wish: Wish, name: string): void {
  const { random } = wish
  const own = new BitWriter()
  if (type !== null) put(own, type, wish, name)
  else own.bytes(noise(random, 5))
  const bytes = own.done()
  length(
    w,
    random.once(60) && wish.honest !== true ? Math.max(0, bytes.length + random.pick([-1, 1])) : bytes.length,
  )
  w.bytes(bytes)
}

function sequence(w: BitWriter, type: Type & { is: 'sequence' }, wish: Wish, name: string): void {
  const { random } = wish
  const { additions } = type
  const there = type.fields.map(
    (f) =>
      f.optional !== true || (wanted(f, wish) ? !random.once(20) : random.once(f.name === undefined ? 5 : 3)),
  )
  const more: (Type | null)[] = []
  const present: boolean[] = []
  if (additions !== null) {
    for (let i = 0; i < additions.known; i++) {
      const kept = additions.kept[i] ?? null
      const behind = additions.stop !== undefined && i >= additions.stop
      more.push(kept)
      present.push(
        kept !== null
          ? wanted(kept, wish)
            ? !random.once(20)
            : random.once(4)
          : random.once(behind ? 30 : 8),
      )
    }
    if (random.once(40)) {
      more.push(null)
      present.push(random.once(2))
    }
    while (present.length > 0 && present.at(-1) === false && !random.once(20)) {
      present.pop()
      more.pop()
    }
    w.put(present.length > 0 ? 1 : 0, 1)
  }
  type.fields.forEach((f, i) => {
    if (f.is === 'stop') w.put(random.below(2 ** f.behind), f.behind)
    else if (f.optional === true) w.put(there[i] ? 1 : 0, 1)
  })
  let port = -1
  type.fields.forEach((f, i) => {
    if (!there[i]) return
    if (f.is === 'bytes' && f.name !== undefined && ADDRESSES.includes(f.name)) {
      const place = wish.place(name)
      const bytes = addressBytes(place.address)
      w.align()
      w.bytes(bytes.length === f.bytes ? bytes : Array.from({ length: f.bytes }, () => random.below(256)))
      port = place.port
    } else if (port >= 0) {
      w.align()
      w.put(port, 16)
      port = -1
    } else put(w, f, wish, name)
  })
  if (present.length === 0) return
  w.put(present.length - 1, 7)
  for (const p of present) w.put(p ? 1 : 0, 1)
  w.align()
  present.forEach((p, i) => {
    // The kernel wants whatever it does not know to be there.
    if (p || i >= additions!.known) wrapped(w, more[i]!, wish, name)
  })
}

function choice(w: BitWriter, type: Type & { is: 'choice' }, wish: Wish, name: string): void {
  const { random } = wish
  const { additions } = type
  const options = [
    ...type.of.map((t, i) => ({ type: t as Type | null, index: i, more: false })),
    ...Object.entries(additions?.kept ?? {}).map(([i, t]) => ({ type: t, index: Number(i), more: true })),
  ]
  const good = options.filter((o) => o.type !== null && wanted(o.type, wish))
  const near = options.filter((o) => o.type !== null && [...namesIn(o.type)].some((n) => wish.want.has(n)))
  let one = random.pick(good.length > 0 ? good : near.length > 0 ? near : options)
  if (random.once(good.length > 0 ? 40 : 8))
    one =
      additions !== null && random.once(4)
        ? { type: null, index: random.below(additions.known + 2), more: true }
        : random.pick(options)
  if (additions !== null) w.put(one.more ? 1 : 0, 1)
  if (!one.more) {
    w.put(one.index, type.bits)
    put(w, one.type!, wish, name)
    return
  }
  w.put(one.index, 7)
  w.align()
  wrapped(w, one.type, wish, name)
}

/** One message of the type. */
export function encode(type: Type, wish: Wish): Uint8Array {
  const w = new BitWriter()
  put(w, type, wish, '')
  return w.done()
}

/** User information among other information elements of Q.931. */
export function q931(random: SeededRandom, information: Uint8Array): Uint8Array {
  const out = [random.once(40) ? random.pick([0x09, 0]) : 0x08, 2, 0, 1, random.pick([5, 2, 7, 1, 0x62, 3])]
  // A shift, or the most significant bit of a first element.
  if (random.once(30)) out.push(0x90)
  for (let n = random.below(3); n > 0; n--) {
    const data = noise(random, 6)
    out.push(random.pick([0x04, 0x28, 0x6c, 0x70]), data.length, ...data)
  }
  const size = information.length + 1
  out.push(0x7e, size >> 8, size & 255, 0x05, ...information)
  if (random.once(12)) out.push(...noise(random, 6))
  return Uint8Array.from(out)
}

/** With TPKT's header. */
export const tpkt = (random: SeededRandom, message: Uint8Array): Uint8Array => {
  const size = message.length + 4 + (random.once(40) ? random.pick([-1, 1, 5]) : 0)
  return Uint8Array.from([3, 0, size >> 8, size & 255, ...message])
}

/** Now and then a little damage: bits turned, cut short, something behind. */
export function damaged(random: SeededRandom, message: Uint8Array): Uint8Array {
  if (!random.once(8) || message.length < 2) return message
  const out = Uint8Array.from(message)
  switch (random.below(4)) {
    case 0:
      return out.subarray(0, 1 + random.below(out.length - 1))
    case 1:
      return Uint8Array.from([...out, ...noise(random, 12)])
    default:
      for (let n = 1 + random.below(3); n > 0; n--) out[random.below(out.length)]! ^= 1 << random.below(8)
      return out
  }
}
