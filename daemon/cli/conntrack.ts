// conntrack of conntrack-tools 1.4.7 over the gateway's flows: what the real tool asks the kernel is asked of the
// table (conntrack/ctnetlink.ts), what it filters itself is filtered in conntrack-filter.ts, in its words.
//
//     argv ── parseOptions ──▶ Wish ── dump / find / create / change ──▶ Flow ── filter, print ──▶ text

import type { Conntrack } from '../../conntrack/conntrack.ts'
import {
  change,
  create,
  createExpectation,
  describe,
  type Flow,
  type FlowTuple,
  find,
  tupleFrom,
} from '../../conntrack/ctnetlink.ts'
import { Errno } from '../../conntrack/errno.ts'
import {
  formatExpectation,
  formatExpectStats,
  formatFlow,
  formatSave,
  formatStats,
  formatXml,
  type Happening,
} from '../../conntrack/print.ts'
import { META, STATUS, STRIDE } from '../../conntrack/table.ts'
import { sameWords } from '../../datapath/route.ts'
import { IPPROTO_TCP } from '../../datapath/wire/protocol.ts'
import type { ToolCall } from '../control/protocol.ts'
import type { Engine } from '../engine.ts'
import { systemReason } from '../errors.ts'
import { wishesOf } from './conntrack-file.ts'
import { compares, filter, mask32, updateFilter } from './conntrack-filter.ts'
import { followExpectations, followFlows } from './conntrack-follow.ts'
import { parseOptions, WarnedComplaint } from './conntrack-options.ts'
import { CONNTRACK_USAGE, HINT, NAME, XML_HEAD } from './conntrack-usage.ts'
import { Complaint, type NatFilter, OutputBit, type Wish } from './conntrack-wish.ts'
import { readCallFile } from './files.ts'
import type { Tool } from './tool.ts'

interface Said {
  out: string
  err: string
}

/** err2str: the tool's words for an errno, by command. */
function reason(errno: number, command: Wish['command']): string {
  const is = (...commands: Wish['command'][]): boolean => commands.includes(command)
  switch (errno) {
    case Errno.Invalid:
      return is('add') ? 'Invalid argument' : 'invalid parameters'
    case Errno.Exists:
      return is('create') ? 'Such conntrack exists, try -U to update' : 'File exists'
    case Errno.NoEntry:
      if (is('create', 'get', 'delete', 'add')) return "such conntrack doesn't exist"
      return is('expect-create') ? 'master conntrack not found' : 'No such file or directory'
    case Errno.NoMemory:
      return is('create', 'get', 'add') ? 'not enough memory' : 'Cannot allocate memory'
    case Errno.Perm:
      return 'sorry, you must be root or get CAP_NET_ADMIN capability to do this'
    case Errno.Busy:
      return 'Device or resource busy'
    case Errno.None:
      return 'Success'
    case Errno.Range:
      return 'Numerical result out of range'
    case Errno.NoData:
      return 'No data available'
    default:
      return 'Operation not supported'
  }
}

function failed(errno: number, command: Wish['command']): Complaint {
  return new Complaint(`Operation failed: ${reason(errno, command)}`, 1)
}

// -- commands

function print(wish: Wish, flow: Flow, wall: number, command: Happening): string {
  const has = (bit: number): boolean => (wish.outputs & bit) !== 0
  if (has(OutputBit.Save)) return `${formatSave(flow, command)}\n`
  if (has(OutputBit.Xml)) return `${formatXml(flow, wall)}\n`
  const listed = wish.command === 'list' || wish.command === 'get'
  const options = {
    extended: has(OutputBit.Extended),
    id: has(OutputBit.Id),
    timestamps: has(OutputBit.KernelTimes) && listed,
  }
  return `${formatFlow(flow, wall, options)}\n`
}

