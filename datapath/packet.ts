// The packet: one reused object per journey, a window on frame memory. It is the sk_buff of this host.
//
//     slot                l3          l4                 end      limit
//      | headroom ...      | IP header | transport ...    | tail    |
//      +-------------------+-----------+------------------+---------+
//
// `l3`, `l4`, `end`, `slot`, `limit` are absolute byte offsets into `FrameMemory.bytes`, so nothing is ever
// sliced. Header fields that rules ask for again and again are cached as numbers; whoever rewrites a header
// (datapath/rewrite.ts is the one place) refreshes the cache with it.

import type { Device } from './devices.ts'
import type { Route } from './fib.ts'
import { type FrameMemory, HEADROOM } from './ring.ts'

export type Family = 4 | 6

/** ip_conntrack_info; the numbers are the kernel's. `CtInfo.Untracked` has no entry. */
export const CtInfo = {
  Established: 0,
  Related: 1,
  New: 2,
  EstablishedReply: 3,
  RelatedReply: 4,
  Untracked: 7,
} as const

/** skb->pkt_type. */
export const PacketType = { Host: 0, Broadcast: 1, Multicast: 2, OtherHost: 3, Loopback: 5 } as const

/** Bits of Packet.flags (IPSKB_*). */
export const PathFlag = {
  /** ip_forward() had it. */
  Forwarded: 1,
  /** It leaves where it came from, and the sender could have sent it there itself. */
  DoRedirect: 2,
  /** IPv6: made here, but not to be cut (skb->ignore_df is not set). */
  Whole: 8,
  /** A process sent it: DF forbids to cut it here too (skb->ignore_df is not set). */
  Socket: 4,
  /** A broadcast that is passed on (bc_forwarding); its route is one of RTN_BROADCAST in the kernel. */
  Broadcast: 16,
} as const

/** What the raw table's CT target asks of the tracker (nf_ct_tmpl_alloc). */
export interface CtTemplate {
  readonly zone: number
  /** Directions for which the zone counts: 1 original, 2 reply, 3 both. */
  readonly zoneDirs: number
  /** zone taken from the packet's mark (--zone mark). */
  readonly zoneFromMark: boolean
  readonly helper: string | null
  readonly timeoutPolicy: string | null
  /** Event masks, null when every event is wanted. */
  readonly ctevents: number | null
  readonly expevents: number | null
  /** The entry is SYNPROXY's (nfct_synproxy_ext_add). */
  readonly synproxy?: boolean
}

/**
 * What ip_options_compile() found in the IPv4 options (struct ip_options in IPCB). Positions are bytes from l3, 0 for
 * absent; they hold as long as the header keeps its length.
 */
export class IpOptions {
  /** Bytes of options in the header; 0: not compiled, or none. */
  length = 0
  srr = 0
  rr = 0
  ts = 0
  cipso = 0
  routerAlert = 0
  strictRoute = false
  /** Source routed through this host: `nexthop` (word) is the next stop. */
  srrIsHit = false
  nexthop = 0
  rrNeedAddr = false
  tsNeedAddr = false
  tsNeedTime = false
  /** Options were written to, the header checksum not yet (ip_forward_options does). */
  changed = false

  clear(): void {
    this.length = this.srr = this.rr = this.ts = this.cipso = this.routerAlert = this.nexthop = 0
    this.strictRoute =
      this.srrIsHit =
      this.rrNeedAddr =
      this.tsNeedAddr =
      this.tsNeedTime =
      this.changed =
        false
  }

  copy(from: IpOptions): void {
    this.length = from.length
    this.srr = from.srr
    this.rr = from.rr
    this.ts = from.ts
    this.cipso = from.cipso
    this.routerAlert = from.routerAlert
    this.nexthop = from.nexthop
    this.strictRoute = from.strictRoute
    this.srrIsHit = from.srrIsHit
    this.rrNeedAddr = from.rrNeedAddr
    this.tsNeedAddr = from.tsNeedAddr
    this.tsNeedTime = from.tsNeedTime
    this.changed = from.changed
  }
}

