// ip rule: policy rules, as iprule.c of iproute2 6.1 reads and prints them.

import { RouteType, type Rule, type RuleAction, type RuleSpec } from '../../datapath/fib.ts'
import type { Family } from '../../datapath/packet.ts'
import { inPrefix } from '../../datapath/route.ts'
import { formatAddress } from '../../datapath/wire/address.ts'
import { scanned } from '../../rules/text/numbers.ts'
import { unsigned64 } from '../../rules/text/print.ts'
import { ANY, bitsOf } from '../host-folder/address.ts'
import { type IpContext, Refusal } from './ip-context.ts'
import { ruleUsage } from './ip-usage.ts'
import {
  type AnyPrefix,
  address,
  begins,
  groupNumber,
  ipProtocolNumber,
  type Line,
  lastTable,
  number,
  protocolText,
  routeType,
  tableNumber,
} from './ip-words.ts'

export function runRule(context: IpContext, words: readonly string[]): number {
  const line = context.line(words)
  if (line.done) return show(context, line, 'show')
  const verb = line.take()
  if (begins(verb, 'list') || begins(verb, 'lst') || begins(verb, 'show')) return show(context, line, 'show')
  if (begins(verb, 'save') && !line.done) {
    line.warn('"ip rule save" does not take any arguments.\n')
    return 1
  }
  if (begins(verb, 'save')) return line.die("ip rule save: the binary form is the kernel's; use ip -j rule\n")
  if (begins(verb, 'restore')) return line.die(context.foreignDump('rule restore'))
  if (begins(verb, 'add')) return modify(context, line, true)
  if (begins(verb, 'delete')) return modify(context, line, false)
  if (begins(verb, 'flush')) return show(context, line, 'flush')
  if (begins(verb, 'help')) return line.die(ruleUsage)
  return line.die(`Command "${verb}" is unknown, try "ip rule help".\n`)
}

const MARK = /^([^/]*)(?:\/(.*))?$/s

/** VALUE[/MASK]; null: no mask was said. */
function mark(line: Line, why: string): readonly [number, number | null] {
  const text = line.next()
  const [, value, mask] = MARK.exec(text)!
  const found = number(value!) ?? line.invalid(why, value!)
  if (mask === undefined) return [found, null]
  return [found, number(mask) ?? line.invalid('fwmask value is invalid\n', mask)]
}

/** What sscanf(3) stores of a number in an unsigned integer of so many bits. */
const scannedUint = (text: string, bits: number): number =>
  Number(BigInt.asUintN(bits, scanned(BigInt(text.replace(/^[+-]/, '')), text.startsWith('-'))))

/** `LOW[-HIGH]` as sscanf("%hu-%hu") takes it. */
function ports(line: Line, why: string): readonly [number, number] {
  const text = line.next()
  const found = /^\s*([+-]?\d+)(?:-\s*([+-]?\d+))?/.exec(text)
  if (found === null) return line.invalid(why, text)
  const low = scannedUint(found[1]!, 16)
  return [low, found[2] === undefined ? low : scannedUint(found[2], 16)]
}

/** `LOW-HIGH` as sscanf("%u-%u") takes it. */
function uids(line: Line): readonly [number, number] {
  const text = line.next()
  const found = /^\s*([+-]?\d+)-\s*([+-]?\d+)/.exec(text) ?? line.invalid('invalid UID range\n', text)
  return [scannedUint(found[1]!, 32), scannedUint(found[2]!, 32)]
}

type Draft = { -readonly [K in keyof RuleSpec]?: RuleSpec[K] }

const ACTIONS: Readonly<Record<number, RuleAction>> = {
  1: 'lookup',
  2: 'goto',
  3: 'nop',
  6: 'blackhole',
  7: 'unreachable',
  8: 'prohibit',
}
const ACTION_NUMBERS: Readonly<Record<string, number>> = { blackhole: 6, unreachable: 7, prohibit: 8 }

