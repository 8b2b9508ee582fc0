// ip addr, as ipaddress.c of iproute2 6.1 reads and prints it.

import { type Address, type Device, ipv6Begun, Scope, scopeOf6 } from '../../datapath/devices.ts'
import { FOREVER } from '../../datapath/lifetimes.ts'
import type { Family } from '../../datapath/packet.ts'
import { inPrefix, sameWords } from '../../datapath/route.ts'
import { ANY } from '../host-folder/address.ts'
import { FLAGS, flush, printAddress, save, show } from './ip-address-list.ts'
import { type IpContext, Refusal } from './ip-context.ts'
import { addressUsage } from './ip-usage.ts'
import { type AnyPrefix, begins, type Line, number } from './ip-words.ts'

export function runAddress(context: IpContext, words: readonly string[]): number {
  const line = context.line(words)
  if (line.done) return show(context, line)
  const verb = line.take()
  if (begins(verb, 'add')) return modify(context, line, 'add')
  if (begins(verb, 'change') || verb === 'chg') return modify(context, line, 'change')
  if (begins(verb, 'replace')) return modify(context, line, 'replace')
  if (begins(verb, 'delete')) return modify(context, line, 'delete')
  if (begins(verb, 'list') || begins(verb, 'show') || begins(verb, 'lst')) return show(context, line)
  if (begins(verb, 'flush')) return flush(context, line)
  if (begins(verb, 'save')) return save(context, line)
  if (begins(verb, 'showdump') || begins(verb, 'restore'))
    return line.die(context.foreignDump(`address ${verb}`))
  if (begins(verb, 'help')) return line.die(addressUsage)
  return line.die(`Command "${verb}" is unknown, try "ip address help".\n`)
}

/** What only addresses of IPv6 have, and what nobody may set. */
const V6_FLAGS = new Set(
  'nodad optimistic dadfailed home deprecated tentative permanent mngtmpaddr stable-privacy'.split(' '),
)
const READ_ONLY = new Set(
  'secondary temporary dadfailed deprecated tentative permanent stable-privacy'.split(' '),
)

type Change = 'add' | 'change' | 'replace' | 'delete'

interface Draft {
  family: Family | 0
  local: AnyPrefix | null
  peer: AnyPrefix | null
  /** `+`, `-`, or an address. */
  broadcast: '+' | '-' | number | null
  scope: number | null
  label: string | null
  metric: number
  flags: Set<string>
  valid: number
  preferred: number
}

/** Bytes of a request of ipaddr_modify(), and of them for attributes. */
const REQUEST_SIZE = 280
const REQUEST = REQUEST_SIZE - 24

/** Bytes of an attribute that holds a text. */
const attribute = (text: string): number => (Buffer.byteLength(text, 'latin1') + 1 + 4 + 3) & ~3

