// No match and no target allocates for a packet whose connection and addresses it knows. All of them stand in one
// ruleset; if that costs heap, each is asked alone. V8 inlines nothing but the smallest functions: what it would inline
// hangs on what was compiled before, and a number that is handed over as it is, is an object where the call is one.

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import v8 from 'node:v8'
import vm from 'node:vm'
import { afterAll, describe, expect, test } from 'vitest'
import { createEngine, type Engine } from '../../../daemon/engine.ts'
import { loadHostFolder } from '../../../daemon/host-folder/index.ts'
import { SeededRandom } from '../../../daemon/random.ts'
import { Packet } from '../../../datapath/packet.ts'
import { CountingEgress } from '../../../datapath/ports/memory.ts'
import { FrameMemory, HEADROOM } from '../../../datapath/ring.ts'
import { matches } from '../../../rules/matches/index.ts'
import { targets } from '../../../rules/targets/index.ts'
import { writeFolder } from '../../harness/capture.ts'
import { icmp, tcp, udp } from '../../harness/frames.ts'

v8.setFlagsFromString('--expose-gc')
const gc = vm.runInNewContext('gc') as () => void

const root = mkdtempSync(join(tmpdir(), 'tunwall-rules-heap-'))
afterAll(() => rmSync(root, { recursive: true }))

const HOST_YAML = `interfaces:
  lan: {addresses: [10.0.1.1/24]}
  wan: {addresses: [203.0.113.1/24]}
routes: [default via 203.0.113.254]
sysctls:
  net.ipv4.ip_forward: 1
  net.netfilter.nf_conntrack_acct: 1
`
const SETS = `create s hash:ip,port counters
add s 10.0.1.2,tcp:80
create n hash:net
add n 10.0.0.0/8
create b bitmap:ip range 198.51.100.0/24
add b 198.51.100.7
create p bitmap:port range 1-65535
add p 80
create m hash:ip,mark
add m 10.0.1.2,0x80000005
create w hash:net,port,net
add w 10.0.0.0/8,tcp:80,198.51.100.0/24
create i hash:net,iface
add i 10.0.0.0/8,lan
create l list:set
add l b
`

const WARM = 40_000
const PACKETS = 20_000
const WINDOW = 2000
/** Bytes of heap that a packet may cost: less than one heap number (16 bytes) in ten packets. */
const SLACK = 1.5

/** Bytes of bytecode that V8 may inline into one function; createEngine() allows thousands. */
const INLINED = 0

