// What rules cost: recipes R1 (rules against throughput), R2 (crossover) and R4 (services).

import { kubeProxy } from '../test/harness/rulesets.ts'
import { type ForwarderKind, Lab } from './lab.ts'
import { gatewayRules } from './rules.ts'
import { median, short, spread, table } from './stats.ts'

const ROUNDS = 3
const SECONDS = 1
const KINDS = ['tunwall', 'kernel', 'kernel-nft'] as const
const RULES = [0, 100, 300, 1000, 5000, 10_000]
const SERVICES = [100, 1000, 10_000]
const ENDPOINTS = 10

async function measured(
  kind: ForwarderKind,
  rules: string,
  measure: (lab: Lab) => Promise<number>,
): Promise<number> {
  const lab = await Lab.start({ kind, offload: false, rules })
  try {
    return await measure(lab)
  } finally {
    lab.stop()
  }
}

/** Rates by kind, interleaved; [kind][size] are the runs. */
async function sweep(
  sizes: readonly number[],
  rules: (size: number) => string,
  measure: (lab: Lab, size: number) => Promise<number>,
): Promise<Record<(typeof KINDS)[number], number[][]>> {
  const runs = { tunwall: [], kernel: [], 'kernel-nft': [] } as Record<(typeof KINDS)[number], number[][]>
  for (const [i, size] of sizes.entries()) {
    const text = rules(size)
    for (const kind of KINDS) runs[kind][i] = []
    for (let round = 0; round < ROUNDS; round++)
      for (const kind of KINDS) runs[kind][i]!.push(await measured(kind, text, (lab) => measure(lab, size)))
  }
  return runs
}

const ratio = (a: number, b: number): string => (a / b).toPrecision(3)

export async function scale(): Promise<string> {
  const rules = await sweep(RULES, gatewayRules, (lab) => lab.udpRate(SECONDS))
  const rows = RULES.map((n, i) => {
    const [ours, legacy, nft] = KINDS.map((kind) => rules[kind][i]!)
    return [
      String(n),
      spread(ours!),
      spread(legacy!),
      spread(nft!),
      ratio(median(ours!), median(legacy!)),
      ratio(median(ours!), median(nft!)),
    ]
  })
  const crossover = RULES.find((_, i) => median(rules.tunwall[i]!) > median(rules.kernel[i]!))
  const services = await sweep(
    SERVICES,
    (n) => kubeProxy(n, ENDPOINTS),
    (lab, n) => lab.newConnections(n, SECONDS),
  )
  const serviceRows = SERVICES.map((n, i) => {
    const [ours, legacy, nft] = KINDS.map((kind) => services[kind][i]!)
    return [
      String(n),
      spread(ours!),
      spread(legacy!),
      spread(nft!),
      ratio(median(ours!), median(legacy!)),
      ratio(median(ours!), median(nft!)),
      ratio(median(services.tunwall[0]!), median(ours!)),
    ]
  })
  return [
    `UDP, 60-byte packets, conntrack, MASQUERADE and rules in FORWARD that do not fit; packets a second, medians of ${ROUNDS} interleaved runs of ${SECONDS} s (lowest to highest). The kernel routes between veths, with iptables-legacy and iptables-nft.`,
    '',
    table(['rules', 'tunwall', 'kernel', 'kernel, nft', 'tunwall / kernel', 'tunwall / nft'], rows),
    '',
    crossover === undefined
      ? 'The kernel router is ahead at each of these sizes.'
      : `tunwall is ahead of the kernel router from ${crossover} rules on (of the sizes above).`,
    '',
    `New connections a second through kube-proxy's rules, ${ENDPOINTS} endpoints a service: one SYN each, to all services in turn.`,
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
      serviceRows,
    ),
    '',
    `(${short(SERVICES.at(-1)! * (2 + ENDPOINTS * 4))} rules at most.)`,
  ].join('\n')
}
