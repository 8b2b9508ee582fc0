// What rules share by name, beside the host: recent lists, hashlimit tables. Each thing lives as long as some rule
// in force names it, over any number of commits, as the kernel counts its users.

import type { Host } from '../datapath/host.ts'
import type { CheckContext } from './extension.ts'
import type { Rule } from './model.ts'

/** Things of one kind, by name. */
export class Named<T extends object> {
  readonly #things = new Map<string, { readonly thing: T; users: number }>()

  /** One user more; the first makes it. */
  take(name: string, make: () => T): T {
    let held = this.#things.get(name)
    if (held === undefined) {
      held = { thing: make(), users: 0 }
      this.#things.set(name, held)
    }
    held.users++
    return held.thing
  }

  /** One user less; with the last the thing is gone. */
  give(name: string): void {
    const held = this.#things.get(name)
    if (held !== undefined && --held.users === 0) this.#things.delete(name)
  }

  get(name: string): T | null {
    return this.#things.get(name)?.thing ?? null
  }

  names(): string[] {
    return [...this.#things.keys()]
  }
}

const hosts = new WeakMap<Host, Map<string, Named<object>>>()

/** The host's things of a kind (`recent`, `hashlimit`), whose type the extension of that name knows. */
export function sharedOf<T extends object>(host: Host, kind: string): Named<T> {
  let kinds = hosts.get(host)
  if (kinds === undefined) {
    kinds = new Map()
    hosts.set(host, kinds)
  }
  let named = kinds.get(kind)
  if (named === undefined) {
    named = new Named<object>()
    kinds.set(kind, named)
  }
  return named as Named<T>
}

/**
 * What a shared thing is like that a rule names: as it stands, else as the first rule in front that names it makes it; null:
 * the rule makes it itself.
 */
export function madeBefore<P>(
  use: CheckContext,
  standing: (host: Host) => P | null,
  byRule: (rule: Rule) => P | null,
): P | null {
  const known = use.host == null ? null : standing(use.host)
  if (known !== null) return known
  for (const rule of use.earlier?.() ?? []) {
    const made = byRule(rule)
    if (made !== null) return made
  }
  return null
}

/** CONFIG_HZ of Debian's kernels, and of the one that this was compared with. */
export const HZ = 250

/** jiffies: ticks of 4 ms. */
export const jiffies = (host: Host): number => Math.floor(host.now / (1000 / HZ))

/** A name that may be a file in /proc (xt_check_proc_name). */
export const isProcName = (name: string): boolean =>
  name !== '' && name !== '.' && name !== '..' && !name.includes('/')