function modify(context: IpContext, line: Line, add: boolean): number {
  let family = context.options.family
  const rule: Draft = {}
  /** Families of the prefixes; 0: none. */
  const foreign = { source: 0, destination: 0 }
  let action = add ? 1 : 0
  let tableSaid = false
  /** The table that was said last; 0: none. */
  let lastSaid = 0
  let markMask: number | null = null
  if (line.done) {
    line.warn(`"ip rule ${add ? 'add' : 'del'}" requires arguments.\n`)
    return 1
  }
  const side = (): AnyPrefix => line.prefix(line.next(), family)
  while (!line.done) {
    const word = line.take()
    if (word === 'not') rule.not = true
    else if (word === 'from') {
      const p = side()
      foreign.source = p.length > 0 ? p.family : 0
      rule.source = p.length > 0 ? { words: p.words, prefixLength: p.length } : null
    } else if (word === 'to') {
      const p = side()
      foreign.destination = p.length > 0 ? p.family : 0
      rule.destination = p.length > 0 ? { words: p.words, prefixLength: p.length } : null
    } else if (begins(word, 'preference') || begins(word, 'order') || begins(word, 'priority'))
      rule.priority = line.number('preference value is invalid\n')
    else if (word === 'tos' || begins(word, 'dsfield'))
      rule.tos = line.named('TOS value is invalid\n', line.numbers.tos)
    else if (word === 'fwmark') {
      // FRA_FWMARK and FRA_FWMASK: of each the last that was said.
      const [value, mask] = mark(line, 'fwmark value is invalid\n')
      rule.mark = value
      markMask = mask ?? markMask
    } else if (begins(word, 'realms')) rule.realm = line.named('invalid realms\n', line.numbers.realms)
    else if (begins(word, 'protocol'))
      rule.setBy = protocolText(line.named('"protocol" value is invalid\n', line.numbers.protocol))
    else if (begins(word, 'tun_id')) rule.tunnel = line.number('"tun_id" value is invalid\n', 2 ** 64 - 1)
    else if (begins(word, 'table') || word === 'lookup') {
      lastSaid = line.named('invalid table ID\n', tableNumber)
      rule.table = lastTable(rule.table, lastSaid)
      tableSaid = true
    } else if (begins(word, 'suppress_prefixlength') || word === 'sup_pl')
      rule.suppressPrefixLength = line.number('suppress_prefixlength value is invalid\n', 0x7fff_ffff)
    else if (begins(word, 'suppress_ifgroup') || word === 'sup_group')
      rule.suppressGroup = line.named('Invalid "suppress_ifgroup" value\n', groupNumber)
    else if (word === 'dev' || word === 'iif') rule.iif = interfaceName(line, '"iif"/"dev"')
    else if (word === 'oif') rule.oif = interfaceName(line, '"oif"')
    else if (word === 'l3mdev') {
      rule.l3mdev = true
      tableSaid = true
    } else if (word === 'uidrange') {
      rule.uids = uids(line)
    } else if (word === 'nat' || begins(word, 'map-to')) {
      const text = line.next()
      line.warn('Warning: route NAT is deprecated\n')
      // get_addr32()
      if (address(text, 4) === null) line.die(`Error: an IP address is expected rather than "${text}"\n`, 1)
      action = 10
    } else if (word === 'ipproto') rule.protocol = line.named('Invalid "ipproto" value\n', ipProtocolNumber)
    else if (word === 'sport') rule.sourcePorts = ports(line, 'invalid port range\n')
    else if (word === 'dport') rule.destinationPorts = ports(line, 'invalid dport range\n')
    else {
      const kind = word === 'type' ? line.next() : word
      tableSaid = true
      if (begins(kind, 'help')) line.die(ruleUsage)
      if (begins(kind, 'goto')) {
        action = 2
        const text = line.next()
        rule.target = number(text) ?? line.invalid('invalid target\n', text)
      } else if (begins(kind, 'nop')) action = 3
      else action = routeType(kind) ?? line.invalid('Failed to parse rule type', kind)
    }
  }
  if (rule.l3mdev && lastSaid !== 0) {
    line.warn('table can not be specified for l3mdev rules\n')
    return 22
  }
  // fib_nl2rule(): without a mask all bits of a mark that is not zero.
  if (rule.mark !== undefined) rule.markMask = markMask ?? (rule.mark === 0 ? 0 : 0xffff_ffff)
  if (family === 0) family = 4
  if (!tableSaid && add) rule.table = 254
  const own = family === 6 ? 6 : 4
  let told: Rule | null = null
  const code = context.talk(() => {
    if (context.options.foreign !== null) throw new Refusal('EAFNOSUPPORT', 'Rule family not supported')
    if (foreign.source !== 0 && foreign.source !== own) throw new Refusal('EINVAL', 'Invalid source address')
    if (foreign.destination !== 0 && foreign.destination !== own)
      throw new Refusal('EINVAL', 'Invalid dst address')
    told = request(context, own, rule, action, add)
  })
  if (code === 0 && context.options.echo)
    context.out.echo(true, () => {
      if (!add) context.out.any('deleted', true, 'Deleted ')
      printRule(context, told!)
    })
  return code
}

