// Filling in what a frame repeats of the host's earlier answers, checksums included.

import { headersOf, isIcmp, quotes, TCP, UDP } from './headers.ts'
import { type Step, type StepRun, unhex } from './scenario.ts'

/** The frame of a step as it must go in, given the answers of a run so far. */
export function fillReferences(step: Step, runs: ReadonlyMap<number, StepRun>): Uint8Array {
  const frame = unhex(step.frame!)
  for (const r of step.references ?? []) {
    const answer = runs.get(r.step)?.sent[r.answer]?.bytes
    if (answer === undefined || r.from + 2 > answer.length || r.at + 2 > frame.length) continue
    replace16(frame, r.at, (answer[r.from]! << 8) | answer[r.from + 1]!)
  }
  return frame
}

/**
 * Puts 16 bits into a frame, at the even offset `at`, and mends every checksum that covers them: those of the
 * transport header, and, inside the quotation of an ICMP error, also those of the quoted packet. A wrong
 * checksum stays wrong by the same amount.
 */
export function replace16(frame: Uint8Array, at: number, value: number): void {
  const old = (frame[at]! << 8) | frame[at + 1]!
  if (old === value) return
  frame[at] = value >>> 8
  frame[at + 1] = value & 0xff
  let l3 = 0
  const sums: { offset: number; udp: boolean }[] = []
  for (;;) {
    const headers = headersOf(frame, l3)
    if (headers === null) break
    const { family, l4, protocol, fragment } = headers
    if (at < l4) {
      if (family === 4) sums.push({ offset: l3 + 10, udp: false })
      break
    }
    if (fragment !== null && fragment.offset > 0) break
    if (protocol === TCP) sums.push({ offset: l4 + 16, udp: false })
    else if (protocol === UDP) sums.push({ offset: l4 + 6, udp: true })
    else if (isIcmp(protocol)) sums.push({ offset: l4 + 2, udp: false })
    const type = frame[l4]
    if (type === undefined || !quotes(protocol, type) || at < l4 + 8) break
    l3 = l4 + 8
  }
  // Innermost first: an outer sum covers the inner one as well as the value.
  const changed: { old: number; value: number }[] = [{ old, value }]
  for (const { offset, udp } of sums.reverse()) {
    if (offset + 2 > frame.length || offset === at) continue
    const was = (frame[offset]! << 8) | frame[offset + 1]!
    if (udp && was === 0) continue
    let sum = ~was & 0xffff
    for (const c of changed) sum = add(sum, add(~c.old & 0xffff, c.value))
    let now = ~sum & 0xffff
    if (udp && now === 0) now = 0xffff
    frame[offset] = now >>> 8
    frame[offset + 1] = now & 0xff
    changed.push({ old: was, value: now })
  }
}

function add(a: number, b: number): number {
  const sum = a + b
  return (sum & 0xffff) + (sum >>> 16)
}
