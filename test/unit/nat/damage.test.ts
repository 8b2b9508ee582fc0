// Whatever the bytes: nothing throws, nothing leaks.

import { expect, test } from 'vitest'
import { gre, icmp, icmpError, ip4, SeededRandom, sctp, tcp, udp, udplite } from '../../harness/frames.ts'
import { range, World } from './world.ts'

const ADDRESSES = ['10.0.0.2', '10.0.0.3', '198.51.100.4', '192.0.2.5', '192.0.2.10', '10.0.0.1', '192.0.2.1']

/** A random packet between a few addresses. */
function packet(r: SeededRandom): Uint8Array {
  const ends = { src: r.pick(ADDRESSES), dst: r.pick(ADDRESSES), payload: r.below(40) }
  const ports = { sport: r.below(65536), dport: r.below(65536) }
  switch (r.below(7)) {
    case 0:
      return udp({ ...ends, ...ports })
    case 1:
      return tcp({ ...ends, ...ports, flags: r.below(64) })
    case 2:
      return icmp({ ...ends, type: r.below(20), echoId: r.below(9) })
    case 3:
      return sctp({ ...ends, ...ports })
    case 4:
      return gre(r.once(2) ? { ...ends, callId: 5 } : ends)
    case 5:
      return udplite({ ...ends, ...ports })
    default:
      return ip4({ ...ends, proto: r.below(256) })
  }
}

test('damaged frames and errors about them', () => {
  const r = new SeededRandom(77)
  const w = new World(3)
  w.snat(range({ min: '192.0.2.10', max: '192.0.2.12', ports: [1, 60_000] }))
  w.dnat(range({ min: '192.0.2.77' }))
  const seen: Uint8Array[] = []
  let left = 0
  for (let i = 0; i < 30_000; i++) {
    let frame = packet(r)
    if (seen.length > 0 && r.once(2)) {
      const about = r.pick(seen)
      frame = r.once(2)
        ? icmpError(r.below(20), r.below(16), about, { quote: 20 + r.below(60) })
        : about.slice()
    }
    if (r.once(3)) for (let k = r.below(4); k >= 0; k--) frame[r.below(frame.length)]! ^= 1 << r.below(8)
    if (r.once(6)) frame = frame.slice(0, 1 + r.below(frame.length))
    w.host.now += 1
    if (i % 1000 === 0) w.conntrack.tick()
    for (const sent of w.send(r.once(2) ? w.t0 : w.t1, frame)) {
      left++
      seen[seen.length < 200 ? seen.length : r.below(200)] = sent.bytes
    }
  }
  expect(left).toBeGreaterThan(10_000)
  expect(w.conntrack.count).toBeGreaterThan(100)
  w.conntrack.flush()
  expect(w.conntrack.table.used).toBe(0)
})
