// Helpers and the connections that they expect.

import { describe, expect, it } from 'vitest'
import type { Helper } from '../../../conntrack/conntrack.ts'
import { type Expectation, ExpectError } from '../../../conntrack/expect.ts'
import { formatExpectation } from '../../../conntrack/print.ts'
import { HELPER, STRIDE } from '../../../conntrack/table.ts'
import { Tuple } from '../../../conntrack/tuple.ts'
import { Verdict } from '../../../datapath/hooks.ts'
import { icmp } from '../../harness/frames.ts'
import { A, B, back, lines, Rig, template, templated, there } from './support.ts'

describe('helpers and expectations', () => {
  function withHelper(): { rig: Rig; master: number; seen: number[] } {
    const rig = new Rig()
    const seen: number[] = []
    const helper: Helper = {
      name: 'ftp',
      family: 4,
      protocol: 17,
      help: (_, entry) => {
        seen.push(entry)
        return Verdict.Accept
      },
    }
    rig.ct.helpers.register(helper)
    templated(rig, there(), template({ helper: 'ftp' }))
    return { rig, master: rig.entries()[0]!, seen }
  }

  function expectation(rig: Rig, master: number, dport: number, o: Partial<Expectation> = {}): Expectation {
    const tuple = rig.ct.table.readTuple(master, 1, new Tuple())
    tuple.ports = dport
    return {
      master,
      tuple,
      mask: { s0: -1, s1: -1, s2: -1, s3: -1, port: 0 },
      class: 0,
      helper: 0,
      flags: 0,
      name: 'ftp',
      expires: rig.host.now + 300_000,
      onMatch: null,
      ...o,
    }
  }

  it('a helper sees its packets; the entry names it', () => {
    const { rig, master, seen } = withHelper()
    rig.forward(back())
    expect(seen).toEqual([master, master])
    expect(lines(rig)[0]).toMatch(/ mark=0 helper=ftp use=1$/)
  })

  it('an expected connection is RELATED, takes the mark and holds its master', () => {
    const { rig, master } = withHelper()
    rig.ct.setMark(master, 0xfffffffe)
    expect(rig.ct.expectations.add(expectation(rig, master, 2000), rig.host.now, 1)).toBe(ExpectError.None)
    expect(rig.forward(back({ sport: 5, dport: 2001 }))).toBe('N')
    expect(rig.forward(back({ sport: 5, dport: 2000 }))).toBe('R')
    expect(rig.ct.expectations.count).toBe(0)
    expect(rig.forward(back({ sport: 6, dport: 2000 }))).toBe('N')
    expect(rig.forward(there({ sport: 2000, dport: 5 }))).toBe('E')
    expect(rig.forward(back({ sport: 5, dport: 2000 }))).toBe('E')
    const child = lines(rig).find((l) => l.includes('mark=4294967294') && l.includes('sport=5 dport=2000'))
    expect(child).toBeDefined()
    expect(rig.ct.references(master)).toBe(2)
    rig.ct.kill(master)
    const used = rig.ct.table.used
    rig.ct.flush()
    expect(used).toBe(4)
    expect(rig.ct.table.used).toBe(0)
  })

  it('limits, clashes and time (nf_ct_expect_related)', () => {
    const { rig, master } = withHelper()
    const { expectations } = rig.ct
    const { now } = rig.host
    expect(expectations.add(expectation(rig, master, 1), now)).toBe(ExpectError.None)
    expect(expectations.add(expectation(rig, master, 1), now)).toBe(ExpectError.None)
    expect(expectations.count).toBe(1)
    expect(expectations.add(expectation(rig, master, 1, { class: 1 }), now)).toBe(ExpectError.Busy)
    const loose = { mask: { s0: 0, s1: 0, s2: 0, s3: 0, port: 0 } }
    expect(expectations.add(expectation(rig, master, 1, loose), now)).toBe(ExpectError.Busy)
    expect(expectations.add(expectation(rig, master, 2), now, 1)).toBe(ExpectError.None)
    expect(expectations.all().map((e) => e.tuple.ports)).toEqual([2])
    rig.set('expect_max', 1)
    expect(expectations.add(expectation(rig, master, 3), now)).toBe(ExpectError.TooMany)
    expect(rig.forward(icmp({ src: A, dst: B }))).toBe('N')
    expect(formatExpectation(rig.ct, expectations.all()[0]!)).toBe(
      '300 proto=17 src=10.0.0.2 dst=10.0.0.1 sport=0 dport=2 mask-src=255.255.255.255 mask-dst=255.255.255.255 sport=0 dport=65535 master-src=10.0.0.1 master-dst=10.0.0.2 sport=1 dport=2 class=0 helper=ftp',
    )
    rig.pass(300)
    rig.ct.tick()
    expect(expectations.count).toBe(0)
  })

  it('the master takes its expectations along', () => {
    const { rig, master } = withHelper()
    rig.ct.expectations.add(expectation(rig, master, 2000), rig.host.now)
    rig.ct.kill(master)
    expect(rig.ct.expectations.count).toBe(0)
  })

  it('a helper that goes leaves its connections', () => {
    const rig = new Rig()
    const undo = rig.ct.helpers.register({ name: 'x', family: 4, protocol: 17, help: () => Verdict.Drop })
    expect(templated(rig, there(), template({ helper: 'x' }))).toBe('N!')
    undo()
    expect(rig.ct.helpers.number('x', 4, 17)).toBe(0)
    expect(templated(rig, there(), template({ helper: 'x' }))).toBe('N')
    expect(rig.ct.table.words[rig.entries()[0]! * STRIDE + HELPER]).toBe(0)
  })
})
