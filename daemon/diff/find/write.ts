// What was found, as files: a capture for Wireshark and tunwall replay, and a test for tunwall test, which host A passes
// and host B fails.

import { dirname, relative, resolve } from 'node:path'
import { stringify } from 'yaml'
import { CaptureWriter, type WriteBytes } from '../../../datapath/ports/capture-writer.ts'
import { placeIn } from '../../words/line.ts'
import { parseWords } from '../../words/parse.ts'
import { printSteps } from '../../words/print.ts'
import type { SideOutcome } from '../report.ts'
import type { Difference } from './index.ts'
import type { SentIn } from './probe.ts'

/** Noon of a Thursday in April 2026, as in explain and test. */
const SECONDS = Date.UTC(2026, 3, 2, 12) / 1000

/** The frames that came in, a millisecond apart. What the host itself sends comes in nowhere. */
export function writePackets(write: WriteBytes, sent: readonly SentIn[]): void {
  const writer = new CaptureWriter(write)
  const numbers = new Map<string, number>()
  for (const [i, { device, frame }] of sent.entries()) {
    if (device === null) continue
    let number = numbers.get(device)
    if (number === undefined) numbers.set(device, (number = writer.interface(device)))
    writer.packet(number, SECONDS, i * 1_000_000, frame, 0, frame.length)
  }
  writer.flush()
}

/** The test. `path`: where it will lie; `host`: folder of host A. */
export function testOf({ steps, seed, found }: Difference, path: string, host: string): string {
  const folder = relative(dirname(resolve(path)), resolve(host)) || '.'
  const test = {
    name: `found by tunwall diff: ${NAMES[found.kind]}`,
    send: printSteps(steps),
    expect: expectation(found.a, found.kind),
  }
  return stringify({ host: folder, seed, tests: [test] }, { lineWidth: 0 })
}

const NAMES = {
  verdict: 'another verdict',
  way: 'another way out',
  translation: 'another translation',
  contents: 'other contents',
  rule: 'another rule decides',
} as const

function expectation(a: SideOutcome, kind: keyof typeof NAMES): Record<string, unknown> {
  const { verdict, reason, rule, out } = a
  if (kind === 'rule' && rule !== null) return { 'decided-by': rule.text }
  const [first] = out
  if (first !== undefined && verdict === 'forwarded') return { forwarded: fields(first) }
  if (first !== undefined && first.dev === null && verdict !== 'dropped') return { delivered: fields(first) }
  if (verdict === 'dropped')
    return rule === null || reason !== 'rule' ? { dropped: reason } : { 'dropped-by': rule.text }
  if (verdict === 'replied' && reason === 'rule') return { rejected: true }
  return rule === null ? { [verdict]: true } : { 'decided-by': rule.text }
}

function fields({ dev, packet }: SideOutcome['out'][number]): Record<string, unknown> {
  const [step] = parseWords(packet, placeIn(packet, 'packet')).steps
  if (step?.kind !== 'packet') return {}
  const { src, dst, sport, dport, ttl, tos, family } = step.packet
  const end = (address: string, port: number | undefined): string =>
    port === undefined ? address : `${family === 6 ? `[${address}]` : address}:${port}`
  return {
    ...(dev !== null && { dev }),
    src: end(src, sport),
    dst: end(dst, dport),
    ...(ttl !== undefined && { ttl }),
    ...(tos !== undefined && { tos }),
  }
}
