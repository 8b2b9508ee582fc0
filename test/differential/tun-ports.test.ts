// TUN ports against a namespace that forwards to a device that is read here: batches whole and in order; devices that are
// down, full or removed; a gateway that has nothing to do.
//
//     TunPorts ══ near ═╡ namespace, forwards ╞═ far ══ read here
//                       ╞══ slow (tbf, 8 kbit/s)

import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, readSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { native } from '../../datapath/native/index.ts'
import { BATCH, TunPorts } from '../../datapath/ports/tun.ts'
import { FrameMemory, HEADROOM } from '../../datapath/ring.ts'
import { writeFolder } from '../harness/capture.ts'
import { udp } from '../harness/frames.ts'
import { Gateway, MAIN } from '../harness/gateway.ts'
import { whyNoKernel } from '../harness/kernel.ts'

const why = whyNoKernel()
const whyNoGateway = why ?? (existsSync(MAIN) ? null : 'dist is not built: npm run build')
if (why !== null) console.warn(`NOT RUN: TUN ports: ${why}`)
else if (whyNoGateway !== null) console.warn(`NOT RUN: the idle gateway: ${whyNoGateway}`)

const NS = `tw-tun-${process.pid}`
const [NEAR, FAR] = [1, 2]
const SLOTS = 1024

const sh = (script: string): string =>
  execFileSync('ip', ['netns', 'exec', NS, 'sh', '-ec', script], { encoding: 'utf8' })

const frame = (id: number, dst = '10.8.0.2', payload = 32): Uint8Array =>
  udp({ src: '10.9.0.2', dst, sport: 1, dport: 2, payload, id })

describe.skipIf(why !== null)('TUN ports', () => {
  let memory: FrameMemory
  let ports: TunPorts
  let far: number
  const room = Buffer.alloc(2048)

  beforeEach(() => {
    execFileSync('ip', ['netns', 'add', NS])
    memory = new FrameMemory(SLOTS, 2048)
    ports = new TunPorts(memory)
    ports.open({ device: NEAR, name: 'near', netns: `/run/netns/${NS}`, offload: false, sendBuffer: 20_000 })
    far = native().openTun('far', `/run/netns/${NS}`, 0)
    sh(`for i in all default near far; do echo 0 > /proc/sys/net/ipv4/conf/$i/rp_filter; done
      echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6
      echo 1 > /proc/sys/net/ipv4/ip_forward
      ip link set near up; ip addr add 10.9.0.1/24 dev near
      ip link set far up txqueuelen 2000; ip route add 10.8.0.0/16 dev far`)
  })
  afterEach(() => {
    ports.close()
    native().close(far)
    spawnSync('ip', ['netns', 'del', NS])
  })

  const send = (bytes: Uint8Array, device = NEAR): void => {
    const slot = memory.take()
    expect(slot).toBeGreaterThanOrEqual(0)
    memory.bytes.set(bytes, slot + HEADROOM)
    ports.send(device, slot + HEADROOM, bytes.length, slot)
  }

  /** Identifications of the frames that came out at the far device. */
  const arrived = (): number[] => {
    const ids: number[] = []
    for (;;)
      try {
        readSync(far, room)
        ids.push(room.readUInt16BE(4))
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'EAGAIN') return ids
        throw error
      }
  }
  const numbers = (count: number): number[] => Array.from({ length: count }, (_, i) => i + 1)

  test('batches of any size arrive whole and in order', () => {
    for (const count of [1, 7, 8, 9, BATCH, 3 * BATCH + 5]) {
      for (const id of numbers(count)) send(frame(id, '10.8.0.2', id % 40))
      ports.flush()
      expect(arrived()).toEqual(numbers(count))
    }
    expect(ports.refused(NEAR)).toBe(0)
    expect(memory.free).toBe(SLOTS)
  })

  test('what a device refuses is counted, the rest goes on', () => {
    for (const id of numbers(20)) send(id % 4 === 0 ? Uint8Array.of(0xff, id) : frame(id))
    ports.flush()
    expect(arrived()).toEqual(numbers(20).filter((id) => id % 4 !== 0))
    expect(ports.refused(NEAR)).toBe(5)
    sh('ip link set near down')
    for (const id of numbers(50)) send(frame(id))
    ports.flush()
    expect(ports.refused(NEAR)).toBe(55)
    sh('ip link set near up')
    for (const id of numbers(50)) send(frame(id))
    ports.flush()
    expect(arrived()).toEqual(numbers(50))
    expect(memory.free).toBe(SLOTS)
  })

  test('a full device refuses, waits for nothing and holds up nobody', () => {
    ports.open({ device: FAR, name: 'other', netns: `/run/netns/${NS}`, offload: false })
    // What goes to 10.7/16 is taken off `near` before the stack has it, into a queue of 8 kbit/s.
    sh(`ip link set other up; ip addr add 10.6.0.1/24 dev other; echo 0 > /proc/sys/net/ipv4/conf/other/rp_filter
      ip link add slow type veth peer name drain; ip link set slow up; ip link set drain up
      tc qdisc add dev slow root tbf rate 8kbit burst 2000 limit 10000000
      tc qdisc add dev near handle ffff: ingress
      tc filter add dev near parent ffff: protocol ip u32 match ip dst 10.7.0.0/16 action mirred egress redirect dev slow`)
    const start = performance.now()
    const count = 400
    for (const id of numbers(count)) {
      send(frame(id, '10.7.0.2', 100))
      if (id % 4 === 0) send(frame(id), FAR)
    }
    ports.flush()
    const refused = ports.refused(NEAR)
    // At least a buffer of frames went; with their bookkeeping they take several times their bytes.
    expect(refused).toBeGreaterThan(count / 2)
    expect(refused).toBeLessThan(count - 5)
    expect(ports.refused(FAR)).toBe(0)
    expect(arrived()).toEqual(numbers(count).filter((id) => id % 4 === 0))
    // The queue would take a minute to drain.
    expect(performance.now() - start).toBeLessThan(5000)
    expect(memory.free).toBe(SLOTS)
    // It goes on when there is room.
    sh('tc qdisc del dev slow root; tc qdisc del dev near ingress')
    for (const id of numbers(3)) send(frame(id))
    ports.flush()
    expect(arrived()).toEqual(numbers(3))
    expect(ports.refused(NEAR)).toBe(refused)
  })

  test('a device that is removed by others is reported once and wakes nobody', () => {
    const gone: number[] = []
    ports.onGone = (device) => gone.push(device)
    ports.receive(() => {})
    sh('ip link del near')
    for (let i = 0; i < 3; i++) {
      ports.wait(20)
      ports.receive(() => {})
    }
    expect(gone).toEqual([NEAR])
    const start = performance.now()
    expect(ports.wait(60)).toBe(false)
    expect(performance.now() - start).toBeGreaterThan(50)
    send(frame(1))
    ports.flush()
    expect(ports.refused(NEAR)).toBe(1)
  })

  test('receive takes what is there, in batches, and says when there may be more', () => {
    const seen: number[] = []
    const take = (): boolean =>
      ports.receive((device, { offsets, count }) => {
        expect(device).toBe(NEAR)
        for (const offset of offsets.subarray(0, count)) {
          seen.push(memory.view.getUint16(offset + 4))
          memory.give(offset - HEADROOM)
        }
      })
    take()
    seen.length = 0
    const back = (id: number): Uint8Array =>
      udp({ src: '10.8.0.2', dst: '10.9.0.2', sport: 1, dport: 2, payload: 8, id })
    const io = native()
    const bytes = new Uint8Array(128)
    const [offsets, lengths] = [new Int32Array(1), new Int32Array(1)]
    const tx = io.createWriter(bytes, offsets, lengths, new Uint32Array(1))
    for (const id of numbers(BATCH + 3)) {
      bytes.set(back(id))
      lengths[0] = back(id).length
      io.writeBatch(tx, far, 0, 1)
    }
    ports.wait(1000)
    expect(take()).toBe(true)
    expect(seen).toEqual(numbers(BATCH))
    expect(take()).toBe(false)
    expect(seen).toEqual(numbers(BATCH + 3))
    expect(ports.wait(0)).toBe(false)
  })
})

