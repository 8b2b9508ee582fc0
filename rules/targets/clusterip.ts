// CLUSTERIP: a share of an address that several hosts answer to (libipt_CLUSTERIP of iptables 1.8.9, clusterip_tg() of
// ipt_CLUSTERIP.c, which Linux dropped in 6.3). Each host takes the packets whose hash is its number.
//
//     -i DEVICE -d ADDRESS ── without a connection: DROP
//                          ── hash of source and ports, 1 to --total-nodes; of a NEW one it becomes the ctmark
//                          ── ours: goes on, as if sent to this host alone; another's: DROP

import { Verdict } from '../../datapath/hooks.ts'
import type { Host } from '../../datapath/host.ts'
import { CtInfo, type Packet, PacketType } from '../../datapath/packet.ts'
import { jhashWord, jhashWords2, jhashWords3, scale } from '../../datapath/wire/jhash.ts'
import { IPPROTO_ICMP } from '../../datapath/wire/protocol.ts'
import { CONTINUE, type CompileEnv, type Target } from '../extension.ts'
import type { BaseMatch } from '../model.ts'
import { OptionError, type Options, PARAMETER_PROBLEM, WholeError } from '../options.ts'

export interface ClusterIp {
  /** --new; without it the rule shares what another one says about the address, and the rest is nothing. */
  readonly isNew: boolean
  readonly mode: number
  readonly mac: readonly number[]
  readonly total: number
  /** From 1. */
  readonly local: number
  readonly init: number
}

const MODES = ['sourceip', 'sourceip-sourceport', 'sourceip-sourceport-destport'] as const
const MAX_NODES = 16

/** What the rules with --new say about an address, by host. */
const configs = new WeakMap<Host, Map<number, ClusterIp>>()

function configsOf(host: Host): Map<number, ClusterIp> {
  let of = configs.get(host)
  if (of === undefined) {
    of = new Map()
    configs.set(host, of)
  }
  return of
}

const fail = (message: string): never => {
  throw new OptionError(message, PARAMETER_PROBLEM, true)
}

function parseMac(text: string): number[] {
  const parts = text.split(':')
  if (parts.length !== 6 || !parts.every((part) => /^[0-9a-fA-F]{1,2}$/.test(part)))
    throw new OptionError('Invalid MAC address specified.', PARAMETER_PROBLEM, true)
  const mac = parts.map((part) => Number.parseInt(part, 16))
  if ((mac[0]! & 1) === 0) fail('MAC has to be a multicast ethernet address\n')
  return mac
}

function parseMode(o: Options): number {
  const text = o.text('hashmode')
  const mode = (MODES as readonly string[]).indexOf(text)
  return mode < 0 ? fail(`Unknown hashmode "${text}"\n`) : mode
}

const macText = (m: ClusterIp): string =>
  m.mac.map((byte) => byte.toString(16).toUpperCase().padStart(2, '0')).join(':')

/** The one address that a rule is for, 0 for another sort of rule. */
function addressOf(base: BaseMatch | null | undefined): number {
  const to = base?.destination ?? null
  return to === null || to.mask[0] !== -1 ? 0 : to.words[0]
}

/** The bytes at the beginning of the transport header that proto_ports_offset() takes for ports. */
function portsOf(pkt: Packet, view: DataView): number {
  return pkt.sport >= 0 && pkt.l4 + 4 <= pkt.end ? view.getInt32(pkt.l4) : 0
}