/** fib_empty_table(): the first that is not there, which is made. */
function emptyTable(context: IpContext): number {
  const { fib } = context.host
  let id = 1
  while (fib.hasTable(4, id)) id++
  fib.of(4).table(id)
  return id
}

/** What rule_find() passes over where it is zero; a priority of zero is one. */
const ZERO_ASKS_NOTHING: ReadonlySet<keyof RuleSpec> = new Set([
  'table',
  'mark',
  'markMask',
  'tos',
  'tunnel',
  'protocol',
])

/** What fib_nl2rule() and its kin refuse, then the change. */
function request(context: IpContext, family: Family, rule: Draft, action: number, add: boolean): Rule {
  const { fib } = context.host
  const priority = rule.priority ?? Math.max((fib.rules(family)[1]?.priority ?? 1) - 1, 0)
  if (action !== 2 && rule.target !== undefined) throw new Refusal('EINVAL', 'Unexpected goto')
  if (action === 2 && rule.target === undefined)
    throw new Refusal('EINVAL', 'Missing goto target for action goto')
  if (rule.l3mdev) {
    if (rule.table) throw new Refusal('EINVAL', 'l3mdev and table are mutually exclusive')
    rule.table = 0
  }
  if (rule.uids && (rule.uids[0] > rule.uids[1] || rule.uids[1] === 0xffff_ffff))
    throw new Refusal('EINVAL', 'Invalid uid range')
  for (const [range, what] of [
    [rule.sourcePorts, 'sport'],
    [rule.destinationPorts, 'dport'],
  ] as const)
    if (range && (range[0] === 0 || range[1] === 0 || range[0] > range[1] || range[1] === 0xffff))
      throw new Refusal('EINVAL', `Invalid ${what} range`)
  // fib_nl2rule_rtnl()
  if (action === 2 && rule.target !== undefined && rule.target <= priority)
    throw new Refusal('EINVAL', 'Backward goto not supported')
  const named = ACTIONS[action]
  if (add) {
    // fib4_rule_configure(), fib6_rule_configure().
    if (((rule.tos ?? 0) & 3) !== 0) throw new Refusal('EINVAL', 'Invalid dsfield (tos): ECN bits must be 0')
    if (family === 4 && ((rule.tos ?? 0) & ~0x1c) !== 0) throw new Refusal('EINVAL', 'Invalid tos')
    if (!rule.table && action === 1 && !rule.l3mdev) {
      if (family === 6) throw new Refusal('EINVAL', 'Invalid table')
      rule.table = emptyTable(context)
    }
    // FRA_FLOW is IPv4's.
    const { realm, ...rest } = rule
    return fib.addRule({
      ...rest,
      ...(family === 4 && realm !== undefined ? { realm } : {}),
      family,
      // What the kernel knows no action for acts as a blackhole.
      action: named ?? 'blackhole',
      ...(named === undefined ? { otherAction: action } : {}),
      setBy: rule.setBy ?? 'unspec',
    })
  }
  const wanted: Partial<RuleSpec> = { family }
  for (const [key, value] of Object.entries(rule) as [keyof RuleSpec, never][]) {
    if (key === 'not' || key === 'target' || (key === 'realm' && family === 6)) continue
    if (key === 'setBy' && (value as string) === 'unspec') continue
    if (value === 0 && ZERO_ASKS_NOTHING.has(key)) continue
    ;(wanted as Record<string, unknown>)[key] = value
  }
  if (action !== 0)
    Object.assign(wanted, {
      action: named ?? 'blackhole',
      otherAction: named === undefined ? action : undefined,
    })
  return fib.deleteRule(wanted)
}

