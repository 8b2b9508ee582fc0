// ip link, and the line about the link in ip addr, as ipaddress.c and iplink.c of iproute2 6.1 print them.

import { type Device, ipv6Begun } from '../../datapath/devices.ts'
import { type IpContext, numberOf, Refusal } from './ip-context.ts'
import { isLinkKind, kindUsage } from './ip-link-kinds.ts'
import { modifyLink } from './ip-link-set.ts'
import type { Color } from './ip-output.ts'
import { linkUsage } from './ip-usage.ts'
import { begins, groupNumber, type Line } from './ip-words.ts'

export function runLink(context: IpContext, words: readonly string[]): number {
  context.options.foreign = 'link'
  const line = context.line(words)
  if (line.done) return showLinks(context, line)
  const verb = line.take()
  if (begins(verb, 'add')) return modifyLink(context, line, 'add')
  if (begins(verb, 'set') || begins(verb, 'change')) return modifyLink(context, line, 'set')
  if (begins(verb, 'replace')) return modifyLink(context, line, 'replace')
  if (begins(verb, 'delete')) return modifyLink(context, line, 'delete')
  if (begins(verb, 'show') || begins(verb, 'lst') || begins(verb, 'list')) return showLinks(context, line)
  if (begins(verb, 'xstats')) return xstats(context, line)
  if (begins(verb, 'afstats')) return afstats(context, line)
  if (begins(verb, 'property')) return property(context, line)
  if (begins(verb, 'help')) return linkHelp(context, line)
  return line.die(`Command "${verb}" is unknown, try "ip link help".\n`)
}

/** Kinds with statistics of their own, and the word that asks for some of them alone. */
const XSTATS: ReadonlyMap<string, readonly string[]> = new Map([
  ['bond', ['802.3ad', 'lacp']],
  ['bond_slave', ['802.3ad', 'lacp']],
  ['bridge', ['igmp']],
  ['bridge_slave', ['igmp']],
])

/** iplink_ifla_xstats(), bond_parse_xstats(), bridge_parse_xstats(): no link here is of such a kind. */
function xstats(context: IpContext, line: Line): number {
  if (line.done) return line.fail('xstats: missing argument\n', 1)
  const word = line.take()
  if (begins(word, 'help')) {
    context.out.raw('Usage: ... xstats type TYPE [ ARGS ]\n')
    return 0
  }
  if (!begins(word, 'type')) return line.invalid('unknown argument', word)
  const kind = line.next()
  if (!isLinkKind(kind)) return line.invalid('invalid type', kind)
  const parts = XSTATS.get(kind)
  if (parts === undefined) return line.fail(`xstats: link type ${kind} doesn't support xstats\n`, 1)
  while (!line.done) {
    const what = line.take()
    if (what === 'dev') {
      const name = line.next()
      if (context.device(name) === undefined && numberOf(name) <= 0) return line.noDevice(name)
    } else if (what === 'help') {
      context.out.raw(`Usage: ... ${kind} [ ${parts[0]} ] [ dev DEVICE ]\n`)
      return line.die('', 0)
    } else if (!parts.includes(what)) return line.invalid('unknown attribute', what)
  }
  context.out.list(() => {})
  return 0
}

/** `help KIND` is that kind's own usage, on standard output; words behind it go unread. */
function linkHelp(context: IpContext, line: Line): number {
  const usage = kindUsage(line.peek())
  if (usage === null) return line.die(linkUsage)
  context.out.raw(usage)
  return 0
}

/** iplink_afstats(): MPLS alone would have some; the exit status is always 0. */
function afstats(context: IpContext, line: Line): number {
  let name: string | null = null
  while (!line.done) {
    const word = line.take()
    if (word === 'dev') {
      const given = line.next()
      if (name !== null) line.garbage('dev', given)
      name = given
    } else if (begins(word, 'help')) line.die(linkUsage)
    else line.die(`Command "${word}" is unknown, try "ip link help".\n`)
  }
  if (name !== null && context.device(name) === undefined && numberOf(name) <= 0)
    line.warn(`Device "${name}" does not exist.\n`)
  else context.out.list(() => {})
  return 0
}

