// ip addr show, flush and save: which addresses are meant, and how ipaddress.c of iproute2 6.1 prints one.

import { type Address, type Device, isTentative } from '../../datapath/devices.ts'
import type { Words } from '../../datapath/fib.ts'
import { FOREVER, isPermanent, lifeLeft } from '../../datapath/lifetimes.ts'
import { inPrefix } from '../../datapath/route.ts'
import { formatAddress } from '../../datapath/wire/address.ts'
import { type IpContext, numberOf } from './ip-context.ts'
import {
  deviceWord,
  fitsState,
  isLeftOut,
  type LinkFilter,
  linkWord,
  noLink,
  printLink,
  printStatistics,
  refuseNumber,
} from './ip-link.ts'
import { addressUsage } from './ip-usage.ts'
import type { AnyPrefix, Line } from './ip-words.ts'

interface AddressFilter extends LinkFilter {
  to: AnyPrefix | null
  scope: number | null
  label: RegExp | null
  /** Flags that must and must not be set. */
  set: Set<string>
  clear: Set<string>
}

/** In the order in which they are printed. */
export const FLAGS = new Set(
  'secondary temporary nodad optimistic dadfailed home deprecated tentative permanent mngtmpaddr noprefixroute autojoin stable-privacy'.split(
    ' ',
  ),
)

const flagsOf = (a: Address): Set<string> =>
  new Set([
    ...(isPermanent(a) ? ['permanent'] : []),
    ...(a.deprecated ? ['deprecated'] : []),
    ...(a.secondary ? ['secondary'] : []),
    ...(a.noPrefixRoute ? ['noprefixroute'] : []),
    ...(isTentative(a) ? ['tentative'] : []),
    ...(a.flags ?? []),
  ])

function flagWord(word: string, f: AddressFilter): boolean {
  let off = word.startsWith('-')
  let name = off ? word.slice(1) : word
  if (name === 'dynamic') {
    off = !off
    name = 'permanent'
  } else if (name === 'primary') {
    off = !off
    name = 'secondary'
  }
  if (!FLAGS.has(name)) return false
  if (name === 'temporary') name = 'secondary'
  f.set.delete(name)
  f.clear.delete(name)
  ;(off ? f.clear : f.set).add(name)
  return true
}

/** fnmatch(3): `*`, `?`, sets, and backslashes that take the next character for itself. */
function glob(pattern: string): RegExp {
  const text = pattern.replace(/\\(.)|\[([!^]?)(\]?[^\]]*)\]|[*?]|[^\w]/gs, (all, one, not, set) => {
    if (one !== undefined) return `\\x${one.charCodeAt(0).toString(16).padStart(2, '0')}`
    if (set !== undefined) return `[${not === '' ? '' : '^'}${set.replace(/[\]\\[]/g, '\\$&')}]`
    return all === '*' ? '.*' : all === '?' ? '.' : `\\${all}`
  })
  try {
    return new RegExp(`^${text}$`, 's')
  } catch {
    return /^$/
  }
}

function readFilter(context: IpContext, line: Line): AddressFilter {
  const f: AddressFilter = {
    device: null,
    named: null,
    missing: null,
    up: false,
    group: null,
    kind: null,
    master: false,
    to: null,
    scope: null,
    label: null,
    set: new Set(),
    clear: new Set(),
  }
  let name: string | null = null
  while (!line.done) {
    const word = line.take()
    if (word === 'to') {
      f.to = line.prefix(line.next(), context.options.family)
      if (context.options.family === 0) context.options.family = f.to.family
    } else if (word === 'scope') {
      const text = line.next()
      f.scope = line.numbers.scope(text)
      if (f.scope === null && text !== 'all') line.invalid('invalid "scope"\n', text)
    } else if (word === 'label') f.label = glob(line.next())
    else if (!flagWord(word, f) && !linkWord(context, line, word, f))
      name = deviceWord(line, word, name, addressUsage)
  }
  if (name !== null) {
    f.named = name
    f.device = context.device(name) ?? null
    if (f.device === null) f.missing = name
    context.short = false
  }
  return f
}

