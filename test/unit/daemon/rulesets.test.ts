// What programs wrote loads, and prints back to the byte: counters, order of tables and all.

import { describe, expect, test } from 'vitest'
import { kubeProxy, OurHost, oldestFirst, recordedRulesets, withoutDates } from '../../harness/rulesets.ts'

const GENERATORS = [
  ...['cni', 'docker', 'fail2ban', 'ferm', 'firehol', 'firewalld', 'libvirt', 'netavark', 'shorewall', 'ufw'],
]

test('all ten were recorded, each with rules for both families', () => {
  const recorded = new Map(recordedRulesets().map((ruleset) => [ruleset.name, ruleset]))
  for (const name of GENERATORS)
    for (const text of [recorded.get(name)!.ipv4, recorded.get(name)!.ipv6])
      expect(text.match(/^\[\d+:\d+\] -A /gm)?.length, name).toBeGreaterThan(3)
})

describe.each(recordedRulesets().filter(({ name }) => GENERATORS.includes(name)))(
  '$name',
  ({ sets, ipv4, ipv6 }) => {
    test.each([
      { prefix: 'iptables', text: ipv4 },
      { prefix: 'ip6tables', text: ipv6 },
    ])('$prefix-restore, $prefix-save', ({ prefix, text }) => {
      const host = new OurHost()
      const ok = { stdout: '', stderr: '', code: 0 }
      expect(host.ask({ tool: 'ipset', argv: ['restore'], stdin: sets })).toEqual(ok)
      expect(host.ask({ tool: `${prefix}-restore`, argv: ['-c'], stdin: oldestFirst(text) })).toEqual(ok)
      const counted = host.ask({ tool: `${prefix}-save`, argv: ['-c'] }).stdout
      expect(withoutDates(counted)).toBe(withoutDates(text))

      // Without -c on either side: the same without counters, and policies that count from 0.
      expect(host.ask({ tool: `${prefix}-restore`, argv: [], stdin: oldestFirst(text) })).toEqual(ok)
      const plain = host.ask({ tool: `${prefix}-save`, argv: [] }).stdout
      const expected = text
        .replaceAll(/^\[\d+:\d+\] /gm, '')
        .replaceAll(/^(:\S+ \S+) \[\d+:\d+\]$/gm, '$1 [0:0]')
      expect(withoutDates(plain)).toBe(withoutDates(expected))
    })
  },
)

test('kube-proxy’s rules for 50 services', () => {
  const text = kubeProxy(50, 10)
  const host = new OurHost()
  expect(host.ask({ tool: 'iptables-restore', argv: [], stdin: text }).code).toBe(0)
  const saved = host.ask({ tool: 'iptables-save', argv: ['-t', 'nat'] }).stdout
  const sorted = (of: string): string[] =>
    of
      .split('\n')
      .filter((line) => /^[-:]/.test(line))
      .sort()
  expect(sorted(saved)).toEqual(sorted(text))
})

test('a restore over a table in force: counters and states begin anew, sets are held by the rules that are there', () => {
  const host = new OurHost()
  const ok = (tool: string, argv: string[], stdin = ''): string => {
    const answer = host.ask({ tool, argv, stdin })
    expect(answer, argv.join(' ')).toMatchObject({ stderr: '', code: 0 })
    return answer.stdout
  }
  const references = (): string => /References: (\d+)/.exec(ok('ipset', ['list', 'held']))![1]!
  const table = (...rules: string[]): string =>
    ['*filter', ':mine - [0:0]', ':other - [0:0]', ...rules, 'COMMIT', ''].join('\n')
  const asks = '-m set --match-set held src -j ACCEPT'
  ok('ipset', ['create', 'held', 'hash:ip'])
  ok(
    'iptables-restore',
    ['-c'],
    table(`[7:700] -A mine ${asks}`, `[0:0] -A mine ${asks}`, '[5:500] -A other -j DROP'),
  )
  expect(references()).toBe('2')
  ok(
    'iptables-restore',
    [],
    table(`-A other ${asks}`, '-A mine -m recent --name list --set', '-A INPUT -j mine'),
  )
  expect(references()).toBe('1')
  expect(ok('iptables', ['-L', 'other', '-nvx'])).toMatch(/\n +0 +0 ACCEPT/)
  expect(ok('proc', ['net/xt_recent/list'])).toBe('')
  ok('iptables-restore', [], table('-A mine -j DROP'))
  expect(references()).toBe('0')
  expect(host.ask({ tool: 'proc', argv: ['net/xt_recent/list'], stdin: '' }).code).not.toBe(0)
  ok('ipset', ['destroy', 'held'])
})