/** iplink_prop(): the other names of a link. */
function property(context: IpContext, line: Line): number {
  if (line.done) return line.die(linkUsage)
  const verb = line.take()
  if (begins(verb, 'help')) return line.die(linkUsage)
  if (!begins(verb, 'add') && !begins(verb, 'del')) return line.die('Operator required\n')
  let name: string | null = null
  const altNames: string[] = []
  while (!line.done) {
    const word = line.take()
    if (begins(word, 'altname')) {
      const text = line.next()
      if (text === '' || /[\s/]/.test(text)) line.invalid('not a valid altname', text)
      altNames.push(text)
    } else if (begins(word, 'help')) line.die(linkUsage)
    else {
      const given = word === 'dev' ? line.next() : word
      if (name !== null) line.garbage('dev', given)
      if (given === '' || /[\s/]/.test(given)) line.invalid('"dev" not a valid ifname', given)
      name = given
    }
  }
  if (name === null) return line.die('Not enough of information: "dev" argument is required.\n')
  const device = context.device(name)
  if (device === undefined && !context.isNobody(name)) return line.noDevice(name)
  return context.talk(() => {
    if (device === undefined) throw new Refusal(numberOf(name) < 0 ? 'EINVAL' : 'ENODEV')
    // One after the other: those in front of one that is refused stay.
    for (const altName of altNames)
      if (altName.length > 127) throw new Refusal('EINVAL', 'Attribute failed policy validation')
      else if (begins(verb, 'add')) context.devices.addAltName(device, altName)
      else context.devices.removeAltName(device, altName)
  })
}

// -- what is shown

export function flagsOf(device: Device): string[] {
  const { link } = device
  const flags: [boolean, string][] = [
    [device.loopback, 'LOOPBACK'],
    [!device.loopback && !device.pointToPoint, 'BROADCAST'],
    [device.pointToPoint, 'POINTOPOINT'],
    [link.multicast, 'MULTICAST'],
    [link.noArp, 'NOARP'],
    [link.allMulticast, 'ALLMULTI'],
    [link.promiscuous, 'PROMISC'],
    [link.dynamic, 'DYNAMIC'],
    [link.noTrailers, 'NOTRAILERS'],
    [device.up, 'UP'],
    [device.up, 'LOWER_UP'],
  ]
  return flags.filter(([set]) => set).map(([, name]) => name)
}

/** oper_state_color(). */
const STATE_COLORS: Readonly<Record<string, Color>> = { UP: 'up', DOWN: 'down' }

const stateOf = (device: Device): string =>
  !device.up
    ? 'DOWN'
    : device.link.operState !== null
      ? device.link.operState
      : device.link.mac !== null && !device.loopback
        ? 'UP'
        : 'UNKNOWN'

/** What a device that has never been up, or a loopback device, has for a queueing discipline. */
const qdiscOf = (device: Device): string =>
  !device.link.wasUp ? 'noop' : device.link.noQueue ? 'noqueue' : 'pfifo_fast'

