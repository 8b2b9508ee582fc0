// Rules of the helpers profile: CT --helper in raw, some NAT, and a filter that lets through what is related.

import { HELPERS } from '../../conntrack/helpers/index.ts'
import { HELPER_PORTS } from './conversation-sessions.ts'
import { stream, type World } from './generate-world.ts'

const PROTOCOLS: Readonly<Record<keyof typeof HELPER_PORTS, readonly string[]>> = {
  ftp: ['tcp'],
  irc: ['tcp'],
  sane: ['tcp'],
  tftp: ['udp'],
  amanda: ['udp'],
  'netbios-ns': ['udp'],
  snmp: ['udp'],
  snmp_trap: ['udp'],
  pptp: ['tcp'],
  sip: ['udp', 'tcp'],
  'Q.931': ['tcp'],
  RAS: ['udp'],
}

type Name = keyof typeof HELPER_PORTS

/** Helpers that the conversations talk to. */
const IN_USE: readonly Name[] = [
  'ftp',
  'irc',
  'sane',
  'tftp',
  'amanda',
  'netbios-ns',
  'sip',
  'pptp',
  'snmp',
  'snmp_trap',
]

/** Helpers of H.323; the names are the kernel's. */
const H323: readonly Name[] = ['Q.931', 'RAS']

export function makeHelperRules(seed: number, world: World, kind: 'helpers' | 'h323'): string {
  const random = stream(seed, 'helper rules')
  const names = (kind === 'h323' ? H323 : IN_USE).filter((name) =>
    HELPERS.some((h) => h.name === name && h.families.includes(world.family)),
  )
  /** An address that a port follows. */
  const at = (address: string): string => (world.family === 6 ? `[${address}]` : address)
  const raw: string[] = []
  for (const chain of ['PREROUTING', 'OUTPUT'])
    for (const name of names)
      for (const protocol of PROTOCOLS[name])
        if (!random.once(12)) {
          const zone = random.once(24) ? ' --zone 3' : ''
          raw.push(`-A ${chain} -p ${protocol} --dport ${HELPER_PORTS[name]} -j CT --helper ${name}${zone}`)
        }
  if (random.once(3)) raw.push('-A PREROUTING -p tcp --dport 2121 -j CT --helper ftp')
  const nat: string[] = []
  const dev = (): string => random.pick(world.devices).name
  const to = (): string => random.pick(world.peers).address
  for (let n = random.below(4); n > 0; n--)
    nat.push(
      random.pick([
        `-A POSTROUTING -o ${dev()} -j MASQUERADE`,
        `-A POSTROUTING -o ${dev()} -j MASQUERADE`,
        `-A POSTROUTING -o ${dev()} -j SNAT --to-source ${random.pick(world.virtual)}`,
        `-A POSTROUTING -p tcp -o ${dev()} -j SNAT --to-source ${at(random.pick(world.virtual))}:2000-2003`,
        `-A POSTROUTING -s ${random.pick(world.prefixes)} -j SNAT --to-source ${world.virtual[0]}-${world.virtual[1]}`,
        `-A PREROUTING -d ${random.pick(world.virtual)} -j DNAT --to-destination ${to()}`,
        `-A PREROUTING -d ${random.pick(world.own)} -p tcp -j DNAT --to-destination ${to()}`,
        `-A PREROUTING -d ${random.pick(world.own)} -p udp -j DNAT --to-destination ${to()}`,
        `-A PREROUTING -p tcp --dport 21 -j DNAT --to-destination ${at(to())}:2121`,
        `-A PREROUTING -i ${dev()} -j DNAT --to-destination ${to()}`,
        `-A PREROUTING -d ${random.pick(world.prefixes)} -j NETMAP --to ${random.pick(world.prefixes)}`,
        `-A PREROUTING -i ${dev()} -p tcp --dport 21 -j REDIRECT`,
      ]),
    )
  const mangle: string[] = []
  if (random.once(2))
    mangle.push('-A PREROUTING -m conntrack --ctstate NEW -j CONNMARK --set-xmark 0x5/0xffffffff')
  if (random.once(2))
    mangle.push(`-A FORWARD -m helper --helper ${random.pick(names)} -j MARK --set-xmark 0x1/0xffffffff`)
  const filter: string[] = []
  for (const chain of ['FORWARD', 'INPUT', 'OUTPUT']) {
    filter.push(`-A ${chain} -m conntrack --ctstate RELATED -m helper --helper ${random.pick(names)}`)
    filter.push(`-A ${chain} -m conntrack --ctstate RELATED`)
    if (random.once(2)) filter.push(`-A ${chain} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT`)
    if (random.once(4)) filter.push(`-A ${chain} -m conntrack --ctstate INVALID -j DROP`)
    if (random.once(4)) filter.push(`-A ${chain} -m conntrack --ctstatus EXPECTED`)
  }
  const policy = random.once(4) ? 'DROP' : 'ACCEPT'
  for (const name of names)
    for (const protocol of PROTOCOLS[name])
      filter.push(`-A FORWARD -p ${protocol} --dport ${HELPER_PORTS[name]} -j ACCEPT`)
  const table = (name: string, chains: readonly string[], lines: readonly string[]): string =>
    `*${name}\n${chains.join('\n')}\n${lines.map((l) => `${l}\n`).join('')}COMMIT\n`
  const accept = (...chains: string[]): string[] => chains.map((c) => `:${c} ACCEPT [0:0]`)
  return (
    table('raw', accept('PREROUTING', 'OUTPUT'), raw) +
    table('mangle', accept('PREROUTING', 'INPUT', 'FORWARD', 'OUTPUT', 'POSTROUTING'), mangle) +
    (nat.length === 0 ? '' : table('nat', accept('PREROUTING', 'INPUT', 'OUTPUT', 'POSTROUTING'), nat)) +
    table('filter', [...accept('INPUT'), `:FORWARD ${policy} [0:0]`, ...accept('OUTPUT')], filter)
  )
}
