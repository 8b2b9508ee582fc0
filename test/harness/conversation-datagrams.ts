// UDP, ICMP echo and TFTP: questions and answers.

import {
  type Conversation,
  ipOptions,
  learn,
  opening,
  referencesOf,
  type View,
  type Wire,
} from './conversation.ts'
import * as build from './frames.ts'

export class UdpConversation implements Conversation {
  readonly #w: Wire
  readonly #a: View
  #b: View | null = null
  #left: number

  constructor(wire: Wire) {
    this.#w = wire
    this.#a = opening(wire)
    this.#left = 1 + wire.random.below(10)
  }

  get done(): boolean {
    return this.#left <= 0
  }

  async turn(): Promise<void> {
    const { random } = this.#w
    this.#left--
    const view = this.#b !== null && random.once(2) ? this.#b : this.#a
    const frame = build.udp({
      src: view.local.address,
      dst: view.remote.address,
      sport: view.local.port,
      dport: view.remote.port,
      payload: random.once(8)
        ? random.pick(['GET /index.html', 'get /INDEX.HTML', 'a'.repeat(600)])
        : random.pick([0, 1, 12, 100, 500, 1200, 1472, random.below(1600)]),
      noChecksum: random.once(10),
      badChecksum: random.once(16),
      ...ipOptions(this.#w),
    })
    const run = await this.#w.send(
      view.dev,
      frame,
      view === this.#a ? 'udp client' : 'udp server',
      referencesOf(frame, view),
    )
    if (view === this.#a) this.#b = learn(frame, run) ?? this.#b
  }
}

export class EchoConversation implements Conversation {
  readonly #w: Wire
  readonly #a: View
  #b: View | null = null
  #left: number
  #seq = 0
  readonly #id: number

  constructor(wire: Wire) {
    this.#w = wire
    this.#id = wire.random.pick([1, 77, 1000, 0, 0xffff, wire.random.below(65536)])
    const view = opening(wire)
    this.#a = {
      ...view,
      local: { ...view.local, port: this.#id },
      remote: { ...view.remote, port: this.#id },
    }
    this.#left = 1 + wire.random.below(6)
  }

  get done(): boolean {
    return this.#left <= 0
  }

  async turn(): Promise<void> {
    const { random } = this.#w
    this.#left--
    const reply = this.#b !== null && random.once(2)
    const view = reply ? this.#b! : this.#a
    const frame = build.icmp({
      src: view.local.address,
      dst: view.remote.address,
      type: this.#w.world.family === 6 ? (reply ? 129 : 128) : reply ? 0 : 8,
      code: random.once(16) ? 3 : 0,
      echoId: view.remote.port,
      seq: reply ? this.#seq : ++this.#seq,
      payload: random.pick([0, 8, 56, 56, 1000, 1472, random.below(1600)]),
      badChecksum: random.once(16),
      ...ipOptions(this.#w),
    })
    const run = await this.#w.send(
      view.dev,
      frame,
      reply ? 'echo reply' : 'echo request',
      referencesOf(frame, view),
    )
    if (!reply) this.#b = learn(frame, run) ?? this.#b
  }
}

/** A file asked for by TFTP, and sent from another port, which only a helper can know. */
export class TftpConversation implements Conversation {
  readonly #w: Wire
  readonly #a: View
  #b: View | null = null
  #turns = 0

  constructor(wire: Wire) {
    this.#w = wire
    const view = opening(wire)
    this.#a = { ...view, remote: { ...view.remote, port: 69 } }
  }

  get done(): boolean {
    return this.#turns > 3
  }

  async turn(): Promise<void> {
    const { random } = this.#w
    this.#turns++
    const view = this.#b ?? this.#a
    const server = this.#b !== null
    const frame = build.udp({
      src: view.local.address,
      dst: view.remote.address,
      sport: server ? random.pick([69, 3000, 3000, 3001]) : view.local.port,
      dport: view.remote.port,
      payload: server ? '\0\x03\0\x01data' : '\0\x01file\0octet\0',
      ...ipOptions(this.#w),
    })
    const run = await this.#w.send(view.dev, frame, server ? 'tftp data' : 'tftp request', [])
    if (!server) this.#b = learn(frame, run)
  }
}