/** By match: what follows the chain, in mangle FORWARD unless it begins with a table. */
const MATCH_RULES: Readonly<Record<string, readonly string[]>> = {
  addrtype: ['-m addrtype --src-type UNICAST ! --dst-type LOCAL'],
  ah: ['-p ah -m ah --ahspi 1:9'],
  bpf: [
    '-m bpf --bytecode "4,48 0 0 9,21 0 1 6,6 0 0 1,6 0 0 0"',
    // The mark, a random number, a word of the packet.
    '-m bpf --bytecode "2,32 0 0 4294963220,22 0 0 0"',
    '-m bpf --bytecode "2,32 0 0 4294963256,22 0 0 0"',
    '-m bpf --bytecode "3,32 0 0 16,84 0 0 4294967295,22 0 0 0"',
  ],
  cgroup: ['filter OUTPUT -m cgroup --cgroup 1'],
  cluster: ['-m cluster --cluster-total-nodes 2 --cluster-local-node 1 --cluster-hash-seed 4294967291'],
  comment: ['-m comment --comment x'],
  connbytes: [
    '-m connbytes --connbytes 100:900 --connbytes-dir both --connbytes-mode bytes',
    '-m connbytes --connbytes 100:900 --connbytes-dir original --connbytes-mode avgpkt',
  ],
  connlabel: ['-m connlabel --label 3 --set'],
  connlimit: ['-p tcp -m connlimit --connlimit-above 70 --connlimit-mask 0'],
  connmark: ['-m connmark --mark 0x80000001/0x80000003'],
  conntrack: [
    '-m conntrack --ctstate NEW,ESTABLISHED --ctorigsrc 10.0.0.0/8 --ctexpire 1:1000 --ctstatus ASSURED',
  ],
  cpu: ['-m cpu --cpu 0'],
  dccp: ['-p dccp -m dccp --dccp-types DATA'],
  devgroup: ['-m devgroup --src-group 0 --dst-group 1'],
  dscp: ['-m dscp --dscp 0'],
  ecn: ['-p tcp -m ecn --ecn-tcp-cwr --ecn-ip-ect 0'],
  esp: ['-p esp -m esp --espspi 1'],
  hashlimit: [
    '-m hashlimit --hashlimit-upto 10/s --hashlimit-mode srcip,srcport --hashlimit-name h --hashlimit-htable-expire 90000',
    '-m hashlimit --hashlimit-above 10kb/s --hashlimit-mode dstip --hashlimit-name b --hashlimit-htable-expire 90000',
    '-m hashlimit --hashlimit-above 10/s --hashlimit-rate-match --hashlimit-name r --hashlimit-htable-expire 90000',
  ],
  helper: ['-m helper --helper ftp'],
  icmp: ['-p icmp -m icmp --icmp-type 8/0'],
  ipcomp: ['-p ipcomp -m ipcomp --ipcompspi 1'],
  iprange: ['-m iprange --src-range 10.0.1.1-10.0.1.9'],
  length: ['-m length --length 10:99'],
  limit: ['-m limit --limit 5/s'],
  mac: ['-m mac --mac-source 02:00:00:00:00:01'],
  mark: ['-m mark --mark 0x80000001'],
  multiport: ['-p tcp -m multiport --ports 1,2,3:9,80'],
  osf: ['-p tcp -m osf --genre Linux --ttl 2'],
  owner: ['OUTPUT -m owner --uid-owner 0'],
  physdev: ['-m physdev --physdev-in lan'],
  pkttype: ['-m pkttype --pkt-type unicast'],
  policy: ['-m policy --dir in --pol none'],
  quota: ['-m quota --quota 100000000'],
  rateest: [
    '-j RATEEST --rateest-name e --rateest-interval 250ms --rateest-ewmalog 500ms',
    '-m rateest --rateest e --rateest-gt --rateest-bps 1bit',
  ],
  realm: ['-m realm --realm 3'],
  recent: [
    '-m recent --set --name a',
    '-m recent --update --seconds 9 --hitcount 3 --name a',
    '-m recent --rcheck --rttl --name a --rdest',
  ],
  rpfilter: ['PREROUTING -m rpfilter'],
  sctp: ['-p sctp -m sctp --dport 1'],
  set: [
    '-m set --match-set s src,dst',
    '-m set --match-set n src',
    '-m set --match-set b dst',
    '-m set --match-set p dst',
    '-m set --match-set m src,src',
    '-m set --match-set w src,dst,dst',
    '-m set --match-set i src,src',
    '-m set --match-set l dst',
  ],
  socket: ['PREROUTING -m socket'],
  state: ['-m state --state ESTABLISHED'],
  statistic: ['-m statistic --mode nth --every 3 --packet 0', '-m statistic --mode random --probability 0.5'],
  string: [
    '-m string --algo bm --string abc',
    '-m string --algo kmp --icase --hex-string "|0102|" --from 20 --to 90',
  ],
  tcp: ['-p tcp -m tcp --sport 1:9999 --dport 80 --tcp-flags SYN,ACK ACK --tcp-option 5'],
  tcpmss: ['-p tcp -m tcpmss --mss 1:9'],
  time: ['-m time --timestart 01:00 --timestop 02:00 --weekdays Mon,Tue --monthdays 1,2,3'],
  tos: ['-m tos --tos 0x10/0x3f'],
  ttl: ['-m ttl --ttl-gt 5'],
  u32: ['-m u32 --u32 "0>>22&0x3C@4=1:9&&6&0xff=6"'],
  udp: ['-p udp -m udp --sport 1:9999'],
}

