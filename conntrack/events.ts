// Events of connections, for those who listen (nf_conntrack_ecache.c, ctnetlink_conntrack_event): noted while a packet
// passes, told in one when it has passed.

import {
  clearEvents,
  type EntryTable,
  EVENTS,
  Event,
  EXTENSIONS,
  Extension,
  eventsOf,
  noteEvents,
  STATUS,
  STRIDE,
  Status,
} from './table.ts'

/** Hears of events (bits of Event) of an entry; `program`: number of the program whose wish it was, 0 none. */
export type EventListener = (entry: number, events: number, program: number) => void

export class Events {
  /** Somebody wants to hear of events. */
  listening = false
  readonly #table: EntryTable
  readonly #listeners = new Set<EventListener>()

  constructor(table: EntryTable) {
    this.#table = table
  }

  /** Tells `listener` of every event from now on (ctnetlink_conntrack_event). Returns the undo. */
  listen(listener: EventListener): () => void {
    if (this.#listeners.size === 0)
      // What happened before is nobody's news.
      this.#table.forEach((entry) => {
        clearEvents(this.#table.words, entry * STRIDE)
      })
    this.#listeners.add(listener)
    this.listening = true
    return () => {
      this.#listeners.delete(listener)
      this.listening = this.#listeners.size > 0
    }
  }

  /** Something to tell of an entry when its packet has passed (nf_conntrack_event_cache). */
  note(entry: number, event: number): void {
    noteEvents(this.#table.words, entry * STRIDE, event)
  }

  /** A packet has passed: tells what it changed, in one event (nf_ct_deliver_cached_events). */
  tell(entry: number): void {
    const w = this.#table.words
    const o = entry * STRIDE
    const events = eventsOf(w, o)
    if (events === 0 || (w[o + STATUS]! & (Status.Confirmed | Status.Dying)) !== Status.Confirmed) return
    clearEvents(w, o)
    this.report(entry, events, 0)
  }

  /** nf_conntrack_eventmask_report. `program`: number of the program whose wish it was, 0 none. */
  report(entry: number, events: number, program: number): void {
    const w = this.#table.words
    const o = entry * STRIDE
    if (!this.listening || (w[o + STATUS]! & Status.Confirmed) === 0) return
    if ((w[o + EXTENSIONS]! & Extension.Events) === 0) return
    const asked = this.#table.extraOf(entry, EVENTS)
    const mask = asked === 0 ? 0xffff : asked & 0xffff
    // The kernel tells of beginnings and ends whatever CT --ctevents says (asked of 6.18).
    if ((events & (mask | Event.New | Event.Related | Event.Destroy)) === 0) return
    for (const listener of [...this.#listeners]) listener(entry, events, program)
  }
}
