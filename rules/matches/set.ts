// set: membership of an ipset (libxt_set of iptables 1.8.9, set_match_v4() of xt_set.c).

import { Vary } from '../../conntrack/flow-cache.ts'
import type { Packet } from '../../datapath/packet.ts'
import type { Match } from '../extension.ts'
import { OptionError, type Options, WholeError } from '../options.ts'
import {
  Compare,
  MATCH_COUNTERS,
  PacketExtension,
  RETURN_NOMATCH,
  SKIP_COUNTER_UPDATE,
  SKIP_SUBCOUNTER_UPDATE,
} from '../sets/extensions.ts'
import { matchSet } from '../sets/packet.ts'
import { parseSetUse, printSetUse, type SetUse, setFields } from '../sets/rule.ts'
import type { SetHolder } from '../sets/set-type.ts'
import { strtoull, ULONG_MAX } from '../text/numbers.ts'

interface CounterTest {
  readonly op: number
  readonly value: bigint
}

export interface SetMatch extends SetUse {
  readonly invert: boolean
  /** RETURN_NOMATCH, SKIP_COUNTER_UPDATE, SKIP_SUBCOUNTER_UPDATE. */
  readonly flags: number
  readonly packets: CounterTest
  readonly bytes: CounterTest
}

const NONE: CounterTest = { op: Compare.None, value: 0n }
const OPS: readonly (readonly [string, number])[] = [
  ['eq', Compare.Eq],
  ['lt', Compare.Lt],
  ['gt', Compare.Gt],
]

const onlyOne = (what: string): string => `only one of the --${what}-[eq|lt|gt] is allowed`

function counterTest(o: Options, what: 'packets' | 'bytes'): CounterTest {
  const given = OPS.find(([op]) => o.has(`${what}-${op}`))
  if (given === undefined) return NONE
  const [op, code] = given
  const text = o.text(`${what}-${op}`)
  const read = strtoull(text, 0n, ULONG_MAX)
  if (read === null || read.end !== text.length)
    throw new OptionError(`Cannot parse ${text} as a counter value`)
  const inverted = op === 'eq' && o.inverted(`${what}-eq`)
  return { op: inverted ? Compare.Ne : code, value: read.value }
}

function printTest(test: CounterTest, what: string, dashes: string): string {
  if (test.op === Compare.None) return ''
  if (test.op === Compare.Ne) return ` ! ${dashes}${what}-eq ${test.value}`
  return ` ${dashes}${what}-${OPS.find(([, op]) => op === test.op)![0]} ${test.value}`
}

function print(m: SetMatch, dashes: string, name: string): string {
  return (
    `${m.invert ? '! ' : ''}${name} ${printSetUse(m)}` +
    (m.flags & RETURN_NOMATCH ? ` ${dashes}return-nomatch` : '') +
    (m.flags & SKIP_COUNTER_UPDATE ? ` ! ${dashes}update-counters` : '') +
    (m.flags & SKIP_SUBCOUNTER_UPDATE ? ` ! ${dashes}update-subcounters` : '') +
    printTest(m.packets, 'packets', dashes) +
    printTest(m.bytes, 'bytes', dashes)
  )
}

function question(m: SetMatch): PacketExtension {
  const ext = new PacketExtension()
  ext.dim = m.dirs.length
  ext.flags = m.flags
  if (m.packets.op !== Compare.None || m.bytes.op !== Compare.None) ext.flags |= MATCH_COUNTERS
  ext.packetsOp = m.packets.op
  ext.packetsHigh = Number(m.packets.value >> 32n)
  ext.packetsLow = Number(m.packets.value & 0xffffffffn)
  ext.bytesOp = m.bytes.op
  ext.bytesHigh = Number(m.bytes.value >> 32n)
  ext.bytesLow = Number(m.bytes.value & 0xffffffffn)
  return ext
}

/** Hot. */
function isIn(holder: SetHolder, pkt: Packet, dirs: number, ext: PacketExtension): boolean {
  return matchSet(holder.set, pkt, dirs, ext)
}

