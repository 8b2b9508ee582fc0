// Classic BPF: verified as the kernel does (bpf_check_classic of net/core/filter.c, Linux 6.18), then made into one
// JavaScript function. An instruction is four numbers: code, jt, jf, k.
//
//     A, X, M[0..15]: unsigned words     loads are big-endian, from the network header on
//     a load out of bounds, a division by X = 0: the program answers 0
//     a load of what a device is, without one: it answers A, wherever it stands (convert_bpf_extensions())
//
// Jumps only lead forward, so that a `switch` that falls through its cases is the whole machine.

import type { Host } from '../../datapath/host.ts'
import { etherType, hardwareType, writeLinkHeader } from '../../datapath/link-header.ts'
import type { Packet } from '../../datapath/packet.ts'
import { payloadOffset } from '../../datapath/payload-offset.ts'

export interface Instruction {
  readonly code: number
  readonly jt: number
  readonly jf: number
  readonly k: number
}

const LD = 0
const LDX = 1
const ST = 2
const STX = 3
const ALU = 4
const JMP = 5
const RET = 6
const MISC = 7
const W = 0x00
const H = 0x08
const B = 0x10
const IMM = 0x00
const ABS = 0x20
const IND = 0x40
const MEM = 0x60
const LEN = 0x80
const MSH = 0xa0
const ADD = 0x00
const SUB = 0x10
const MUL = 0x20
const DIV = 0x30
const OR = 0x40
const AND = 0x50
const LSH = 0x60
const RSH = 0x70
const NEG = 0x80
const MOD = 0x90
const XOR = 0xa0
const JA = 0x00
const JEQ = 0x10
const JGT = 0x20
const JGE = 0x30
const JSET = 0x40
const X = 0x08
const RET_A = 0x10
const TXA = 0x80

const MEMORY_WORDS = 16
/** Offsets that mean something else than the packet, as unsigned words. */
const AD_OFF = 0xfffff000
const NET_OFF = 0xfff00000
const LL_OFF = 0xffe00000
/** SKF_AD_*: what stands there. */
const AD = {
  Protocol: 0,
  PktType: 4,
  IfIndex: 8,
  NlAttr: 12,
  NlAttrNest: 16,
  Mark: 20,
  Queue: 24,
  HaType: 28,
  RxHash: 32,
  Cpu: 36,
  AluXorX: 40,
  VlanTag: 44,
  VlanTagPresent: 48,
  PayOffset: 52,
  Random: 56,
  VlanTpid: 60,
} as const
const AD_MAX = 64

/** chk_code_allowed(). */
const ALLOWED = new Set<number>()
for (const op of [ADD, SUB, MUL, DIV, OR, AND, LSH, RSH, MOD, XOR]) {
  ALLOWED.add(ALU | op)
  ALLOWED.add(ALU | op | X)
}
ALLOWED.add(ALU | NEG)
for (const size of [W, H, B]) for (const mode of [ABS, IND]) ALLOWED.add(LD | size | mode)
for (const code of [LD | LEN, LD | IMM, LD | MEM, LDX | LEN, LDX | B | MSH, LDX | IMM, LDX | MEM, ST, STX])
  ALLOWED.add(code)
for (const code of [MISC, MISC | TXA, RET, RET | RET_A, JMP | JA]) ALLOWED.add(code)
for (const op of [JEQ, JGE, JGT, JSET]) {
  ALLOWED.add(JMP | op)
  ALLOWED.add(JMP | op | X)
}

const usesMemory = (code: number): boolean =>
  code === ST || code === STX || code === (LD | MEM) || code === (LDX | MEM)

/** bpf_check_classic(): whether the kernel would take the program. */
export function verify(program: readonly Instruction[]): boolean {
  const length = program.length
  for (const [at, { code, jt, jf, k }] of program.entries()) {
    if (!ALLOWED.has(code)) return false
    if ((code === (ALU | DIV) || code === (ALU | MOD)) && k === 0) return false
    if ((code === (ALU | LSH) || code === (ALU | RSH)) && k >= 32) return false
    if (usesMemory(code) && k >= MEMORY_WORDS) return false
    if (code === (JMP | JA) && k >= length - at - 1) return false
    if ((code & 7) === JMP && code !== (JMP | JA) && (at + jt + 1 >= length || at + jf + 1 >= length))
      return false
    // A load from a place beyond the last one that means something.
    if ((code & 0xe7) === (LD | ABS) && k >= AD_OFF && !isAncillary(k - AD_OFF)) return false
  }
  const last = program[length - 1]
  if (last === undefined || (last.code & 7) !== RET) return false
  return loadsAreStored(program)
}