function modify(context: IpContext, line: Line, change: Change): number {
  const d: Draft = {
    family: context.options.family,
    local: null,
    peer: null,
    broadcast: null,
    scope: null,
    label: null,
    metric: 0,
    flags: new Set(),
    valid: 0xffff_ffff,
    preferred: 0xffff_ffff,
  }
  let dev: string | null = null
  let localText = ''
  let anycast = false
  /** An attribute without bytes: `any`. */
  let empty = false
  let emptyBroadcast = false
  const lifetimes = new Set<string>()
  const settle = (p: AnyPrefix): void => {
    if (d.family === 0) d.family = p.family
  }
  const lifetimeOf = (key: string, word: string): number => {
    if (lifetimes.has(key)) line.duplicate(key, word)
    lifetimes.add(key)
    const text = line.next()
    return text === 'forever' ? 0xffff_ffff : (number(text) ?? line.invalid(`${key} value`, text))
  }
  while (!line.done) {
    const word = line.take()
    if (word === 'peer' || word === 'remote') {
      const text = line.next()
      if (d.peer?.given) line.duplicate('peer', text)
      d.peer = line.prefix(text, d.family)
      settle(d.peer)
      empty ||= !d.peer.given
    } else if (begins(word, 'broadcast') || word === 'brd') {
      const text = line.next()
      if (d.broadcast !== null) line.duplicate('broadcast', text)
      if (text === '+' || text === '-') d.broadcast = text
      else {
        const found = line.address(text, d.family)
        settle(found)
        if (found.given) d.broadcast = found.words[0]
        else emptyBroadcast = true
      }
    } else if (word === 'anycast') {
      const text = line.next()
      if (anycast) line.duplicate('anycast', text)
      settle(line.address(text, d.family))
      anycast = true
    } else if (word === 'scope') d.scope = line.named('invalid scope value.', line.numbers.scope)
    else if (word === 'dev') dev = line.next()
    else if (word === 'label') {
      const text = line.next()
      // addattr_l(): what does not fit into the request is left out of it.
      const address = d.family === 6 ? 20 : 8
      const said = [
        d.local,
        d.peer,
        typeof d.broadcast === 'number' || null,
        anycast || null,
        d.metric || null,
      ]
      const room = REQUEST - address * said.filter((one) => one !== null).length
      if (attribute(text) > room) line.warn(`addattr_l ERROR: message exceeded bound of ${REQUEST_SIZE}\n`)
      else d.label = text
    } else if (begins(word, 'metric') || begins(word, 'priority') || begins(word, 'preference'))
      d.metric = line.number('"metric" value is invalid\n')
    else if (begins(word, 'valid_lft')) d.valid = lifetimeOf('valid_lft', word)
    else if (begins(word, 'preferred_lft')) d.preferred = lifetimeOf('preferred_lft', word)
    else if (FLAGS.has(word)) {
      if (READ_ONLY.has(word)) line.warn(`Warning: ${word} option is not mutable from userspace\n`)
      else if (V6_FLAGS.has(word) && d.family !== 6)
        line.warn(`Warning: ${word} option can be set only for IPv6 addresses\n`)
      else d.flags.add(word)
    } else {
      const text = word === 'local' ? line.next() : word
      if (begins(text, 'help')) line.die(addressUsage)
      if (d.local?.given) line.garbage('local', text)
      localText = text
      d.local = line.prefix(text, d.family)
      settle(d.local)
      empty ||= !d.local.given
    }
  }
  if (dev === null) {
    line.warn('Not enough information: "dev" argument is required.\n')
    return 1
  }
  let wildcard = false
  if (!d.peer?.given && d.local?.given && change === 'delete' && d.local.family === 4 && !d.local.said) {
    wildcard = true
    line.warn(
      'Warning: Executing wildcard deletion to stay compatible with old scripts.\n' +
        `         Explicitly specify the prefix length (${localText}/32) to avoid this warning.\n` +
        '         This special behaviour is likely to disappear in further releases,\n' +
        '         fix your scripts!\n',
    )
  }
  if ((d.broadcast === '+' || d.broadcast === '-') && change !== 'delete') {
    if (d.family !== 4) {
      line.warn('Broadcast can be set only for IPv4 addresses\n')
      return 1
    }
    // Without an address it has no bytes.
    empty ||= !d.local?.given && !d.peer?.given
  }
  const device = context.device(dev)
  if (device === undefined && !context.isNobody(dev)) return line.noDevice(dev)
  if (lifetimes.size > 0) {
    if (d.valid === 0) {
      line.warn('valid_lft is zero\n')
      return 1
    }
    if (d.valid < d.preferred) {
      line.warn('preferred_lft is greater than valid_lft\n')
      return 1
    }
  }
  if (d.flags.has('autojoin') && !isMulticast(d.local)) {
    line.warn('autojoin needs multicast address\n')
    return 1
  }
  let told: Address | null = null
  const code = context.talk(() => {
    // ifa_ipv6_policy knows no IFA_BROADCAST.
    if ((empty && d.family !== 0) || (emptyBroadcast && d.family === 4))
      throw new Refusal('EINVAL', 'Attribute failed policy validation')
    // ifa_ipv4_policy; IPv6 does not read it.
    if (d.family === 4 && Buffer.byteLength(d.label ?? '') > 15)
      throw new Refusal('ERANGE', 'Attribute failed policy validation')
    if (device === undefined) throw noDeviceFor(d)
    if (change === 'delete') told = remove(context, device, d, wildcard)
    else if (d.family === 6) add6(context, device, d, change)
    else told = add4(context, device, d, change)
  })
  if (code === 0 && context.options.echo) echo(context, device!, told, change === 'delete')
  return code
}

/** The kernel tells of addresses of IPv4 alone. */
function echo(context: IpContext, device: Device, told: Address | null, gone: boolean): void {
  const { out } = context
  out.echo(false, () => {
    if (told === null) return
    if (gone) out.any('deleted', true, 'Deleted ')
    printAddress(context, device, told, true)
  })
}

const isMulticast = (p: AnyPrefix | null): boolean =>
  p !== null && (p.family === 4 ? p.words[0] >>> 28 === 14 : p.words[0] >>> 24 === 0xff)

