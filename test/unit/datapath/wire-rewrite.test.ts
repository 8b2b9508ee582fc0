// Incremental checksums against checksums made anew: after any chain of rewrites a frame is one that frames.ts would
// have built.

import { describe, expect, test } from 'vitest'
import { FragmentList, Packet } from '../../../datapath/packet.ts'
import { fill4 } from '../../../datapath/parse.ts'
import {
  addTcpMss,
  changeAddress4,
  changePort,
  decreaseTtl,
  ensureWritable,
  refreshIcmpChecksum,
  setDestination4,
  setDestinationAndPort4,
  setDestinationPort,
  setIcmpId,
  setSource4,
  setSourceAndPort4,
  setSourcePort,
  setTcp32,
  setTcpMss,
  setTos,
  setTtl,
} from '../../../datapath/rewrite.ts'
import { FrameMemory, HEADROOM } from '../../../datapath/ring.ts'
import { fold, sum, transportChecksumOk } from '../../../datapath/wire/checksum.ts'
import { TCP_SEQ, TCPOPT_MSS, tcpOption } from '../../../datapath/wire/tcp.ts'
import {
  decode,
  fragment,
  icmp,
  icmpError,
  SeededRandom,
  sctp,
  tcp,
  toHex,
  udp,
  udplite,
} from '../../harness/frames.ts'

const memory = new FrameMemory(1, 2048)
const A = { src: '192.0.2.1', dst: '198.51.100.2', sport: 1024, dport: 80 }

function load(frame: Uint8Array): Packet {
  const pkt = new Packet()
  memory.bytes.set(frame, HEADROOM)
  pkt.slot = 0
  pkt.limit = memory.stride
  pkt.l3 = HEADROOM
  pkt.end = HEADROOM + frame.length
  fill4(pkt, memory.view, HEADROOM + (frame[0]! & 15) * 4)
  pkt.sum = fold(sum(memory.bytes, pkt.l3, pkt.end))
  pkt.sumFrom = pkt.l3
  pkt.sumEnd = pkt.end
  return pkt
}

const bytesOf = (pkt: Packet): Uint8Array => memory.bytes.slice(pkt.l3, pkt.end)

/** The cached fields are those of the bytes, and the checksums are right. */
function consistent(pkt: Packet): void {
  expect(fold(sum(memory.bytes, pkt.l3, pkt.l4))).toBe(0xffff)
  expect(transportChecksumOk(pkt, memory)).toBe(true)
  const fresh = new Packet()
  fresh.l3 = pkt.l3
  fresh.end = pkt.end
  fill4(fresh, memory.view, pkt.l4)
  expect([pkt.s0, pkt.d0, pkt.sport, pkt.dport, pkt.proto]).toEqual([
    fresh.s0,
    fresh.d0,
    fresh.sport,
    fresh.dport,
    fresh.proto,
  ])
  expect(memory.view.getUint16(pkt.l3 + 2)).toBe(pkt.end - pkt.l3)
}

const random = new SeededRandom(41)
const word = (): number => random.pick([random.u32() | 0, 0, -1, 0x0000ffff, 0xffff0000 | 0])
const port = (): number => random.pick([random.below(65536), 0, 0xffff])

/** What the two-in-one rewrites ask for. */
const whole = (p: Packet): boolean => (p.proto === 6 || p.proto === 17) && p.sport >= 0

const rewrites: Record<string, (pkt: Packet) => void> = {
  setSource4: (p) => setSource4(p, memory, word()),
  setDestination4: (p) => setDestination4(p, memory, word()),
  setSourcePort: (p) => setSourcePort(p, memory, port()),
  setDestinationPort: (p) => setDestinationPort(p, memory, port()),
  setSourceAndPort4: (p) => {
    if (whole(p)) setSourceAndPort4(p, memory, word(), port())
  },
  setDestinationAndPort4: (p) => {
    if (whole(p)) setDestinationAndPort4(p, memory, word(), port())
  },
  setIcmpId: (p) => setIcmpId(p, memory, port()),
  setTos: (p) => setTos(p, memory, random.below(256)),
  setTtl: (p) => setTtl(p, memory, random.below(256)),
  decreaseTtl: (p) => {
    if (memory.view.getUint8(p.l3 + 8) > 0) decreaseTtl(p, memory)
  },
  seq: (p) => {
    if (p.proto === 6) setTcp32(p, memory, p.l4 + TCP_SEQ, random.u32() | 0)
  },
  mss: (p) => {
    if (p.proto === 6) addTcpMss(p, memory, port())
  },
}