/** By target. */
const TARGET_RULES: Readonly<Record<string, readonly string[]>> = {
  AUDIT: ['-j AUDIT --type accept'],
  CHECKSUM: ['-j CHECKSUM --checksum-fill'],
  CLASSIFY: ['-j CLASSIFY --set-class 8001:2'],
  CONNMARK: [
    '-j CONNMARK --set-xmark 0x80000001/0x80000003',
    '-j CONNMARK --save-mark',
    '-j CONNMARK --restore-mark',
  ],
  CONNSECMARK: ['-j CONNSECMARK --save'],
  CT: ['raw PREROUTING -p udp --sport 1 -j CT --zone 1'],
  DNAT: ['nat PREROUTING -d 192.0.2.1 -j DNAT --to-destination 10.0.1.9'],
  DSCP: ['-j DSCP --set-dscp 10'],
  ECN: ['-p tcp -j ECN --ecn-tcp-remove'],
  HMARK: [
    '-j HMARK --hmark-tuple src,dst,sport --hmark-mod 5 --hmark-rnd 7',
    '-j HMARK --hmark-tuple ct,src --hmark-mod 4294967295 --hmark-rnd 4294967291 --hmark-offset 2147483648',
  ],
  IDLETIMER: ['-j IDLETIMER --timeout 9 --label l'],
  // Nobody listens.
  LOG: ['-j LOG'],
  MARK: ['-j MARK --set-xmark 0x80000005/0x80000007'],
  MASQUERADE: ['nat POSTROUTING -o wan -j MASQUERADE'],
  NETMAP: ['nat PREROUTING -d 192.0.2.0/28 -j NETMAP --to 10.0.1.0/28'],
  NFLOG: ['-j NFLOG --nflog-group 3'],
  NFQUEUE: ['POSTROUTING -p icmp -j NFQUEUE --queue-bypass'],
  NOTRACK: ['raw PREROUTING -p udp --sport 2 -j NOTRACK'],
  RATEEST: ['-j RATEEST --rateest-name f --rateest-interval 250ms --rateest-ewmalog 500ms'],
  REDIRECT: ['nat PREROUTING -p tcp --dport 99 -j REDIRECT'],
  REJECT: [
    'filter FORWARD -p udp -j REJECT',
    'filter FORWARD -p tcp --sport 3000:3015 -j REJECT --reject-with tcp-reset',
  ],
  SET: ['-j SET --add-set s src,dst --exist', '-j SET --map-set n src --map-mark'],
  SNAT: ['nat POSTROUTING -s 192.0.2.9 -j SNAT --to-source 203.0.113.1'],
  SYNPROXY: ['filter FORWARD -p tcp -m conntrack --ctstate UNTRACKED -j SYNPROXY --mss 1460'],
  TCPMSS: ['-p tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu'],
  TCPOPTSTRIP: ['-p tcp -j TCPOPTSTRIP --strip-options timestamp,sack'],
  TEE: ['-p icmp -j TEE --gateway 10.0.1.7'],
  TOS: ['-j TOS --set-tos 0x10/0x3f'],
  TPROXY: ['PREROUTING -p tcp --dport 81 -j TPROXY --on-port 0'],
  TRACE: ['raw PREROUTING -p icmp -j TRACE'],
  TTL: ['-j TTL --ttl-inc 1'],
}

/** What no ruleset of this host can have, and what IPv4 does not know. */
const LEFT_OUT = ['ipvs', 'nfacct', 'CLUSTERIP', 'LED', 'SECMARK']

const TABLES = ['raw', 'mangle', 'nat', 'filter']

function textOf(rules: readonly string[]): string {
  const tables = new Map(TABLES.map((table) => [table, [] as string[]]))
  for (const rule of rules) {
    const [, table = 'mangle', chain = 'FORWARD', rest] =
      /^(?:(raw|mangle|nat|filter) )?(?:([A-Z]+) )?(.*)$/.exec(rule)!
    tables.get(table)!.push(`-A ${chain} ${rest}`)
  }
  return [...tables]
    .map(([table, lines]) => (lines.length === 0 ? '' : `*${table}\n${lines.join('\n')}\nCOMMIT\n`))
    .join('')
}

const there = { src: '10.0.1.2', dst: '198.51.100.7' }

/** Frames of connections that are there: TCP with options, UDP, pings; both ways for the first. */
function traffic(): { frames: Uint8Array[]; devices: string[] } {
  const frames: Uint8Array[] = []
  const devices: string[] = []
  for (let i = 0; i < 32; i++) {
    const ports = { sport: 3000 + i, dport: 80, window: 60000 }
    frames.push(
      tcp({
        ...there,
        ...ports,
        flags: 'PA',
        seq: 101,
        ack: 501,
        payload: 100,
        tcpOptions: [1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2],
      }),
      udp({ ...there, sport: 2000 + i, dport: 9000, payload: 32 }),
      icmp({ ...there, type: 8, code: 0, rest: (i << 16) >>> 0, payload: 40 }),
    )
    devices.push('lan', 'lan', 'lan')
  }
  return { frames, devices }
}

