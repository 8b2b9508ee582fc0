// tunwall diff --find finds what was planted: in rulesets that programs wrote, in kube-proxy's of 1,000 services, in random
// ones with one rule changed.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { readCapture, writeFolder } from '../harness/capture.ts'
import { repositoryRoot } from '../harness/kernel.ts'
import { kubeProxy } from '../harness/rulesets.ts'
import { run } from '../harness/run.ts'

const root = mkdtempSync(join(tmpdir(), 'tunwall-find-'))
afterAll(() => rmSync(root, { recursive: true }))
let made = 0

const YAML = `interfaces:
  lan: {addresses: [10.0.1.1/24]}
  wan: {addresses: [203.0.113.1/24]}
routes: [default via 203.0.113.254, 10.128.0.0/10 via 10.0.1.254]
sysctls: {net.ipv4.ip_forward: 1}
`

interface Answer {
  found: boolean
  packets: string
  seed: number
  kind: string
  a: { verdict: string; rule: { text: string } | null; out: { flow: string }[] }
  b: { verdict: string; rule: { text: string } | null; out: { flow: string }[] }
}

async function find(a: Record<string, string>, b: Record<string, string>, ...options: string[]) {
  const directory = join(root, String(made++))
  const [a0, b0] = [a, b].map((files, i) =>
    writeFolder(join(directory, 'ab'[i]!), { 'host.yaml': YAML, ...files }),
  ) as [string, string]
  const save = join(directory, 'found')
  const said = await run(
    'diff',
    '--a',
    a0,
    '--b',
    b0,
    '--find',
    '--json',
    '--save',
    save,
    '--budget',
    '600',
    ...options,
  )
  expect(said.stderr).toBe('')
  const answer = JSON.parse(said.stdout) as Answer
  expect(said.status).toBe(answer.found ? 1 : 0)
  // The test that it writes is one that A passes and B fails.
  const [one, other] = [`${save}.test.yaml`, `${save}-b.test.yaml`]
  writeFileSync(other, readFileSync(one, 'utf8').replace(/^host: .*/, 'host: b'))
  expect((await run('test', one)).status).toBe(0)
  expect((await run('test', other)).status).toBe(1)
  return { ...answer, save, a0, b0 }
}

/** Of processor time, ms: the machine may be busy. */
const MINUTE = 60_000
const spent = (since: NodeJS.CpuUsage): number => {
  const { user, system } = process.cpuUsage(since)
  return (user + system) / 1000
}

describe('planted in large rulesets: in under a minute', () => {
  test('kube-proxy, 1,000 services of three endpoints: one endpoint is another', async () => {
    const save = kubeProxy(1000, 3)
    const pods = [...save.matchAll(/--to-destination (\S+)/g)].map(([, to]) => to!)
    const pod = pods[1537]!
    const began = process.cpuUsage()
    const answer = await find(
      { 'iptables-save': save },
      { 'iptables-save': save.replaceAll(`--to-destination ${pod}`, '--to-destination 10.140.9.9:8080') },
    )
    expect(spent(began)).toBeLessThan(MINUTE)
    expect([answer.kind, answer.packets]).toEqual([
      'translation',
      'tcp 10.0.1.2:40000 > 10.96.2.0:80 syn in lan',
    ])
    expect(answer.a.out[0]!.flow).toContain(`> ${pod}`)
    expect(answer.b.out[0]!.flow).toContain('> 10.140.9.9:8080')
    // Its seed gives the same luck to who replays it.
    const replay = async (host: string): Promise<string> => {
      const out = join(root, 'replayed.pcapng')
      await run(
        ...['replay', '--host', host, '--in', `${answer.save}.pcapng`, '--out', out],
        ...['--seed', String(answer.seed)],
      )
      return readCapture(out)
        .map(({ bytes }) => bytes.slice(16, 20).join('.'))
        .join()
    }
    expect(await replay(answer.a0)).toBe(pod.split(':')[0])
    expect(await replay(answer.b0)).toBe('10.140.9.9')
  })

  test('kube-proxy: one cluster IP is another', async () => {
    const save = kubeProxy(1000, 2)
    const answer = await find(
      { 'iptables-save': save },
      { 'iptables-save': save.replaceAll('-d 10.96.3.17/32', '-d 10.96.99.17/32') },
    )
    expect(answer.kind).not.toBe('rule')
    expect(answer.packets).toMatch(/> 10\.96\.(3|99)\.17:80/)
  })

  test('firewalld: one mask is another', async () => {
    const folder = join(repositoryRoot(), 'test/data/rulesets/firewalld')
    const save = readFileSync(join(folder, 'iptables-save'), 'latin1')
    const ipset = readFileSync(join(folder, 'ipset-save'), 'latin1')
    const rule = '-A IN_public_pre -s 203.0.113.0/24 -j DROP'
    expect(save).toContain(rule)
    const began = process.cpuUsage()
    // The upper half of the network is in a zone of its own.
    const answer = await find(
      { 'iptables-save': save, 'ipset-save': ipset },
      { 'iptables-save': save.replace(rule, rule.replace('/24', '/26')), 'ipset-save': ipset },
    )
    expect(spent(began)).toBeLessThan(MINUTE)
    expect([answer.kind, answer.a.verdict, answer.b.verdict]).toEqual(['verdict', 'dropped', 'replied'])
    expect(answer.packets).toMatch(/^tcp 203\.0\.113\.(6[4-9]|[789]\d|1[01]\d|12[0-7]):/)
  })
})
