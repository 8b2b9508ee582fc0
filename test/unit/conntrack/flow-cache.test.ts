// The flow cache: hosts with it and without it send the same frames and count the same, over random scenarios of all
// profiles in which frames come again and again while rules, routes and sysctls change. TUNWALL_SEED and TUNWALL_RUNS
// for longer ones.

import { expect, test } from 'vitest'
import { PlaceError } from '../../../daemon/errors.ts'
import { procFiles } from '../../../daemon/proc.ts'
import { SeededRandom } from '../../harness/frames.ts'
import { rehearse, type Taker } from '../../harness/generate.ts'
import { PROFILES } from '../../harness/generate-world.ts'
import { Rehearsal } from '../../harness/rehearsal.ts'
import type { Scenario, Step, StepRun } from '../../harness/scenario.ts'
import { SEED_OF_RUN } from '../../harness/seed.ts'

const SEED = SEED_OF_RUN
const RUNS = Number(process.env.TUNWALL_RUNS ?? 10)
const MOST = RUNS * 5
const WALL = Date.UTC(2026, 0, 1)

/** What somebody may do to a host under traffic. */
const DISTURBANCES = [
  'iptables -I FORWARD -p udp -m length --length 0:60',
  'iptables -I FORWARD -p tcp -m tcp --tcp-flags PSH PSH',
  'iptables -I FORWARD -m tos --tos 0x10',
  'iptables -I FORWARD -m connmark --mark 1',
  'iptables -I FORWARD -m ttl --ttl-lt 64',
  'iptables -I FORWARD -m conntrack --ctstatus ASSURED',
  'iptables -I FORWARD -m limit --limit 5/s',
  'iptables -D FORWARD 1',
  'iptables -t mangle -I FORWARD -j MARK --set-xmark 1/1',
  'iptables -t mangle -I PREROUTING -j TTL --ttl-inc 1',
  'iptables -t mangle -I POSTROUTING -j DSCP --set-dscp 9',
  'iptables -t mangle -I PREROUTING -j CONNMARK --set-xmark 1/1',
  'iptables -t mangle -I PREROUTING -j CONNMARK --restore-mark',
  'iptables -t mangle -F',
  'iptables -t raw -I PREROUTING -p udp -j NOTRACK',
  'iptables -t raw -F',
  'iptables -t nat -A POSTROUTING -j MASQUERADE',
  'iptables -Z',
  'iptables -P FORWARD DROP',
  'iptables -P FORWARD ACCEPT',
  'ip6tables -I FORWARD -p udp -m length --length 0:80',
  'ip6tables -I FORWARD -p tcp -m tcp --tcp-flags FIN,PSH PSH',
  'ip6tables -I FORWARD -m conntrack --ctstatus ASSURED',
  'ip6tables -t mangle -I POSTROUTING -j HL --hl-inc 1',
  'ip6tables -t mangle -I PREROUTING -j TOS --set-tos 0x10',
  'ip6tables -D FORWARD 1',
  'ip6tables -Z',
  'ipset create known hash:ip',
  'ipset add known 10.1.0.2',
  'ipset del known 10.1.0.2',
  'ipset flush',
  'iptables -I FORWARD -m set --match-set known src',
  'iptables -A FORWARD -m set ! --match-set known dst -j ACCEPT',
  'iptables -t mangle -A POSTROUTING -j SET --add-set known dst --exist',
  'sysctl -w net.ipv4.conf.all.rp_filter=1',
  'sysctl -w net.ipv4.conf.all.rp_filter=0',
  'sysctl -w net.ipv4.ip_forward=0',
  'sysctl -w net.ipv4.ip_forward=1',
  'sysctl -w net.netfilter.nf_conntrack_checksum=0',
  'sysctl -w net.netfilter.nf_conntrack_acct=1',
  'conntrack -F',
  'conntrack -U -p udp --mark 5',
]

let hits = 0
let records = 0

/** Two hosts, and what the one without a cache does. */
class Twins implements Taker {
  readonly #with: Rehearsal
  readonly #without: Rehearsal
  readonly #random: SeededRandom
  readonly #scenario: Scenario
  #last: Step | null = null

  constructor(scenario: Scenario, seed: number) {
    this.#scenario = scenario
    this.#with = new Rehearsal(scenario, WALL)
    this.#without = new Rehearsal(scenario, WALL)
    const { flows } = this.#without.host.engine.conntrack
    flows.enabled = false
    this.#random = new SeededRandom(seed)
  }

  async take(steps: readonly Step[]): Promise<StepRun[]> {
    const runs: StepRun[] = []
    for (const step of steps) {
      runs.push(...(await this.#both([step])))
      if (step.frame !== undefined && step.references === undefined) this.#last = step
      const again = this.#last === null ? 0 : this.#random.u32() % 8
      for (let i = 0; i < again; i++) {
        if (this.#random.u32() % 150 === 0) this.#disturb()
        await this.#both([{ id: -1, dev: this.#last!.dev!, frame: this.#last!.frame! }])
      }
    }
    return runs
  }

  async #both(steps: readonly Step[]): Promise<StepRun[]> {
    const plain = await this.#without.take(steps)
    this.#with.host.ahead = this.#random.u32() % 3 !== 0
    expect(await this.#with.take(steps)).toStrictEqual(plain)
    return plain
  }

  #disturb(): void {
    const command = DISTURBANCES[this.#random.u32() % DISTURBANCES.length]!.split(' ')
    this.#with.host.run(command)
    this.#without.host.run(command)
  }

  end(): void {
    expect(this.#with.host.ends(this.#scenario)).toStrictEqual(this.#without.host.ends(this.#scenario))
    const proc = ({ host }: Rehearsal) => procFiles(host.engine).map((file) => [file.path, file.read()])
    expect(proc(this.#with)).toStrictEqual(proc(this.#without))
    const { flows } = this.#with.host.engine.conntrack
    expect(this.#without.host.engine.conntrack.flows.hits).toBe(0)
    hits += flows.hits
    records += flows.records
  }
}

test(`random scenarios, seed ${SEED}`, async () => {
  // Some seeds draw hosts that forward little: they go on until enough was tried.
  let i = 0
  for (; i < RUNS || (i < MOST && hits <= RUNS * 5); i++) {
    const profile = PROFILES[(SEED + i) % PROFILES.length]!
    let twins: Twins | null = null
    try {
      await rehearse(SEED + i, profile, WALL, (scenario) => {
        twins = new Twins(scenario, SEED + i)
        return twins
      })
      twins!.end()
    } catch (error) {
      // Random worlds may have what the kernel refuses too: scenarios.test.ts counts them.
      if (error instanceof PlaceError && twins === null) continue
      throw new Error(`${profile}-${SEED + i}: ${(error as Error).message}`, { cause: error })
    }
  }
  console.log(`${i} scenarios: ${hits} packets went one of ${records} recorded ways`)
  expect(hits).toBeGreaterThan(RUNS * 5)
}, 600_000)
