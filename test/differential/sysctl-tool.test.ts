// sysctl of procps 4.0.2 in a namespace against ours: the same command lines, output, complaints and exit status.

import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { sysctlTool } from '../../daemon/cli/sysctl.ts'
import { createEngine, type Engine } from '../../daemon/engine.ts'
import { loadHostFolder } from '../../daemon/host-folder/index.ts'
import { MemoryEgress } from '../../datapath/ports/memory.ts'
import { FrameMemory } from '../../datapath/ring.ts'
import { writeFolder } from '../harness/capture.ts'
import { SeededRandom } from '../harness/frames.ts'
import { whyNoKernel } from '../harness/kernel.ts'

const reason =
  whyNoKernel() ?? (spawnSync('sysctl', ['-V']).status === 0 ? null : 'the program sysctl is missing')
if (reason !== null) console.warn(`NOT RUN: sysctl is not compared with the real one: ${reason}`)

const NAMESPACE = `tw-sysctl-${process.pid}`
/** In order: later ones read what earlier ones wrote. */
const LINES = `net.ipv4.ip_forward
-n net.ipv4.ip_forward
net.ipv4.ip_forward=1
net/ipv4/ip_forward
net/ipv4/ip_forward=0
-N net.ipv4.ip_forward
-b net.ipv4.ip_forward
-n net.ipv4.ip_forward net.ipv4.ip_default_ttl
--values net.ipv4.ip_forward
--names net.ipv4.ip_forward
--quiet net.ipv4.ip_forward=1
--write net.ipv4.ip_forward=1
-qw net.ipv4.ip_forward=1 net.ipv4.ip_forward
-w net.ipv4.ip_forward
-w
-q
-x

-y
--nope
-r
-V
--version
-h
net.nope
-e net.nope
-e net.nope=1
net.ipv4.nope=1
net.ipv4.ip_forward net.nope net.ipv4.ip_default_ttl
-w net.ipv4.ip_forward=1 net.nope=1 net.ipv4.ip_default_ttl=63
net.ipv4.ip_default_ttl
net.ipv4.ip_default_ttl=0
net.ipv4.ip_default_ttl=256
net.ipv4.ip_default_ttl=x
net.ipv4.ip_default_ttl=
net.ipv4.conf.all.rp_filter=1
net.ipv4.conf.all.rp_filter
net.ipv4.conf.lo.rp_filter
net.ipv4.conf.none.rp_filter
net.netfilter.nf_conntrack_udp_timeout=60
net.netfilter.nf_conntrack_udp_timeout
net.netfilter.nf_conntrack_count=3
net.netfilter.nf_conntrack_count
net.netfilter.nf_conntrack_tcp_timeout_established
-a -r nf_conntrack_(udp|icmp)_timeout$
-r ip_default_ttl$
-a -N -r net.ipv4.ip_forward$
-p /nonexistent`.split('\n')

let engine: Engine
const root = reason === null ? mkdtempSync(join(tmpdir(), 'tunwall-sysctl-')) : ''

describe.skipIf(reason !== null)('sysctl answers as procps', () => {
  beforeAll(() => {
    expect(spawnSync('ip', ['netns', 'add', NAMESPACE]).status).toBe(0)
    const folder = writeFolder(join(root, 'host'), { 'host.yaml': 'interfaces: {}\n' })
    const memory = new FrameMemory(4, 2048)
    engine = createEngine(loadHostFolder(folder), {
      memory,
      egress: new MemoryEgress(memory),
      random: new SeededRandom(1),
    })
  })
  afterAll(() => {
    spawnSync('ip', ['netns', 'del', NAMESPACE])
    rmSync(root, { recursive: true, force: true })
  })

  test.each(LINES)('%s', (line) => {
    const argv = line === '' ? [] : line.split(' ')
    const real = spawnSync('ip', ['netns', 'exec', NAMESPACE, 'sysctl', ...argv], {
      encoding: 'utf8',
      input: '',
    })
    const ours = sysctlTool.run({ tool: 'sysctl', directory: '/', argv, stdin: '' }, engine)
    expect(ours).toEqual({ stdout: real.stdout, stderr: real.stderr, code: real.status })
  })
})
