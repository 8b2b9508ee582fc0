// SECMARK: a security context for the packet (libxt_SECMARK of iptables 1.8.9, secmark_tg_check() of xt_SECMARK.c).
// No security module gives contexts a meaning here: as in such a kernel, none can be found and the rule is refused.

import type { Target } from '../extension.ts'
import { cutBytes } from '../matches/comment.ts'

export interface SecMark {
  readonly context: string
}

const MAX_CONTEXT = 255

export const secmark: Target<SecMark> = {
  kind: 'target',
  name: 'SECMARK',
  revision: 1,
  families: [4, 6],
  layout: { size: 264, own: 257 },
  options: [{ flag: 'selctx', holds: 'name context', required: true }],
  help: `SECMARK target options:
  --selctx value                     Set the SELinux security context
`,
  tables: ['mangle', 'security'],
  parse: (o) => ({ context: cutBytes(o.text('selctx'), MAX_CONTEXT) }),
  print: (m) => `--selctx ${m.context}`,
  list: (m) => `SECMARK selctx ${m.context}`,
  check: (m) => ({ errno: 'ENOENT', reason: `SECMARK: no such security context ${m.context}` }),
  reads: [],
  flow: 'continue',
  emit: (_, js) => js`false`,
}