const isAncillary = (at: number): boolean => at < AD_MAX && at % 4 === 0

/** check_load_and_stores(): no word of M is read that no way there has written. */
function loadsAreStored(program: readonly Instruction[]): boolean {
  const valid = new Uint16Array(program.length).fill(0xffff)
  let known = 0
  for (const [at, { code, jt, jf, k }] of program.entries()) {
    known &= valid[at]!
    if (code === ST || code === STX) known |= 1 << k
    else if (code === (LD | MEM) || code === (LDX | MEM)) {
      if ((known & (1 << k)) === 0) return false
    } else if (code === (JMP | JA)) {
      valid[at + 1 + k]! &= known
      known = 0xffff
    } else if ((code & 7) === JMP) {
      valid[at + jt + 1]! &= known
      valid[at + jf + 1]! &= known
      known = 0xffff
    }
  }
  return true
}

/** Whether the program lets the packet pass. Does not allocate, does not throw. */
export type Filter = (pkt: Packet) => boolean

/**
 * bpf_skb_load_helper_convert_offset(): where a negative offset stands, -1 nowhere. The link header is written where it
 * stands in front of the packet, if somebody asks for it.
 */
function specialPlace(pkt: Packet, host: Host, offset: number, size: number): number {
  const word = offset >>> 0
  let at: number
  if (word >= NET_OFF) at = pkt.l3 + (word - NET_OFF)
  else if (word >= LL_OFF && pkt.linkBytes >= 0) {
    at = pkt.l3 - pkt.linkBytes + (word - LL_OFF)
    if (at < pkt.l3) writeLinkHeader(pkt, host.memory)
  } else return -1
  return at + size <= pkt.end ? at : -1
}

const NLA_HEADER_LEN = 4
const NLA_TYPE_MASK = 0x3fff

/** nla_find(): where in [at, end) stands the attribute of a type, -1 nowhere. */
function findAttribute(view: DataView, at: number, end: number, type: number): number {
  while (end - at >= NLA_HEADER_LEN) {
    const length = view.getUint16(at, true)
    if (length < NLA_HEADER_LEN || length > end - at) return -1
    if ((view.getUint16(at + 2, true) & NLA_TYPE_MASK) === type) return at
    at += (length + 3) & ~3
  }
  return -1
}

/** bpf_skb_get_nlattr(), bpf_skb_get_nlattr_nest(): where from byte `a` on stands the attribute of type `x`, 0 nowhere. */
function attribute(pkt: Packet, view: DataView, nested: boolean, a: number, x: number): number {
  const { l3, end } = pkt
  if (pkt.isNonlinear || end - l3 < NLA_HEADER_LEN || a >>> 0 > end - l3 - NLA_HEADER_LEN) return 0
  let at = l3 + a
  let stop = end
  if (nested) {
    stop = at + view.getUint16(at, true)
    if (stop > end) return 0
    at += NLA_HEADER_LEN
  }
  at = findAttribute(view, at, stop, x)
  return at < 0 ? 0 : at - l3
}

/** What an ancillary load gives, of those below 2^31; `a` and `x` as signed words; -1 ends the program, which answers what is in A (the packet has no device). */
function ancillary(pkt: Packet, host: Host, what: number, a: number, x: number): number {
  switch (what) {
    case AD.Protocol:
      return etherType(pkt)
    case AD.PktType:
      return pkt.pktType & 7
    case AD.IfIndex:
      return pkt.device?.index ?? -1
    case AD.HaType:
      return pkt.device === null ? -1 : hardwareType(pkt.device)
    case AD.PayOffset:
      return payloadOffset(pkt, host.memory.view)
    case AD.Queue:
      return pkt.queue
    case AD.NlAttr:
    case AD.NlAttrNest:
      return attribute(pkt, host.memory.view, what === AD.NlAttrNest, a, x)
    default:
      // No hash, other processor or VLAN here.
      return 0
  }
}

/** A program that verify() has passed as a function. Only numbers of it get into the code. */
export function compile(program: readonly Instruction[], host: Host): Filter {
  const body = `return (pkt) => { const base = pkt.l3, end = pkt.end, len = end - base; ${machine(program)} }`
  return new Function('view', 'host', 'special', 'ancillary', body)(
    host.memory.view,
    host,
    specialPlace,
    ancillary,
  ) as Filter
}

/** Whether a frame passes: bytes [base, end) of `view`, `len` on the wire. Does not allocate, does not throw. */
export type FrameFilter = (view: DataView, base: number, end: number, len: number) => boolean

