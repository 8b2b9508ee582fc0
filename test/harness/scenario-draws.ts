// Random ports are not masked but drawn alike: when NAT asks for a random number in a step, it is given one that
// leads to the port which the kernel drew there. So what follows from a draw (the same source keeps its port, a
// port is taken, a range is full) is compared exactly as well.
//
//     kernel's frame of the step ─┐
//     kernel's flow, else ────────┴─ ports that changed ─ a number that leads NAT to them

import type { Random } from '../../datapath/host.ts'
import { addressAt, l4Of, protocolOf } from './conversation.ts'
import { SeededRandom } from './frames.ts'
import type { Run, Scenario, StepRun } from './scenario.ts'

const ICMP = 1
const u16 = (b: Uint8Array, at: number): number => (b[at]! << 8) | b[at + 1]!

/** Ports, or the identifier of an ICMP echo twice; null where there are none. */
function portsOf(frame: Uint8Array): [number, number] | null {
  if (frame.length < 28 || frame[0]! >> 4 !== 4 || (u16(frame, 6) & 0x1fff) !== 0) return null
  const l4 = l4Of(frame)
  if (l4 + 8 > frame.length) return null
  switch (protocolOf(frame)) {
    case ICMP:
      return [0, 8, 13, 14, 15, 16, 17, 18].includes(frame[l4]!)
        ? [u16(frame, l4 + 4), u16(frame, l4 + 4)]
        : null
    case 6:
    case 17:
    case 132:
    case 136:
      return [u16(frame, l4), u16(frame, l4 + 2)]
  }
  return null
}

/** Ports after translation, where they changed. */
interface Drawn {
  readonly source: number | null
  readonly destination: number | null
}

/** Randomness that repeats the kernel's draws of ports. */
export class DrawnRandom implements Random {
  readonly #plain = new SeededRandom(0x7075)
  /** Port ranges of the rules: first port, number of ports; narrow ones first. */
  readonly #ranges: [number, number][] = []
  readonly #flows = new Map<string, Drawn>()
  /** Ports of fragmented packets. */
  readonly #first = new Map<string, [number, number]>()
  /** The 16 bits of the next draws; the last one stays. */
  #next: (number | null)[] = []

  constructor(scenario: Scenario, kernel: Run) {
    for (const [, a, b] of scenario.iptables.matchAll(
      /(?:--to-ports |--to-(?:source|destination) \S*:)(\d+)-(\d+)/g,
    ))
      this.#ranges.push([Number(a), Number(b) - Number(a) + 1])
    this.#ranges.sort((x, y) => x[1] - y[1])
    for (const line of kernel.conntrack) {
      const values = (key: string): string[] =>
        [...line.matchAll(new RegExp(`\\b${key}=(\\S+)`, 'g'))].map((m) => m[1]!)
      // An echo has its identifier for both ports, both ways.
      const ids = values('id')
      const [from, replyFrom] = ids.length > 0 ? ids : values('sport')
      const [to, replyTo] = ids.length > 0 ? ids : values('dport')
      if (from === undefined || replyTo === undefined) continue
      const kind = ids.length > 0 ? `${values('type')[0]}/${values('code')[0]}` : ''
      this.#flows.set(
        `${line.split(/\s+/)[3]} ${values('src')[0]} ${values('dst')[0]} ${from} ${to} ${kind}`,
        {
          source: replyTo === from ? null : Number(replyTo),
          destination: replyFrom === to || ids.length > 0 ? null : Number(replyFrom),
        },
      )
    }
  }

  /** Looks at what the kernel did with the frame that goes in now. */
  prepare(step: StepRun): void {
    this.#next = []
    const { injected } = step
    if (injected === null) return
    const went = this.#portsOf(injected)
    const fresh = (port: number): number | null => (port === 0 || went?.includes(port) === true ? null : port)
    for (const { bytes } of step.sent) {
      const came = portsOf(bytes)
      if (came === null) continue
      const icmp = protocolOf(bytes) === ICMP
      const drawn = { source: fresh(came[0]), destination: icmp ? null : fresh(came[1]) }
      if (drawn.source === null && drawn.destination === null) continue
      this.#aim(drawn, icmp)
      return
    }
    if (went === null) return
    const icmp = protocolOf(injected) === ICMP
    const l4 = l4Of(injected)
    const kind = icmp ? `${injected[l4]}/${injected[l4 + 1]}` : ''
    const ends = `${addressAt(injected, 12)} ${addressAt(injected, 16)}`
    const drawn = this.#flows.get(`${protocolOf(injected)} ${ends} ${went[0]} ${went[1]} ${kind}`)
    if (drawn !== undefined) this.#aim(drawn, icmp)
  }

  /** Ports of a packet, of later fragments those of the first one. */
  #portsOf(frame: Uint8Array): [number, number] | null {
    if (frame.length < 20) return null
    const key = `${u16(frame, 4)} ${frame[9]} ${addressAt(frame, 12)} ${addressAt(frame, 16)}`
    const ports = portsOf(frame)
    if (ports !== null && (u16(frame, 6) & 0x2000) !== 0) this.#first.set(key, ports)
    return ports ?? this.#first.get(key) ?? null
  }

  /** Sets the 16 bits from which nf_nat_l4proto_unique_tuple() arrives at the ports; not 0, see u32(). */
  #aim({ source, destination }: Drawn, icmp: boolean): void {
    const inside = (port: number): [number, number] | undefined =>
      this.#ranges.find(([min, size]) => port >= min && port < min + size)
    const asked: [number, [number, number]][] = []
    if (source !== null && source !== 0)
      asked.push([
        source,
        inside(source) ??
          (icmp ? [0, 65536] : source < 512 ? [1, 511] : source < 1024 ? [600, 424] : [1024, 64512]),
      ])
    // Destinations are drawn only from ranges that a rule names.
    const range = destination === null ? undefined : inside(destination)
    if (range !== undefined) asked.push([destination!, range])
    const leading = (wanted: typeof asked): number | null => {
      for (let n = 1; n < 65536; n++)
        if (wanted.every(([port, [min, size]]) => min + (n % size) === port)) return n
      return null
    }
    if (asked.length === 0) return
    const both = leading(asked)
    // No number leads to both: then destination NAT comes first.
    this.#next = both === null ? [leading(asked.slice(1)), leading(asked.slice(0, 1))] : [both]
  }

  /** Identifications are drawn here too, and the kernel never draws an identification of 0. */
  u32(): number {
    const plain = this.#plain.u32()
    const wanted = this.#next[0] ?? null
    if (this.#next.length > 1) this.#next.shift()
    return wanted === null ? plain : ((plain & 0xffff0000) | wanted) >>> 0
  }
}
