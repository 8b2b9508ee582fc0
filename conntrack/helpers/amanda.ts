// Amanda (nf_conntrack_amanda.c and nf_nat_amanda.c, Linux 6.18): a backup client answers with the ports on which it
// waits for the server's TCP connections.
//
//     CONNECT DATA 50001 MESG 50002 INDEX 50003\n

import { Verdict } from '../../datapath/hooks.ts'
import type { Packet } from '../../datapath/packet.ts'
import { IPPROTO_TCP, IPPROTO_UDP } from '../../datapath/wire/protocol.ts'
import { UDP_HEADER_LEN } from '../../datapath/wire/udp.ts'
import type { Conntrack } from '../conntrack.ts'
import {
  ALL_PORTS,
  announceAtFreePort,
  announceOrRefuse,
  BOTH,
  CANNOT_MANGLE,
  destinationOf,
  expectation,
  followMaster,
  type HelperKind,
  isTranslated,
  refuse,
  sourceOf,
} from './helper.ts'
import { ascii, mangleUdp } from './mangle.ts'
import { decimal, find } from './text.ts'

/** Answers may take long (master_timeout). */
const MASTER_TIMEOUT_MS = 300_000
const STREAMS = ['DATA ', 'MESG ', 'INDEX ', 'STATE ']
/** Digits of a port. */
const MAX_DIGITS = 5

function create(ct: Conntrack): ReturnType<HelperKind['create']> {
  const { bytes } = ct.host.memory
  const follow = followMaster(ct)

  const help = (pkt: Packet, entry: number, dir: number): Verdict => {
    if (dir === 0) return Verdict.Accept
    ct.core.prolong(entry, MASTER_TIMEOUT_MS)
    const data = pkt.l4 + UDP_HEADER_LEN
    const connect = find(bytes, data, pkt.end, 'CONNECT ')
    if (connect < 0) return Verdict.Accept
    const start = connect - data + 'CONNECT '.length
    const newline = find(bytes, data + start, pkt.end, '\n')
    if (newline < 0) return Verdict.Accept
    // A port that grows by a digit moves what is behind it out of sight, as in the kernel.
    const stop = newline - data
    let verdict: Verdict = Verdict.Accept
    for (const stream of STREAMS) {
      const base = pkt.l4 + UDP_HEADER_LEN
      const found = find(bytes, base + start, base + stop, stream)
      if (found < 0) continue
      const at = found + stream.length
      const number = decimal(bytes, at, Math.min(at + MAX_DIGITS, base + stop))
      const port = number.value & 0xffff
      if (port === 0) break
      verdict = expect(pkt, entry, at - base, number.end - at, port)
    }
    return verdict
  }

  const expect = (pkt: Packet, entry: number, offset: number, length: number, port: number): Verdict => {
    const e = expectation(ct, entry, {
      source: sourceOf(ct, entry, 0),
      destination: destinationOf(ct, entry, 0),
      protocol: IPPROTO_TCP,
      sport: null,
      dport: port,
    })
    if (!isTranslated(ct, entry)) return announceOrRefuse(ct, pkt, entry, e)
    e.nat = { dir: 0, port }
    e.onMatch = follow
    const free = announceAtFreePort(ct, e, port)
    if (free === 0) return refuse(ct, pkt, entry, ALL_PORTS)
    if (mangleUdp(ct, pkt, offset, length, ascii(`${free}`))) return Verdict.Accept
    ct.expectations.remove(e)
    return refuse(ct, pkt, entry, CANNOT_MANGLE)
  }

  return { policies: [{ max: 4, seconds: 180 }], help }
}

export const amanda: HelperKind = { name: 'amanda', families: BOTH, protocols: [IPPROTO_UDP], create }
