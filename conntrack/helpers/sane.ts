// SANE's network protocol (nf_conntrack_sane.c, Linux 6.18): the answer to NET_START names the port of the image.
//
//     request   code (7: NET_START), handle        8 bytes, each word big-endian
//     answer    status (0: good), 0, port, ...

import { Verdict } from '../../datapath/hooks.ts'
import { CtInfo } from '../../datapath/packet.ts'
import { IPPROTO_TCP } from '../../datapath/wire/protocol.ts'
import type { Conntrack } from '../conntrack.ts'
import {
  announceOrRefuse,
  BOTH,
  destinationOf,
  expectation,
  type Helper,
  type HelperKind,
  sourceOf,
  tcpData,
} from './helper.ts'

const NET_START = 7
const REQUEST_LEN = 8
const REPLY_LEN = 8

function create(ct: Conntrack): ReturnType<HelperKind['create']> {
  const { view } = ct.host.memory
  /** Masters whose next answer is one to NET_START. */
  const asked = new Set<number>()
  const help: Helper['help'] = (pkt, entry, dir) => {
    if (pkt.ctInfo !== CtInfo.Established && pkt.ctInfo !== CtInfo.EstablishedReply) return Verdict.Accept
    const data = tcpData(ct, pkt)
    if (data < 0) return Verdict.Accept
    const length = pkt.end - data
    if (dir === 0) {
      if (length !== REQUEST_LEN) return Verdict.Accept
      if (view.getUint32(data) === NET_START) asked.add(entry)
      else asked.delete(entry)
      return Verdict.Accept
    }
    if (!asked.delete(entry)) return Verdict.Accept
    if (length < REPLY_LEN || view.getUint32(data) !== 0 || view.getUint16(data + 4) !== 0)
      return Verdict.Accept
    const e = expectation(ct, entry, {
      source: sourceOf(ct, entry, 0),
      destination: destinationOf(ct, entry, 0),
      protocol: IPPROTO_TCP,
      sport: null,
      dport: view.getUint16(data + 6),
    })
    return announceOrRefuse(ct, pkt, entry, e)
  }
  return {
    policies: [{ max: 1, seconds: 300 }],
    help,
    forget: (entry) => {
      asked.delete(entry)
    },
  }
}

export const sane: HelperKind = { name: 'sane', families: BOTH, protocols: [IPPROTO_TCP], create }
