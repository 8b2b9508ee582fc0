import { describe, expect, it } from 'vitest'
import { confirm, track } from '../../../conntrack/hooks.ts'
import { STRIDE, Status, zoneOf } from '../../../conntrack/table.ts'
import { invert, Tuple, tupleAt } from '../../../conntrack/tuple.ts'
import { Hook, Priority, Verdict } from '../../../datapath/hooks.ts'
import { CtInfo, type Packet } from '../../../datapath/packet.ts'
import { icmpError, ip4, SeededRandom, tcp } from '../../harness/frames.ts'
import { A, B, back, lines, Rig, template, templated, there } from './support.ts'

describe('the life of an entry', () => {
  it('begins at confirmation: a packet that is dropped leaves nothing', () => {
    const rig = new Rig()
    const pkt = rig.packet(there())
    track(rig.ct, pkt, Hook.PreRouting)
    expect(rig.ct.table.used).toBe(1)
    expect(rig.entries()).toEqual([])
    rig.done(pkt)
    expect(rig.ct.table.used).toBe(0)
  })

  it('the timeout runs from confirmation', () => {
    const rig = new Rig()
    const pkt = rig.packet(there())
    track(rig.ct, pkt, Hook.PreRouting)
    expect(rig.ct.remaining(pkt.ct)).toBe(30)
    rig.pass(5)
    confirm(rig.ct, pkt)
    expect(rig.ct.remaining(pkt.ct)).toBe(30)
    rig.done(pkt)
  })

  it('ends by time: not found, not listed, not counted, then swept', () => {
    const rig = new Rig()
    for (let port = 1; port <= 100; port++) rig.forward(there({ sport: port }))
    rig.pass(29.999)
    expect(rig.ct.count).toBe(100)
    rig.pass(0.001)
    expect(rig.ct.count).toBe(0)
    expect(rig.tunables.get('net.netfilter.nf_conntrack_count')).toBe(0)
    expect(rig.forward(there({ sport: 7 }))).toBe('N')
    expect(rig.ct.table.used).toBe(100)
    rig.pass(1)
    while (rig.ct.tick());
    expect(rig.ct.table.used).toBe(1)
    expect(rig.entries().length).toBe(1)
  })

  it('is not freed while a packet holds it', () => {
    const rig = new Rig()
    const destroyed: number[] = []
    rig.ct.onDestroy = (entry) => destroyed.push(entry)
    rig.forward(there(), (pkt) => {
      confirm(rig.ct, pkt)
      const entry = pkt.ct
      expect(rig.ct.references(entry)).toBe(2)
      expect(rig.ct.kill(entry)).toBe(true)
      expect(rig.ct.kill(entry)).toBe(false)
      expect(rig.entries()).toEqual([])
      expect(destroyed).toEqual([])
      // A new packet of the flow gets an entry of its own.
      const other = rig.packet(there())
      track(rig.ct, other, Hook.PreRouting)
      expect(other.ct).not.toBe(entry)
      rig.done(other)
      expect(destroyed).toEqual([other.ct === -1 ? destroyed[0] : -1])
    })
    expect(destroyed.length).toBe(2)
    expect(rig.ct.table.used).toBe(0)
  })

  it('a packet seen before is let be: loopback, NOTRACK', () => {
    const rig = new Rig()
    const pkt = rig.packet(there())
    pkt.ctInfo = CtInfo.Untracked
    track(rig.ct, pkt, Hook.PreRouting)
    expect(rig.ct.stateBit(pkt)).toBe(64)
    expect(confirm(rig.ct, pkt)).toBe(Verdict.Accept)
    rig.done(pkt)
    const own = rig.packet(there())
    track(rig.ct, own, Hook.LocalOut)
    confirm(rig.ct, own)
    track(rig.ct, own, Hook.PreRouting)
    expect(rig.ct.stateBit(own)).toBe(8)
    expect(rig.ct.references(own.ct)).toBe(2)
    rig.done(own)
  })

  it('answers made here belong to the cause, and do not confirm it (nf_conntrack_attach)', () => {
    const rig = new Rig()
    const cause = rig.packet(there())
    track(rig.ct, cause, Hook.PreRouting)
    const answer = rig.packet(icmpError(3, 3, there()))
    rig.ct.attach(answer, cause)
    expect([answer.ct, answer.ctInfo]).toEqual([cause.ct, CtInfo.RelatedReply])
    track(rig.ct, answer, Hook.LocalOut)
    expect(confirm(rig.ct, answer)).toBe(Verdict.Accept)
    expect(rig.entries()).toEqual([])
    rig.done(cause)
    expect(rig.ct.table.used).toBe(1)
    rig.done(answer)
    expect(rig.ct.table.used).toBe(0)
  })

  it('flush ends all', () => {
    const rig = new Rig()
    for (let port = 1; port <= 10; port++) rig.forward(there({ sport: port }))
    rig.ct.flush()
    expect(rig.ct.table.used).toBe(0)
    expect(rig.forward(back({ dport: 3 }))).toBe('N')
  })

  it('random packets, kills and time leave no entry and no use behind', () => {
    for (let seed = 1; seed <= 20; seed++) {
      const random = new SeededRandom(seed)
      const rig = new Rig(seed)
      const flying: Packet[] = []
      for (let step = 0; step < 1500; step++) {
        const port = 1 + random.below(6)
        const kind = random.below(12)
        if (kind < 6 && flying.length < 7) {
          const pkt = rig.packet(
            random.pick([
              there({ sport: port }),
              back({ dport: port }),
              tcp({ src: A, dst: B, sport: port, dport: 80, flags: random.pick(['S', 'A', 'R', 'FA']) }),
              icmpError(3, 1, there({ sport: port })),
            ]),
          )
          track(rig.ct, pkt, random.pick([Hook.PreRouting, Hook.LocalOut]))
          flying.push(pkt)
        } else if (kind < 9 && flying.length > 0) {
          const pkt = flying.splice(random.below(flying.length), 1)[0]!
          if (!random.once(3)) confirm(rig.ct, pkt)
          rig.done(pkt)
        } else if (kind === 9) {
          const entries = rig.entries()
          if (entries.length > 0) rig.ct.kill(random.pick(entries))
        } else if (kind === 10) rig.pass(random.pick([0.1, 3, 40]))
        else rig.ct.tick()
      }
      for (const pkt of flying) rig.done(pkt)
      for (const entry of rig.entries()) expect(rig.ct.references(entry)).toBe(1)
      rig.ct.flush()
      expect(rig.ct.table.used).toBe(0)
      expect(rig.ct.table.confirmed).toBe(0)
      expect(rig.memory.free).toBe(8)
    }
  })
})

