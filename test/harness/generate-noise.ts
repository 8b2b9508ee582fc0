// Single packets that belong to no conversation: to the host itself, martians, damaged headers, options,
// errors about earlier packets. What the families do not share stands in noise-ipv4.ts and noise-ipv6.ts.

import { quotedReferences, type Wire } from './conversation.ts'
import * as build from './frames.ts'
import { bytes6 } from './frames.ts'
import { ROUTING_MAKERS } from './generate-routing.ts'
import type { Kind, World } from './generate-world.ts'
import {
  anyDevice,
  common,
  type FamilyNoise,
  type Maker,
  type Noise,
  pair,
  some,
  tunnelled,
} from './noise.ts'
import { NOISE4 } from './noise-ipv4.ts'
import { NOISE6 } from './noise-ipv6.ts'
import { wild } from './noise-wild.ts'
import type { StepRun } from './scenario.ts'

/** So many bytes of attributes, nested ones inside: length, type, both little-endian. */
function attributes(random: Wire['random'], length: number): Uint8Array {
  const bytes = new Uint8Array(length)
  const view = new DataView(bytes.buffer)
  const fill = (from: number, to: number, longest: number): void => {
    for (let at = from; at + 4 <= to; ) {
      const says = random.once(20) ? random.below(8) : 4 + random.below(longest)
      const next = at + ((Math.max(says, 4) + 3) & ~3)
      view.setUint16(at, says, true)
      view.setUint16(at + 2, random.below(6) | random.pick([0, 0, 0x4000, 0x8000]), true)
      if (longest > 100) fill(at + 4, Math.min(next, to), 16)
      at = next
    }
  }
  fill(0, length, random.pick([101, 1000, 4000]))
  return bytes
}

/** The extension of a probe: which interface is meant, by name, number or address. */
function question({ world, random }: Wire): number[] {
  const bytesOf = (address: string): number[] =>
    address.includes(':') ? bytes6(address) : address.split('.').map(Number)
  const name = (): number[] => {
    const text = random.pick([random.pick(world.devices).name, 'lo', 'nobody', `${'x'.repeat(16)}`])
    const padded = [...new TextEncoder().encode(text)]
    while (random.once(2) || padded.length % 4 !== 0) padded.push(0)
    return padded
  }
  const address = (): number[] => {
    const some = [...world.own, ...world.broadcasts, random.pick(world.peers).address]
    const bytes = bytesOf(random.pick([...some, '127.0.0.1', '127.9.9.9', '::1']))
    const family = random.once(12) ? random.below(4) : bytes.length === 4 ? 1 : 2
    return [0, family, random.once(12) ? random.below(20) : bytes.length, 0, ...bytes]
  }
  const [type, object] = random.pick([
    () => [1, name()] as const,
    () => [2, [0, 0, 0, random.below(7)]] as const,
    () => [3, address()] as const,
    () => [3, address()] as const,
    () => [random.below(6), Array<number>(random.below(24)).fill(0)] as const,
  ])()
  const length = random.once(12) ? random.below(30) : 4 + object.length
  const all = [0x20, 0, 0, 0, length >> 8, length & 255, 3, type, ...object]
  return random.once(10) ? all.slice(0, random.below(all.length)) : all
}

const noiseOf = (world: World): FamilyNoise => (world.family === 4 ? NOISE4 : NOISE6)

