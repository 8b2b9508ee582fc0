// Who wrote the rules of a host. A new program is one file here and one line below.

import type { Family } from '../../datapath/packet.ts'
import type { Rule, TableName } from '../../rules/model.ts'
import type { Tables } from '../../rules/tables.ts'
import { saveRule } from '../../rules/text/print.ts'
import { textOf } from '../bytes.ts'
import type { Author, Recogniser, Surroundings, Written } from './author.ts'
import { calico } from './calico.ts'
import { cni } from './cni.ts'
import { docker } from './docker.ts'
import { fail2ban } from './fail2ban.ts'
import { firehol } from './firehol.ts'
import { firewalld } from './firewalld.ts'
import { istio } from './istio.ts'
import { kubeProxy } from './kube-proxy.ts'
import { libvirt } from './libvirt.ts'
import { podman } from './podman.ts'
import { shorewall } from './shorewall.ts'
import { ufw } from './ufw.ts'

export type { Author } from './author.ts'

/** Those that go by the names of their chains alone come first. */
export const RECOGNISERS: readonly Recogniser[] = [
  kubeProxy,
  calico,
  docker,
  istio,
  libvirt,
  podman,
  cni,
  ufw,
  fail2ban,
  firewalld,
  firehol,
  shorewall,
]

/** The authors of one host's rules, as they stand when they are asked for. */
export class Provenance {
  readonly #tables: Tables
  readonly #around: Readonly<Record<Family, Around>>

  constructor(tables: Tables) {
    this.#tables = tables
    this.#around = { 4: new Around(tables, 4), 6: new Around(tables, 6) }
  }

  /** The author of a chain; null: nobody known. */
  ofChain(family: Family, table: string, chain: string): Author | null {
    const around = this.#around[family]
    for (const { program, chain: about } of RECOGNISERS) {
      const words = about(table, chain, around)
      if (words !== null) return { program, about: words === '' ? null : words }
    }
    return null
  }

  /** The author of a rule, by its number from 1; null: nobody known. */
  ofRule(family: Family, table: string, chain: string, number: number): Author | null {
    const around = this.#around[family]
    const rule = this.#tables.table(family, table as TableName).chains.get(chain)?.model.rules[number - 1]
    if (rule === undefined) return null
    const written = writtenOf(family, table, chain, rule)
    for (const { program, rule: about } of RECOGNISERS) {
      const words = about?.(written, around) ?? null
      if (words !== null) return { program, about: words === '' ? null : words }
    }
    return (
      this.ofChain(family, table, chain) ??
      (written.target === null ? null : this.ofChain(family, table, written.target))
    )
  }
}

class Around implements Surroundings {
  readonly #tables: Tables
  readonly #family: Family
  readonly #written = new WeakMap<readonly Rule[], readonly Written[]>()
  /** By table: rules by the chain that they lead to, and of which state of the chains. */
  readonly #callers = new Map<
    string,
    { readonly of: readonly object[]; readonly by: Map<string, Written[]> }
  >()

  constructor(tables: Tables, family: Family) {
    this.#tables = tables
    this.#family = family
  }

  has(table: string, chain: string): boolean {
    return this.#chains(table)?.has(chain) ?? false
  }

  rules(table: string, chain: string): readonly Written[] {
    const rules = this.#chains(table)?.get(chain)?.model.rules
    if (rules === undefined) return []
    let written = this.#written.get(rules)
    if (written === undefined) {
      written = rules.map((rule) => writtenOf(this.#family, table, chain, rule))
      this.#written.set(rules, written)
    }
    return written
  }

  callers(table: string, chain: string): readonly Written[] {
    const chains = [...(this.#chains(table)?.values() ?? [])].map(({ model }) => model)
    let known = this.#callers.get(table)
    if (
      known === undefined ||
      known.of.length !== chains.length ||
      chains.some((m, i) => m !== known?.of[i])
    ) {
      const by = new Map<string, Written[]>()
      for (const { name, rules } of chains)
        for (const rule of rules) {
          const { target } = rule
          if (target.kind !== 'jump' && target.kind !== 'goto') continue
          const list = by.get(target.chain)
          const written = writtenOf(this.#family, table, name, rule)
          if (list === undefined) by.set(target.chain, [written])
          else list.push(written)
        }
      known = { of: chains, by }
      this.#callers.set(table, known)
    }
    return known.by.get(chain) ?? []
  }

  #chains(table: string) {
    // A table that was never used stays so.
    if (!this.#tables.isUsed(this.#family, table as TableName)) return undefined
    return this.#tables.table(this.#family, table as TableName).chains
  }
}

function writtenOf(family: Family, table: string, chain: string, rule: Rule): Written {
  const { target, matches } = rule
  let text: string | null = null
  return {
    family,
    table,
    chain,
    target:
      target.kind === 'jump' || target.kind === 'goto'
        ? target.chain
        : target.kind === 'standard'
          ? target.verdict
          : target.kind === 'extension'
            ? target.target.name
            : null,
    comments: matches
      .filter(({ match }) => match.name === 'comment')
      .map(({ data }) => textOf((data as { readonly text: string }).text)),
    rule,
    get text() {
      text ??= textOf(saveRule(chain, rule, family).slice(`-A ${chain} `.length))
      return text
    },
  }
}