describe('clashes at confirmation (nf_ct_resolve_clash)', () => {
  /** Two packets on the way at once; `alter` changes the second one's reply as NAT would. */
  function race(
    rig: Rig,
    first: Uint8Array,
    second: Uint8Array,
    alter?: (reply: Tuple) => void,
  ): [Packet, Packet, Verdict] {
    const a = rig.packet(first)
    const b = rig.packet(second)
    track(rig.ct, a, Hook.PreRouting)
    track(rig.ct, b, Hook.PreRouting)
    expect(a.ct).not.toBe(b.ct)
    if (alter !== undefined) {
      const reply = rig.ct.table.readTuple(b.ct, 1, new Tuple())
      alter(reply)
      rig.ct.alterReply(b.ct, reply)
    }
    expect(confirm(rig.ct, a)).toBe(Verdict.Accept)
    return [a, b, confirm(rig.ct, b)]
  }

  it('the same flow twice: the second packet joins the first', () => {
    const rig = new Rig()
    rig.set('acct', 1)
    const [a, b, verdict] = race(rig, there(), there())
    expect(verdict).toBe(Verdict.Accept)
    expect(b.ct).toBe(a.ct)
    expect(rig.ct.packets(a.ct, 0)).toBe(2)
    expect(rig.ct.stats.clashResolve).toBe(1)
    expect(rig.ct.references(a.ct)).toBe(3)
    rig.done(a)
    rig.done(b)
    expect(rig.ct.table.used).toBe(1)
  })

  it('the same flow from the other side joins too', () => {
    const rig = new Rig()
    const [a, b, verdict] = race(rig, there(), back())
    expect(verdict).toBe(Verdict.Accept)
    expect(b.ct).toBe(a.ct)
    rig.done(a)
    rig.done(b)
  })

  it('another reply: the second entry lives a second, for replies only', () => {
    const rig = new Rig()
    const [a, b, verdict] = race(rig, there(), there(), (reply) => {
      reply.ports = (2 << 16) | 99
    })
    expect(verdict).toBe(Verdict.Accept)
    expect(b.ct).not.toBe(a.ct)
    const clash = b.ct
    rig.done(a)
    rig.done(b)
    expect(rig.status(clash) & (Status.NatClash | Status.FixedTimeout)).toBe(
      Status.NatClash | Status.FixedTimeout,
    )
    expect(rig.entries().length).toBe(1)
    expect(rig.forward(back({ dport: 99 }))).toBe('E')
    expect(rig.status(clash) & Status.Assured).toBe(0)
    rig.pass(1)
    expect(rig.forward(back({ dport: 99 }))).toBe('N')
    rig.ct.flush()
    expect(rig.ct.table.used).toBe(0)
  })

  it('TCP is dropped instead', () => {
    const rig = new Rig()
    const syn = tcp({ src: A, dst: B, sport: 1, dport: 2, flags: 'S' })
    const [a, b, verdict] = race(rig, syn, syn)
    expect(verdict).toBe(Verdict.Drop)
    expect(rig.ct.stats).toMatchObject({ drop: 1, insertFailed: 1 })
    rig.done(a)
    rig.done(b)
    expect(rig.ct.table.used).toBe(1)
  })

  it('an expired entry in the way still counts, as in the kernel', () => {
    const rig = new Rig()
    const syn = tcp({ src: A, dst: B, sport: 1, dport: 2, flags: 'S' })
    expect(templated(rig, syn, template({ zone: 5, zoneDirs: 1 }))).toBe('N')
    rig.pass(121)
    expect(templated(rig, syn, template({ zone: 6, zoneDirs: 1 }))).toBe('N!')
    rig.ct.tick()
    expect(templated(rig, syn, template({ zone: 6, zoneDirs: 1 }))).toBe('N')
  })
})

