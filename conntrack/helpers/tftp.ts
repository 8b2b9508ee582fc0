// TFTP (RFC 1350; nf_conntrack_tftp.c and nf_nat_tftp.c, Linux 6.18): the server answers from a port of its own.
//
//     client:a -> server:69  RRQ or WRQ        server:any -> client:a  is expected

import { Verdict } from '../../datapath/hooks.ts'
import { IPPROTO_UDP } from '../../datapath/wire/protocol.ts'
import { UDP_HEADER_LEN } from '../../datapath/wire/udp.ts'
import type { Conntrack } from '../conntrack.ts'
import {
  announceOrRefuse,
  BOTH,
  destinationOf,
  destinationPortOf,
  expectation,
  followMaster,
  type Helper,
  type HelperKind,
  isTranslated,
  sourceOf,
  sourcePortOf,
} from './helper.ts'

const OPCODE_READ = 1
const OPCODE_WRITE = 2

function create(ct: Conntrack): ReturnType<HelperKind['create']> {
  const follow = followMaster(ct)
  const help: Helper['help'] = (pkt, entry) => {
    const at = pkt.l4 + UDP_HEADER_LEN
    if (at + 2 > pkt.end) return Verdict.Accept
    const opcode = ct.host.memory.view.getUint16(at)
    if (opcode !== OPCODE_READ && opcode !== OPCODE_WRITE) return Verdict.Accept
    const e = expectation(ct, entry, {
      source: sourceOf(ct, entry, 1),
      destination: destinationOf(ct, entry, 1),
      protocol: IPPROTO_UDP,
      sport: null,
      dport: destinationPortOf(ct, entry, 1),
    })
    if (isTranslated(ct, entry)) {
      e.nat = { dir: 1, port: sourcePortOf(ct, entry, 0) }
      e.onMatch = follow
    }
    return announceOrRefuse(ct, pkt, entry, e)
  }
  return { policies: [{ max: 1, seconds: 300 }], help }
}

export const tftp: HelperKind = { name: 'tftp', families: BOTH, protocols: [IPPROTO_UDP], create }
