// Sysctls of nf_conntrack, and what conntrack -L prints of an entry.

import { describe, expect, it } from 'vitest'
import { formatEntry } from '../../../conntrack/print.ts'
import { EXTENSIONS, LABELS, STRIDE } from '../../../conntrack/table.ts'
import { tcp } from '../../harness/frames.ts'
import { A, B, back, lines, Rig, there } from './support.ts'

describe('sysctls and printing', () => {
  it('has the names and defaults of the kernel', () => {
    const rig = new Rig()
    const known =
      `acct 0, buckets 262144, checksum 1, count 0, events 2, expect_max 4096, generic_timeout 600,
      gre_timeout 30, gre_timeout_stream 180, icmp_timeout 30, icmpv6_timeout 30, log_invalid 0, max 262144,
      sctp_timeout_closed 10, sctp_timeout_cookie_echoed 3, sctp_timeout_cookie_wait 3, sctp_timeout_established 210,
      sctp_timeout_heartbeat_sent 30, sctp_timeout_shutdown_ack_sent 3, sctp_timeout_shutdown_recd 3,
      sctp_timeout_shutdown_sent 3, tcp_be_liberal 0, tcp_ignore_invalid_rst 0, tcp_loose 1, tcp_max_retrans 3,
      tcp_timeout_close 10, tcp_timeout_close_wait 60, tcp_timeout_established 432000, tcp_timeout_fin_wait 120,
      tcp_timeout_last_ack 30, tcp_timeout_max_retrans 300, tcp_timeout_syn_recv 60, tcp_timeout_syn_sent 120,
      tcp_timeout_time_wait 120, tcp_timeout_unacknowledged 300, timestamp 0, udp_timeout 30, udp_timeout_stream 120`
        .split(',')
        .map((l) => l.trim().split(' '))
    for (const [name, value] of known)
      expect(`${name} ${rig.tunables.text(`net.netfilter.nf_conntrack_${name}`)}`).toBe(`${name} ${value}`)
    const ours = rig.tunables.names().filter((n) => n.startsWith('net.netfilter.'))
    expect(ours).toEqual(known.map(([name]) => `net.netfilter.nf_conntrack_${name}`).sort())
    expect(rig.tunables.get('net.nf_conntrack_max')).toBe(262144)
  })

  it('a timeout counts from the next packet on', () => {
    const rig = new Rig()
    rig.forward(there())
    rig.set('udp_timeout', 500)
    expect(rig.ct.remaining(rig.entries()[0]!)).toBe(30)
    rig.forward(there())
    expect(rig.ct.remaining(rig.entries()[0]!)).toBe(500)
    rig.set('udp_timeout', 1)
    rig.forward(there())
    rig.pass(1)
    expect(rig.entries()).toEqual([])
  })

  it('counts packets and bytes of entries made with nf_conntrack_acct', () => {
    const rig = new Rig()
    rig.forward(there())
    rig.set('acct', 1)
    rig.set('timestamp', 1)
    rig.forward(there())
    rig.forward(there({ sport: 9 }))
    rig.forward(there({ sport: 9 }))
    rig.forward(back({ dport: 9 }))
    rig.pass(2)
    rig.ct.setMark(rig.entries()[1]!, 5)
    expect(lines(rig)).toEqual([
      'udp      17 28 src=10.0.0.1 dst=10.0.0.2 sport=1 dport=2 [UNREPLIED] src=10.0.0.2 dst=10.0.0.1 sport=2 dport=1 mark=0 use=1',
      'udp      17 28 src=10.0.0.1 dst=10.0.0.2 sport=9 dport=2 packets=2 bytes=76 src=10.0.0.2 dst=10.0.0.1 sport=2 dport=9 packets=1 bytes=48 mark=5 delta-time=2 use=1',
    ])
    rig.ct.zeroAcct(rig.entries()[1]!)
    expect(lines(rig)[1]).toContain('packets=0 bytes=0')
  })

  it('prints as conntrack -L of conntrack-tools 1.4.7 did', () => {
    const rig = new Rig()
    rig.forward(tcp({ src: A, dst: B, sport: 1, dport: 2, flags: 'S', seq: 9 }))
    rig.forward(tcp({ src: B, dst: A, sport: 2, dport: 1, flags: 'SA', seq: 9, ack: 10 }))
    rig.forward(tcp({ src: A, dst: B, sport: 1, dport: 2, flags: 'A', seq: 10, ack: 10 }))
    const base =
      'tcp      6 432000 ESTABLISHED src=10.0.0.1 dst=10.0.0.2 sport=1 dport=2 src=10.0.0.2 dst=10.0.0.1 sport=2 dport=1 [ASSURED] mark=0 use=1'
    expect(lines(rig)).toEqual([base])
    expect(lines(rig, { extended: true })).toEqual([`ipv4     2 ${base}`])
    expect(lines(rig, { extended: true, id: true })[0]).toMatch(/ use=1 id=[1-9]\d*$/)
    expect(rig.ct.statistics()).toBe(
      'cpu=0   \tfound=0 invalid=0 insert=0 insert_failed=0 drop=0 early_drop=0 error=0 search_restart=0 clash_resolve=0 chaintoolong=0 ',
    )
  })

  it('labels', () => {
    const rig = new Rig()
    const undo = rig.ct.needLabels()
    rig.forward(there())
    undo()
    rig.forward(there({ sport: 3 }))
    const [labelled, plain] = rig.entries()
    expect(rig.ct.table.words[labelled! * STRIDE + EXTENSIONS]! & 2).toBe(2)
    expect(rig.ct.table.words[plain! * STRIDE + EXTENSIONS]! & 2).toBe(0)
    rig.ct.table.setExtra(labelled!, LABELS + 3, 1 << 31)
    const name = (bit: number): string | undefined => (bit === 127 ? 'last' : undefined)
    expect(formatEntry(rig.ct, labelled!, { labels: name })).toMatch(/use=1 labels=last$/)
    expect(formatEntry(rig.ct, labelled!, { labels: true })).toMatch(/use=1$/)
  })

  it('says why a packet is INVALID when asked', () => {
    const rig = new Rig()
    const said: string[] = []
    rig.ct.core.onInvalid = (_, text) => said.push(text)
    rig.forward(there({ badChecksum: true }))
    rig.set('log_invalid', 6)
    rig.forward(there({ badChecksum: true }))
    rig.set('log_invalid', 255)
    rig.forward(there({ badChecksum: true }))
    rig.forward(tcp({ src: A, dst: B, sport: 1, dport: 2, flags: '' }))
    expect(said).toEqual(['nf_ct_proto_17: bad checksum ', 'nf_ct_proto_6: invalid tcp flag combination '])
  })
})
