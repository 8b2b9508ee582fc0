// Random ports are not masked but drawn alike: when NAT asks for a random number in a step, it is given one that
// leads to the port which the kernel drew there. So what follows from a draw (the same source keeps its port, a
// port is taken, a range is full) is compared exactly as well.
//
//     kernel's frame of the step ─┐
//     kernel's flow, else ────────┴─ ports that changed ─ a number that leads NAT to them

import type { Random } from '../../datapath/host.ts'
import { SeededRandom } from './frames.ts'
import { type Headers, headersOf, ICMP, ICMPV6, isIcmp, isIpv6, numberOf, TCP, u16, u32 } from './headers.ts'
import { allRules, hasHelpers, type Run, type Scenario, type StepRun } from './scenario.ts'
import { announcedDraws, joined } from './scenario-draws-helpers.ts'

const REDIRECT = 137
/** Behind two addresses and the head of its option. */
const REDIRECTED_AT = 48

/** Types that have an identifier. */
const IDENTIFIED: Readonly<Record<number, readonly number[]>> = {
  [ICMP]: [0, 8, 13, 14, 15, 16, 17, 18],
  [ICMPV6]: [128, 129, 139, 140],
}

/** Half the types of ICMPv6's echoes, 128 and 129. */
const ECHOES = 64

/** Ports, or the identifier of an ICMP echo twice; null where there are none. */
function portsOf(frame: Uint8Array, { l4, protocol, fragment }: Headers): [number, number] | null {
  if ((fragment !== null && fragment.offset > 0) || l4 + 8 > frame.length) return null
  switch (protocol) {
    case ICMP:
    case ICMPV6:
      return IDENTIFIED[protocol]!.includes(frame[l4]!) ? [u16(frame, l4 + 4), u16(frame, l4 + 4)] : null
    case TCP:
    case 17:
    case 132:
    case 136:
      return [u16(frame, l4), u16(frame, l4 + 2)]
  }
  return null
}

/** The packet that a redirect is about, as it was behind PREROUTING; null for other frames. */
function redirected(frame: Uint8Array): Uint8Array | null {
  const h = headersOf(frame)
  return h?.protocol === ICMPV6 && frame[h.l4] === REDIRECT ? frame.subarray(h.l4 + REDIRECTED_AT) : null
}

/** What a packet passed on keeps: its identification, and TCP its sequence number, which a reset has anew. */
function sameNumbers(a: Uint8Array, x: Headers, b: Uint8Array, y: Headers): boolean {
  if (x.family !== y.family) return false
  // A later fragment of IPv6 names what the first one begins with, which may be another header than that of transport.
  const later = y.family === 6 && y.fragment !== null && y.fragment.offset > 0 && !(y.protocol in NAMES)
  if (x.protocol !== y.protocol && !later) return false
  const sequence = x.protocol !== TCP || u32(a, x.l4 + 4) === u32(b, y.l4 + 4)
  // The last fragment says little of the packet that it makes whole: an answer to it would be another protocol's.
  if (x.family === 6 && y.fragment !== null && (y.fragment.more || y.fragment.offset > 0))
    return isIcmp(x.protocol) ? a[x.l4]! >> 1 === ECHOES : sequence || y.fragment.offset > 0
  // TCPMSS makes a segment longer, ECN changes the two highest flags.
  if (x.family === 6 && x.protocol === TCP) return sequence && ((a[x.l4 + 13]! ^ b[y.l4 + 13]!) & 0x3f) === 0
  // IPv6 has no identification: only an answer of ICMP can be as long, of another type. Nothing answers UDP with UDP.
  if (x.family === 6)
    return (
      x.protocol === 17 ||
      (sequence && u16(a, 4) - x.l4 === u16(b, 4) - y.l4 && (!isIcmp(x.protocol) || a[x.l4] === b[y.l4]))
    )
  const id = u16(a, 4)
  // A later fragment has no number to compare, but an answer goes back to where it came from.
  const onward = y.fragment !== null && y.fragment.offset > 0 && x.dst !== y.src
  return id === u16(b, 4) && (id !== 0 || sequence || onward)
}

/** Ports after translation, where they changed, and the addresses beside them. */
interface Drawn {
  readonly protocol: number
  readonly source: number | null
  readonly sourceAddress: string
  readonly destination: number | null
  readonly destinationAddress: string
  /** The destination is what it was: perhaps nobody drew it. */
  readonly kept?: boolean
  /** So is the source. */
  readonly sourceKept?: boolean
  /** A rule gave the source another address. */
  readonly moved?: boolean
}