function interfaceName(line: Line, key: string): string {
  const name = line.next()
  if (Buffer.byteLength(name) > 15 || /[\s/]/.test(name) || name === '')
    line.invalid(`${key} not a valid ifname`, name)
  return name
}

interface Filter {
  readonly showing: boolean
  not: boolean
  source: AnyPrefix | null
  destination: AnyPrefix | null
  priority: number | null
  tos: number | null
  mark: number | null
  mask: number
  setBy: string | null
  iif: string | null
  oif: string | null
  l3mdev: boolean
  uids: readonly [number, number] | null
  tunnel: number | null
  table: number | null
  protocol: number | null
  sourcePorts: readonly [number, number] | null
  destinationPorts: readonly [number, number] | null
}

function readFilter(context: IpContext, line: Line, verb: 'show' | 'flush'): Filter {
  const f: Filter = {
    showing: verb === 'show',
    not: false,
    source: null,
    destination: null,
    priority: null,
    tos: null,
    mark: null,
    mask: 0,
    setBy: null,
    iif: null,
    oif: null,
    l3mdev: false,
    uids: null,
    tunnel: null,
    table: null,
    protocol: null,
    sourcePorts: null,
    destinationPorts: null,
  }
  const family = context.options.foreign === null ? context.options.family || 4 : 0
  while (!line.done) {
    const word = line.take()
    if (begins(word, 'preference') || begins(word, 'order') || begins(word, 'priority')) {
      const text = line.next()
      f.priority = number(text) ?? line.invalid('preference value is invalid\n', text)
    } else if (word === 'not') f.not = true
    else if (word === 'tos' || word === 'dsfield')
      f.tos = line.named('TOS value is invalid\n', line.numbers.tos)
    else if (word === 'fwmark') {
      const [value, mask] = mark(line, 'fwmark value is invalid\n')
      f.mark = value
      f.mask = mask ?? 0
    } else if (word === 'dev' || word === 'iif') f.iif = interfaceName(line, '"iif"/"dev"')
    else if (word === 'oif') f.oif = interfaceName(line, '"oif"')
    else if (word === 'l3mdev') f.l3mdev = true
    else if (word === 'uidrange') {
      f.uids = uids(line)
    } else if (begins(word, 'tun_id')) f.tunnel = line.number('"tun_id" value is invalid\n', 2 ** 64 - 1)
    else if (begins(word, 'lookup') || begins(word, 'table'))
      f.table = line.named('table id value is invalid\n', tableNumber)
    else if (begins(word, 'from') || begins(word, 'src')) f.source = line.prefix(line.next(), family)
    else if (begins(word, 'protocol')) {
      const text = line.next()
      const found = line.numbers.protocol(text)
      if (found !== null) f.setBy = protocolText(found)
      else if (text !== 'all') line.invalid('invalid "protocol"\n', text)
    } else if (word === 'ipproto') f.protocol = line.named('Invalid "ipproto" value\n', ipProtocolNumber)
    else if (word === 'sport') f.sourcePorts = ports(line, 'invalid port range\n')
    else if (word === 'dport') f.destinationPorts = ports(line, 'invalid dport range\n')
    else {
      const to = begins(word, 'to') || begins(word, 'dst') ? line.next() : word
      f.destination = line.prefix(to, family)
    }
  }
  return f
}