/** Entries of a family, 0 all, as a dump meets them: packets may come, and entries end, between two of them. */
function* dump(ct: Conntrack, family: number): Generator<number> {
  const found: number[] = []
  const fits = (entry: number): boolean =>
    family === 0 || (ct.table.words[entry * STRIDE + META]! & 0xff) === family
  ct.forEach((entry) => {
    if (fits(entry)) found.push(entry)
  })
  for (const entry of found) {
    // Another connection may have its place by now.
    if (ct.isListed(entry) && fits(entry)) yield entry
    ct.host.condResched()
  }
}

function list(wish: Wish, { conntrack }: Engine, said: Said): number {
  const { given, table } = wish
  if (table !== 'conntrack') return 0 // Nothing is dying, and what is unconfirmed is not in a list.
  if (compares(wish) && given.has('zero')) throw new Complaint("Can't use -z with filtering parameters")
  const fits = filter(wish)
  if (given.has('status') && wish.statusMask === 0) throw failed(Errno.Invalid, 'list')
  const xml = (wish.outputs & OutputBit.Xml) !== 0
  let shown = 0
  for (const entry of dump(conntrack, wish.family)) {
    const status = conntrack.table.words[entry * STRIDE + STATUS]!
    if (given.has('status') && (status & wish.statusMask) !== wish.flow.status) continue
    if (!kernelMark(wish, conntrack.mark(entry))) continue
    const flow = describe(conntrack, entry)
    if (given.has('zero')) conntrack.zeroAcct(entry)
    if (!fits(flow)) continue
    if (xml && shown === 0) said.out += `${XML_HEAD}<conntrack>\n`
    said.out += print(wish, flow, conntrack.host.wall, 'new')
    shown++
  }
  if (xml && shown > 0) said.out += '</conntrack>\n'
  return shown
}

/** The mark filter of a dump: counters of what it leaves out are not zeroed. */
function kernelMark({ kernelMark: mark }: Wish, value: number): boolean {
  return mark === null || (value & mask32(mark.mask)) >>> 0 === mark.value
}

/** A number for the program that asks, as netlink gives it a port. */
let programs = 1000

function insert(wish: Wish, engine: Engine): number {
  const { given, flow } = wish
  const hasOrig = given.has('src') || given.has('dst')
  const hasReply = given.has('reply-src') || given.has('reply-dst')
  const asked: Flow = { ...flow, orig: { ...flow.orig }, reply: { ...flow.reply } }
  if (hasOrig && !hasReply) Object.assign(asked.reply, mirror(flow.orig))
  else if (hasReply && !hasOrig) Object.assign(asked.orig, mirror(flow.reply, flow.reply.protocol ?? 0))
  const { icmpType } = flow
  // The library knows no type for the other direction.
  if (icmpType !== undefined && hasReply && !hasOrig) throw failed(Errno.Invalid, wish.command)
  if (icmpType !== undefined) asked.replyIcmpType = inverse(flow.orig.protocol ?? 0, icmpType)
  if (wish.mark !== null) asked.mark = wish.mark.value
  if (wish.protocol?.number === 6 || wish.protocol?.number === 132) asked.state ??= 0
  const { conntrack, nat } = engine
  const known = find(conntrack, asked, wish.family)
  if (known >= 0) {
    if (wish.command === 'add') return 0
    throw failed(Errno.Exists, 'create')
  }
  if (known !== Errno.NoEntry) throw failed(known, wish.command)
  // __build_protonat(): the library tells the port of these alone.
  const ported = asked.orig.protocol === 6 || asked.orig.protocol === 17
  const natOf = (nat: NatFilter | null): NatFilter | null =>
    nat === null || ported ? nat : { ...nat, port: null }
  const made = create(
    conntrack,
    nat,
    asked,
    wish.family,
    {
      src: given.has('src-nat') ? natOf(wish.snat) : null,
      dst: given.has('dst-nat') ? natOf(wish.dnat) : null,
    },
    ++programs,
  )
  if (made >= 0) return 1
  if (made === Errno.Exists && wish.command === 'add') return 0
  throw failed(made, wish.command)
}