/** The same for frames of a capture, which have no host: bpf_filter() of libpcap. */
export function compileForFrames(program: readonly Instruction[]): FrameFilter {
  const body = `const pkt = null, host = null; return (view, base, end, len) => { ${machine(program)} }`
  const nowhere = (): number => -1
  return new Function('special', 'ancillary', body)(nowhere, nowhere) as FrameFilter
}

/** Instructions as the cases of one `switch`. */
function machine(program: readonly Instruction[]): string {
  const cases = program.map((instruction, at) => `case ${at}: ${statement(instruction, at)}`)
  const memory = Array.from({ length: MEMORY_WORDS }, (_, i) => `m${i} = 0`).join(', ')
  return `let a = 0, x = 0, t = 0, pc = 0, ${memory};
for (;;) switch (pc) {
${cases.join('\n')}
}`
}

const READ: Readonly<Record<number, readonly [size: number, read: string]>> = {
  [W]: [4, 'getUint32'],
  [H]: [2, 'getUint16'],
  [B]: [1, 'getUint8'],
}

/** A load from the packet at `offset`, an expression of a signed word. */
function load(code: number, offset: string): string {
  const [size, read] = READ[code & 0x18]!
  return `t = ${offset}; if (t >= 0) { t += base; if (t + ${size} > end) return false } else if ((t = special(pkt, host, t, ${size})) < 0) return false; a = view.${read}(t);`
}

function statement({ code, jt, jf, k }: Instruction, at: number): string {
  const jump = (by: number): string => (by === 0 ? '' : `{ pc = ${at + 1 + by}; continue }`)
  const source = (code & X) !== 0 ? 'x' : String(k)
  switch (code & 7) {
    case LD:
      switch (code & 0xe0) {
        case IMM:
          return `a = ${k};`
        case MEM:
          return `a = m${k};`
        case LEN:
          return 'a = len;'
        case IND:
          return load(code, `(x + ${k}) | 0`)
        default:
          if (k < AD_OFF) return load(code, String(k | 0))
          if (k - AD_OFF === AD.AluXorX) return 'a = (a ^ x) >>> 0;'
          // Words beyond 2^31, which a call would have to allocate.
          if (k - AD_OFF === AD.Mark) return 'if (pkt === null) return false; a = pkt.mark;'
          if (k - AD_OFF === AD.Random) return 'if (pkt === null) return false; a = host.random.i32() >>> 0;'
          return `t = ancillary(pkt, host, ${k - AD_OFF}, a | 0, x | 0); if (t < 0) return pkt !== null && a !== 0; a = t;`
      }
    case LDX:
      if ((code & 0xe0) === MSH)
        return `t = ${k | 0}; if (t >= 0) { t += base; if (t + 1 > end) return false } else if ((t = special(pkt, host, t, 1)) < 0) return false; x = (view.getUint8(t) & 0xf) << 2;`
      if ((code & 0xe0) === MEM) return `x = m${k};`
      return (code & 0xe0) === LEN ? 'x = len;' : `x = ${k};`
    case ST:
      return `m${k} = a;`
    case STX:
      return `m${k} = x;`
    case ALU:
      switch (code & 0xf0) {
        case ADD:
          return `a = (a + ${source}) >>> 0;`
        case SUB:
          return `a = (a - ${source}) >>> 0;`
        case MUL:
          return `a = Math.imul(a, ${source}) >>> 0;`
        case DIV:
          return `if (${source} === 0) return false; a = Math.floor(a / ${source});`
        case MOD:
          return `if (${source} === 0) return false; a = a % ${source};`
        case OR:
          return `a = (a | ${source}) >>> 0;`
        case AND:
          return `a = (a & ${source}) >>> 0;`
        case XOR:
          return `a = (a ^ ${source}) >>> 0;`
        case LSH:
          return `a = (a << ${source}) >>> 0;`
        case RSH:
          return `a = a >>> ${source};`
        default:
          return 'a = -a >>> 0;'
      }
    case JMP: {
      if ((code & 0xf0) === JA) return k === 0 ? '' : jump(k)
      if (jt === jf) return jump(jt)
      const op = code & 0xf0
      const test =
        op === JEQ
          ? `a === ${source}`
          : op === JGT
            ? `a > ${source}`
            : op === JGE
              ? `a >= ${source}`
              : `(a & ${source}) !== 0`
      if (jt === 0) return `if (!(${test})) ${jump(jf)}`
      return jf === 0 ? `if (${test}) ${jump(jt)}` : `if (${test}) ${jump(jt)} else ${jump(jf)}`
    }
    case RET:
      return (code & 0x18) === RET_A ? 'return a !== 0;' : `return ${k !== 0};`
    default:
      return (code & 0xf8) === TXA ? 'a = x;' : 'x = a;'
  }
}