function passes(rule: Rule, f: Filter): boolean {
  const within = (p: Rule['source'], wanted: AnyPrefix | null): boolean => {
    if (wanted === null || (wanted.family === 0 && wanted.length === 0)) return true
    return (
      wanted.family === rule.family &&
      (p?.prefixLength ?? 0) >= wanted.length &&
      inPrefix(wanted.words, wanted.length, ...(p?.words ?? ANY))
    )
  }
  const same = (a: readonly number[] | null | undefined, b: readonly number[] | null): boolean =>
    b === null || (a != null && a[0] === b[0] && a[1] === b[1])
  // Like a table, tunnel or protocol of 0: ports that begin with 0 are none that were asked for.
  const samePorts = (a: readonly number[] | null | undefined, b: readonly number[] | null): boolean =>
    b?.[0] === 0 || same(a, b)
  return (
    (f.priority === null || rule.priority === f.priority) &&
    (!f.not || rule.not === true) &&
    within(rule.source, f.source) &&
    within(rule.destination, f.destination) &&
    (f.tos === null || (rule.tos ?? 0) === f.tos) &&
    (!f.mark || (rule.mark ?? 0) === f.mark) &&
    (f.mask === 0 || (rule.markMask ?? 0) === f.mask) &&
    (f.iif === null || rule.iif === f.iif) &&
    (f.oif === null || rule.oif === f.oif) &&
    (!f.l3mdev || rule.l3mdev === true) &&
    same(rule.uids, f.uids) &&
    (!f.tunnel || rule.tunnel === f.tunnel) &&
    (!f.table || tableOf(rule) === f.table) &&
    (!f.protocol || rule.protocol === f.protocol) &&
    samePorts(rule.sourcePorts, f.sourcePorts) &&
    samePorts(rule.destinationPorts, f.destinationPorts) &&
    // `show` reads the protocol and forgets it.
    (f.setBy === null || f.showing || (rule.setBy ?? 'kernel') === f.setBy)
  )
}

const tableOf = (rule: Rule): number => (rule.action === 'lookup' ? (rule.table ?? 0) : (rule.table ?? 0))

function show(context: IpContext, line: Line, verb: 'show' | 'flush'): number {
  const family = context.options.family || 4
  const filter = readFilter(context, line, verb)
  const { fib } = context.host
  if (context.options.foreign !== null) {
    context.out.broken()
    return line.fail('RTNETLINK answers: Address family not supported by protocol\nDump terminated\n', 255)
  }
  if (verb === 'flush') {
    for (const rule of [...fib.rules(family)])
      if (rule.priority !== 0 && passes(rule, filter)) fib.removeRule(rule)
    context.out.list(() => {})
    return 0
  }
  context.out.list(() => {
    for (const rule of fib.rules(family))
      if (passes(rule, filter)) context.out.object(null, () => printRule(context, rule))
  })
  return 0
}