/** print_linkinfo(); false: nothing is to be shown of this device. */
export function printLink(context: IpContext, device: Device): void {
  const { out, options, names } = context
  const { link } = device
  const linkAlone = options.foreign === 'link'
  const told = context.session.links
  const shortened = !linkAlone && context.short
  if (options.brief) {
    out.member('ifname', device.name)
    out.plain(out.paint('name', `${device.name.padEnd(16)} `))
    const state = stateOf(device)
    out.any('operstate', state, out.paint(STATE_COLORS[state] ?? null, `${state.padEnd(14)} `))
    if (linkAlone) {
      if (link.mac !== null) out.any('address', link.mac, out.paint('mac', `${link.mac} `))
      printFlags(context, device)
      out.plain('\n')
    }
    return
  }
  out.any('ifindex', device.index, `${device.index}: `)
  out.any('ifname', device.name, out.paint('name', `${device.name}: `))
  printFlags(context, device)
  out.any('mtu', device.mtu, `mtu ${device.mtu} `)
  if (!shortened) out.any('qdisc', qdiscOf(device), `qdisc ${qdiscOf(device)} `)
  const state = stateOf(device)
  out.any('operstate', state, `state ${out.paint(STATE_COLORS[state] ?? null, `${state} `)}`)
  if (told && !shortened) out.any('linkmode', link.mode, `mode ${link.mode} `)
  if (!shortened) out.any('group', names.group(link.group), `group ${names.group(link.group)} `)
  if (link.txQueueLength !== 0) out.any('txqlen', link.txQueueLength, `qlen ${link.txQueueLength}`)
  if (linkAlone || (options.family === 0 && options.foreign === null) || options.details) {
    out.newline()
    const type = device.loopback ? 'loopback' : link.mac === null ? 'none' : 'ether'
    const shown = names.link(type, device.loopback ? 772 : link.mac === null ? 65534 : 1)
    out.any('link_type', shown, `    link/${shown} `)
    if (link.mac !== null) {
      const broadcast = link.broadcast ?? (device.loopback ? '00:00:00:00:00:00' : 'ff:ff:ff:ff:ff:ff')
      out.any('address', link.mac, out.paint('mac', link.mac))
      if (shortened) out.plain('')
      else if (device.pointToPoint) {
        out.plain(' peer ')
        out.member('link_pointtopoint', true)
      } else out.plain(' brd ')
      if (!shortened) out.any('broadcast', broadcast, out.paint('mac', broadcast))
    }
  }
  if (options.details && !shortened) printDetails(context, device)
  if ((told || options.details) && link.alias !== null && !shortened) {
    out.plain(`${out.lineEnd}    `)
    out.any('ifalias', link.alias, `alias ${link.alias}`)
  }
  if (told && options.stats > 0) {
    out.newline()
    printStatistics(context, device)
  }
  if (!shortened && link.altNames.length > 0) {
    out.member('altnames', [...link.altNames])
    for (const name of link.altNames) out.plain(`${out.lineEnd}    altname ${name}`)
  }
  out.plain('\n')
}

function printFlags(context: IpContext, device: Device): void {
  const { out } = context
  const flags = flagsOf(device)
  out.member('flags', flags)
  out.plain(`<${flags.join(',')}> `)
}

/** What addr_gen_mode says of a device, in words. */
export const ADDRESS_MODES = ['eui64', 'none', 'stable_secret', 'random'] as const

function printDetails(context: IpContext, device: Device): void {
  const { out } = context
  const { link } = device
  const number = (key: string, value: number, text: string): void => out.any(key, value, `${text} ${value} `)
  out.plain(' ')
  number('promiscuity', link.promiscuous ? 1 : 0, 'promiscuity')
  out.plain(' ')
  number('allmulti', link.allMulticast ? 1 : 0, 'allmulti')
  number('min_mtu', device.loopback ? 0 : 68, 'minmtu')
  number('max_mtu', device.loopback ? 0 : 65535, 'maxmtu')
  if (!device.loopback)
    out.object('linkinfo', () => {
      out.newline()
      out.any('info_kind', 'tun', '    tun ')
      out.object('info_data', () => {
        out.any('type', 'tun', 'type tun ')
        out.any('pi', false, 'pi off ')
        out.any('vnet_hdr', false, 'vnet_hdr off ')
        out.member('multi_queue', false)
        out.any('persist', false, 'persist off ')
      })
    })
  const mode = ADDRESS_MODES[context.host.ipv6Devices.addressMode(device)]!
  // What IPv6 has to say of a link (IFLA_AF_SPEC) is missing where there is no IPv6.
  if (context.session.links && ipv6Begun(device)) out.any('inet6_addr_gen_mode', mode, `addrgenmode ${mode} `)
  number('num_tx_queues', 1, 'numtxqueues')
  number('num_rx_queues', 1, 'numrxqueues')
  number('gso_max_size', link.gsoMaxSize, 'gso_max_size')
  number('gso_max_segs', link.gsoMaxSegments, 'gso_max_segs')
  number('tso_max_size', device.loopback ? 524280 : 65536, 'tso_max_size')
  number('tso_max_segs', 65535, 'tso_max_segs')
  number('gro_max_size', link.groMaxSize, 'gro_max_size')
}

