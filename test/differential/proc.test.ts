// What -m recent shows and takes below /proc, from the kernel and from `tunwall proc`: the same words, one after the
// other, the same refusals, the same lists.

import { afterAll, expect, test } from 'vitest'
import { runTool } from '../../daemon/tools.ts'
import { SeededRandom, udp } from '../harness/frames.ts'
import { KernelHost, Oracle, whyNoKernel } from '../harness/kernel.ts'
import { hex, type Scenario } from '../harness/scenario.ts'
import { EngineHost } from '../harness/scenario-engine.ts'

const reason = whyNoKernel()
if (reason !== null) console.warn(`NOT RUN: /proc is not compared with the kernel: ${reason}`)
const oracle = reason === null ? new Oracle() : null
afterAll(() => oracle?.close())

const LISTS = ['A', 'narrow', 'DEFAULT']
const scenario: Scenario = {
  name: 'proc',
  devices: [
    { name: 'eth0', mtu: 1500, addresses: ['10.0.0.1/24'] },
    { name: 'eth1', mtu: 1500, addresses: ['10.0.1.1/24'] },
  ],
  routes: [],
  rules: [],
  sysctls: { 'net.ipv4.ip_forward': '1' },
  iptables: `*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A FORWARD -m recent --set --name A --rsource
-A FORWARD -m recent --set --name narrow --mask 255.255.255.0 --rdest
-A FORWARD -m recent --rcheck --hitcount 3 --rttl
-A FORWARD -m recent --update --name A -j DROP
COMMIT
`,
  steps: [],
}

const WORDS = [
  '+10.0.0.9',
  '+10.0.0.9\n',
  '-10.0.0.9',
  '-10.0.0.77',
  '+10.0.1.200',
  '+255.255.255.255',
  '+0.0.0.0',
  '+2001:db8::1',
  '+2001:db8::1\n',
  '-2001:db8::1',
  '+fe80::1:2:3:4',
  '/',
  '/x',
  'x',
  '10.0.0.9',
  '+',
  '-',
  '+10.0.0',
  '+10.0.0.256',
  '+10.0.0.9x',
  '+10.0.0.9\n+10.0.0.10',
  '+::ffff:1.2.3.4',
  '+1:2:3:4:5:6:7:8:9',
  '+10.0.0.9 ',
  ' +10.0.0.9',
  '+010.0.0.9',
]

/** Without stamps, which the machine's clock makes, but with their number; the order follows a secret. */
const comparable = (text: string): string[] =>
  text
    .split('\n')
    .filter(Boolean)
    .map((line) => line.replace(/last_seen: \d+/, '').replace(/\d{5,}/g, 'T'))
    .sort()

test.skipIf(reason !== null)(
  'lists of -m recent are written and read as in the kernel',
  async () => {
    const kernel = new KernelHost(oracle!, scenario)
    await kernel.setUp()
    const ours = new EngineHost(scenario, new SeededRandom(1), null)
    const random = new SeededRandom(7)
    ours.advance(0, 0)
    const proc = (...argv: string[]) =>
      runTool({ tool: 'proc', directory: '/', argv, stdin: '' }, ours.engine)
    let refused = 0
    for (let n = 0; n < 300; n++) {
      const name = random.pick(LISTS)
      const path = `net/xt_recent/${name}`
      if (random.once(4)) {
        const from = { src: `10.0.0.${2 + random.below(4)}`, dst: `10.0.1.${2 + random.below(9)}` }
        const frame = udp({ ...from, sport: 1, dport: 2, ttl: 60 + random.below(5) })
        await kernel.take([{ id: n, dev: 'eth0', frame: hex(frame) }])
        ours.receive('eth0', frame)
      } else {
        const word = random.pick(WORDS)
        // One write of all of it, whose error dd tells of.
        const theirs = await oracle!.run(
          ['dd', `of=/proc/${path}`, 'bs=4096', 'status=none', 'conv=notrunc'],
          word,
        )
        const mine = proc(path, word)
        expect(mine.code, `${JSON.stringify(word)} to ${path}: ${theirs.stderr}`).toBe(theirs.status)
        if (mine.code !== 0) refused++
      }
      const { stdout } = await oracle!.run(['cat', `/proc/${path}`])
      expect(comparable(proc(`/proc/${path}`).stdout), `step ${n}`).toEqual(comparable(stdout))
    }
    expect(refused).toBeGreaterThan(50)
    const missing = proc('net/xt_recent/nobody')
    expect([missing.code, missing.stderr]).toEqual([
      1,
      'proc: net/xt_recent/nobody: No such file or directory\n',
    ])
    const { stdout: names } = await oracle!.run(['sh', '-c', 'cd /proc && ls -d net/xt_recent/*'])
    const list = proc().stdout.split('\n')
    expect(list.filter((line) => line.includes('recent')).sort()).toEqual(names.trim().split('\n').sort())
  },
  60_000,
)