/** print_rule(). */
export function printRule(context: IpContext, rule: Rule): void {
  const { out, names, options } = context
  const { family } = rule
  const start = out.text.length
  out.any('priority', rule.priority, `${rule.priority}:\t`)
  if (rule.not) out.any('not', null, 'not ')
  const side = (p: Rule['source'], text: string, key: string): void => {
    const address = formatAddress(family, p!.words)
    out.plain(`${text} `)
    out.any(key, address, out.paint(family === 4 ? 'inet' : 'inet6', address))
    if (p!.prefixLength !== bitsOf(family)) out.any(`${key}len`, p!.prefixLength, `/${p!.prefixLength}`)
    out.plain(text === 'from' ? '' : ' ')
  }
  if (rule.source) side(rule.source, 'from', 'src')
  else {
    out.plain('from ')
    out.any('src', 'all', 'all')
  }
  out.plain(' ')
  if (rule.destination) side(rule.destination, 'to', 'dst')
  if (rule.tos) out.any('tos', names.tos(rule.tos), `tos ${names.tos(rule.tos)} `)
  const mask = rule.markMask ?? 0
  if (rule.mark || mask !== 0) {
    const hex = (n: number): string => (n === 0 ? '0' : `0x${n.toString(16)}`)
    const value = hex(rule.mark ?? 0)
    out.any('fwmark', value, `fwmark ${value}`)
    if (mask !== 0xffff_ffff) out.any('fwmask', hex(mask), `/${hex(mask)}`)
    out.plain(' ')
  }
  const port = (name: 'iif' | 'oif', device: string): void => {
    out.any(name, device, `${name} ${out.paint('name', device)} `)
    if (context.host.fib.ruleDevice(rule, name) === undefined)
      out.any(`${name}_detached`, null, '[detached] ')
  }
  if (rule.iif) port('iif', rule.iif)
  if (rule.oif) port('oif', rule.oif)
  const l3mdev = rule.l3mdev === true
  if (l3mdev) out.any('l3mdev', null, 'lookup [l3mdev-table] ')
  if (rule.uids) {
    out.plain(`uidrange ${rule.uids[0]}-${rule.uids[1]} `)
    out.member('uid_start', rule.uids[0])
    out.member('uid_end', rule.uids[1])
  }
  if (rule.protocol)
    out.any('ipproto', names.ipProtocol(rule.protocol), `ipproto ${names.ipProtocol(rule.protocol)} `)
  const range = (name: string, r: readonly [number, number]): void => {
    if (r[0] === r[1]) out.any(name, r[0], `${name} ${r[0]} `)
    else {
      out.any(`${name}_start`, r[0], `${name} ${r[0]}-`)
      out.any(`${name}_end`, r[1], `${r[1]} `)
    }
  }
  if (rule.sourcePorts) range('sport', rule.sourcePorts)
  if (rule.destinationPorts) range('dport', rule.destinationPorts)
  if (rule.tunnel) {
    const tunnel = unsigned64(rule.tunnel)
    out.any('tun_id', tunnel, `tun_id ${tunnel} `)
  }
  const table = tableOf(rule)
  if (!l3mdev && table !== 0) {
    out.any('table', names.table(table), `lookup ${names.table(table)} `)
    const floor = rule.suppressPrefixLength ?? -1
    if (floor >= 0) out.any('suppress_prefixlen', floor, `suppress_prefixlength ${floor} `)
    const group = rule.suppressGroup ?? -1
    if (group >= 0) out.any('suppress_ifgroup', names.group(group), `suppress_ifgroup ${names.group(group)} `)
  }
  if (rule.realm) {
    const from = rule.realm >>> 16
    const to = rule.realm & 0xffff
    const fromText = from === 0 ? '' : `${names.realm(from)}/`
    if (from !== 0) out.member('flow_from', names.realm(from))
    out.member('flow_to', names.realm(to))
    out.plain(`realms ${fromText}${names.realm(to)} `)
  }
  if (rule.action === 'goto') {
    out.any('goto', rule.target ?? 0, `goto ${rule.target ?? 0} `)
    if (!context.host.fib.rules(family).some((r) => r.priority === rule.target))
      out.any('unresolved', null, '[unresolved] ')
  } else if (rule.action === 'nop') out.any('nop', null, 'nop ')
  else if (rule.otherAction === RouteType.Nat) out.any('masquerade', null, 'masquerade ')
  else if (rule.action !== 'lookup') {
    const action = names.type(rule.otherAction ?? ACTION_NUMBERS[rule.action]!)
    out.any('action', action, `${action} `)
  }
  const setBy = rule.setBy ?? 'kernel'
  if ((setBy !== 'unspec' && setBy !== 'kernel') || options.details)
    out.any('protocol', names.protocol(setBy), `proto ${names.protocol(setBy)} `)
  // Words are parted by spaces, none stands at the end.
  if (!out.json) out.text = `${out.text.slice(0, start)}${out.text.slice(start).trimEnd()}\n`
}
