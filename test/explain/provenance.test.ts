// Every chain that real programs wrote (test/data/rulesets, recorded) is known by its author, and none is taken for
// another's.

import { beforeAll, describe, expect, test } from 'vitest'
import { Provenance } from '../../daemon/provenance/index.ts'
import { BUILTIN } from '../../rules/model.ts'
import { OurHost, recordedRulesets } from '../harness/rulesets.ts'

/** By folder: whose chains these are. Ferm has none of its own: they are called what its user says. */
const PROGRAMS: Readonly<Record<string, string>> = {
  cni: 'CNI',
  docker: 'Docker',
  fail2ban: 'fail2ban',
  firehol: 'FireHOL',
  firewalld: 'firewalld',
  libvirt: 'libvirt',
  netavark: 'podman',
  shorewall: 'Shorewall',
  ufw: 'ufw',
}

function load(sets: string, ipv4: string, ipv6: string): OurHost['engine'] {
  const host = new OurHost()
  for (const [tool, argv, stdin] of [
    ['ipset', ['restore'], sets],
    ['iptables-restore', [], ipv4],
    ['ip6tables-restore', [], ipv6],
  ] as const)
    expect(host.ask({ tool, argv, stdin }).stderr).toBe('')
  return host.engine
}

const authors = (engine: OurHost['engine']): Map<string, string | undefined> => {
  const provenance = new Provenance(engine.tables)
  const all = new Map<string, string | undefined>()
  for (const family of [4, 6] as const)
    for (const table of engine.tables.used(family))
      for (const name of table.chains.keys())
        if (!BUILTIN[table.name].includes(name))
          all.set(`${family} ${table.name} ${name}`, provenance.ofChain(family, table.name, name)?.program)
  return all
}

describe('chains of recorded rulesets', () => {
  const recorded = recordedRulesets()
  test.each(Object.entries(PROGRAMS))('%s', (name, program) => {
    const { sets, ipv4, ipv6 } = recorded.find((r) => r.name === name)!
    const found = authors(load(sets, ipv4, ipv6))
    expect(found.size).toBeGreaterThan(0)
    for (const [chain, author] of found) expect(`${chain}: ${author}`).toBe(`${chain}: ${program}`)
  })

  test.each(['kubernetes', 'seeds'])('%s', (name) => {
    const { sets, ipv4, ipv6 } = recorded.find((r) => r.name === name)!
    for (const [chain, author] of authors(load(sets, ipv4, ipv6))) {
      const program = /(\S+)$/.exec(chain)![1]!.startsWith('KUBE-')
        ? 'kube-proxy'
        : chain.includes('cali-')
          ? 'Calico'
          : chain.includes('DOCKER')
            ? 'Docker'
            : 'firewalld'
      expect(`${chain}: ${author}`).toBe(`${chain}: ${program}`)
    }
  })

  test('ferm: nobody', () => {
    const { sets, ipv4, ipv6 } = recorded.find((r) => r.name === 'ferm')!
    for (const [, author] of authors(load(sets, ipv4, ipv6))) expect(author).toBeUndefined()
  })
})