/** Where a packet comes from and goes to. */
interface Ends {
  readonly ports: readonly [number, number]
  /** Key of its flow. */
  readonly flow: string
}

/** Ports that a rule translates to. */
interface PortRange {
  readonly min: number
  readonly size: number
  readonly source: boolean
  /** Drawn even when the port could stay. */
  readonly random: boolean
  /** The rule's, null: any, or any but one. */
  readonly protocol: string | null
  readonly addresses: Addresses
}

/** The first and the last that a rule translates to, null: whatever it finds. */
type Addresses = readonly [bigint, bigint] | null

const NAMES: Readonly<Record<number, string>> = {
  1: 'icmp',
  58: 'ipv6-icmp',
  6: 'tcp',
  17: 'udp',
  132: 'sctp',
  136: 'udplite',
}

/** Port ranges of the rules, narrow ones first. */
function portRanges(iptables: string): PortRange[] {
  const out: PortRange[] = []
  for (const line of iptables.split('\n')) {
    const [, option, where = ''] = /--to-(ports|source|destination) (\S+)/.exec(line) ?? []
    const found = /^(?:\[([^\]-]+)(?:-([^\]]+))?\]|([\d.]+?)(?:-([\d.]+))?(?=:))?:?(\d+)-(\d+)$/.exec(where)
    if (option === undefined || found === null) continue
    const [, from6 = '', to6, from = from6, to = to6 ?? from, a, b] = found
    const source = option === 'source' || line.includes('-j MASQUERADE')
    // Destinations are taken in turn, from the first one on, unless the rule says otherwise.
    if (!source && !line.includes('--random')) continue
    const [, not, protocol = null] = /(! )?-p (\S+)/.exec(line) ?? []
    out.push({
      min: Number(a),
      size: Number(b) - Number(a) + 1,
      source,
      random: line.includes('--random'),
      protocol: not === undefined ? protocol : null,
      addresses: from === '' ? null : [numberOf(from), numberOf(to)],
    })
  }
  return out.sort((x, y) => x.size - y.size)
}

/** The addresses of rules for sources that draw even when the port could stay. */
function drawingSources(iptables: string): Addresses[] {
  const out: Addresses[] = []
  for (const line of iptables.split('\n')) {
    if (!/-j (SNAT|MASQUERADE).* --random/.test(line)) continue
    const [, where] = /--to-source (\S+)/.exec(line) ?? []
    const [, inside, plain] = /^(?:\[([^\]]+)\]|([\d.]+(?:-[\d.]+)?))/.exec(where ?? '') ?? []
    const [from, to = from] = (inside ?? plain ?? where ?? '').split('-')
    out.push(from ? [numberOf(from), numberOf(to!)] : null)
  }
  return out
}

/** Ports that destinations get without a draw: those of rules that name one alone. */
const fixedPorts = (iptables: string): ReadonlySet<number> =>
  new Set([...iptables.matchAll(/--to-(?:ports |destination \S*:)(\d+)(?=\s)/g)].map((m) => Number(m[1])))

/**
 * Whether a rule to these addresses may give `address`, which can lie outside of them: words are chosen one by one, and
 * behind one that is not the last address's any will do (find_best_ips_proto).
 */
function mayGive([first, last]: NonNullable<Addresses>, address: string): boolean {
  const at = numberOf(address)
  for (let shift = isIpv6(address) ? 96n : 0n; shift >= 0n; shift -= 32n) {
    const word = (n: bigint): bigint => BigInt.asUintN(32, n >> shift)
    if (BigInt.asUintN(32, word(at) - word(first)) > BigInt.asUintN(32, word(last) - word(first)))
      return false
    if (word(at) !== word(last)) return true
  }
  return true
}

/** Whether a rule with this range may have given a packet `port`, and the addresses that it has now. */
function mayHold(
  range: PortRange,
  { protocol, sourceAddress, destinationAddress }: Omit<Drawn, 'source' | 'destination'>,
  port: number,
  source: boolean,
): boolean {
  if (port < range.min || port >= range.min + range.size) return false
  // An identifier is the source to both kinds of NAT.
  if (range.source !== source && !isIcmp(protocol)) return false
  if (range.protocol !== null && range.protocol !== NAMES[protocol]) return false
  if (range.addresses === null) return true
  return mayGive(range.addresses, range.source ? sourceAddress : destinationAddress)
}

