// The tables of test/harness/tcp-tables.ts through our tracker.

import { describe, expect, it } from 'vitest'
import { Status } from '../../../conntrack/table.ts'
import { frameOf, segments, TCP_TABLES } from '../../harness/tcp-tables.ts'
import { Rig } from './support.ts'

function describeEntry(rig: Rig): string {
  const [entry] = rig.entries()
  if (entry === undefined) return 'none'
  const status = rig.status(entry)
  const bits = ((status & Status.SeenReply) === 0 ? 'U' : '') + ((status & Status.Assured) !== 0 ? 'A' : '')
  return `${rig.ct.trackerOf(entry).state!(entry)} ${rig.ct.remaining(entry)} ${bits}`.trim()
}

describe('nf_conntrack_tcp_packet', () => {
  it.each(TCP_TABLES.map((table) => [table.name, table] as const))('%s', (_, table) => {
    const rig = new Rig()
    for (const [name, value] of Object.entries(table.sysctls)) rig.set(name, value)
    for (const segment of segments(table)) {
      rig.pass(segment.wait)
      const letter = rig.forward(frameOf(segment))
      expect(`${letter} ${describeEntry(rig)}`, segment.text).toBe(`${segment.letter} ${segment.entry}`)
    }
  })
})
