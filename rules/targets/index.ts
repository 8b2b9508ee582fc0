// The targets. A new one is one file and one line. ACCEPT, DROP, QUEUE and RETURN are verdicts of the model.

import type { Target } from '../extension.ts'
import { audit } from './audit.ts'
import { checksum } from './checksum.ts'
import { classify } from './classify.ts'
import { clusterip } from './clusterip.ts'
import { connmark } from './connmark.ts'
import { connsecmark } from './connsecmark.ts'
import { ct, notrack } from './ct.ts'
import { dnat } from './dnat.ts'
import { dscp } from './dscp.ts'
import { ecn } from './ecn.ts'
import { hl } from './hl.ts'
import { hmark } from './hmark.ts'
import { idletimer } from './idletimer.ts'
import { led } from './led.ts'
import { log } from './log.ts'
import { mark } from './mark.ts'
import { masquerade } from './masquerade.ts'
import { netmap } from './netmap.ts'
import { nflog } from './nflog.ts'
import { nfqueue } from './nfqueue.ts'
import { dnpt, snpt } from './npt.ts'
import { rateestTarget } from './rateest.ts'
import { redirect } from './redirect.ts'
import { reject } from './reject.ts'
import { reject6 } from './reject6.ts'
import { secmark } from './secmark.ts'
import { setTarget } from './set.ts'
import { snat } from './snat.ts'
import { synproxy } from './synproxy.ts'
import { tcpmss, tcpmss6 } from './tcpmss.ts'
import { tcpoptstrip } from './tcpoptstrip.ts'
import { tee } from './tee.ts'
import { tos } from './tos.ts'
import { tproxy } from './tproxy.ts'
import { trace } from './trace.ts'
import { ttl } from './ttl.ts'
import { ulog } from './ulog.ts'

/** What `iptables -j ACCEPT -h` says of the four verdicts. */
export const STANDARD_HELP = `standard match options:
(If target is DROP, ACCEPT, RETURN or nothing)
`

/** The data of each is its own: `any` lets them stand in one list. */
// biome-ignore lint/suspicious/noExplicitAny: see above
export const targets: readonly Target<any>[] = [
  audit,
  checksum,
  classify,
  clusterip,
  connmark,
  connsecmark,
  ct,
  dnat,
  dnpt,
  dscp,
  ecn,
  hl,
  hmark,
  idletimer,
  led,
  log,
  mark,
  masquerade,
  netmap,
  nflog,
  nfqueue,
  notrack,
  rateestTarget,
  redirect,
  reject,
  reject6,
  secmark,
  setTarget,
  snat,
  snpt,
  synproxy,
  tcpmss,
  tcpmss6,
  tcpoptstrip,
  tee,
  tos,
  tproxy,
  trace,
  ttl,
]

/** Targets that iptables reads and no Linux takes. */
// biome-ignore lint/suspicious/noExplicitAny: see above
export const refusedTargets: readonly Target<any>[] = [ulog]