/** NFCT_SOPT_SETUP_REPLY and _ORIGINAL: the other direction. */
function mirror(side: FlowTuple, protocol = side.protocol): FlowTuple {
  return {
    family: side.family,
    protocol,
    src: side.dst,
    dst: side.src,
    sport: side.dport ?? 0,
    dport: side.sport ?? 0,
  }
}

/** The type that answers an ICMP type, as the library has it; 0 where none does. */
function inverse(protocol: number, type: number): number {
  const pairs = protocol === 1 ? [8, 0, 13, 14, 15, 16, 17, 18] : [128, 129, 139, 140]
  const at = pairs.indexOf(type)
  return at < 0 ? 0 : pairs[at ^ 1]!
}

type Answer = { readonly errno: number } | { readonly flow: Flow }

/**
 * Updates what fits. The real tool reads one answer for each request, but a GET is answered twice (the entry, then
 * an acknowledgement): from the second entry on it reads the answers to earlier questions.
 */
function update(wish: Wish, { conntrack }: Engine, said: Said): number {
  const { given } = wish
  const fits = updateFilter(wish)
  const answers: Answer[] = []
  let updated = 0
  const ask = (): Answer => answers.shift() ?? { errno: 0 }
  for (const entry of dump(conntrack, 0)) {
    const flow = describe(conntrack, entry)
    if (wish.family !== 0 && flow.orig.family !== wish.family) continue
    if (!fits(flow)) continue
    const changed = changes(wish, flow)
    if (changed === null) continue
    const target = find(conntrack, changed, wish.family)
    const natAsked =
      (wish.snat !== null && given.has('src-nat')) || (wish.dnat !== null && given.has('dst-nat'))
    const program = updated + programs + 0x4000_0000
    answers.push({ errno: target < 0 ? target : change(conntrack, target, changed, natAsked, program) })
    const first = ask()
    if ('errno' in first && first.errno < 0)
      said.err += `Operation failed: ${reason(first.errno, 'update')}\n`
    const named = find(conntrack, changed, wish.family)
    if (named >= 0) answers.push({ flow: describe(conntrack, named) }, { errno: 0 })
    else answers.push({ errno: named })
    const second = ask()
    if ('flow' in second) said.out += print(wish, second.flow, conntrack.host.wall, 'new')
    else if (second.errno === Errno.NoEntry) continue
    else if (second.errno < 0) throw failed(second.errno, 'update')
    updated++
  }
  return updated
}

/** What -U sends for an entry; null: it would change nothing. */
function changes(wish: Wish, flow: Flow): Flow | null {
  const { mark, flow: asked } = wish
  const sent: Flow = {
    orig: { ...flow.orig },
    reply: {},
    icmpType: flow.icmpType,
    icmpCode: flow.icmpCode,
    icmpId: flow.icmpId,
    timeout: asked.timeout,
    state: asked.state,
    liberal: wish.protocol?.number === IPPROTO_TCP,
    tags: asked.tags,
    status: asked.status === undefined ? undefined : asked.status | (flow.status ?? 0),
    mark: mark === null ? undefined : (((flow.mark ?? 0) & ~mask32(mark.mask)) ^ mark.value) >>> 0,
    labels:
      wish.given.has('label-del') && flow.labels !== undefined && flow.labels.length > 0 ? [] : undefined,
  }
  const same =
    sent.timeout === undefined &&
    sent.labels === undefined &&
    (sent.mark === undefined || sent.mark === flow.mark) &&
    (sent.state === undefined || sent.state === flow.state) &&
    (sent.status === undefined || (sent.status & (flow.status ?? 0)) === sent.status)
  return same ? null : sent
}

