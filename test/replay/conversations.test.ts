// Conversations of real programs (curl, FTP in both modes, TFTP, iperf3, ssh, DNS, ping, traceroute) through a gateway that
// was a kernel with iptables-legacy rules: what came in is replayed through tunwall, what leaves must be what left there,
// frame by frame; so must counters and conntrack's table at the end. scripts/record-conversations makes the data.

import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, test } from 'vitest'
import { readCapture, readReport } from '../harness/capture.ts'
import { decode } from '../harness/frames.ts'
import { headersOf, ICMP, ICMPV6 } from '../harness/headers.ts'
import { run } from '../harness/run.ts'

const DATA = fileURLToPath(new URL('data/conversations', import.meta.url))
const OUT = mkdtempSync(join(tmpdir(), 'tunwall-conversations-'))
afterAll(() => rmSync(OUT, { recursive: true }))

const OWN = ['10.0.1.1', '203.0.113.1', 'fd00:1::1', '2001:db8:f::1']

/** One line for a frame, without what the kernel draws: see `masks` of each. */
function line(iface: string, frame: Uint8Array): string {
  const h = headersOf(frame)!
  const own = OWN.includes(h.src) && (h.protocol === ICMP || h.protocol === ICMPV6)
  const masked = frame.slice()
  if (h.family === 4) {
    // Identification of what the gateway itself says, and the header checksum with it.
    if (own) masked.fill(0, 4, 6).fill(0, 10, 12)
  } else {
    // Flow label of what it says; identification of a packet that it puts together and cuts again.
    if (own) masked.fill(0, 1, 4)
    if (h.fragment !== null) masked.fill(0, h.fragment.at, h.fragment.at + 4)
  }
  return `${iface} ${decode(masked)} ${Buffer.from(masked).toString('base64')}`
}

const frames = (path: string): string[] => readCapture(path).map(({ iface, bytes }) => line(iface, bytes))

/** Lines of `conntrack -L -o extended` without the time that is left, which is compared apart. */
function flows(path: string): { lines: string[]; seconds: number[] } {
  const sorted = readFileSync(path, 'utf8')
    .split('\n')
    .filter((l) => l !== '')
    .map((l) => l.replace(/ use=\d+/, ''))
    .map((l) => ({
      at: Number(/ (\d+) [A-Z_]* ?src=/.exec(l)?.[1] ?? -1),
      text: l.replace(/ \d+ (?=[A-Z_]* ?src=)/, ' '),
    }))
    .sort((a, b) => (a.text < b.text ? -1 : 1))
  return { lines: sorted.map((l) => l.text), seconds: sorted.map((l) => l.at) }
}

/** The tables by name; the tool prints them in the order in which they were first asked for. */
const rules = (path: string): string[] =>
  readFileSync(path, 'utf8')
    .split('\n')
    .filter((l) => !l.startsWith('#'))
    .join('\n')
    .split('COMMIT\n')
    .sort()

describe('conversations of real programs', () => {
  test.each(readdirSync(DATA).filter((name) => name !== 'host'))('%s', async (name) => {
    const from = (file: string): string => join(DATA, name, file)
    const to = (file: string): string => join(OUT, name, file)
    const said = await run(
      'replay',
      '--host',
      join(DATA, 'host'),
      '--in',
      from('in.pcapng'),
      '--out',
      join(OUT, `${name}.pcapng`),
      '--after',
      join(OUT, name),
      '--report',
      join(OUT, `${name}.jsonl`),
    )
    expect([said.status, said.stderr]).toEqual([0, ''])
    expect(readReport(join(OUT, `${name}.jsonl`)).length).toBe(readCapture(from('in.pcapng')).length)
    expect(frames(join(OUT, `${name}.pcapng`))).toEqual(frames(from('out.pcapng')))
    const [ours, theirs] = [flows(to('conntrack')), flows(from('conntrack'))]
    expect(ours.lines).toEqual(theirs.lines)
    // The tables were read a moment after the last packet.
    for (const [i, seconds] of theirs.seconds.entries())
      expect(Math.abs(ours.seconds[i]! - seconds)).toBeLessThanOrEqual(2)
    for (const file of ['iptables-save', 'ip6tables-save']) expect(rules(to(file))).toEqual(rules(from(file)))
  })
})
