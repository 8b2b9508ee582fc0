// Classic BPF for the match of that name: one load and one comparison, or a program of a few steps that goes through
// everything the machine has, as `nfbpf_compile` and people who write their own make them.

import type { Draw } from './draw.ts'

/** code, jt, jf, k. */
type Instruction = readonly [number, number, number, number]

/** Offsets that mean something else than the packet (SKF_NET_OFF, SKF_LL_OFF, SKF_AD_OFF), as unsigned words. */
const NET_OFF = 0xfff00000
const LL_OFF = 0xffe00000
const AD_OFF = 0xfffff000
/** Of SKF_AD_*: attribute, nested one, mark, hash, XOR, VLAN, VLAN there, payload, VLAN's protocol; and those of VALUES. */
const ANCILLARY = [0, 4, 8, 12, 16, 20, 24, 28, 32, 40, 44, 48, 52, 52, 52, 60]
/** What some of them may come to: protocol, packet type, interface, queue, kind of hardware (ARPHRD_LOOPBACK, ARPHRD_NONE). */
const VALUES: Readonly<Record<number, readonly number[]>> = {
  0: [0x0800, 0x86dd],
  4: [0, 1, 2, 5],
  8: [1, 2, 3, 4],
  24: [0, 1],
  28: [772, 0xfffe],
}
/** Bytes of the link header that what came back by lo has. */
const ETHERNET = 14
/** SKF_AD_NLATTR, SKF_AD_NLATTR_NEST: from A on, of the type in X. */
const ATTRIBUTE = 12
const NESTED = 16
const LOADS = { 1: 48, 2: 40, 4: 32 } as const
/** Indexed by X. */
const INDEXED = 32
/** ADD SUB MUL DIV OR AND LSH RSH MOD XOR, by a constant. */
const ARITHMETIC = [0x04, 0x14, 0x24, 0x34, 0x44, 0x54, 0x64, 0x74, 0x94, 0xa4]
const BY_X = 8
/** JEQ JGT JGE JSET. */
const JUMPS = [0x15, 0x25, 0x35, 0x45]
const RET_K = 6
const RET_A = 22

const print = (program: readonly Instruction[]): string =>
  `--bytecode "${program.length},${program.map((i) => i.join(' ')).join(',')}"`

/** One load, one comparison. `steady`: whether so many bytes at an offset say nothing that is drawn. */
export function comparison(d: Draw, steady: (at: number, width: number) => boolean): string {
  const f = d.frame()
  const width = d.pick([1, 2, 4] as const)
  const drawn = d.random.once(4) ? Math.max(0, d.near(f.length - width, 0xffff)) : d.random.below(f.l4 + 12)
  const at = steady(drawn, width) ? drawn : 6
  const read = width === 1 ? f.u8(at) : width === 2 ? f.u16(at) : f.u32(at)
  const indexed = at >= f.l4 && d.random.once(2)
  const length = !indexed && d.random.once(8)
  const load: Instruction[] = indexed
    ? [
        [177, 0, 0, 0],
        [LOADS[width] + INDEXED, 0, 0, at - f.l4],
      ]
    : [length ? [128, 0, 0, 0] : [LOADS[width], 0, 0, at]]
  const value = length ? d.near(f.length) : d.near(read)
  return print([...load, [d.pick(JUMPS), 0, 1, value], [RET_K, 0, 0, d.pick([1, 65535])], [RET_K, 0, 0, 0]])
}

/** What a packet is to the machine besides its bytes, and those in front of it: one load, one comparison. */
export function metadata(d: Draw, steady: (at: number, width: number) => boolean): string {
  const { random } = d
  if (random.once(5)) return attributes(d)
  const f = d.frame()
  const [load, value] = ((): [Instruction, number] => {
    if (random.once(2)) {
      const what = Number(d.pick(Object.keys(VALUES)))
      return [[d.pick(Object.values(LOADS)), 0, 0, AD_OFF + what], d.pick(VALUES[what]!)]
    }
    const width = d.pick([1, 2, 4] as const)
    const off = d.pick([NET_OFF, LL_OFF, LL_OFF])
    const end = random.once(6)
    const drawn = end ? Math.max(0, d.near(f.length - width, 0xffff)) : random.below(ETHERNET + f.l4)
    const read = (from: number): number =>
      width === 1 ? f.u8(from) : width === 2 ? f.u16(from) : f.u32(from)
    // With a link header in front, bytes of the packet stand so much later; none of them may be one that is drawn.
    const known = steady(drawn, width) && (drawn < ETHERNET || steady(drawn - ETHERNET, width))
    const at = known && (drawn + width <= ETHERNET || drawn >= ETHERNET) ? drawn : 6
    const values = [0, 8, 0x0800, 0x86dd, read(at), at < ETHERNET ? 0 : read(at - ETHERNET)]
    return [[LOADS[width], 0, 0, off + at], d.pick(values)]
  })()
  const a = d.pick([0, 1])
  const compare = d.pick(JUMPS.slice(0, random.once(3) ? 4 : 1))
  return print([[0, 0, 0, a], load, [compare, 0, 1, value], [RET_K, 0, 0, 1], [RET_K, 0, 0, 0]])
}