/** A port to be reached in a range of `size` ports from `min` on. */
interface Asked {
  readonly port: number
  readonly min: number
  readonly size: number
}

/** What a source port is drawn from if no rule says. */
function freeRange(port: number, protocol: number): { min: number; size: number } {
  if (isIcmp(protocol)) return { min: 0, size: 65536 }
  if (port < 512) return { min: 1, size: 511 }
  return port < 1024 ? { min: 600, size: 424 } : { min: 1024, size: 64512 }
}

const following = ({ port, min, size }: Asked): Asked => ({
  port: min + ((port - min + 1) % size),
  min,
  size,
})

/** A draw that leads to all the ports, in whichever range; null if there is none. */
function leading(wanted: readonly Asked[]): number | null {
  if (wanted.length === 0) return null
  for (let n = 1; n < 65536; n++)
    if (wanted.every(({ port, min, size }) => min + (n % size) === port)) return n
  return null
}

const valuesOf = (line: string, key: string): string[] =>
  [...line.matchAll(new RegExp(`\\b${key}=(\\S+)`, 'g'))].map((m) => m[1]!)

/** Both ports, both ways, of a line of conntrack: an echo has its identifier for all. */
function portsIn(line: string): { from: (string | undefined)[]; to: (string | undefined)[] } {
  const ids = valuesOf(line, 'id')
  return ids.length > 0
    ? { from: ids, to: ids }
    : { from: valuesOf(line, 'sport'), to: valuesOf(line, 'dport') }
}

const protocolIn = (line: string): number => Number(line.split(/\s+/)[3])

/** Key of the flow that a line of conntrack is of: its original direction, whatever the zone. */
export function flowOf(line: string): string {
  const first = (key: string): string | undefined => valuesOf(line, key)[0]
  const { from, to } = portsIn(line)
  const type = first('type')
  const kind = type === undefined ? '' : `${type}/${first('code')}`
  return `${protocolIn(line)} ${first('src')} ${first('dst')} ${from[0]} ${to[0]} ${kind}`
}

/** Randomness that repeats the kernel's draws of ports. */
export class DrawnRandom implements Random {
  readonly #plain = new SeededRandom(0x7075)
  readonly #ranges: readonly PortRange[]
  readonly #fixed: ReadonlySet<number>
  readonly #helpers: boolean
  /** Some rule draws even when the port could stay: then the draw may give the very same port. */
  readonly #always: boolean
  /** The same of rules for sources: the addresses that they give. */
  readonly #alwaysSource: readonly Addresses[]
  /** By flow; several where zones keep apart what has the same tuple. */
  readonly #flows = new Map<string, Drawn[]>()
  /** Of fragmented packets. */
  readonly #first = new Map<string, Ends>()
  /** All that went in, for what helpers read. */
  readonly #pieces: Uint8Array[] = []
  /** The 16 bits of the next draws; the last one stays. */
  #next: (number | null)[] = []
  /** The upper 16 bits likewise, for helpers: at least these. */
  #upper: number[] = []

  constructor(scenario: Scenario, kernel: Run) {
    const rules = allRules(scenario)
    this.#ranges = portRanges(rules)
    this.#fixed = fixedPorts(rules)
    this.#helpers = hasHelpers(scenario)
    this.#always = rules.includes('--random')
    this.#alwaysSource = drawingSources(rules)
    for (const line of kernel.conntrack) {
      const [from, replyFrom] = portsIn(line).from
      const [to, replyTo] = portsIn(line).to
      if (from === undefined || replyTo === undefined) continue
      const protocol = protocolIn(line)
      const [src, replySrc = ''] = valuesOf(line, 'src')
      const [dst, replyDst = ''] = valuesOf(line, 'dst')
      const changed = (now: string, then: string | undefined): boolean => this.#always && now !== then
      const flow = flowOf(line)
      const drawn = {
        protocol,
        source: replyTo === from && !changed(replyDst, src) ? null : Number(replyTo),
        sourceAddress: replyDst,
        destination:
          (replyFrom === to && !changed(replySrc, dst)) || isIcmp(protocol) ? null : Number(replyFrom),
        destinationAddress: replySrc,
        sourceKept: replyTo === from,
        moved: replyDst !== src,
      }
      // Of two in different zones, the one that had to give way drew; if both did, judge() tries both orders.
      const drew = (d: Drawn): boolean => (d.source ?? d.destination) !== null
      const known = this.#flows.get(flow)?.filter(drew) ?? []
      this.#flows.set(flow, drew(drawn) || known.length === 0 ? [...known, drawn] : known)
    }
    this.#learn(kernel)
  }

