// What rules cost: recipes R1 (rules against throughput), R2 (crossover) and R4 (services); and the README's plot.

import { kubeProxy } from '../test/harness/rulesets.ts'
import { type ForwarderKind, type Lab, type LabOptions, TUNWALL_SETTLES_S, withLabs } from './lab.ts'
import { type Line, plot } from './plot.ts'
import { intoReadme } from './readme.ts'
import { gatewayRules } from './rules.ts'
import { interleave, median, ratio, short, spread, table } from './stats.ts'

const ROUNDS = 5
const SECONDS = 0.4
const SERVICE_SECONDS = 1
/** New connections at the usual limits: until the kernel's table is full, too. */
const FULL_TABLE_WARM_UP = 8
const KINDS = ['tunwall', 'kernel', 'kernel-nft'] as const
type Kind = (typeof KINDS)[number]
/** Of datagrams, which may leave as superframes. */
const DATAGRAM_KINDS = ['tunwall', 'tunwall-gro', 'kernel', 'kernel-nft'] as const
const RULES = [0, 30, 100, 300, 1000, 3000, 10_000]
const SERVICES = [100, 1000, 10_000]
const ENDPOINTS = 10

type Runs = Record<Kind, number[]>
type DatagramRuns = Record<(typeof DATAGRAM_KINDS)[number], number[]>

async function measured<K extends ForwarderKind>(
  kinds: readonly K[],
  options: Pick<LabOptions, 'rules' | 'usualLimits'>,
  warm: (lab: Lab) => Promise<unknown>,
  measure: (lab: Lab, round: number) => Promise<number>,
  rounds = ROUNDS,
): Promise<Record<K, number[]>> {
  return withLabs(kinds, { ...options, offload: false }, async (labs) => {
    for (const kind of kinds) await warm(labs[kind])
    const done = Object.fromEntries(kinds.map((kind) => [kind, 0])) as Record<K, number>
    const contenders = Object.fromEntries(
      kinds.map((kind) => [kind, () => measure(labs[kind], done[kind]++)]),
    ) as unknown as Record<K, () => Promise<number>>
    return interleave(rounds, contenders)
  })
}

const throughput = <K extends ForwarderKind>(kinds: readonly K[], rules: number, rounds = ROUNDS) =>
  measured(
    kinds,
    { rules: gatewayRules(rules) },
    (lab) => lab.udpRate(lab.settling),
    (lab) => lab.udpRate(SECONDS),
    rounds,
  )

const connections = <K extends Kind>(
  kinds: readonly K[],
  services: number,
  usualLimits = false,
): Promise<Record<K, number[]>> =>
  measured(
    kinds,
    { rules: kubeProxy(services, ENDPOINTS), usualLimits },
    (lab) => lab.newConnections(services, usualLimits ? FULL_TABLE_WARM_UP : lab.settling, '10.9.1.3'),
    async (lab, round) => (await lab.newConnections(services, SERVICE_SECONDS, `10.9.1.${10 + round}`)).rate,
    3,
  )

/** Fewest rules from which tunwall is ahead, between a number where it is not and one where it is; by bisection. */
async function crossover(kind: 'kernel' | 'kernel-nft', behind: number, ahead: number): Promise<number> {
  let [low, high] = [behind, ahead]
  for (let step = 0; step < 4 && high - low > 5; step++) {
    // Sizes are far apart: the middle of their logarithms.
    const middle = Math.round(Math.sqrt(Math.max(low, 1) * high))
    const runs = await throughput(['tunwall', kind], middle)
    if (median(runs.tunwall) > median(runs[kind])) high = middle
    else low = middle
  }
  return high
}

async function crossoverText(
  kind: 'kernel' | 'kernel-nft',
  name: string,
  all: readonly Runs[],
): Promise<string> {
  const at = all.findIndex((runs) => median(runs.tunwall) > median(runs[kind]))
  if (at < 0) return `tunwall is behind ${name} at each of these sizes.`
  if (at === 0) return `tunwall is ahead of ${name} with any number of rules.`
  const rules = await crossover(kind, RULES[at - 1]!, RULES[at]!)
  return `tunwall is ahead of ${name} from about ${rules} rules on (four steps of bisection).`
}

const datagramRow = (size: number, runs: DatagramRuns): string[] => [
  ...row(size, runs),
  spread(runs['tunwall-gro']),
  ratio(median(runs['tunwall-gro']) / median(runs.kernel)),
]

