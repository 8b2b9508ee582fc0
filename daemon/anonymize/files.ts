// The other files of a host folder. Of what a tool prints, members that tell nothing are copied, those that hold something
// are mapped, and whatever nobody knows here is left out.

import { parse as parseYaml, stringify } from 'yaml'
import { formatAddress } from '../../datapath/wire/address.ts'
import { textOf } from '../bytes.ts'
import { parseEither } from '../host-folder/address.ts'
import { PROTOCOL_NUMBERS, TABLES } from '../host-folder/names.ts'
import type { SourceFile } from '../host-folder/source.ts'
import { readSysctls, sysctlInterface } from '../host-folder/sysctl.ts'
import type { Mapping } from './mapping.ts'

type Json = unknown
type Member = (value: Json, whole: Readonly<Record<string, Json>>, mapping: Mapping) => Json
type Shape = Readonly<Record<string, Member>>

const MAC = /^[0-9a-f]{2}(?::[0-9a-f]{2}){5}$/i

const copy: Member = (value) => value
const copies = (names: string): Shape => Object.fromEntries(names.split(' ').map((name) => [name, copy]))
const iface: Member = (value, _, { names }) =>
  typeof value === 'string' ? names.interface(value) : undefined
/** An address or prefix; words like `default` stay. */
const address: Member = (value, _, { addresses }) =>
  typeof value !== 'string'
    ? undefined
    : (addresses.text(value) ?? (/^[a-z]+$/.test(value) ? value : undefined))
/** Of Ethernet a MAC address, of tunnels one of IP. */
const link: Member = (value, whole, mapping) =>
  typeof value === 'string' && MAC.test(value) ? mapping.macText(value) : address(value, whole, mapping)

const each =
  (shape: Shape): Member =>
  (value, _, mapping) =>
    Array.isArray(value) ? value.map((item) => shaped(item, shape, mapping)) : undefined

const table: Member = (value, _, mapping) => (typeof value === 'string' ? tableName(value, mapping) : value)

/** A name of /etc/iproute2/rt_tables; numbers and the kernel's own are no secret. */
const tableName = (name: string, { names }: Mapping): string =>
  TABLES.has(name) || /^(?:\d+|0x[0-9a-f]+)$/i.test(name) ? name : names.of('table', name)

const ADDRESS: Shape = {
  ...copies(
    'family prefixlen metric scope secondary dynamic tentative dadfailed deprecated temporary noprefixroute mngtmpaddr ' +
      'nodad home optimistic autojoin stable-privacy valid_life_time preferred_life_time',
  ),
  local: address,
  address,
  broadcast: address,
  anycast: address,
  label: iface,
}

const LINK: Shape = {
  altnames: (value, whole, mapping) =>
    Array.isArray(value) ? value.map((one) => iface(one, whole, mapping)) : undefined,
  ...copies(
    'ifindex link_index flags mtu qdisc operstate group txqlen link_type link_netnsid link_pointtopoint',
  ),
  ifname: iface,
  link: iface,
  master: iface,
  address: link,
  broadcast: link,
  permaddr: link,
  addr_info: each(ADDRESS),
}

const HOP: Shape = {
  ...copies('weight flags'),
  gateway: address,
  dev: iface,
  via: (value, _, mapping) => shaped(value, { family: copy, host: address }, mapping),
}

const ROUTE: Shape = {
  ...copies('type tos scope metric flags metrics pref expires error flow'),
  ...HOP,
  dst: address,
  from: address,
  prefsrc: address,
  table,
  protocol: (value) => (PROTOCOL_NUMBERS.has(String(value)) || /^\d+$/.test(String(value)) ? value : 'boot'),
  nexthops: each(HOP),
}

const ruleAddress =
  (length: string): Member =>
  (value, whole, mapping) => {
    const bits = whole[length]
    if (typeof value !== 'string' || typeof bits !== 'number' || value.includes('/'))
      return address(value, whole, mapping)
    const found = parseEither(value)
    if (found === null) return value
    return formatAddress(found.family, mapping.addresses.prefix(found.family, found.words, bits))
  }

const RULE: Shape = {
  ...copies(
    'priority not srclen dstlen tos fwmark fwmask iif_detached oif_detached ipproto sport sport_start sport_end dport ' +
      'dport_start dport_end uid_start uid_end tun_id l3mdev goto unresolved nop action suppress_prefixlen suppress_ifgroup ' +
      'flow_from flow_to',
  ),
  src: ruleAddress('srclen'),
  dst: ruleAddress('dstlen'),
  iif: iface,
  oif: iface,
  table,
}

function shaped(value: Json, shape: Shape, mapping: Mapping): Json {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined
  const whole = value as Record<string, Json>
  return Object.fromEntries(
    Object.entries(whole).flatMap(([key, member]) => {
      const to = Object.hasOwn(shape, key) ? shape[key]!(member, whole, mapping) : undefined
      return to === undefined ? [] : [[key, to]]
    }),
  )
}

/** A list of objects, one a line. */
const list =
  (shape: Shape) =>
  (source: SourceFile, mapping: Mapping): string => {
    const items = each(shape)(JSON.parse(source.text), {}, mapping) as Json[]
    return `[${items.map((item) => JSON.stringify(item)).join(',\n')}]\n`
  }

/** Values that are secrets, or draw from addresses and so mean something else now. */
const SECRET = /(?:\.stable_secret|\.tcp_fastopen_key|\.fib_multipath_hash_seed)$/

