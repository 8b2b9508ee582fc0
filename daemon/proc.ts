// What the kernel shows below /proc/net, by the path there: lists of `-m recent`, tables of `-m hashlimit`, which tables
// are in use, and statistics. Texts as the kernel's; the lists can be written too.
//
//     net/xt_recent/NAME                             +ADDRESS, -ADDRESS, /
//     net/ipt_hashlimit/NAME, net/ip6t_hashlimit/NAME
//     net/ip_tables_names, net/ip6_tables_names
//     net/snmp, net/netstat, net/snmp6               statistics.ts

import type { Family } from '../datapath/packet.ts'
import { hashLimitTables } from '../rules/matches/hashlimit-table.ts'
import { recentLists } from '../rules/matches/recent.ts'
import { jiffies } from '../rules/shared.ts'
import type { Engine } from './engine.ts'
import { formatNetstat, formatSnmp, formatSnmp6 } from './statistics.ts'

export interface ProcFile {
  readonly path: string
  read(): string
  /** False: EINVAL. Without it the file is only read. */
  readonly write?: (text: string) => boolean
}

const text = (lines: readonly string[]): string => lines.map((line) => `${line}\n`).join('')

/** The files there are now, sorted by path. */
export function procFiles({ host, tables }: Engine): ProcFile[] {
  const files: ProcFile[] = []
  const lists = recentLists(host)
  for (const name of lists.names())
    files.push({
      path: `net/xt_recent/${name}`,
      read: () => text(lists.get(name)!.lines()),
      write: (command) => lists.get(name)!.write(command, jiffies(host)),
    })
  const limits = hashLimitTables(host)
  for (const key of limits.names())
    files.push({
      path: `net/${key.startsWith('4') ? 'ipt' : 'ip6t'}_hashlimit/${key.slice(1)}`,
      read: () => text(limits.get(key)!.lines(jiffies(host))),
    })
  for (const [path, family] of [
    ['net/ip_tables_names', 4],
    ['net/ip6_tables_names', 6],
  ] as const satisfies readonly (readonly [string, Family])[])
    files.push({ path, read: () => text(tables.used(family).map(({ name }) => name)) })
  files.push({ path: 'net/snmp', read: () => formatSnmp(host) })
  files.push({ path: 'net/netstat', read: () => formatNetstat(host) })
  files.push({ path: 'net/snmp6', read: () => formatSnmp6(host) })
  return files.sort((a, b) => (a.path < b.path ? -1 : a.path > b.path ? 1 : 0))
}
