// The SCTP tracker against recordings of the kernel, made by record.py as those of TCP.

import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { SRC, STRIDE, Status } from '../../../conntrack/table.ts'
import { sctpCrc } from '../../../datapath/wire/sctp.ts'
import { ip4 } from '../../harness/frames.ts'
import { Rig } from './support.ts'

/** type, flags, value in hex, length field or -1 for the right one. */
type Chunk = [number, number, string, number]
/** direction, verification tag, chunks; then the packet's state and the entry after it. */
type Row = [number, number, Chunk[], string, [number, string, string, number] | null]

const file = new URL('../../data/conntrack/sctp.json', import.meta.url)
const associations = JSON.parse(readFileSync(file, 'utf8')) as { rows: Row[] }[]

const CLIENT = '10.0.1.2'
const SERVER = '10.0.2.2'

function frame(dir: number, vtag: number, chunks: readonly Chunk[]): Uint8Array {
  const parts = chunks.map(([type, flags, value, length]) => {
    const data = Buffer.from(value, 'hex')
    const chunk = Buffer.alloc(4 + ((data.length + 3) & ~3))
    chunk.writeUInt8(type, 0)
    chunk.writeUInt8(flags, 1)
    chunk.writeUInt16BE(length < 0 ? 4 + data.length : length, 2)
    data.copy(chunk, 4)
    return chunk
  })
  const header = Buffer.alloc(12)
  header.writeUInt16BE(dir === 0 ? 1024 : 80, 0)
  header.writeUInt16BE(dir === 0 ? 80 : 1024, 2)
  header.writeUInt32BE(vtag, 4)
  const payload = Buffer.concat([header, ...parts])
  payload.writeUInt32LE(sctpCrc(payload, 0, payload.length) >>> 0, 8)
  return ip4({ src: dir === 0 ? CLIENT : SERVER, dst: dir === 0 ? SERVER : CLIENT, proto: 132, payload })
}

function entryOf(rig: Rig): [number, string, string, number] | null {
  const [entry] = rig.entries()
  if (entry === undefined) return null
  const status = rig.status(entry)
  const bits = ((status & Status.SeenReply) === 0 ? 'U' : '') + ((status & Status.Assured) !== 0 ? 'A' : '')
  const fromClient = rig.ct.table.words[entry * STRIDE + SRC] === 0x0a000102
  return [rig.ct.remaining(entry), rig.ct.trackerOf(entry).state!(entry), bits, fromClient ? 0 : 1]
}

describe('nf_conntrack_sctp_packet, as the kernel did it', () => {
  it.each(associations.map((a, n) => [n, a] as const))('association %i', (_, { rows }) => {
    const rig = new Rig()
    rows.forEach(([dir, vtag, chunks, state, known], n) => {
      const where = `packet ${n} of ${rows.length}: ${JSON.stringify(rows[n])}`
      expect(rig.forward(frame(dir, vtag, chunks)), where).toBe(state)
      const ours = entryOf(rig)
      const late = known !== null && ours !== null ? ours[0] - known[0] : 0
      expect(late === 0 || late === 1, `${where}: ours ${JSON.stringify(ours)}`).toBe(true)
      expect(ours?.slice(1), where).toEqual(known?.slice(1))
    })
  })
})