/** clusterip_tg(). A Verdict or CONTINUE. Hot: does not allocate. */
function share(pkt: Packet, env: CompileEnv, rule: ClusterIp): number {
  if (pkt.ct < 0) return Verdict.Drop
  const info = pkt.ctInfo
  // An error about a connection is for all.
  if (pkt.proto === IPPROTO_ICMP && (info === CtInfo.Related || info === CtInfo.RelatedReply)) return CONTINUE
  const m = rule.isNew ? rule : configsOf(env.host).get(pkt.d0)
  if (m === undefined) return Verdict.Drop
  const ports = m.mode === 0 ? 0 : portsOf(pkt, env.host.memory.view)
  const hash =
    m.mode === 0
      ? jhashWord(pkt.s0, m.init | 0)
      : m.mode === 1
        ? jhashWords2(pkt.s0, ports >>> 16, m.init | 0)
        : jhashWords3(pkt.s0, ports >>> 16, ports & 0xffff, m.init | 0)
  const node = scale(hash, m.total) + 1
  if (info === CtInfo.New) env.conntrack.setMark(pkt.ct, node)
  if (node !== m.local) return Verdict.Drop
  pkt.pktType = PacketType.Host
  return CONTINUE
}

export const clusterip: Target<ClusterIp> = {
  kind: 'target',
  name: 'CLUSTERIP',
  families: [4],
  layout: { size: 64, own: 56 },
  tracks: true,
  options: [
    { flag: 'new', arg: 'none' },
    { flag: 'hashmode' },
    { flag: 'clustermac', holds: 'mac' },
    { flag: 'total-nodes' },
    { flag: 'local-node' },
    { flag: 'hash-init' },
  ],
  help: `CLUSTERIP target options:
  --new			 Create a new ClusterIP
  --hashmode <mode>		 Specify hashing mode
					sourceip
					sourceip-sourceport
					sourceip-sourceport-destport
  --clustermac <mac>		 Set clusterIP MAC address
  --total-nodes <num>		 Set number of total nodes in cluster
  --local-node <num>		 Set the local node number
  --hash-init <num>		 Set init value of the Jenkins hash
`,
  parse(o) {
    const m: ClusterIp = {
      isNew: o.has('new'),
      mode: o.has('hashmode') ? parseMode(o) : 0,
      mac: o.has('clustermac') ? parseMac(o.text('clustermac')) : [0, 0, 0, 0, 0, 0],
      total: o.has('total-nodes') ? o.uint('total-nodes', 16, 0, MAX_NODES) : 0,
      local: o.has('local-node') ? o.uint('local-node', 16, 0, MAX_NODES) : 0,
      init: o.has('hash-init') ? o.uint('hash-init', 32) : 0,
    }
    const full = ['new', 'hashmode', 'clustermac', 'total-nodes', 'local-node']
    if (o.given().length > 0 && !full.every((flag) => o.has(flag)))
      throw new WholeError('CLUSTERIP target: Invalid parameter combination\n')
    return m
  },
  print: (m) =>
    m.isNew
      ? `--new --hashmode ${MODES[m.mode]} --clustermac ${macText(m)} --total-nodes ${m.total} --local-node ${m.local} --hash-init ${m.init}`
      : '',
  list: (m) =>
    m.isNew
      ? `CLUSTERIP hashmode=${MODES[m.mode]} clustermac=${macText(m)} total_nodes=${m.total} local_node=${m.local} hash_init=${m.init}`
      : 'CLUSTERIP',
  check(m, use) {
    const address = addressOf(use.base)
    if (address === 0 || use.base?.destination?.invert) return 'CLUSTERIP: Please specify destination IP'
    if (!use.base?.inInterface) return 'CLUSTERIP: Please specify an interface name'
    if (m.isNew) {
      if (m.total === 0 || m.local === 0 || m.local > m.total)
        return 'CLUSTERIP: the node is none of the cluster'
      if (use.host) configsOf(use.host).set(address, m)
      return null
    }
    for (const rule of use.earlier?.() ?? [])
      if (
        rule.target.kind === 'extension' &&
        rule.target.target.name === 'CLUSTERIP' &&
        (rule.target.data as ClusterIp).isNew &&
        addressOf(rule.base) === address
      )
        return null
    return "CLUSTERIP: no config found for the address, need 'new'"
  },
  reads: ['source', 'destination', 'ports', 'conntrack'],
  writes: ['connmark', 'pkttype'],
  flow: 'dynamic',
  emit: (m, js) => js`${js.bind(share)}(pkt, ${js.env}, ${m})`,
}
