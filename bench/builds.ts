// npm run bench -- --builds WHAT DIRECTORY …: builds of tunwall against each other, side by side and in turn. For whoever
// makes something faster; nothing is written.

import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { kubeProxy } from '../test/harness/rulesets.ts'
import { Lab, type LabOptions } from './lab.ts'
import { gatewayRules } from './rules.ts'
import { interleave, median, short, table } from './stats.ts'

const ROUNDS = 11
const SECONDS = 0.7
const FILTERS = 20
const SERVICES = 10_000
const ENDPOINTS = 10

interface Run {
  readonly rate: number
  /** Of the forwarder's time for each packet; absent where nobody counts packets. */
  readonly ns?: number
}

interface Measure {
  readonly rules: () => string
  readonly options: Partial<LabOptions>
  readonly run: (lab: Lab, seconds: number, round: number) => Promise<Run>
}

const MEASURES: Readonly<Record<string, Measure>> = {
  udp: {
    rules: () => gatewayRules(FILTERS),
    options: { offload: false },
    run: (lab, seconds) => lab.udp(seconds),
  },
  /** Of 64 connections in turn, so that no two datagrams of one come together. */
  'udp-turns': {
    rules: () => gatewayRules(FILTERS),
    options: { offload: false },
    run: (lab, seconds) => lab.udp(seconds, 64),
  },
  'udp-gro': {
    rules: () => gatewayRules(FILTERS),
    options: { kind: 'tunwall-gro' },
    run: (lab, seconds) => lab.udp(seconds),
  },
  services: {
    rules: () => kubeProxy(SERVICES, ENDPOINTS),
    options: { offload: false },
    run: (lab, seconds, round) => lab.newConnections(SERVICES, seconds, `10.9.1.${3 + (round % 200)}`),
  },
  tcp: {
    rules: () => gatewayRules(FILTERS),
    options: {},
    run: async (lab, seconds) => ({ rate: await lab.tcpRate(seconds) }),
  },
}

/** A directory with a build, or `copier`. */
const optionsOf = (where: string): Pick<LabOptions, 'kind' | 'root'> =>
  where === 'copier' ? { kind: 'copier' } : { kind: 'tunwall', root: resolve(where) }

/** Exit status. */
export async function builds([what = '', ...where]: readonly string[]): Promise<number> {
  const measure = MEASURES[what]
  const unbuilt = where.find((at) => at !== 'copier' && !existsSync(join(at, 'dist/daemon/main.js')))
  if (measure === undefined || where.length === 0) {
    console.error(`usage: npm run bench -- --builds ${Object.keys(MEASURES).join('|')} DIRECTORY|copier …`)
    return 2
  }
  if (unbuilt !== undefined) {
    console.error(`${unbuilt}: no build of tunwall in there (dist/daemon/main.js)`)
    return 2
  }
  const labs: Lab[] = []
  try {
    for (const at of where)
      labs.push(await Lab.start({ rules: measure.rules(), ...optionsOf(at), ...measure.options }))
    let round = 0
    for (const lab of labs) await measure.run(lab, lab.settling, round++)
    const ns: Record<string, number[]> = {}
    const contenders = labs.map((lab, i) => {
      const name = `${i} ${where[i]}`
      const times: number[] = []
      ns[name] = times
      const run = async (): Promise<number> => {
        const { rate, ns } = await measure.run(lab, SECONDS, round++)
        if (ns !== undefined) times.push(ns)
        return rate
      }
      return [name, run] as const
    })
    const rates = await interleave(ROUNDS, Object.fromEntries(contenders))
    const timed = Object.values(ns).some((times) => times.length > 0)
    const row = ([name]: (typeof contenders)[number]): string[] => {
      const times = ns[name]!
      const columns = timed ? [median(times).toFixed(0), Math.min(...times).toFixed(0)] : []
      return [name, ...columns, short(median(rates[name]!))]
    }
    const head = ['build', ...(timed ? ['ns a packet, median', 'least'] : []), 'rate']
    console.log(table(head, contenders.map(row)))
    return 0
  } finally {
    for (const lab of labs) lab.stop()
  }
}
