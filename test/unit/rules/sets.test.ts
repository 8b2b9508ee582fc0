// Sets as rules and commands see them: lookups against a plain list of networks, packets against elements, time,
// counters, references.

import { describe, expect, test } from 'vitest'
import { runIpset } from '../../../daemon/cli/ipset.ts'
import { Host } from '../../../datapath/host.ts'
import { Packet } from '../../../datapath/packet.ts'
import { FrameMemory } from '../../../datapath/ring.ts'
import { parseIpv4 } from '../../../datapath/wire/address.ts'
import { MATCH_COUNTERS, PacketExtension, RETURN_NOMATCH } from '../../../rules/sets/extensions.ts'
import { addToSet, deleteFromSet, matchSet } from '../../../rules/sets/packet.ts'
import { Sets } from '../../../rules/sets/store.ts'
import { ElementTable } from '../../../rules/sets/table.ts'
import { SeededRandom } from '../../harness/frames.ts'

function world(seed = 1) {
  const random = new SeededRandom(seed)
  const host = new Host({
    memory: new FrameMemory(1, 2048),
    egress: { send: () => {}, flush: () => {} },
    random,
  })
  const sets = new Sets(host)
  const ipset = (line: string) => runIpset({ argv: line.split(' '), input: '', directory: '/' }, sets)
  const done = (line: string): string => {
    const { code, stdout, stderr } = ipset(line)
    expect(`${code} ${stderr}`, line).toBe('0 ')
    return stdout
  }
  return { host, sets, random, ipset, done }
}

function packet(source: string, destination: string, sport = 1000, dport = 80): Packet {
  const pkt = new Packet()
  pkt.s0 = parseIpv4(source)!
  pkt.d0 = parseIpv4(destination)!
  pkt.proto = 6
  pkt.sport = sport
  pkt.dport = dport
  pkt.end = 100
  return pkt
}

const ask = (dim: number, flags = 0): PacketExtension => Object.assign(new PacketExtension(), { dim, flags })

test('hash:net: the longest prefix decides, as in a list of networks', () => {
  for (let seed = 1; seed <= 20; seed++) {
    const { sets, random, done, ipset } = world(seed)
    done('create n hash:net')
    const nets = new Map<string, { word: number; length: number; nomatch: boolean }>()
    for (let i = 0; i < 300; i++) {
      const length = 1 + random.below(32)
      const word = (0x0a000000 | random.below(0x400)) & (-1 << (32 - length))
      const text = `${word >>> 24}.${(word >>> 16) & 255}.${(word >>> 8) & 255}.${word & 255}/${length}`
      if (nets.has(text) && random.below(2) === 0) {
        done(`del n ${text}`)
        nets.delete(text)
      } else {
        const nomatch = random.below(4) === 0
        ipset(`-exist add n ${text}${nomatch ? ' nomatch' : ''}`)
        nets.set(text, { word, length, nomatch })
      }
    }
    const { set } = sets.lookup('n')!
    expect(set.data.count()).toBe(nets.size)
    const pkt = packet('10.0.0.0', '0.0.0.0')
    for (let i = 0; i < 500; i++) {
      pkt.s0 = 0x0a000000 | random.below(0x800)
      const best = [...nets.values()]
        .filter(({ word, length }) => (pkt.s0 & (-1 << (32 - length))) === word)
        .sort((a, b) => b.length - a.length)[0]
      expect(matchSet(set, pkt, 1, ask(1))).toBe(best !== undefined && !best.nomatch)
      expect(matchSet(set, pkt, 1, ask(1, RETURN_NOMATCH))).toBe(best?.nomatch === true)
      expect(matchSet(set, pkt, 1, ask(0))).toBe(false)
    }
  }
})

test('the table finds what was put in and not taken out', () => {
  const random = new SeededRandom(7)
  const table = new ElementTable(2, 2, 99, () => {})
  const model = new Map<number, number>()
  const key = new Int32Array(2)
  for (let i = 0; i < 20_000; i++) {
    const n = random.below(3000)
    key[0] = n * 0x01000193
    key[1] = n
    const row = table.find(key)
    expect(row).toBe(model.get(n) ?? -1)
    if (row < 0) model.set(n, table.insert(key))
    else if (random.below(2) === 0) {
      table.remove(row)
      model.delete(n)
    }
    expect(table.size).toBe(model.size)
  }
})

