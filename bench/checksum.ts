// RFC 1071 sums (part of recipe R9): ours in JavaScript and the addon's in C, by length.

import { native } from '../datapath/native/index.ts'
import { sumView } from '../datapath/wire/checksum.ts'
import { interleave, median, ratio, table } from './stats.ts'

const LENGTHS = [20, 60, 1500, 65_000]
const BYTES = 50_000_000
const ROUNDS = 3

/** Nanoseconds of processor time for a sum. */
function time(length: number, sum: (length: number) => number): number {
  const count = Math.min(1_000_000, Math.ceil(BYTES / length))
  let all = 0
  for (let i = 0; i < count >> 3; i++) all += sum(length)
  const start = process.cpuUsage()
  for (let i = 0; i < count; i++) all += sum(length)
  const { user } = process.cpuUsage(start)
  if (all === 0) throw new Error('nothing was summed')
  return (user * 1000) / count
}

export async function checksums(): Promise<string> {
  const bytes = Uint8Array.from({ length: 65_536 }, (_, i) => (i * 7) & 255)
  const view = new DataView(bytes.buffer)
  const { onesSum } = native()
  const rows: string[][] = []
  for (const length of LENGTHS) {
    const runs = await interleave(ROUNDS, {
      ours: () => time(length, (end) => sumView(view, 0, end, 0)),
      addon: () => time(length, (end) => onesSum(bytes, 0, end)),
    })
    const [ours, addon] = [median(runs.ours), median(runs.addon)]
    rows.push([
      String(length),
      ours.toFixed(1),
      (ours / length).toFixed(3),
      addon.toFixed(1),
      ratio(ours / addon),
    ])
  }
  return [
    `Nanoseconds of a sum; medians of ${ROUNDS} interleaved runs. Frames that a device gave are summed by the addon as they are read; JavaScript's sum is for what is made or changed here.`,
    '',
    table(['bytes', 'JavaScript', 'a byte', 'C, called from JavaScript', 'JavaScript / C'], rows),
  ].join('\n')
}