describe('what rules are for', () => {
  const engines = new Map<string, OurHost['engine']>()
  beforeAll(() => {
    for (const { name, sets, ipv4, ipv6 } of recordedRulesets()) engines.set(name, load(sets, ipv4, ipv6))
  })

  const said = (ruleset: string, table: string, chain: string, number: number): string => {
    const author = new Provenance(engines.get(ruleset)!.tables).ofRule(4, table, chain, number)
    return author === null ? '' : `${author.program}: ${author.about}`
  }

  test.each([
    [
      'seeds',
      'nat',
      'KUBE-SERVICES',
      1,
      'kube-proxy: service default/sleep:tcp-80-80-8r4el, loadbalancer IP',
    ],
    ['seeds', 'nat', 'KUBE-SERVICES', 2, 'kube-proxy: service default/sleep:tcp-80-80-8r4el, cluster IP'],
    [
      'seeds',
      'nat',
      'KUBE-SEP-GZIIAEF444AZU3YY',
      2,
      'kube-proxy: endpoint 10.123.32.5:80 of default/sleep:tcp-80-80-8r4el',
    ],
    ['seeds', 'nat', 'PREROUTING', 2, 'kube-proxy: every service'],
    ['seeds', 'nat', 'KUBE-MARK-MASQ', 1, 'kube-proxy: mark for masquerading'],
    [
      'seeds',
      'filter',
      'cali-INPUT',
      8,
      'Calico: packets to this host: Host endpoint policy accepted packet.',
    ],
    ['seeds', 'filter', 'INPUT', 1, 'Calico: packets to this host'],
    ['kubernetes', 'nat', 'KUBE-SEP-WEB1', 2, 'kube-proxy: endpoint 10.244.1.3:8080 of default/web:http'],
    [
      'kubernetes',
      'nat',
      'KUBE-SEP-DNS',
      2,
      'kube-proxy: endpoint 10.244.1.3:53 of kube-system/kube-dns:dns',
    ],
    ['docker', 'nat', 'DOCKER', 1, 'Docker: port 8080/tcp published for container 10.71.0.2:80'],
    [
      'docker',
      'filter',
      'DOCKER',
      1,
      'Docker: port 80/tcp of container 10.71.0.2 on network br-c72a69c33793',
    ],
    ['docker', 'nat', 'POSTROUTING', 6, 'Docker: masquerading of network docker0'],
    ['firewalld', 'filter', 'IN_public_allow', 1, 'firewalld: zone public, to this host: allow'],
    ['ufw', 'filter', 'ufw-user-input', 1, 'ufw: rules of the user'],
    ['fail2ban', 'filter', 'f2b-sshd', 1, 'fail2ban: jail sshd: banned 203.0.113.9'],
    ['fail2ban', 'filter', 'INPUT', 1, 'fail2ban: jail apache-auth'],
    ['shorewall', 'filter', 'net-fw', 1, 'Shorewall: zone net to zone fw'],
    ['libvirt', 'filter', 'LIBVIRT_INP', 1, 'libvirt: network virbr0: services of this host for guests'],
    [
      'netavark',
      'nat',
      'NETAVARK-HOSTPORT-DNAT',
      1,
      'podman: ports of container 2d0fe608dc86 in network podman',
    ],
    [
      'cni',
      'nat',
      'CNI-DN-ca0349f8297f8c0295955',
      3,
      'CNI: portmap: port 8080 published for container 10.88.0.2:80',
    ],
    ['cni', 'nat', 'CNI-HOSTPORT-DNAT', 1, 'CNI: portmap: published ports'],
  ])('%s: %s %s %i', (ruleset, table, chain, number, expected) => {
    expect(said(ruleset, table, chain, number)).toBe(expected)
  })
})

// As istio-iptables of 1.2x writes them.
const ISTIO = `*nat
:PREROUTING ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:ISTIO_INBOUND - [0:0]
:ISTIO_IN_REDIRECT - [0:0]
:ISTIO_OUTPUT - [0:0]
:ISTIO_REDIRECT - [0:0]
-A PREROUTING -p tcp -j ISTIO_INBOUND
-A OUTPUT -j ISTIO_OUTPUT
-A ISTIO_INBOUND -p tcp -m tcp --dport 15008 -j RETURN
-A ISTIO_INBOUND -p tcp -j ISTIO_IN_REDIRECT
-A ISTIO_IN_REDIRECT -p tcp -j REDIRECT --to-ports 15006
-A ISTIO_OUTPUT -d 127.0.0.1/32 -j RETURN
-A ISTIO_OUTPUT -j ISTIO_REDIRECT
-A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports 15001
COMMIT
`

test('Istio', () => {
  const engine = load('', ISTIO, '')
  for (const [chain, author] of authors(engine)) expect(`${chain}: ${author}`).toBe(`${chain}: Istio`)
  expect(new Provenance(engine.tables).ofRule(4, 'nat', 'ISTIO_REDIRECT', 1)?.about).toBe(
    'to port 15001 of the proxy, its outbound listener',
  )
})