/** What an address has of the lifetimes that were given; without any it is for ever. */
function lifeOf(context: IpContext, { valid, preferred }: Draft): Pick<Address, 'lifetime' | 'deprecated'> {
  if (valid === FOREVER && preferred === FOREVER) return {}
  const lifetime = { since: context.host.now, valid, preferred }
  return preferred === 0 ? { lifetime, deprecated: true } : { lifetime }
}

/** inet_rtm_newaddr(). */
function add4(context: IpContext, device: Device, d: Draft, change: Change): Address | null {
  if (d.family === 0) throw new Refusal('EOPNOTSUPP')
  if (!d.local?.given) throw new Refusal('EINVAL', 'ipv4: Local address is not supplied')
  const length =
    d.peer?.given && d.peer.length !== 0 ? d.peer.length : d.peer?.given ? d.local.length : d.local.length
  if (device.mtu < 68) throw new Refusal('ENOBUFS')
  const word = d.local.words[0]
  const peer = d.peer?.given ? d.peer.words[0] : word
  let broadcast: number | null = null
  if (d.broadcast === '+' || d.broadcast === '-') {
    // The peer's own length, though the address takes another where that is 0.
    const bits = d.peer?.given ? d.peer.length : length
    const range = bits >= 31 ? 0 : -1 >>> bits
    broadcast = bits > 30 ? null : d.broadcast === '+' ? peer | range : peer & ~range
  } else broadcast = d.broadcast
  const address: Address = {
    family: 4,
    words: [word, 0, 0, 0],
    prefixLength: length,
    broadcast,
    peer: peer === word ? null : peer,
    scope: d.scope ?? (word >>> 24 === 127 ? Scope.Host : Scope.Universe),
    secondary: false,
    label: d.label ?? device.name,
    ...(d.flags.has('noprefixroute') ? { noPrefixRoute: true } : {}),
    ...(d.metric === 0 ? {} : { metric: d.metric }),
    ...(d.flags.has('autojoin') ? { flags: ['autojoin'] } : {}),
    ...lifeOf(context, d),
  }
  const mask = length === 0 ? 0 : -1 << (32 - length)
  const there = device.addresses.find(
    (a) =>
      a.family === 4 &&
      a.prefixLength === length &&
      a.words[0] === word &&
      (((a.peer ?? a.words[0]) ^ peer) & mask) === 0,
  )
  if (there !== undefined) {
    if (change === 'add') throw new Refusal('EEXIST', 'ipv4: Address already assigned')
    const { metric: _, lifetime: _life, deprecated: _deprecated, ...rest } = there
    context.devices.changeAddress(device, there, {
      ...rest,
      ...(d.metric === 0 ? {} : { metric: d.metric }),
      ...lifeOf(context, d),
    })
    return findAddress(device, address)
  }
  // __inet_insert_ifa(): nothing is added, and nothing said.
  if (word === 0) return null
  for (const a of device.addresses)
    if (
      a.family === 4 &&
      !a.secondary &&
      a.prefixLength === length &&
      (((a.peer ?? a.words[0]) ^ peer) & mask) === 0 &&
      a.scope !== address.scope
    )
      throw new Refusal('EINVAL', 'ipv4: Invalid scope value')
  context.devices.addAddress(device, address)
  return findAddress(device, address)
}

const findAddress = (device: Device, { words, prefixLength, peer }: Address): Address | null =>
  device.addresses.find(
    (a) => a.family === 4 && a.words[0] === words[0] && a.prefixLength === prefixLength && a.peer === peer,
  ) ?? null

