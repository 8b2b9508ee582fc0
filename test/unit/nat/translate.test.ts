// What goes through NAT and back is what it was.

import { describe, expect, test } from 'vitest'
import { Manip } from '../../../conntrack/nat/nat.ts'
import { STATUS, STRIDE } from '../../../conntrack/table.ts'
import { Hook } from '../../../datapath/hooks.ts'
import { Packet } from '../../../datapath/packet.ts'
import { changeAddress4 } from '../../../datapath/rewrite.ts'
import { FrameMemory } from '../../../datapath/ring.ts'
import { formatIpv4 } from '../../../datapath/wire/address.ts'
import { fold, sum, transportChecksumOk } from '../../../datapath/wire/checksum.ts'
import {
  gre,
  icmp,
  icmpError,
  ip4,
  SeededRandom,
  sctp,
  tcp,
  toHex,
  udp,
  udplite,
} from '../../harness/frames.ts'
import { dport, dst, echoId, ip, quote, range, type Sent, sport, src, World } from './world.ts'

const memory = new FrameMemory(1, 4096)
const probe = new Packet()

/** Both checksums of a frame are right. */
function valid(frame: Uint8Array): boolean {
  const header = (frame[0]! & 15) * 4
  if (fold(sum(frame, 0, header)) !== 0xffff) return false
  memory.bytes.set(frame, 0)
  probe.reset()
  probe.end = frame.length
  probe.l4 = header
  probe.proto = frame[9]!
  probe.s0 = src(frame)
  probe.d0 = dst(frame)
  return transportChecksumOk(probe, memory)
}

/** The frame as a router leaves it: TTL one less, checksum to match. */
function hop(frame: Uint8Array, hops = 1): Uint8Array {
  const copy = frame.slice()
  copy[8]! -= hops
  copy[10] = copy[11] = 0
  const check = ~fold(sum(copy, 0, (copy[0]! & 15) * 4)) & 0xffff
  copy[10] = check >> 8
  copy[11] = check & 255
  return copy
}

interface Ends {
  src: string
  dst: string
  sport: number
  dport: number
}

/** A first packet and its answer, of each protocol; `echo` identifiers are source ports. */
const PROTOCOLS: Record<string, (e: Ends, reply: boolean, data: number) => Uint8Array> = {
  tcp: (e, reply, payload) =>
    reply
      ? tcp({ ...e, flags: 'SA', seq: 5000, ack: 1001, payload })
      : tcp({ ...e, flags: 'S', seq: 1000, payload: 0 }),
  udp: (e, _reply, payload) => udp({ ...e, payload }),
  'udp without checksum': (e, _reply, payload) => udp({ ...e, payload, noChecksum: true }),
  udplite: (e, _reply, payload) => udplite({ ...e, payload, coverage: 8 }),
  sctp: (e, reply) => sctp(reply ? { ...e, vtag: 1, chunks: INIT_ACK } : e),
  icmp: (e, reply, payload) =>
    icmp({ src: e.src, dst: e.dst, type: reply ? 0 : 8, echoId: reply ? e.dport : e.sport, payload }),
  timestamp: (e, reply) =>
    icmp({
      src: e.src,
      dst: e.dst,
      type: reply ? 14 : 13,
      echoId: reply ? e.dport : e.sport,
      payload: 12,
    }),
  gre: (e, _reply, payload) => gre({ src: e.src, dst: e.dst, payload: 4 + payload }),
  unknown: (e, _reply, payload) => ip4({ src: e.src, dst: e.dst, proto: 99, payload }),
}
const INIT_ACK = [2, 0, 0, 24, 0, 0, 0, 1, 0, 1, 0, 0, 0, 10, 0, 10, 0, 0, 0, 1, 0, 7, 0, 4]
const PORTLESS = new Set(['gre', 'unknown'])
const IDS = new Set(['icmp', 'timestamp'])

function only(sent: Sent[], device: string): Uint8Array {
  expect(sent.map((s) => s.device)).toEqual([device])
  return sent[0]!.bytes
}

/** What the far end sees as its peer, as ends of an answer to it. */
function answerTo(frame: Uint8Array, name: string): Ends {
  const id = IDS.has(name)
  return {
    src: formatIpv4(dst(frame)),
    dst: formatIpv4(src(frame)),
    sport: PORTLESS.has(name) || id ? 0 : dport(frame),
    dport: PORTLESS.has(name) ? 0 : id ? echoId(frame) : sport(frame),
  }
}