/**
 * The pieces that a packet consists of (skb_shinfo()->frag_list): those it was reassembled from, or those that it was
 * made in here. It leaves in the same ones if they fit.
 * sizes[0] is the data of the first fragment: bytes from pkt.l3 + header on.
 */
export class FragmentList {
  count = 0
  /** The IPv4 header's length; the fixed header's for IPv6. */
  header = 0
  /** IPv6: the shortest headers that one of the pieces came with, its fragment header among them. */
  least = 0
  /** A copy that waits to come in again has a share in them: the packet is cut anew (skb_shared() in ip_do_fragment()). */
  shared = false
  readonly sizes = new Uint16Array(8192)
}

/**
 * A frame of so many bytes is not read into one piece of memory, but its first bytes into one and the rest into pages
 * (tun_alloc_skb: a page but for NET_SKB_PAD, SKB_MAX_HEAD, PAGE_ALLOC_COSTLY_ORDER).
 */
export const PAGED_FRAME_LEN = 4032
export const PAGED_HEAD_LEN = 3712
export const PAGES_LEN = 32768

export class Packet {
  // -- where the bytes are
  /** Start of the slot in frame memory; -1 when the packet is not in a slot of the pool. */
  slot = -1
  /** First byte past the room that may be written. */
  limit = 0
  family: Family = 4
  /** Network header. */
  l3 = 0
  /** Transport header: l3 + IHL*4, or behind the last IPv6 extension header. */
  l4 = 0
  /** One past the last byte of the packet (l3 + total length). */
  end = 0

  // -- cached header fields
  /** Upper protocol number (IPv6: of the last header found). */
  proto = 0
  /** Fragment offset in bytes; 0 for whole packets and first fragments. */
  fragOffset = 0
  moreFragments = false
  /** Addresses as signed 32-bit words, network order of words. IPv4 uses s0 and d0 only. */
  s0 = 0
  s1 = 0
  s2 = 0
  s3 = 0
  d0 = 0
  d1 = 0
  d2 = 0
  d3 = 0
  /** Transport ports (TCP, UDP, UDP-Lite, SCTP, DCCP), -1 where there are none: other protocol, later fragment, cut short. */
  sport = -1
  dport = -1

