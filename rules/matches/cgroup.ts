// cgroup: the control group of the process that sent a packet (libxt_cgroup of iptables 1.8.9, cgroup_mt_v2() of
// xt_cgroup.c). What this host makes comes from the kernel's own sockets: class 0, and the root of all groups, which
// is the only one there is. Forwarded packets have none.

import type { Match } from '../extension.ts'
import { nameField } from '../layout.ts'
import { saveString } from '../text/quote.ts'
import { cutBytes } from './comment.ts'
import { words } from './parts.ts'

export interface Cgroup {
  readonly path: { readonly text: string; readonly invert: boolean } | null
  readonly classId: { readonly value: number; readonly invert: boolean } | null
}

const MAX_PATH = 511

export const cgroup: Match<Cgroup> = {
  kind: 'match',
  name: 'cgroup',
  revision: 2,
  families: [4, 6],
  layout: {
    size: 528,
    own: 520,
    fields: ({ path, classId }) => [
      [0, 1, path ? 1 : 0],
      [1, 1, classId ? 1 : 0],
      [2, 1, path?.invert ? 1 : 0],
      [3, 1, classId?.invert ? 1 : 0],
      path ? nameField(4, 512, path.text) : [4, 512, classId?.value ?? 0],
    ],
  },
  chains: ['INPUT', 'OUTPUT', 'POSTROUTING'],
  options: [
    { flag: 'path', holds: 'name cgroup', invertible: true },
    { flag: 'cgroup', invertible: true },
  ],
  help: `cgroup match options:
[!] --path path                 Recursively match path relative to cgroup2 root
[!] --cgroup classid            Match cgroup classid, can't be used with --path
`,
  parse: (o) => ({
    path: o.has('path') ? { text: cutBytes(o.text('path'), MAX_PATH), invert: o.inverted('path') } : null,
    classId: o.has('cgroup') ? { value: o.uint('cgroup', 32), invert: o.inverted('cgroup') } : null,
  }),
  print: (m) =>
    words(
      m.path === null ? '' : `${m.path.invert ? '! ' : ''}--path ${saveString(m.path.text)}`,
      m.classId === null ? '' : `${m.classId.invert ? '! ' : ''}--cgroup ${m.classId.value}`,
    ),
  // A blank stands behind the word, though the path be empty.
  list: (m) => {
    const shown = m.path ?? m.classId
    if (shown === null) return 'cgroup'
    return `cgroup ${shown.invert ? '! ' : ''}${'text' in shown ? shown.text : shown.value}`
  },
  check(m) {
    if (m.path === null && m.classId === null) return 'cgroup: neither a path nor a class'
    if (m.path !== null && m.classId !== null) return 'cgroup: both a path and a class'
    return m.path !== null && !/^\/*$/.test(m.path.text) ? `cgroup: no group ${m.path.text}` : null
  },
  reads: ['protocol'],
  emit(m, js) {
    const fits = m.path === null ? (m.classId?.value === 0) !== m.classId?.invert : !m.path.invert
    return fits ? js`pkt.local && !pkt.socketless && pkt.oif !== 0` : js`false`
  },
}
