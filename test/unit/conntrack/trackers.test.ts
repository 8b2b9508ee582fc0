// What each protocol makes of its packets, but for TCP and SCTP, which have tests of their own.

import { describe, expect, it } from 'vitest'
import { track } from '../../../conntrack/hooks.ts'
import { Status } from '../../../conntrack/table.ts'
import { Hook } from '../../../datapath/hooks.ts'
import { CtInfo } from '../../../datapath/packet.ts'
import { fold } from '../../../datapath/wire/checksum.ts'
import { gre, icmp, icmpError, ip4, udplite } from '../../harness/frames.ts'
import { A, B, back, lines, Rig, there } from './support.ts'

describe('UDP', () => {
  it('is a stream after an answer and two seconds (nf_conntrack_udp_packet)', () => {
    const rig = new Rig()
    const steps: [number, Uint8Array, string, string][] = [
      [0, there(), 'N', '29 U'],
      [1, there(), 'N', '29 U'],
      [0, back(), 'E', '29 '],
      [0, there(), 'E', '29 '],
      [0.5, there(), 'E', '29 '],
      [0.6, there(), 'E', '119 A'],
      [1, back(), 'E', '119 A'],
    ]
    for (const [wait, frame, state, after] of steps) {
      rig.pass(wait)
      expect(rig.forward(frame)).toBe(state)
      rig.pass(0.001)
      const [entry] = rig.entries()
      const bits = rig.status(entry!)
      const text = `${rig.ct.remaining(entry!)} ${bits & Status.SeenReply ? '' : 'U'}${bits & Status.Assured ? 'A' : ''}`
      expect(text).toBe(after)
    }
  })

  it('stays a stream for months', () => {
    const rig = new Rig()
    const days = 86400
    rig.set('udp_timeout_stream', 20 * days)
    for (const wait of [0, 1, 3, 10 * days, 15 * days, 14 * days, 19 * days, 11 * days]) {
      rig.pass(wait)
      for (const frame of [there(), back()]) rig.forward(frame)
    }
    expect(rig.entries().map((entry) => rig.ct.remaining(entry))).toEqual([20 * days])
    rig.pass(13 * days)
    rig.forward(there())
    expect(rig.entries().map((entry) => rig.ct.remaining(entry))).toEqual([20 * days])
  })

  it('counts broken datagrams as INVALID (udp_error)', () => {
    const rig = new Rig()
    expect(rig.forward(there({ badChecksum: true }))).toBe('I')
    expect(rig.forward(there({ udpLength: 7 }))).toBe('I')
    expect(rig.forward(there({ udpLength: 19 }))).toBe('I')
    expect(rig.forward(ip4({ src: A, dst: B, proto: 17, payload: [0, 1, 0, 2, 0, 4] }))).toBe('I')
    expect(rig.forward(ip4({ src: A, dst: B, proto: 17, payload: [0, 1] }))).toBe('I')
    expect(rig.ct.stats.invalid).toBe(5)
    expect(rig.ct.table.used).toBe(0)
    expect(rig.forward(there({ noChecksum: true }))).toBe('N')
    expect(rig.forward(there({ udpLength: 17, noChecksum: true }))).toBe('N')
    rig.set('checksum', 0)
    expect(rig.forward(there({ badChecksum: true }))).toBe('N')
  })

  it('checks sums only of what arrives', () => {
    const rig = new Rig()
    const pkt = rig.packet(there({ badChecksum: true }))
    track(rig.ct, pkt, Hook.LocalOut)
    expect(rig.ct.stateBit(pkt)).toBe(8)
    rig.done(pkt)
    expect(rig.ct.table.used).toBe(0)
  })

  it('UDP-Lite needs a checksum and is assured at once (udplite_error, nf_conntrack_udplite_packet)', () => {
    const rig = new Rig()
    const o = { src: A, dst: B, sport: 1, dport: 2, payload: 20 }
    const r = { src: B, dst: A, sport: 2, dport: 1, payload: 20 }
    // The kernel sums with UDP's number in the pseudo header, so that a right sum is a wrong one: seen with 6.18.
    for (const coverage of [0, 8, 12, 28]) expect(rig.forward(udplite({ ...o, coverage }))).toBe('I')
    const asUdp = (frame: Uint8Array): Uint8Array => {
      const v = new DataView(frame.buffer)
      v.setUint16(26, ~fold((~v.getUint16(26) & 0xffff) + (~136 & 0xffff) + 17) & 0xffff)
      return frame
    }
    expect(rig.forward(asUdp(udplite({ ...o, badChecksum: true })))).toBe('I')
    expect(rig.forward(asUdp(udplite({ ...o, coverage: 7 })))).toBe('I')
    expect(rig.forward(asUdp(udplite({ ...o, coverage: 29 })))).toBe('I')
    expect(rig.forward(asUdp(udplite({ ...o, coverage: 8 })))).toBe('N')
    expect(rig.forward(asUdp(udplite(r)))).toBe('E')
    rig.set('checksum', 0)
    expect(rig.forward(udplite(o))).toBe('E')
    expect(lines(rig)).toEqual([
      'udplite  136 120 src=10.0.0.1 dst=10.0.0.2 sport=1 dport=2 src=10.0.0.2 dst=10.0.0.1 sport=2 dport=1 [ASSURED] mark=0 use=1',
    ])
  })
})