describe('packets', () => {
  test('add, match and del by dimensions', () => {
    const { sets, done } = world()
    done('create s hash:ip,port,ip')
    const { set } = sets.lookup('s')!
    const pkt = packet('10.0.0.1', '10.0.0.2', 1234, 80)
    // src,dst,dst
    expect(addToSet(set, pkt, 0b001, ask(3))).toBe(true)
    expect(done('save s').split('\n')[1]).toBe('add s 10.0.0.1,tcp:80,10.0.0.2')
    expect(matchSet(set, pkt, 0b001, ask(3))).toBe(true)
    expect(matchSet(set, pkt, 0b011, ask(3))).toBe(false)
    expect(matchSet(set, pkt, 0b001, ask(2))).toBe(false)
    pkt.sport = -1
    expect(matchSet(set, pkt, 0b011, ask(3))).toBe(false)
    expect(deleteFromSet(set, pkt, 0b001, ask(3))).toBe(true)
    expect(matchSet(set, pkt, 0b001, ask(3))).toBe(false)
  })

  test('timeouts run by host.now', () => {
    const { host, sets, done, ipset } = world()
    done('create s hash:ip timeout 10')
    done('add s 10.0.0.1')
    done('add s 10.0.0.2 timeout 0')
    const { set } = sets.lookup('s')!
    host.now += 9_500
    expect(done('save s').split('\n')[1]).toBe('add s 10.0.0.1 timeout 1')
    expect(matchSet(set, packet('10.0.0.1', '0.0.0.0'), 1, ask(1))).toBe(true)
    host.now += 501
    expect(matchSet(set, packet('10.0.0.1', '0.0.0.0'), 1, ask(1))).toBe(false)
    expect(matchSet(set, packet('10.0.0.2', '0.0.0.0'), 1, ask(1))).toBe(true)
    expect(set.data.count()).toBe(1)
    expect(ipset('test s 10.0.0.1').code).toBe(1)
    done('add s 10.0.0.1')
  })

  test('counters count and are compared', () => {
    const { sets, done } = world()
    done('create s hash:ip counters')
    done('add s 10.0.0.1 packets 4294967295 bytes 4294967290')
    const { set } = sets.lookup('s')!
    const pkt = packet('10.0.0.1', '0.0.0.0')
    const ext = ask(1, MATCH_COUNTERS)
    ext.packetsOp = 4
    ext.packetsHigh = 1
    ext.packetsLow = 0
    expect(matchSet(set, pkt, 1, ext)).toBe(false)
    expect(matchSet(set, pkt, 1, ext)).toBe(true)
    expect(done('save s').split('\n')[1]).toBe('add s 10.0.0.1 packets 4294967297 bytes 4294967490')
  })

  test('list:set asks its members in order', () => {
    const { sets, done, ipset } = world()
    done('create a hash:ip')
    done('create b hash:net')
    done('create l list:set')
    done('add l a')
    done('add l b before a')
    done('add b 10.0.0.0/8')
    const { set } = sets.lookup('l')!
    expect(matchSet(set, packet('10.1.1.1', '0.0.0.0'), 1, ask(1))).toBe(true)
    expect(matchSet(set, packet('11.1.1.1', '0.0.0.0'), 1, ask(1))).toBe(false)
    expect(ipset('destroy b').stderr).toBe(
      'ipset v7.17: Set cannot be destroyed: it is in use by a kernel component\n',
    )
    done('del l b')
    done('destroy b')
  })
})

test('swap: a name stands for the other elements', () => {
  const { sets, done, ipset } = world()
  done('create a hash:ip')
  done('create b hash:ip')
  done('add a 10.0.0.1')
  const holder = sets.lookup('a')!
  sets.hold('a')
  done('swap a b')
  expect(matchSet(holder.set, packet('10.0.0.1', '0.0.0.0'), 1, ask(1))).toBe(false)
  expect(ipset('rename a c').stderr).toContain('it is in use by another system')
  sets.release('a')
  done('rename a c')
  expect(holder.name).toBe('c')
})

