// ICMPv6: what is tracked, what is let pass untracked, what belongs to the connection that it quotes.

import { describe, expect, it } from 'vitest'
import { formatEntry } from '../../../conntrack/print.ts'
import { icmp, icmpError, udp } from '../../harness/frames.ts'
import { Rig } from './support.ts'

const A = 'fd00:1::2'
const B = 'fd00:2::2'
const there = udp({ src: A, dst: B, sport: 4000, dport: 53, payload: 10 })

describe('ICMPv6', () => {
  // Type, code, what it is to ctstate alone, and as the answer to an echo request with the same identifier.
  it.each([
    [128, 0, 'N', 'N', 'echo request: nf_conntrack_icmpv6_packet'],
    [129, 0, 'I', 'E', 'echo reply: icmpv6_invmap'],
    [139, 0, 'N', 'N', 'node information query: RFC 4620'],
    [140, 0, 'I', 'I', 'node information reply without a query'],
    [130, 0, 'U', 'U', 'listener query: noct_valid_new'],
    [131, 0, 'U', 'U', 'listener report'],
    [132, 0, 'U', 'U', 'listener done'],
    [133, 0, 'U', 'U', 'router solicitation'],
    [134, 0, 'U', 'U', 'router advertisement'],
    [135, 0, 'U', 'U', 'neighbour solicitation'],
    [136, 0, 'U', 'U', 'neighbour advertisement'],
    [143, 0, 'U', 'U', 'listener report, version 2'],
    [144, 0, 'I', 'I', 'home agent discovery: no inverse'],
    [200, 0, 'I', 'I', 'nobody knows it'],
    [0, 0, 'I', 'I', 'an error that quotes nothing'],
  ])('type %i code %i: %s, %s (%s)', (type, code, alone, answered) => {
    const message = (): Uint8Array => icmp({ src: B, dst: A, type, code, echoId: 77, payload: 8 })
    expect(new Rig().forward(message())).toBe(alone)
    const rig = new Rig()
    expect(rig.forward(icmp({ src: A, dst: B, type: 128, echoId: 77, payload: 8 }))).toBe('N')
    expect(rig.forward(message())).toBe(answered)
  })

  it('query and reply are one connection, told apart by identifier', () => {
    const rig = new Rig()
    rig.set('icmpv6_timeout', 7)
    expect(rig.forward(icmp({ src: A, dst: B, type: 128, echoId: 1, payload: 8 }))).toBe('N')
    expect(rig.forward(icmp({ src: B, dst: A, type: 129, echoId: 2, payload: 8 }))).toBe('I')
    expect(rig.forward(icmp({ src: B, dst: A, type: 129, echoId: 1, payload: 8 }))).toBe('E')
    const [entry] = rig.entries()
    expect(formatEntry(rig.ct, entry!, { extended: true })).toBe(
      `ipv6     10 icmpv6   58 7 src=${A} dst=${B} type=128 code=0 id=1 src=${B} dst=${A} type=129 code=0 id=1 mark=0 use=1`,
    )
  })

  it.each([1, 2, 3, 4, 100, 127])(
    'error %i is RELATED to what it quotes (nf_conntrack_inet_error)',
    (type) => {
      const rig = new Rig()
      rig.forward(there)
      expect(rig.forward(icmpError(type, 0, there))).toBe('R')
      expect(rig.forward(icmpError(type, 0, there, { src: 'fd00:9::9' }))).toBe('R')
      expect(rig.forward(icmpError(type, 0, there, { dst: 'fd00:9::9' }))).toBe('I')
      expect(rig.forward(icmpError(type, 0, there, { badChecksum: true }))).toBe('I')
      expect(rig.forward(icmpError(type, 0, there, { quote: 43 }))).toBe('I')
      expect(rig.entries().length).toBe(1)
    },
  )

  it('a damaged query is INVALID, unless nobody looks (nf_conntrack_checksum)', () => {
    const rig = new Rig()
    const damaged = icmp({ src: A, dst: B, type: 128, echoId: 1, badChecksum: true })
    expect(rig.forward(damaged)).toBe('I')
    rig.set('checksum', 0)
    expect(rig.forward(damaged)).toBe('N')
  })
})