class World {
  readonly engine: Engine
  readonly egress: CountingEgress
  readonly #memory = new FrameMemory(64, 2048)
  readonly #pkt = new Packet()

  constructor(rules: readonly string[]) {
    this.egress = new CountingEgress(this.#memory)
    const files = { 'host.yaml': HOST_YAML, 'ipset-save': SETS, 'iptables-save': textOf(rules) }
    this.engine = createEngine(loadHostFolder(writeFolder(root, files)), {
      memory: this.#memory,
      egress: this.egress,
      random: new SeededRandom(1),
    })
    v8.setFlagsFromString(`--max-inlined-bytecode-size-cumulative=${INLINED}`)
    // Every packet asks every rule.
    this.engine.conntrack.flows.enabled = false
  }

  send(frame: Uint8Array, name: string): void {
    const memory = this.#memory
    const pkt = this.#pkt
    const slot = memory.take()
    pkt.reset()
    pkt.slot = slot
    pkt.limit = slot + memory.stride
    pkt.l3 = slot + HEADROOM
    pkt.end = pkt.l3 + frame.length
    const { bytes } = memory
    for (let i = 0; i < frame.length; i++) bytes[pkt.l3 + i] = frame[i]!
    const { host } = this.engine
    host.path.receive(pkt, host.devices.byName(name)!)
  }

  pass(frames: readonly Uint8Array[], devices: readonly string[], count: number): void {
    const { engine } = this
    for (let i = 0; i < count; i++) {
      engine.host.now += 0.01
      this.send(frames[i % frames.length]!, devices[i % frames.length]!)
      if (i % 1024 === 0) engine.tick()
    }
  }
}

/** Bytes of heap that a packet left behind, the least of some rounds: compiling and timers come and go. */
function cost(rules: readonly string[]): number {
  const world = new World(rules)
  const { frames, devices } = traffic()
  for (let i = 0; i < 32; i++) {
    const ports = { sport: 3000 + i, dport: 80, window: 60000 }
    world.send(tcp({ ...there, ...ports, flags: 'S', seq: 100 }), 'lan')
  }
  world.pass(frames, devices, WARM)
  expect(world.egress.packets).toBeGreaterThan(WARM / 4)
  let least = Number.POSITIVE_INFINITY
  for (let round = 0; round < 15 && least > SLACK / 4; round++) {
    gc()
    let left = 0
    for (let done = 0; done < PACKETS; done += WINDOW) {
      const before = process.memoryUsage().heapUsed
      world.pass(frames, devices, WINDOW)
      left += Math.max(0, process.memoryUsage().heapUsed - before)
    }
    least = Math.min(least, left / PACKETS)
  }
  return least
}

/** The rules that cost heap, or half of them where only several together do. */
function guilty(rules: readonly string[]): string[] {
  // What the compiler has not come round to yet is compiled in another world.
  let all = cost(rules)
  for (let again = 0; again < 3 && all >= SLACK; again++) all = Math.min(all, cost(rules))
  if (all < SLACK) return []
  if (rules.length === 1) return [`${all.toFixed(1)} bytes a packet: ${rules[0]}`]
  const half = rules.length >> 1
  const found = [...guilty(rules.slice(0, half)), ...guilty(rules.slice(half))]
  return found.length > 0 ? found : [`${all.toFixed(1)} bytes a packet, together: ${rules.join('; ')}`]
}

describe('no allocation', () => {
  test('every extension of IPv4 is here', () => {
    const known = [...matches, ...targets].filter((e) => e.families.includes(4)).map((e) => e.name)
    const here = [...Object.keys(MATCH_RULES), ...Object.keys(TARGET_RULES), ...LEFT_OUT]
    expect([...new Set(known)].filter((name) => !here.includes(name))).toEqual([])
  })

  test('matches', () => {
    const rules = Object.values(MATCH_RULES).flat()
    expect(guilty(rules)).toEqual([])
  })

  test('targets', () => {
    const rules = Object.values(TARGET_RULES).flat()
    expect(guilty(rules)).toEqual([])
  })
})
