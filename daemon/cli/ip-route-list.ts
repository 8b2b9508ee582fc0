// ip route show, flush and save: the routes that a filter lets pass (iproute_list_flush_or_save() of iproute2 6.1).

import { type Route, type RoutePrefix, RouteType, Table, type Words } from '../../datapath/fib.ts'
import type { Family } from '../../datapath/packet.ts'
import { inPrefix } from '../../datapath/route.ts'
import { ANY } from '../host-folder/address.ts'
import type { IpContext } from './ip-context.ts'
import { type Filter, NO_FILTER, printRoute } from './ip-route-print.ts'
import { routeUsage } from './ip-usage.ts'
import {
  type AnyPrefix,
  begins,
  isForeign,
  type Line,
  protocolText,
  routeType,
  tableNumber,
} from './ip-words.ts'

export function listRoutes(context: IpContext, line: Line, action: 'show' | 'flush' | 'save'): number {
  let family: Family | 0 = context.options.family
  const f: Filter = { ...NO_FILTER, table: Table.Main }
  const flush = action === 'flush'
  if (action === 'save') context.saveMagic('route')
  if (flush && line.done) {
    line.warn('"ip route flush" requires arguments.\n')
    return 1
  }
  let oif: string | null = null
  let iif: string | null = null
  /** `any` and `all` ask nothing, unless a family was said. */
  const prefix = (text: string): AnyPrefix | null =>
    (text === 'any' || text === 'all') && family === 0 && context.options.foreign === null
      ? null
      : line.prefix(text, family)
  while (!line.done) {
    const word = line.take()
    if (begins(word, 'table')) {
      const text = line.next()
      const id = tableNumber(text)
      if (id !== null) f.table = id
      else if (text === 'all') f.table = 0
      else if (text === 'cache') f.cloned = true
      else if (text === 'help') line.die(routeUsage)
      else line.invalid('table id value is invalid\n', text)
    } else if (begins(word, 'vrf')) line.invalid('Invalid VRF\n', line.next())
    else if (begins(word, 'cached') || begins(word, 'cloned')) f.cloned = true
    else if (word === 'tos' || begins(word, 'dsfield'))
      f.tos = line.named('TOS value is invalid\n', line.numbers.tos)
    else if (begins(word, 'protocol')) {
      const text = line.next()
      const found = line.numbers.protocol(text)
      if (found === null && text !== 'all') line.invalid('invalid "protocol"\n', text)
      f.protocolSaid = found !== null
      f.protocol = found === null ? null : protocolText(found)
    } else if (begins(word, 'scope')) {
      const text = line.next()
      f.scope = line.numbers.scope(text)
      if (f.scope === null && text !== 'all') line.invalid('invalid "scope"\n', text)
      f.scopeSaid = f.scope !== null
    } else if (begins(word, 'type')) f.type = line.named('node type value is invalid\n', routeType)
    else if (word === 'dev' || word === 'oif') oif = line.next()
    else if (word === 'iif') iif = line.next()
    else if (word === 'mark') f.mark = line.number('invalid mark value')
    else if (begins(word, 'metric') || begins(word, 'priority') || word === 'preference')
      f.metric = line.number('"metric" value is invalid\n')
    else if (word === 'via') {
      const text = line.next()
      if (isForeign(text)) f.via = line.foreignPrefix(line.next(), text)
      else {
        const said = text === 'inet' ? 4 : text === 'inet6' ? 6 : 0
        f.via = line.prefix(said === 0 ? text : line.next(), said === 0 ? family : said)
      }
    } else if (word === 'src') f.source = line.prefix(line.next(), family)
    else if (begins(word, 'realms')) {
      const text = line.next()
      const found = line.numbers.realms(text) ?? line.invalid('invalid realms\n', text)
      f.realm = found
      f.realmMask = 0xffff_ffff
      if ((found & 0xffff) === 0 && text.endsWith('/')) f.realmMask &= ~0xffff
      if (found >>> 16 === 0 && (!text.includes('/') || text.startsWith('/'))) f.realmMask &= 0xffff
    } else if (begins(word, 'from')) {
      const text = line.next()
      const named = begins(text, 'root') || begins(text, 'match') || begins(text, 'exact')
      const source = prefix(named ? line.next() : text)
      if (!begins(text, 'match')) f.fromRoot = source
      if (!begins(text, 'root')) f.fromMatch = source
    } else {
      const text = begins(word, 'to') ? line.next() : word
      if (begins(text, 'root')) f.root = prefix(line.next())
      else if (begins(text, 'match')) f.match = prefix(line.next())
      else {
        f.match = prefix(begins(text, 'exact') ? line.next() : text)
        f.root = f.match
      }
    }
  }
  const { foreign } = context.options
  if (family === 0 && f.table !== 0) family = 4
  if (iif !== null) {
    f.iif = context.device(iif) ?? null
    if (f.iif === null && !context.isNobody(iif)) return line.noDevice(iif)
    f.noSuchIif = f.iif === null
  }
  if (oif !== null) {
    f.oif = context.device(oif) ?? null
    if (f.oif === null && !context.isNobody(oif)) return line.noDevice(oif)
    f.noSuchOif = f.oif === null
  }
  const families: readonly Family[] = foreign !== null ? [] : family === 0 ? [4, 6] : [family]
  if (flush) return flushRoutes(context, line, families, f)
  const code = showRoutes(context, line, families, f, action === 'save')
  // Differs from Linux: what is right is refused.
  if (action === 'save' && code === 0)
    line.die("ip route save: the binary form is the kernel's; use ip -j route\n")
  return code
}

