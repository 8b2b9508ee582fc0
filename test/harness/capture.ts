// Captures and host folders for tests: built from frames, read back as lines.

import { closeSync, mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { CaptureWriter, writeTo } from '../../datapath/ports/capture-writer.ts'
import { type CaptureReader, openCapture } from '../../datapath/ports/pcap.ts'
import { decode } from './frames.ts'

export interface Captured {
  readonly iface: string
  /** Seconds since 1970. */
  readonly seconds: number
  readonly nanos: number
  readonly bytes: Uint8Array
}

/** A pcapng with link type RAW, interfaces in order of first use. */
export function writeCapture(path: string, packets: readonly Captured[]): void {
  const fd = openSync(path, 'w')
  const writer = new CaptureWriter(writeTo(fd))
  const numbers = new Map<string, number>()
  for (const { iface, seconds, nanos, bytes } of packets) {
    let number = numbers.get(iface)
    if (number === undefined) {
      number = writer.interface(iface)
      numbers.set(iface, number)
    }
    writer.packet(number, seconds, nanos, bytes, 0, bytes.length)
  }
  writer.flush()
  closeSync(fd)
}

export function readCapture(path: string): Captured[] {
  const { reader, close } = openCapture(path)
  const packets = all(reader)
  close()
  return packets
}

function all(reader: CaptureReader): Captured[] {
  const packets: Captured[] = []
  while (reader.next())
    packets.push({
      iface: reader.interfaces[reader.interface]!.name ?? '?',
      seconds: reader.seconds,
      nanos: reader.nanos,
      bytes: reader.bytes.slice(reader.at, reader.at + reader.length),
    })
  return packets
}

/** `SECONDS DEV DECODED`, seconds counted from `zero`. */
export const describe = (p: Captured, zero: number): string =>
  `${p.seconds - zero + p.nanos / 1e9} ${p.iface} ${decode(p.bytes)}`

/** Writes a host folder; answers its path. */
export function writeFolder(path: string, files: Readonly<Record<string, string>>): string {
  mkdirSync(path, { recursive: true })
  for (const [name, text] of Object.entries(files)) writeFileSync(join(path, name), text)
  return path
}

/** The folder of a host that forwards between 10.9.1.0/24 at `lan` and 10.9.2.0/24 at `wan`, by these rules. */
export const writeGateway = (path: string, rules: string): string =>
  writeFolder(path, {
    'host.yaml': `interfaces:
  lan: { addresses: [10.9.1.1/24] }
  wan: { addresses: [10.9.2.1/24] }
routes: [default via 10.9.2.2]
sysctls: { net.ipv4.ip_forward: 1 }
`,
    'iptables-save': rules,
  })

export interface ReportLine {
  readonly n: number
  readonly ts: number
  readonly in: string | null
  readonly verdict: string
  readonly out: readonly { readonly dev: string; readonly len: number }[]
  readonly reason: string
  readonly timers?: readonly { readonly dev: string; readonly len: number }[]
  readonly log?: readonly string[]
}

export const readReport = (path: string): ReportLine[] =>
  readFileSync(path, 'utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as ReportLine)