const payload = (): Uint8Array => random.bytes(random.below(60))
const frames: Record<string, () => Uint8Array> = {
  tcp: () =>
    tcp({ ...A, payload: payload(), tcpOptions: random.once(2) ? [1, 1, 8, 10, ...random.bytes(8)] : [] }),
  udp: () => udp({ ...A, payload: payload() }),
  udplite: () => udplite({ ...A, payload: payload(), coverage: random.pick([0, 8]) }),
  sctp: () => sctp(A),
  icmp: () => icmp({ ...A, echoId: 3, payload: payload() }),
  'icmp with options': () => icmp({ ...A, payload: payload(), options: [7, 7, 4, 0, 0, 0, 0] }),
}

describe.each(Object.entries(frames))('%s', (_, build) => {
  test('any chain of rewrites leaves right checksums and a true cache', () => {
    for (let n = 0; n < 400; n++) {
      const pkt = load(build())
      for (let i = random.below(6); i >= 0; i--) rewrites[random.pick(Object.keys(rewrites))]!(pkt)
      consistent(pkt)
    }
  })
})

test('UDP without a checksum gets none, and one never becomes none', () => {
  const none = load(udp({ ...A, noChecksum: true, payload: 4 }))
  setSourceAndPort4(none, memory, 1, 2)
  setDestination4(none, memory, 1)
  expect(memory.view.getUint16(none.l4 + 6)).toBe(0)
  const one = load(udp({ ...A, payload: 4 }))
  for (let p = 0; p < 65536; p++) {
    setSourcePort(one, memory, p)
    if (memory.view.getUint16(one.l4 + 6) === 0) expect.fail(`port ${p}`)
  }
  consistent(one)
})

test('a later fragment has no transport header to mend', () => {
  const part = fragment(udp({ ...A, payload: 100 }), 48)[1]!
  const pkt = load(part)
  for (const [name, rewrite] of Object.entries(rewrites)) if (name !== 'mss' && name !== 'seq') rewrite(pkt)
  expect(toHex(bytesOf(pkt).slice(20))).toBe(toHex(part.slice(20)))
  expect(fold(sum(memory.bytes, pkt.l3, pkt.l4))).toBe(0xffff)
})

test('the packet quoted in an ICMP error, whole or cut to eight bytes', () => {
  for (const quote of [28, 100]) {
    const pkt = load(icmpError(3, 3, tcp({ ...A, payload: 20 }), { quote }))
    const inner = pkt.l4 + 8
    changeAddress4(memory, inner, pkt.end, 12, 0x0a000001)
    changePort(memory, inner + 20, pkt.end, 6, 0, 7)
    refreshIcmpChecksum(memory, pkt.l4, pkt.end)
    const text = decode(bytesOf(pkt))
    expect(text).toMatch(/\[10\.0\.0\.1 > 198\.51\.100\.2 .* tcp 7 > 80 /)
    expect(text).not.toMatch(/BAD/)
  }
})

test('MSS: set where it is, added where it is not, and not to a full header', () => {
  const pkt = load(tcp({ ...A, flags: 'S', tcpOptions: [1, 1, 2, 4, 5, 0xb4] }))
  setTcpMss(pkt, memory, tcpOption(memory.view, pkt.l4, TCPOPT_MSS), 536)
  expect(toHex(bytesOf(pkt).slice(40))).toBe('0101020402180000')
  consistent(pkt)
  const bare = load(tcp({ ...A, flags: 'S', payload: [1, 2, 3] }))
  expect(addTcpMss(bare, memory, 1360)).toBe(true)
  expect(toHex(bytesOf(bare).slice(40))).toBe('02040550010203')
  consistent(bare)
  const full = load(tcp({ ...A, flags: 'S', tcpOptions: new Array(40).fill(1) }))
  expect(addTcpMss(full, memory, 1360)).toBe(false)
  consistent(full)
})

test('ensureWritable pulls from the pieces behind, whole ones and parts', () => {
  const pieces = (sizes: number[], length: number): number[] => {
    const pkt = load(tcp({ ...A, payload: sizes.reduce((a, b) => a + b) - 20 }))
    pkt.fragList = new FragmentList()
    pkt.fragList.header = 20
    pkt.fragList.sizes.set(sizes)
    pkt.fragList.count = sizes.length
    ensureWritable(pkt, length)
    return [...pkt.fragList.sizes.slice(0, pkt.fragList.count)]
  }
  expect(pieces([24, 8, 100], 40)).toEqual([24, 8, 100])
  expect(pieces([8, 100], 40)).toEqual([20, 88])
  expect(pieces([8, 8, 100], 40)).toEqual([20, 96])
  expect(pieces([8, 8, 4], 40)).toEqual([20])
  expect(pieces([8, 8, 8], 45)).toEqual([8, 8, 8])
})
