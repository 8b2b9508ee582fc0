// --trace: what the Recorder says of each packet, one line of JSON each. Written by hand, since JSON.stringify() takes as
// long as all the rest together; the lines are those it would write, with `ts` behind `n`.

import type {
  ConntrackStep,
  EntryFacts,
  Journey,
  NatStep,
  PacketFacts,
  PacketRecord,
  RouteStep,
  RuleRef,
  RuleStep,
  Step,
  TableStep,
} from '../explain/record.ts'

const BUFFER = 1024 * 1024
/** Texts that are kept as JSON; others are made anew. */
const MOST_TEXTS = 20_000

export class Trace {
  readonly #write: (bytes: Uint8Array, length: number) => void
  readonly #bytes = Buffer.allocUnsafe(BUFFER)
  #at = 0

  constructor(write: (bytes: Uint8Array, length: number) => void) {
    this.#write = write
  }

  packet(record: PacketRecord, seconds: number, nanos: number): void {
    const line = recordLine(record, `${seconds}.${String(nanos).padStart(9, '0')}`)
    // A character is at most three bytes.
    if (this.#at + line.length * 3 > BUFFER) {
      this.flush()
      if (line.length * 3 > BUFFER) {
        const long = Buffer.from(line)
        this.#write(long, long.length)
        return
      }
    }
    this.#at += this.#bytes.write(line, this.#at, ascii ? 'latin1' : 'utf8')
  }

  flush(): void {
    if (this.#at > 0) this.#write(this.#bytes, this.#at)
    this.#at = 0
  }
}

/** One line, with its end. `ts`: seconds, as it is to be printed. */
export function recordLine(record: PacketRecord, ts: string): string {
  let journeys = ''
  for (let i = 0; i < record.journeys.length; i++)
    journeys += (i > 0 ? ',' : '') + journey(record.journeys[i]!)
  const { decision } = record
  const decided =
    decision === null ? 'null' : `{"rule":${ruleOf(decision.rule)},"verdict":${text(decision.verdict)}}`
  return `{"n":${record.n},"ts":${ts},"in":${text(record.in)},"packet":${record.packet === null ? 'null' : packet(record.packet)},"verdict":"${record.verdict}","reason":"${record.reason}","decision":${decided},"journeys":[${journeys}]}\n`
}

/** Nothing else has been printed yet: such text is written twice as fast. */
let ascii = true

/** Anything as JSON. */
function anything(value: unknown): string {
  const json = JSON.stringify(value)
  // biome-ignore lint/suspicious/noControlCharactersInRegex: the range is what is meant
  if (ascii && /[^\x00-\x7f]/.test(json)) ascii = false
  return json
}

const texts = new Map<string, string>()

/** Any text as JSON. */
function text(value: string | null): string {
  if (value === null) return 'null'
  let json = texts.get(value)
  if (json === undefined) {
    json = anything(value)
    if (texts.size < MOST_TEXTS) texts.set(value, json)
  }
  return json
}

const rules = new WeakMap<RuleRef, string>()

function ruleOf(rule: RuleRef | null): string {
  if (rule === null) return 'null'
  let json = rules.get(rule)
  if (json === undefined) rules.set(rule, (json = anything(rule)))
  return json
}

/** Addresses and names of protocols hold nothing that JSON would quote. */
const packet = (p: PacketFacts): string =>
  `{"family":${p.family},"protocol":"${p.protocol}","src":"${p.src}","dst":"${p.dst}","sport":${p.sport},"dport":${p.dport},"length":${p.length},"mark":${p.mark}}`

function journey(j: Journey): string {
  let steps = ''
  for (let i = 0; i < j.steps.length; i++) steps += (i > 0 ? ',' : '') + step(j.steps[i]!)
  return `{"kind":"${j.kind}","cause":${j.cause},"packet":${packet(j.packet)},"steps":[${steps}]}`
}

function step(s: Step): string {
  switch (s.at) {
    case 'hook':
      return `{"at":"hook","hook":"${s.hook}","in":${text(s.in)},"out":${text(s.out)}}`
    case 'conntrack':
      return conntrack(s)
    case 'table':
      return table(s)
    case 'nat':
      return nat(s)
    case 'route':
      return route(s)
    case 'confirm':
      return `{"at":"confirm","entry":${entry(s.entry)}}`
    default:
      return anything(s)
  }
}

const conntrack = (s: ConntrackStep): string =>
  `{"at":"conntrack","state":"${s.state}","direction":"${s.direction}","before":${entry(s.before)},"after":${entry(s.after)},"why":${text(s.why)},"sysctl":${text(s.sysctl)}}`

const tuple = (t: EntryFacts['original']): string =>
  `{"src":"${t.src}","dst":"${t.dst}","sport":${t.sport},"dport":${t.dport}}`

function entry(e: EntryFacts | null): string {
  if (e === null) return 'null'
  return `{"entry":${e.entry},"protocol":"${e.protocol}","state":"${e.state}","timeout":${e.timeout},"status":${statusOf(e.status)},"mark":${e.mark},"original":${tuple(e.original)},"reply":${tuple(e.reply)},"master":${e.master}}`
}

const statusOf = (words: readonly string[]): string =>
  words.length === 0 ? '[]' : `["${words.join('","')}"]`

function table(s: TableStep): string {
  let list = ''
  for (let i = 0; i < s.rules.length; i++) list += (i > 0 ? ',' : '') + ruleStep(s.rules[i]!)
  return `{"at":"table","table":"${s.table}","chain":"${s.chain}","rules":[${list}],"verdict":"${s.verdict}","by":${ruleOf(s.by)}}`
}

function ruleStep(s: RuleStep): string {
  if (!s.matched) return anything(s)
  const mark = s.mark === undefined ? '' : `,"mark":[${s.mark[0]},${s.mark[1]}]`
  const ctmark = s.ctmark === undefined ? '' : `,"ctmark":[${s.ctmark[0]},${s.ctmark[1]}]`
  return `{"matched":true,"rule":${ruleOf(s.rule)},"depth":${s.depth}${mark}${ctmark}}`
}

const end = (e: readonly [string, number]): string => `["${e[0]}",${e[1]}]`

const nat = (s: NatStep): string =>
  `{"at":"nat","hook":"${s.hook}","changes":"${s.changes}","binding":"${s.binding}","rule":${ruleOf(s.rule)},"before":${end(s.before)},"after":${end(s.after)}}`

const route = (s: RouteStep): string =>
  `{"at":"route","dst":"${s.dst}","src":"${s.src}","mark":${s.mark},"tos":${s.tos},"in":${text(s.in)},"rule":${text(s.rule)},"table":${text(s.table)},"route":${text(s.route)},"to":"${s.to}","dev":${text(s.dev)},"via":${text(s.via)},"why":${text(s.why)}}`