function remove(wish: Wish, { conntrack }: Engine, said: Said): number {
  const fits = filter(wish)
  let removed = 0
  for (const entry of dump(conntrack, wish.family)) {
    if (!kernelMark(wish, conntrack.mark(entry))) continue
    const flow = describe(conntrack, entry)
    if (!fits(flow)) continue
    conntrack.kill(entry, programs + 0x2000_0000)
    said.out += print(wish, flow, conntrack.host.wall, 'destroy')
    removed++
  }
  return removed
}

function get(wish: Wish, { conntrack }: Engine, said: Said): number {
  // The library cannot write such a tuple, and the tool reads errno all the same.
  if (wish.flow.reply.protocol !== undefined && wish.flow.reply.family === undefined)
    throw failed(wish.left, 'get')
  const entry = find(conntrack, wish.flow, wish.family)
  if (entry < 0) throw failed(entry, 'get')
  const flow = describe(conntrack, entry)
  if (!filter(wish)(flow)) return 0
  const xml = (wish.outputs & OutputBit.Xml) !== 0
  if (xml) said.out += `${XML_HEAD}<conntrack>\n`
  said.out += print(wish, flow, conntrack.host.wall, 'new')
  return 1
}

function listExpectations(wish: Wish, { conntrack }: Engine, said: Said): number {
  const waiting = conntrack.expectations.all().filter((e) => e.tuple.family === wish.family)
  for (const expectation of waiting) said.out += `${formatExpectation(conntrack, expectation)}\n`
  return waiting.length
}

/** What a command says at its end, and whether doing nothing is a failure. */
const ENDINGS: Readonly<Partial<Record<string, string>>> = {
  list: 'flow entries have been shown',
  create: 'flow entries have been created',
  update: 'flow entries have been updated',
  delete: 'flow entries have been deleted',
  get: 'flow entries have been shown',
  event: 'flow events have been shown',
  'expect-list': 'expectations have been shown',
  'expect-delete': 'expectations have been shown',
  add: 'flow entries have been added',
}

/** How many entries the command was about. */
function run(wish: Wish, engine: Engine, said: Said): number {
  const { conntrack } = engine
  switch (wish.command) {
    case 'list':
      return list(wish, engine, said)
    case 'create':
    case 'add':
      return insert(wish, engine)
    case 'update':
      return update(wish, engine, said)
    case 'delete':
      return remove(wish, engine, said)
    case 'get':
      return get(wish, engine, said)
    case 'flush':
      conntrack.flush(++programs)
      said.err += `${NAME}connection tracking table has been emptied.\n`
      return 0
    case 'event':
      // follow() shows them; what it could not begin with is complained of here.
      filter(wish)
      return 0
    case 'count':
      said.out += `${conntrack.count}\n`
      return 0
    case 'stats':
      said.out += `${formatStats(conntrack)}\n`
      return 0
    case 'expect-list':
      return listExpectations(wish, engine, said)
    case 'expect-create':
    case 'expect-get':
    case 'expect-delete':
      expectation(wish, engine, said)
      return 0
    case 'expect-flush':
      conntrack.expectations.flush()
      said.err += `${NAME}expectation table has been emptied.\n`
      return 0
    case 'expect-count':
      said.out += `${conntrack.expectations.all().length}\n`
      return 0
    case 'expect-stats':
      said.out += `${formatExpectStats(conntrack)}\n`
      return 0
    case 'version':
      said.out += 'conntrack v1.4.7 (conntrack-tools)\n'
      return 0
    default:
      said.out += CONNTRACK_USAGE
      if (wish.command === 'help' && wish.protocol !== null)
        said.out += `Proto \`${wish.protocol.name}' help:\n${wish.protocol.help}`
      return 0
  }
}

