// A host between two networks with NAT and nothing else: rules are functions, so that what is tested is NAT.
//
//     10.0.0.0/24 ── t0 10.0.0.1 [ host ] 192.0.2.1 t1 ── 192.0.2.0/24, default

import { Conntrack } from '../../../conntrack/conntrack.ts'
import { Manip, Nat, type NatRange } from '../../../conntrack/nat/nat.ts'
import { NO_RANGE } from '../../../conntrack/nat/range.ts'
import type { Device } from '../../../datapath/devices.ts'
import { Hook, type HookFn, Verdict } from '../../../datapath/hooks.ts'
import { Host } from '../../../datapath/host.ts'
import { Packet } from '../../../datapath/packet.ts'
import { MemoryEgress } from '../../../datapath/ports/memory.ts'
import { FrameMemory, HEADROOM } from '../../../datapath/ring.ts'
import { parseIpv4 } from '../../../datapath/wire/address.ts'
import { SeededRandom } from '../../harness/frames.ts'

export const ip = (text: string): number => {
  const word = parseIpv4(text)
  if (word === null) throw new Error(`no address: ${text}`)
  return word
}

/** A range by its unusual parts: addresses as text. */
export function range(
  o: Partial<Omit<NatRange, 'min' | 'max'>> & {
    min?: string
    max?: string
    ports?: readonly [number, number]
  },
): NatRange {
  const { min, max, ports, ...rest } = o
  const first = min === undefined ? null : ([ip(min), 0, 0, 0] as const)
  return {
    ...NO_RANGE,
    min: first,
    max: max === undefined ? first : [ip(max), 0, 0, 0],
    minPort: ports?.[0] ?? 0,
    maxPort: ports?.[1] ?? 0,
    hasPorts: ports !== undefined,
    ...rest,
  }
}

export interface Sent {
  readonly device: string
  readonly bytes: Uint8Array
}

export class World {
  readonly memory = new FrameMemory(64, 2048)
  readonly egress = new MemoryEgress(this.memory)
  readonly host: Host
  readonly conntrack: Conntrack
  readonly nat: Nat
  readonly t0: Device
  readonly t1: Device
  /** The nat table's chains; each may be replaced at any time. Default: no rule. */
  readonly chains: Record<number, HookFn> = {}
  /** Walks of the chains, by hook. */
  readonly walks = [0, 0, 0, 0, 0]
  readonly #pkt = new Packet()

  constructor(seed = 1) {
    this.host = new Host({ memory: this.memory, egress: this.egress, random: new SeededRandom(seed) })
    this.conntrack = new Conntrack(this.host)
    this.nat = new Nat(this.host, this.conntrack)
    this.conntrack.need(4)
    this.host.tunables.set('net.ipv4.ip_forward', 1)
    this.host.tunables.set('net.ipv4.icmp_ratelimit', 0)
    this.t0 = this.#device('t0', '10.0.0.1')
    this.t1 = this.#device('t1', '192.0.2.1')
    this.host.fib.addRoute({ dst: [0, 0, 0, 0], prefixLength: 0, device: this.t1 })
    const lookup =
      (hook: Hook): HookFn =>
      (pkt) => {
        this.walks[hook]!++
        return this.chains[hook]?.(pkt) ?? Verdict.Accept
      }
    this.nat.attach(
      4,
      Object.fromEntries(
        [Hook.PreRouting, Hook.LocalIn, Hook.LocalOut, Hook.PostRouting].map((h) => [h, lookup(h)]),
      ),
    )
  }

  #device(name: string, address: string): Device {
    const device = this.host.devices.add(name, 1500)
    this.address(device, address)
    return device
  }

  address(device: Device, address: string, options: { secondary?: boolean; scope?: number } = {}): void {
    this.host.devices.addAddress(device, {
      family: 4,
      words: [ip(address), 0, 0, 0],
      prefixLength: 24,
      broadcast: null,
      peer: null,
      scope: options.scope ?? 0,
      secondary: options.secondary ?? false,
      label: null,
    })
  }

  snat(r: NatRange): void {
    this.chains[Hook.PostRouting] = (pkt) => this.nat.setup(pkt, r, Manip.Src)
  }

  dnat(r: NatRange): void {
    this.chains[Hook.PreRouting] = (pkt) => this.nat.setup(pkt, r, Manip.Dst)
  }

  /** A frame arrives; what leaves in answer. */
  send(device: Device, frame: Uint8Array): Sent[] {
    this.#load(this.#pkt, frame)
    this.host.path.receive(this.#pkt, device)
    return this.#sent()
  }

  #load(pkt: Packet, frame: Uint8Array): void {
    const slot = this.memory.take()
    if (slot < 0) throw new Error('slots leak')
    pkt.reset()
    pkt.slot = slot
    pkt.limit = slot + this.memory.stride
    pkt.l3 = slot + HEADROOM
    pkt.end = pkt.l3 + frame.length
    this.memory.bytes.set(frame, pkt.l3)
  }

  #sent(): Sent[] {
    return this.egress
      .take()
      .map((s) => ({ device: this.host.devices.byIndex[s.device]!.name, bytes: s.bytes }))
  }

  /** This host sends a packet; what leaves. */
  local(frame: Uint8Array): Sent[] {
    const pkt = this.host.packets.take()
    this.#load(pkt, frame)
    pkt.local = true
    pkt.l4 = pkt.l3 + 20
    pkt.proto = frame[9]!
    pkt.s0 = src(frame)
    pkt.d0 = dst(frame)
    pkt.sport = sport(frame)
    pkt.dport = dport(frame)
    this.host.path.sendLocal(pkt)
    return this.#sent()
  }

  /** The only frame that leaves. */
  one(device: Device, frame: Uint8Array): Uint8Array {
    const sent = this.send(device, frame)
    if (sent.length !== 1) throw new Error(`${sent.length} frames left`)
    return sent[0]!.bytes
  }
}

const view = (frame: Uint8Array): DataView => new DataView(frame.buffer, frame.byteOffset, frame.byteLength)
const at = (frame: Uint8Array): number => (frame[0]! & 15) * 4

export const src = (frame: Uint8Array): number => view(frame).getInt32(12)
export const dst = (frame: Uint8Array): number => view(frame).getInt32(16)
export const sport = (frame: Uint8Array): number => view(frame).getUint16(at(frame))
export const dport = (frame: Uint8Array): number => view(frame).getUint16(at(frame) + 2)
export const echoId = (frame: Uint8Array): number => view(frame).getUint16(at(frame) + 4)
/** What an ICMP error quotes. */
export const quote = (frame: Uint8Array): Uint8Array => frame.slice(at(frame) + 8)
