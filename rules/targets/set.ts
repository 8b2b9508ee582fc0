// SET: adds the packet's element to an ipset, deletes it, or takes mark, priority and queue from it (libxt_SET of
// iptables 1.8.9, set_target_v3() of xt_set.c).

import type { Packet } from '../../datapath/packet.ts'
import type { Target } from '../extension.ts'
import { OptionError, type Options, WholeError } from '../options.ts'
import { PacketExtension } from '../sets/extensions.ts'
import { addToSet, deleteFromSet, matchSet } from '../sets/packet.ts'
import { parseSetUse, printSetUse, type SetUse, setFields } from '../sets/rule.ts'
import type { SetHolder } from '../sets/set-type.ts'
import type { Sets } from '../sets/store.ts'

export interface SetTarget {
  readonly add: SetUse | null
  readonly del: SetUse | null
  readonly map: SetUse | null
  readonly exist: boolean
  /** Seconds; -1: the set's own. */
  readonly timeout: number
  readonly mapMark: boolean
  readonly mapPrio: boolean
  readonly mapQueue: boolean
}

const MAX_TIMEOUT = 0xffffffff - 1
/** IPSET_MAX_TIMEOUT: what fits into jiffies. */
const LONGEST = 2147483

/** What the code of one rule holds. */
interface Work {
  readonly sets: Sets
  readonly add: SetHolder | null
  readonly del: SetHolder | null
  readonly map: SetHolder | null
  readonly addDirs: number
  readonly delDirs: number
  readonly mapDirs: number
  readonly addExt: PacketExtension
  readonly delExt: PacketExtension
  readonly mapExt: PacketExtension
  readonly mapMark: boolean
  readonly mapPrio: boolean
}

/** Hot. */
function run(work: Work, pkt: Packet): void {
  if (work.add !== null && addToSet(work.add.set, pkt, work.addDirs, work.addExt)) work.sets.changed()
  if (work.del !== null && deleteFromSet(work.del.set, pkt, work.delDirs, work.delExt)) work.sets.changed()
  if (work.map === null) return
  const ext = work.mapExt
  ext.skbmark = ext.skbmarkmask = ext.skbprio = 0
  if (!matchSet(work.map.set, pkt, work.mapDirs, ext)) return
  if (work.mapMark) pkt.mark = ((pkt.mark & ~ext.skbmarkmask) ^ ext.skbmark) >>> 0
  if (work.mapPrio) pkt.priority = ext.skbprio
}

function parse(o: Options): SetTarget {
  const use = (flag: string): SetUse | null =>
    o.has(flag) ? parseSetUse(o, flag, `--${flag} can be specified only once`) : null
  const add = use('add-set')
  const del = use('del-set')
  const map = use('map-set')
  const timeout = o.has('timeout') ? seconds(o.text('timeout')) : -1
  if (add === null && del === null && map === null)
    throw new WholeError("You must specify either `--add-set' or `--del-set' or `--map-set'")
  const exist = o.has('exist')
  if (add === null && exist) throw new WholeError("Flag `--exist' can be used with `--add-set' only")
  if (add === null && timeout >= 0)
    throw new WholeError("Option `--timeout' can be used with `--add-set' only")
  const maps = { mapMark: o.has('map-mark'), mapPrio: o.has('map-prio'), mapQueue: o.has('map-queue') }
  if (map === null) {
    for (const [flag, given] of [
      ['map-mark', maps.mapMark],
      ['map-prio', maps.mapPrio],
      ['map-queue', maps.mapQueue],
    ] as const)
      if (given) throw new WholeError(`Flag \`--${flag}' can be used with \`--map-set' only`)
  } else if (!maps.mapMark && !maps.mapPrio && !maps.mapQueue)
    throw new WholeError("You must specify flags `--map-mark' or '--map-prio` or `--map-queue'")
  return { add, del, map, exist, timeout, ...maps }
}

function seconds(text: string): number {
  const value = /^\s*\+?(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)$/.exec(text)?.[1]
  const number = value === undefined ? Number.NaN : Number(/^0[0-7]+$/.test(value) ? `0o${value}` : value)
  if (!(number <= MAX_TIMEOUT))
    throw new OptionError(`Invalid value for option --timeout or out of range 0-${MAX_TIMEOUT}`)
  return number
}

