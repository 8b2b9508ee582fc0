// Forwarding over devices (recipe R8): the C copier (ceiling), tunwall, the kernel as a router between veths, and the
// gateways that rootless containers have.

import {
  type ForwarderKind,
  hasForwarder,
  type Lab,
  type LabOptions,
  TUNWALL_SETTLES_S,
  withLabs,
} from './lab.ts'
import { gatewayRules } from './rules.ts'
import { interleave, median, ratio, spread, table } from './stats.ts'

const ROUNDS = 5
const SECONDS = 0.7
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
    for (const kind of kinds) await measure(labs[kind], labs[kind].settling)
    const contenders = Object.fromEntries(
      kinds.map((kind) => [kind, () => measure(labs[kind], SECONDS)]),
    ) as unknown as Record<K, () => Promise<number>>
    return interleave(rounds, contenders)
  })
}

const udp =
  (connections: number): Measure =>
  (lab, seconds) =>
    lab.udpRate(seconds, connections)
const tcp =
  (streams: number): Measure =>
  (lab, seconds) =>
    lab.tcpRate(seconds, streams)

function row(
  name: string,
  { copier, kernel }: Readonly<Record<'copier' | 'kernel', readonly number[]>>,
  ours: readonly number[],
): string[] {
  return [
    name,
    spread(copier),
    spread(ours),
    spread(kernel),
    ratio(median(ours) / median(copier)),
    ratio(median(ours) / median(kernel)),
  ]
}

export async function forward(): Promise<string> {
  const rows: string[][] = []
  for (const [name, unit, options, measure, rounds] of [
    ['UDP, 60-byte packets', 'packets/s', { offload: false }, udp(1), 11],
    ['the same, 64 connections in turn', 'packets/s', { offload: false }, udp(64), 11],
    ['UDP, 60-byte packets, with offloads', 'packets/s', { offload: true }, udp(1), 5],
    ['TCP, one stream', 'bit/s', { offload: false }, tcp(1), 3],
    ['the same with offloads', 'bit/s', { offload: true }, tcp(1), 5],
    ['four streams with offloads', 'bit/s', { offload: true }, tcp(4), 3],
    ['one stream, MTU 9000', 'bit/s', { offload: false, mtu: 9000 }, tcp(1), 3],
    ['one stream, MTU 65520', 'bit/s', { offload: false, mtu: 65520 }, tcp(1), 3],
  ] as const) {
    const runs = await compare(KINDS, options, measure, rounds)
    rows.push(row(`${name}, ${unit}`, runs, runs.tunwall))
  }
  const together = await compare(['copier', 'tunwall-gro', 'kernel'], { offload: true }, udp(1), 5)
  rows.push(row('UDP with offloads, tunwall with udp_gro, packets/s', together, together['tunwall-gro']))
  const trips = await compare(KINDS, { offload: false }, async (lab) => lab.ping(300))
  rows.push(row('round trip of a ping, µs', trips, trips.tunwall))
  return [
    `Conntrack, MASQUERADE and ${FILTERS} filter rules; medians of interleaved runs of ${SECONDS} s (lowest to highest), behind ${TUNWALL_SETTLES_S} s in which tunwall is compiled; MTU 1500 where nothing else is said. The kernel routes between veths, which have offloads; the copier does nothing but copy frames.`,
    '',
    table(['traffic', 'C copier', 'tunwall', 'kernel router', 'tunwall / copier', 'tunwall / kernel'], rows),
  ].join('\n')
}

/** TCP against what rootless containers have, at each one's best: a large MTU, or offloads. */
export async function rootless(): Promise<string> {
  const rows: string[][] = []
  const silent: string[] = []
  for (const peer of PEERS)
    for (const [name, mtu, streams] of [
      ['one stream, MTU 1500', 1500, 1],
      ['one stream, MTU 65520', 65520, 1],
      ['four streams, MTU 65520', 65520, 4],
    ] as const) {
      if (!hasForwarder(peer)) {
        silent.push(`${peer}: not installed`)
        break
      }
      try {
        const runs = await compare(['tunwall', peer], { offload: true, mtu }, tcp(streams), 3)
        const times = ratio(median(runs.tunwall) / median(runs[peer]))
        rows.push([peer, name, spread(runs[peer]), spread(runs.tunwall), times])
      } catch (error) {
        silent.push(`${peer}, ${name}: ${(error as Error).message.trim()}`)
      }
    }
  return [
    `TCP, bits a second; tunwall with conntrack, MASQUERADE and ${FILTERS} filter rules, with offloads; medians of 3 interleaved runs of ${SECONDS} s (lowest to highest).`,
    '',
    table(['peer', 'traffic', 'its rate', 'tunwall', 'tunwall / peer'], rows),
    ...silent.flatMap((why) => ['', `NOT RUN: ${why}.`]),
  ].join('\n')
}