describe('nf_conntrack_max', () => {
  it('of 0 is none', () => {
    const rig = new Rig()
    rig.set('max', 0)
    expect(rig.forward(there({ sport: 1 }))).toBe('N')
    expect(rig.entries().length).toBe(1)
  })

  it('gives up an unassured entry near by, else refuses and says so ten times', () => {
    const rig = new Rig()
    rig.set('max', 4)
    // 16 buckets: the eight searched hold what there is, sooner or later.
    rig.set('buckets', 1)
    for (let port = 1; port <= 40; port++) rig.forward(there({ sport: port }))
    expect(rig.ct.table.used).toBeLessThanOrEqual(4)
    const { earlyDrop, drop } = rig.ct.stats
    expect(earlyDrop).toBeGreaterThan(0)
    expect(drop + earlyDrop + rig.ct.table.used).toBeGreaterThanOrEqual(40)
    expect(rig.logs.length).toBe(Math.min(10, drop))
  })

  it('assured entries stay', () => {
    const rig = new Rig()
    for (let port = 1; port <= 4; port++) {
      rig.forward(there({ sport: port }))
      rig.forward(back({ dport: port }))
    }
    rig.pass(3)
    for (let port = 1; port <= 4; port++) rig.forward(there({ sport: port }))
    rig.set('max', 4)
    rig.set('buckets', 1)
    for (let port = 10; port < 40; port++) expect(rig.forward(there({ sport: port }))).toBe('I!')
    expect(rig.entries().length).toBe(4)
    expect(rig.ct.stats).toMatchObject({ drop: 30, earlyDrop: 0 })
    expect(rig.logs).toEqual(Array(10).fill('nf_conntrack: table full, dropping packet'))
    expect(rig.ct.limit.suppressed).toBe(20)
    rig.pass(5)
    rig.forward(there({ sport: 99 }))
    expect(rig.logs.length).toBe(11)
  })
})

describe('templates', () => {
  it('zones tell connections apart', () => {
    const rig = new Rig()
    expect(templated(rig, there(), template({ zone: 1 }))).toBe('N')
    expect(templated(rig, there(), template({ zone: 2 }))).toBe('N')
    expect(templated(rig, back(), template({ zone: 2 }))).toBe('E')
    expect(rig.forward(back())).toBe('N')
    expect(templated(rig, there(), template({ zoneFromMark: true }), 1)).toBe('N')
    expect(templated(rig, back(), template({ zoneFromMark: true }), 1)).toBe('E')
    expect(lines(rig).map((l) => /zone\S*/.exec(l)?.[0] ?? '')).toEqual(['zone=1', 'zone=2', ''])
  })

  it('a zone of one direction counts there only', () => {
    const rig = new Rig()
    expect(templated(rig, there(), template({ zone: 3, zoneDirs: 1 }))).toBe('N')
    expect(templated(rig, back(), template({ zone: 3, zoneDirs: 1 }))).toBe('E')
    expect(rig.forward(back())).toBe('E')
    expect(rig.forward(there())).toBe('N!')
    expect(lines(rig)).toEqual([
      'udp      17 30 src=10.0.0.1 dst=10.0.0.2 sport=1 dport=2 zone-orig=3 src=10.0.0.2 dst=10.0.0.1 sport=2 dport=1 mark=0 use=1',
    ])
  })

  it('ICMP errors are looked up in the zone', () => {
    const rig = new Rig()
    templated(rig, there(), template({ zone: 3 }))
    expect(rig.forward(icmpError(3, 1, there()))).toBe('I')
    expect(templated(rig, icmpError(3, 1, there()), template({ zone: 3 }))).toBe('R')
  })

  it('timeout policies', () => {
    const rig = new Rig()
    rig.ct.policies.add('short', 4, 17, [['unreplied', 3]])
    templated(rig, there(), template({ timeoutPolicy: 'short' }))
    expect(rig.ct.remaining(rig.entries()[0]!)).toBe(3)
    rig.forward(back())
    expect(rig.ct.remaining(rig.entries()[0]!)).toBe(3)
    rig.pass(2.5)
    rig.forward(there())
    expect(rig.ct.remaining(rig.entries()[0]!)).toBe(120)
  })
})