/** print_stats64(). */
export function printStatistics(context: IpContext, device: Device): void {
  const { out, options } = context
  const more = options.stats > 1
  // From IPv6 alone the kernel does not say how often the carrier has changed.
  const carrier = options.foreign === 'link' || !context.short
  const rx = [device.rxBytes, device.rxPackets, 0, device.rxDropped, 0, 0]
  const tx = [device.txBytes, device.txPackets, 0, device.txDropped, 0, 0]
  const rxErrors = [0, 0, 0, 0, 0]
  const txErrors = carrier ? [0, 0, 0, 0, 0] : [0, 0, 0, 0]
  if (out.json) {
    out.object('stats64', () => {
      const rows = (keys: string, values: readonly number[]): void => {
        for (const [i, key] of keys.split(' ').entries()) out.member(key, values[i]!)
      }
      out.object('rx', () => {
        rows('bytes packets errors dropped over_errors multicast', rx)
        if (more) rows('length_errors crc_errors frame_errors fifo_errors missed_errors', rxErrors)
      })
      out.object('tx', () => {
        rows('bytes packets errors dropped carrier_errors collisions', tx)
        if (more) rows('aborted_errors fifo_errors window_errors heartbeat_errors', txErrors)
        if (more && carrier) out.member('carrier_changes', 0)
      })
    })
    return
  }
  // Columns as wide as their heads and values; the last is for what no device here counts.
  const widths = [10, 7, 6, 7, 7, 7, 10]
  const size = (row: readonly number[], first: number): void => {
    for (const [i, value] of row.entries())
      widths[first + i] = Math.max(widths[first + i]!, String(value).length)
  }
  size(rx, 0)
  size(tx, 0)
  if (more) {
    size(rxErrors, 1)
    size(txErrors, 1)
  }
  const nl = out.lineEnd
  const cells = (values: readonly (number | string)[], first: number): string =>
    values.map((value, i) => String(value).padStart(widths[first + i]!)).join(' ')
  const block = (side: string, titles: string, values: readonly number[]): void => {
    const [first = '', ...rest] = titles.split(' ')
    out.plain(
      `    ${side}: ${first.padStart(widths[0]! - 4)} ${cells(rest, 1)} ${''.padStart(widths[6]!)}${nl}`,
    )
    out.plain(`    ${cells(values, 0)} `)
  }
  const errors = (side: string, titles: string, values: readonly number[]): void => {
    out.plain(`${nl}    ${side} errors:${''.padStart(widths[0]! - 10)} ${cells(titles.split(' '), 1)}${nl}`)
    out.plain(`${''.padStart(widths[0]! + 5)}${cells(values, 1)} `)
  }
  block('RX', 'bytes packets errors dropped missed mcast', rx)
  if (more) errors('RX', 'length crc frame fifo overrun', rxErrors)
  out.plain(nl)
  block('TX', 'bytes packets errors dropped carrier collsns', tx)
  if (more) errors('TX', `aborted fifo window heartbt ${carrier ? 'transns' : ''}`, txErrors)
}

function showLinks(context: IpContext, line: Line): number {
  context.session.links = true
  const filter = readLinkFilter(context, line, linkUsage)
  const missing = filter.missing === null ? 0 : numberOf(filter.missing)
  if (missing > 0 && filter.group !== null) return noLink(context, line)
  if (filter.missing !== null && missing <= 0) {
    line.warn(`Device "${filter.missing}" does not exist.\n`)
    return 1
  }
  refuseNumber(context, line, filter)
  context.out.list(() => {
    for (const device of context.devices.all()) {
      if (filter.device !== null && device !== filter.device) continue
      if (isLeftOut(device, filter)) continue
      // Asked for by name a link is shown as it is; otherwise what does not fit, or is asked for with a label, leaves an empty
      // object.
      context.out.object(null, () => {
        if (!filter.labelled && fitsState(device, filter)) printLink(context, device)
      })
    }
  })
  return 0
}

