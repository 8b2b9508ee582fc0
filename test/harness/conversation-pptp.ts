// PPTP: the control connection, and GRE with the call identifiers that each end heard.

import type { View, Wire } from './conversation.ts'
import { HELPER_PORTS, Scripted, TcpSession, talkers } from './conversation-sessions.ts'
import * as build from './frames.ts'
import { u16 } from './headers.ts'

const BODY_LEN = [0, 144, 144, 4, 4, 4, 8, 156, 20, 208, 12, 16, 4, 136, 28, 12]

/** A control message whose body begins with `words`, 16 bits each. */
function control(
  w: Wire,
  type: number,
  words: readonly number[],
  more: Readonly<Record<number, number>> = {},
): Uint8Array {
  const { random } = w
  let length = 12 + (BODY_LEN[type] || 4)
  const bytes = new Uint8Array(length)
  const view = new DataView(bytes.buffer)
  view.setUint16(0, length)
  view.setUint16(2, random.once(40) ? 2 : 1)
  view.setUint32(4, random.once(40) ? 0x12345678 : 0x1a2b3c4d)
  view.setUint16(8, type)
  words.forEach((word, i) => {
    view.setUint16(12 + 2 * i, word)
  })
  for (const [at, value] of Object.entries(more)) bytes[12 + Number(at)] = value
  if (random.once(30)) length -= 1 + random.below(8)
  return bytes.subarray(0, length)
}

const idAt = (heard: Uint8Array, at: number): number | null =>
  heard.length >= 12 + at + 2 ? u16(heard, 12 + at) : null

export class PptpConversation extends Scripted {
  async #gre(view: View, callId: number, note: string): Promise<void> {
    const { w } = this
    const { random } = w
    const frame = build.gre({
      src: view.local.address,
      dst: view.remote.address,
      callId: random.once(12) ? (callId + 1) & 0xffff : callId,
      ...(random.once(20) ? { protocol: 0x0800 } : {}),
      seq: 1,
      payload: 20,
      id: w.id(),
    })
    if (random.once(30)) frame[23] = 0
    await w.send(view.dev, frame, note)
  }

  protected async *script(): AsyncGenerator<void, void> {
    const { w } = this
    const { random } = w
    const session = new TcpSession(w, talkers(w, HELPER_PORTS.pptp), random.once(2))
    if (!(yield* session.open())) return
    const { a } = session
    const b = session.b!
    if (!random.once(10)) yield* session.say(a, control(w, 1, [0x100]), 'pptp start')
    if (!random.once(10))
      yield* session.say(b, control(w, 2, [0x100], { 2: random.once(10) ? 2 : 1 }), 'pptp started')
    for (let n = 1 + random.below(2); n > 0; n--) {
      const client = random.pick([7, 7, random.below(65536)])
      const server = random.pick([9, 9, random.below(65536)])
      let toServer: number | null = null
      let toClient: number | null = null
      if (random.once(4)) {
        // The server calls.
        const asked = yield* session.say(b, control(w, 9, [server, 1]), 'pptp call in')
        toServer = idAt(asked, 0)
        const peer = random.once(10) ? 3 : (toServer ?? server)
        const heard = yield* session.say(
          a,
          control(w, 10, [client, peer], { 4: random.once(10) ? 3 : 1 }),
          'pptp call in accepted',
        )
        toClient = idAt(heard, 0)
        yield* session.say(b, control(w, 11, [toClient ?? client]), 'pptp call in connected')
      } else {
        const heard = yield* session.say(a, control(w, 7, [client, 1]), 'pptp call out')
        toClient = idAt(heard, 0)
        const peer = random.once(10) ? 3 : (toClient ?? client)
        const answer = yield* session.say(
          b,
          control(w, 8, [server, peer], { 4: random.once(10) ? 4 : 1 }),
          'pptp call out accepted',
        )
        toServer = idAt(answer, 0)
      }
      for (let m = random.below(6); m > 0; m--) {
        const own = random.once(2)
        await this.#gre(
          own ? a.view : b.view,
          (own ? toServer : toClient) ?? 1,
          `gre of ${own ? 'client' : 'server'}`,
        )
        yield
      }
      switch (random.below(6)) {
        case 0:
          yield* session.say(a, control(w, 12, [client, 0]), 'pptp clear')
          yield* session.say(b, control(w, 13, [server, 0x100]), 'pptp disconnected')
          break
        case 1:
          yield* session.say(random.pick([a, b]), control(w, 15, [toClient ?? 1]), 'pptp set link')
          break
        case 2:
          yield* session.say(b, control(w, 14, [toClient ?? 1]), 'pptp error')
          break
        case 3:
          yield* session.say(
            random.pick([a, b]),
            control(w, random.pick([5, 6, 0, 16, 3, 4, 1, 2]), [1, 1]),
            'pptp other',
          )
          break
      }
      if (random.once(2)) {
        await this.#gre(random.pick([a, b]).view, random.pick([toServer ?? 1, toClient ?? 1]), 'gre late')
        yield
      }
    }
    if (random.once(3)) yield* session.say(a, control(w, 3, [0x100]), 'pptp stop')
    if (random.once(3)) yield* session.say(b, control(w, 4, [0x100]), 'pptp stopped')
    yield* session.close()
  }
}
