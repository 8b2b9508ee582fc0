// Forwarding over devices: the C copier (ceiling), tunwall, the kernel as a router between veths.

import { type ForwarderKind, Lab } from './lab.ts'
import { gatewayRules } from './rules.ts'
import { interleave, median, spread, table } from './stats.ts'

const ROUNDS = 5
const SECONDS = 2
const FILTERS = 20

async function once(
  kind: ForwarderKind,
  offload: boolean,
  measure: (lab: Lab) => Promise<number>,
): Promise<number> {
  const lab = await Lab.start({ kind, offload, rules: gatewayRules(FILTERS) })
  try {
    return await measure(lab)
  } finally {
    lab.stop()
  }
}

export async function forward(): Promise<string> {
  const rows: string[][] = []
  for (const [name, unit, offload, measure] of [
    ['UDP, 60-byte packets', 'packets/s', false, (lab: Lab) => lab.udpRate(SECONDS)],
    ['the same with offloads', 'packets/s', true, (lab: Lab) => lab.udpRate(SECONDS)],
    ['TCP, one stream', 'bit/s', false, (lab: Lab) => lab.tcpRate(SECONDS)],
    ['the same with offloads', 'bit/s', true, (lab: Lab) => lab.tcpRate(SECONDS)],
  ] as const) {
    const runs = await interleave(ROUNDS, {
      copier: () => once('copier', offload, measure),
      tunwall: () => once('tunwall', offload, measure),
      kernel: () => once('kernel', offload, measure),
    })
    const ratio = median(runs.tunwall) / median(runs.copier)
    rows.push([
      `${name}, ${unit}`,
      spread(runs.copier),
      spread(runs.tunwall),
      spread(runs.kernel),
      ratio.toFixed(2),
      (median(runs.tunwall) / median(runs.kernel)).toFixed(2),
    ])
  }
  return [
    `Conntrack, MASQUERADE and ${FILTERS} filter rules; medians of ${ROUNDS} interleaved runs of ${SECONDS} s (lowest to highest).`,
    '',
    table(['traffic', 'C copier', 'tunwall', 'kernel router', 'tunwall / copier', 'tunwall / kernel'], rows),
  ].join('\n')
}