const MAKERS: Readonly<Record<string, Maker>> = {
  wild,
  /** An ICMP error about something that the host sent, from where it was sent to. */
  errorAboutAnswer(w, history) {
    const { random, world } = w
    const told = history.filter((r) => r.sent.length > 0)
    if (told.length === 0) return null
    const run = random.once(2) ? told.at(-1)! : random.pick(told)
    const answer = random.below(run.sent.length)
    const { dev, bytes } = run.sent[answer]!
    const of = noiseOf(world)
    const [type, code] = random.pick(of.errors)
    const routers = world.peers.filter((p) => p.dev === dev).map((p) => p.address)
    const frame = build.icmpError(type, code, bytes, {
      ...(random.once(3) && routers.length > 0 ? { src: random.pick(routers) } : {}),
      ...(random.once(6) ? { quote: random.pick(of.quotes) } : {}),
      ...(type === of.tooBig[0] && code === of.tooBig[1] ? { rest: random.pick(of.mtus) } : {}),
      ...(random.once(12) ? { badChecksum: true } : {}),
      ...common(w),
    })
    return {
      dev,
      frame,
      note: `icmp ${type}/${code} about an answer`,
      references: quotedReferences(frame, run, answer),
    }
  },
  /** An ICMP error about something that went in: as a far hop would see it without NAT, or spoofed. */
  errorAboutInput(w, history) {
    const { random } = w
    const went = history.filter((r) => r.injected !== null && r.injected.length >= 28)
    if (went.length === 0) return null
    const run = random.pick(went)
    const [type, code] = random.pick(noiseOf(w.world).errors)
    try {
      return {
        dev: anyDevice(w),
        frame: build.icmpError(type, code, run.injected!, common(w)),
        note: `icmp ${type}/${code} about an input`,
      }
    } catch {
      return null
    }
  },
  again(w, history) {
    const went = history.filter((r) => r.injected !== null)
    if (went.length === 0) return null
    const run = w.random.pick(went)
    return {
      dev: w.random.once(4) ? anyDevice(w) : run.dev!,
      frame: run.injected!.slice(),
      note: 'once more',
    }
  },
  echoAnswer(w, history) {
    // What the host sent comes straight back at it.
    const told = history.filter((r) => r.sent.length > 0)
    if (told.length === 0) return null
    const run = w.random.pick(told)
    const { dev, bytes } = w.random.pick(run.sent)
    return { dev, frame: bytes.slice(), note: 'an answer reflected' }
  },
  damaged(w, history) {
    const went = history.filter((r) => r.injected !== null && r.injected.length > 0)
    if (went.length === 0) return null
    const run = w.random.pick(went)
    return { dev: run.dev!, frame: build.damage(run.injected!, w.random), note: 'damaged' }
  },
  toHost(w) {
    const { random, world } = w
    const from = random.pick(world.peers)
    const dst = random.once(8)
      ? random.pick(world.broadcasts.length > 0 ? world.broadcasts : world.own)
      : random.pick(world.own)
    const extra: Partial<build.Ip> = {
      ...(random.once(4) ? { tos: random.pick([0x10, 0x03, 0xff, 0xb8]) } : {}),
      ...(random.once(8) ? { ttl: random.below(2) } : {}),
    }
    return {
      dev: from.dev,
      frame: some(w, from.address, dst, extra, random.once(6) ? random.below(3000) : undefined),
      note: 'to the host',
    }
  },
  segmentToHost(w) {
    const { random, world } = w
    const from = random.pick(world.peers)
    const frame = build.tcp({
      src: from.address,
      dst: random.pick(world.own),
      sport: random.pick(world.clientPorts),
      dport: random.pick(world.serverPorts),
      flags: random.pick(['S', 'SA', 'A', 'F', 'FA', 'R', 'RA', '', 'FPU', 'PA', 'SF']),
      seq: random.u32(),
      ack: random.once(2) ? random.u32() : 0,
      payload: random.pick([0, 0, 10, 500]),
      badChecksum: random.once(8),
      tos: random.pick([0, 0, 0x10, 0xff]),
      ...common(w),
    })
    return { dev: from.dev, frame, note: 'tcp to the host' }
  },
  icmpToHost(w) {
    const { random, world } = w
    const from = random.pick(world.peers)
    const frame = build.icmp({
      src: from.address,
      dst: random.pick(random.once(6) ? [...world.broadcasts, ...noiseOf(world).groups] : world.own),
      type: random.pick(noiseOf(world).icmpTypes),
      code: random.pick([0, 0, 0, 1, 5]),
      payload: random.pick([0, 12, 56, 1472, 4000]),
      ...(random.once(3) ? noiseOf(world).options(w) : {}),
      badChecksum: random.once(8),
      ...common(w),
      df: false,
    })
    return { dev: from.dev, frame, note: 'icmp to the host' }
  },
  protocolToHost(w) {
    const { random, world } = w
    const from = random.pick(world.peers)
    const frame = build.ip({
      src: from.address,
      dst: random.pick(world.own),
      proto: random.pick(noiseOf(world).protocols),
      payload: random.pick([0, 8, 40]),
      ...common(w),
    })
    return { dev: from.dev, frame, note: 'protocol to the host' }
  },
  tunnel(w) {
    const { random, world } = w
    const p = pair(w)
    const dst = random.once(6) ? random.pick(world.own) : p.dst
    return { dev: p.dev, frame: tunnelled(w, p.src, dst), note: 'in a tunnel' }
  },
  /** Who has such an interface (RFC 8335)? Well asked, or not. */
  probe(w) {
    const { random, world } = w
    const from = random.pick(world.peers)
    const six = world.family === 6
    const to = random.once(8)
      ? random.pick([...world.broadcasts, ...noiseOf(world).groups])
      : random.pick(world.own)
    const frame = build.icmp({
      src: from.address,
      dst: to,
      type: random.once(16) ? (six ? 161 : 43) : six ? 160 : 42,
      code: random.once(6) ? random.below(4) : 0,
      rest:
        ((random.below(3) << 16) | (random.below(4) << 8) | (random.once(6) ? random.below(256) : 1)) >>> 0,
      payload: Uint8Array.from(question(w)),
      ...(random.once(12) ? noiseOf(world).options(w) : {}),
      badChecksum: random.once(16),
      ...common(w),
    })
    return { dev: from.dev, frame, note: 'a probe' }
  },
  /** A question of ICMP that is no echo, or the answer to one. */
  query(w) {
    const { random } = w
    const p = pair(w)
    const frame = build.icmp({
      src: p.src,
      dst: p.dst,
      type: random.pick(noiseOf(w.world).queries),
      echoId: random.pick([1, 77, 1000]),
      payload: random.pick([8, 12, 20]),
      ...common(w),
    })
    return { dev: p.dev, frame, note: 'icmp query' }
  },
  martian(w) {
    const { random, world } = w
    const p = pair(w)
    const odd = random.pick([
      ...noiseOf(world).martians,
      random.pick(world.own),
      random.pick(world.broadcasts.length > 0 ? world.broadcasts : world.own),
      random.pick(world.virtual),
    ])
    const [src, dst] = random.once(2) ? [odd, random.once(3) ? random.pick(world.own) : p.dst] : [p.src, odd]
    return { dev: random.once(4) ? anyDevice(w) : p.dev, frame: some(w, src, dst), note: 'martian' }
  },
  spoofed(w) {
    const p = pair(w)
    return { dev: anyDevice(w), frame: some(w, p.src, p.dst), note: 'from the wrong side' }
  },
  unroutable(w) {
    const { random, world } = w
    const p = pair(w)
    return {
      dev: p.dev,
      frame: some(w, p.src, random.pick([...world.refused, ...noiseOf(world).unroutable])),
      note: 'unroutable',
    }
  },
  hops(w) {
    const p = pair(w)
    return {
      dev: p.dev,
      frame: some(w, p.src, p.dst, { ttl: w.random.pick([0, 1, 1, 1, 2]) }),
      note: 'short of hops',
    }
  },
  tooBig(w) {
    const { random } = w
    const p = pair(w)
    const size = random.pick([
      100,
      300,
      600,
      1300,
      1452,
      1480,
      3000,
      4100,
      8900,
      random.once(8) ? 30000 : 1473,
    ])
    return {
      dev: p.dev,
      frame: some(
        w,
        p.src,
        p.dst,
        { df: random.once(2), ...(random.once(6) ? noiseOf(w.world).options(w) : {}) },
        size,
      ),
      note: 'perhaps too big',
    }
  },
  /** Attributes of netlink, some broken, in about a page or more: what is longer lies in several pieces of memory. */
  paged(w) {
    const { random, world } = w
    const p = pair(w)
    const dst = random.once(2) ? random.pick(world.own) : p.dst
    const bytes = attributes(random, random.pick([600, 3600, 3960 + random.below(60), 4100, 8000]))
    const head = { src: p.src, dst, ...common(w) }
    const frame = random.once(2)
      ? build.icmp({ ...head, echoId: 77, seq: random.below(10), payload: bytes })
      : build.udp({
          ...head,
          sport: random.pick(world.clientPorts),
          dport: random.pick(world.serverPorts),
          payload: bytes,
        })
    return { dev: p.dev, frame, note: 'attributes' }
  },
  options(w) {
    const { random, world } = w
    const p = pair(w)
    const dst = random.once(3) ? random.pick(world.own) : p.dst
    return {
      dev: p.dev,
      frame: some(w, p.src, dst, { df: false, ...noiseOf(world).options(w) }),
      note: 'IP options',
    }
  },
  header(w) {
    const { random } = w
    const p = pair(w)
    const extra = random.once(12) ? { src: p.dst, dst: p.dst } : random.pick(noiseOf(w.world).headers)
    return { dev: p.dev, frame: some(w, p.src, p.dst, extra), note: `header: ${JSON.stringify(extra)}` }
  },
  padded(w) {
    const p = pair(w)
    const frame = some(w, p.src, w.random.once(3) ? w.random.pick(w.world.own) : p.dst)
    const out = new Uint8Array(frame.length + 1 + w.random.below(20))
    out.set(frame)
    out.fill(0xaa, frame.length)
    return { dev: p.dev, frame: out, note: 'padded' }
  },
  short(w) {
    const { random } = w
    const p = pair(w)
    const dst = random.once(2) ? random.pick(w.world.own) : p.dst
    const frame = build.ip({
      src: p.src,
      dst,
      proto: random.pick(noiseOf(w.world).cut),
      payload: random.below(20),
      ...common(w),
    })
    return { dev: p.dev, frame, note: 'cut transport header' }
  },
  transport(w) {
    const { random, world } = w
    const p = pair(w)
    const head = {
      src: p.src,
      dst: random.once(2) ? random.pick(world.own) : p.dst,
      sport: random.pick(world.clientPorts),
      dport: random.pick(world.serverPorts),
      ...common(w),
    }
    const frame = random.pick([
      () =>
        build.tcp({
          ...head,
          dataOffset: random.pick([0, 4, 6, 15]),
          payload: random.pick([0, 8]),
          flags: random.pick(['S', 'A']),
        }),
      () => build.tcp({ ...head, reserved: 0xf, flags: 'S' }),
      () => build.udp({ ...head, udpLength: random.pick([0, 7, 8, 10, 200, 65535]), payload: 20 }),
      () => build.udp({ ...head, noChecksum: true, payload: 20 }),
      () => build.udp({ ...head, sport: 0, payload: 20 }),
      () => build.udp({ ...head, dport: 0, payload: 20 }),
      () => build.udplite({ ...head, coverage: random.pick([0, 3, 8, 200]), payload: 20 }),
    ])()
    return { dev: p.dev, frame, note: 'transport header' }
  },
  multicast(w) {
    const { random } = w
    const p = pair(w)
    return {
      dev: p.dev,
      frame: some(w, p.src, random.pick([...noiseOf(w.world).groups, ...w.world.broadcasts])),
      note: 'to many',
    }
  },
  garbage(w) {
    const { random } = w
    const bytes = random.bytes(random.below(80))
    if (bytes.length > 0 && !random.once(4)) bytes[0] = random.pick(noiseOf(w.world).begins)
    return { dev: anyDevice(w), frame: bytes, note: 'garbage' }
  },
}

