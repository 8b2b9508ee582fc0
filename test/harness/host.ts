// A host for unit tests: interfaces from text, frames in and out as bytes, no clock but `at`.

import { DefragUser } from '../../datapath/fragments.ts'
import { Hook, Priority } from '../../datapath/hooks.ts'
import { Host } from '../../datapath/host.ts'
import { Packet } from '../../datapath/packet.ts'
import { FrameMemory, HEADROOM } from '../../datapath/ring.ts'
import { parseIpv4, parseIpv6 } from '../../datapath/wire/address.ts'
import { SeededRandom } from './frames.ts'

export interface Sent {
  readonly device: string
  readonly frame: Uint8Array
}

export interface TestHost {
  readonly host: Host
  /** Every frame that left since `feed` or `clear`. */
  readonly sent: Sent[]
  clear(): void
  /** One frame in; the frames that left because of it. Fails if a slot is lost. */
  feed(device: string, frame: Uint8Array): Sent[]
  /** The Packet that `feed` uses, as it was left. */
  readonly pkt: Packet
}

/** `interfaces`: name, MTU, addresses with prefix length. Forwarding is on, ICMP limits are off. */
export function testHost(
  interfaces: readonly (readonly [string, number, readonly string[]])[],
  sysctls: Readonly<Record<string, number>> = {},
): TestHost {
  const memory = new FrameMemory(64, 65535)
  const sent: Sent[] = []
  const host: Host = new Host({
    memory,
    random: new SeededRandom(1),
    egress: {
      send(dev, off, len, slot) {
        sent.push({ device: host.devices.byIndex[dev]!.name, frame: memory.bytes.slice(off, off + len) })
        if (slot >= 0) memory.give(slot)
      },
      flush() {},
    },
  })
  for (const [name, mtu, addresses] of interfaces) {
    const device = host.devices.add(name, mtu)
    for (const text of addresses) {
      const [address, length] = text.split('/')
      const six = parseIpv6(address!)
      host.devices.addAddress(device, {
        family: six === null ? 4 : 6,
        words: six ?? [parseIpv4(address!)!, 0, 0, 0],
        prefixLength: Number(length),
        broadcast: null,
        peer: null,
        scope: address!.startsWith('fe80') ? 253 : 0,
        secondary: false,
        label: null,
      })
    }
  }
  const defaults = {
    'net.ipv4.ip_forward': 1,
    'net.ipv4.icmp_ratelimit': 0,
    'net.ipv4.icmp_ratemask': 0,
    'net.ipv6.conf.all.forwarding': 1,
    'net.ipv6.icmp.ratelimit': 0,
  }
  for (const [name, value] of Object.entries({ ...defaults, ...sysctls })) host.tunables.set(name, value)
  const pkt = new Packet()
  return {
    host,
    sent,
    pkt,
    clear: () => {
      sent.length = 0
    },
    feed(device, frame) {
      sent.length = 0
      const free = memory.free
      const slot = memory.take()
      memory.bytes.set(frame, slot + HEADROOM)
      pkt.reset()
      pkt.slot = slot
      pkt.limit = slot + memory.stride
      pkt.l3 = slot + HEADROOM
      pkt.end = pkt.l3 + frame.length
      host.path.receive(pkt, host.devices.byName(device)!)
      if (memory.free !== free) throw new Error(`slots: ${free} before, ${memory.free} after`)
      return sent.slice()
    },
  }
}

/** Reassembly before the hooks, as conntrack has it. */
export function defragment(host: Host): void {
  host.hooks.register({
    name: 'defrag',
    family: 4,
    hook: Hook.PreRouting,
    priority: Priority.Defrag,
    run: (pkt) => host.fragments.defrag(pkt, DefragUser.ConntrackIn),
  })
}
