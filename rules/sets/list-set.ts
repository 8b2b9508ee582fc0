// list:set: sets in an order; the first that has a packet decides (ip_set_list_set.c, Linux 6.18).

import type { Packet } from '../../datapath/packet.ts'
import {
  Extensions,
  MATCH_COUNTERS,
  type PacketExtension,
  SKIP_COUNTER_UPDATE,
  SKIP_SUBCOUNTER_UPDATE,
} from './extensions.ts'
import { addToSet, deleteFromSet, matchSet } from './packet.ts'
import {
  type SetData,
  type SetEnv,
  SetError,
  type SetHolder,
  type SetMember,
  type SetOptions,
  type SetType,
} from './set-type.ts'

const DEFAULT_SIZE = 8
const MIN_SIZE = 4

interface Entry {
  readonly holder: SetHolder
  readonly row: number
}

/** What an element names: the set and, if asked, its neighbour. */
interface Wanted {
  readonly holder: SetHolder
  readonly neighbour: SetHolder | null
  readonly before: boolean
}

class ListSet implements SetData {
  readonly extensions: Extensions
  readonly #env: SetEnv
  readonly #size: number
  #entries: Entry[] = []
  #rows = 0
  #capacity = 0
  #spare: number[] = []

  constructor(options: SetOptions, env: SetEnv) {
    this.#env = env
    this.#size = Math.max(options.size ?? DEFAULT_SIZE, MIN_SIZE)
    this.extensions = new Extensions(options, env.host)
  }

  #wanted(options: SetOptions): Wanted {
    this.extensions.check(options)
    const holder = this.#env.lookup(options.setName ?? '')
    if (holder === null) throw new SetError('NAME')
    if (holder.set.type === listSet) throw new SetError('LOOP')
    if (options.before && options.nameRef === undefined) throw new SetError('BEFORE')
    const neighbour = options.nameRef === undefined ? null : this.#env.lookup(options.nameRef)
    if (options.nameRef !== undefined && neighbour === null) throw new SetError('NAMEREF')
    return { holder, neighbour, before: options.before === true }
  }

  add(options: SetOptions, exist: boolean): void {
    const { holder, neighbour, before } = this.#wanted(options)
    this.#expire()
    const at = this.#entries.findIndex((entry) => entry.holder === holder)
    const next =
      neighbour === null ? -1 : this.#entries.findIndex((e) => e.holder === neighbour && e.holder !== holder)
    if (neighbour !== null && next < 0) throw new SetError('REF_EXIST')
    if (at >= 0) {
      if (!exist) throw new SetError('EXIST')
      this.extensions.put(this.#entries[at]!.row, options, false)
      return
    }
    const row = this.#spare.pop() ?? this.#rows++
    if (row >= this.#capacity) {
      this.#capacity = Math.max(8, 2 * this.#capacity)
      this.extensions.grow(this.#capacity)
    }
    this.extensions.put(row, options, true)
    holder.references++
    const position = neighbour === null ? this.#entries.length : before ? next : next + 1
    this.#entries.splice(position, 0, { holder, row })
  }

  del(options: SetOptions, exist: boolean): void {
    const { holder, neighbour, before } = this.#wanted(options)
    this.#expire()
    const at = this.#entries.findIndex((entry) => entry.holder === holder)
    if (at < 0) {
      if (neighbour !== null) throw new SetError('REF_EXIST')
      if (exist) return
      throw new SetError('EXIST')
    }
    if (neighbour !== null && this.#entries[before ? at + 1 : at - 1]?.holder !== neighbour)
      throw new SetError('REF_EXIST')
    this.#drop(at)
  }

  test(options: SetOptions): boolean {
    const { holder, neighbour, before } = this.#wanted(options)
    const live = this.#entries.filter((entry) => !this.extensions.expired(entry.row))
    const at = live.findIndex((entry) => entry.holder === holder)
    if (at < 0) return false
    return neighbour === null || live[before ? at + 1 : at - 1]?.holder === neighbour
  }

  #drop(at: number): void {
    const [entry] = this.#entries.splice(at, 1)
    entry!.holder.references--
    this.#spare.push(entry!.row)
  }

  #expire(): void {
    for (let at = this.#entries.length - 1; at >= 0; at--)
      if (this.extensions.expired(this.#entries[at]!.row)) this.#drop(at)
  }

  flush(): void {
    for (const { holder } of this.#entries) holder.references--
    this.#entries = []
    this.#spare = []
    this.#rows = 0
    this.extensions.clear()
  }

  count(): number {
    return this.#entries.filter((entry) => !this.extensions.expired(entry.row)).length
  }

  *members(): Iterable<SetMember> {
    for (const { holder, row } of this.#entries)
      if (!this.extensions.expired(row)) yield { setName: holder.name, ...this.extensions.read(row) }
  }

  header(): SetOptions {
    return { size: this.#size, ...this.extensions.header() }
  }

  memory(): number {
    return this.#entries.length * 32 + this.extensions.bytes()
  }

  same(other: SetData): boolean {
    return other instanceof ListSet && this.#size === other.#size && this.extensions.same(other.extensions)
  }

  destroy(): void {
    this.flush()
  }

  match(pkt: Packet, dirs: number, ext: PacketExtension): number {
    const { flags } = ext
    // The members' counters are not compared, and only updated if the rule says so.
    ext.flags &= ~MATCH_COUNTERS
    if ((flags & SKIP_SUBCOUNTER_UPDATE) !== 0) ext.flags |= SKIP_COUNTER_UPDATE
    const sub = ext.flags
    const entries = this.#entries
    for (let i = 0; i < entries.length; i++) {
      const { holder, row } = entries[i]!
      if (this.extensions.expired(row)) continue
      ext.flags = sub
      if (!matchSet(holder.set, pkt, dirs, ext)) continue
      ext.flags = flags
      if (this.extensions.met(row, pkt, ext)) return 1
    }
    ext.flags = flags
    return 0
  }

  addPacket(pkt: Packet, dirs: number, ext: PacketExtension): boolean {
    const entries = this.#entries
    for (let i = 0; i < entries.length; i++) {
      const { holder, row } = entries[i]!
      if (!this.extensions.expired(row) && addToSet(holder.set, pkt, dirs, ext)) return true
    }
    return false
  }

  delPacket(pkt: Packet, dirs: number, ext: PacketExtension): boolean {
    const entries = this.#entries
    for (let i = 0; i < entries.length; i++) {
      const { holder, row } = entries[i]!
      if (!this.extensions.expired(row) && deleteFromSet(holder.set, pkt, dirs, ext)) return true
    }
    return false
  }
}

const ADD = ['timeout', 'before', 'after', 'packets', 'bytes', 'comment', 'skbmark', 'skbprio', 'skbqueue']

export const listSet: SetType = {
  name: 'list:set',
  alias: 'setlist',
  revision: 3,
  family: 0,
  parts: [{ kind: 'set' }],
  create: { options: ['size', 'timeout', 'counters', 'comment', 'skbinfo'], ranges: [], help: '' },
  add: { options: ADD, ranges: [], help: 'NAME [before|after NAME]' },
  del: { options: ['before', 'after'], ranges: [], help: 'NAME [before|after NAME]' },
  test: { options: ['before', 'after'], ranges: [], help: 'NAME [before|after NAME]' },
  usage: 'where NAME are existing set names.',
  make: (options, env) => new ListSet(options, env),
}
