// What a test file expects, read once, checked after each packet.

import type { Cursor } from '../host-folder/source.ts'
import * as expected from './expectations.ts'
import { type Mismatch, OUT_FIELDS, type OutFields } from './expectations.ts'
import type { Flow } from './flows.ts'
import type { Host } from './host.ts'
import type { Result } from './result.ts'
import type { RuleName } from './rule-names.ts'

/** What a check looks at. */
export interface Seeing {
  /** The packet sent last; null: none was. */
  readonly result: Result | null
  readonly host: Host
  /** Packets and bytes that a rule counted since the test began. */
  counted(rule: RuleName): { readonly packets: number; readonly bytes: number }
}

export interface Check {
  readonly origin: Cursor
  /** It asks for counters: those from before the test must be kept. */
  readonly counters?: true
  run(seeing: Seeing): Mismatch
}

type OfResult = (result: Result) => Mismatch

const WORDS: Readonly<Record<string, OfResult>> = {
  forwarded: (r) => expected.forwarded(r),
  sent: (r) => expected.forwarded(r),
  delivered: (r) => expected.delivered(r),
  dropped: (r) => expected.dropped(r),
  rejected: (r) => expected.rejected(r),
  translated: (r) => expected.translated(r),
}

const KEYS = [
  'forwarded',
  'sent',
  'delivered',
  'dropped',
  'dropped-by',
  'rejected',
  'rejected-with',
  'decided-by',
  'translated',
  'matches',
  'matches-not',
  'state',
  'mark',
  'answer',
  'counters',
  'flows',
  'log',
]
/** Those that need no packet. */
const OF_HOST = ['counters', 'flows', 'log']

/** `packet`: something must be said of the packet just sent; `state`: also of nothing but the host. Throws PlaceError. */
export function readChecks(expect: Cursor, about: 'packet' | 'state'): Check[] {
  if (typeof expect.value === 'string') {
    const check = Object.hasOwn(WORDS, expect.value) ? WORDS[expect.value] : undefined
    if (check === undefined)
      expect.fail(
        `${expect.shown()} is no outcome: expected ${Object.keys(WORDS).join(', ')}, or a mapping with ${KEYS.join(', ')}`,
      )
    return [ofResult(expect, check)]
  }
  const entries = expect.entries('an outcome: forwarded, dropped, delivered, rejected, or a mapping')
  expect.only(KEYS, 'an expectation')
  if (entries.length === 0) expect.fail(`nothing is expected: say one of ${KEYS.join(', ')}`)
  return entries.map(([key, value]) => {
    if (about === 'state' && !OF_HOST.includes(key) && value.value === null) value.fail('nothing is expected')
    return readCheck(key, value)
  })
}

const ofResult = (origin: Cursor, check: OfResult): Check => ({
  origin,
  run: ({ result }) => (result === null ? 'no packet has been sent' : check(result)),
})

function readCheck(key: string, value: Cursor): Check {
  switch (key) {
    case 'forwarded':
    case 'sent':
    case 'delivered': {
      const fields = value.value === true || value.value === null ? {} : readFields(value)
      const check = key === 'delivered' ? expected.delivered : expected.forwarded
      return ofResult(value, (r) => check(r, fields))
    }
    case 'dropped': {
      const reason =
        value.value === true || value.value === null ? undefined : value.string('a reason, as no-route')
      return ofResult(value, (r) => expected.dropped(r, reason))
    }
    case 'dropped-by': {
      const rule = readRule(value)
      return ofResult(value, (r) => expected.droppedBy(r, rule))
    }
    case 'decided-by': {
      const rule = readRule(value)
      return ofResult(value, (r) => expected.decidedBy(r, rule))
    }
    case 'rejected':
      if (value.value !== true && value.value !== null) value.fail('with what? say rejected-with')
      return ofResult(value, (r) => expected.rejected(r))
    case 'rejected-with': {
      const how = value.string('what REJECT calls it, as tcp-reset')
      return ofResult(value, (r) => expected.rejected(r, how))
    }
    case 'translated': {
      value.record('a mapping with src, dst or both')
      value.only(['src', 'dst'], 'a translation')
      const to = value.value as { src?: string | null; dst?: string | null }
      return ofResult(value, (r) => expected.translated(r, to))
    }
    case 'matches':
    case 'matches-not': {
      const rules = value.listOrOne().map(readRule)
      return ofResult(value, (r) => {
        for (const rule of rules) {
          const mismatch = expected.matchedRule(r, rule)
          if (key === 'matches' ? mismatch !== null : mismatch === null)
            return mismatch ?? `expected it not to match ${String(rule)}`
        }
        return null
      })
    }
    case 'state': {
      const state = value.string('NEW, ESTABLISHED, RELATED, INVALID or UNTRACKED')
      return ofResult(value, (r) => expected.stateMismatch(r, state))
    }
    case 'mark': {
      const mark = value.integer(0, 0xffffffff)
      return ofResult(value, (r) =>
        r.mark === mark ? null : `expected the mark ${hex(mark)}, it was ${hex(r.mark)}`,
      )
    }
    case 'answer': {
      const fields = readFields(value)
      return ofResult(value, (r) => expected.answered(r, fields))
    }
    case 'counters':
      return readCounters(value)
    case 'flows':
      return readFlows(value)
    default:
      return readLog(value)
  }
}