  // -- what travels with it (sk_buff metadata)
  /** fwmark, unsigned 32 bit. */
  mark = 0
  /** skb->priority, unsigned 32 bit (CLASSIFY). */
  priority = 0
  secmark = 0
  pktType: number = PacketType.Host
  /** The hook's `in` and `out` devices as ifindex; 0 is none (nf_hook_state). path.ts keeps them as each hook sees them. */
  iif = 0
  oif = 0
  /** The device the packet arrived on (skb->skb_iif); 0 for packets made here. */
  arrival: Device | null = null
  /**
   * skb->dev: where it came in, from POSTROUTING on where it leaves. In OUTPUT what it was made for, or what a copy of TEE's
   * leaves by; null: none yet.
   */
  device: Device | null = null
  /** Bytes between link and network header (skb_mac_header()); -1: it has no link header yet, as what was made here. */
  linkBytes = -1
  /** skb->queue_mapping: one more than the queue of the device that it was read from, 0 otherwise. */
  queue = 0
  /** Chosen route, null before routing. */
  route: Route | null = null
  /**
   * IPv4: realms of the route back to its source, and of that look-up's policy rule, as the way in was looked up: where it
   * leads in the upper half (fib_combine_itag).
   */
  sourceRealm = 0
  trace = false
  /** A transport match found the header cut short: the table answers DROP (xt_action_param.hotdrop). */
  hotdrop = false
  /** Largest fragment that this packet was reassembled from, 0 if it was whole (IPCB->frag_max_size). */
  fragMaxSize = 0
  /** skb->ignore_df of what came by lo: it may be cut on the way on, as made here or put together before. */
  ignoreDf = false
  /** A reassembled packet of which some fragment had DF (IPSKB_FRAG_PMTU). */
  fragHadDf = false
  /**
   * IPv6: what the sum of transport and pseudo header was when conntrack made it, right or wrong (CHECKSUM_COMPLETE with
   * csum_complete_sw): folded, 0xffff is right. -1: nobody made one, or nothing can change its verdict any more
   * (CHECKSUM_NONE; with csumOk CHECKSUM_UNNECESSARY). -2: ip6_forward() forgot it (CHECKSUM_NONE again, but csumOk is
   * what it was). -3: it came back by lo, where its sum was found right for good. See checksumOk6() in wire/checksum.ts.
   * IPv4: 0 if conntrack found it wrong, else -1.
   */
  residue = -1
  /**
   * IPv6: what the sum of the fixed header has changed by since then, addresses apart: these count in the pseudo header
   * too. The kernel takes the header out of its sum as it is, not as it was.
   */
  headerShift = 0
  /** IPv6: a fragment header has been taken off or passed over (IP6SKB_FRAGMENTED). */
  fragmented = false
  /**
   * IPv6: where the local stack goes on after conntrack put the packet together, in bytes from l3: behind the headers of
   * its first fragment, whatever they were. 0: behind hop-by-hop options.
   */
  transportAt = 0
  /** The pieces it came in or was made of, if nobody has put them together since; null for other packets. */
  fragList: FragmentList | null = null
  /** Bytes from l3 on that are in one piece of memory, of a frame that was read into several (skb_headlen()); 0: all. */
  head = 0
  /** IPv4 options (IPCB->opt); options.ts fills it. */
  readonly opt = new IpOptions()
  /**
   * Ones-complement sum (folded, 16 bit, not inverted) over [sumFrom, sumEnd), computed by the native reader;
   * sumEnd = 0 means unknown. Only good while nobody wrote to the packet: writers clear it.
   */
  sum = 0
  sumFrom = 0
  sumEnd = 0
  /** The transport checksum was verified, or the packet was made here (CHECKSUM_UNNECESSARY). */
  csumOk = false

  // -- conntrack (conntrack/ owns the meaning)
  /** Handle of the entry that it seems to belong to; negative: not known. */
  hint = -1
  /** Entry number, -1 none. With ctInfo 0 and ct -1 the packet is INVALID or not yet seen. */
  ct = -1
  ctInfo: number = 0
  ctTemplate: CtTemplate | null = null

  /** Local origin: made by this host. */
  local = false
  /** Port of the transparent proxy that TPROXY found for it, 0 none (skb->sk). */
  proxyPort = 0
  /** Made here without a socket (skb->sk): the RST of nf_send_reset(). What the stack itself answers has one. */
  socketless = false
  /**
   * The kernel leaves the transport checksum to the device (CHECKSUM_PARTIAL): until then the field holds the pseudo
   * header's sum, which quotes show, and rules that look at bytes. Here the checksum is whole from the start.
   */
  csumPartial = false
  /** The transport checksum is still to be made, by whoever can last (offload.ts); the field may hold anything. */
  csumPending = false
  /** Where it starts and stands, bytes from l3 and from there on; while it is pending. */
  csumStart = 0
  csumOffset = 0
  /** Data bytes of each segment of a superframe (skb_shinfo()->gso_size), 0: one packet; pending too. */
  gsoSize = 0
  gsoType: number = 0
  /** Bits of IPSKB flags: 1 forwarded, 2 rerouted, 4 xfrm...; path.ts owns them. */
  flags = 0
  /** Nothing is in it but header fields that parse() writes anew: see begin(). */
  clean = false

  /** skb_is_nonlinear(): of pieces, or read into pages. */
  get isNonlinear(): boolean {
    return this.fragList === null ? this.head !== 0 && this.head < this.length : this.fragList.count > 1
  }