function fits(context: IpContext, device: Device, a: Address, f: AddressFilter): boolean {
  const { family } = context.options
  if (family !== 0 && a.family !== family) return false
  if (f.scope !== null && a.scope !== f.scope) return false
  const flags = flagsOf(a)
  for (const flag of f.set) if (!flags.has(flag)) return false
  for (const flag of f.clear) if (flags.has(flag)) return false
  if (f.label !== null && !f.label.test(a.label ?? device.name)) return false
  return (
    f.to === null ||
    f.to.family === 0 ||
    (f.to.family === a.family && inPrefix(f.to.words, f.to.length, ...a.words))
  )
}

const inOrder = (device: Device): Address[] => [
  ...device.addresses.filter((a) => a.family === 4),
  ...device.addresses.filter((a) => a.family === 6),
]

export function show(context: IpContext, line: Line): number {
  const { out, options, devices } = context
  // The family that was said in front, not that of a prefix behind `to`.
  const preferred = options.family
  const asked = readFilter(context, line)
  // The tool does not look at links when addresses of a label are asked for.
  const filter = asked.label === null ? asked : { ...asked, kind: null, master: false, group: null }
  if (filter.missing !== null) {
    if (numberOf(filter.missing) > 0) return noLink(context, line)
    line.warn(`Device "${filter.missing}" does not exist.\n`)
    return 1
  }
  // Behind `ip link show` in a batch a link that is named is asked for alone, and with it come no addresses.
  const alone = context.session.links && filter.group === null ? filter.device : null
  if (alone !== null) {
    refuseNumber(context, line, filter)
    out.list(() =>
      out.object(null, () => {
        if (fitsState(alone, filter) && filter.label === null) printLink(context, alone)
      }),
    )
    return 0
  }
  const linkAlone = options.foreign === 'link'
  out.list(() => {
    if (options.foreign !== null && !linkAlone) return
    for (const device of devices.all()) {
      if (filter.device !== null && device !== filter.device) continue
      // The kernel leaves out links of another kind, unless they are asked for from one family.
      if (preferred === 0 && isLeftOut(device, asked)) continue
      const all = linkAlone ? [] : inOrder(device)
      const wanted = all.filter((a) => fits(context, device, a, filter))
      if (wanted.length === 0 && !(all.length === 0 && options.family === 0)) continue
      out.object(null, () => {
        // From IPv6 the kernel says nothing of kinds and groups: none is of a kind, and all of any group.
        const shown = context.short
          ? fitsState(device, { ...filter, group: null }) && filter.kind === null
          : fitsState(device, filter)
        const withLink = options.brief || !options.oneline || linkAlone
        if (withLink && !shown) return
        // With a label in the filter the link itself is passed over.
        if (withLink && filter.label === null) printLink(context, device)
        if (!linkAlone) {
          out.array('addr_info', () => {
            for (const a of all) {
              if (options.family !== 0 && a.family !== options.family) continue
              if (filter.up && !device.up) continue
              out.object(null, () => {
                if (fits(context, device, a, filter))
                  printAddress(context, device, a, options.oneline || options.echo)
              })
            }
          })
          if (options.brief) out.plain('\n')
        }
        // Behind `ip link` in a batch they stand with the link.
        const later = !context.session.links && !options.brief && options.stats > 0
        if (withLink && filter.label === null && later) {
          printStatistics(context, device)
          // -oneline, which has links with -0 alone, does not end the line here.
          out.plain(out.lineEnd)
        }
      })
    }
  })
  return 0
}

