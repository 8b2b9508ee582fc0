// The state of a host as the stock tools print it: what `tunwall replay --after` writes.

import { formatTable } from '../conntrack/print.ts'
import type { Family } from '../datapath/packet.ts'
import { saveTable } from '../rules/text/save.ts'
import { saveSets } from './cli/ipset.ts'
import type { Engine } from './engine.ts'

/** File names and texts. Dates are host.wall in UTC, so that they say the same everywhere. */
export function afterFiles(engine: Engine): [name: string, text: string][] {
  const flows = formatTable(engine.conntrack, { extended: true })
  return [
    ['iptables-save', saveTables(engine, 4)],
    ['ip6tables-save', saveTables(engine, 6)],
    ['conntrack', flows.map((line) => `${line}\n`).join('')],
    ['ipset-save', saveSets(engine.sets)],
  ]
}

function saveTables({ tables, host }: Engine, family: Family): string {
  const program = family === 4 ? 'iptables-save' : 'ip6tables-save'
  // ctime() is in local time.
  const utc = host.wall + new Date(host.wall).getTimezoneOffset() * 60_000
  return tables
    .used(family)
    .map((table) => saveTable(table, true, program, utc))
    .join('')
}
