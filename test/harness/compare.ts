// Two runs of one scenario, compared: every frame at every interface, every rule counter, every flow.
//
// What Linux draws at random is masked here, by name, and nothing else:
//   ip-id           identification of packets the host makes itself, and of fragments that it cuts
//   times           milliseconds in timestamp replies and timestamp options, by TIMESTAMP_SLACK_MS
//   use             the reference count in a conntrack line
//   delta-time      age of a flow, by AGE_SLACK_S
//   timeout         remaining seconds of a flow, by TIMEOUT_SLACK_S
//   endless rounds  all of a scenario in which a packet goes round for ever; see ENDLESS
//   timers          what one sends may come in a later step, by TIMER_SLACK_MS

import { fold, sum } from '../../datapath/wire/checksum.ts'
import { compareProc } from './compare-proc.ts'
import { decode } from './frames.ts'
import { comparableSets, type SetLine } from './generate-sets.ts'
import { headersOf, ICMPV6, isIcmp, TCP, UDP, u16, u32 } from './headers.ts'
import { compareRecords } from './records.ts'
import {
  addressesOf,
  type Family,
  familiesOf,
  hex,
  partOf,
  type Run,
  type Scenario,
  type Sent,
  type StepRun,
} from './scenario.ts'

export const TIMEOUT_SLACK_S = 2
/** Seconds of the wall clock that may have begun between two looks at it. */
const AGE_SLACK_S = 1
const TIMESTAMP_SLACK_MS = 50
/** Timers of one to two seconds end up to eight jiffies late (LVL_GRAN of kernel/time/timer.c). */
const TIMER_SLACK_MS = 70
const DAY_MS = 86_400_000
/** Rounds beyond those that tunwall allows a packet, of one that goes on for ever. */
const ENDLESS = 1000
const IPOPT_TS = 0x44

export interface Difference {
  readonly kind: 'frame' | 'counter' | 'rule' | 'flow' | 'timeout' | 'set' | 'proc' | 'record' | 'crash'
  /** The same for differences that look alike; narrower than the kind. */
  readonly signature?: string
  /** Step.id for frames. */
  readonly step: number | null
  /** Readable, several lines. */
  readonly text: string
}

/** `names`: what to call the two. An empty list: the same. */
export function compareRuns(
  expected: Run,
  actual: Run,
  names: readonly [string, string] = ['kernel', 'tunwall'],
): Difference[] {
  if (actual.endless === true && goesOn(expected, actual)) return []
  return [
    ...compareFrames(expected, actual, names),
    ...compareTables(expected.save, actual.save, names),
    ...compareTables(expected.saveBeside ?? '', actual.saveBeside ?? '', names),
    ...compareSets(expected.sets ?? '', actual.sets ?? '', names),
    ...compareProc(expected, actual, names),
    ...compareRecords(expected.records ?? [], actual.records ?? [], names, sameFrame),
    ...compareFlows(expected.conntrack, actual.conntrack, names),
    ...compareStats('conntrack -S', expected.stats ?? {}, actual.stats ?? {}, names),
    // Old recordings do not have them.
    ...(expected.snmp === undefined
      ? []
      : compareStats('snmp', expected.snmp, actual.snmp ?? {}, names, actual.snmpAround)),
    ...compareExpectations(expected, actual, names),
  ]
}

/** A packet goes round until the namespace ends, where tunwall stops it: nothing can be compared then. */
function goesOn({ snmp: a = {} }: Run, { snmp: b = {} }: Run): boolean {
  const received = (of: Readonly<Record<string, number>>): number =>
    (of['Ip.InReceives'] ?? 0) + (of.Ip6InReceives ?? 0)
  return received(a) > received(b) + ENDLESS
}

// -- frames -----------------------------------------------------------------------------------------------------

