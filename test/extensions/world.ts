// A host for trying single rules: two TUN devices, the routes of record-kernel.py, conntrack beside it.
//
//     fd00:0::2 ─ tun0 fd00:0::1/64                   [ host ] fd00:1::1/64           tun1 ── fd00:1::2, default
//     10.0.0.2 ── tun0 10.0.0.1/24, MTU 1300 [ host ] 10.1.0.1/24, MTU 1400 tun1 ── 10.1.0.2, default

import { Conntrack } from '../../conntrack/conntrack.ts'
import { Nat } from '../../conntrack/nat/nat.ts'
import { Reason } from '../../datapath/counters.ts'
import { Scope } from '../../datapath/devices.ts'
import type { LogRecord } from '../../datapath/events.ts'
import { RouteType } from '../../datapath/fib.ts'
import { Hook } from '../../datapath/hooks.ts'
import { Host } from '../../datapath/host.ts'
import { type Family, Packet } from '../../datapath/packet.ts'
import { parse } from '../../datapath/parse.ts'
import { MemoryEgress } from '../../datapath/ports/memory.ts'
import { decreaseTtl, setHopLimit } from '../../datapath/rewrite.ts'
import { FrameMemory, HEADROOM } from '../../datapath/ring.ts'
import { parseIpv4, parseIpv6 } from '../../datapath/wire/address.ts'
import { ipv6HopLimit } from '../../datapath/wire/ipv6.ts'
import { PatternTables } from '../../rules/compile/names.ts'
import { emitBase } from '../../rules/compile/rule.ts'
import { type Code, functionOf, type Js, makeJs } from '../../rules/compile/template.ts'
import type { Match, Target } from '../../rules/extension.ts'
import { Sets } from '../../rules/sets/store.ts'
import { SeededRandom } from '../harness/frames.ts'
import { parseRule, shellWords } from './rule.ts'

type Words = readonly [number, number, number, number]
const ip = (text: string): Words => [parseIpv4(text)!, 0, 0, 0]
const ip6 = (text: string): Words => parseIpv6(text)!

export class World {
  readonly memory = new FrameMemory(32, 4096)
  readonly logged: LogRecord[] = []
  readonly host: Host
  readonly conntrack: Conntrack
  readonly nat: Nat
  readonly sets: Sets

  constructor(seed = 1) {
    this.host = new Host({
      memory: this.memory,
      egress: new MemoryEgress(this.memory),
      random: new SeededRandom(seed),
      events: { log: (record) => this.logged.push(record), trace: null },
    })
    const { devices, fib } = this.host
    const devs = [devices.add('tun0', 1300, { index: 2 }), devices.add('tun1', 1400, { index: 3 })] as const
    for (const [i, device] of devs.entries())
      devices.addAddress(device, {
        family: 4,
        words: ip(`10.${i}.0.1`),
        prefixLength: 24,
        broadcast: null,
        peer: null,
        scope: Scope.Universe,
        secondary: false,
        label: device.name,
      })
    const [tun0, tun1] = devs
    fib.addRoute({ dst: ip('0.0.0.0'), prefixLength: 0, gateway: ip('10.1.0.254'), device: tun1 })
    fib.addRoute({ dst: ip('10.1.255.0'), prefixLength: 24, device: tun1, mtu: 900 })
    fib.addRoute({ dst: ip('172.16.0.0'), prefixLength: 12, device: tun0, mtu: 600 })
    for (const [i, device] of devs.entries()) {
      const own = ip6(`fd00:${i}::1`)
      devices.addAddress(device, {
        family: 6,
        words: own,
        prefixLength: 64,
        broadcast: null,
        peer: null,
        scope: Scope.Universe,
        secondary: false,
        label: null,
      })
      fib.addRoute({ family: 6, type: RouteType.Local, dst: own, prefixLength: 128, device })
      fib.addRoute({ family: 6, type: RouteType.Anycast, dst: ip6(`fd00:${i}::`), prefixLength: 128, device })
      fib.addRoute({ family: 6, dst: ip6(`fd00:${i}::`), prefixLength: 64, device })
    }
    fib.addRoute({ family: 6, dst: ip6('::'), prefixLength: 0, gateway: ip6('fd00:1::fe'), device: tun1 })
    fib.addRoute({ family: 6, dst: ip6('fd00:1:0:900::'), prefixLength: 64, device: tun1, mtu: 1290 })
    fib.addRoute({ family: 6, dst: ip6('fd00:5::'), prefixLength: 48, device: tun0, mtu: 1280 })
    fib.addRoute({ family: 6, type: RouteType.Unreachable, dst: ip6('fd00:6::'), prefixLength: 48 })
    this.conntrack = new Conntrack(this.host)
    this.nat = new Nat(this.host, this.conntrack)
    this.sets = new Sets(this.host)
  }

