// Lines of LOG against those that the kernel (6.18, nf_log_all_netns=1) wrote for the same packets: in raw
// PREROUTING with every flag, in filter FORWARD with none.

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { Hook } from '../../datapath/hooks.ts'
import { hex, udp } from '../harness/frames.ts'
import { World } from './world.ts'

const recorded = JSON.parse(
  readFileSync(join(import.meta.dirname, '../data/extensions/log.json'), 'utf8'),
) as readonly {
  readonly packet: string
  readonly prerouting: string
  readonly forward: string | null
}[]

const EVERYTHING =
  '-j LOG --log-prefix "all " --log-level 6 --log-tcp-sequence --log-tcp-options --log-ip-options --log-uid --log-macdecode'

const frame = udp({ src: '10.0.0.2', dst: '10.1.0.2', sport: 1, dport: 2, payload: 'x' })

describe('as the kernel writes them', () => {
  for (const { packet, prerouting, forward } of recorded)
    test(prerouting, () => {
      const world = new World()
      const pkt = world.parsed(hex(packet))!
      pkt.iif = 2
      world.target(EVERYTHING)(pkt, Hook.PreRouting)
      expect(world.logged.pop()).toEqual({ level: 6, text: `all ${prerouting}` })
      if (forward === null) return
      world.target('-j LOG')(world.forwarded(hex(packet))!)
      expect(world.logged.pop()).toEqual({ level: 4, text: forward })
    })
})

test('the mark stands last, in hex', () => {
  const world = new World()
  const pkt = world.forwarded(frame)!
  pkt.mark = 0xdeadbeef
  world.target('-j LOG --log-prefix p')(pkt)
  expect(world.logged[0]!.text).toMatch(/^pIN=tun0 OUT=tun1 MAC= SRC=.* LEN=9 MARK=0xdeadbeef $/)
})

test('a header cut short ends the line, without the mark', () => {
  const world = new World()
  const cut = recorded.find((r) => r.prerouting.includes('PROTO=UDP INCOMPLETE'))!
  const pkt = world.forwarded(hex(cut.packet))!
  pkt.mark = 1
  world.target('-j LOG')(pkt)
  expect(world.logged[0]!.text).toMatch(/PROTO=UDP INCOMPLETE \[4 bytes\] $/)
})

test('what a host sends has no IN and no MAC; what comes through lo has a MAC of zeros', () => {
  const world = new World()
  const pkt = world.parsed(frame)!
  pkt.oif = 3
  world.target('-j LOG')(pkt, Hook.LocalOut)
  expect(world.logged[0]!.text).toMatch(/^IN= OUT=tun1 SRC=/)
  pkt.oif = 0
  pkt.iif = 1
  pkt.arrive(world.host.devices.loopback, 14)
  world.target('-j LOG')(pkt, Hook.LocalIn)
  expect(world.logged[1]!.text).toMatch(/^IN=lo OUT= MAC=(00:){12}08:00 SRC=/)
})

test('nobody listening: nothing is written', () => {
  const world = new World()
  world.host.events.log = null
  world.target('-j LOG')(world.forwarded(frame)!)
  expect(world.logged).toEqual([])
})