function compareFrames(expected: Run, actual: Run, names: readonly [string, string]): Difference[] {
  const out: Difference[] = []
  const other = new Map(lateTimers(expected.steps, actual.steps).map((s) => [s.id, s]))
  for (const step of expected.steps) {
    const twin = other.get(step.id)
    const found = compareStep(step, twin, names)
    if (found !== null) out.push({ kind: 'frame', step: step.id, ...found })
    other.delete(step.id)
  }
  for (const [id, step] of other)
    if (step.before.length + step.sent.length > 0)
      out.push({ kind: 'frame', step: id, text: `only ${names[1]} sent anything` })
  return out
}

/**
 * `actual` with frames that a timer sent moved to where `expected` has them, if that is only a little later, or between a
 * step and the look at what it sent.
 */
function lateTimers(expected: readonly StepRun[], actual: readonly StepRun[]): readonly StepRun[] {
  if (actual.every((s) => s.before.length === 0)) return actual
  const out = actual.map((s) => ({ ...s, before: [...s.before], sent: [...s.sent] }))
  const places = new Map(expected.map((s, i) => [s.id, i]))
  const byId = new Map(out.map((s) => [s.id, s]))
  const holds = (list: readonly Sent[], one: Sent): boolean =>
    list.some((s) => s.dev === one.dev && sameFrame(s.bytes, one.bytes, null, new Map()))
  for (const step of out) {
    const at = places.get(step.id)
    if (at === undefined) continue
    for (const frame of [...step.before]) {
      if (holds(expected[at]!.before, frame)) continue
      const during = [expected[at]!, expected[at - 1]].find(
        (s) => s !== undefined && holds(s.sent, frame) && !holds(byId.get(s.id)?.sent ?? [], frame),
      )
      if (during !== undefined) {
        step.before.splice(step.before.indexOf(frame), 1)
        const place = during.sent.findIndex((s) => holds([s], frame))
        byId.get(during.id)?.sent.splice(place, 0, frame)
        continue
      }
      // It was sent between a step and the one before.
      const later = expected.find(
        (s, i) => i > at && expected[i - 1]!.at - step.at <= TIMER_SLACK_MS && holds(s.before, frame),
      )
      const twin = later === undefined ? undefined : byId.get(later.id)
      if (twin === undefined) continue
      step.before.splice(step.before.indexOf(frame), 1)
      twin.before.push(frame)
    }
  }
  return out
}

/** Per interface, in order: between interfaces the order of reading says nothing. */
function byDevice(frames: readonly Sent[]): Map<string, Uint8Array[]> {
  const out = new Map<string, Uint8Array[]>()
  for (const { dev, bytes } of frames) {
    const list = out.get(dev)
    if (list === undefined) out.set(dev, [bytes])
    else list.push(bytes)
  }
  return out
}

/** `y` with the frames that `x` has too in the order of `x`. */
function inOrderOf(x: readonly Uint8Array[], y: readonly Uint8Array[]): Uint8Array[] {
  const rest = [...y]
  const out: Uint8Array[] = []
  for (const frame of x) {
    const at = rest.findIndex((other) => sameFrame(frame, other, null, new Map()))
    if (at >= 0) out.push(...rest.splice(at, 1))
  }
  return [...out, ...rest]
}

interface StepDifference {
  readonly text: string
  readonly signature: string
}

function compareStep(
  step: StepRun,
  twin: StepRun | undefined,
  names: readonly [string, string],
): StepDifference | null {
  const bad: string[] = []
  let signature = ''
  for (const [which, a, b] of [
    ['while waiting', step.before, twin?.before ?? []],
    ['', step.sent, twin?.sent ?? []],
  ] as const) {
    const left = byDevice(a)
    const right = byDevice(b)
    const idents = which === '' ? ownIdents(left, right) : new Map<number, number>()
    for (const dev of new Set([...left.keys(), ...right.keys()])) {
      const x = left.get(dev) ?? []
      let y = right.get(dev) ?? []
      // Timers that end in one pause: the kernel's timer wheel keeps no order among neighbours.
      if (which !== '') y = inOrderOf(x, y)
      if (x.length === y.length && x.every((frame, i) => sameFrame(frame, y[i]!, step.injected, idents)))
        continue
      bad.push(`  at ${dev}${which === '' ? '' : `, ${which}`}:`)
      const found = differing(x, y, step.injected, names)
      bad.push(found.text)
      signature ||= `frame ${which}${found.signature}`
    }
  }
  return bad.length === 0 ? null : { text: bad.join('\n'), signature }
}

