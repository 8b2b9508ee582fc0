// Names of addresses as Debian's /etc/hosts and /etc/networks have them. Differs from Linux: no other resolver is asked,
// so that a ruleset means the same anywhere.

import type { Family } from '../../datapath/packet.ts'
import { formatAddress, type Words } from './address.ts'

const LOCALHOST4 = 0x7f000001
const NETWORKS: readonly (readonly [string, number])[] = [
  ['default', 0],
  ['loopback', 0x7f000000],
  ['link-local', 0xa9fe0000 | 0],
]

/** getnetbyname(3): the address of a network. */
export const networkNamed = (name: string): number | null =>
  NETWORKS.find(([known]) => known === name.toLowerCase())?.[1] ?? null

/** gethostbyname(3) of the one host that has a name. */
export function hostNamed(name: string, family: Family): Words | null {
  if (name.toLowerCase() !== 'localhost') return null
  return family === 4 ? [LOCALHOST4, 0, 0, 0] : [0, 0, 0, 1]
}

/** xtables_ipaddr_to_anyname(), xtables_ip6addr_to_anyname(): the name of a host or network, else its digits. */
export function nameOf(words: Words, family: Family): string {
  if (family === 6)
    return words[3] === 1 && (words[0] | words[1] | words[2]) === 0 ? 'localhost' : formatAddress(words, 6)
  if (words[0] === LOCALHOST4) return 'localhost'
  return NETWORKS.find(([, word]) => word === words[0])?.[0] ?? formatAddress(words, 4)
}
