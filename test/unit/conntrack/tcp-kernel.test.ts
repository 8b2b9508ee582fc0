// The TCP tracker against recordings of the kernel: record.py sent random conversations through Linux 6.18 and wrote
// down, after every segment, the state of the packet and the entry. Here the same segments go through ours.

import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { SRC, STRIDE, Status } from '../../../conntrack/table.ts'
import { tcp } from '../../harness/frames.ts'
import { Rig } from './support.ts'

/** direction, flags, seq, ack, window, data, options in hex; then the packet's state and the entry after it. */
type Row = [
  number,
  number,
  number,
  number,
  number,
  number,
  string,
  string,
  [number, string, string, number] | null,
]

interface Conversation {
  /** nf_conntrack_tcp_loose, be_liberal, max_retrans, ignore_invalid_rst. */
  readonly knobs: readonly [number, number, number, number]
  readonly rows: readonly Row[]
}

const file = new URL('../../data/conntrack/tcp.json', import.meta.url)
const conversations = JSON.parse(readFileSync(file, 'utf8')) as Conversation[]

const CLIENT = '10.0.1.2'
const SERVER = '10.0.2.2'

function replay(conversation: Conversation): void {
  const rig = new Rig()
  const [loose, liberal, retrans, ignoreRst] = conversation.knobs
  rig.set('tcp_loose', loose)
  rig.set('tcp_be_liberal', liberal)
  rig.set('tcp_max_retrans', retrans)
  rig.set('tcp_ignore_invalid_rst', ignoreRst)
  conversation.rows.forEach((row, n) => {
    const [dir, flags, seq, ack, window, length, options, state, known] = row
    const frame = tcp({
      src: dir === 0 ? CLIENT : SERVER,
      dst: dir === 0 ? SERVER : CLIENT,
      sport: dir === 0 ? 1024 : 80,
      dport: dir === 0 ? 80 : 1024,
      flags,
      seq,
      ack,
      window,
      tcpOptions: Buffer.from(options, 'hex'),
      payload: length,
    })
    const got = rig.forward(frame)
    const ours = entryOf(rig)
    const where = `segment ${n} of ${conversation.rows.length}: ${JSON.stringify(row)}`
    expect(got, where).toBe(state === '-' ? 'N!' : state)
    // The recorder may have been a second late, never early.
    const late = known !== null && ours !== null ? ours[0] - known[0] : 0
    expect(late === 0 || late === 1, `${where}: ours ${JSON.stringify(ours)}`).toBe(true)
    expect(ours?.slice(1), where).toEqual(known?.slice(1))
  })
}

function entryOf(rig: Rig): [number, string, string, number] | null {
  const [entry] = rig.entries()
  if (entry === undefined) return null
  const status = rig.status(entry)
  const bits = ((status & Status.SeenReply) === 0 ? 'U' : '') + ((status & Status.Assured) !== 0 ? 'A' : '')
  const fromClient = rig.ct.table.words[entry * STRIDE + SRC] === 0x0a000102
  return [rig.ct.remaining(entry), rig.ct.trackerOf(entry).state!(entry), bits, fromClient ? 0 : 1]
}

describe('nf_conntrack_tcp_packet, as the kernel did it', () => {
  it.each(conversations.map((c, n) => [n, c] as const))('conversation %i', (_, c) => replay(c))
})