/** Weights by profile; makers not named weigh 1. */
const WEIGHTS: Readonly<Record<Kind, Readonly<Record<string, number>>>> = {
  filtering: { hops: 2, toHost: 3, short: 2, errorAboutAnswer: 3 },
  state: {
    errorAboutAnswer: 8,
    errorAboutInput: 3,
    again: 3,
    segmentToHost: 3,
    damaged: 3,
    header: 0.3,
    garbage: 0.3,
  },
  nat: {
    errorAboutAnswer: 10,
    errorAboutInput: 2,
    again: 3,
    echoAnswer: 2,
    toHost: 3,
    garbage: 0.3,
    header: 0.3,
  },
  mangle: { errorAboutAnswer: 3, tooBig: 3, hops: 4, options: 3, toHost: 2 },
  local: {
    toHost: 8,
    segmentToHost: 6,
    icmpToHost: 8,
    protocolToHost: 5,
    martian: 4,
    unroutable: 4,
    hops: 3,
    multicast: 3,
    options: 3,
    errorAboutAnswer: 3,
    probe: 3,
    solicitation: 3,
  },
  fragments: { errorAboutAnswer: 3, tooBig: 8, toHost: 5, icmpToHost: 5, options: 2, piece: 8 },
  mixed: { errorAboutAnswer: 4 },
  sets: { toHost: 3, errorAboutAnswer: 2 },
  extensions: {
    toHost: 4,
    hops: 2,
    options: 2,
    short: 3,
    padded: 2,
    tooBig: 2,
    chain: 8,
    garbage: 0.3,
    header: 0.3,
  },
  routing: {
    anywhere: 30,
    tunnel: 8,
    toHost: 4,
    martian: 5,
    spoofed: 5,
    unroutable: 3,
    multicast: 3,
    options: 5,
    errorAboutAnswer: 4,
    garbage: 0.2,
    header: 0.2,
    short: 0.2,
    padded: 0.2,
    damaged: 0.2,
  },
  helpers: { errorAboutAnswer: 8, errorAboutInput: 2, again: 8 },
  h323: { errorAboutAnswer: 8, errorAboutInput: 4, again: 8 },
}

export function makeNoise(w: Wire, kind: Kind, history: readonly StepRun[]): Noise | null {
  const weights = WEIGHTS[kind]
  const makers = { ...MAKERS, ...noiseOf(w.world).makers, ...(kind === 'routing' ? ROUTING_MAKERS : {}) }
  const names = Object.keys(makers)
  const total = names.reduce((sum, n) => sum + (weights[n] ?? 1), 0)
  let at = (w.random.u32() / 0x1_0000_0000) * total
  for (const name of names) {
    at -= weights[name] ?? 1
    if (at < 0) return makers[name]!(w, history)
  }
  return null
}
