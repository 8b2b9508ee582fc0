// The matches and targets that a command line may name. New ones come in through the lists of matches/index.ts and
// targets/index.ts; nothing here knows any of them.

import type { Family } from '../../datapath/packet.ts'
import type { Match, Target } from '../extension.ts'
import type { OptionSpec, SetNames } from '../options.ts'
import { refusedTargets } from '../targets/index.ts'
import { wholeNumber } from './numbers.ts'
import { protocolName } from './services.ts'

/** An extension with its options by every long name. */
export interface Loadable<E extends Match | Target = Match | Target> {
  readonly extension: E
  readonly long: ReadonlyMap<string, OptionSpec>
}

/** XT_EXTENSION_MAXNAMELEN without the final 0: longest name of a chain, match or target, in bytes. */
export const MAX_NAME = 28

/** Verdicts of the standard target. */
export const VERDICTS: ReadonlySet<string> = new Set(['ACCEPT', 'DROP', 'QUEUE', 'RETURN'])

// Target libraries of iptables 1.8.9: no chain may have such a name, whether we have the target or not.
const TARGET_LIBRARIES =
  'standard AUDIT CHECKSUM CLASSIFY CLUSTERIP CONNMARK CONNSECMARK CT DNAT DNPT DSCP ECN HL HMARK IDLETIMER LED LOG ' +
  'MARK MASQUERADE NETMAP NFLOG NFQUEUE NOTRACK RATEEST REDIRECT REJECT SECMARK SET SNAT SNPT SYNPROXY TCPMSS ' +
  'TCPOPTSTRIP TEE TOS TPROXY TRACE TTL ULOG'
const FAMILY_ONLY: Readonly<Record<string, Family>> = {
  CLUSTERIP: 4,
  ECN: 4,
  TTL: 4,
  ULOG: 4,
  DNPT: 6,
  SNPT: 6,
  HL: 6,
}

const MATCH_SYNONYMS: ReadonlyMap<string, string> = new Map([
  ['icmpv6', 'icmp6'],
  ['ipv6-icmp', 'icmp6'],
  ['ipv6-mh', 'mh'],
])

export class Registry {
  readonly #matches: Readonly<Record<Family, Map<string, Loadable<Match>>>> = { 4: new Map(), 6: new Map() }
  readonly #targets: Readonly<Record<Family, Map<string, Loadable<Target>>>> = { 4: new Map(), 6: new Map() }
  readonly #clashing: Readonly<Record<Family, Set<string>>>

  /** Sets that rules may name; without, any name will do. */
  readonly sets: SetNames | null

  constructor(matches: readonly Match[], targets: readonly Target[], sets: SetNames | null = null) {
    this.sets = sets
    for (const extension of matches)
      for (const family of extension.families)
        this.#matches[family].set(extension.name, { extension, long: longOptions(extension) })
    for (const extension of [...targets, ...refusedTargets])
      for (const family of extension.families)
        this.#targets[family].set(extension.name, { extension, long: longOptions(extension) })
    const clashing = (family: Family): Set<string> =>
      new Set([
        '',
        ...VERDICTS,
        ...TARGET_LIBRARIES.split(' ').filter((name) => (FAMILY_ONLY[name] ?? family) === family),
        ...this.#targets[family].keys(),
      ])
    this.#clashing = { 4: clashing(4), 6: clashing(6) }
  }

  match(name: string, family: Family): Loadable<Match> | null {
    return this.#matches[family].get(MATCH_SYNONYMS.get(name) ?? name) ?? null
  }

  target(name: string, family: Family): Loadable<Target> | null {
    return this.#targets[family].get(name) ?? null
  }

  /** The match that `-p NAME` loads when an option asks for it (find_proto); `protocol`: its number. */
  protocolMatch(text: string, protocol: number, family: Family): Loadable<Match> | null {
    const number = wholeNumber(text, 0, 255) === null ? text : protocolName(protocol, true)
    return number === null ? null : this.match(number, family)
  }

  /** A name that no chain may have. */
  isTargetName(name: string, family: Family): boolean {
    return this.#clashing[family].has(name)
  }
}

function longOptions(extension: Match | Target): Map<string, OptionSpec> {
  const long = new Map<string, OptionSpec>()
  for (const spec of extension.options)
    for (const name of [spec.flag, ...(spec.aliases ?? [])]) if (!long.has(name)) long.set(name, spec)
  return long
}
