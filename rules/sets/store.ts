// The sets of one host by name (ip_set_core.c): created, destroyed, renamed, swapped. Rules and list:set hold the
// place of a set, not the set: after `swap` a name stands for the other's elements.

import type { Host } from '../../datapath/host.ts'
import {
  type LoadedSet,
  type SetEnv,
  SetError,
  type SetFamily,
  type SetHolder,
  type SetOptions,
  type SetType,
} from './set-type.ts'

interface Place extends SetHolder {
  name: string
}

/** What a set is about (ip_set_type.features): sets that differ in it cannot be swapped. */
const features = (type: SetType): string =>
  type.parts.map((part) => FEATURES[part.kind]).join() + (type.nomatch === true ? '!' : '')

const FEATURES = {
  ip: 'ip',
  single: 'ip',
  ip2: 'ip2',
  single2: 'ip2',
  'proto-port': 'port',
  port: 'port',
  ether: 'mac',
  mark: 'mark',
  iface: 'iface',
  set: 'name',
} as const

export class Sets implements SetEnv {
  readonly host: Host
  readonly #places = new Map<string, Place>()
  /** In the order of ip_set_list: a new set takes the first free place. */
  readonly #slots: (Place | null)[] = []

  constructor(host: Host) {
    this.host = host
  }

  /** What is in a set is no longer what packets found there. */
  changed(): void {
    this.host.flows?.setsChanged()
  }

  has(name: string): boolean {
    return this.#places.has(name)
  }

  /** Family of a set, 0 if it is for both; null if there is none of this name. */
  familyOf(name: string): SetFamily | null {
    return this.#places.get(name)?.set.family ?? null
  }

  /** ip_set_id_t: a name keeps its number, also when sets are swapped. 65535 (IPSET_INVALID_ID) if there is none. */
  numberOf(name: string): number {
    const place = this.#places.get(name)
    return place === undefined ? 0xffff : this.#slots.indexOf(place)
  }

  /** A rule holds the set. */
  hold(name: string): void {
    const place = this.#places.get(name)
    if (place !== undefined) place.references++
  }

  /** A rule is gone. */
  release(name: string): void {
    const place = this.#places.get(name)
    if (place !== undefined) place.references--
  }

  lookup(name: string): SetHolder | null {
    return this.#places.get(name) ?? null
  }

  /** Holders in the order of listing; list:set behind the sets that it may name. */
  all(): SetHolder[] {
    const places = this.#slots.filter((place) => place !== null)
    const last = (place: Place): boolean => place.set.type.name === 'list:set'
    return [...places.filter((p) => !last(p)), ...places.filter(last)]
  }

  get size(): number {
    return this.#places.size
  }

  /** Throws SetError; `exist`: the same set made before is no error. */
  create(name: string, type: SetType, options: SetOptions, exist: boolean): void {
    const set = this.#load(type, options)
    const clash = this.#places.get(name)
    if (clash !== undefined) {
      const same = clash.set.type === type && clash.set.data.same(set.data)
      set.data.destroy()
      if (exist && same) return
      throw new SetError('EEXIST')
    }
    const place: Place = { name, set, references: 0 }
    const free = this.#slots.indexOf(null)
    if (free < 0) this.#slots.push(place)
    else this.#slots[free] = place
    this.#places.set(name, place)
  }

  #load(type: SetType, options: SetOptions): LoadedSet {
    const family: SetFamily = type.family === 46 ? (options.family ?? 4) : type.family
    if ((type.family === 4 && options.family === 6) || (type.family === 46 && family === 0))
      throw new SetError('INVALID_FAMILY')
    return { type, family, data: type.make({ ...options, family }, this) }
  }

  /** One set, or all of which none may be held. */
  destroy(name: string | null, exist: boolean): void {
    if (name === null) {
      if (this.#slots.some((place) => place !== null && place.references > 0)) throw new SetError('BUSY')
      for (const place of this.#slots) place?.set.data.destroy()
      this.#places.clear()
      this.#slots.length = 0
      return
    }
    const place = this.#places.get(name)
    if (place === undefined) {
      if (exist) return
      throw new SetError('ENOENT')
    }
    if (place.references > 0) throw new SetError('BUSY')
    place.set.data.destroy()
    this.#places.delete(name)
    this.#slots[this.#slots.indexOf(place)] = null
  }

  flush(name: string | null): void {
    this.changed()
    if (name === null) for (const place of this.#slots) place?.set.data.flush()
    else this.#must(name).set.data.flush()
  }

  rename(from: string, to: string): void {
    const place = this.#must(from)
    if (place.references > 0) throw new SetError('REFERENCED')
    if (this.#places.has(to)) throw new SetError('EXIST_SETNAME2')
    this.#places.delete(from)
    place.name = to
    this.#places.set(to, place)
  }

  swap(from: string, to: string): void {
    const a = this.#must(from)
    const b = this.#places.get(to)
    if (b === undefined) throw new SetError('EXIST_SETNAME2')
    if (features(a.set.type) !== features(b.set.type) || a.set.family !== b.set.family)
      throw new SetError('TYPE_MISMATCH')
    ;[a.set, b.set] = [b.set, a.set]
    this.changed()
  }

  #must(name: string): Place {
    const place = this.#places.get(name)
    if (place === undefined) throw new SetError('ENOENT')
    return place
  }
}