/**
 * Identifications that the two drew for packets in the same place. TEE sets DF in its copies, which leave before the
 * packet itself, perhaps elsewhere.
 */
function ownIdents(
  left: ReadonlyMap<string, readonly Uint8Array[]>,
  right: ReadonlyMap<string, readonly Uint8Array[]>,
): Map<number, number> {
  const idents = new Map<number, number>()
  for (const [dev, frames] of left)
    for (const [i, a] of frames.entries()) {
      const b = right.get(dev)?.[i]
      if (b === undefined || a.length < 20 || b.length < 20) continue
      if (a[0]! >> 4 === 6) {
        const [x, y] = [headersOf(a)?.fragment, headersOf(b)?.fragment]
        if (x && y && !idents.has(x.id)) idents.set(x.id, y.id)
        continue
      }
      if (((a[6]! | b[6]!) & 0x40) === 0 && !idents.has(u16(a, 4))) idents.set(u16(a, 4), u16(b, 4))
    }
  return idents
}

function differing(
  x: readonly Uint8Array[],
  y: readonly Uint8Array[],
  injected: Uint8Array | null,
  names: readonly [string, string],
): StepDifference {
  const width = Math.max(...names.map((n) => n.length))
  const out: string[] = []
  let signature = ''
  const show = (name: string, frame: Uint8Array | undefined): string =>
    `    ${name.padEnd(width)} ${frame === undefined ? 'nothing' : decode(frame)}`
  for (let i = 0; i < Math.max(x.length, y.length) && out.length < 24; i++) {
    const a = x[i]
    const b = y[i]
    if (a !== undefined && b !== undefined && sameFrame(a, b, injected, new Map())) continue
    out.push(show(names[0], a), show(names[1], b))
    signature ||= frameSignature(a, b)
    if (a === undefined || b === undefined) continue
    const at = firstDifference(a, b)
    if (at >= 0 && at < Math.min(a.length, b.length))
      out.push(
        `    first difference at byte ${at}: ${hex(a.subarray(at, at + 16))} and ${hex(b.subarray(at, at + 16))}`,
      )
  }
  return { text: out.join('\n'), signature }
}

/** What sort of frame, for grouping: `tcp [RA]`, `icmp 3/1`. */
function shape(frame: Uint8Array): string {
  const h = headersOf(frame)
  if (h === null) return 'damaged'
  const { l4, protocol } = h
  const fragment = h.fragment === null ? '' : ' fragment'
  if (isIcmp(protocol)) return `icmp ${frame[l4]}/${frame[l4 + 1]}${fragment}`
  switch (protocol) {
    case TCP:
      return `tcp${frame[l4 + 13]! & 4 ? ' reset' : ''}${fragment}`
    case UDP:
      return `udp${fragment}`
  }
  return `proto ${protocol}${fragment}`
}

/** Where two frames begin to differ; IPv4's identification and header checksum count only if nothing else does. */
function firstDifference(a: Uint8Array, b: Uint8Array): number {
  const idle = a[0]! >> 4 === 4 ? [4, 5, 10, 11] : []
  const telling = a.findIndex((byte, n) => byte !== b[n] && !idle.includes(n))
  return telling >= 0 ? telling : a.findIndex((byte, n) => byte !== b[n])
}

