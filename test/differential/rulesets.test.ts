// Rulesets that programs wrote, in our tools and in the real ones: what restore, save, -L and -S answer must be equal.

import { describe, expect, test } from 'vitest'
import { whyNot } from '../harness/commands.ts'
import {
  type Asked,
  askKernel,
  comparable,
  kubeProxy,
  OurHost,
  oldestFirst,
  questions,
  recordedRulesets,
} from '../harness/rulesets.ts'

const why = whyNot()
if (why !== null) console.warn(`NOT RUN: whole rulesets are not compared with the real tools: ${why}`)

function compare(asked: readonly Asked[]): void {
  const theirs = askKernel(asked)
  const host = new OurHost()
  for (const [i, question] of asked.entries())
    expect(comparable(host.ask(question)), `${question.tool} ${question.argv.join(' ')}`).toEqual(
      comparable(theirs[i]!),
    )
}

describe.skipIf(why !== null).each(recordedRulesets())('$name', ({ sets, ipv4, ipv6 }) => {
  const restoreSets: Asked[] = sets === '' ? [] : [{ tool: 'ipset', argv: ['restore'], stdin: sets }]

  test('iptables', () => compare([...restoreSets, ...questions(4, oldestFirst(ipv4))]))

  if (ipv6 !== '') test('ip6tables', () => compare([...restoreSets, ...questions(6, oldestFirst(ipv6))]))

  if (sets === '') return
  test('ipset', () => {
    const asked: Asked[] = [...restoreSets, { tool: 'ipset', argv: ['save'] }]
    const [, theirs] = askKernel(asked)
    const host = new OurHost()
    const [, ours] = asked.map((question) => host.ask(question))
    // But for the order in a hash, seconds that went by, and the seed of the hash where none was given.
    const plain = (text: string): string[] =>
      text
        .replaceAll(/(timeout|initval) (?!0\b)\w+/g, '$1 N')
        .split('\n')
        .sort()
    expect({ ...ours!, stdout: plain(ours!.stdout) }).toEqual({ ...theirs!, stdout: plain(theirs!.stdout) })
  })
})

test.skipIf(why !== null)('kube-proxy, 100 services of 10 endpoints', () =>
  compare(questions(4, kubeProxy(100, 10))),
)
