// quota: fits until so many bytes went by (libxt_quota of iptables 1.8.9, quota_mt() of xt_quota.c). The packet that
// does not fit into the rest takes all of it away.

import type { Match } from '../extension.ts'

export interface Quota {
  readonly bytes: bigint
  readonly invert: boolean
}

export interface QuotaState {
  /** Bytes. Above 2^53 the nearest double: that many bytes never pass. */
  left: number
}

/** Does not allocate. */
function spend(state: QuotaState, bytes: number): boolean {
  if (state.left >= bytes) {
    state.left -= bytes
    return true
  }
  state.left = 0
  return false
}

export const quota: Match<Quota> = {
  kind: 'match',
  name: 'quota',
  families: [4, 6],
  layout: {
    size: 24,
    own: 16,
    fields: ({ bytes, invert }) => [
      [0, 4, invert ? 1 : 0],
      [8, 8, bytes],
    ],
  },
  options: [{ flag: 'quota', required: true, invertible: true }],
  help: `quota match options:
[!] --quota quota		quota (bytes)
`,
  parse: (o) => ({ bytes: o.uint64('quota'), invert: o.inverted('quota') }),
  print: (m) => `${m.invert ? '! ' : ''}--quota ${m.bytes}`,
  list: (m) => `quota: ${m.bytes} bytes`,
  state: (m): QuotaState => ({ left: Number(m.bytes) }),
  reads: ['length', 'state'],
  emit: (m, js) => js`${js.bind(spend)}(${js.state}, pkt.end - pkt.l3) !== ${m.invert}`,
}
