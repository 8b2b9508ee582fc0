// CT and NOTRACK: what the tracker shall do with a packet that it has not seen yet (libxt_CT of iptables 1.8.9,
// xt_ct_target() of xt_CT.c).

import { Conntrack } from '../../conntrack/conntrack.ts'
import { HELPERS } from '../../conntrack/helpers/index.ts'
import type { TimeoutPolicies } from '../../conntrack/timeouts.ts'
import { CtInfo, type CtTemplate } from '../../datapath/packet.ts'
import type { Code, Js } from '../compile/template.ts'
import type { CheckContext, Refusal, Target } from '../extension.ts'
import { bits, type Field, nameField } from '../layout.ts'
import { cutBytes } from '../matches/comment.ts'
import { words } from '../matches/parts.ts'
import { OptionError, type Options } from '../options.ts'
import { wholeNumber } from '../text/numbers.ts'

export interface Ct {
  readonly notrack: boolean
  readonly zone: number
  readonly zoneFromMark: boolean
  /** XT_CT_ZONE_DIR_*: 1 original, 2 reply; none means both. */
  readonly zoneDirs: number
  /** '' for none. */
  readonly helper: string
  readonly timeout: string
  /** Bits of EVENTS; 0: all. */
  readonly ctevents: number
  readonly expevents: number
}

/** enum ip_conntrack_events, by bit. */
const CT_EVENTS = [
  'new',
  'related',
  'destroy',
  'reply',
  'assured',
  'protoinfo',
  'helper',
  'mark',
  'natseqinfo',
  'secmark',
] as const
const EXPECT_EVENTS = ['new'] as const

/** Lengths of the kernel's fields, without the byte that ends them. */
const MAX_HELPER = 15
const MAX_TIMEOUT = 31

function parseEvents(text: string, names: readonly string[]): number {
  let bits = 0
  for (const name of text.split(',')) {
    const at = names.indexOf(name)
    if (at < 0) throw new OptionError(`Unknown event type "${name}"`)
    bits |= 1 << at
  }
  return bits
}

const printEvents = (bits: number, names: readonly string[]): string =>
  names.filter((_, i) => bits & (1 << i)).join(',')

const ZONES: readonly (readonly [flag: string, dirs: number])[] = [
  ['zone', 0],
  ['zone-orig', 1],
  ['zone-reply', 2],
]

/** The three zone options share one number: the last one given sets it, while the directions add up. */
function parseZone(o: Options): Pick<Ct, 'zone' | 'zoneFromMark' | 'zoneDirs'> {
  let zone = 0
  let zoneFromMark = false
  let dirs = 0
  for (const flag of o.given()) {
    const found = ZONES.find(([name]) => name === flag)
    if (found === undefined) continue
    dirs |= found[1]
    const text = o.text(flag)
    if (text.toLowerCase() === 'mark') {
      zoneFromMark = true
      continue
    }
    const number = wholeNumber(text, 0, 0xffff)
    if (number === null) throw new OptionError(`Cannot parse ${text} as a zone ID`)
    zone = number
  }
  return { zone, zoneFromMark, zoneDirs: dirs }
}

/** One option as print and list write it, `dashes` before its name. */
function format(m: Ct, dashes: string): string {
  const zone = m.zoneFromMark ? 'mark' : m.zone === 0 ? '' : `${m.zone}`
  const zoneFlag = m.zoneDirs === 1 ? 'zone-orig' : m.zoneDirs === 2 ? 'zone-reply' : 'zone'
  return words(
    m.notrack ? `${dashes}notrack` : '',
    m.helper === '' ? '' : `${dashes}helper ${m.helper}`,
    m.timeout === '' ? '' : `${dashes}timeout ${m.timeout}`,
    m.ctevents === 0 ? '' : `${dashes}ctevents ${printEvents(m.ctevents, CT_EVENTS)}`,
    m.expevents === 0 ? '' : `${dashes}expevents ${printEvents(m.expevents, EXPECT_EVENTS)}`,
    zone === '' ? '' : `${dashes}${zoneFlag} ${zone}`,
  )
}

/** The timeout policies of the host. */
const policiesOf = (host: CheckContext['host']): TimeoutPolicies | null =>
  host?.tracker instanceof Conntrack ? host.tracker.policies : null

/** xt_ct_set_timeout(): `protocol` has the tracker that the policy is for. */
function checkTimeout(m: Ct, use: CheckContext, protocol: number): Refusal | null {
  if (protocol === 0) return { errno: 'EINVAL', reason: 'CT: --timeout needs a protocol, and not inverted' }
  const policies = policiesOf(use.host)
  const policy = policies?.get(m.timeout) ?? null
  if (policies === null || policy === null)
    return { errno: 'ENOENT', reason: `CT: no such timeout policy "${m.timeout}"` }
  if (policy.family !== use.family)
    return { errno: 'EINVAL', reason: `CT: timeout policy "${m.timeout}" is for IPv${policy.family}` }
  if (policy.protocol !== policies.trackedAs(protocol))
    return { errno: 'EINVAL', reason: `CT: timeout policy "${m.timeout}" is for another protocol` }
  return null
}