  /** Connections that are gone in the end: a later packet of theirs may show what the first one drew. */
  #learn(kernel: Run): void {
    for (const { injected, sent } of kernel.steps) {
      const headers = injected === null ? null : headersOf(injected)
      if (injected === null || headers === null) continue
      const went = this.#endsOf(injected, headers)
      if (went === null || this.#flows.has(went.flow)) continue
      for (const { bytes } of sent) {
        const h = headersOf(bytes)
        if (h === null || !sameNumbers(bytes, h, injected, headers)) continue
        const drawn = this.#drawnIn(bytes, injected, headers, went, [])
        if (drawn !== null) this.#flows.set(went.flow, [drawn])
        break
      }
    }
    this.#first.clear()
  }

  /** Looks at what the kernel did with the frame that goes in now. */
  prepare(step: StepRun): void {
    this.#next = []
    this.#upper = []
    const { injected } = step
    if (injected === null) return
    const headers = headersOf(injected)
    if (this.#helpers) {
      const fragment = headers?.fragment ?? null
      if (fragment !== null) this.#pieces.push(injected)
      const whole = fragment === null ? injected : joined(this.#of(fragment.id)).at(-1)
      if (whole !== undefined)
        for (const bytes of joined(step.sent.map((s) => s.bytes)))
          if (this.#upper.length === 0) this.#upper = announcedDraws(whole, bytes)
    }
    const went = headers === null ? null : this.#endsOf(injected, headers)
    const frames = step.sent.map((s) => s.bytes)
    const quotes = frames.map(redirected).filter((f) => f !== null)
    const said = (bytes: Uint8Array): Drawn | null => this.#drawnIn(bytes, injected, headers, went, quotes)
    // A copy of TEE's, of a packet that another address was given, shows no port that was drawn afterwards.
    const all = [...frames, ...quotes]
    const drew = (bytes: Uint8Array): boolean => {
      const drawn = said(bytes)
      return drawn !== null && (drawn.source !== null || drawn.kept !== true)
    }
    const telling = all.find(drew)
    for (const bytes of telling === undefined ? all : [telling]) {
      const drawn = said(bytes)
      if (drawn === null) continue
      this.#aim(drawn)
      // An identifier may be drawn twice, for each kind of NAT: a redirect quotes what came of the first.
      const first = isIcmp(drawn.protocol) ? quotes.map(said).find((d) => d !== null)?.source : undefined
      if (first !== undefined && first !== drawn.source) this.#next.unshift(first)
      return
    }
    const candidates = went === null ? undefined : this.#flows.get(went.flow)
    if (candidates === undefined) return
    this.#aim(candidates[0]!)
    // Packets of the same connection draw nothing: any later one may be the first of the next zone's.
    if (candidates.length > 1) candidates.shift()
  }

  /** Ports in a frame, or a redirect's quote, that `injected` did not bring; null if there are none. */
  #drawnIn(
    bytes: Uint8Array,
    injected: Uint8Array,
    headers: Headers | null,
    went: Ends | null,
    quotes: readonly Uint8Array[],
  ): Drawn | null {
    const h = headersOf(bytes)
    const came = h === null ? null : portsOf(bytes, h)
    if (h === null || came === null) return null
    const { protocol } = h
    // Only echoes show the identifier that NAT drew (icmpv6_manip_pkt); the connection says that of other questions.
    if (protocol === ICMPV6 && bytes[h.l4]! >> 1 !== ECHOES) return null
    // Of the packet itself both ports are compared in place; the host's answers, if they left untranslated, have them
    // the other way round.
    const same = headers !== null && sameNumbers(bytes, h, injected, headers)
    const [source, destination] = same ? ([0, 1] as const) : ([1, 0] as const)
    const addressOf = (which: 0 | 1, of = h): string => (which === 0 ? of.src : of.dst)
    const ends = {
      protocol,
      sourceAddress: addressOf(source),
      destinationAddress: addressOf(destination),
    }
    const again = (which: 0 | 1): boolean =>
      same &&
      this.#always &&
      (addressOf(which) !== addressOf(which, headers) ||
        this.#ranges.some((range) => range.random && mayHold(range, ends, came[which], which === 0)))
    const fresh = (which: 0 | 1): number | null => {
      const port = came[which]
      const known = same ? went?.ports[which] === port : went?.ports.includes(port) === true
      return port === 0 || (known && !again(which)) ? null : port
    }
    const drawn = {
      ...ends,
      // Sources are translated later than redirects quote them; identifiers are the source to both kinds of NAT.
      source: quotes.includes(bytes) && !isIcmp(protocol) ? null : fresh(source),
      destination: isIcmp(protocol) ? null : fresh(destination),
      kept: same && went?.ports[1] === came[1],
      sourceKept: same && went?.ports[0] === came[0],
      moved: headers !== null && addressOf(source) !== headers.src,
    }
    return drawn.source === null && drawn.destination === null ? null : drawn
  }

  /** Fragments of an identification that went in. */
  #of(id: number): Uint8Array[] {
    return this.#pieces.filter((frame) => headersOf(frame)?.fragment?.id === id)
  }

  /** Ports and flow of a packet, of later fragments those of the first one. */
  #endsOf(frame: Uint8Array, h: Headers): Ends | null {
    const { src, dst, protocol, fragment, l4 } = h
    // Fragments of IPv6 belong together whatever protocol they name.
    const key = `${fragment?.id} ${h.family === 6 ? '' : protocol} ${src} ${dst}`
    const ports = portsOf(frame, h)
    if (ports === null) return this.#first.get(key) ?? null
    const kind = isIcmp(protocol) ? `${frame[l4]}/${frame[l4 + 1]}` : ''
    const flow = `${protocol} ${src} ${dst} ${ports[0]} ${ports[1]} ${kind}`
    const ends = { ports, flow }
    if (fragment?.more) this.#first.set(key, ends)
    return ends
  }

