// What conntrack of conntrack-tools 1.4.7 filters itself, of what the kernel tells it.

import { type Flow, type FlowTuple, hasPorts, type Words } from '../../conntrack/ctnetlink.ts'
import { isTranslated } from '../../conntrack/print.ts'
import { sameWords } from '../../datapath/route.ts'
import { Complaint, type NatFilter, type Wish } from './conntrack-wish.ts'

/**
 * nfct_cmp over one direction. `strict`: what is asked for must be there (NFCT_CMP_MASK). Keys of GRE are not
 * compared.
 */
function sideMatches(wish: Flow, side: FlowTuple, flow: Flow, other: FlowTuple, strict = true): boolean {
  if (side.family !== undefined && side.family !== other.family) return false
  if (side.protocol !== undefined) {
    if (side.protocol !== other.protocol) return false
    if (side.protocol === 1 || side.protocol === 58) {
      if (wish.icmpId !== undefined && wish.icmpId !== flow.icmpId) return false
      if (wish.icmpCode !== undefined && wish.icmpCode !== flow.icmpCode) return false
      if (wish.icmpType !== undefined && wish.icmpType !== flow.icmpType) return false
    } else if (side.protocol !== 47) {
      // Of DCCP they are not told, though shown as 0.
      const told = hasPorts(side.protocol)
      const fits = (port: number | undefined, own: number | undefined): boolean =>
        port === undefined || (told ? port === own : !strict)
      if (!fits(side.sport, other.sport) || !fits(side.dport, other.dport)) return false
    }
  }
  if (side.src !== undefined && !sameWords(side.src, other.src ?? null)) return false
  return side.dst === undefined || sameWords(side.dst, other.dst ?? null)
}

function metaMatches(wish: Flow, flow: Flow): boolean {
  // To the second, of -D alone.
  if (wish.timeout !== undefined && wish.timeout !== flow.timeout) return false
  if (wish.id !== undefined && wish.id !== flow.id) return false
  if (wish.status !== undefined && (wish.status & (flow.status ?? 0)) !== wish.status) return false
  if (wish.state !== undefined && wish.state !== flow.state) return false
  if (wish.zone !== undefined && wish.zone !== (flow.zone ?? 0)) return false
  if (wish.origZone !== undefined && wish.origZone !== (flow.origZone ?? 0)) return false
  return wish.replyZone === undefined || wish.replyZone === (flow.replyZone ?? 0)
}

function translated(flow: Flow, source: boolean, asked: NatFilter | null): boolean {
  const here = isTranslated(flow, source, 'address')
  const port = isTranslated(flow, source, 'port')
  if (asked === null) return here || port
  const { reply } = flow
  if (asked.family === 4 || reply.family === 6)
    if (!(here && sameWords(asked.address, (source ? reply.dst : reply.src) ?? null))) return false
  return asked.port === null || (port && asked.port === (source ? reply.dport : reply.sport))
}

function natMatches(wish: Wish, flow: Flow): boolean {
  const { given } = wish
  const any = given.has('any-nat')
  const source = given.has('src-nat') || any
  const destination = given.has('dst-nat') || any
  const hasSource = source && translated(flow, true, wish.snat)
  const hasDestination = destination && translated(flow, false, wish.dnat)
  if (any) return hasSource || hasDestination
  return (!source || hasSource) && (!destination || hasDestination)
}

function networkMatches(wish: Wish, flow: Flow): boolean {
  for (const [option, field] of [
    ['mask-src', 'src'],
    ['mask-dst', 'dst'],
  ] as const) {
    if (!wish.given.has(option)) continue
    if (flow.orig.family !== wish.family) return false
    const mask = wish.mask[field] ?? NO_WORDS
    const wanted = wish.flow.orig[field] ?? NO_WORDS
    if (flow.orig[field]?.some((word, i) => ((word ^ wanted[i]!) & mask[i]!) !== 0)) return false
  }
  return true
}

const NO_WORDS: Words = [0, 0, 0, 0]

function markMatches(wish: Wish, flow: Flow): boolean {
  const { mark } = wish
  return mark === null || (flow.mark !== undefined && (flow.mark & mask32(mark.mask)) >>> 0 === mark.value)
}

export const mask32 = (n: number): number => n | 0

/** The template without what a mask compares (nfct_network_attr_prepare). */
function template(wish: Wish): Flow {
  const { given, flow } = wish
  for (const name of ['src', 'dst'] as const)
    if (given.has(`mask-${name}`) && !given.has(name))
      throw new Complaint(`Can't use --mask-${name} without --${name}`)
  const orig = { ...flow.orig }
  if (given.has('mask-src')) orig.src = undefined
  if (given.has('mask-dst')) orig.dst = undefined
  return { ...flow, orig }
}

const COMPARED = [
  'protonum',
  'src',
  'dst',
  'reply-src',
  'reply-dst',
  'mark',
  'secmark',
  'status',
  'id',
  'zone',
  'label',
  'orig-zone',
  'reply-zone',
]

export const compares = (wish: Wish): boolean => COMPARED.some((name) => wish.given.has(name))

/** nfct_filter: the test that each flow of a listing goes through. */
export function filter(wish: Wish): (flow: Flow) => boolean {
  const wanted = template(wish)
  const compared = compares(wish)
  return (flow) =>
    natMatches(wish, flow) &&
    markMatches(wish, flow) &&
    networkMatches(wish, flow) &&
    (!compared ||
      (metaMatches(wanted, flow) &&
        sideMatches(wanted, wanted.orig, flow, flow.orig) &&
        sideMatches(wanted, wanted.reply, flow, flow.reply)))
}

/** The test of each flow that -U updates. */
export function updateFilter(wish: Wish): (flow: Flow) => boolean {
  const { given } = wish
  const { id } = wish.flow
  const wanted = template(wish)
  const tuple = ['src', 'dst', 'protonum'].some((name) => given.has(name))
  const reply = ['reply-src', 'reply-dst', 'protonum'].some((name) => given.has(name))
  return (flow) =>
    natMatches(wish, flow) &&
    networkMatches(wish, flow) &&
    (id === undefined || id === flow.id) &&
    (!tuple || sideMatches(wanted, wanted.orig, flow, flow.orig, false)) &&
    (!reply || sideMatches(wanted, wanted.reply, flow, flow.reply, false))
}