/** Linux takes right UDP-Lite checksums for wrong ones; unless it does not look. */
function worldFor(name: string, seed: number): World {
  const w = new World(seed)
  if (name === 'udplite') w.host.tunables.set('net.netfilter.nf_conntrack_checksum', 0)
  return w
}

describe.each(Object.keys(PROTOCOLS))('%s', (name) => {
  const make = PROTOCOLS[name]!

  test('behind SNAT, DNAT or both comes back as it was', () => {
    const random = new SeededRandom(11)
    for (let round = 0; round < 60; round++) {
      const w = worldFor(name, round + 1)
      const kind = round % 3
      if (kind !== 1) w.snat(range({ min: '192.0.2.10', max: '192.0.2.20', persistent: random.once(2) }))
      if (kind !== 0) w.dnat(range({ min: '192.0.2.77' }))
      const ends: Ends = {
        src: `10.0.0.${2 + random.below(250)}`,
        dst: `198.51.100.${1 + random.below(250)}`,
        sport: 1 + random.below(65535),
        dport: 1 + random.below(65535),
      }
      const first = make(ends, false, random.below(60))
      const out = only(w.send(w.t0, first), 't1')
      expect(valid(out)).toBe(true)
      const source = formatIpv4(src(out))
      if (kind === 1) expect(source).toBe(ends.src)
      else expect(source).toMatch(/^192\.0\.2\.(1\d|20)$/)
      expect(formatIpv4(dst(out))).toBe(kind === 0 ? ends.dst : '192.0.2.77')

      const data = random.below(60)
      const reply = make(answerTo(out, name), true, data)
      const back = only(w.send(w.t1, reply), 't0')
      expect(valid(back)).toBe(true)
      const plain = make({ src: ends.dst, dst: ends.src, sport: ends.dport, dport: ends.sport }, true, data)
      expect(toHex(back)).toBe(toHex(hop(plain)))

      // The same once more, established: the same translation, and no walk of the rules.
      const walks = w.walks.join()
      if (name !== 'tcp' && name !== 'sctp') expect(toHex(w.one(w.t0, first))).toBe(toHex(out))
      expect(w.walks.join()).toBe(walks)
    }
  })

  test('an error about it is about what its sender sent', () => {
    for (let round = 0; round < 40; round++) {
      const w = worldFor(name, round + 7)
      const kind = round % 3
      if (kind !== 1) w.snat(range({ min: '192.0.2.10' }))
      if (kind !== 0) w.dnat(range({ min: '192.0.2.77' }))
      const ends: Ends = { src: '10.0.0.9', dst: '198.51.100.4', sport: 4000 + round, dport: 80 }
      const first = make(ends, false, 30)
      const out = only(w.send(w.t0, first), 't1')
      // From the destination itself, and from a router on the way; all of the packet, or only its first bytes.
      for (const from of [formatIpv4(dst(out)), '203.0.113.5']) {
        for (const length of [548, 28 + (round % 12)]) {
          const error = icmpError(3, round % 4, out, { src: from, quote: length })
          const back = only(w.send(w.t1, error), 't0')
          expect(valid(back)).toBe(true)
          expect(formatIpv4(dst(back))).toBe(ends.src)
          // Behind DNAT routers on the way hide too, as on Linux.
          const known = kind === 0 ? from : ends.dst
          expect(formatIpv4(src(back))).toBe(known)
          const inner = quote(back)
          const want = hop(first).slice(0, length)
          // SCTP's checksum is made anew over what there is of the packet, and so is wrong where it is cut.
          if (name === 'sctp') for (const f of [inner, want]) f.fill(0, 28, 32)
          // Eight bytes of TCP hold no checksum to correct, sixteen and more do not either.
          if (name === 'tcp' && length < 40) for (const f of [inner, want]) f.fill(0, 36)
          expect(toHex(inner)).toBe(toHex(want))
        }
      }
    }
  })

  test('an error about an answer is about the answer as it was sent', () => {
    const w = worldFor(name, 3)
    w.snat(range({ min: '192.0.2.10' }))
    const ends: Ends = { src: '10.0.0.9', dst: '198.51.100.4', sport: 4000, dport: 80 }
    const out = w.one(w.t0, make(ends, false, 30))
    const reply = make(answerTo(out, name), true, 30)
    const back = w.one(w.t1, reply)
    const error = w.one(w.t0, icmpError(3, 3, back))
    expect(valid(error)).toBe(true)
    expect(formatIpv4(src(error))).toBe('192.0.2.10')
    expect(formatIpv4(dst(error))).toBe('198.51.100.4')
    expect(toHex(quote(error))).toBe(toHex(hop(reply)))
  })
})

