// Names and texts to others: the same name of the same kind always becomes the same. What well-known programs call their
// things stays (daemon/provenance says which part is the program's and which the user's), so that explanations still name
// the author; everything else becomes a word that can be said: chain-lusabgutih.

import { RECOGNISERS } from '../provenance/index.ts'
import type { AddressMap } from './addresses.ts'
import { InterfaceNames, isCommonInterface } from './interfaces.ts'
import { type Prf, spoken } from './prf.ts'

/** Names that half the world has. */
const PUBLIC = new Set(
  (
    'all any default net loc fw dmz public private home work trusted internal external drop block nm-shared libvirt docker ' +
    'kube-system kube-public kube-node-lease kubernetes kube-dns coredns dns dns-tcp http https metrics metrics-server ' +
    'calico-system calico-typha tigera-operator ssh sshd recidive podman bridge cbr0 k8s-pod-network ' +
    // Lists and tables that nobody named.
    'DEFAULT'
  ).split(' '),
)

export const BUILTIN_CHAINS = new Set(['PREROUTING', 'INPUT', 'FORWARD', 'OUTPUT', 'POSTROUTING'])

/** Longest names, bytes: XT_EXTENSION_MAXNAMELEN, IPSET_MAXNAMELEN, and those of the rest, which are as long or longer. */
const LONGEST: Readonly<Record<string, number>> = { chain: 28, set: 31, rate: 15, led: 26, timer: 27 }
const LOG_PREFIX_LENGTH = 29

type Texts = 'chains' | 'sets' | 'comments' | 'logs'

export class Names {
  readonly interfaces: InterfaceNames
  readonly #prf: Prf
  readonly #addresses: AddressMap
  readonly #keep: ReadonlySet<string>
  /** By kind. */
  readonly #known = new Map<string, Map<string, string>>()
  readonly #taken = new Map<string, Set<string>>()
  /** Chains that are there: some programs' names only count beside another. */
  readonly #chains = new Set<string>()

  constructor(prf: Prf, addresses: AddressMap, keep: readonly string[]) {
    this.#prf = prf
    this.#addresses = addresses
    this.#keep = new Set(keep)
    this.interfaces = new InterfaceNames(prf, addresses, keep)
  }

  /** A chain of the host; all of them before the first is mapped. */
  see(chain: string): void {
    this.#chains.add(chain)
  }

  interface(name: string): string {
    return this.interfaces.map(name)
  }

  chain(name: string): string {
    return BUILTIN_CHAINS.has(name) ? name : this.#named('chain', name, 'chains')
  }

  set(name: string): string {
    return this.#named('set', name, 'sets')
  }

  /** A thing of any other kind: `list`, `policy` … */
  of(kind: string, name: string): string {
    // The root of all groups.
    if (/^\/+$/.test(name)) return name
    return this.#named(kind, name, null)
  }

  comment(text: string): string {
    return this.#named('note', text, 'comments')
  }

  /** A log prefix; how it ends stays, as what reads logs looks for that. */
  logPrefix(text: string): string {
    const end = /[:\s]*$/.exec(text)![0]
    return this.#once('log prefix', text, () => {
      const own = this.#own('logs', text, 2)
      return own !== null && own.length <= Math.max(text.length, LOG_PREFIX_LENGTH)
        ? own
        : `log-${this.#word('log', text, 0)}${end}`
    })
  }

  #named(kind: string, name: string, texts: Texts | null): string {
    if (name === '' || this.#keep.has(name) || PUBLIC.has(name)) return name
    return this.#once(kind, name, (salt) => {
      const longest = LONGEST[kind] ?? 255
      if (texts !== null && salt === 0)
        for (const quints of [2, 1]) {
          const own = this.#own(texts, name, quints)
          if (own !== null && own.length <= longest) return own
        }
      return `${kind}-${this.#word(kind, name, salt)}`
    })
  }

  /** Two names never become one. */
  #once(kind: string, name: string, make: (salt: number) => string): string {
    let known = this.#known.get(kind)
    if (known === undefined) {
      known = new Map()
      this.#known.set(kind, known)
      this.#taken.set(kind, new Set())
    }
    let to = known.get(name)
    if (to !== undefined) return to
    const taken = this.#taken.get(kind)!
    for (let salt = 0; to === undefined || taken.has(to); salt++) to = make(salt)
    known.set(name, to)
    taken.add(to)
    return to
  }

  #word(kind: string, name: string, salt: number, quints = 2): string {
    return spoken(this.#prf.once(`${kind}\0${salt}\0${Buffer.from(name).toString('latin1')}`), quints)
  }

  /** With the user's parts replaced, if it is the text of a program that we know. */
  #own(texts: Texts, text: string, quints: number): string | null {
    for (const { words } of RECOGNISERS) {
      if (words.beside?.some((chain) => this.#chains.has(chain)) === false) continue
      for (const pattern of words[texts] ?? []) {
        const found = new RegExp(pattern.source, 'd').exec(text)
        if (found === null) continue
        const groups = Object.entries(found.indices!.groups ?? {})
          .filter(([, at]) => at !== undefined)
          .sort((a, b) => a[1]![0] - b[1]![0])
        let to = ''
        let last = 0
        for (const [group, at] of groups) {
          const [from, end] = at!
          to += text.slice(last, from) + this.#part(group.replace(/\d+$/, ''), text.slice(from, end), quints)
          last = end
        }
        return to + text.slice(last)
      }
    }
    return null
  }

  #part(group: string, text: string, quints: number): string {
    switch (group) {
      case 'iface':
        return this.interface(text)
      case 'hash':
        return this.#hash(text)
      case 'address': {
        const [, open = '', address = '', rest = ''] =
          /^(\[?)([\d.]+|[\da-f:.]*(?=\]|$))(.*)$/.exec(text) ?? []
        const to = this.#addresses.text(address)
        return to === null ? this.#simple(text, quints) : `${open}${to}${rest}`
      }
      case 'names':
        return text.replace(/[A-Za-z0-9-]+/g, (name) => this.#simple(name, quints))
      default:
        return this.#simple(text, quints)
    }
  }

  /** A word for a word, the same wherever a program uses it. */
  #simple(name: string, quints: number): string {
    if (this.#keep.has(name) || PUBLIC.has(name) || isCommonInterface(name)) return name
    const word = this.#word('word', name, 0, quints)
    return /^[A-Z]/.test(name) ? word[0]!.toUpperCase() + word.slice(1) : word
  }

  /** As long, of the same letters. */
  #hash(text: string): string {
    const letters = /^[\da-f]*$/.test(text)
      ? '0123456789abcdef'
      : /^[\dA-F]*$/.test(text)
        ? '0123456789ABCDEF'
        : /^[A-Z\d]*$/.test(text)
          ? 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'
          : 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
    let to = ''
    for (let block = 0; to.length < text.length; block++)
      for (const byte of this.#prf.once(`hash\0${block}\0${text}`)) to += letters[byte % letters.length]!
    return to.slice(0, text.length)
  }

  /** What became what, by kind. */
  known(): ReadonlyMap<string, ReadonlyMap<string, string>> {
    return new Map([['interface', this.interfaces.known], ...this.#known])
  }
}