describe('ranges that Linux goes through for minutes end at once', () => {
  test('forceadd keeps the last of 2^31 addresses', () => {
    const { done, ipset } = world()
    done('create a hash:ip forceadd')
    done('create b hash:ip,port,net forceadd')
    done('add a 10.0.0.0/1')
    done('add b 10.0.0.0/1,tcp:1-3,1.1.1.1')
    expect(ipset('test a 127.255.255.255').code).toBe(0)
    expect(done('list -t a')).toMatch(/Number of entries: 65536/)
    expect(ipset('test b 127.255.255.255,tcp:3,1.1.1.1').code).toBe(0)
  })

  test('del -exist takes away what is there', () => {
    const { done } = world()
    done('create a hash:ip')
    for (const address of ['10.0.0.1', '99.1.1.1', '200.0.0.1']) done(`add a ${address}`)
    done('-exist del a 10.0.0.0/1')
    expect(done('save').split('\n').slice(1)).toEqual(['add a 200.0.0.1', ''])
  })
})

test('save -terse -output plain: elements without their heading', () => {
  const { done } = world()
  done('create p bitmap:port range 80-100')
  done('add p 80')
  expect(done('-t -o plain save')).toMatch(/Number of entries: 1\n80\n$/)
  expect(done('-t list')).toMatch(/Number of entries: 1\n$/)
})

test('hash:net,iface: an expired network ends the search until the collector comes by', () => {
  const { host, done, ipset } = world()
  done('create n hash:net,iface timeout 5')
  done('add n 10.0.0.1,eth0 timeout 2')
  done('add n 10.0.0.0/24,eth1 timeout 0')
  const found = (now: number): boolean => {
    host.now = now
    return ipset('test n 10.0.0.1,eth1').code === 0
  }
  expect([1000, 2500, 2999, 3000, 3001].map(found)).toEqual([false, false, false, true, true])
  host.now = 2500
  expect(done('save n')).not.toContain('eth0')
})

// As the real tool and Linux 6.18 have it.
test('hash:net,iface: a wildcard stays one when it is added again, and nothing else becomes one', () => {
  const { done } = world()
  done('create n hash:net,iface')
  done('add n 10.0.0.0/8,eth0 wildcard')
  done('add n 11.0.0.0/8,eth0')
  done('add n 12.0.0.0/8,eth wildcard')
  done('-exist add n 10.0.0.0/8,eth0 nomatch')
  done('-exist add n 11.0.0.0/8,eth0 wildcard')
  done('-exist add n 12.0.0.0/8,eth0')
  const saved = done('save n')
  expect(saved).toContain('add n 10.0.0.0/8,eth0 nomatch wildcard\n')
  expect(saved).toContain('add n 11.0.0.0/8,eth0\n')
  expect(saved).toContain('add n 12.0.0.0/8,eth wildcard\n')
  done('-exist add n 10.0.0.0/8,eth0')
  expect(done('save n')).toContain('add n 10.0.0.0/8,eth0 wildcard\n')
})

test('hash:net,iface: bucketsize grows with the interfaces of one network, up to 64 of them', () => {
  const { done, ipset } = world()
  const size = (): string => /bucketsize (\d+)/.exec(done('-t save n'))![1]!
  done('create n hash:net,iface bucketsize 2')
  const sizes: string[] = []
  for (let i = 0; i < 64; i++) {
    done(`add n 10.0.0.0/8,e${i}`)
    done(`add n 10.0.${i}.0/24,e0`)
    sizes.push(size())
  }
  // As ipset 7.17 shows it of Linux 6.18: at the third, the fifth …
  expect(sizes).toEqual(sizes.map((_, i) => String(i < 2 ? 2 : i + 2 - (i % 2))))
  expect(ipset('add n 10.0.0.0/8,e64').stderr).toContain('Hash is full, cannot add more elements')
  expect(size()).toBe('64')
})