const hex = (n: number): string => `0x${n.toString(16)}`

const NUMBERS = ['ttl', 'tos', 'length', 'frames', 'mark', 'ctmark']

function readFields(value: Cursor): OutFields {
  value.only(OUT_FIELDS, 'an expected packet')
  const fields: Record<string, unknown> = {}
  for (const [key, item] of value.entries('a mapping of fields (dev, src, dst …)')) {
    if (key === 'rule') fields[key] = item.listOrOne().map(readRule)
    else if (NUMBERS.includes(key)) fields[key] = item.integer(0, 0xffffffff)
    else if (key === 'via' && item.value === null) fields[key] = null
    else if (key === 'dscp' && typeof item.value === 'number') fields[key] = item.integer(0, 63)
    else fields[key] = item.string()
  }
  return fields
}

/** A text, or a pattern between slashes. */
function readRule(value: Cursor): RuleName {
  const text = value.string('a rule: its text, comment, FILE:LINE or place (filter FORWARD 3)')
  const pattern = /^\/(.+)\/$/.exec(text)
  if (pattern === null) return text
  try {
    return new RegExp(pattern[1]!)
  } catch (error) {
    return value.fail(`no pattern: ${(error as Error).message}`)
  }
}

function readCounters(value: Cursor): Check {
  const wanted = value.entries('a mapping from rules to packets').map(([name, item]) => {
    const pattern = /^\/(.+)\/$/.exec(name)
    const rule = pattern === null ? name : new RegExp(pattern[1]!)
    if (typeof item.value === 'number') return { rule, packets: item.integer(0, 2 ** 53), bytes: null }
    item.only(['packets', 'bytes'], 'counters')
    const number = (key: string): number | null => item.get(key)?.integer(0, 2 ** 53) ?? null
    return { rule, packets: number('packets'), bytes: number('bytes') }
  })
  return {
    origin: value,
    counters: true,
    run({ counted }) {
      for (const { rule, packets, bytes } of wanted) {
        const is = counted(rule)
        if (packets !== null && packets !== is.packets)
          return `expected ${String(rule)} to count ${packets} packets, it counted ${is.packets}`
        if (bytes !== null && bytes !== is.bytes)
          return `expected ${String(rule)} to count ${bytes} bytes, it counted ${is.bytes}`
      }
      return null
    },
  }
}

const FLOW_FIELDS = [
  'protocol',
  'state',
  'src',
  'dst',
  'sport',
  'dport',
  'reply-src',
  'reply-dst',
  'mark',
  'flags',
] as const

/** How many connections there are, or a list of what each must be. */
function readFlows(value: Cursor): Check {
  if (typeof value.value === 'number') {
    const count = value.integer(0, 2 ** 31)
    return {
      origin: value,
      run: ({ host }) => {
        const flows = host.flows()
        return flows.length === count
          ? null
          : `expected ${count} connections, there were ${flows.length}${listed(flows)}`
      },
    }
  }
  const wanted = value.list('a number, or a list of connections').map((item) => {
    item.only(FLOW_FIELDS, 'a connection')
    return item.entries('a mapping of fields').map(([key, field]) => [key, String(field.value)] as const)
  })
  return {
    origin: value,
    run({ host }) {
      const flows = host.flows()
      const missing = wanted.find(
        (fields) => !flows.some((flow) => fields.every(([key, text]) => flowField(flow, key) === text)),
      )
      if (missing === undefined) return null
      return `expected a connection with ${missing.map((pair) => pair.join(' ')).join(', ')}${listed(flows)}`
    },
  }
}

const listed = (flows: readonly Flow[]): string =>
  flows
    .slice(0, 8)
    .map(({ text }) => `\n    ${text}`)
    .join('')

function flowField(flow: Flow, key: string): string {
  switch (key) {
    case 'protocol':
      return flow.protocol
    case 'state':
      return flow.state
    case 'mark':
      return String(flow.mark)
    case 'flags':
      return flow.flags.join(',')
    case 'reply-src':
      return flow.reply.src
    case 'reply-dst':
      return flow.reply.dst
    default:
      return String(flow.original[key as 'src' | 'dst' | 'sport' | 'dport'])
  }
}

function readLog(value: Cursor): Check {
  const texts = value.listOrOne().map((item) => item.string('text that a line of the log must have'))
  return {
    origin: value,
    run({ host }) {
      const missing = texts.find((text) => !host.log.some((line) => line.includes(text)))
      if (missing === undefined) return null
      return `expected a line of the log with "${missing}"${host.log.map((line) => `\n    ${line}`).join('')}`
    },
  }
}