  /** skb->len: bytes from the network header to the end. */
  get length(): number {
    return this.end - this.l3
  }

  /** It comes in by a device, with a link header of so many bytes. */
  arrive(device: Device, linkBytes: number): void {
    this.arrival = this.device = device
    this.linkBytes = linkBytes
  }

  /**
   * A frame of `length` bytes stands in a slot: all else is as after reset(), but for header fields, which parse() reads. Most
   * packets go a recorded way, and after those some sixty fields need not be written. Hot.
   */
  begin(slot: number, stride: number, length: number): void {
    if (this.clean) this.clean = false
    else this.#forget()
    this.slot = slot
    this.limit = slot + stride
    this.l3 = slot + HEADROOM
    this.end = slot + HEADROOM + length
  }

  /** It has left by a recorded way: what was written meanwhile is as begin() wants it. Hot. */
  leave(): void {
    this.sumEnd = 0
    this.hint = -1
    this.csumOk = false
    if (this.arrival !== null) {
      this.arrival = this.device = null
      this.linkBytes = -1
      this.iif = 0
      this.ctInfo = 0
    }
    this.clean = true
  }

  /** Back to the state of a fresh sk_buff. Does not release conntrack references: see Host.release. */
  reset(): void {
    this.#forget()
    this.clean = false
    this.slot = -1
    this.limit = this.l3 = this.end = 0
  }

  #forget(): void {
    this.family = 4
    this.l4 = 0
    this.proto = 0
    this.fragOffset = 0
    this.moreFragments = false
    this.s0 = this.s1 = this.s2 = this.s3 = 0
    this.d0 = this.d1 = this.d2 = this.d3 = 0
    this.sport = this.dport = -1
    this.mark = 0
    this.priority = 0
    this.secmark = 0
    this.pktType = PacketType.Host
    this.iif = this.oif = 0
    this.arrival = this.device = null
    this.linkBytes = -1
    this.queue = 0
    this.route = null
    this.sourceRealm = 0
    this.trace = false
    this.hotdrop = false
    this.fragMaxSize = 0
    this.ignoreDf = false
    this.fragHadDf = false
    this.residue = -1
    this.headerShift = 0
    this.fragmented = false
    this.transportAt = 0
    this.fragList = null
    this.head = 0
    if (this.opt.length !== 0) this.opt.clear()
    this.sum = this.sumFrom = this.sumEnd = 0
    this.csumOk = false
    this.hint = -1
    this.ct = -1
    this.ctInfo = 0
    this.ctTemplate = null
    this.local = false
    this.socketless = false
    this.proxyPort = 0
    this.csumPartial = false
    this.csumPending = false
    this.gsoSize = 0
    this.flags = 0
  }
}

/** A fresh packet of a frame, in a slot of its own; false if there is none. For Path.receive(), which parses it. */
export function load(pkt: Packet, memory: FrameMemory, frame: Uint8Array): boolean {
  const slot = memory.take()
  if (slot < 0) return false
  pkt.begin(slot, memory.stride, frame.length)
  memory.bytes.set(frame, pkt.l3)
  return true
}

/** Header offsets and cached header fields of a packet whose bytes lie, or will lie, at `l3`. */
export function place(to: Packet, from: Packet, l3: number): void {
  to.family = from.family
  to.l3 = l3
  to.l4 = l3 + from.l4 - from.l3
  to.end = l3 + from.end - from.l3
  to.proto = from.proto
  to.fragOffset = from.fragOffset
  to.moreFragments = from.moreFragments
  to.s0 = from.s0
  to.s1 = from.s1
  to.s2 = from.s2
  to.s3 = from.s3
  to.d0 = from.d0
  to.d1 = from.d1
  to.d2 = from.d2
  to.d3 = from.d3
  to.sport = from.sport
  to.dport = from.dport
}
