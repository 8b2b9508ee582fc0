// A record as one line of JSON: what JSON.stringify() says, several times as fast, since rules and addresses repeat.

import type {
  ConntrackStep,
  EntryFacts,
  Journey,
  PacketFacts,
  PacketRecord,
  RouteStep,
  RuleRef,
  RuleStep,
  Step,
  TableStep,
  TupleFacts,
} from './record.ts'

/** Rules say the same as long as they stand. */
const rules = new WeakMap<RuleRef, string>()
const MOST_TEXTS = 8192
const texts = new Map<string, string>()

function ruleJson(rule: RuleRef): string {
  let text = rules.get(rule)
  if (text === undefined) {
    text = anything(rule)
    rules.set(rule, text)
  }
  return text
}

/** A text that comes again and again: names, words; not those of which there are millions. */
function quote(text: string): string {
  let quoted = texts.get(text)
  if (quoted === undefined) {
    if (texts.size >= MOST_TEXTS) texts.clear()
    quoted = anything(text)
    texts.set(text, quoted)
  }
  return quoted
}

const orNull = (text: string | null): string => (text === null ? 'null' : quote(text))

/** Addresses hold nothing that JSON would write otherwise. */
const plain = (text: string): string => `"${text}"`

/** Nothing else than ASCII has been written yet: such text becomes bytes twice as fast. */
export const onlyAscii = (): boolean => ascii

let ascii = true

/** Anything as JSON. */
function anything(value: unknown): string {
  const json = JSON.stringify(value)
  // biome-ignore lint/suspicious/noControlCharactersInRegex: the range is what is meant
  if (ascii && /[^\x00-\x7f]/.test(json)) ascii = false
  return json
}

/** The line, without its end. `ts`: seconds, as it is to be printed behind the number; absent: without. */
export function recordJson(record: PacketRecord, ts?: string): string {
  const { n, in: device, packet, verdict, reason, decision, journeys } = record
  let text = `{"n":${n},${ts === undefined ? '' : `"ts":${ts},`}"in":${quote(device)},"packet":${packet === null ? 'null' : facts(packet)},"verdict":"${verdict}","reason":${quote(reason)},"decision":`
  text +=
    decision === null ? 'null' : `{"rule":${ruleJson(decision.rule)},"verdict":${quote(decision.verdict)}}`
  text += ',"journeys":['
  for (let i = 0; i < journeys.length; i++) text += (i > 0 ? ',' : '') + journeyJson(journeys[i]!)
  return `${text}]}`
}

const facts = (p: PacketFacts): string =>
  `{"family":${p.family},"protocol":${quote(p.protocol)},"src":${plain(p.src)},"dst":${plain(p.dst)},"sport":${p.sport},"dport":${p.dport},"length":${p.length},"mark":${p.mark}}`

function journeyJson({ kind, cause, began, packet, steps }: Journey): string {
  let text = `{"kind":"${kind}","cause":${cause},"began":${began === null ? 'null' : `[${began[0]},${began[1]}]`},"packet":${facts(packet)},"steps":[`
  for (let i = 0; i < steps.length; i++) text += (i > 0 ? ',' : '') + stepJson(steps[i]!)
  return `${text}]}`
}

function stepJson(step: Step): string {
  switch (step.at) {
    case 'hook':
      return `{"at":"hook","hook":"${step.hook}","in":${orNull(step.in)},"out":${orNull(step.out)}}`
    case 'table':
      return tableJson(step)
    case 'conntrack':
      return conntrackJson(step)
    case 'route':
      return routeJson(step)
    case 'confirm':
      return `{"at":"confirm","entry":${entryJson(step.entry)}}`
    case 'nat': {
      const { hook, changes, binding, rule, before, after } = step
      return `{"at":"nat","hook":"${hook}","changes":"${changes}","binding":"${binding}","rule":${rule === null ? 'null' : ruleJson(rule)},"before":[${plain(before[0])},${before[1]}],"after":[${plain(after[0])},${after[1]}]}`
    }
    case 'sent':
      return `{"at":"sent","frame":${step.frame},"dev":${quote(step.dev)},"length":${step.length}${step.bytes === undefined ? '' : `,"bytes":"${step.bytes}"`}}`
    case 'drop':
      return `{"at":"drop","reason":${quote(step.reason)}}`
    case 'defrag':
      return `{"at":"defrag","complete":${step.complete},"length":${step.length}}`
  }
}

function tableJson({ table, chain, rules: walked, verdict, by }: TableStep): string {
  let text = `{"at":"table","table":"${table}","chain":${quote(chain)},"rules":[`
  for (let i = 0; i < walked.length; i++) text += (i > 0 ? ',' : '') + ruleStepJson(walked[i]!)
  return `${text}],"verdict":"${verdict}","by":${ruleJson(by)}}`
}

function ruleStepJson(step: RuleStep): string {
  const rule = ruleJson(step.rule)
  if (!step.matched)
    return `{"matched":false,"rule":${rule},"depth":${step.depth},"failed":${anything(step.failed)},"saw":${anything(step.saw)}${step.dropped ? ',"dropped":true' : ''}}`
  const { mark, ctmark } = step
  return `{"matched":true,"rule":${rule},"depth":${step.depth}${mark === undefined ? '' : `,"mark":[${mark[0]},${mark[1]}]`}${ctmark === undefined ? '' : `,"ctmark":[${ctmark[0]},${ctmark[1]}]`}}`
}

function conntrackJson(step: ConntrackStep): string {
  const { state, direction, before, after, why, sysctl, window } = step
  return `{"at":"conntrack","state":"${state}","direction":"${direction}","before":${before === null ? 'null' : entryJson(before)},"after":${after === null ? 'null' : entryJson(after)},"why":${why === null ? 'null' : anything(why)},"sysctl":${orNull(sysctl)},"window":${window === null ? 'null' : anything(window)}}`
}

function entryJson({
  entry,
  protocol,
  state,
  timeout,
  status,
  mark,
  original,
  reply,
  master,
}: EntryFacts): string {
  return `{"entry":${entry},"protocol":${quote(protocol)},"state":"${state}","timeout":${timeout},"status":${statusJson(status)},"mark":${mark},"original":${tupleJson(original)},"reply":${tupleJson(reply)},"master":${master}}`
}

const statusJson = (status: readonly string[]): string =>
  status.length === 0 ? '[]' : `["${status.join('","')}"]`

const tupleJson = ({ src, dst, sport, dport }: TupleFacts): string =>
  `{"src":${plain(src)},"dst":${plain(dst)},"sport":${sport},"dport":${dport}}`

function routeJson(step: RouteStep): string {
  const { dst, src, mark, tos, in: from, rule, table, route, to, dev, via, why } = step
  return `{"at":"route","dst":${plain(dst)},"src":${plain(src)},"mark":${mark},"tos":${tos},"in":${orNull(from)},"rule":${orNull(rule)},"table":${orNull(table)},"route":${orNull(route)},"to":"${to}","dev":${orNull(dev)},"via":${orNull(via)},"why":${orNull(why)}}`
}
