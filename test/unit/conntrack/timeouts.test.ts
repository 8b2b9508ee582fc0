// Timeout policies: which timeouts a connection has while its policy lives, and afterwards.

import { describe, expect, it } from 'vitest'
import { Errno } from '../../../conntrack/errno.ts'
import { confirm, track } from '../../../conntrack/hooks.ts'
import { PlaceError } from '../../../daemon/errors.ts'
import { readPolicies } from '../../../daemon/host-folder/nfct.ts'
import { SourceFile } from '../../../daemon/host-folder/source.ts'
import { Hook } from '../../../datapath/hooks.ts'
import { udp } from '../../harness/frames.ts'
import { Rig } from './support.ts'

const there = udp({ src: '10.0.0.1', dst: '10.0.0.2', sport: 1, dport: 2 })
const TEMPLATE = {
  zone: 0,
  zoneDirs: 3,
  zoneFromMark: false,
  helper: null,
  timeoutPolicy: 'a',
  ctevents: null,
  expevents: null,
}

function withPolicy(): Rig {
  const rig = new Rig()
  expect(rig.ct.policies.add('a', 4, 17, [['unreplied', 5]])).toBe(Errno.None)
  const pkt = rig.packet(there)
  pkt.ctTemplate = TEMPLATE
  track(rig.ct, pkt, Hook.PreRouting)
  confirm(rig.ct, pkt)
  rig.done(pkt)
  return rig
}

describe('a timeout policy', () => {
  it('gives its connections its timeouts', () => {
    const rig = withPolicy()
    const [entry] = rig.entries()
    expect(rig.ct.remaining(entry!)).toBe(5)
    rig.pass(3)
    rig.forward(there)
    expect(rig.ct.remaining(entry!)).toBe(5)
  })

  it('leaves them to the sysctls when it goes', () => {
    const rig = withPolicy()
    const [entry] = rig.entries()
    expect(rig.ct.policies.remove('a')).toBe(Errno.None)
    expect(rig.ct.remaining(entry!)).toBe(5)
    rig.forward(there)
    expect(rig.ct.remaining(entry!)).toBe(30)
    // Its number is free, and the next policy is not theirs.
    expect(rig.ct.policies.add('b', 4, 17, [['unreplied', 7]])).toBe(Errno.None)
    rig.forward(there)
    expect(rig.ct.remaining(entry!)).toBe(30)
  })

  it('stays while a rule holds it', () => {
    const { policies } = withPolicy().ct
    policies.get('a')!.users++
    expect(policies.remove('a')).toBe(Errno.Busy)
    policies.flush()
    expect(policies.all().length).toBe(1)
    policies.get('a')!.users--
    policies.flush()
    expect(policies.all().length).toBe(0)
  })
})

describe('nfct-timeout', () => {
  const read = (text: string) => readPolicies(new SourceFile('f', text))
  const good = '.a b = {\n\t.l3proto = 10,\n\t.l4proto = 17,\n\t.policy = {\n\t\t.REPLIED = 5,\n\t},\n};\n'

  it('is what nfct list timeout prints', () => {
    expect(read(good)).toEqual([
      { name: 'a b', family: 6, protocol: 17, seconds: [['replied', 5]], offset: 0 },
    ])
    expect(read('')).toEqual([])
  })

  it.each([`${good}x`, good.slice(0, -3), good.replace('10', '7'), good.replace('5', 'x'), '\n'])(
    'refuses %j',
    (text) => {
      expect(() => read(text)).toThrow(PlaceError)
    },
  )
})
