// conntrack -E: events as they happen, until the caller ends.

import { describe } from '../../conntrack/ctnetlink.ts'
import {
  formatExpectation,
  formatFlow,
  formatSave,
  formatXml,
  type Happening,
} from '../../conntrack/print.ts'
import { Event } from '../../conntrack/table.ts'
import type { Engine } from '../engine.ts'
import { filter } from './conntrack-filter.ts'
import { NAME, XML_HEAD } from './conntrack-usage.ts'
import { EventBit, OutputBit, type Wish } from './conntrack-wish.ts'
import type { Say } from './tool.ts'

export function followFlows(wish: Wish, { conntrack }: Engine, say: Say) {
  const { host } = conntrack
  const fits = filter(wish)
  const kinds = wish.given.has('event-mask') ? wish.events : 7
  const has = (bit: number): boolean => (wish.outputs & bit) !== 0
  let shown = 0
  if (wish.given.has('buffer-size'))
    say('', `NOTICE: Netlink socket buffer size has been set to ${bufferSize(wish.bufferSize)} bytes.\n`)
  const stop = conntrack.events.listen((entry, events, program) => {
    const what = happening(events)
    if ((kinds & KIND_BITS[what]) === 0) return
    const flow = describe(conntrack, entry, events)
    if (wish.family !== 0 && flow.orig.family !== wish.family) return
    if (!fits(flow)) return
    let line: string
    if (has(OutputBit.Save)) line = formatSave(flow, what)
    else if (has(OutputBit.Xml)) {
      line = formatXml(flow, host.wall, what, has(OutputBit.Timestamp))
      if (shown === 0) line = `${XML_HEAD}<conntrack>\n${line}`
    } else {
      const options = {
        extended: has(OutputBit.Extended),
        id: has(OutputBit.Id),
        timestamps: has(OutputBit.KernelTimes),
      }
      line = (has(OutputBit.Timestamp) ? stamp(host.wall) : '') + formatFlow(flow, host.wall, options, what)
    }
    if (program !== 0 && !has(OutputBit.Xml)) line += ` [USERSPACE] portid=${program}`
    say(`${line}\n`, '')
    shown++
  })
  return () => {
    stop()
    return {
      stdout: has(OutputBit.Xml) && shown > 0 ? '</conntrack>\n' : '',
      stderr: `${NAME}${shown} flow events have been shown.\n`,
      code: 0,
    }
  }
}

const KIND_BITS: Readonly<Record<Happening, number>> = {
  new: EventBit.New,
  update: EventBit.Update,
  destroy: EventBit.Destroy,
}

function happening(events: number): Happening {
  if ((events & Event.Destroy) !== 0) return 'destroy'
  return (events & (Event.New | Event.Related)) !== 0 ? 'new' : 'update'
}

/** What setsockopt makes of SO_RCVBUF: twice, and never below the least. */
const bufferSize = (asked: number): number => Math.max(2 * Math.min(asked, 0x3fffffff), 2304)

/** `[seconds.microseconds]` and a tab. */
function stamp(ms: number): string {
  const seconds = Math.floor(ms / 1000)
  const micro = Math.floor((ms - seconds * 1000) * 1000)
  return `[${seconds}.${String(micro).padStart(6, '0')}]\t`
}

/** Only expectations that helpers or programs make and end. */
export function followExpectations(_wish: Wish, { conntrack }: Engine, say: Say) {
  let shown = 0
  const stop = conntrack.expectations.listen((expectation, made) => {
    say(`${made ? '    [NEW] ' : '[DESTROY] '}${formatExpectation(conntrack, expectation)}\n`, '')
    shown++
  })
  return () => {
    stop()
    return { stdout: '', stderr: `${NAME}${shown} expectation events have been shown.\n`, code: 0 }
  }
}
