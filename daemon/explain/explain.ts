// The explanation of a packet, or of each packet of a conversation, as text or as JSON.

import { colorsFor } from '../colors.ts'
import { CommandError, ExitCode } from '../errors.ts'
import { decode } from '../frames/decode.ts'
import { Provenance } from '../provenance/index.ts'
import { CaptureFile } from '../replay/capture-file.ts'
import { Player } from '../replay/player.ts'
import { changes } from './changes.ts'
import { markBits, printExplanation } from './print.ts'
import type { PacketRecord, RuleRef } from './record.ts'
import { type Played, Stage } from './stage.ts'
import { authorOf, summarise } from './summary.ts'
import { findRule, whyNot } from './why-not.ts'

export interface ExplainOptions {
  /** The host folder. */
  readonly host: string
  /** `number`: from 1. `iface`: where frames arrive, whatever the capture says; null: as it says. */
  readonly packets:
    | { readonly text: string }
    | { readonly capture: string; readonly number: number; readonly iface: string | null }
  /** Rules that did not fit too. */
  readonly all: boolean
  /** A rule, see findRule; null: none. */
  readonly whyNot: string | null
  readonly json: boolean
  /** Null: if standard output is a terminal, and NO_COLOR is not set. */
  readonly color: boolean | null
  readonly seed: number
}

/** What the command prints. Throws CommandError for unusable input. */
export function explain(options: ExplainOptions): string {
  const misses = options.all || options.whyNot !== null
  const stage = new Stage(options.host, { misses, seed: options.seed })
  const { packets } = options
  const played = 'text' in packets ? stage.play(packets.text) : [ofCapture(stage, packets)]
  const provenance = new Provenance(stage.engine.tables)
  if (options.json) return `${JSON.stringify(asJson(played, stage, provenance, options), null, 2)}\n`
  const colors = colorsFor(options.color)
  const texts = played.map((one) => {
    const text = printExplanation(one, { colors, provenance, all: options.all })
    return `${text}${answer(one, stage, provenance, options.whyNot)}`
  })
  return texts.join(`\n${colors.dim('-'.repeat(80))}\n\n`)
}

function answer(played: Played, stage: Stage, provenance: Provenance, asked: string | null): string {
  if (asked === null) return ''
  return `\n${answerLines(played, stage, provenance, asked).join('\n')}\n`
}

function answerLines({ record }: Played, stage: Stage, provenance: Provenance, asked: string): string[] {
  const { engine, recorder } = stage
  const rule = findRule(asked, engine, recorder.references, record.packet?.family ?? 4)
  return whyNot(rule, record, engine, recorder.references, provenance)
}

/** The packets before it make the state. */
function ofCapture(
  stage: Stage,
  {
    capture,
    number,
    iface,
  }: { readonly capture: string; readonly number: number; readonly iface: string | null },
): Played {
  const file = new CaptureFile(capture)
  try {
    const { reader } = file
    const stamped = { seconds: 0, nanos: 0 }
    const player = new Player({ engine: stage.engine, source: reader, file: file.path, iface, stamped })
    // Nobody asks after those before it.
    stage.recorder.detach()
    for (let n = 1; file.next(); n++) {
      player.setClock()
      if (n < number) {
        player.receive()
        stage.forget()
        continue
      }
      stage.recorder.attach()
      const from = reader.bytes.slice(reader.at, reader.at + reader.length)
      return stage.record(
        () => player.receive(),
        () => ({
          came: player.device === null ? from : player.frame(),
          device: player.device?.name ?? '',
          reason: player.reason,
        }),
      )
    }
    throw new CommandError(
      `${file.path}: there is no packet ${number}: it has ${file.count}`,
      ExitCode.Unusable,
    )
  } finally {
    file.close()
  }
}

/** A mark at the end, and the rules that set its bits; null: it came with them. */
interface JsonMark {
  readonly value: number
  readonly setBy: readonly { readonly bits: number; readonly rule: string | null }[]
}

/** A record with what only text says otherwise. */
interface JsonPacket extends PacketRecord {
  readonly summary: string
  readonly words: string | null
  readonly mark: JsonMark
  readonly connmark: JsonMark
  readonly authors: Readonly<Record<string, string>>
  readonly left: readonly {
    readonly dev: string
    readonly text: string
    readonly bytes: string
    readonly changes: ReturnType<typeof changes>
  }[]
  readonly whyNot?: readonly string[]
}

function asJson(
  played: readonly Played[],
  stage: Stage,
  provenance: Provenance,
  options: ExplainOptions,
): { readonly host: string; readonly packets: readonly JsonPacket[] } {
  return {
    host: options.host,
    packets: played.map((one) => {
      const { record, left, words, came } = one
      const { verdict, text } = summarise(one, provenance)
      const marks = (kind: 'mark' | 'ctmark'): JsonMark => {
        const bits = record.journeys[0] === undefined ? null : markBits(record.journeys[0], kind)
        return {
          value: bits?.mark ?? 0,
          setBy: (bits?.bits ?? []).map(({ bits, rule }) => ({ bits, rule: rule?.name ?? null })),
        }
      }
      return {
        summary: `${verdict} ${text}`.trimEnd(),
        words,
        ...record,
        mark: marks('mark'),
        connmark: marks('ctmark'),
        authors: authorsOf(record, provenance),
        left: left.map(({ device, frame }) => ({
          dev: device,
          text: decode(frame),
          bytes: Buffer.from(frame).toString('hex'),
          changes: changes(came, frame),
        })),
        ...(options.whyNot !== null && { whyNot: answerLines(one, stage, provenance, options.whyNot) }),
      }
    }),
  }
}

/** Authors of the rules that fitted, by name. */
function authorsOf(record: PacketRecord, provenance: Provenance): Record<string, string> {
  const authors: Record<string, string> = {}
  const rules: RuleRef[] = []
  for (const { steps } of record.journeys)
    for (const step of steps)
      if (step.at === 'table') for (const rule of step.rules) if (rule.matched) rules.push(rule.rule)
  for (const rule of rules) {
    const author = authorOf(rule, provenance)
    if (author !== null) authors[rule.name] = author
  }
  return authors
}