/** A link alone is asked for by its name, which `if2` is not. */
export function refuseNumber(context: IpContext, line: Line, { named, group }: LinkFilter): void {
  if (named === null || group !== null || context.devices.byAnyName(named) !== undefined) return
  context.out.list(() => {})
  line.die('RTNETLINK answers: No such device\nCannot send link get request: No such device\n', 1)
}

/** Links and addresses are asked for together, and the kernel knows no such link. */
export function noLink(context: IpContext, line: Line): number {
  line.warn('RTNETLINK answers: No such device\nCannot send link request: No such device\n')
  context.out.list(() => {})
  return 0
}

export interface LinkFilter {
  device: Device | null
  /** The name it was asked for by. */
  named: string | null
  /** A device was named that is not there. */
  missing: string | null
  up: boolean
  group: number | null
  kind: string | null
  master: boolean
  /** A label was asked for, which no link has. */
  labelled?: boolean
}

const isOfKind = (device: Device, kind: string): boolean => kind === 'tun' && !device.loopback

/** What the kernel leaves out of a list: links of another kind that it knows, and without that master. */
export const isLeftOut = (device: Device, { device: named, kind, master }: LinkFilter): boolean =>
  named === null &&
  (master || (kind !== null && isLinkKind(kind) && !kind.endsWith('_slave') && !isOfKind(device, kind)))

/** No link here is a part of another, as `type bridge_slave` asks. */
export const fitsState = (device: Device, f: LinkFilter): boolean =>
  !f.master &&
  (f.kind === null || isOfKind(device, f.kind)) &&
  !(f.up && !device.up) &&
  (f.group === null || f.group === device.link.group)

function readLinkFilter(context: IpContext, line: Line, usage: string): LinkFilter {
  const f: LinkFilter = {
    device: null,
    named: null,
    missing: null,
    up: false,
    group: null,
    kind: null,
    master: false,
  }
  let name: string | null = null
  while (!line.done) {
    const word = line.take()
    if (!linkWord(context, line, word, f) && !addressWord(line, word, f))
      name = deviceWord(line, word, name, usage)
  }
  if (name !== null) {
    f.named = name
    f.device = context.device(name) ?? null
    if (f.device === null) f.missing = name
  }
  return f
}

/** Words of the filter that speak of addresses, which links have not: only a label leaves them all out. */
function addressWord(line: Line, word: string, f: LinkFilter): boolean {
  if (word === 'to') line.prefix(line.next(), 0)
  else if (word === 'label') {
    line.next()
    f.labelled = true
  } else if (word === 'scope') {
    const text = line.next()
    if (line.numbers.scope(text) === null && text !== 'all') line.invalid('invalid "scope"\n', text)
  } else return ADDRESS_FLAGS.has(word.replace(/^-/, ''))
  return true
}

/** Flags of addresses, as words of a filter. */
export const ADDRESS_FLAGS: ReadonlySet<string> = new Set(
  'secondary temporary nodad optimistic dadfailed home deprecated tentative permanent mngtmpaddr noprefixroute autojoin stable-privacy dynamic primary'.split(
    ' ',
  ),
)

/** Words of the filter that speak of links; false if it is none. */
export function linkWord(context: IpContext, line: Line, word: string, f: LinkFilter): boolean {
  if (word === 'up') f.up = true
  else if (word === 'group') f.group = line.named('Invalid "group" value\n', groupNumber)
  else if (word === 'master') {
    const name = line.next()
    if (context.device(name) === undefined && !context.isNobody(name))
      line.invalid('Device does not exist\n', name)
    // -1 asks for links without a master (link_master_filtered).
    f.master = context.device(name) !== undefined || numberOf(name) !== -1
  } else if (word === 'vrf') line.invalid('Not a valid VRF name\n', line.next())
  else if (word === 'nomaster') return true
  else if (word === 'type') f.kind = line.next()
  else return false
  return true
}

export function deviceWord(line: Line, word: string, before: string | null, usage: string): string {
  const name = word === 'dev' ? line.next() : word
  if (word !== 'dev' && begins(word, 'help')) line.die(usage)
  if (before !== null) line.garbage('dev', name)
  return name
}
