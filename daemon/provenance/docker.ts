// Docker: chains DOCKER…, and rules about its bridges (docker0, br-…) in the built-in chains.

import { oneOf, optionOf, type Recogniser, type Written } from './author.ts'

const KNOWN: Readonly<Record<string, string>> = {
  DOCKER: 'published ports',
  'DOCKER-USER': 'rules of the administrator',
  'DOCKER-INGRESS': 'ingress of swarm services',
  'DOCKER-FORWARD': 'forwarding of all networks',
  'DOCKER-BRIDGE': 'ports of containers by bridge',
  'DOCKER-CT': 'replies to containers',
  'DOCKER-INTERNAL': 'internal networks',
  'DOCKER-ISOLATION-STAGE-1': 'isolation of networks: from a bridge',
  'DOCKER-ISOLATION-STAGE-2': 'isolation of networks: to a bridge',
}

const BRIDGE = /^(docker0|docker_gwbridge|br-[0-9a-f]{12})$/

function bridgeOf(rule: Written): string | null {
  const { inInterface, outInterface } = rule.rule.base
  // `-i A ! -o B` is about A.
  for (const on of [inInterface, outInterface].sort((a, b) => Number(a?.invert) - Number(b?.invert)))
    if (on !== null && BRIDGE.test(on.name)) return on.name
  return null
}

const protocolOf = (rule: Written): string => optionOf(rule, '-p') ?? ''

export const docker: Recogniser = {
  program: 'Docker',
  words: { chains: [oneOf(Object.keys(KNOWN))] },
  chain: (_, name) => (/^DOCKER(-|$)/.test(name) ? (KNOWN[name] ?? '') : null),
  rule(rule) {
    const bridge = bridgeOf(rule)
    if (rule.chain === 'DOCKER') {
      const port = optionOf(rule, '--dport')
      const to = optionOf(rule, '--to-destination')
      if (to !== null) return `port ${port ?? 'any'}/${protocolOf(rule)} published for container ${to}`
      const container = optionOf(rule, '-d')?.replace(/\/(32|128)$/, '')
      if (container !== undefined && port !== null)
        return `port ${port}/${protocolOf(rule)} of container ${container}${bridge === null ? '' : ` on network ${bridge}`}`
    }
    if (bridge === null) return null
    if (rule.target === 'MASQUERADE') return `masquerading of network ${bridge}`
    return `network ${bridge}`
  },
}