function sysctlLines(source: SourceFile, mapping: Mapping): string {
  return readSysctls(source)
    .flatMap(({ name, value }) => {
      const to = sysctl(name, value, mapping)
      return to === null ? [] : [`${to[0]} = ${to[1]}\n`]
    })
    .join('')
}

function sysctl(name: string, value: string, mapping: Mapping): readonly [string, string] | null {
  if (SECRET.test(name)) return null
  const device = sysctlInterface(name)
  const to =
    device === null
      ? name
      : name.replace(
          device.replaceAll('.', '/'),
          mapping.names.interface(device).replaceAll('.', '/').replaceAll('$', '$$$$'),
        )
  return [to, value.replace(/[^\s,;]+/g, (word) => mapping.addresses.text(word) ?? word)]
}

function tableNames(source: SourceFile, mapping: Mapping): string {
  return source.text
    .split('\n')
    .map((line) => line.replace(/#.*/, '').trim().split(/\s+/))
    .map(([number = '', name = '']) => (name === '' ? '' : `${number}\t${tableName(name, mapping)}`))
    .join('\n')
}

/** Names stand in lines of their own; all else is numbers and the tool's words. */
const policies = (source: SourceFile, { names }: Mapping): string =>
  source.text.replace(/^\.(.*) = \{$/gm, (_, name: string) => `.${names.of('policy', textOf(name))} = {`)

/** Public fingerprints; comments may be anybody's. */
const fingerprints = (source: SourceFile): string => source.text.replace(/^#.*$/gm, '#')

// -- host.yaml

/** `ADDRESS/LENGTH` of an interface: an address, though all bits behind the length be zeros. */
function interfaceAddress(word: string, { addresses }: Mapping): string | null {
  const [text = '', length] = word.split('/')
  const to = addresses.text(text)
  return to === null || length === undefined ? to : `${to}/${length}`
}

/** Words of iproute2, each mapped by the one before it. */
function words(text: string, mapping: Mapping, read = prefixText): string {
  let before = ''
  return text.replace(/\S+/g, (word) => {
    const last = before
    before = word
    if (['dev', 'iif', 'oif', 'label'].includes(last)) return mapping.names.interface(word)
    if (['table', 'lookup'].includes(last)) return tableName(word, mapping)
    return read(word, mapping) ?? word
  })
}

const prefixText = (word: string, { addresses }: Mapping): string | null => addresses.text(word)

const lines =
  (read: typeof prefixText): Member =>
  (value, _, mapping) =>
    Array.isArray(value)
      ? value.map((one) => (typeof one === 'string' ? words(one, mapping, read) : one))
      : typeof value === 'string'
        ? words(value, mapping, read)
        : value

const inWords = lines(prefixText)
const ownAddresses = lines(interfaceAddress)

const namespace: Member = (value, _, { names }) =>
  typeof value === 'string' ? names.of('netns', value.replace(/^.*\//, '')) : undefined

const DEVICE: Shape = { namespace, name: iface, offload: copy, peer: ownAddresses, routes: inWords }

const device: Member = (value, whole, mapping) =>
  typeof value === 'string'
    ? mapping.names.interface(value)
    : value === null
      ? null
      : (shaped(value, DEVICE, mapping) ?? iface(value, whole, mapping))

const PORT: Shape = { tun: device, raw: device, capture: device }

const port: Member = (value, _, mapping) => (typeof value === 'string' ? value : shaped(value, PORT, mapping))

const INTERFACE: Shape = {
  ...copies('mtu up group point_to_point'),
  addresses: ownAddresses,
  mac: link,
  port,
}

/** A mapping from names that are mapped, too. */
const byName =
  (name: (key: string, mapping: Mapping) => string, member: Member): Member =>
  (value, whole, mapping) =>
    value === null || value === undefined
      ? value
      : Object.fromEntries(
          Object.entries(value as Record<string, Json>).map(([key, one]) => [
            name(key, mapping),
            one === null ? null : member(one, whole, mapping),
          ]),
        )

const YAML: Shape = {
  interfaces: byName(
    (name, { names }) => names.interface(name),
    (value, _, mapping) => shaped(value, INTERFACE, mapping),
  ),
  local: port,
  routes: inWords,
  rules: inWords,
  sysctls: (value, _, mapping) =>
    Object.fromEntries(
      Object.entries((value ?? {}) as Record<string, Json>).flatMap(([name, one]) => {
        const plain = sysctl(name, String(one), mapping)
        return plain === null ? [] : [[plain[0], typeof one === 'string' ? plain[1] : one]]
      }),
    ),
}

const hostYaml = (source: SourceFile, mapping: Mapping): string => {
  const value = parseYaml(source.text) as Json
  return value === null ? '' : stringify(shaped(value, YAML, mapping))
}

/** What becomes of a file that has been read without complaint. */
export const FILES: Readonly<Record<string, (source: SourceFile, mapping: Mapping) => string>> = {
  'ip-addr.json': list(LINK),
  'ip-route.json': list(ROUTE),
  'ip6-route.json': list(ROUTE),
  'ip-rule.json': list(RULE),
  'ip6-rule.json': list(RULE),
  sysctl: sysctlLines,
  rt_tables: tableNames,
  'nfct-timeout': policies,
  'pf.os': fingerprints,
  'host.yaml': hostYaml,
}

/** Files whose characters are bytes. */
export const BYTES: ReadonlySet<string> = new Set(['nfct-timeout', 'pf.os'])
