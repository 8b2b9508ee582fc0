// hl: the hop limit (libip6t_hl of iptables 1.8.9, hl_mt6() of xt_hl.c).

import { IPV6_HOP_LIMIT } from '../../datapath/wire/ipv6.ts'
import type { Match } from '../extension.ts'
import { WholeError } from '../options.ts'
import type { Ttl } from './ttl.ts'

const LISTED = { eq: '==', ne: '!=', lt: '<', gt: '>' } as const

export const hl: Match<Ttl> = {
  kind: 'match',
  name: 'hl',
  families: [6],
  options: [
    { flag: 'hl-lt', excludes: ['hl-gt', 'hl-eq'] },
    { flag: 'hl-gt', excludes: ['hl-lt', 'hl-eq'] },
    { flag: 'hl-eq', aliases: ['hl'], invertible: true, excludes: ['hl-lt', 'hl-gt'] },
  ],
  help: `hl match options:
[!] --hl-eq value	Match hop limit value
  --hl-lt value	Match HL < value
  --hl-gt value	Match HL > value
`,
  parse(o) {
    if (o.has('hl-lt')) return { test: 'lt', value: o.uint('hl-lt', 8) }
    if (o.has('hl-gt')) return { test: 'gt', value: o.uint('hl-gt', 8) }
    if (o.has('hl-eq')) return { test: o.inverted('hl-eq') ? 'ne' : 'eq', value: o.uint('hl-eq', 8) }
    throw new WholeError("HL match: You must specify one of `--hl-eq', `--hl-lt', `--hl-gt'")
  },
  print: (m) => (m.test === 'ne' ? `! --hl-eq ${m.value}` : `--hl-${m.test} ${m.value}`),
  list: (m) => `HL match HL ${LISTED[m.test]} ${m.value}`,
  reads: ['ttl'],
  emit(m, js) {
    const field = js`${js.env.host.memory.bytes}[pkt.l3 + ${IPV6_HOP_LIMIT}]`
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
