// AUDIT: a record for the audit daemon (libxt_AUDIT of iptables 1.8.9, audit_tg() of xt_AUDIT.c). No daemon listens
// here, and then the kernel writes nothing.

import type { Target } from '../extension.ts'
import { OptionError } from '../options.ts'

export interface Audit {
  readonly type: 'accept' | 'drop' | 'reject'
}

const TYPES = ['accept', 'drop', 'reject'] as const

export const audit: Target<Audit> = {
  kind: 'target',
  name: 'AUDIT',
  families: [4, 6],
  layout: { size: 8, fields: ({ type }) => [[0, 1, TYPES.indexOf(type)]] },
  options: [{ flag: 'type', required: true }],
  help: `AUDIT target options
  --type TYPE		Action type to be recorded.
`,
  parse(o) {
    const text = o.text('type')
    const type = TYPES.find((name) => name === text.toLowerCase())
    if (type === undefined) throw new OptionError(`Bad action type value "${text}"`)
    return { type }
  },
  print: (m) => `--type ${m.type}`,
  list: (m) => `AUDIT ${m.type}`,
  reads: [],
  flow: 'continue',
  emit: (_, js) => js`false`,
}