describe('ICMP', () => {
  const flow = (): Uint8Array => there()

  it('tracks queries and refuses the rest (nf_conntrack_icmp_packet)', () => {
    for (let type = 0; type < 256; type++) {
      const rig = new Rig()
      const state = rig.forward(icmp({ src: A, dst: B, type, echoId: 7 }))
      expect(`${type} ${state}`).toBe(`${type} ${[8, 13, 15, 17].includes(type) ? 'N' : 'I'}`)
    }
    const rig = new Rig()
    rig.forward(icmp({ src: A, dst: B, type: 13, code: 3, echoId: 7 }))
    expect(rig.forward(icmp({ src: B, dst: A, type: 14, code: 3, echoId: 8 }))).toBe('I')
    expect(rig.forward(icmp({ src: B, dst: A, type: 14, code: 2, echoId: 7 }))).toBe('I')
    expect(rig.forward(icmp({ src: B, dst: A, type: 14, code: 3, echoId: 7 }))).toBe('E')
    expect(lines(rig)).toEqual([
      'icmp     1 30 src=10.0.0.1 dst=10.0.0.2 type=13 code=3 id=7 src=10.0.0.2 dst=10.0.0.1 type=14 code=3 id=7 mark=0 use=1',
    ])
  })

  it('an error belongs to the connection it quotes (nf_conntrack_inet_error)', () => {
    const rig = new Rig()
    expect(rig.forward(icmpError(3, 1, flow()))).toBe('I')
    expect(rig.ct.stats.error).toBe(1)
    rig.forward(flow())
    expect(rig.forward(icmpError(3, 1, flow()))).toBe('R')
    expect(rig.forward(icmpError(11, 0, flow(), { src: '192.0.2.9' }))).toBe('R')
    expect(rig.forward(icmpError(3, 1, flow(), { badChecksum: true }))).toBe('I')
    // Not to the sender of what it quotes.
    expect(rig.forward(icmpError(3, 1, flow(), { dst: '10.0.0.77' }))).toBe('I')
    // Only the ports of the quoted datagram are needed.
    expect(rig.forward(icmpError(3, 1, flow(), { quote: 24 }))).toBe('R')
    expect(rig.forward(icmpError(3, 1, flow(), { quote: 23 }))).toBe('I')
    expect(rig.forward(icmpError(3, 1, flow(), { quote: 19 }))).toBe('I')
    const fragment = flow()
    fragment[7] = 1
    expect(rig.forward(icmpError(3, 1, fragment))).toBe('I')
    // An error does not answer: the connection stays unreplied.
    expect(rig.status(rig.entries()[0]!) & Status.SeenReply).toBe(0)
  })

  it('in the other direction it is RELATED without being a reply', () => {
    const rig = new Rig()
    rig.forward(there())
    rig.forward(back())
    const infos: number[] = []
    rig.forward(icmpError(3, 3, back()), (pkt) => infos.push(pkt.ctInfo))
    rig.forward(icmpError(3, 3, there()), (pkt) => infos.push(pkt.ctInfo))
    expect(infos).toEqual([CtInfo.Related, CtInfo.RelatedReply])
  })

  it('does not answer errors about errors', () => {
    const rig = new Rig()
    rig.forward(flow())
    expect(rig.forward(icmpError(3, 1, icmpError(3, 1, flow())))).toBe('I')
  })
})

describe('other protocols', () => {
  it('are told apart by address (generic_packet)', () => {
    const rig = new Rig()
    expect(rig.forward(ip4({ src: A, dst: B, proto: 89, payload: 5 }))).toBe('N')
    expect(rig.forward(ip4({ src: A, dst: B, proto: 50, payload: 0 }))).toBe('N')
    expect(rig.forward(ip4({ src: B, dst: A, proto: 89, payload: 9 }))).toBe('E')
    expect(lines(rig)).toEqual([
      'unknown  89 600 src=10.0.0.1 dst=10.0.0.2 src=10.0.0.2 dst=10.0.0.1 mark=0 use=1',
      'unknown  50 600 src=10.0.0.1 dst=10.0.0.2 [UNREPLIED] src=10.0.0.2 dst=10.0.0.1 mark=0 use=1',
    ])
  })

  it('GRE: version 1 by call id, others by address (gre_pkt_to_tuple)', () => {
    const rig = new Rig()
    expect(rig.forward(gre({ src: A, dst: B, payload: 10 }))).toBe('N')
    expect(rig.forward(gre({ src: B, dst: A, key: 5 }))).toBe('E')
    expect(rig.forward(gre({ src: A, dst: B, key: 5 }))).toBe('E')
    expect(rig.forward(gre({ src: A, dst: B, callId: 7 }))).toBe('N')
    expect(rig.forward(ip4({ src: A, dst: B, proto: 47, payload: [0x30, 1, 8, 0, 0, 0, 0, 7] }))).toBe('I')
    expect(lines(rig)).toEqual([
      'gre      47 180 src=10.0.0.1 dst=10.0.0.2 srckey=0x0 dstkey=0x0 src=10.0.0.2 dst=10.0.0.1 srckey=0x0 dstkey=0x0 [ASSURED] mark=0 use=1',
      'gre      47 30 src=10.0.0.1 dst=10.0.0.2 srckey=0x0 dstkey=0x7 [UNREPLIED] src=10.0.0.2 dst=10.0.0.1 srckey=0x7 dstkey=0x0 mark=0 use=1',
    ])
  })
})
