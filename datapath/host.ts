// One emulated host: what the parts of the datapath share. A pure engine: time, randomness and the way out are
// handed in, nothing here reads a clock, opens a file or prints.
//
//     devices ── addresses, links ──▶ fib          hooks ◀── tables, conntrack, NAT register here
//                                      │             │
//     frame ──▶ path.receive ── route ─┴─ hooks ─────┴─▶ egress
//                     └─ replies, fragments ─▶ path.sendLocal

import { Counters } from './counters.ts'
import { Devices } from './device-table.ts'
import { type Device, ipv6Begun, Scope } from './devices.ts'
import { Dice } from './dice.ts'
import type { Events } from './events.ts'
import type { Fate } from './fate.ts'
import { Fib } from './fib.ts'
import { Fragments } from './fragments.ts'
import { Hooks } from './hooks.ts'
import { IcmpLimit } from './icmp-limit.ts'
import { Replies } from './ipv4/replies.ts'
import { Fragments6 } from './ipv6/fragments.ts'
import { Replies6 } from './ipv6/replies.ts'
import { Offloads } from './offload.ts'
import { Packet } from './packet.ts'
import { Path } from './path.ts'
import { Peers } from './peers.ts'
import type { Egress, FrameMemory, Frames } from './ring.ts'
import { Tunables } from './tunables.ts'
import { declareIpv4, Ipv4Conf } from './tunables-ipv4.ts'
import { declareIpv6, Ipv6Conf, Ipv6DeviceConf } from './tunables-ipv6.ts'
import { declareStack } from './tunables-stack.ts'

/** Seedable source of randomness. */
export interface Random {
  /**
   * Uniform 32-bit number, signed: beyond 2^31 a call that V8 does not inline would allocate an unsigned one. Does not
   * allocate.
   */
  i32(): number
}

/** What conntrack hangs into the datapath; null while it is not loaded. */
export interface TrackerLink {
  /** A packet is finished with its entry (nf_conntrack_put): unconfirmed entries die here. */
  release(pkt: Packet): void
  /** A packet made in answer to another belongs to its connection (nf_ct_attach). */
  attach(answer: Packet, cause: Packet): void
  /** REJECT answers a packet with a reset: its connection is over (nf_ct_set_closing). */
  closing?(cause: Packet): void
  /** A copy of a packet (skb_clone) holds the entry of pkt.ct too (nf_conntrack_get). */
  share?(copy: Packet): void
}

/** The flow cache (conntrack/flow-cache.ts); null: there is none. */
export interface FlowLink {
  /** The packet at hand is being recorded. */
  readonly recording: boolean
  /**
   * A Fate, or MISS, for a packet of TCP with a hint that is not parsed yet, of a device without offloads or with nothing left to
   * do. MISS: the packet is as before, but may be judged. Hot: does not allocate unless it is going to record.
   */
  segment(pkt: Packet, device: Device): number
  /**
   * How many frames from `at` on, which has a hint, are UDP datagrams of its connection that went a recorded way. Those are
   * sent and counted, also as received. Hot: does not allocate.
   */
  datagrams(frames: Frames, at: number, device: Device): number
  /** A Fate, or MISS. */
  receive(pkt: Packet, device: Device): number
  /** The packet for which receive() said MISS has ended. */
  end(pkt: Packet, fate: Fate, device: Device): void
  /** What is being recorded is not to be kept. */
  spoil(): void
  /** What an ipset holds is no longer what it was. */
  setsChanged(): void
}

/** Packet objects for what is made inside: answers, fragments, looped packets. */
export class PacketPool {
  readonly #free: Packet[] = []

  constructor(count = 16) {
    for (let i = 0; i < count; i++) this.#free.push(new Packet())
  }

  /** A fresh packet, without a slot. Allocates only when more are out than ever before. */
  take(): Packet {
    return this.#free.pop() ?? new Packet()
  }

  /** Its slot and its conntrack entry must be gone already. */
  give(pkt: Packet): void {
    pkt.reset()
    this.#free.push(pkt)
  }
}