/** print_addrinfo(). */
export function printAddress(context: IpContext, device: Device, a: Address, named: boolean): void {
  const { out, options, names } = context
  if (!options.brief) {
    if (named) {
      out.member('index', device.index)
      out.member('dev', device.name)
      out.plain(`${device.index}: ${device.name}`)
    }
    out.any('family', a.family === 4 ? 'inet' : 'inet6', `    ${a.family === 4 ? 'inet' : 'inet6'} `)
  }
  const color = a.family === 4 ? 'inet' : 'inet6'
  const local = formatAddress(a.family, a.words)
  out.any('local', local, out.paint(color, local))
  const peer = peerOf(a)
  if (peer !== null) {
    out.plain(' peer ')
    const text = formatAddress(a.family, peer)
    out.any('address', text, out.paint(color, text))
  }
  out.any('prefixlen', a.prefixLength, `/${a.prefixLength} `)
  if (a.metric) out.any('metric', a.metric, `metric ${a.metric} `)
  if (options.brief) return
  if (a.broadcast !== null && a.broadcast !== 0) {
    const text = formatAddress(4, [a.broadcast, 0, 0, 0])
    out.plain('brd ')
    out.any('broadcast', text, out.paint(color, `${text} `))
  }
  out.any('scope', names.scope(a.scope), `scope ${names.scope(a.scope)} `)
  const flags = flagsOf(a)
  for (const flag of FLAGS)
    if (flag === 'permanent') {
      if (!flags.has(flag)) out.any('dynamic', true, 'dynamic ')
    } else if (flags.has(flag)) out.any(flag, true, `${flag} `)
  if (a.family === 4 && a.label !== null) out.any('label', a.label, a.label)
  out.newline()
  const { valid, preferred } = lifeLeft(a, context.host.now)
  const seconds = (n: number): string => (n === FOREVER ? 'forever' : `${n}sec`)
  out.plain(`       valid_lft ${seconds(valid)} preferred_lft ${seconds(preferred)}`)
  out.member('valid_life_time', valid)
  out.member('preferred_life_time', preferred)
  out.plain('\n')
}

/** inet_fill_ifaddr(): a peer of zeros is not told of. */
const peerOf = (a: Address): Words | null =>
  a.family === 6 ? (a.peer6 ?? null) : a.peer ? [a.peer, 0, 0, 0] : null

export function flush(context: IpContext, line: Line): number {
  const { out, options, devices } = context
  if (line.done) {
    line.warn('Flush requires arguments.\n')
    return 1
  }
  if (options.foreign === 'link') {
    line.warn('Cannot flush link addresses.\n')
    return 1
  }
  const filter = readFilter(context, line)
  if (filter.missing !== null) {
    const known = numberOf(filter.missing) > 0
    // In a batch the tool sorts out itself whose addresses they are.
    if (known && !context.strict) return 0
    line.warn(
      known
        ? 'RTNETLINK answers: No such device\nFlush terminated\n'
        : `Device "${filter.missing}" does not exist.\n`,
    )
    return 1
  }
  const onePass = filter.clear.has('secondary') || filter.set.has('secondary')
  let round = 0
  for (;;) {
    if (options.foreign !== null) break
    const gone: [Device, Address][] = []
    for (const device of filter.device === null ? devices.all() : [filter.device])
      for (const a of inOrder(device)) if (fits(context, device, a, filter)) gone.push([device, a])
    // rtnl_addrdump_req() asks for one family after the other.
    gone.sort((x, y) => x[1].family - y[1].family)
    if (gone.length === 0) break
    round++
    for (const [device, a] of gone) if (options.stats > 1) printAddress(context, device, a, true)
    for (const [device, a] of gone) if (device.addresses.includes(a)) devices.removeAddress(device, a)
    if (options.stats > 0) out.raw(`\n*** Round ${round}, deleting ${gone.length} addresses ***\n`)
    if (onePass && !filter.set.has('secondary')) break
    if (options.maxLoops !== 0 && round >= options.maxLoops) {
      line.warn(`*** Flush remains incomplete after ${round} rounds. ***\n`)
      return 255
    }
  }
  if (options.stats > 0)
    out.raw(
      round === 0
        ? 'Nothing to flush.\n'
        : `*** Flush is complete after ${round} round${round > 1 ? 's' : ''} ***\n`,
    )
  return 0
}

/** Differs from Linux: what is right is refused. */
export function save(context: IpContext, line: Line): number {
  const { missing } = readFilter(context, line)
  if (missing === null) return line.die("ip address save: the binary form is the kernel's; use ip -j addr\n")
  if (numberOf(missing) <= 0) return line.fail(`Device "${missing}" does not exist.\n`, 1)
  context.saveMagic('address')
  return line.fail('RTNETLINK answers: No such device\nSave terminated\n', 1)
}