/** xt_ct_tg_check(). */
function check(m: Ct, use: CheckContext): Refusal | null {
  if (m.notrack) return null
  const protocol = use.protocol === null || use.protocol.invert ? 0 : use.protocol.number
  if (m.helper !== '') {
    if (protocol === 0) return { errno: 'ENOENT', reason: 'CT: --helper needs a protocol, and not inverted' }
    const fits = HELPERS.some(
      (h) => h.name === m.helper && h.protocols.includes(protocol) && h.families.includes(use.family),
    )
    if (!fits) return { errno: 'ENOENT', reason: `CT: no such helper "${m.helper}"` }
  }
  return m.timeout === '' ? null : checkTimeout(m, use, protocol)
}

/** Only packets that nobody looked at yet: no connection, no template, not untracked. */
const unseen = (js: Js): Code => js`pkt.ct < 0 && pkt.ctInfo === 0 && pkt.ctTemplate === null`
const untrack = (js: Js): Code => js`${unseen(js)} && (pkt.ctInfo = ${CtInfo.Untracked})`

export const ct: Target<Ct> = {
  kind: 'target',
  name: 'CT',
  revision: 2,
  families: [4, 6],
  layout: {
    size: 72,
    own: 64,
    fields: (m) => [
      [0, 2, bits(m.notrack, false, (m.zoneDirs & 1) !== 0, (m.zoneDirs & 2) !== 0, m.zoneFromMark)],
      [2, 2, m.zone],
      [4, 4, m.ctevents],
      [8, 4, m.expevents],
      nameField(12, 16, m.helper),
      nameField(28, 32, m.timeout),
    ],
  },
  tables: ['raw'],
  options: [
    { flag: 'notrack', arg: 'none' },
    { flag: 'helper' },
    { flag: 'timeout', holds: 'name policy' },
    { flag: 'ctevents' },
    { flag: 'expevents' },
    { flag: 'zone' },
    { flag: 'zone-orig' },
    { flag: 'zone-reply' },
  ],
  help: `CT target options:
 --notrack			Don't track connection
 --helper name			Use conntrack helper 'name' for connection
 --timeout name 		Use timeout policy 'name' for connection
 --ctevents event[,event...]	Generate specified conntrack events for connection
 --expevents event[,event...]	Generate specified expectation events for connection
 --zone {ID|mark}		Assign/Lookup connection in zone ID/packet nfmark
 --zone-orig {ID|mark}		Same as 'zone' option, but only applies to ORIGINAL direction
 --zone-reply {ID|mark} 	Same as 'zone' option, but only applies to REPLY direction
`,
  parse: (o) => ({
    notrack: o.has('notrack'),
    ...parseZone(o),
    helper: o.has('helper') ? cutBytes(o.text('helper'), MAX_HELPER) : '',
    timeout: o.has('timeout') ? cutBytes(o.text('timeout'), MAX_TIMEOUT) : '',
    ctevents: o.has('ctevents') ? parseEvents(o.text('ctevents'), CT_EVENTS) : 0,
    expevents: o.has('expevents') ? parseEvents(o.text('expevents'), EXPECT_EVENTS) : 0,
  }),
  print: (m) => format(m, '--'),
  list: (m) => words('CT', format(m, '')),
  tracks: (m) => !m.notrack,
  check,
  // The rule holds the policy: nobody may delete it meanwhile.
  state(m, { conntrack }) {
    const policy = m.notrack || m.timeout === '' ? null : conntrack.policies.get(m.timeout)
    if (policy !== null) policy.users++
    return policy
  },
  release(m, { conntrack }) {
    const policy = m.notrack || m.timeout === '' ? null : conntrack.policies.get(m.timeout)
    if (policy !== null) policy.users--
  },
  reads: ['mark'],
  writes: ['ctstate'],
  flow: 'continue',
  emit(m, js) {
    if (m.notrack) return untrack(js)
    const template: CtTemplate = {
      zone: m.zone,
      zoneDirs: m.zoneDirs === 0 ? 3 : m.zoneDirs,
      zoneFromMark: m.zoneFromMark,
      helper: m.helper === '' ? null : m.helper,
      timeoutPolicy: m.timeout === '' ? null : m.timeout,
      ctevents: m.ctevents === 0 ? null : m.ctevents,
      expevents: m.expevents === 0 ? null : m.expevents,
    }
    return js`${unseen(js)} && (pkt.ctTemplate = ${template})`
  },
}

/** XT_CT_NOTRACK and XT_CT_NOTRACK_ALIAS. */
const NOTRACK_FIELDS: Field[] = [[0, 2, 3]]

export const notrack: Target<null> = {
  kind: 'target',
  name: 'NOTRACK',
  column: 'CT',
  families: [4, 6],
  layout: { size: 72, own: 64, realName: 'CT', fields: () => NOTRACK_FIELDS },
  tables: ['raw'],
  options: [],
  help: `NOTRACK does not take any options
`,
  parse: () => null,
  print: () => '',
  list: () => 'NOTRACK',
  reads: [],
  writes: ['ctstate'],
  flow: 'continue',
  emit: (_, js) => untrack(js),
}