test('a redirect about a translated connection is dropped', () => {
  const w = new World()
  w.snat(range({ min: '192.0.2.10' }))
  const out = w.one(w.t0, udp({ src: '10.0.0.9', dst: '198.51.100.4', sport: 4000, dport: 80 }))
  const redirect = icmpError(5, 1, out, { src: '192.0.2.200', rest: 0xc0000203 })
  expect(w.send(w.t1, redirect)).toEqual([])
})

test('PPTP call ids are keys of the destination', () => {
  const w = new World()
  w.snat(range({ min: '192.0.2.10' }))
  const out = w.one(w.t0, gre({ src: '10.0.0.9', dst: '198.51.100.4', callId: 5, payload: 20 }))
  expect(formatIpv4(src(out))).toBe('192.0.2.10')
  expect(out[26]! * 256 + out[27]!).toBe(5)
  // Nothing that has no room for a call id is let through translated.
  const short = ip4({ src: '10.0.0.8', dst: '198.51.100.4', proto: 47, payload: [0x30, 1, 0x88, 0x0b] })
  expect(w.send(w.t0, short)).toEqual([])
})

test('an INVALID packet passes untranslated', () => {
  const w = new World()
  w.snat(range({ min: '192.0.2.10' }))
  const bad = tcp({ src: '10.0.0.9', dst: '198.51.100.4', sport: 1, dport: 2, flags: 'S', badChecksum: true })
  expect(toHex(w.one(w.t0, bad))).toBe(toHex(hop(bad)))
})

test('so does UDP-Lite, whose checksum is looked at as if it were UDP', () => {
  const w = new World()
  w.snat(range({ min: '192.0.2.10' }))
  const good = udplite({ src: '10.0.0.9', dst: '198.51.100.4', sport: 1, dport: 2, payload: 9 })
  expect(toHex(w.one(w.t0, good))).toBe(toHex(hop(good)))
})

test('a connection that was there before NAT stays as it is', () => {
  const w = new World()
  const frame = udp({ src: '10.0.0.9', dst: '198.51.100.4', sport: 1000, dport: 53 })
  // Confirmed without a binding: as if the nat table had not been there.
  w.chains[Hook.PostRouting] = () => 1
  w.one(w.t0, frame)
  w.conntrack.forEach((entry) => {
    w.conntrack.table.words[entry * STRIDE + STATUS]! &= ~0x180
  })
  w.snat(range({ min: '192.0.2.10' }))
  expect(toHex(w.one(w.t0, frame))).toBe(toHex(hop(frame)))
})

test('NETMAP keeps the host part', () => {
  const w = new World()
  const net = range({ min: '192.0.2.0', max: '192.0.2.63', netmap: true })
  w.chains[Hook.PostRouting] = (pkt) => w.nat.setup(pkt, net, Manip.Src)
  const out = w.one(w.t0, udp({ src: '10.0.0.201', dst: '198.51.100.4', sport: 1000, dport: 53 }))
  expect(formatIpv4(src(out))).toBe('192.0.2.9') // 201 & 63
  const inward = range({ min: '10.0.0.0', max: '10.0.0.255', netmap: true })
  w.chains[Hook.PreRouting] = (pkt) => w.nat.setup(pkt, inward, Manip.Dst)
  const into = w.one(w.t1, udp({ src: '198.51.100.4', dst: '192.0.2.33', sport: 1000, dport: 53 }))
  expect(formatIpv4(dst(into))).toBe('10.0.0.33')
})

test('the quoted header is what changeAddress4 makes of it', () => {
  // The inner header checksum of a damaged quote stays as damaged as it was (incremental, not anew).
  const w = new World()
  w.snat(range({ min: '192.0.2.10' }))
  const first = udp({ src: '10.0.0.9', dst: '198.51.100.4', sport: 4000, dport: 80, payload: 4 })
  const out = w.one(w.t0, first)
  out[10]! ^= 0x40
  const back = w.one(w.t1, icmpError(3, 3, out))
  const inner = quote(back)
  const m = new FrameMemory(1, 256)
  m.bytes.set(out, 0)
  changeAddress4(m, 0, out.length, 12, ip('10.0.0.9'))
  expect(toHex(inner)).toBe(toHex(m.bytes.slice(0, out.length)))
})