/** The table that is asked for does not exist: the kernel's dump ends with an error. */
function missingTable(context: IpContext, family: Family, id: number): boolean {
  return context.strict && id !== 0 && !context.host.fib.hasTable(family, id)
}

function selected(context: IpContext, families: readonly Family[], f: Filter): Route[] {
  const { fib } = context.host
  if (f.cloned) return []
  if (f.noSuchIif || f.noSuchOif) return []
  return families.flatMap((family) =>
    fib
      .routes(family, f.table === 0 ? undefined : f.table)
      .filter((route) => passes(route, f) && !isHidden(family, route, f)),
  )
}

/**
 * filter_nlmsg() of iproute2 takes an IPv6 host that shows the main table alone for one without others, whose local routes are
 * not told apart from it.
 */
const isHidden = (family: Family, { type }: Route, { table }: Filter): boolean =>
  family === 6 && table === Table.Main && type === RouteType.Local

/** `silent`: only what the kernel refuses. */
function showRoutes(
  context: IpContext,
  line: Line,
  families: readonly Family[],
  f: Filter,
  silent: boolean,
): number {
  const { out } = context
  if (f.noSuchOif && context.strict) {
    out.broken()
    line.warn('RTNETLINK answers: No such device\nDump terminated\n')
    return 2
  }
  const refused = families.find((family) => missingTable(context, family, f.table))
  if (refused !== undefined && !(f.table === Table.Main)) {
    out.broken()
    line.warn(`Error: ipv${refused}: FIB table does not exist.\nDump terminated\n`)
    return 2
  }
  if (silent) return 0
  out.list(() => {
    for (const route of selected(context, families, f)) out.object(null, () => printRoute(context, route, f))
  })
  return 0
}

function flushRoutes(context: IpContext, line: Line, families: readonly Family[], f: Filter): number {
  const { out, options } = context
  const onlyIpv6 = families.length === 1 && families[0] === 6
  if (f.cloned) {
    // iproute_flush_cache()
    if (!onlyIpv6) context.devices.touch()
    if (!onlyIpv6 && options.stats > 0) out.raw('*** IPv4 routing cache is flushed.\n')
    if (families[0] === 4) return 0
  }
  if (f.noSuchOif && context.strict) {
    line.warn('RTNETLINK answers: No such device\nFlush terminated\n')
    return 2
  }
  const refused = families.find((family) => missingTable(context, family, f.table))
  if (refused !== undefined) {
    line.warn(`Error: ipv${refused}: FIB table does not exist.\nFlush terminated\n`)
    return 2
  }
  let round = 0
  for (;;) {
    const gone = selected(context, families, f)
    if (gone.length === 0) break
    round++
    if (options.stats > 1) for (const route of gone) printRoute(context, route, f)
    for (const route of gone) context.host.fib.removeRoute(route)
    if (options.stats > 0) out.raw(`\n*** Round ${round}, deleting ${gone.length} entries ***\n`)
  }
  if (options.stats > 0)
    out.raw(
      round === 0 && (!f.cloned || onlyIpv6)
        ? 'Nothing to flush.\n'
        : `*** Flush is complete after ${round} round${round > 1 ? 's' : ''} ***\n`,
    )
  return 0
}

const EVERYTHING: RoutePrefix = { words: ANY, prefixLength: 0 }

/** A prefix of a route is no wider than `root` and no narrower than `match`. */
function isWithin(
  family: Family,
  words: Words,
  length: number,
  root: AnyPrefix | null,
  match: AnyPrefix | null,
): boolean {
  if (root !== null) {
    if (root.family !== 0 && root.family !== family) return false
    if (root.length > length || !inPrefix(root.words, root.length, ...words)) return false
  }
  if (match !== null) {
    if (match.family !== 0 && match.family !== family) return false
    if (match.length < length || !inPrefix(words, length, ...match.words)) return false
  }
  return true
}

function passes(r: Route, f: Filter): boolean {
  if (f.protocolSaid && r.protocol !== f.protocol) return false
  if (f.scopeSaid && r.scope !== f.scope) return false
  if (f.type !== null && r.type !== f.type) return false
  if (f.tos !== null && r.tos !== f.tos) return false
  if (f.metric !== null && r.metric !== f.metric) return false
  // No route has either of these.
  if (f.iif !== null || f.mark !== 0) return false
  if (!isWithin(r.family, r.dst, r.prefixLength, f.root, f.match)) return false
  const { words, prefixLength } = r.from ?? EVERYTHING
  if (!isWithin(r.family, words, prefixLength, f.fromRoot, f.fromMatch)) return false
  if (f.via?.foreign !== undefined) return false
  if (f.via !== null && f.via.family !== 0) {
    const via6 = r.family === 4 ? r.extras?.via6 : undefined
    if (f.via.family !== (via6 ? 6 : r.family)) return false
    if (!inPrefix(f.via.words, f.via.length, ...(via6 ?? r.gateway ?? ANY))) return false
  }
  if (f.source !== null && f.source.family !== 0) {
    if (f.source.family !== r.family || !inPrefix(f.source.words, f.source.length, ...(r.source ?? ANY)))
      return false
  }
  if (f.realmMask !== 0 && ((r.realm ^ f.realm!) & f.realmMask) !== 0) return false
  if (f.oif !== null) {
    // Routes of several next hops have no RTA_OIF.
    if (r.nexthops !== null) return false
    if (r.device !== f.oif) return false
  }
  return true
}
