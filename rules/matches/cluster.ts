// cluster: which of several hosts that see the same packets shall handle a connection (libxt_cluster of iptables
// 1.8.9, xt_cluster_mt() of xt_cluster.c). The source of the connection, or of the one that expected it, decides.

import type { Conntrack } from '../../conntrack/conntrack.ts'
import { MASTER, SRC, STRIDE } from '../../conntrack/table.ts'
import { type Packet, PacketType } from '../../datapath/packet.ts'
import { isMulticast4 } from '../../datapath/wire/ipv4.ts'
import { jhashWord, scale, swap32 } from '../../datapath/wire/jhash.ts'
import type { Match } from '../extension.ts'
import { WholeError } from '../options.ts'

export interface Cluster {
  readonly nodes: number
  /** Bit n - 1 for node n; unsigned. */
  readonly mask: number
  readonly invert: boolean
  readonly seed: number
}

const MAX_NODES = 32
const hex8 = (value: number): string => `0x${(value >>> 0).toString(16).padStart(8, '0')}`

/** xt_cluster_hash(): of the source of the entry at `o`; of an IPv6 address it takes the first word alone. */
function hashOf(words: Int32Array, o: number, seed: number): number {
  return jhashWord(swap32(words[o + SRC]!), seed)
}

/** Does not allocate. */
function isOurs(pkt: Packet, conntrack: Conntrack, m: Cluster): boolean {
  // Switches that flood the packets to all nodes send them to a multicast address; the stack takes no such packets.
  const toMany = pkt.family === 4 ? isMulticast4(pkt.d0) : pkt.d0 >>> 24 === 0xff
  if (pkt.pktType === PacketType.Multicast && !toMany) pkt.pktType = PacketType.Host
  if (pkt.ct < 0) return false
  const { words } = conntrack.table
  const master = words[pkt.ct * STRIDE + MASTER]!
  const entry = master > 0 ? master - 1 : pkt.ct
  const node = scale(hashOf(words, entry * STRIDE, m.seed | 0), m.nodes)
  return ((m.mask >>> node) & 1) !== (m.invert ? 1 : 0)
}

export const cluster: Match<Cluster> = {
  kind: 'match',
  name: 'cluster',
  families: [4, 6],
  layout: {
    size: 16,
    fields: ({ nodes, mask, seed, invert }) => [
      [0, 4, nodes],
      [4, 4, mask],
      [8, 4, seed],
      [12, 4, invert ? 1 : 0],
    ],
  },
  options: [
    { flag: 'cluster-total-nodes', required: true },
    { flag: 'cluster-local-node', excludes: ['cluster-local-nodemask'], invertible: true },
    { flag: 'cluster-local-nodemask', excludes: ['cluster-local-node'], invertible: true },
    { flag: 'cluster-hash-seed', required: true },
  ],
  help: `cluster match options:
  --cluster-total-nodes <num>		Set number of total nodes in cluster
  [!] --cluster-local-node <num>	Set the local node number
  [!] --cluster-local-nodemask <num>	Set the local node mask
  --cluster-hash-seed <num>		Set seed value of the Jenkins hash
`,
  parse(o) {
    const number = (flag: string, min: number, max: number): number =>
      o.has(flag) ? o.uint(flag, 32, min, max) : 0
    const nodes = number('cluster-total-nodes', 1, MAX_NODES)
    const node = number('cluster-local-node', 1, MAX_NODES)
    const given = number('cluster-local-nodemask', 1, MAX_NODES)
    const seed = number('cluster-hash-seed', 0, 0xffffffff)
    if (node === 0 && given === 0)
      throw new WholeError("cluster match: `--cluster-local-node' or`--cluster-local-nodemask' is missing")
    // Both are kept in one place, until it is found that they exclude each other.
    const last = o.given().findLast((flag) => flag.startsWith('cluster-local-'))
    const mask = last === 'cluster-local-node' ? (1 << (node - 1)) >>> 0 : given
    const flag = node > 0 ? 'cluster-local-node' : 'cluster-local-nodemask'
    if (o.has('cluster-total-nodes') && o.has('cluster-hash-seed') && mask >= 2 ** nodes)
      throw new WholeError(
        node > 0
          ? "cluster match: `--cluster-local-node' must be <= `--cluster-total-nodes'"
          : "cluster match: `--cluster-local-nodemask' too big for `--cluster-total-nodes'",
      )
    o.text('cluster-total-nodes')
    o.text('cluster-hash-seed')
    return { nodes, mask, invert: o.inverted(flag), seed }
  },
  print: (m) =>
    `${m.invert ? '! ' : ''}--cluster-local-nodemask ${hex8(m.mask)} --cluster-total-nodes ${m.nodes} --cluster-hash-seed ${hex8(m.seed)}`,
  list: (m) =>
    `cluster ${m.invert ? '!' : ''}node_mask=${hex8(m.mask)} total_nodes=${m.nodes} hash_seed=${hex8(m.seed)}`,
  tracks: true,
  reads: ['conntrack', 'pkttype', 'destination'],
  emit: (m, js) => js`${js.bind(isOurs)}(pkt, ${js.env.conntrack}, ${m})`,
}