function print(t: SetTarget, dashes: string): string {
  const words: string[] = []
  if (t.add !== null) words.push(`${dashes}add-set ${printSetUse(t.add)}`)
  if (t.exist) words.push(`${dashes}exist`)
  if (t.timeout >= 0) words.push(`${dashes}timeout ${t.timeout}`)
  if (t.del !== null) words.push(`${dashes}del-set ${printSetUse(t.del)}`)
  if (t.map !== null) words.push(`${dashes}map-set ${printSetUse(t.map)}`)
  if (t.mapMark) words.push(`${dashes}map-mark`)
  if (t.mapPrio) words.push(`${dashes}map-prio`)
  if (t.mapQueue) words.push(`${dashes}map-queue`)
  return words.join(' ')
}

const asked = (use: SetUse | null): PacketExtension => {
  const ext = new PacketExtension()
  ext.dim = use?.dirs.length ?? 0
  return ext
}

export const setTarget: Target<SetTarget> = {
  kind: 'target',
  name: 'SET',
  revision: 3,
  families: [4, 6],
  // struct xt_set_info_target_v3.
  layout: {
    size: 24,
    fields: ({ add, del, map, timeout, ...flags }) => [
      ...setFields(0, add),
      ...setFields(4, del),
      ...setFields(8, map),
      [
        12,
        4,
        Number(flags.exist) |
          (flags.mapMark ? 1 << 8 : 0) |
          (flags.mapPrio ? 1 << 9 : 0) |
          (flags.mapQueue ? 1 << 10 : 0),
      ],
      [16, 4, timeout],
    ],
  },
  // A `!` before any of these is not looked at.
  options: [
    ...['add-set', 'del-set', 'map-set'].map((flag) => ({
      flag,
      arg: 'two' as const,
      holds: 'set' as const,
      multiple: true,
      invertible: true,
    })),
    { flag: 'exist', arg: 'none', multiple: true, invertible: true },
    { flag: 'timeout', multiple: true, invertible: true },
    ...['map-mark', 'map-prio', 'map-queue'].map((flag) => ({
      flag,
      arg: 'none' as const,
      multiple: true,
      invertible: true,
    })),
  ],
  help: `SET target options:
 --add-set name flags [--exist] [--timeout n]
 --del-set name flags
 --map-set name flags [--map-mark] [--map-prio] [--map-queue]
		add/del src/dst IP/port from/to named sets,
		where flags are the comma separated list of
		'src' and 'dst' specifications.
`,
  parse,
  print: (t) => print(t, '--'),
  list: (t) => print(t, ''),
  sets: (t) => [t.add, t.del, t.map].flatMap((use) => (use === null ? [] : [use.set])),
  check(t, use) {
    if (t.map === null) return null
    if (use.table !== 'mangle') return '--map-set only usable from mangle table'
    const wrong = use.hooks.some((hook) => hook === 'PREROUTING' || hook === 'INPUT')
    if ((t.mapPrio || t.mapQueue) && wrong)
      return 'mapping of prio or/and queue is allowed only from OUTPUT/FORWARD/POSTROUTING chains'
    return null
  },
  reads: ['set', 'source', 'destination', 'ports', 'protocol', 'in', 'out', 'mark', 'state', 'clock'],
  writes: ['mark', 'set', 'state'],
  flow: 'continue',
  emit(t, js) {
    const holder = (use: SetUse | null): SetHolder | null => {
      if (use === null) return null
      const found = js.env.sets.lookup(use.set)
      if (found === null) throw new Error(`no set ${use.set}`)
      return found
    }
    const addExt = asked(t.add)
    addExt.exist = t.exist
    addExt.timeout = t.timeout < 0 ? -1 : Math.min(t.timeout, LONGEST)
    const work: Work = {
      sets: js.env.sets,
      add: holder(t.add),
      del: holder(t.del),
      map: holder(t.map),
      addDirs: t.add?.bits ?? 0,
      delDirs: t.del?.bits ?? 0,
      mapDirs: t.map?.bits ?? 0,
      addExt,
      delExt: asked(t.del),
      mapExt: asked(t.map),
      mapMark: t.mapMark,
      mapPrio: t.mapPrio,
    }
    return js`${js.bind(run)}(${js.bind(work)}, pkt)`
  },
}
