// One rule of a random ruleset is changed: is the difference found? A change counts if random traffic shows that hosts do
// something else with it (2,000 packets compared), or if the search found it.
//
//     TUNWALL_SEED       first seed; default: the code's own
//     TUNWALL_MUTATIONS  changes that are planted; default 4
//     TUNWALL_BUDGET     seconds for each search; default 3

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { diffFind, diffGenerated } from '../../daemon/diff/run.ts'
import { writeFolder } from '../harness/capture.ts'
import { SeededRandom } from '../harness/frames.ts'
import { SEED_OF_RUN } from '../harness/seed.ts'

const count = Number(process.env.TUNWALL_MUTATIONS ?? 4)
const PACKETS = 2000
/** Seconds for each search: where there is nothing to find, all of them are spent. */
const BUDGET = Number(process.env.TUNWALL_BUDGET ?? 3)

const root = mkdtempSync(join(tmpdir(), 'tunwall-mutations-'))
afterAll(() => rmSync(root, { recursive: true }))

const YAML = `interfaces:
  lan: {addresses: [10.0.1.1/24]}
  dmz: {addresses: [10.0.2.1/24]}
  wan: {addresses: [203.0.113.1/24]}
routes: [default via 203.0.113.254]
sysctls: {net.ipv4.ip_forward: 1}
`

const CHAINS = ['web', 'mail', 'hosts', 'deep']

/** Conditions of a random rule. */
function asks(random: SeededRandom, out: boolean): string {
  const words: string[] = []
  if (random.once(3)) words.push(`-i ${random.pick(['lan', 'dmz', 'wan'])}`)
  if (out && random.once(5)) words.push(`-o ${random.pick(['lan', 'dmz', 'wan'])}`)
  if (random.once(2))
    words.push(`-s 10.0.${random.pick([1, 2])}.${random.below(16) * 16}/${random.pick([24, 28, 30])}`)
  if (random.once(3))
    words.push(`-d ${random.pick(['198.51.100.0/24', '198.51.100.64/26', '10.0.2.0/25', '10.0.1.32/27'])}`)
  const port = random.pick([22, 25, 53, 80, 443, 1000 + random.below(3000)])
  switch (random.below(5)) {
    case 0:
      words.push(`-p tcp -m tcp --dport ${port}`)
      break
    case 1:
      words.push(`-p udp -m udp --dport ${port}:${port + random.below(200)}`)
      break
    case 2:
      words.push(`-p tcp -m multiport --dports ${port},${port + 7}`)
      break
    case 3:
      words.push(`-p icmp -m icmp --icmp-type ${random.pick([8, 13])}`)
      break
    default:
      if (random.once(2))
        words.push(`-m conntrack --ctstate ${random.pick(['NEW', 'ESTABLISHED', 'INVALID'])}`)
  }
  return words.join(' ')
}

const VERDICTS = ['ACCEPT', 'DROP', 'REJECT', 'RETURN', 'ACCEPT']

function ruleset(random: SeededRandom): string[] {
  const rules: string[] = []
  const add = (chain: string, n: number, jumps: readonly string[]): void => {
    for (let i = 0; i < n; i++) {
      const target = jumps.length > 0 && random.once(4) ? random.pick(jumps) : random.pick(VERDICTS)
      rules.push(`-A ${chain} ${asks(random, chain !== 'INPUT')} -j ${target}`.replace(/ +/g, ' '))
    }
  }
  add('INPUT', 4, ['hosts'])
  add('FORWARD', 10, ['web', 'mail', 'hosts'])
  add('web', 5, ['deep'])
  add('mail', 5, ['deep'])
  add('hosts', 6, [])
  add('deep', 5, [])
  // Every chain has a way in, or nothing in it could differ.
  rules.push('-A FORWARD -p tcp -j web', '-A web -j deep', '-A FORWARD -j mail')
  return rules
}

const save = (rules: readonly string[]): string =>
  `*filter\n:INPUT DROP [0:0]\n:FORWARD DROP [0:0]\n:OUTPUT ACCEPT [0:0]\n${CHAINS.map((c) => `:${c} - [0:0]\n`).join('')}${rules.join('\n')}\nCOMMIT\n`

/** One rule another way; null: it cannot be done to this rule. */
function mutate(rules: readonly string[], random: SeededRandom): { rules: string[]; what: string } | null {
  const i = random.below(rules.length)
  const rule = rules[i]!
  const put = (changed: string, what: string) =>
    changed === rule ? null : { rules: rules.with(i, changed), what: `${what}: ${rule} ▶ ${changed}` }
  switch (random.below(6)) {
    case 0:
      return { rules: rules.toSpliced(i, 1), what: `gone: ${rule}` }
    case 1:
      return put(
        rule.replace(/(--dports? )(\d+)/, (_, o, p) => `${o}${Number(p) + 1}`),
        'port',
      )
    case 2:
      return put(
        rule.replace(/(-[sd] \S+)\/(\d+)/, (_, a, bits) => `${a}/${Math.min(32, Number(bits) + 1)}`),
        'mask',
      )
    case 3:
      return put(
        rule.replace(/-j (ACCEPT|DROP)$/, (_, v) => `-j ${v === 'DROP' ? 'ACCEPT' : 'DROP'}`),
        'verdict',
      )
    case 4:
      return put(
        rule.replace(/-i (lan|dmz)/, (_, d) => `-i ${d === 'lan' ? 'dmz' : 'lan'}`),
        'interface',
      )
    default: {
      const next = rules[i + 1]
      if (next === undefined || next.split(' ')[1] !== rule.split(' ')[1]) return null
      return { rules: rules.with(i, next).with(i + 1, rule), what: `order: ${rule} ⇄ ${next}` }
    }
  }
}

test(`${count} planted changes are found where there is one`, () => {
  const random = new SeededRandom(SEED_OF_RUN)
  const missed: string[] = []
  let [found, silent] = [0, 0]
  for (let n = 0; n < count; n++) {
    const rules = ruleset(random)
    let change = mutate(rules, random)
    while (change === null) change = mutate(rules, random)
    const folders = { 'host.yaml': YAML }
    const a = writeFolder(join(root, `${n}a`), { ...folders, 'iptables-save': save(rules) })
    const b = writeFolder(join(root, `${n}b`), { ...folders, 'iptables-save': save(change.rules) })
    const { difference } = diffFind({ a, b, seed: n, budget: BUDGET, save: null, progress: false })
    if (difference !== null && difference.found.kind !== 'rule') {
      found++
      continue
    }
    const { comparison } = diffGenerated({ a, b, count: PACKETS, seed: n })
    if (comparison.flows.some(({ kind }) => kind !== 'rule'))
      missed.push(`${n}: ${change.what}: ${comparison.flows.find(({ kind }) => kind !== 'rule')!.flow}`)
    else silent++
  }
  console.log(
    `TUNWALL_SEED=${SEED_OF_RUN}: of ${count} changes ${found} were found, ${missed.length} missed, ${silent} make no difference`,
    missed,
  )
  // Many random changes make no difference: of a few it may be all.
  if (count >= 20) expect(found).toBeGreaterThan(0)
  // One in ten may hide behind what only random traffic meets.
  expect(missed.length, missed.join('\n')).toBeLessThanOrEqual(Math.ceil(count / 10))
})
