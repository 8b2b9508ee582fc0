// Sets: elements and options by their meaning (SetOptions), whatever the type, printed as ipset save prints them.

import type { Family } from '../../datapath/packet.ts'
import { NO_BASE } from '../../rules/model.ts'
import type { SetOptions } from '../../rules/sets/set-type.ts'
import type { Sets } from '../../rules/sets/store.ts'
import { joined, writeElement, writeOptions } from '../../rules/sets/write.ts'
import type { Words } from '../../rules/text/address.ts'
import { textOf } from '../bytes.ts'
import type { Mapping } from './mapping.ts'
import { freezeNetwork, freezeSpan, type Within } from './values.ts'

function within(mapping: Mapping, family: Family, file: string): Within {
  return { mapping, family, chain: '', base: NO_BASE, where: `${file}:1:1` }
}

/** `file`: for remarks. */
export function freezeSets(sets: Sets, file: string, mapping: Mapping): void {
  for (const { set } of sets.all()) {
    const family: Family = set.family === 6 ? 6 : 4
    const place = within(mapping, family, file)
    const header = set.data.header()
    if (header.bitmask !== undefined) freezeNetwork([0, 0, 0, 0], header.bitmask, place)
    for (const o of [header, ...set.data.members()]) {
      if (o.ip !== undefined && o.ipTo !== undefined) freezeSpan(o.ip, o.ipTo, place)
      if (o.ip2 !== undefined && o.ip2To !== undefined) freezeSpan(o.ip2, o.ip2To, place)
    }
  }
}

function mapOptions(o: SetOptions, family: Family, mapping: Mapping): SetOptions {
  const { addresses, names } = mapping
  const out: SetOptions = { ...o }
  const all = family === 4 ? 32 : 128
  const address = (
    from: Words,
    to: Words | undefined,
    length: number | undefined,
  ): readonly [Words, Words?] =>
    to === undefined ? [addresses.prefix(family, from, length ?? all)] : addresses.range(family, from, to)
  if (o.ip !== undefined) {
    const [from, to] = address(o.ip, o.ipTo, o.cidr)
    out.ip = from
    if (to !== undefined) out.ipTo = to
  }
  if (o.ip2 !== undefined) {
    const [from, to] = address(o.ip2, o.ip2To, o.cidr2)
    out.ip2 = from
    if (to !== undefined) out.ip2To = to
  }
  if (o.ether !== undefined) {
    const [first, second] = o.ether
    const hex = (first >>> 0).toString(16).padStart(8, '0') + second.toString(16).padStart(4, '0')
    const to = addresses.mac(hex)
    out.ether = [Number.parseInt(to.slice(0, 8), 16) | 0, Number.parseInt(to.slice(8), 16)]
  }
  if (o.iface !== undefined) out.iface = names.interface(textOf(o.iface))
  if (o.setName !== undefined) out.setName = names.set(textOf(o.setName))
  if (o.nameRef !== undefined) out.nameRef = names.set(textOf(o.nameRef))
  if (o.comment !== undefined) out.comment = names.comment(textOf(o.comment)).replaceAll('"', '')
  return out
}

/** All of them, as `ipset save` prints them. */
export function mapSets(sets: Sets, mapping: Mapping): string {
  let text = ''
  for (const { name, set } of sets.all()) {
    const { type, data } = set
    const family: Family = set.family === 6 ? 6 : 4
    const to = mapping.names.set(textOf(name))
    const header = mapOptions(data.header(), family, mapping)
    // Which ipset save does not say.
    const forced = header.forceadd === true ? ' forceadd' : ''
    text += `create ${to} ${type.name}${joined(writeOptions(type, header, set.family, true))}${forced}\n`
    for (const member of data.members()) {
      const mapped = mapOptions(member, family, mapping)
      const options = joined(writeOptions(type, mapped, set.family, false))
      text += `add ${to} ${writeElement(type, mapped, set.family)}${options}\n`
    }
  }
  return text
}