function frameSignature(a: Uint8Array | undefined, b: Uint8Array | undefined): string {
  if (a === undefined) return `${shape(b!)} too much`
  if (b === undefined) return `${shape(a)} missing`
  if (shape(a) !== shape(b)) return `${shape(b)} instead of ${shape(a)}`
  if (a.length !== b.length) return `${shape(a)} of another length`
  const l4 = headersOf(a)?.l4 ?? 20
  const at = firstDifference(a, b)
  const where =
    at < (a[0]! >> 4 === 6 ? 40 : 20)
      ? `IP byte ${at}`
      : at < l4
        ? a[0]! >> 4 === 6
          ? 'extension headers'
          : 'IP options'
        : at < l4 + 20
          ? `transport byte ${at - l4}`
          : 'payload'
  return `${shape(a)} differs in ${where}`
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i])
}

const validHeader = (b: Uint8Array, at = 0): boolean => {
  const length = (b[at]! & 15) * 4
  return (
    b.length >= at + 20 &&
    b[at]! >> 4 === 4 &&
    length >= 20 &&
    at + length <= b.length &&
    fold(sum(b, at, at + length)) === 0xffff
  )
}

/** May `out` be the packet `went` on its way, and not one that the host made and gave the same identification? */
function passedOn(went: Uint8Array, out: Uint8Array): boolean {
  if (went.length < 20 || u16(went, 4) !== u16(out, 4) || went[9] !== out[9]) return false
  const fragments = ((u16(went, 6) | u16(out, 6)) & 0x3fff) !== 0
  return out[9] !== 1 || fragments || went[(went[0]! & 15) * 4] === out[(out[0]! & 15) * 4]
}

/** `idents`: identifications of the host's own packets in this step, the one's to the other's. */
function sameFrame(
  a: Uint8Array,
  b: Uint8Array,
  injected: Uint8Array | null,
  idents: Map<number, number>,
): boolean {
  if (sameBytes(a, b)) return true
  if (a[0]! >> 4 === 6) return sameFrame6(a, b, injected, idents)
  if (a.length !== b.length || validHeader(a) !== validHeader(b)) return false
  const x = a.slice()
  const y = b.slice()
  const idA = u16(a, 4)
  const idB = u16(b, 4)
  // A record shows a header whose checksum does not know the time in its options yet: the same one on both sides.
  if (idA !== idB && !validHeader(a)) return false
  if (idA !== idB) {
    // A forwarded packet keeps its identification, one with DF has none to draw. The kernel does draw a 0 now and
    // then; from the other side it would mean that nothing was drawn, and the harness sees to it that none is.
    // Nor has a copy of TEE, which sets DF behind the draw: then both sides have one.
    const unknown = (a[6]! & 0x40) !== 0 && idA === 0
    if (unknown || idB === 0 || (injected !== null && passedOn(injected, a))) return false
    const known = idents.get(idA)
    if (known !== undefined && known !== idB) return false
    idents.set(idA, idB)
    for (const f of [x, y]) f.fill(0, 4, 6).fill(0, 10, 12)
  }
  maskTimes(x, y, 0)
  return sameBytes(x, y)
}

/**
 * Fragment headers of the two may say different identifications if the host cut the packet: one that leaves, or one that
 * came back to it through lo and that an error is about.
 */
function sameFrame6(
  a: Uint8Array,
  b: Uint8Array,
  injected: Uint8Array | null,
  idents: Map<number, number>,
): boolean {
  const outer = [headersOf(a), headersOf(b)]
  const l4 = outer[0]?.l4 ?? 0
  const isError = outer.every((h) => h?.protocol === ICMPV6 && h.l4 === l4) && a[l4]! < 128
  const quoted = isError && !outer[0]!.fragment ? l4 + 8 : 0
  const x = headersOf(a.subarray(quoted))?.fragment
  const y = headersOf(b.subarray(quoted))?.fragment
  if (a.length !== b.length || !x || !y || x.at !== y.at) return false
  // What came in as a fragment keeps its identification, unless it was put together in between.
  if (injected !== null && headersOf(injected)?.fragment?.id === x.id) return false
  const known = idents.get(x.id)
  if (known !== undefined && known !== y.id) return false
  idents.set(x.id, y.id)
  const at = quoted + x.at
  const [p, q] = [a, b].map((f) => f.slice().fill(0, at, at + 4))
  if (quoted > 0) {
    const pseudo = ICMPV6 + a.length - l4
    if (![a, b].every((f) => fold(sum(f, 8, 40) + sum(f, l4, f.length) + pseudo) === 0xffff)) return false
    for (const f of [p!, q!]) f.fill(0, l4 + 2, l4 + 4)
  }
  return sameBytes(p!, q!)
}