describe('what NAT asks', () => {
  it('isTaken: by another entry, its own and the same flow do not count (nf_conntrack_tuple_taken)', () => {
    const rig = new Rig()
    rig.forward(there())
    const pkt = rig.packet(there({ sport: 7 }))
    track(rig.ct, pkt, Hook.PreRouting)
    const reply = rig.ct.table.readTuple(pkt.ct, 1, new Tuple())
    expect(rig.ct.isTaken(reply, pkt.ct)).toBe(false)
    reply.ports = (2 << 16) | 1
    expect(rig.ct.isTaken(reply, pkt.ct)).toBe(true)
    expect(rig.ct.stats.found).toBe(1)
    rig.pass(31)
    expect(rig.ct.isTaken(reply, pkt.ct)).toBe(false)
    rig.done(pkt)
  })

  it('alterReply keeps the zone', () => {
    const rig = new Rig()
    const pkt = rig.packet(there())
    pkt.ctTemplate = template({ zone: 9, zoneDirs: 2 })
    track(rig.ct, pkt, Hook.PreRouting)
    const reply = rig.ct.table.readTuple(pkt.ct, 1, new Tuple())
    reply.zone = 0
    reply.d0 = 0x0a000063
    rig.ct.alterReply(pkt.ct, reply)
    expect(zoneOf(rig.ct.table.words, pkt.ct * STRIDE, 1)).toBe(9)
    confirm(rig.ct, pkt)
    expect(lines(rig)[0]).toBe(
      'udp      17 30 src=10.0.0.1 dst=10.0.0.2 sport=1 dport=2 [UNREPLIED] src=10.0.0.2 dst=10.0.0.99 sport=2 dport=1 zone-reply=9 mark=0 use=2',
    )
    rig.done(pkt)
  })

  it('invert twice is the same tuple, for whatever can be answered', () => {
    const random = new SeededRandom(3)
    for (let i = 0; i < 2000; i++) {
      const t = new Tuple()
      Object.assign(t, {
        s0: random.u32() | 0,
        d0: random.u32() | 0,
        s2: random.u32() | 0,
        d3: random.u32() | 0,
      })
      t.ports = random.u32() | 0
      t.meta = (random.pick([1, 6, 17, 47, 58, 99, 132]) << 8) | 4
      t.zone = random.below(9)
      const once = new Tuple()
      const kept = new Tuple().copy(t)
      if (!invert(t, once)) continue
      expect(invert(once, once)).toBe(true)
      expect(once).toEqual(kept)
    }
  })

  it('quoted IPv6 packets: extension headers are passed over (nf_ct_get_tuplepr)', () => {
    const head = (next: number, rest: number[]): DataView =>
      new DataView(Uint8Array.from([0x60, 0, 0, 0, 0, 0, next, 64, ...Array(32).fill(1), ...rest]).buffer)
    const ports = [0, 5, 0, 6]
    const t = new Tuple()
    const read = (v: DataView): boolean => tupleAt(v, 0, v.byteLength, 6, t)
    expect(read(head(17, ports))).toBe(true)
    expect(t.ports).toBe((5 << 16) | 6)
    expect(read(head(0, [60, 0, 0, 0, 0, 0, 0, 0, 6, 1, ...Array(14).fill(0), ...ports]))).toBe(true)
    expect([t.protocol, t.ports]).toEqual([6, (5 << 16) | 6])
    expect(read(head(44, [17, 0, 0, 0, 0, 0, 0, 0, ...ports]))).toBe(true)
    expect(read(head(44, [17, 0, 0, 8, 0, 0, 0, 0, ...ports]))).toBe(false)
    expect(read(head(51, [6, 1, ...Array(10).fill(0), ...ports]))).toBe(true)
    expect(read(head(59, ports))).toBe(false)
    expect(read(head(17, [0, 5, 0]))).toBe(false)
    expect(read(head(0, [17, 9, 0, 0]))).toBe(false)
  })
})

