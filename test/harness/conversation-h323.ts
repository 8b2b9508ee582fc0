// H.323: a telephone registers with a gatekeeper, is called and calls, and both ends open channels. What the far end hears
// is read, and comes true: calls, control connections, media, whatever the host made of them.

import type { Type } from '../../conntrack/helpers/h323-per.ts'
import { h245Message, rasMessage, userInformation } from '../../conntrack/helpers/h323-types.ts'
import type { View } from './conversation.ts'
import {
  connectTo,
  HELPER_PORTS,
  Scripted,
  type TcpEnd,
  TcpSession,
  talkers,
  UdpSession,
} from './conversation-sessions.ts'
import * as build from './frames.ts'
import { damaged, encode, type Place, q931, tpkt } from './h323-encode.ts'
import { admittedIn, type Heard, heardIn, registeredIn } from './h323-read.ts'

const SIGNAL_PORTS = [1720, 1720, 1721, 2720, 65535]
const CONTROL_PORTS = [5100, 5100, 5101, 40000, 65534]
const MEDIA_PORTS = [5000, 5000, 5002, 5001, 20000, 65534, 65535, 1]
const DATA_PORTS = [1503, 1503, 1504]

const RAS = {
  grq: ['gatekeeperRequest'],
  gcf: ['gatekeeperConfirm'],
  rrq: ['registrationRequest'],
  rcf: ['registrationConfirm'],
  urq: ['unregistrationRequest'],
  arq: ['admissionRequest'],
  acf: ['admissionConfirm'],
  lrq: ['locationRequest'],
  lcf: ['locationConfirm'],
  irr: ['infoRequestResponse'],
} as const