/**
 * Blanks the times that the host wrote into the packet at `l3`, if both sides wrote about the same one, and then the
 * checksums over them, if both are right.
 */
function maskTimes(x: Uint8Array, y: Uint8Array, l3: number): boolean {
  if (l3 + 20 > x.length || x[l3]! >> 4 !== 4 || x[l3] !== y[l3]) return false
  const l4 = l3 + (x[l3]! & 15) * 4
  if (l4 > x.length) return false
  const near = (at: number): boolean => {
    const apart = Math.abs(u32(x, at) - u32(y, at))
    return apart > 0 && Math.min(apart, DAY_MS - apart) <= TIMESTAMP_SLACK_MS
  }
  const headers = validHeader(x, l3) && validHeader(y, l3)
  let touched = false
  const blank = (at: number): void => {
    x.fill(0, at, at + 4)
    y.fill(0, at, at + 4)
    touched = true
  }
  for (let at = l3 + 20; at < l4 && x[at] !== 0; ) {
    if (x[at] === 1) {
      at++
      continue
    }
    const length = x[at + 1]!
    if (length < 2 || at + length > l4) break
    // Words in front of the option's pointer, which may stand anywhere.
    if (x[at] === IPOPT_TS && x[at + 2] === y[at + 2])
      for (let t = at + 4 + ((x[at + 2]! - 1) & 3); t + 4 <= at + length; t += 4) if (near(t)) blank(t)
    at += length
  }
  // Quoted headers may have been changed after their checksum was: then both sides carry the same stale one.
  if (touched && (headers || l3 > 0)) for (const f of [x, y]) f.fill(0, l3 + 10, l3 + 12)
  if (x[l3 + 9] !== 1 || l3 > 0 || l4 + 8 > x.length) return touched
  const sums = [x, y].every((f) => fold(sum(f, l4, f.length)) === 0xffff)
  if (x[l4] === 14 && x.length >= l4 + 20) for (const t of [l4 + 12, l4 + 16]) if (near(t)) blank(t)
  const inside = [3, 4, 5, 11, 12].includes(x[l4]!) && maskTimes(x, y, l4 + 8)
  if ((touched || inside) && sums) for (const f of [x, y]) f.fill(0, l4 + 2, l4 + 4)
  return touched || inside
}

// -- tables -----------------------------------------------------------------------------------------------------

interface TableText {
  /** Policies and chains: `:INPUT ACCEPT` to its counters. */
  readonly lines: readonly { readonly text: string; readonly counters: string }[]
}

function tables(save: string): Map<string, TableText> {
  const out = new Map<string, TableText>()
  let lines: { text: string; counters: string }[] = []
  for (const line of save.split('\n')) {
    if (line.startsWith('*')) out.set(line.slice(1), { lines: (lines = []) })
    else if (line.startsWith(':')) {
      const [, text = line, counters = ''] = /^(.*) (\[\d+:\d+\])$/.exec(line) ?? []
      lines.push({ text, counters })
    } else if (line.startsWith('[') || line.startsWith('-A')) {
      const [, counters = '', text = line] = /^(\[\d+:\d+\]) (.*)$/.exec(line) ?? []
      lines.push({ text, counters })
    }
  }
  return out
}

