// net.ipv4.conf.* against the kernel's: random writes to all, default, devices and ip_forward, with devices and
// addresses coming in between; then every value is read on both sides.

import { spawnSync } from 'node:child_process'
import { expect, test } from 'vitest'
import { Host } from '../../datapath/host.ts'
import { FrameMemory } from '../../datapath/ring.ts'
import { formatIpv4 } from '../../datapath/wire/address.ts'
import { SeededRandom } from '../harness/frames.ts'
import { whyNoKernel } from '../harness/kernel.ts'

const NAMES = [
  'forwarding',
  'rp_filter',
  'accept_local',
  'send_redirects',
  'accept_redirects',
  'log_martians',
  'shared_media',
  'route_localnet',
  'promote_secondaries',
  'bc_forwarding',
  'accept_source_route',
  'disable_xfrm',
  'tag',
]
const DEVICES = ['eth0', 'vlan.7', 'eth2', 'x9']
const RUNS = 30
const STEPS = 30

const reason = whyNoKernel()
if (reason !== null) console.log(`sysctls are not compared with the kernel: ${reason}`)
const first = Number(process.env.TUNWALL_SEED ?? Date.now() % 1_000_000)

test.skipIf(reason !== null)(`${RUNS} hosts from seed ${first}: what sysctl prints`, () => {
  for (let seed = first; seed < first + RUNS; seed++) {
    const random = new SeededRandom(seed)
    const { devices, tunables } = new Host({
      memory: new FrameMemory(1, 2048),
      egress: { send: () => {}, flush: () => {} },
      random,
    })
    const commands: string[] = []
    const set = (name: string, value: number): void => {
      commands.push(`sysctl -qw ${name}=${value}`)
      tunables.set(name, value)
    }
    const there: string[] = []
    for (let n = 0; n < STEPS; n++) {
      const what = random.below(10)
      if (what === 0 && there.length < DEVICES.length) {
        const name = DEVICES[there.length]!
        there.push(name)
        commands.push(`ip tuntap add dev ${name} mode tun`)
        devices.add(name, 1500, { up: false })
      } else if (what === 1 && there.length > 0) {
        const name = there[random.below(there.length)]!
        const word = 0x0a000001 | (n << 16)
        commands.push(`ip addr add ${formatIpv4(word)}/24 dev ${name}`)
        devices.addAddress(devices.byName(name)!, {
          family: 4,
          words: [word, 0, 0, 0],
          prefixLength: 24,
          broadcast: null,
          peer: null,
          scope: 0,
          secondary: false,
          label: null,
        })
      } else if (what === 2) set('net.ipv4.ip_forward', random.below(2))
      else {
        const row = ['all', 'default', 'lo', ...there][random.below(3 + there.length)]!
        const name = random.below(3) === 0 ? 'forwarding' : NAMES[random.below(NAMES.length)]!
        set(`net.ipv4.conf.${row.replace('.', '/')}.${name}`, random.below(name === 'rp_filter' ? 3 : 2))
      }
    }
    const print = `sysctl net.ipv4.conf net.ipv4.ip_forward | grep -E '(${NAMES.join('|')}|ip_forward) '`
    const script = ['ip link set lo up', ...commands, print].join('\n')
    const { stdout, stderr } = spawnSync('unshare', ['-n', 'bash', '-c', script], { encoding: 'utf8' })
    expect(stderr).toBe('')
    const ours = stdout
      .trim()
      .split('\n')
      .map((line) => line.split(' = ')[0]!)
      .map((name) => `${name} = ${tunables.text(name)}`)
    expect(ours.join('\n'), `seed ${seed}:\n${commands.join('\n')}`).toBe(stdout.trim())
  }
})
