// H.323 (nf_conntrack_h323_main.c, Linux 6.18): RAS and Q.931 are known by name, their messages are not read yet.

import { Verdict } from '../../datapath/hooks.ts'
import { IPPROTO_TCP, IPPROTO_UDP } from '../../datapath/wire/protocol.ts'
import { BOTH, type HelperKind } from './helper.ts'

const create: HelperKind['create'] = () => ({ help: () => Verdict.Accept })

export const ras: HelperKind = { name: 'RAS', families: BOTH, protocols: [IPPROTO_UDP], create }
export const q931: HelperKind = { name: 'Q.931', families: BOTH, protocols: [IPPROTO_TCP], create }
