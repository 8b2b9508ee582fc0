// NetBIOS names (RFC 1002; nf_conntrack_netbios_ns.c, Linux 6.18): asked of everybody on a network.

import { Verdict } from '../../datapath/hooks.ts'
import { IPPROTO_UDP } from '../../datapath/wire/protocol.ts'
import { expectAnswers } from './broadcast.ts'
import type { HelperKind } from './helper.ts'

const PORT = 137
const TIMEOUT_S = 3

export const netbiosNs: HelperKind = {
  name: 'netbios-ns',
  families: [4],
  protocols: [IPPROTO_UDP],
  create: (ct) => ({
    policies: [{ max: 1, seconds: TIMEOUT_S }],
    help(pkt, entry, dir) {
      expectAnswers(ct, pkt, entry, dir, PORT, TIMEOUT_S)
      return Verdict.Accept
    },
  }),
}