/** inet6_rtm_newaddr(). */
function add6(context: IpContext, device: Device, d: Draft, change: Change): void {
  if (!d.local?.given && !d.peer?.given) throw new Refusal('EINVAL')
  if (!ipv6Begun(device)) throw new Refusal('EINVAL')
  const length = d.peer?.given && d.peer.length !== 0 ? d.peer.length : (d.local?.length ?? 0)
  const words = d.local?.given ? d.local.words : d.peer!.words
  const said = d.peer?.given && d.local?.given && !sameWords(d.peer.words, words) ? d.peer.words : null
  // `::` is no peer, and takes one away.
  const peer = said !== null && sameWords(said, ANY) ? null : said
  const there = device.addresses.find((a) => a.family === 6 && sameWords(a.words, words))
  const metric = d.metric === 0 ? {} : { metric: d.metric }
  const kept = ['nodad', 'home', 'mngtmpaddr', 'autojoin'].filter((f) => d.flags.has(f))
  const flags = kept.length === 0 ? {} : { flags: kept }
  const managed = d.flags.has('mngtmpaddr')
  if (there !== undefined) {
    if (change === 'add') throw new Refusal('EEXIST', 'ipv6: address already assigned')
    if (managed && there.prefixLength !== 64) throw new Refusal('EINVAL')
    const { flags: _, lifetime: _life, deprecated: _deprecated, ...rest } = there
    const other = said !== null && !sameWords(said, there.peer6 ?? ANY)
    context.devices.changeAddress(device, there, {
      ...rest,
      ...(other ? { peer6: peer } : {}),
      peerRoute: other ? null : there.peerRoute === undefined ? (there.metric ?? 0) : there.peerRoute,
      ...metric,
      ...flags,
      noPrefixRoute: d.flags.has('noprefixroute'),
      ...lifeOf(context, d),
    })
    return
  }
  if (managed && length !== 64)
    throw new Refusal('EINVAL', 'ipv6: address with "mngtmpaddr" flag must have a prefix length of 64')
  if (device.conf6.disabled) throw new Refusal('EACCES', 'ipv6: IPv6 is disabled on this device')
  const top = words[0] >>> 0
  if (top >>> 24 === 0xff && !d.flags.has('autojoin'))
    throw new Refusal(
      'EADDRNOTAVAIL',
      'ipv6: Cannot assign multicast address without "IFA_F_MCAUTOJOIN" flag',
    )
  if (words.every((w) => w === 0)) throw new Refusal('EADDRNOTAVAIL', 'ipv6: Invalid address')
  const loopback = words[0] === 0 && words[1] === 0 && words[2] === 0 && words[3] === 1
  if (loopback && !device.loopback)
    throw new Refusal('EADDRNOTAVAIL', 'ipv6: Cannot assign loopback address on this device')
  context.devices.addAddress(device, {
    family: 6,
    words,
    prefixLength: length,
    broadcast: null,
    peer: null,
    peer6: peer,
    ...(peer === null ? {} : { peerRoute: device.up ? d.metric : null }),
    scope: scopeOf6(words),
    secondary: false,
    label: null,
    ...(d.flags.has('noprefixroute') ? { noPrefixRoute: true } : {}),
    ...metric,
    ...flags,
    ...lifeOf(context, d),
  })
}

/** inet_rtm_deladdr(), inet6_rtm_deladdr(). Gives the IPv4 address that goes first, with what depends on it. */
/** Errors of inet_rtm_newaddr() and inet6_rtm_newaddr(), and of the same that take away, for an interface that is not there. */
function noDeviceFor({ family, local, peer }: Draft): Refusal {
  if (family === 0) return new Refusal('EOPNOTSUPP')
  if (family === 4) return new Refusal('ENODEV', 'ipv4: Device not found')
  if (!local?.given && !peer?.given) return new Refusal('EINVAL')
  return new Refusal('ENODEV', 'ipv6: Unable to find the interface')
}

function remove(context: IpContext, device: Device, d: Draft, wildcard: boolean): Address | null {
  if (d.family === 6) {
    const words = d.local?.given ? d.local.words : d.peer?.words
    if (words === undefined) throw new Refusal('EINVAL')
    if (!ipv6Begun(device)) throw new Refusal('ENXIO', 'ipv6: IPv6 is disabled on this device')
    const length = d.peer?.given && d.peer.length !== 0 ? d.peer.length : (d.local?.length ?? 0)
    const hit = device.addresses.find(
      (a) => a.family === 6 && a.prefixLength === length && sameWords(a.words, words),
    )
    if (hit === undefined) throw new Refusal('EADDRNOTAVAIL', 'ipv6: address not found')
    context.devices.removeAddress(device, hit)
    return null
  }
  if (d.family === 0) throw new Refusal('EOPNOTSUPP')
  const by = d.peer?.given ? d.peer : wildcard ? null : d.local?.given ? d.local : null
  const length = d.peer?.given && d.peer.length !== 0 ? d.peer.length : (d.local?.length ?? 0)
  const hit = device.addresses.find(
    (a) =>
      a.family === 4 &&
      (!d.local?.given || a.words[0] === d.local.words[0]) &&
      (d.label === null || a.label === d.label) &&
      (by === null ||
        (a.prefixLength === length && inPrefix(by.words, a.prefixLength, a.peer ?? a.words[0], 0, 0, 0))),
  )
  if (hit === undefined) throw new Refusal('EADDRNOTAVAIL', 'ipv4: Address not found')
  const before = [...device.addresses]
  context.devices.removeAddress(device, hit)
  return (
    before.find(
      (a) =>
        a !== hit &&
        a.family === 4 &&
        !device.addresses.includes(a) &&
        hit.secondary === false &&
        !device.conf.promoteSecondaries,
    ) ?? hit
  )
}