function compareTables(expected: string, actual: string, names: readonly [string, string]): Difference[] {
  const out: Difference[] = []
  const a = tables(expected)
  const b = tables(actual)
  for (const name of new Set([...a.keys(), ...b.keys()])) {
    const x = a.get(name)?.lines
    const y = b.get(name)?.lines
    if (x === undefined || y === undefined) {
      out.push({
        kind: 'rule',
        step: null,
        text: `  table ${name}: only ${x === undefined ? names[1] : names[0]} prints it`,
      })
      continue
    }
    for (let i = 0; i < Math.max(x.length, y.length); i++) {
      const p = x[i]
      const q = y[i]
      if (p?.text !== q?.text) {
        out.push({
          kind: 'rule',
          step: null,
          text: `  table ${name}, line ${i + 1}:\n    ${names[0]} ${p?.text ?? 'ends'}\n    ${names[1]} ${q?.text ?? 'ends'}`,
        })
        break
      }
      if (p!.counters !== q!.counters) {
        const [kernel, ours] = [p!, q!].map((l) => Number(/\d+/.exec(l.counters)?.[0]))
        const target = /-[jg] (\S+)/.exec(p!.text)?.[1] ?? 'policy'
        const how = kernel === ours ? 'bytes' : kernel! < ours! ? 'too many' : 'too few'
        out.push({
          kind: 'counter',
          signature: `counter ${how}: ${name} ${p!.text.split(' ')[p!.text.startsWith(':') ? 0 : 1]} ${target}`,
          step: null,
          text: `  ${name}: ${p!.text}\n    ${names[0]} ${p!.counters}, ${names[1]} ${q!.counters}`,
        })
      }
    }
  }
  return out
}

// -- sets -------------------------------------------------------------------------------------------------------

function compareSets(expected: string, actual: string, names: readonly [string, string]): Difference[] {
  const a = comparableSets(expected, TIMEOUT_SLACK_S)
  const b = comparableSets(actual, TIMEOUT_SLACK_S)
  const only = (x: readonly SetLine[], y: readonly SetLine[], name: string): string[] =>
    x
      .filter(({ text, soon }) => !soon && !y.some((other) => other.text === text))
      .map(({ text }) => `    only ${name}: ${text}`)
  const lines = [...only(a, b, names[0]), ...only(b, a, names[1])]
  if (lines.length === 0) return []
  const [, set = ''] = /: add (\S+)/.exec(lines[0]!) ?? []
  return [{ kind: 'set', signature: `set ${set}`, step: null, text: lines.join('\n') }]
}

// -- flows ------------------------------------------------------------------------------------------------------

interface Flow {
  /** Without timeout and use count. */
  readonly text: string
  readonly timeout: number | null
  /** nf_conntrack_timestamp: how long it has been there, s; null where nobody counts. */
  readonly age: number | null
}

/** `ipv4 2 tcp 6 431999 ESTABLISHED src=…`: the fifth word is the timeout. */
export function readFlow(line: string): Flow {
  const words = line.trim().split(/\s+/)
  const timeout = /^\d+$/.test(words[4] ?? '') ? Number(words[4]) : null
  const rest = words.filter((w, i) => !(i === 4 && timeout !== null) && !/^(use|delta-time)=/.test(w))
  const age = words.find((w) => w.startsWith('delta-time='))?.split('=')[1]
  return { text: rest.join(' '), timeout, age: age === undefined ? null : Number(age) }
}

