// nfacct: named accounting objects (libxt_nfacct of iptables 1.8.9, nfacct_mt() of xt_nfacct.c). They are made by
// another tool than iptables, nfacct(8); this host has none, and the kernel refuses a rule that names one.

import type { Match } from '../extension.ts'
import { nameField } from '../layout.ts'
import { OptionError } from '../options.ts'
import { cutBytes } from './comment.ts'

export interface NfAcct {
  readonly name: string
}

const MAX_NAME = 31

export const nfacct: Match<NfAcct> = {
  kind: 'match',
  name: 'nfacct',
  families: [4, 6],
  layout: { size: 40, own: 32, fields: ({ name }) => [nameField(0, 32, name)] },
  options: [{ flag: 'nfacct-name', holds: 'name account', required: true }],
  help: `nfacct match options:
 --nfacct-name STRING		Name of accouting area
`,
  parse(o) {
    const name = o.text('nfacct-name')
    if (name.includes('\n')) throw new OptionError('Newlines not allowed in --nfacct-name')
    if (name === '') throw new OptionError('Argument must have a minimum length of 1 characters\n')
    return { name: cutBytes(name, MAX_NAME) }
  },
  print: (m) => `--nfacct-name ${m.name}`,
  list: (m) => `nfacct-name  ${m.name}`,
  check: (m) => ({ errno: 'ENOENT', reason: `nfacct: no accounting object ${m.name}` }),
  reads: ['state'],
  emit: (_, js) => js`true`,
}
