// A scenario on its host and, anonymized, on the anonymized host.

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { FrameMapper } from '../../daemon/anonymize/captures.ts'
import { HostFiles } from '../../daemon/anonymize/host.ts'
import { Mapping, type MappingOptions } from '../../daemon/anonymize/mapping.ts'
import { LinkType } from '../../datapath/ports/pcap.ts'
import { writeFolder } from '../harness/capture.ts'

/** Files of an anonymized folder by name, a character for each byte, and what they were mapped with. */
export function anonymized(
  files: Readonly<Record<string, string>>,
  options: Partial<MappingOptions> = {},
): { readonly files: Record<string, string>; readonly mapping: Mapping } {
  const directory = mkdtempSync(join(tmpdir(), 'tunwall-anonymize-'))
  try {
    const host = new HostFiles(writeFolder(join(directory, 'host'), files))
    const mapping = new Mapping({ key: Buffer.from('key'), keep: [], keepPayload: true, ...options })
    host.freeze(mapping)
    host.learn(mapping)
    const mapped = host.map(mapping).map(([name, bytes]) => [name, Buffer.from(bytes).toString('latin1')])
    return { files: Object.fromEntries(mapped), mapping }
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

/** A packet, mapped. */
export function mappedPacket(mapping: Mapping, packet: Uint8Array): Uint8Array {
  const copy = Uint8Array.from(packet)
  new FrameMapper(mapping).frame(LinkType.Raw, copy, 0, copy.length)
  return copy
}
