// owner: who owns the socket that sent a packet (libxt_owner of iptables 1.8.9, owner_mt() of xt_owner.c).
//
// Here no process sends packets: what the host makes itself comes from the kernel's own sockets, which exist but
// belong to no file and so to no user, and the RST of a REJECT rule and forwarded packets come from none. What is
// left of the match are constants; an option that asks for a user fits only inverted.

import type { Match } from '../extension.ts'
import { bits } from '../layout.ts'
import { OptionError, WholeError } from '../options.ts'
import { strtoul } from '../text/numbers.ts'
import { printRange as colonRange, type Range, words } from './parts.ts'

export interface IdRange {
  readonly range: Range
  readonly invert: boolean
}

/** Null: not asked. */
export interface Owner {
  readonly uid: IdRange | null
  readonly gid: IdRange | null
  /** With --gid-owner: supplementary groups count. */
  readonly supplementary: boolean
  readonly socket: { readonly invert: boolean } | null
}

/** Names of users and groups on the machine of the command; nobody but the daemon knows more than root. */
export interface Accounts {
  id(kind: 'user' | 'group', name: string): number | null
  name(kind: 'user' | 'group', id: number): string | null
}

const rootOnly: Accounts = {
  id: (_, name) => (name === 'root' ? 0 : null),
  name: (_, id) => (id === 0 ? 'root' : null),
}

let accounts = rootOnly

/** Puts another list of users and groups in force; null: only root is known. */
export function setAccounts(known: Accounts | null): void {
  accounts = known ?? rootOnly
}

const NO_ID = 0xffffffff

function parseIds(text: string, kind: 'user' | 'group', flag: string): Range {
  const named = accounts.id(kind, text)
  if (named !== null) return [named, named]
  const bad = (): never => {
    throw new OptionError(`owner: Bad value for "--${flag}" option: "${text}"`)
  }
  const from = strtoul(text, 0, NO_ID - 1) ?? bad()
  if (from.end === text.length) return [from.value, from.value]
  if (text[from.end] !== '-' && text[from.end] !== ':') bad()
  const rest = text.slice(from.end + 1)
  const to = strtoul(rest, 0, NO_ID - 1) ?? bad()
  if (to.end !== rest.length) bad()
  return [from.value, to.value]
}

const format = (range: Range): string => colonRange(range).replace(':', '-')

const listIds = (ids: IdRange | null, what: 'UID' | 'GID', numeric: boolean): string => {
  if (ids === null) return ''
  const [min, max] = ids.range
  const name = numeric || min !== max ? null : accounts.name(what === 'UID' ? 'user' : 'group', min)
  return `${ids.invert ? '! ' : ''}owner ${what} match ${name ?? format(ids.range)}`
}

/** XT_OWNER_UID, _GID, _SOCKET: what is asked and not inverted can only fit a packet with an owner. */
const wantsOwner = (m: Owner): boolean => m.uid?.invert === false || m.gid?.invert === false

export const owner: Match<Owner> = {
  kind: 'match',
  name: 'owner',
  revision: 1,
  families: [4, 6],
  layout: {
    size: 24,
    fields: ({ uid, gid, supplementary, socket }) => [
      [0, 4, uid?.range[0] ?? 0],
      [4, 4, uid?.range[1] ?? 0],
      [8, 4, gid?.range[0] ?? 0],
      [12, 4, gid?.range[1] ?? 0],
      [16, 1, bits(uid !== null, gid !== null, socket !== null, supplementary)],
      [17, 1, bits(uid?.invert, gid?.invert, socket?.invert)],
    ],
  },
  chains: ['OUTPUT', 'POSTROUTING'],
  options: [
    { flag: 'uid-owner', invertible: true },
    { flag: 'gid-owner', invertible: true },
    { flag: 'socket-exists', arg: 'none', invertible: true },
    { flag: 'suppl-groups', arg: 'none' },
  ],
  help: `owner match options:
[!] --uid-owner userid[-userid]      Match local UID
[!] --gid-owner groupid[-groupid]    Match local GID
[!] --socket-exists                  Match if socket exists
    --suppl-groups                   Also match supplementary groups set with --gid-owner
`,
  parse(o) {
    const order = o.given()
    if (o.has('suppl-groups') && !order.slice(0, order.indexOf('suppl-groups')).includes('gid-owner'))
      throw new OptionError(
        'owner: Bad value for "--suppl-groups" option: "you need to use --gid-owner first"',
      )
    const ids = (flag: string, kind: 'user' | 'group'): IdRange | null =>
      o.has(flag) ? { range: parseIds(o.text(flag), kind, flag), invert: o.inverted(flag) } : null
    if (!['uid-owner', 'gid-owner', 'socket-exists'].some((flag) => o.has(flag)))
      throw new WholeError('owner: At least one of --uid-owner, --gid-owner or --socket-exists is required')
    return {
      uid: ids('uid-owner', 'user'),
      gid: ids('gid-owner', 'group'),
      supplementary: o.has('suppl-groups'),
      socket: o.has('socket-exists') ? { invert: o.inverted('socket-exists') } : null,
    }
  },
  print(m) {
    const ids = (test: IdRange | null, flag: string): string =>
      test === null ? '' : `${test.invert ? '! ' : ''}--${flag} ${format(test.range)}`
    return words(
      m.socket === null ? '' : `${m.socket.invert ? '! ' : ''}--socket-exists`,
      ids(m.uid, 'uid-owner'),
      ids(m.gid, 'gid-owner'),
      m.supplementary ? '--suppl-groups' : '',
    )
  },
  list: (m, numeric) =>
    words(
      m.socket === null ? '' : `${m.socket.invert ? '! ' : ''}owner socket exists`,
      listIds(m.uid, 'UID', numeric),
      listIds(m.gid, 'GID', numeric),
      m.supplementary ? 'incl. suppl. groups' : '',
    ),
  check: (m) =>
    [m.uid, m.gid].some((ids) => ids !== null && ids.range[0] > ids.range[1])
      ? 'owner: range is reversed'
      : null,
  reads: ['protocol'],
  emit(m, js) {
    if (wantsOwner(m)) return js`false`
    if (m.socket === null) return js`true`
    return m.socket.invert ? js`!pkt.local || pkt.socketless` : js`pkt.local && !pkt.socketless`
  },
}