  /** Sets the 16 bits from which nf_nat_l4proto_unique_tuple() arrives at the ports; not 0, see i32(). */
  #aim(drawn: Drawn): void {
    const { source, destination } = drawn
    const destinations = destination === null ? [] : this.#asked(drawn, destination, false)
    const asked: Asked[][] = []
    let full = false
    if (source !== null && source !== 0) {
      const inside = this.#asked(drawn, source, true)
      const always = this.#alwaysSource.some((a) => a === null || mayGive(a, drawn.sourceAddress))
      // No rule asked for another source port: nobody drew it, all ports of the destination's range were taken, or the
      // address that SNAT gave clashed. Then the destination had been chosen for another source, and was free.
      const unasked = inside.length === 0 && !always
      const kept = drawn.sourceKept === true
      const free = { port: source, ...freeRange(source, drawn.protocol) }
      full = unasked && !kept && drawn.moved !== true
      if (!unasked || !kept)
        // Where one rule names ports and another draws any, nobody knows which it was: a draw for both, if there is one.
        asked.push(inside.length > 0 && !always ? inside : [...inside, free])
    }
    // Destinations are drawn only from ranges that a rule names. From a full one the last port tried is kept: the one
    // before the first.
    if (destinations.length > 0) asked.push(full ? destinations.map(following) : destinations)
    const both = leading(asked.flat())
    if (both !== null) {
      this.#next = [both]
      return
    }
    // No number leads to both. Which rule it was is not known: one that draws nothing, if there is one.
    if (asked.length > 1 && destination !== null && (drawn.kept || this.#fixed.has(destination))) asked.pop()
    // Else destination NAT comes first.
    this.#next = asked.reverse().map((one) => leading(one) ?? leading(one.slice(0, 1)))
  }

  /** The ranges from which `port` may have been drawn. */
  #asked(drawn: Drawn, port: number, source: boolean): Asked[] {
    return this.#ranges
      .filter((range) => mayHold(range, drawn, port, source))
      .map(({ min, size }) => ({ port, min, size }))
  }

  /** Identifications are drawn here too; 0 would look as if none had been, so the lower 16 bits never are. */
  i32(): number {
    const some = this.#plain.i32()
    const plain = (some & 0xffff) === 0 ? some + 1 : some
    const wanted = this.#next[0] ?? null
    if (this.#next.length > 1) this.#next.shift()
    const upper = this.#upper[0]
    if (this.#upper.length > 1) this.#upper.shift()
    if (upper !== undefined) {
      // The lower ones, which lead NAT, count as a fraction to a helper.
      const lower = wanted ?? 1
      const least = Math.ceil(upper - lower / 0x10000 + 1e-6)
      return (Math.max(0, Math.min(0xffff, least)) << 16) | lower
    }
    return wanted === null ? plain : (plain & 0xffff0000) | wanted
  }
}