  get env() {
    return { host: this.host, conntrack: this.conntrack, nat: this.nat, sets: this.sets }
  }

  /** The frame as FORWARD sees it coming from tun0, or null if it is refused or has no way. */
  forwarded(frame: Uint8Array): Packet | null {
    const pkt = this.parsed(frame)
    if (pkt === null) return null
    if (pkt.family === 4) decreaseTtl(pkt, this.memory)
    else setHopLimit(pkt, this.memory, ipv6HopLimit(this.memory.view, pkt.l3) - 1)
    pkt.iif = 2
    pkt.arrive(this.host.devices.byIndex[2]!, 0)
    pkt.queue = 1
    pkt.route = this.host.fib.lookup(this.host.fib.keyOf(pkt))
    pkt.oif = pkt.route?.device?.index ?? 0
    return pkt
  }

  /** The frame in memory, its headers read; null if ip_rcv refuses it. */
  parsed(frame: Uint8Array): Packet | null {
    const pkt = new Packet()
    pkt.slot = 0
    pkt.limit = this.memory.stride
    pkt.l3 = HEADROOM
    pkt.end = HEADROOM + frame.length
    this.memory.bytes.set(frame, HEADROOM)
    return parse(pkt, this.host) === Reason.None ? pkt : null
  }

  /** The bytes of a packet, as they are now. */
  bytes(pkt: Packet): Uint8Array {
    return this.memory.bytes.slice(pkt.l3, pkt.end)
  }

  /** What `emit` gives, as a function of the packet and the hook. */
  #run(family: Family, state: object | null, emit: (js: Js) => Code): (pkt: Packet, hook: number) => unknown {
    const js = makeJs(this.env, family, new PatternTables(this.host.devices))
    js.holder = { s: state }
    return functionOf(js, emit(js))
  }

  #compile(extension: Match | Target, data: unknown, family: Family) {
    return this.#run(family, extension.state?.(data, this.env, family) ?? null, (js) =>
      extension.emit(data, js),
    )
  }

  /** The matches of a rule (with its -p) as a function: 1 fits, 0 does not, x hotdrop. */
  match(rule: string, family: Family = 4): (pkt: Packet, hook?: number) => '1' | '0' | 'x' {
    const { protocol, matches } = parseRule(shellWords(rule), family)
    const base = { source: null, destination: null, inInterface: null, outInterface: null, fragment: null }
    const tests = [
      this.#run(family, null, (js) => js.all(emitBase({ ...base, protocol }, js))),
      ...matches.map(({ match, data }) => this.#compile(match, data, family)),
    ]
    return (pkt, hook = Hook.Forward) => {
      pkt.hotdrop = false
      const fits = tests.every((test) => {
        const answer = test(pkt, hook)
        if (typeof answer !== 'boolean') throw new TypeError(`${rule}: ${answer} is no boolean`)
        return answer
      })
      return pkt.hotdrop ? 'x' : fits ? '1' : '0'
    }
  }

  /** The target of a rule as a function: what its expression gives. */
  target(rule: string, family: Family = 4): (pkt: Packet, hook?: number) => unknown {
    const { target } = parseRule(shellWords(rule), family)
    const run = this.#compile(target!.target, target!.data, family)
    return (pkt, hook = Hook.Forward) => run(pkt, hook)
  }
}