export interface HostOptions {
  readonly memory: FrameMemory
  readonly egress: Egress
  readonly random: Random
  /** What rules draw from; default: `random`. */
  readonly dice?: Random
  /** What NAT draws ports from; default: `random`. */
  readonly ports?: Random
  readonly events?: Events
}

export class Host {
  readonly memory: FrameMemory
  readonly hooks = new Hooks()
  readonly tunables = new Tunables()
  readonly counters = new Counters()
  readonly packets = new PacketPool()
  readonly peers = new Peers(this)
  /** net.ipv4.* as plain fields. */
  readonly ipv4 = new Ipv4Conf()
  /** net.ipv6.* as plain fields. */
  readonly ipv6 = new Ipv6Conf()
  readonly icmpLimit: IcmpLimit
  readonly events: Events
  readonly random: Random
  /** What rules draw. */
  readonly dice: Dice
  /** What NAT draws. */
  readonly ports: Dice
  readonly devices: Devices
  readonly fib: Fib
  readonly replies: Replies
  readonly replies6: Replies6
  readonly fragments: Fragments
  readonly fragments6: Fragments6
  readonly path: Path
  readonly offloads: Offloads
  readonly ipv6Devices: Ipv6DeviceConf
  egress: Egress
  tracker: TrackerLink | null = null
  flows: FlowLink | null = null
  /** Monotonic milliseconds, may have a fraction; set before each packet or batch. */
  now = 0
  /** Wall clock of `now`: milliseconds since 1970, for LOG, recent, time. */
  wall = 0
  /**
   * Called by commands at each of their many small steps, where everything is in order: packets that wait may be taken
   * then, as where the kernel calls cond_resched(). Commands wait for each other.
   */
  condResched: () => void = () => {}
  /** Packets came a moment ago: what the next would wait for is better made ahead. */
  isBusy = false

  /** A host with one interface, lo (up, 127.0.0.1/8), no rules, no forwarding: a fresh network namespace. */
  constructor(options: HostOptions) {
    this.memory = options.memory
    this.egress = options.egress
    this.random = options.random
    this.dice = new Dice(options.dice ?? options.random)
    this.ports = new Dice(options.ports ?? options.random)
    this.events = options.events ?? { log: null, trace: null }
    declareIpv4(this.tunables, this.ipv4)
    declareIpv6(this.tunables, this.ipv6)
    this.icmpLimit = new IcmpLimit(this)
    this.devices = new Devices(this.tunables)
    this.ipv6Devices = new Ipv6DeviceConf(this.tunables, this.devices, this.ipv6)
    declareStack(this.tunables, this.devices)
    this.fib = new Fib(this.devices, this.memory, this.ipv4)
    this.fib.multipath6 = this.ipv6
    this.devices.listen({ arpChanged: (device) => this.#checkAgain(device) })
    this.devices.addAddress(this.devices.loopback, {
      family: 4,
      words: [0x7f000001, 0, 0, 0],
      prefixLength: 8,
      broadcast: null,
      peer: null,
      scope: Scope.Host,
      secondary: false,
      label: 'lo',
    })
    this.offloads = new Offloads(this)
    this.replies = new Replies(this)
    this.replies6 = new Replies6(this)
    this.fragments = new Fragments(this)
    this.fragments6 = new Fragments6(this)
    this.path = new Path(this)
  }

  /** addrconf_dad_run(): each IPv6 address waits some part of router_solicitation_delay. */
  #checkAgain(device: Device): void {
    if (!ipv6Begun(device)) return
    const delay = this.tunables.get(
      `net.ipv6.conf.${device.name.replaceAll('.', '/')}.router_solicitation_delay`,
    )
    // A negative one counts as unsigned jiffies, of 4 ms.
    const range = delay < 0 ? 2 ** 34 + delay * 1000 : delay * 1000
    this.fib.addresses6.checks.restart(
      device,
      () => this.now + (range === 0 ? 0 : ((this.random.i32() >>> 0) / 2 ** 32) * range),
    )
    this.fib.addresses6.finishChecks(this.now)
  }
}