describe('hooks', () => {
  it('are there while somebody needs them, per family', () => {
    const rig = new Rig()
    const { hooks } = rig.host
    const names = (): string[] =>
      [Hook.PreRouting, Hook.LocalIn, Hook.Forward, Hook.LocalOut, Hook.PostRouting].map((h) =>
        hooks
          .entries(4, h)
          .map((e) => `${e.name} ${e.priority}`)
          .join(),
      )
    expect(rig.ct.isActive(4)).toBe(false)
    const one = rig.ct.need(4)
    const two = rig.ct.need(4)
    one()
    one()
    expect(rig.ct.isActive(4)).toBe(true)
    expect(rig.ct.isActive(6)).toBe(false)
    const last = `confirm ${Priority.ConntrackConfirm}`
    expect(names()).toEqual(['defrag -400,conntrack -200', last, '', 'defrag -400,conntrack -200', last])
    two()
    expect(names()).toEqual(['', '', '', '', ''])
  })

  it('windows are forgotten while nobody looks (nf_ct_tcp_fixup)', () => {
    const rig = new Rig()
    const off = rig.ct.need(4)
    const c = { src: A, dst: B, sport: 1, dport: 2 }
    const s = { src: B, dst: A, sport: 2, dport: 1 }
    rig.forward(tcp({ ...c, flags: 'S', seq: 0 }))
    rig.forward(tcp({ ...s, flags: 'SA', seq: 0, ack: 1 }))
    rig.forward(tcp({ ...c, flags: 'A', seq: 1, ack: 1 }))
    const far = tcp({ ...c, flags: 'A', seq: 5_000_000, ack: 1 })
    expect(rig.forward(far)).toBe('I')
    off()
    rig.ct.need(4)
    expect(rig.forward(far)).toBe('E')
  })

  it('fragments go to the reassembly, untracked ones do not', () => {
    const rig = new Rig()
    rig.ct.need(4)
    const run = rig.host.hooks.run4[Hook.PreRouting]!
    const pkt = rig.packet(ip4({ src: A, dst: B, proto: 17, mf: true, payload: 16 }))
    expect(run(pkt)).toBe(Verdict.Stolen)
    pkt.ctInfo = CtInfo.Untracked
    expect(run(pkt)).toBe(Verdict.Accept)
    rig.memory.give(pkt.slot)
  })
})

describe('a table under pressure (gc_worker with early_drop)', () => {
  it('after a refusal, closing and unassured entries go until 95 % are left', () => {
    const rig = new Rig()
    const c = (port: number): { src: string; dst: string; sport: number; dport: number } => ({
      src: A,
      dst: B,
      sport: port,
      dport: 80,
    })
    const s = (port: number): { src: string; dst: string; sport: number; dport: number } => ({
      src: B,
      dst: A,
      sport: 80,
      dport: port,
    })
    for (let port = 1; port <= 200; port++) {
      rig.forward(tcp({ ...c(port), flags: 'S', seq: 0 }))
      rig.forward(tcp({ ...s(port), flags: 'SA', seq: 0, ack: 1 }))
      rig.forward(tcp({ ...c(port), flags: 'A', seq: 1, ack: 1 }))
      if (port % 2 === 0) rig.forward(tcp({ ...c(port), flags: 'FA', seq: 1, ack: 1 }))
    }
    rig.ct.tick()
    expect(rig.ct.table.used).toBe(200)
    rig.set('max', 200)
    expect(rig.forward(there())).toBe('I!')
    expect(rig.ct.stats.earlyDrop).toBe(0)
    rig.ct.tick()
    expect(rig.ct.table.used).toBe(200)
    rig.pass(1)
    rig.ct.tick()
    // 200 / 100 * 95 is where it stops.
    expect(rig.ct.table.used).toBe(189)
    expect(rig.forward(there())).toBe('N')
    const states = rig.entries().map((e) => rig.ct.trackerOf(e).state?.(e))
    expect(states.filter((t) => t === 'ESTABLISHED').length).toBe(100)
    rig.ct.tick()
    expect(rig.ct.table.used).toBe(190)
  })
})
