// A host folder: read as every command reads it, so that a mistake in it is said in the same words, and written anew.
//
//     freeze   what ranges, subnets and masks need of the mapping, of all hosts
//     map      file by file into another folder

import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { MemoryEgress } from '../../datapath/ports/memory.ts'
import { FrameMemory } from '../../datapath/ring.ts'
import { bytesOf } from '../bytes.ts'
import { createEngine, type Engine } from '../engine.ts'
import { loadHostFolder } from '../host-folder/index.ts'
import { SourceFile } from '../host-folder/source.ts'
import { SeededRandom } from '../random.ts'
import { BYTES, FILES } from './files.ts'
import type { Mapping } from './mapping.ts'
import { freezeRules, mapRules } from './rules.ts'
import { freezeSets, mapSets } from './sets.ts'

export class HostFiles {
  readonly directory: string
  readonly #engine: Engine

  /** Throws PlaceError for the first thing that is wrong with the folder. */
  constructor(directory: string) {
    this.directory = directory
    const memory = new FrameMemory(2, 65535)
    this.#engine = createEngine(loadHostFolder(directory), {
      memory,
      egress: new MemoryEgress(memory),
      random: new SeededRandom(1),
    })
  }

  freeze(mapping: Mapping): void {
    const { config, tables, sets } = this.#engine
    for (const { addresses } of config.interfaces)
      for (const { family, words, peer, prefixLength } of addresses)
        mapping.addresses.subnet(family, peer ?? words, prefixLength)
    freezeRules(tables, 4, mapping)
    freezeRules(tables, 6, mapping)
    freezeSets(sets, join(this.directory, 'ipset-save'), mapping)
  }

  /** Solicited-node groups follow the host's addresses. */
  learn({ addresses }: Mapping): void {
    for (const { addresses: own } of this.#engine.config.interfaces)
      for (const { family, words } of own) if (family === 6) addresses.learn(words)
  }

  /** Names and contents of the new files. */
  map(mapping: Mapping): [name: string, bytes: Uint8Array][] {
    const { config, tables, sets } = this.#engine
    const files: [string, Uint8Array][] = []
    for (const [name, map] of Object.entries(FILES)) {
      const source = SourceFile.read(join(this.directory, name), BYTES.has(name))
      if (source !== null) files.push([name, bytes(map(source, mapping), BYTES.has(name))])
    }
    if (config.ipset !== null) files.push(['ipset-save', bytes(mapSets(sets, mapping), true)])
    for (const [family, source] of [[4, config.iptables] as const, [6, config.ip6tables] as const])
      if (source !== null)
        files.push([
          family === 4 ? 'iptables-save' : 'ip6tables-save',
          bytes(mapRules(source, tables, family, mapping), true),
        ])
    return files
  }

  /** Files of the folder that no host is read from. */
  others(): string[] {
    const known = new Set([...Object.keys(FILES), 'ipset-save', 'iptables-save', 'ip6tables-save'])
    return readdirSync(this.directory)
      .filter((name) => !known.has(name))
      .sort()
  }
}

const bytes = (text: string, asBytes: boolean): Uint8Array => (asBytes ? bytesOf(text) : Buffer.from(text))