export class H323Conversation extends Scripted {
  /** An address that `view`'s end says under this name. */
  #place(view: View, name: string): Place {
    const { random, world } = this.w
    const port =
      name === 'rasAddress' || name === 'replyAddress'
        ? view.local.port
        : /h245/.test(name)
          ? random.pick(CONTROL_PORTS)
          : /media/.test(name)
            ? random.pick(MEDIA_PORTS)
            : name === 'localAreaAddress'
              ? random.pick(DATA_PORTS)
              : random.pick(SIGNAL_PORTS)
    // GnomeMeeting's first one.
    if (name === 'callSignalAddress' && world.family === 4 && random.once(6))
      return { address: '127.0.0.1', port: random.pick(SIGNAL_PORTS) }
    const address = random.once(6)
      ? random.pick([
          view.remote.address,
          random.pick(world.peers).address,
          random.pick(world.virtual),
          ...(world.family === 4 ? ['127.0.0.1'] : ['::1']),
        ])
      : view.local.address
    return { address, port: random.once(30) ? random.pick([0, 65535, 1]) : port }
  }

  #message(
    type: Type,
    view: View,
    want: readonly string[],
    place: (name: string) => Place | null,
  ): Uint8Array {
    const { random, world } = this.w
    const family =
      random.once(20) !== (world.family === 4) ? ['ipAddress', 'iPAddress'] : ['ip6Address', 'iP6Address']
    return encode(type, {
      random,
      want: new Set([...want, ...family, 'unicastAddress', 'localAreaAddress']),
      place: (name) => place(name) ?? this.#place(view, name),
    })
  }

  /** `call`: what may be said to be where calls are taken. */
  #ras(view: View, want: readonly string[], call: Place | null = null): Uint8Array {
    const { random } = this.w
    const more = random.once(2) ? ['timeToLive'] : []
    const m = this.#message(
      rasMessage,
      view,
      [...want, ...more, 'destCallSignalAddress', 'srcCallSignalAddress'],
      (name) => (call !== null && /[cC]allSignal/.test(name) && !random.once(3) ? call : null),
    )
    return damaged(random, m)
  }

  protected async *script(): AsyncGenerator<void, void> {
    if (this.w.random.once(3)) yield* this.#register()
    else yield* this.#callTo(talkers(this.w, HELPER_PORTS['Q.931']))
  }

  // -- RAS

  async *#register(): AsyncGenerator<void, void> {
    const { w } = this
    const { random } = w
    let view = talkers(w, HELPER_PORTS.RAS)
    if (random.once(2)) view = { ...view, local: { ...view.local, port: 1719 } }
    const session = new UdpSession(w, view)
    const say = async (mine: boolean, payload: Uint8Array, note: string): Promise<Uint8Array | null> => {
      const end = mine || session.b === null ? session.a : session.b
      const got = await session.send(end, payload, note)
      return got === null ? null : Uint8Array.from(got.data)
    }
    if (random.once(3)) {
      await say(true, this.#ras(view, RAS.grq), 'ras GRQ')
      yield
      if (session.b !== null) {
        await say(false, this.#ras(session.b, RAS.gcf), 'ras GCF')
        yield
      }
    }
    let calls: Place[] = []
    /** As the telephone itself says. */
    let registered: Place | null = null
    for (let n = 1 + random.below(5); n > 0; n--) {
      const far = session.b
      switch (random.below(far === null ? 2 : 9)) {
        case 0:
        case 1:
        case 2: {
          const rrq = this.#ras(view, RAS.rrq)
          const heard = await say(true, rrq, 'ras RRQ')
          yield
          registered = registeredIn(rrq).find((p) => p.address === view.local.address) ?? registered
          calls = heard === null ? [] : registeredIn(heard)
          if (session.b === null || random.once(4)) break
          const back = calls.length > 0 ? random.pick(calls) : null
          await say(false, this.#ras(session.b, RAS.rcf, back), 'ras RCF')
          yield
          break
        }
        case 3:
        case 4: {
          const called = registered === null || random.once(3) ? null : registered
          const asked = await say(true, this.#ras(view, RAS.arq, called), 'ras ARQ')
          yield
          if (asked === null || session.b === null) break
          const other = random.once(2)
            ? { address: random.pick(w.world.peers).address, port: 1720 }
            : { address: session.b.remote.address, port: calls[0]?.port ?? 1720 }
          const heard = await say(false, this.#ras(session.b, RAS.acf, other), 'ras ACF')
          yield
          if (heard === null || !random.once(2)) break
          const [to] = admittedIn(heard)
          if (to !== undefined) yield* this.#follow(view, to, 'call')
          break
        }
        case 5:
          await say(true, this.#ras(view, RAS.lrq), 'ras LRQ')
          yield
          if (session.b === null) break
          await say(false, this.#ras(session.b, RAS.lcf), 'ras LCF')
          yield
          break
        case 6:
          await say(random.once(2), this.#ras(view, RAS.irr, calls[0] ?? null), 'ras IRR')
          yield
          break
        case 7:
          if (random.once(3)) {
            await say(random.once(2), this.#ras(view, RAS.urq, calls[0] ?? null), 'ras URQ')
            yield
          }
          break
        default: {
          await say(random.once(2), this.#ras(view, random.pick(Object.values(RAS))), 'ras')
          yield
        }
      }
      if (session.b !== null && calls.length > 0 && random.once(2)) {
        // The gatekeeper calls; or somebody whom nobody expects.
        const caller = random.once(6) ? { ...session.b, ...random.pick(w.world.peers) } : session.b
        const from = 'address' in caller ? (caller.address as string) : caller.local.address
        const there: View = {
          dev: caller.dev,
          local: { address: from, port: random.pick(w.world.clientPorts) },
          remote: session.b.remote,
          learned: null,
        }
        yield* this.#follow(there, random.pick(calls), 'call')
      }
    }
  }

  // -- connections that were announced

  /** Connects as announced, or a little beside it. */
  async *#follow(end: View, to: Place, how: 'call' | 'control' | 'data'): AsyncGenerator<void, void> {
    const { w } = this
    const { random, world } = w
    if (to.address.includes(':') !== (world.family === 6) || to.port === 0) return
    const target = random.once(12) ? { ...to, port: (to.port + 1) & 0xffff || 1 } : to
    const from = random.once(14) ? random.pick(world.peers) : { address: end.local.address, dev: end.dev }
    const view: View = {
      dev: from.dev,
      local: { address: from.address, port: random.pick(world.clientPorts) },
      remote: target,
      learned: null,
    }
    if (how === 'data') yield* connectTo(w, view.dev, view.local, view.remote)
    else if (how === 'control') yield* this.#control(view)
    else yield* this.#callTo(view)
  }

  #depth = 0

  /** What was heard comes true. */
  async *#come(end: View, heard: Heard): AsyncGenerator<void, void> {
    const { w } = this
    const { random } = w
    for (let n = Math.min(heard.media.length, 1 + random.below(3)); n > 0; n--)
      await this.#media(end, random.pick(heard.media))
    yield
    if (this.#depth >= 2) return
    this.#depth++
    for (const [list, how] of [
      [heard.control, 'control'],
      [heard.data, 'data'],
      [heard.calls, 'call'],
    ] as const)
      if (list.length > 0 && !random.once(3)) yield* this.#follow(end, random.pick(list), how)
    this.#depth--
  }

  async #media(end: View, to: Place): Promise<void> {
    const { w } = this
    const { random, world } = w
    if (to.address.includes(':') !== (world.family === 6)) return
    const frame = build.udp({
      src: random.once(12) ? random.pick(world.peers).address : end.local.address,
      dst: to.address,
      sport: random.pick([5000, 5001, 7078]),
      dport: random.once(4) ? to.port ^ 1 : to.port,
      payload: 20,
      id: w.id(),
    })
    await w.send(end.dev, frame, 'rtp')
  }

  // -- call signalling

  #signalling(view: View): Uint8Array {
    const { random } = this.w
    const body = random.pick([
      'setup',
      'setup',
      'callProceeding',
      'connect',
      'alerting',
      'facility',
      'facility',
      'progress',
    ])
    const want = [body]
    if (random.once(2)) want.push('h245Address')
    if (random.once(2)) want.push('fastStart', ...this.#channelWords())
    if (body === 'setup') want.push('destCallSignalAddress', 'sourceCallSignalAddress')
    if (body === 'facility' && random.once(2)) want.push('callForwarded', 'alternativeAddress')
    if (random.once(4)) want.push('h245Control', ...this.#controlWords())
    const m = this.#message(userInformation, view, want, (name) =>
      random.once(name === 'destCallSignalAddress' ? 2 : 12)
        ? { address: view.remote.address, port: view.remote.port }
        : name === 'alternativeAddress' && !random.once(4)
          ? { address: random.pick(this.w.world.peers).address, port: random.pick(SIGNAL_PORTS) }
          : null,
    )
    const whole = tpkt(random, damaged(random, q931(random, damaged(random, m))))
    return random.once(10) ? Uint8Array.from([...whole, ...this.#signalling(view)]) : whole
  }

  #channelWords(): string[] {
    const { random } = this.w
    const words = ['h2250', 'mediaChannel', 'mediaControlChannel']
    if (random.once(3)) words.push('reverse', 'multiplex')
    if (random.once(4)) words.push('separateStack', 'data', 't120', 'separateLANStack', 'application')
    return words
  }

  #controlWords(): string[] {
    return this.w.random.once(3)
      ? ['response', 'openLogicalChannelAck', 'forwardAck', ...this.#channelWords()]
      : ['request', 'openLogicalChannel', ...this.#channelWords()]
  }

  /** Both ends of a call, whatever they say. */
  async *#callTo(view: View): AsyncGenerator<void, void> {
    const { w } = this
    const session = new TcpSession(w, view, w.random.once(2))
    if (!(yield* session.open())) return
    for (let n = 1 + w.random.below(4); n > 0; n--) yield* this.#turn(session, true)
    yield* session.close()
  }

  async *#control(view: View): AsyncGenerator<void, void> {
    const { w } = this
    const session = new TcpSession(w, view, w.random.once(2))
    if (!(yield* session.open())) return
    for (let n = 1 + w.random.below(3); n > 0; n--) yield* this.#turn(session, false)
    yield* session.close()
  }

  #h245(view: View): Uint8Array {
    const { random } = this.w
    const m = this.#message(h245Message, view, this.#controlWords(), () => null)
    const whole = tpkt(random, damaged(random, m))
    return random.once(6) ? Uint8Array.from([...whole, ...this.#h245(view)]) : whole
  }

  async *#turn(session: TcpSession, signalling: boolean): AsyncGenerator<void, void> {
    const { random } = this.w
    const ends: readonly TcpEnd[] = [session.a, session.b!]
    const end = random.pick(ends)
    const message = signalling ? this.#signalling(end.view) : this.#h245(end.view)
    const note = signalling ? 'q931' : 'h245'
    let heard: Uint8Array
    if (random.once(12) && message.length > 4) {
      // NetMeeting: the header, then the rest.
      const head = yield* session.say(end, message.subarray(0, 4), `${note} header`)
      const rest = yield* session.say(end, message.subarray(4), `${note} without header`)
      heard = Uint8Array.from([...head, ...rest])
    } else heard = yield* session.say(end, message, note)
    const other = session.other(end)
    if (other !== null) yield* this.#come(other.view, heardIn(Uint8Array.from(heard), signalling))
  }
}
