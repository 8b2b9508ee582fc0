// Rules that firewalls and manuals write: those of test/data/rulesets and test/data/manual-rules.txt.

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Family } from '../../datapath/packet.ts'
import { shellWords } from '../extensions/rule.ts'
import type { Dice } from './commands-words.ts'
import { recordedRulesets } from './rulesets.ts'

/** A rule of some table: `-A CHAIN …` without its first word. */
export interface RealRule {
  readonly table: string
  readonly chain: string
  /** Each option with its values, and `!` before it. */
  readonly uses: readonly (readonly string[])[]
}

export const BUILTIN: Readonly<Record<string, readonly string[]>> = {
  filter: ['INPUT', 'FORWARD', 'OUTPUT'],
  security: ['INPUT', 'FORWARD', 'OUTPUT'],
  raw: ['PREROUTING', 'OUTPUT'],
  nat: ['PREROUTING', 'INPUT', 'OUTPUT', 'POSTROUTING'],
  mangle: ['PREROUTING', 'INPUT', 'FORWARD', 'OUTPUT', 'POSTROUTING'],
}

/** Cuts the words behind the chain's name into options with their values. */
function cut(words: readonly string[]): string[][] {
  const uses: string[][] = []
  for (const word of words) {
    const last = uses.at(-1)
    const opens = word === '!' || /^-[a-zA-Z]$|^--./.test(word)
    if (last === undefined || (opens && last.at(-1) !== '!')) uses.push([word])
    else last.push(word)
  }
  return uses
}

function parse(text: string): RealRule[] {
  const rules: RealRule[] = []
  let table = 'filter'
  for (const line of text.split('\n')) {
    if (line.startsWith('*')) table = line.slice(1)
    const at = line.indexOf('-A ')
    if (at < 0 || line.startsWith('#')) continue
    const [chain = '', ...words] = shellWords(line.slice(at + 3))
    rules.push({ table, chain, uses: cut(words) })
  }
  return rules
}

const EXTENSION =
  /^(ACCEPT|DROP|RETURN|QUEUE|REJECT|LOG|MARK|CT|SET|TEE|TTL|HL|TOS|DSCP|ECN|DNAT|SNAT|NFLOG|NFQUEUE|NETMAP|HMARK|DNPT|SNPT|TRACE|NOTRACK|REDIRECT|MASQUERADE|TPROXY|CHECKSUM|RATEEST|CLASSIFY|CONNMARK|TCPMSS|TCPOPTSTRIP|SYNPROXY)$/

/** Its own chain and those that it leads to, built-in ones and targets among them. */
export const chainsOf = ({ chain, uses }: RealRule): string[] => [
  chain,
  ...uses.filter((use) => /^-[jg]$/.test(use[0]!)).map((use) => use[1]!),
]

/** Whether this is a chain that somebody has to make. */
export const isUser = (name: string): boolean => !EXTENSION.test(name) && !BUILTIN.mangle!.includes(name)
function manual(): string {
  return readFileSync(join(import.meta.dirname, '../data/manual-rules.txt'), 'latin1')
}

const rules: Readonly<Record<Family, readonly RealRule[]>> = (() => {
  const recorded = recordedRulesets()
  const sorted: Record<Family, RealRule[]> = { 4: [], 6: [] }
  for (const { ipv4, ipv6 } of recorded) {
    sorted[4].push(...parse(ipv4))
    sorted[6].push(...parse(ipv6))
  }
  const [four = '', six = ''] = manual().split(/^## ip6tables$/m)
  // Of the manuals' there are few, and each has something of its own.
  for (let i = 0; i < 6; i++) {
    sorted[4].push(...parse(four))
    sorted[6].push(...parse(six))
  }
  return sorted
})()

/** Draws rules of one family. */
export class RealRules {
  readonly #dice: Dice
  readonly #rules: readonly RealRule[]
  /** `TABLE CHAIN`, as the session's first file makes them. */
  readonly #made = new Set<string>()

  constructor(dice: Dice, family: Family) {
    this.#dice = dice
    this.#rules = rules[family]
  }

  /** Mostly a rule whose chains the session's first file has made. */
  one(): RealRule {
    for (let tries = 0; tries < 30; tries++) {
      const real = this.#dice.pick(this.#rules)
      if (chainsOf(real).every((name) => !isUser(name) || this.#made.has(`${real.table} ${name}`)))
        return real
    }
    return this.#dice.pick(this.#rules)
  }

  /** Some rules of this table. Their chains count as made. */
  some(table: string): { rules: RealRule[]; chains: Set<string> } {
    const rules = this.#rules.filter((real) => real.table === table && this.#dice.chance(0.05))
    const chains = new Set(rules.flatMap(chainsOf).filter(isUser))
    for (const name of chains) this.#made.add(`${table} ${name}`)
    return { rules, chains }
  }
}
