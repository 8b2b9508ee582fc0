// Forwarding over devices (recipe R8): the C copier (ceiling), tunwall, the kernel as a router between veths, and the
// gateways that rootless containers have.

import { type ForwarderKind, hasForwarder, type Lab, type LabOptions, withLabs } from './lab.ts'
import { gatewayRules } from './rules.ts'
import { interleave, median, ratio, spread, table } from './stats.ts'

const ROUNDS = 5
const SECONDS = 1
const WARM_UP = 1
const FILTERS = 20
const KINDS = ['copier', 'tunwall', 'kernel'] as const
const PEERS = ['slirp4netns', 'pasta'] as const

type Measure = (lab: Lab, seconds: number) => Promise<number>

/** Each kind's runs, in turn. */
async function compare<K extends ForwarderKind>(
  kinds: readonly K[],
  options: Omit<LabOptions, 'kind'>,
  measure: Measure,
  rounds = ROUNDS,
): Promise<Record<K, number[]>> {
  return withLabs(kinds, { ...options, rules: gatewayRules(FILTERS) }, async (labs) => {
    for (const kind of kinds) await measure(labs[kind], WARM_UP)
    const contenders = Object.fromEntries(
      kinds.map((kind) => [kind, () => measure(labs[kind], SECONDS)]),
    ) as unknown as Record<K, () => Promise<number>>
    return interleave(rounds, contenders)
  })
}

const udp: Measure = (lab, seconds) => lab.udpRate(seconds)
const tcp =
  (streams: number): Measure =>
  (lab, seconds) =>
    lab.tcpRate(seconds, streams)

export async function forward(): Promise<string> {
  const rows: string[][] = []
  for (const [name, unit, options, measure, rounds] of [
    ['UDP, 60-byte packets', 'packets/s', { offload: false }, udp, 7],
    ['the same with offloads', 'packets/s', { offload: true }, udp, 3],
    ['TCP, one stream', 'bit/s', { offload: false }, tcp(1), 3],
    ['the same with offloads', 'bit/s', { offload: true }, tcp(1), 7],
    ['four streams with offloads', 'bit/s', { offload: true }, tcp(4), 3],
    ['one stream, MTU 9000', 'bit/s', { offload: false, mtu: 9000 }, tcp(1), 3],
    ['one stream, MTU 65520', 'bit/s', { offload: false, mtu: 65520 }, tcp(1), 3],
  ] as const) {
    const runs = await compare(KINDS, options, measure, rounds)
    rows.push([
      `${name}, ${unit}`,
      spread(runs.copier),
      spread(runs.tunwall),
      spread(runs.kernel),
      ratio(median(runs.tunwall) / median(runs.copier)),
      ratio(median(runs.tunwall) / median(runs.kernel)),
    ])
  }
  const trips = await compare(KINDS, { offload: false }, async (lab) => lab.ping(300))
  rows.push([
    'round trip of a ping, µs',
    spread(trips.copier),
    spread(trips.tunwall),
    spread(trips.kernel),
    ratio(median(trips.tunwall) / median(trips.copier)),
    ratio(median(trips.tunwall) / median(trips.kernel)),
  ])
  return [
    `Conntrack, MASQUERADE and ${FILTERS} filter rules; medians of interleaved runs of ${SECONDS} s (lowest to highest), MTU 1500 where nothing else is said. The kernel routes between veths, which have offloads; the copier does nothing but copy frames.`,
    '',
    table(['traffic', 'C copier', 'tunwall', 'kernel router', 'tunwall / copier', 'tunwall / kernel'], rows),
    '',
    await rootless(),
  ].join('\n')
}

/** TCP against what rootless containers have, at each one's best: a large MTU, or offloads. */
async function rootless(): Promise<string> {
  const there = PEERS.filter(hasForwarder)
  if (there.length === 0) return `NOT RUN: ${PEERS.join(', ')}: not installed.`
  const kinds = ['tunwall', ...there] as const
  const rows: string[][] = []
  for (const [name, mtu, streams] of [
    ['TCP, one stream, MTU 1500', 1500, 1],
    ['TCP, one stream, MTU 65520', 65520, 1],
    ['TCP, four streams, MTU 65520', 65520, 4],
  ] as const) {
    const runs = await compare(kinds, { offload: true, mtu }, tcp(streams), 3)
    rows.push([
      `${name}, bit/s`,
      spread(runs.tunwall),
      ...there.flatMap((peer) => [spread(runs[peer]), ratio(median(runs.tunwall) / median(runs[peer]))]),
    ])
  }
  return [
    'Against the gateways of rootless containers, tunwall with the rules above and offloads:',
    '',
    table(['traffic', 'tunwall', ...there.flatMap((peer) => [peer, `tunwall / ${peer}`])], rows),
  ].join('\n')
}
