// What NFLOG and TRACE hand out: the messages of nfnetlink_log, collected from the engine, and compared.
//
// Masked, by name: time stamps; and of TRACE, whose records name no hook here, the hook.

import { NflogFiles } from '../../daemon/nflog-files.ts'
import type { Host } from '../../datapath/host.ts'
import { linkHeaderOf } from '../../datapath/link-header.ts'
import { copyOf } from '../../rules/targets/nflog.ts'
import type { Difference } from './compare.ts'
import { decode } from './frames.ts'

const PCAP_HEADER = 24
const RECORD_HEADER = 16
/** NFULA_* */
const PACKET_HEADER = 1
const TIMESTAMP = 3
const PAYLOAD = 9
const PREFIX = 10

/** Listens to a host. */
export class Records {
  readonly #files: NflogFiles
  readonly #written: Uint8Array[][] = []

  constructor(host: Host) {
    this.#files = new NflogFiles(host, () => {
      const parts: Uint8Array[] = []
      this.#written.push(parts)
      return (bytes, length) => parts.push(bytes.slice(0, length))
    })
    // As the kernel does when its logger is nfnetlink_log (nf_log_trace).
    host.events.trace = ({ table, chain, kind, rule, pkt }) =>
      host.events.nflog?.({
        family: pkt.family,
        group: 0,
        prefix: `TRACE: ${table}:${chain}:${kind}:${rule} `,
        hook: 0,
        iif: pkt.iif,
        oif: pkt.oif,
        mark: pkt.mark,
        link: linkHeaderOf(pkt, host.memory),
        length: pkt.end - pkt.l3,
        bytes: copyOf(pkt, host),
      })
  }

  /** Group after group. */
  all(): Uint8Array[] {
    this.#files.flush()
    return this.#written.flatMap((parts) => {
      const file = Buffer.concat(parts)
      const records: Uint8Array[] = []
      for (let at = PCAP_HEADER; at < file.length; ) {
        const end = at + RECORD_HEADER + file.readUInt32LE(at + 8)
        records.push(new Uint8Array(file.subarray(at + RECORD_HEADER, end)))
        at = end
      }
      return records
    })
  }
}

interface Message {
  readonly group: number
  readonly prefix: string
  /** Family, version, and every attribute but payload and time, as text. */
  readonly head: string
  readonly payload: Uint8Array
}

function read(bytes: Uint8Array): Message {
  const data = Buffer.from(bytes)
  const parts: string[] = [`family ${data[0]} version ${data[1]}`]
  let prefix = ''
  let payload = new Uint8Array()
  const values: [number, Buffer][] = []
  for (let at = 4; at + 4 <= data.length; ) {
    const length = data.readUInt16LE(at)
    const type = data.readUInt16LE(at + 2)
    const value = data.subarray(at + 4, at + length)
    if (type === PAYLOAD) payload = new Uint8Array(value)
    else if (type !== TIMESTAMP) values.push([type, value])
    if (type === PREFIX) prefix = value.toString('latin1')
    at += (length + 3) & ~3
  }
  for (const [type, value] of values) {
    const shown =
      type === PREFIX
        ? JSON.stringify(prefix)
        : (type === PACKET_HEADER && prefix.startsWith('TRACE: ') ? value.subarray(0, 2) : value).toString(
            'hex',
          )
    parts.push(`${type}=${shown}`)
  }
  return { group: data.readUInt16BE(2), prefix, head: parts.join(' '), payload }
}

type SameFrame = (
  a: Uint8Array,
  b: Uint8Array,
  injected: Uint8Array | null,
  idents: Map<number, number>,
) => boolean

/** The identifications of both, which the kernel draws for its own packets; those with DF are TEE's copies. */
function identsOf(a: Uint8Array, b: Uint8Array): Map<number, number> {
  const ident = (f: Uint8Array): number => (f[4]! << 8) | f[5]!
  return a.length < 20 || b.length < 20 ? new Map() : new Map([[ident(a), ident(b)]])
}

/** Headers cut short by --nflog-size, but for identification and checksum. */
function sameBegin(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length || a.length >= ((a[0] ?? 0) & 15) * 4) return false
  return a.every((byte, i) => byte === b[i] || i === 4 || i === 5 || i === 10 || i === 11)
}

/** `sameFrame`: whether two frames are the same but for what the kernel draws. */
export function compareRecords(
  expected: readonly Uint8Array[],
  actual: readonly Uint8Array[],
  names: readonly [string, string],
  sameFrame: SameFrame,
): Difference[] {
  // The lines of -m osf --log go where those of LOG do here.
  const [a, b] = [expected.map(read).filter((m) => !m.prefix.startsWith('Remote OS')), actual.map(read)]
  const out: Difference[] = []
  for (const group of new Set([...a, ...b].map((m) => m.group))) {
    const [x, y] = [a.filter((m) => m.group === group), b.filter((m) => m.group === group)]
    const at = Array.from({ length: Math.max(x.length, y.length) }).findIndex((_, i) => {
      const [p, q] = [x[i], y[i]]
      return (
        p === undefined ||
        q === undefined ||
        p.head !== q.head ||
        !(
          sameFrame(p.payload, q.payload, null, identsOf(p.payload, q.payload)) ||
          sameBegin(p.payload, q.payload)
        )
      )
    })
    if (at < 0) continue
    const show = (m: Message | undefined): string =>
      m === undefined ? 'nothing' : `${m.head} | ${decode(m.payload)}`
    const of = (x[at] ?? y[at])!.prefix.split(':')[0]
    out.push({
      kind: 'record',
      signature: `record ${of}`,
      step: null,
      text: `  NFLOG group ${group}, message ${at + 1} of ${x.length} and ${y.length}:\n    ${names[0]} ${show(x[at])}\n    ${names[1]} ${show(y[at])}`,
    })
  }
  return out
}