/** Protocol, state and flags of a flow, for grouping. */
function flowShape(text: string): string {
  const words = text.split(' ')
  return [words[2], ...words.filter((w) => /^[A-Z_0-9]+$|^\[/.test(w) && !/^\d+$/.test(w))].join(' ')
}

function compareFlows(
  expected: readonly string[],
  actual: readonly string[],
  names: readonly [string, string],
): Difference[] {
  const out: Difference[] = []
  const order = (x: Flow, y: Flow): number =>
    x.text < y.text ? -1 : x.text > y.text ? 1 : (x.timeout ?? 0) - (y.timeout ?? 0)
  const a = expected.map(readFlow).sort(order)
  const b = actual.map(readFlow).sort(order)
  let i = 0
  let j = 0
  while (i < a.length || j < b.length) {
    const x = a[i]
    const y = b[j]
    if (x !== undefined && y !== undefined && x.text === y.text) {
      if (x.timeout !== null && y.timeout !== null && Math.abs(x.timeout - y.timeout) > TIMEOUT_SLACK_S)
        out.push({
          kind: 'timeout',
          signature: `timeout: ${flowShape(x.text)}`,
          step: null,
          text: `  ${x.text}\n    ${names[0]} ${x.timeout} s, ${names[1]} ${y.timeout} s`,
        })
      if (x.age === null ? y.age !== null : y.age === null || Math.abs(x.age - y.age) > AGE_SLACK_S)
        out.push({
          kind: 'timeout',
          signature: 'age of a flow',
          step: null,
          text: `  ${x.text}\n    ${names[0]} delta-time=${x.age}, ${names[1]} delta-time=${y.age}`,
        })
      i++
      j++
    } else if (y === undefined || (x !== undefined && x.text < y.text)) {
      // An entry about to end may be gone on the other side already.
      if ((x!.timeout ?? 9) > TIMEOUT_SLACK_S)
        out.push({
          kind: 'flow',
          signature: `flow missing: ${flowShape(x!.text)}`,
          step: null,
          text: `  only ${names[0]}: ${x!.text} (${x!.timeout} s)`,
        })
      i++
    } else {
      if ((y.timeout ?? 9) > TIMEOUT_SLACK_S)
        out.push({
          kind: 'flow',
          signature: `flow too much: ${flowShape(y.text)}`,
          step: null,
          text: `  only ${names[1]}: ${y.text} (${y.timeout} s)`,
        })
      j++
    }
  }
  return out
}

// -- statistics ------------------------------------------------------------------------------------------------

/** How often NAT found a tuple taken hangs on draws that have no other effect. */
const DRAWN_STATS: ReadonlySet<string> = new Set(['found'])

function compareStats(
  which: string,
  expected: Readonly<Record<string, number>>,
  actual: Readonly<Record<string, number>>,
  names: readonly [string, string],
  around: readonly [Readonly<Record<string, number>>, Readonly<Record<string, number>>] = [actual, actual],
): Difference[] {
  const [early, late] = around
  const same = (name: string, n: number): boolean => n >= (early[name] ?? 0) && n <= (late[name] ?? 0)
  return [...new Set([...Object.keys(expected), ...Object.keys(actual)])]
    .filter((name) => !DRAWN_STATS.has(name) && !same(name, expected[name] ?? 0))
    .map((name) => ({
      kind: 'counter',
      signature: `${which} ${name}`,
      step: null,
      text: `  ${which} ${name}: ${names[0]} ${expected[name] ?? 0}, ${names[1]} ${actual[name] ?? 0}`,
    }))
}

// -- expectations -----------------------------------------------------------------------------------------------

/**
 * `300 proto=6 src=…`: the first word is the timeout. One about to end may be gone on the other side already, and so may
 * that of a connection about to end.
 */
function compareExpectations(a: Run, b: Run, names: readonly [string, string]): Difference[] {
  const read = ({ expect = [] }: Run): Flow[] =>
    expect.map((line) => {
      const [timeout = '', ...words] = line.trim().split(/\s+/)
      return { text: words.join(' '), timeout: Number(timeout), age: null }
    })
  const stays = ({ text, timeout }: Flow, { conntrack }: Run): boolean =>
    timeout! > TIMEOUT_SLACK_S &&
    !conntrack.some((line) => (readFlow(line).timeout ?? 9) <= TIMEOUT_SLACK_S && isMaster(line, text))
  const rest = read(b)
  const out: string[] = []
  for (const e of read(a)) {
    const at = rest.findIndex(
      (r) => r.text === e.text && Math.abs(r.timeout! - e.timeout!) <= TIMEOUT_SLACK_S,
    )
    if (at >= 0) rest.splice(at, 1)
    else if (stays(e, a)) out.push(`    only ${names[0]}: ${e.timeout} ${e.text}`)
  }
  for (const r of rest) if (stays(r, b)) out.push(`    only ${names[1]}: ${r.timeout} ${r.text}`)
  if (out.length === 0) return []
  const [, helper = ''] = /helper=(\S+)/.exec(out[0]!) ?? []
  return [{ kind: 'flow', signature: `expectation ${helper}`, step: null, text: out.join('\n') }]
}

/** Whether a conntrack line is the connection that an expectation belongs to. */
function isMaster(line: string, expectation: string): boolean {
  const [, src, dst, sport, dport] =
    /master-src=(\S+) master-dst=(\S+) sport=(\d+) dport=(\d+)/.exec(expectation) ?? []
  return src !== undefined && line.includes(`src=${src} dst=${dst} sport=${sport} dport=${dport}`)
}

// -- text -------------------------------------------------------------------------------------------------------

/** The host of a scenario, in words. */
export function describeHost(scenario: Scenario): string {
  const families = familiesOf(scenario)
  const worded = (family: Family): string[] => {
    const six = family === 6 ? '-6 ' : ''
    const { routes, rules } = partOf(scenario, family)
    return [
      ...routes.map((r) => `  ip ${six}route add ${r}`),
      ...rules.map((r) => `  ip ${six}rule add ${r}`),
    ]
  }
  return [
    ...scenario.devices.map((d) => {
      const addresses = families.flatMap((family) => addressesOf(scenario, d, family))
      return `  ${d.name} mtu ${d.mtu} ${addresses.join(', ')}`
    }),
    ...families.flatMap(worded),
    ...Object.entries(scenario.sysctls).map(([name, value]) => `  ${name} = ${value}`),
    ...(scenario.sets ?? '').split('\n').flatMap((l) => (l === '' ? [] : [`  ${l}`])),
    ...families.flatMap((family) => {
      const { iptables } = partOf(scenario, family)
      const lines = iptables === '' ? [] : iptables.trimEnd().split('\n')
      return [...(families.length > 1 ? [`  # IPv${family}`] : []), ...lines.map((l) => `  ${l}`)]
    }),
  ].join('\n')
}

/** Everything a reader needs: the host, the frames up to where it matters, the differences. */
export function describe(
  scenario: Scenario,
  run: Run,
  differences: readonly Difference[],
  most = 40,
): string {
  const out = [`${scenario.name}: ${differences.length} differences`, describeHost(scenario), '']
  const about = new Map<number, Difference>()
  for (const d of differences) if (d.step !== null) about.set(d.step, d)
  const notes = new Map(scenario.steps.map((s) => [s.id, s.note ?? '']))
  const commands = new Map(scenario.steps.map((s) => [s.id, s.command?.join(' ')]))
  const firstBad = run.steps.findIndex((s) => about.has(s.id))
  const from =
    run.steps.length <= most ? 0 : Math.max(0, (firstBad < 0 ? run.steps.length : firstBad) - most + 5)
  if (from > 0) out.push(`  … ${from} steps before …`)
  for (const step of run.steps.slice(from, from + most)) {
    if (step.injected !== null)
      out.push(
        `${String(step.id).padStart(4)} ${step.at.toFixed(1).padStart(8)} ms  in ${step.dev}: ${decode(step.injected)}${notes.get(step.id) ? `   # ${notes.get(step.id)}` : ''}`,
      )
    else
      out.push(
        `${String(step.id).padStart(4)} ${step.at.toFixed(1).padStart(8)} ms  ${commands.get(step.id) ?? 'pause'}`,
      )
    const bad = about.get(step.id)
    if (bad !== undefined) out.push('  DIFFERENT', bad.text)
    else
      for (const s of [...step.before, ...step.sent])
        out.push(`                  out ${s.dev}: ${decode(s.bytes)}`)
  }
  for (const d of differences) if (d.step === null) out.push(`  DIFFERENT ${d.kind}`, d.text)
  return out.join('\n')
}
