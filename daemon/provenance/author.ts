// Who wrote a rule: programs that write rulesets have their own names for chains, and comments that say more.

import type { Family } from '../../datapath/packet.ts'
import type { Rule } from '../../rules/model.ts'

export interface Author {
  /** `kube-proxy` */
  readonly program: string
  /** What it wrote the rule for: `service default/web:http`; null: the program's own housekeeping. */
  readonly about: string | null
}

/** A rule as a recogniser sees it. */
export interface Written {
  readonly family: Family
  readonly table: string
  readonly chain: string
  /** Chain or target that it leads to, null none. */
  readonly target: string | null
  /** What `-m comment` says, by each of them. */
  readonly comments: readonly string[]
  readonly rule: Rule
  /** As iptables-save prints it, without the chain. */
  readonly text: string
}

/** The rules around it, to look up what is said elsewhere. */
export interface Surroundings {
  has(table: string, chain: string): boolean
  rules(table: string, chain: string): readonly Written[]
  /** Rules of the table that lead to the chain. */
  callers(table: string, chain: string): readonly Written[]
}

/**
 * Names and texts of a program's own making. What the groups of a pattern took is the user's, the rest is the program's and
 * known to everybody. By the name of the group, a number behind it left aside: `name` one name, `names` several with
 * `.`, `/`, `:` or `_` between them, `iface` an interface, `hash` a digest, `address` an address with or without a port.
 */
export interface OwnWords {
  /** Only where one of these chains is: others have such names, too. */
  readonly beside?: readonly string[]
  readonly chains?: readonly RegExp[]
  readonly sets?: readonly RegExp[]
  readonly comments?: readonly RegExp[]
  readonly logs?: readonly RegExp[]
}

/** A pattern of fixed words. */
export const oneOf = (words: readonly string[]): RegExp =>
  new RegExp(`^(?:${words.map((word) => word.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')).join('|')})$`)

/** One program. */
export interface Recogniser {
  readonly program: string
  readonly words: OwnWords
  /** A chain of its own: what it is for, '' if there is nothing to say; null: not its chain. */
  chain(table: string, name: string, around: Surroundings): string | null
  /** A rule, in a chain of its own or of others; null: see chain(). */
  rule?(rule: Written, around: Surroundings): string | null
}

/** First match of a pattern's first group in any of the comments. */
export function inComments(pattern: RegExp, { comments }: Written): string | null {
  for (const comment of comments) {
    const found = pattern.exec(comment)
    if (found !== null) return found[1] ?? found[0]
  }
  return null
}

/** An option's value in the rule's text: `--to-destination`. */
export const optionOf = ({ text }: Written, flag: string): string | null =>
  new RegExp(`(?<![^ ])${flag} (\\S+)`).exec(text)?.[1] ?? null