/** Looks for an attribute behind the headers, or for one inside of another. */
function attributes(d: Draw): string {
  const f = d.frame()
  const look = (): Instruction => [d.pick(Object.values(LOADS)), 0, 0, AD_OFF + d.pick([ATTRIBUTE, NESTED])]
  const type = (): Instruction => [1, 0, 0, d.pick([0, 1, 2, 3, 4, 5, 0x8001])]
  const from = d.pick([f.l4 + 8, f.l4 + 8, f.l4 + 12, 4090, 0xffffffff])
  const steps = [type(), [0, 0, 0, from] as const, look(), ...(d.random.once(2) ? [type(), look()] : [])]
  if (d.random.once(2)) return print([...steps, [RET_A, 0, 0, 0]])
  const value = d.pick([0, f.l4 + 8, f.l4 + 12, 1000, 4096])
  return print([...steps, [d.pick(JUMPS), 0, 1, value], [RET_K, 0, 0, 1], [RET_K, 0, 0, 0]])
}

/** One step of those with `left` behind them; `stored`: the word of M that has been written. */
function step(d: Draw, left: number, stored: number): Instruction {
  const { random } = d
  const f = d.frame()
  const place = (width: number): number =>
    random.once(6) ? Math.max(0, d.near(f.length - width, 0xffff)) : random.below(f.l4 + 16)
  const width = d.pick([1, 2, 4] as const)
  const value = (): number => d.pick([0, 1, 4, 0xff, 0xffff, 0xffffffff, random.u32(), random.below(64)])
  switch (random.below(14)) {
    case 0:
    case 1:
    case 2:
      return [LOADS[width], 0, 0, place(width)]
    case 3:
      return [LOADS[width] + INDEXED, 0, 0, random.once(6) ? d.pick([NET_OFF, LL_OFF]) : random.below(24)]
    case 4:
      return [LOADS[width], 0, 0, d.pick([NET_OFF, LL_OFF, LL_OFF + ETHERNET]) + place(width)]
    case 5:
      return [d.pick(Object.values(LOADS)), 0, 0, AD_OFF + d.pick(ANCILLARY)]
    case 6:
      return d.pick<Instruction>([
        [177, 0, 0, d.pick([0, f.l4, f.l4 + 12, NET_OFF, LL_OFF, LL_OFF + ETHERNET])],
        [1, 0, 0, value()],
        [0, 0, 0, value()],
        [128, 0, 0, 0],
        [129, 0, 0, 0],
        [7, 0, 0, 0],
        [135, 0, 0, 0],
        [0x84, 0, 0, 0],
      ])
    case 7:
    case 8: {
      const code = d.pick(ARITHMETIC)
      if (random.once(3)) return [code + BY_X, 0, 0, 0]
      return [code, 0, 0, code === 0x64 || code === 0x74 ? random.below(32) : Math.max(1, value())]
    }
    case 9:
      return [d.pick([2, 3]), 0, 0, random.below(16)]
    case 10:
      return [d.pick([0x60, 0x61]), 0, 0, stored]
    case 11:
      if (random.once(3)) return [5, 0, 0, random.below(left)]
      return [d.pick(JUMPS) + BY_X, random.below(left), random.below(left), 0]
    default:
      return [
        d.pick(JUMPS),
        random.below(left),
        random.below(left),
        random.once(2) ? d.near(f.u8(place(1))) : value(),
      ]
  }
}

/** Some steps, and what they come to. The kernel takes every one: what is read of M was written before all else. */
export function program(d: Draw): string {
  const stored = d.random.below(16)
  const steps = 2 + d.random.below(9)
  const body = Array.from({ length: steps }, (_, n) => step(d, steps - n + 1, stored))
  const end = d.random.once(2) ? RET_A : RET_K
  return print([
    [2, 0, 0, stored],
    ...body,
    [end, 0, 0, end === RET_A ? 0 : d.pick([0, 1])],
    [RET_K, 0, 0, d.pick([1, 65535])],
  ])
}