describe.skipIf(whyNoGateway !== null)('a gateway with nothing to do', () => {
  const root = whyNoGateway === null ? mkdtempSync(join(tmpdir(), 'tunwall-idle-')) : ''
  beforeAll(() => {
    execFileSync('ip', ['netns', 'add', NS])
  })
  afterAll(() => {
    spawnSync('ip', ['netns', 'del', NS])
    rmSync(root, { recursive: true, force: true })
  })

  /** Of all threads of a process: nanoseconds on a processor, and how often they went to sleep. */
  function usage(pid: number): { ns: number; sleeps: number } {
    let [ns, sleeps] = [0, 0]
    for (const task of readdirSync(`/proc/${pid}/task`)) {
      ns += Number(readFileSync(`/proc/${pid}/task/${task}/schedstat`, 'utf8').split(' ')[0])
      const status = readFileSync(`/proc/${pid}/task/${task}/status`, 'utf8')
      sleeps += Number(/^voluntary_ctxt_switches:\t(\d+)/m.exec(status)![1])
    }
    return { ns, sleeps }
  }
  const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

  test.each([
    ['with its devices', false],
    ['and one of them removed', true],
  ])('sleeps, %s', async (_, removed) => {
    const port = (name: string) => `port: { tun: { namespace: ${NS}, name: ${name} } }`
    const host = writeFolder(join(root, `host-${removed}`), {
      'host.yaml': `interfaces:\n  lan: { addresses: [10.0.1.1/24], ${port('a')} }\n  wan: { addresses: [10.0.2.1/24], ${port('b')} }\n`,
    })
    const gateway = await new Gateway(host, join(root, `socket-${removed}`)).ready()
    try {
      if (removed) sh('ip link del dev a')
      // What starting left to do: compiling, collecting, the namespace's own packets.
      await pause(1500)
      const [before, start] = [usage(gateway.pid), performance.now()]
      await pause(2000)
      const [after, seconds] = [usage(gateway.pid), (performance.now() - start) / 1000]
      expect((after.ns - before.ns) / 1e9 / seconds).toBeLessThan(0.01)
      expect((after.sleeps - before.sleeps) / seconds).toBeLessThan(40)
      if (removed) expect(gateway.log).toMatch(/lan: its TUN device was removed/)
      expect(gateway.tool('iptables', '-S').code).toBe(0)
    } finally {
      expect(await gateway.stop()).toBe(0)
    }
  })
})