/** What is in the set changes by commands and by SET alone; nothing is counted, nothing ends by itself. */
function variesBy({ set }: SetHolder): number {
  const { timeout, counters } = set.data.extensions
  return timeout < 0 && !counters && set.type.name !== 'list:set' ? Vary.Sets : Vary.Never
}

export const set: Match<SetMatch> = {
  kind: 'match',
  name: 'set',
  revision: 4,
  families: [4, 6],
  // struct xt_set_info_match_v4; IPSET_FLAG_* as the interface numbers them.
  layout: {
    size: 48,
    fields: (data) => [
      ...setFields(0, data, data.invert),
      [8, 8, data.packets.value],
      [16, 1, data.packets.op],
      [24, 8, data.bytes.value],
      [32, 1, data.bytes.op],
      [
        40,
        4,
        (data.flags & SKIP_COUNTER_UPDATE ? 1 << 3 : 0) |
          (data.flags & SKIP_SUBCOUNTER_UPDATE ? 1 << 4 : 0) |
          (data.flags & RETURN_NOMATCH ? 1 << 7 : 0),
      ],
    ],
  },
  options: [
    {
      flag: 'match-set',
      holds: 'set',
      arg: 'two',
      invertible: true,
      multiple: true,
    },
    // Its name before 1.4.9; `-m recent` has a --set too, and which is meant is settled by what was loaded last.
    {
      flag: 'set',
      holds: 'set',
      arg: 'two',
      invertible: true,
      multiple: true,
    },
    {
      flag: 'return-nomatch',
      arg: 'none',
      multiple: true,
      invertError: '--return-nomatch flag cannot be inverted',
    },
    { flag: 'update-counters', arg: 'none', invertible: true, multiple: true },
    { flag: 'update-subcounters', arg: 'none', invertible: true, multiple: true },
    ...(['packets', 'bytes'] as const).flatMap((what) => [
      { flag: `${what}-eq`, invertible: true, slot: what, repeatError: onlyOne(what) },
      ...(['lt', 'gt'] as const).map((op) => ({
        flag: `${what}-${op}`,
        slot: what,
        invertError: `--${what}-${op} option cannot be inverted`,
        repeatError: onlyOne(what),
      })),
    ]),
  ],
  help: `set match options:
 [!] --match-set name flags [--return-nomatch]
   [! --update-counters] [! --update-subcounters]
   [[!] --packets-eq value | --packets-lt value | --packets-gt value
   [[!] --bytes-eq value | --bytes-lt value | --bytes-gt value
		 'name' is the set name from to match,
		 'flags' are the comma separated list of
		 'src' and 'dst' specifications.
`,
  parse(o) {
    for (const flag of o.given())
      if (flag === 'set') o.warn('--set option deprecated, please use --match-set\n')
    const packets = counterTest(o, 'packets')
    const bytes = counterTest(o, 'bytes')
    if (!o.has('match-set') && !o.has('set'))
      throw new WholeError("You must specify `--match-set' with proper arguments")
    const use = parseSetUse(o, 'match-set', '--match-set can be specified only once', 'set')
    return {
      ...use,
      invert: o.inverted('match-set') || o.inverted('set'),
      flags:
        (o.has('return-nomatch') ? RETURN_NOMATCH : 0) |
        (o.inverted('update-counters') ? SKIP_COUNTER_UPDATE : 0) |
        (o.inverted('update-subcounters') ? SKIP_SUBCOUNTER_UPDATE : 0),
      packets,
      bytes,
    }
  },
  print: (m) => print(m, '--', '--match-set'),
  list: (m) => print(m, '', 'match-set'),
  sets: (m) => [m.set],
  reads: ['set', 'source', 'destination', 'ports', 'protocol', 'in', 'out', 'mark', 'state', 'clock'],
  varies: (m, js) => js`${js.bind(variesBy)}(${js.env.sets.lookup(m.set)})`,
  emit(m, js) {
    const holder = js.env.sets.lookup(m.set)
    if (holder === null) throw new Error(`no set ${m.set}`)
    return js`${js.bind(isIn)}(${holder}, pkt, ${m.bits}, ${question(m)}) !== ${m.invert}`
  },
}