const row = (size: number, runs: Runs): string[] => [
  String(size),
  spread(runs.tunwall),
  spread(runs.kernel),
  spread(runs['kernel-nft']),
  ratio(median(runs.tunwall) / median(runs.kernel)),
  ratio(median(runs.tunwall) / median(runs['kernel-nft'])),
]

function draw(all: readonly DatagramRuns[]): void {
  const line = (name: string, kind: keyof DatagramRuns): Line => ({
    name,
    points: RULES.map((rules, i) => [Math.max(rules, 10), median(all[i]![kind])]),
  })
  plot('docs/throughput.svg', {
    title: 'UDP packets a second, by filter rules that do not fit',
    x: { name: 'rules', from: 10, to: 10_000, labels: new Map([[10, '0']]) },
    y: { name: 'packets/s' },
    lines: [
      line('tunwall', 'tunwall'),
      line('tunwall, udp_gro', 'tunwall-gro'),
      line('Linux, iptables-legacy', 'kernel'),
      line('Linux, iptables-nft', 'kernel-nft'),
    ],
  })
}

/** The README's: medians alone. */
const summary = (all: readonly DatagramRuns[]): string =>
  table(
    [
      'rules that do not fit',
      'tunwall, packets/s',
      'with `udp_gro`',
      'Linux, iptables-legacy',
      'Linux, iptables-nft',
    ],
    RULES.map((size, i) => [
      size.toLocaleString('en'),
      ...DATAGRAM_KINDS.map((kind) => {
        const rate = median(all[i]![kind])
        return kind.startsWith('tunwall')
          ? short(rate)
          : `${short(rate)} (${ratio(median(all[i]!.tunwall) / rate)} times)`
      }),
    ]),
  )

export async function scale(): Promise<string> {
  const rules: DatagramRuns[] = []
  for (const size of RULES) rules.push(await throughput(DATAGRAM_KINDS, size))
  draw(rules)
  intoReadme(summary(rules))
  const ahead = [
    await crossoverText('kernel', 'the kernel router with iptables-legacy', rules),
    await crossoverText('kernel-nft', 'the one with iptables-nft', rules),
  ]
  return [
    `UDP, 60-byte packets, conntrack, MASQUERADE and rules in FORWARD that do not fit; packets a second, medians of ${ROUNDS} interleaved runs of ${SECONDS} s (lowest to highest), behind ${TUNWALL_SETTLES_S} s in which tunwall is compiled. The kernel routes between veths, with iptables-legacy and iptables-nft. With \`udp_gro\` what leaves for one flow goes as superframes, whose datagrams are counted here.`,
    '',
    table(
      [
        'rules',
        'tunwall',
        'kernel',
        'kernel, nft',
        'tunwall / kernel',
        'tunwall / nft',
        'with udp_gro',
        'with udp_gro / kernel',
      ],
      RULES.map((size, i) => datagramRow(size, rules[i]!)),
    ),
    '',
    ...ahead,
    '',
    '![Packets a second by rules](throughput.svg)',
  ].join('\n')
}

export async function services(): Promise<string> {
  const all: Runs[] = []
  for (const size of SERVICES) all.push(await connections(KINDS, size))
  const most = SERVICES.at(-1)!
  const full = await connections(['tunwall', 'kernel'], most, true)
  return [
    `New connections a second through kube-proxy's rules, ${ENDPOINTS} endpoints a service: one SYN each, to all services in turn; medians of 3 interleaved runs of ${SERVICE_SECONDS} s (lowest to highest).`,
    '',
    table(
      [
        'services',
        'tunwall',
        'kernel',
        'kernel, nft',
        'tunwall / kernel',
        'tunwall / nft',
        'cost against 100 services',
      ],
      SERVICES.map((size, i) => [
        ...row(size, all[i]!),
        ratio(median(all[0]!.tunwall) / median(all[i]!.tunwall)),
      ]),
    ),
    '',
    `(${short(most * (2 + ENDPOINTS * 4))} rules at most.) A connection that stays at its SYN lives for a second here, and tunwall's table has room for those of a second. With the usual limit and timeouts both tables are full, so that each new connection through ${most} services makes another give way: ${spread(full.tunwall)} against the kernel's ${spread(full.kernel)}, ${ratio(median(full.tunwall) / median(full.kernel))} times.`,
  ].join('\n')
}
