// What is written beside packets, for Wireshark: verdict, rule, NAT and reason, as a comment; epb_verdict; and one
// epb_packetid for a packet and for what left because of it.
//
//     --comments        what left, each frame with its note
//     --annotated FILE  what came in and what left, side by side: dropped packets too

import { Fate } from '../../datapath/fate.ts'
import { Action, type CaptureWriter, Direction, type Note } from '../../datapath/ports/capture-writer.ts'
import type { PacketRecord, Step } from '../explain/record.ts'
import type { HeldFrames, Leaving } from './egress.ts'
import type { FrameSource } from './player.ts'
import { ruleWords } from './summary.ts'

/** What Linux's traffic control would have said. An answered packet went no further than this host either. */
const ACTIONS: Readonly<Record<Fate, Action>> = {
  [Fate.Dropped]: Action.Shot,
  [Fate.Forwarded]: Action.Ok,
  [Fate.Delivered]: Action.Ok,
  [Fate.Replied]: Action.Ok,
  [Fate.Consumed]: Action.Stolen,
}

/** The action for epb_verdict: REJECT answers, but lets nothing pass. */
function actionOf(record: PacketRecord, fate: Fate): Action {
  return fate === Fate.Replied && record.reason === 'rule' ? Action.Shot : ACTIONS[fate]
}

const end = ([address, port]: readonly [string, number]): string =>
  port < 0 ? address : address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`

/** `dropped by -A FORWARD -j DROP (iptables-save:12)`, then NAT and connection, a line each. */
export function commentOf(record: PacketRecord): string {
  const { verdict, reason, decision } = record
  const lines: string[] = []
  const byRule =
    decision !== null && (reason === '' || reason === 'rule' || reason === 'delivered' || reason === 'echo')
  if (byRule) lines.push(`${verdict} by ${placed(decision.rule)}`)
  else lines.push(reason === '' || reason === 'rule' ? verdict : `${verdict}: ${reason}`)
  if (reason === 'rule' && byRule) lines.push('reason: rule')
  for (const step of record.journeys[0]?.steps ?? []) {
    const line = wordsOf(step)
    if (line !== null) lines.push(line)
  }
  return lines.join('\n')
}

function placed(rule: Parameters<typeof ruleWords>[0]): string {
  const [text, place] = ruleWords(rule)
  return place === '' ? text : `${text} (${place})`
}

function wordsOf(step: Step): string | null {
  switch (step.at) {
    case 'conntrack': {
      const why = step.why === null ? '' : `: ${step.why}`
      return `conntrack: ${step.state}${why}${step.sysctl === null ? '' : ` (${step.sysctl} would change it)`}`
    }
    case 'nat': {
      const [before, after] = [end(step.before), end(step.after)]
      if (before === after) return null
      const by = step.rule === null ? '' : ` by ${placed(step.rule)}`
      return `NAT: ${step.changes} ${before} -> ${after}${by}`
    }
    default:
      return null
  }
}

/** Writes notes into one or two captures. */
export class Notes {
  /** OUT with notes; null: without. */
  readonly #out: Leaving
  readonly #comments: boolean
  readonly #both: Leaving | null
  /** The annotated capture's numbers for interfaces of the source. */
  readonly #arrivals: number[] = []

  constructor(out: Leaving, comments: boolean, both: Leaving | null) {
    this.#out = out
    this.#comments = comments
    this.#both = both
  }

  packet(record: PacketRecord, fate: Fate, source: FrameSource, held: HeldFrames): void {
    const action = actionOf(record, fate)
    const comment = commentOf(record)
    const note = (direction: Direction): Note => ({ id: record.n, action, direction, comment })
    const both = this.#both
    if (both !== null) {
      both.writer.noted(
        this.#arrival(both.writer, source, record.in),
        source.seconds,
        source.nanos,
        source.bytes,
        source.at,
        source.length,
        source.originalLength,
        note(Direction.In),
      )
    }
    // What left was let go, whatever became of the packet that caused it.
    this.#leave(held, { ...note(Direction.Out), action: Action.Ok })
  }

  /** Frames that timers sent. */
  timers(held: HeldFrames): void {
    this.#leave(held, { id: null, action: null, direction: Direction.Out, comment: 'sent by a timer' })
  }

  #leave(held: HeldFrames, note: Note): void {
    if (this.#comments) this.#out.noted(held, note)
    else this.#out.plain(held)
    this.#both?.noted(held, note)
    held.clear()
  }

  #arrival(writer: CaptureWriter, source: FrameSource, device: string): number {
    const number = this.#arrivals[source.interface]
    if (number !== undefined) return number
    const { name, linkType } = source.interfaces[source.interface]!
    return (this.#arrivals[source.interface] = writer.interface(name ?? device, linkType))
  }
}
