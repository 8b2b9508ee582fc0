// Rulesets that real programs wrote: afterwards they load, are still known by their authors, stand in the same lines, and
// tell no address or name that they told.

import { describe, expect, test } from 'vitest'
import { createEngine, type Engine } from '../../daemon/engine.ts'
import { loadHost } from '../../daemon/host-folder/index.ts'
import { SourceFile } from '../../daemon/host-folder/source.ts'
import { Provenance } from '../../daemon/provenance/index.ts'
import { SeededRandom } from '../../daemon/random.ts'
import { MemoryEgress } from '../../datapath/ports/memory.ts'
import { FrameMemory } from '../../datapath/ring.ts'
import { recordedRulesets } from '../harness/rulesets.ts'
import { anonymized, leaks } from './support.ts'

function engineOf(files: Readonly<Record<string, string>>): Engine {
  const memory = new FrameMemory(2, 65535)
  const config = loadHost('host', (name) =>
    files[name] === undefined ? null : new SourceFile(`host/${name}`, files[name]!),
  )
  return createEngine(config, { memory, egress: new MemoryEgress(memory), random: new SeededRandom(1) })
}

/** The program that wrote each rule, by chain and number. */
function authors(engine: Engine, name: (chain: string) => string): string[] {
  const provenance = new Provenance(engine.tables)
  const all: string[] = []
  for (const family of [4, 6] as const)
    for (const { name: table, chains } of engine.tables.used(family))
      for (const [chain, { model }] of chains) {
        all.push(`${family} ${table} ${name(chain)}: ${provenance.ofChain(family, table, chain)?.program}`)
        for (const [i] of model.rules.entries())
          all.push(
            `${family} ${table} ${name(chain)} ${i + 1}: ${provenance.ofRule(family, table, chain, i + 1)?.program}`,
          )
      }
  return all.sort()
}

describe.each(recordedRulesets())('$name', ({ sets, ipv4, ipv6 }) => {
  const files = Object.fromEntries(
    [
      ['ipset-save', sets],
      ['iptables-save', ipv4],
      ['ip6tables-save', ipv6],
    ].filter(([, text]) => text !== ''),
  ) as Record<string, string>
  const { files: others, mapping } = anonymized(files)

  test('loads, and is known by its authors', () => {
    expect(authors(engineOf(others), (chain) => chain)).toEqual(
      authors(engineOf(files), (chain) => mapping.names.chain(chain)),
    )
  })

  test('stands in the same lines', () => {
    for (const name of ['iptables-save', 'ip6tables-save']) {
      const kinds = (text = ''): string[] =>
        text.split('\n').map((line) => /^(#|\*\w+|:|COMMIT|\[\d+:\d+\] -A|-A|$)/.exec(line)?.[0] ?? line)
      expect(kinds(others[name])).toEqual(kinds(files[name]))
    }
  })

  test('tells nothing', () => expect(leaks(files, others, mapping)).toEqual([]))

  test('the same key makes the same, another one something else', () => {
    expect(anonymized(files).files).toEqual(others)
    expect(anonymized(files, { key: Buffer.from('other') }).files).not.toEqual(others)
  })
})