/** -I, -G and -D of one expectation. */
function expectation(wish: Wish, { conntrack }: Engine, said: Said): void {
  const master: Flow = { ...wish.flow, reply: {} }
  if (wish.command === 'expect-create') {
    const { expected, mask } = wish
    const made = createExpectation(conntrack, { master, expected, mask }, wish.flow.timeout ?? 0, wish.family)
    if (made < 0) throw failed(made, wish.command)
    return
  }
  const { orig } = wish.flow
  const asked = tupleFrom(orig, wish.flow, wish.family, false)
  if (typeof asked === 'number') throw failed(asked, wish.command)
  const found = conntrack.expectations.all().find((e) => {
    const t = wish.command === 'expect-get' ? conntrack.table.readTuple(e.master, 0, e.tuple) : e.tuple
    return (
      t.family === wish.family &&
      t.protocol === orig.protocol &&
      sameWords(orig.src ?? null, [t.s0, t.s1, t.s2, t.s3]) &&
      sameWords(orig.dst ?? null, [t.d0, t.d1, t.d2, t.d3]) &&
      t.ports >>> 16 === (orig.sport ?? 0) &&
      (t.ports & 0xffff) === (orig.dport ?? 0)
    )
  })
  if (found === undefined) throw failed(Errno.NoEntry, wish.command)
  if (wish.command === 'expect-get') said.out += `${formatExpectation(conntrack, found)}\n`
  else conntrack.expectations.remove(found)
}

/** Runs `conntrack -R FILE`: every line is read before any is done. */
function loadFile(call: ToolCall, engine: Engine, said: Said): number {
  const name = call.argv[1]!
  let text: string
  try {
    text = name === '-' ? call.stdin : readCallFile(call, name)
  } catch (error) {
    systemReason(error)
    throw new Complaint(`Failed to open file ${name} for reading`)
  }
  const { wishes, outputs } = wishesOf(text, (warnings) => {
    said.err += warnings
  })
  // The tool looks for the mark of -U in what it read last, and finds one that changes nothing where that has none.
  const lastMark = wishes.at(-1)?.mark ?? { value: 0, mask: 0 }
  for (const wish of wishes) {
    const mark = wish.command === 'update' && wish.mark !== null ? lastMark : wish.mark
    run({ ...wish, outputs, mark }, engine, said)
  }
  return 0
}

function complained(error: unknown, said: Said): number {
  if (!(error instanceof Complaint)) throw error
  if (error instanceof WarnedComplaint) said.err += error.warnings
  said.err += `${NAME}${error.message}\n${error.status === 2 ? HINT : ''}`
  return error.status
}

const isFile = (argv: readonly string[]): boolean =>
  argv.length > 1 && (argv[0] === '-R' || argv[0] === '--load-file')

export const conntrackTool: Tool = {
  names: ['conntrack'],
  wantsInput: (argv) => isFile(argv) && argv[1] === '-',
  run(call, engine) {
    const said: Said = { out: '', err: '' }
    let code = 0
    try {
      if (isFile(call.argv)) loadFile(call, engine, said)
      else {
        const wish = parseOptions(call.argv)
        said.err += wish.warnings
        const done = run(wish, engine, said)
        const ending = ENDINGS[wish.command ?? '']
        if (ending !== undefined) {
          said.err += `${NAME}${done} ${ending}.\n`
          const mayBeNone = ['list', 'expect-list', 'add', 'expect-delete'].includes(wish.command!)
          if (done === 0 && !mayBeNone) code = 1
        }
      }
    } catch (error) {
      code = complained(error, said)
    }
    return { stdout: said.out, stderr: said.err, code }
  },

  /** -E: until the caller ends. */
  follow(call, engine, say) {
    if (isFile(call.argv)) return null
    let wish: Wish
    try {
      wish = parseOptions(call.argv)
      if (wish.command === 'event') return followFlows(wish, engine, say)
    } catch (error) {
      // run() words it.
      if (error instanceof Complaint) return null
      throw error
    }
    return wish.command === 'expect-event' ? followExpectations(wish, engine, say) : null
  },
}
