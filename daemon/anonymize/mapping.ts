// What one run of anonymize maps with, and what it has to say.

import { createHash } from 'node:crypto'
import { type AddressWords, formatIpv6, formatIpv4 as ipv4 } from '../../datapath/wire/address.ts'
import { parsePrefix } from '../host-folder/address.ts'
import { AddressMap } from './addresses.ts'
import { Names } from './names.ts'
import { Prf } from './prf.ts'

export interface MappingOptions {
  /** The secret, of any length. */
  readonly key: Buffer
  /** Names, addresses and `ADDRESS/LENGTH` that stay. */
  readonly keep: readonly string[]
  /** What packets carry stays, and what looks for something in it. */
  readonly keepPayload: boolean
}

export class Mapping {
  readonly prf: Prf
  readonly addresses: AddressMap
  readonly names: Names
  readonly keepPayload: boolean
  /** Lines for standard error, each once. */
  readonly remarks = new Set<string>()

  constructor({ key, keep, keepPayload }: MappingOptions) {
    this.prf = new Prf(createHash('sha256').update('tunwall anonymize\0').update(key).digest())
    this.addresses = new AddressMap(this.prf)
    const names: string[] = []
    for (const text of keep) {
      const prefix = parsePrefix(text)
      if (prefix === null) names.push(text)
      else this.addresses.keep(prefix.family, prefix.words, prefix.prefixLength)
    }
    this.names = new Names(this.prf, this.addresses, names)
    this.keepPayload = keepPayload
  }

  /** `where`: FILE:LINE:COLUMN. */
  remark(where: string, text: string): void {
    this.remarks.add(`${where}: ${text}`)
  }

  /** `02:00:00:00:00:01`, in the case it is written in. */
  macText(text: string): string {
    const to = this.addresses.mac(text.replaceAll(':', '').toLowerCase()).replace(/..(?=.)/g, '$&:')
    return /[A-F]/.test(text) ? to.toUpperCase() : to
  }

  /** The private mapping, for the owner to read answers with: JSON, new names to old ones. */
  toJson(): string {
    const { v4, v6, macs } = this.addresses.known()
    const addresses: Record<string, string> = {}
    for (const [from, to] of v4) if (from !== to) addresses[ipv4(to)] = ipv4(from)
    for (const [from, to] of v6) if (from.join() !== to.join()) addresses[ipv6(to)] = ipv6(from)
    const all: Record<string, Record<string, string>> = { address: addresses, mac: {} }
    const colons = (hex: string): string => hex.replace(/..(?=.)/g, '$&:')
    for (const [from, to] of macs) if (from !== to) all.mac![colons(to)] = colons(from)
    for (const [kind, names] of this.names.known()) {
      const changed = [...names].filter(([from, to]) => from !== to)
      if (changed.length > 0) all[kind] = Object.fromEntries(changed.map(([from, to]) => [to, from]))
    }
    return `${JSON.stringify(all, null, 1)}\n`
  }
}

const ipv6 = (words: AddressWords): string => formatIpv6(words[0], words[1], words[2], words[3])
