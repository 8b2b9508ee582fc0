// ttl: the time to live (libipt_ttl of iptables 1.8.9, ttl_mt() of xt_hl.c).

import { IPV4_TTL } from '../../datapath/wire/ipv4.ts'
import type { Match } from '../extension.ts'
import { WholeError } from '../options.ts'

export interface Ttl {
  readonly test: 'eq' | 'ne' | 'lt' | 'gt'
  readonly value: number
}

const LISTED = { eq: '==', ne: '!=', lt: '<', gt: '>' } as const

export const ttl: Match<Ttl> = {
  kind: 'match',
  name: 'ttl',
  families: [4],
  options: [
    { flag: 'ttl-lt', excludes: ['ttl-gt', 'ttl-eq'] },
    { flag: 'ttl-gt', excludes: ['ttl-lt', 'ttl-eq'] },
    { flag: 'ttl-eq', aliases: ['ttl'], invertible: true, excludes: ['ttl-lt', 'ttl-gt'] },
  ],
  help: `ttl match options:
[!] --ttl-eq value	Match time to live value
  --ttl-lt value	Match TTL < value
  --ttl-gt value	Match TTL > value
`,
  parse(o) {
    if (o.has('ttl-lt')) return { test: 'lt', value: o.uint('ttl-lt', 8) }
    if (o.has('ttl-gt')) return { test: 'gt', value: o.uint('ttl-gt', 8) }
    if (o.has('ttl-eq')) return { test: o.inverted('ttl-eq') ? 'ne' : 'eq', value: o.uint('ttl-eq', 8) }
    // The quote is left open in iptables too.
    throw new WholeError("TTL match: You must specify one of `--ttl-eq', `--ttl-lt', `--ttl-gt")
  },
  print: (m) => (m.test === 'ne' ? `! --ttl-eq ${m.value}` : `--ttl-${m.test} ${m.value}`),
  list: (m) => `TTL match TTL ${LISTED[m.test]} ${m.value}`,
  reads: ['ttl'],
  emit(m, js) {
    const field = js`${js.env.host.memory.bytes}[pkt.l3 + ${IPV4_TTL}]`
    switch (m.test) {
      case 'eq':
        return js`${field} === ${m.value}`
      case 'ne':
        return js`${field} !== ${m.value}`
      case 'lt':
        return js`${field} < ${m.value}`
      case 'gt':
        return js`${field} > ${m.value}`
    }
  },
}
