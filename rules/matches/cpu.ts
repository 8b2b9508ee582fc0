// cpu: which processor has the packet (libxt_cpu of iptables 1.8.9, cpu_mt() of xt_cpu.c). This host has one: 0.

import type { Match } from '../extension.ts'

export interface Cpu {
  readonly cpu: number
  readonly invert: boolean
}

export const cpu: Match<Cpu> = {
  kind: 'match',
  name: 'cpu',
  families: [4, 6],
  layout: {
    size: 8,
    fields: ({ cpu: value, invert }) => [
      [0, 4, value],
      [4, 4, invert ? 1 : 0],
    ],
  },
  options: [{ flag: 'cpu', required: true, invertible: true }],
  help: `cpu match options:
[!] --cpu number   Match CPU number
`,
  parse: (o) => ({ cpu: o.uint('cpu', 32), invert: o.inverted('cpu') }),
  print: (m) => `${m.invert ? '! ' : ''}--cpu ${m.cpu}`,
  list: (m) => `cpu ${m.invert ? '! ' : ''}${m.cpu}`,
  reads: [],
  emit: (m, js) => js`${(m.cpu === 0) !== m.invert}`,
}
