// TCP (nf_conntrack_proto_tcp.c, Linux 6.18): the state of a connection guessed from the segments that pass, and
// which segments fit the windows that both ends announced.
//
// Windows, after Guido van Rooij, "Real Stateful TCP Packet Filtering in IP Filter" (2000). Each direction keeps
//
//     end      highest sequence number + length that it sent
//     maxend   highest sequence number that its peer allows: highest (s)ack + window of the peer
//     maxwin   largest window that it announced
//     maxack   highest acknowledgment that it sent
//
// and a segment fits if its data intersects the peer's window and its acknowledgment lies in what the peer sent.
// All of it is arithmetic modulo 2^32 on signed words: `(a - b) | 0` is the distance.

import { Hook } from '../../datapath/hooks.ts'
import type { Packet } from '../../datapath/packet.ts'
import { IPPROTO_TCP } from '../../datapath/wire/protocol.ts'
import {
  TCP_ACK,
  TCP_ACK_SEQ,
  TCP_DATA_OFFSET,
  TCP_FIN,
  TCP_FLAGS,
  TCP_HEADER_LEN,
  TCP_RST,
  TCP_SEQ,
  TCP_SYN,
  TCP_WINDOW,
  TCPOPT_EOL,
  TCPOPT_NOP,
  TCPOPT_SACK,
  TCPOPT_SACK_PERM,
  TCPOPT_WINDOW,
} from '../../datapath/wire/tcp.ts'
import { assure, Event, META, noteEvents, PRIVATE, STATUS, STRIDE, Status, zero } from '../table.ts'
import {
  END,
  F_BE_LIBERAL,
  F_CHALLENGE_ACK,
  F_CLOSE_INIT,
  F_MAXACK_SET,
  F_SACK_PERM,
  F_SIMULTANEOUS_OPEN,
  F_UNACKNOWLEDGED,
  F_WINDOW_SCALE,
  FLAGS,
  LAST_ACK,
  LAST_DIR,
  LAST_END,
  LAST_FLAGS,
  LAST_INDEX,
  LAST_SEQ,
  LAST_WIN,
  LAST_WSCALE,
  MAXACK,
  MAXEND,
  MAXWIN,
  PRIVATE_END,
  RETRANS,
  SCALE_SHIFT,
  SEEN,
  STATE,
  tcpState,
} from './tcp-entry.ts'
import {
  ACK_SET,
  ANY_FLAGS,
  CL,
  CW,
  ES,
  FIN_SET,
  FW,
  IG,
  IV,
  kindOf,
  LA,
  NONE_SET,
  RST_SET,
  S2,
  SETS,
  SR,
  SS,
  STATES,
  SYN_SET,
  SYNACK_SET,
  TCP_STATE_NAMES,
  TRANSITIONS,
  TW,
  VALID_FLAGS,
} from './tcp-states.ts'
import type { Tracker, TrackerCore } from './tracker.ts'
import { Tracked } from './tracker.ts'

/** Indices of timeouts: the states, then these two. */
const T_RETRANS = 10
const T_UNACK = 11

const MAX_WSCALE = 14
/** MAXACKWINCONST: how far behind an acknowledgment may be, at least. */
const MIN_ACK_WINDOW = 66000

/** What tcp_in_window() says (enum nf_ct_tcp_action). */
const IN_WINDOW = 0
const IGNORED = 1
const OUTSIDE = 2

/** Of CONFIG_HZ 250. */
const JIFFY_MS = 4

const before = (a: number, b: number): boolean => ((a - b) | 0) < 0
const after = (a: number, b: number): boolean => ((b - a) | 0) < 0

/** Of words taken as unsigned. */
const below = (a: number, b: number): boolean => (a ^ -0x80000000) < (b ^ -0x80000000)

export function createTcp(core: TrackerCore): Tracker {
  const { table } = core
  const { view } = core.host.memory
  const standard = new Float64Array(12)
  // A clash of NAT shortens the life of closing connections; SYN_SENT2 has no sysctl of its own.
  core.declareTimeout('nf_conntrack_tcp_timeout_syn_sent', 120, standard, SS)
  core.declareTimeout('nf_conntrack_tcp_timeout_syn_recv', 60, standard, SR)
  core.declareTimeout('nf_conntrack_tcp_timeout_established', 432000, standard, ES)
  core.declareTimeout('nf_conntrack_tcp_timeout_fin_wait', 120, standard, FW)
  core.declareTimeout('nf_conntrack_tcp_timeout_close_wait', 60, standard, CW)
  core.declareTimeout('nf_conntrack_tcp_timeout_last_ack', 30, standard, LA)
  core.declareTimeout('nf_conntrack_tcp_timeout_time_wait', 120, standard, TW)
  core.declareTimeout('nf_conntrack_tcp_timeout_close', 10, standard, CL)
  core.declareTimeout('nf_conntrack_tcp_timeout_max_retrans', 300, standard, T_RETRANS)
  core.declareTimeout('nf_conntrack_tcp_timeout_unacknowledged', 300, standard, T_UNACK)
  standard[S2] = 120_000

  let loose = true
  let liberal = false
  let maxRetrans = 3
  let ignoreInvalidRst = false
  core.declare('nf_conntrack_tcp_loose', 1, 1, (v) => {
    loose = v !== 0
  })
  core.declare('nf_conntrack_tcp_be_liberal', 0, 1, (v) => {
    liberal = v !== 0
  })
  core.declare('nf_conntrack_tcp_max_retrans', 3, 255, (v) => {
    maxRetrans = v
  })
  core.declare('nf_conntrack_tcp_ignore_invalid_rst', 0, 1, (v) => {
    ignoreInvalidRst = v !== 0
  })

  /** tcp_error: the segment itself is broken. */
  function broken(pkt: Packet, l4: number, hook: Hook): boolean {
    const header = (view.getUint8(l4 + TCP_DATA_OFFSET) >> 4) << 2
    if (header < TCP_HEADER_LEN || l4 + header > pkt.end) {
      core.logInvalid(pkt, IPPROTO_TCP, 'truncated packet')
      return true
    }
    if (hook === Hook.PreRouting && core.checksum && !core.checksumOk(pkt)) {
      core.logInvalid(pkt, IPPROTO_TCP, 'bad checksum')
      return true
    }
    if (VALID_FLAGS[view.getUint8(l4 + TCP_FLAGS) & ~ANY_FLAGS & 0x3f] === 0) {
      core.logInvalid(pkt, IPPROTO_TCP, 'invalid tcp flag combination')
      return true
    }
    return false
  }

  /** One past the last sequence number of the segment (segment_seq_plus_len); SYN and FIN count one. */
  function endOf(pkt: Packet, l4: number, seq: number, flags: number): number {
    const header = (view.getUint8(l4 + TCP_DATA_OFFSET) >> 4) << 2
    const data = pkt.end - l4 - header
    return (seq + data + ((flags & TCP_SYN) !== 0 ? 1 : 0) + ((flags & TCP_FIN) !== 0 ? 1 : 0)) | 0
  }

  /** tcp_options: window scale and SACK-permitted of a SYN. The flags and scale to keep, BE_LIBERAL carried over. */
  function options(l4: number, old: number): number {
    let at = l4 + TCP_HEADER_LEN
    const end = l4 + ((view.getUint8(l4 + TCP_DATA_OFFSET) >> 4) << 2)
    if (at === end) return old
    let flags = old & F_BE_LIBERAL
    let scale = 0
    while (at < end) {
      const kind = view.getUint8(at)
      if (kind === TCPOPT_EOL) break
      if (kind === TCPOPT_NOP) {
        at++
        continue
      }
      if (end - at < 2) break
      const length = view.getUint8(at + 1)
      if (length < 2 || at + length > end) break
      if (kind === TCPOPT_SACK_PERM && length === 2) flags |= F_SACK_PERM
      else if (kind === TCPOPT_WINDOW && length === 3) {
        scale = view.getUint8(at + 2)
        if (scale > MAX_WSCALE) scale = MAX_WSCALE
        flags |= F_WINDOW_SCALE
      }
      at += length
    }
    return flags | (scale << SCALE_SHIFT)
  }

  /** tcp_sack: the highest right edge of the SACK blocks, or `sack` if none is higher. */
  function highestSack(l4: number, sack: number): number {
    let at = l4 + TCP_HEADER_LEN
    const end = l4 + ((view.getUint8(l4 + TCP_DATA_OFFSET) >> 4) << 2)
    // Nothing but a time stamp, aligned as everybody sends it.
    if (end - at === 12 && view.getInt32(at) === 0x0101080a) return sack
    while (at < end) {
      const kind = view.getUint8(at)
      if (kind === TCPOPT_EOL) return sack
      if (kind === TCPOPT_NOP) {
        at++
        continue
      }
      if (end - at < 2) return sack
      const length = view.getUint8(at + 1)
      if (length < 2 || at + length > end) return sack
      if (kind === TCPOPT_SACK && length >= 10 && (length - 2) % 8 === 0) {
        for (let i = at + 2; i < at + length; i += 8) {
          const right = view.getInt32(i + 4)
          if (after(right, sack)) sack = right
        }
        return sack
      }
      at += length
    }
    return sack
  }

  /** tcp_init_sender: the words of a direction from its SYN or SYN/ACK. `s`, `r`: word index of sender, receiver. */
  function initSender(
    w: Int32Array,
    s: number,
    r: number,
    l4: number,
    end: number,
    win: number,
    dir: number,
  ): void {
    w[s + END] = end
    w[s + MAXEND] = end
    w[s + MAXWIN] = win === 0 ? 1 : win
    w[s + FLAGS] = options(l4, w[s + FLAGS]!)
    // RFC 7323 §2.2: scaling works only if both sides offered it.
    if (dir === 1 && (w[s + FLAGS]! & w[r + FLAGS]! & F_WINDOW_SCALE) === 0) {
      w[s + FLAGS] = w[s + FLAGS]! & 0xff
      w[r + FLAGS] = w[r + FLAGS]! & 0xff
    }
  }

  /** tcp_new: what the first segment says. False: it cannot begin a connection. */
  function begin(pkt: Packet, o: number, l4: number, flags: number): boolean {
    const w = table.words
    const state = TRANSITIONS[kindOf(flags) * STATES]!
    if (state >= IV) {
      core.logInvalid(pkt, IPPROTO_TCP, 'invalid new')
      return false
    }
    if (state !== SS && !loose) return false
    zero(w, o + PRIVATE, o + PRIVATE_END)
    const end = endOf(pkt, l4, view.getInt32(l4 + TCP_SEQ), flags)
    const win = view.getUint16(l4 + TCP_WINDOW)
    w[o + END] = end
    w[o + MAXWIN] = win === 0 ? 1 : win
    if (state === SS) {
      w[o + MAXEND] = end
      w[o + FLAGS] = options(l4, 0)
    } else {
      // Picked up in the middle: window scaling is unknown, so windows are not enforced.
      w[o + MAXEND] = (end + w[o + MAXWIN]!) | 0
      w[o + FLAGS] = F_SACK_PERM | F_BE_LIBERAL
      w[o + SEEN + FLAGS] = F_SACK_PERM | F_BE_LIBERAL
    }
    table.bytes[o * 4 + LAST_INDEX] = NONE_SET
    return true
  }

  /** nf_tcp_log_invalid: `action`, unless this direction is tracked liberally. */
  function unless(pkt: Packet, senderFlags: number, action: number, reason: string, bound: number): number {
    if (liberal || (senderFlags & F_BE_LIBERAL) !== 0) return IN_WINDOW
    core.logInvalid(pkt, IPPROTO_TCP, reason, bound)
    return action
  }

  /** tcp_in_window. `s`, `r`: word index of the sender's and receiver's direction. */
  function inWindow(
    pkt: Packet,
    entry: number,
    o: number,
    dir: number,
    kind: number,
    l4: number,
    flags: number,
  ): number {
    const w = table.words
    const s = dir === 0 ? o : o + SEEN
    const r = dir === 0 ? o + SEEN : o
    let seq = view.getInt32(l4 + TCP_SEQ)
    let ack = view.getInt32(l4 + TCP_ACK_SEQ)
    let sack = ack
    const rawWin = view.getUint16(l4 + TCP_WINDOW)
    let win = rawWin
    let end = endOf(pkt, l4, seq, flags)
    const b = table.bytes
    const h = table.halves
    const q = o * 4
    const state = b[q + STATE]!

    if ((w[r + FLAGS]! & F_SACK_PERM) !== 0) sack = highestSack(l4, sack)
    if ((w[o + STATUS]! & Status.SeqAdjust) !== 0) {
      const offset = core.seqOffset(entry, 1 - dir, (ack - 1) | 0)
      ack = (ack - offset) | 0
      sack = (sack - offset) | 0
    }

    if (w[s + MAXWIN] === 0) {
      if ((flags & TCP_SYN) !== 0) {
        initSender(w, s, r, l4, end, win, dir)
        if ((flags & TCP_ACK) === 0) return IN_WINDOW // simultaneous open
      } else {
        // The middle of a connection: start from what this segment says.
        w[s + END] = end
        const scaled = win << (w[s + FLAGS]! >> SCALE_SHIFT)
        w[s + MAXWIN] = scaled === 0 ? 1 : scaled
        w[s + MAXEND] = (end + w[s + MAXWIN]!) | 0
        if (w[r + MAXWIN] === 0) {
          // Nothing seen from the other side: it is taken to have sent what is acknowledged.
          w[r + END] = sack
          w[r + MAXEND] = sack
        } else if (sack === ((w[r + END]! + 1) | 0)) w[r + END] = sack // the answer to a keep-alive
      }
    } else if ((flags & TCP_SYN) !== 0 && after(end, w[s + END]!) && (state === SS || state === SR)) {
      // RFC 9293 §3.4.3: a restarted end only has to use higher numbers; its options may differ.
      initSender(w, s, r, l4, end, win, dir)
      if (dir === 1 && (flags & TCP_ACK) === 0) return IN_WINDOW
    }

    // No acknowledgment, or a RST of a stack that sets ACK but no number: taken as if it were right.
    if ((flags & TCP_ACK) === 0 || ((flags & TCP_RST) !== 0 && ack === 0)) ack = sack = w[r + END]!
    // RST that answers a SYN.
    if ((flags & TCP_RST) !== 0 && seq === 0 && state === SS) seq = end = w[s + END]!

    const senderEnd = w[s + END]!
    const senderMaxEnd = w[s + MAXEND]!
    const senderWin = w[s + MAXWIN]!
    const senderFlags = w[s + FLAGS]!
    const receiverEnd = w[r + END]!
    const receiverWin = w[r + MAXWIN]!
    const ackWindow = below(senderWin, MIN_ACK_WINDOW) ? MIN_ACK_WINDOW : senderWin
    const lowestAck = (receiverEnd - ackWindow - 1) | 0
    const lowestSeq = (senderEnd - receiverWin - 1) | 0

    if (after(seq, senderMaxEnd)) {
      const overshot = (end - senderMaxEnd + 1) | 0
      if (
        receiverWin !== 0 &&
        after(end, lowestSeq) &&
        after(sack, lowestAck) &&
        !below(receiverWin, overshot) &&
        !after(sack, receiverEnd)
      ) {
        // Some send more than the window allows. If the receiver takes it, its acknowledgments must fit.
        w[s + END] = end
        w[s + FLAGS] = senderFlags | F_UNACKNOWLEDGED
        return unless(pkt, senderFlags, IGNORED, '%u bytes more than expected', overshot)
      }
      return unless(
        pkt,
        senderFlags,
        OUTSIDE,
        'SEQ is over upper bound %u (over the window of the receiver)',
        senderMaxEnd + 1,
      )
    }
    if (after(sack, receiverEnd))
      return unless(
        pkt,
        senderFlags,
        OUTSIDE,
        'ACK is over upper bound %u (ACKed data not seen yet)',
        receiverEnd + 1,
      )
    if (receiverWin !== 0 && !after(end, lowestSeq))
      return unless(
        pkt,
        senderFlags,
        IGNORED,
        'SEQ is under lower bound %u (already ACKed data retransmitted)',
        lowestSeq,
      )
    if (!after(sack, lowestAck))
      return unless(
        pkt,
        senderFlags,
        IGNORED,
        'ignored ACK under lower bound %u (possible overly delayed)',
        lowestAck,
      )

    // RFC 7323 §2.2: the window of a SYN is never scaled.
    if ((flags & TCP_SYN) === 0) win = win << (senderFlags >> SCALE_SHIFT)

    const announced = (win + sack - ack) | 0
    if (below(senderWin, announced)) w[s + MAXWIN] = announced
    let newFlags = senderFlags
    if (after(end, senderEnd)) {
      w[s + END] = end
      newFlags |= F_UNACKNOWLEDGED
    }
    if ((flags & TCP_ACK) !== 0) {
      if ((senderFlags & F_MAXACK_SET) === 0) {
        w[s + MAXACK] = ack
        newFlags |= F_MAXACK_SET
      } else if (after(ack, w[s + MAXACK]!)) w[s + MAXACK] = ack
    }
    w[s + FLAGS] = newFlags

    if (receiverWin !== 0 && after(end, senderMaxEnd)) w[r + MAXWIN] = (receiverWin + end - senderMaxEnd) | 0
    const edge = (sack + win) | 0
    if (after(edge, (w[r + MAXEND]! - 1) | 0)) w[r + MAXEND] = win === 0 ? (edge + 1) | 0 : edge
    if (ack === receiverEnd) w[r + FLAGS] = w[r + FLAGS]! & ~F_UNACKNOWLEDGED

    if (kind === ACK_SET) {
      if (
        b[q + LAST_DIR] === dir &&
        w[o + LAST_SEQ] === seq &&
        w[o + LAST_ACK] === ack &&
        w[o + LAST_END] === end &&
        h[o * 2 + LAST_WIN] === rawWin
      )
        b[q + RETRANS] = (b[q + RETRANS]! + 1) & 0xff
      else {
        b[q + LAST_DIR] = dir
        w[o + LAST_SEQ] = seq
        w[o + LAST_ACK] = ack
        w[o + LAST_END] = end
        h[o * 2 + LAST_WIN] = rawWin
        b[q + RETRANS] = 0
      }
    }
    return IN_WINDOW
  }

  /** nf_tcp_handle_invalid: FIN or RST outside the window in both directions: the connection is likely dead. */
  function outside(pkt: Packet, entry: number, o: number, dir: number, kind: number): void {
    const w = table.words
    const b = table.bytes
    const q = o * 4
    const status = w[o + STATUS]!
    if ((status & Status.Assured) === 0 || (status & Status.FixedTimeout) !== 0) return
    if (kind !== RST_SET && kind !== FIN_SET) return
    if (b[q + LAST_DIR] !== dir && (b[q + LAST_INDEX] === FIN_SET || b[q + LAST_INDEX] === RST_SET)) {
      const remaining = table.expiresAt(entry) - core.host.now
      if (remaining < 120_000) return
      const limit = core.timeouts(entry, standard)[T_UNACK]!
      if (remaining <= limit) return
      core.logInvalid(
        pkt,
        IPPROTO_TCP,
        'packet (index %u, dir %u) response for index %u lower timeout to %u',
        kind,
        dir,
        b[q + LAST_INDEX]!,
        limit / JIFFY_MS,
      )
      core.expireIn(entry, limit)
    } else {
      b[q + LAST_INDEX] = kind
      b[q + LAST_DIR] = dir
    }
  }

  /** The connection is closing: its entry may go early (tcp_can_early_drop). */
  function closing(o: number): boolean {
    const state = table.bytes[o * 4 + STATE]!
    return state >= FW && state <= CL
  }

  /** nf_conntrack_tcp_established: established and seen from both sides. */
  function established(o: number): boolean {
    return table.bytes[o * 4 + STATE] === ES && (table.words[o + STATUS]! & Status.Assured) !== 0
  }

  return {
    protocol: IPPROTO_TCP,
    name: 'tcp',
    allowClash: false,
    timeoutNames: [
      'none',
      'syn_sent',
      'syn_recv',
      'established',
      'fin_wait',
      'close_wait',
      'last_ack',
      'time_wait',
      'close',
      'syn_sent2',
      'retrans',
      'unacknowledged',
    ],
    standard,

    /** nf_conntrack_tcp_packet. */
    packet(pkt, entry, dir, hook) {
      const { l4 } = pkt
      if (l4 + TCP_HEADER_LEN > pkt.end || broken(pkt, l4, hook)) return Tracked.Invalid
      const w = table.words
      const o = entry * STRIDE
      const flags = view.getUint8(l4 + TCP_FLAGS)
      if ((w[o + STATUS]! & Status.Confirmed) === 0 && !begin(pkt, o, l4, flags)) return Tracked.Invalid

      const b = table.bytes
      const h = table.halves
      const q = o * 4
      let old = b[q + STATE]!
      const kind = kindOf(flags)
      let state = TRANSITIONS[(dir * SETS + kind) * STATES + old]!
      let check = true

      if (state === SS && old >= TW) {
        // A SYN to a closed or aborted connection: a new one begins (RFC 9293 §3.6.1).
        if (
          ((w[o + FLAGS]! | w[o + SEEN + FLAGS]!) & F_CLOSE_INIT) !== 0 ||
          (b[q + LAST_DIR] === dir && b[q + LAST_INDEX] === RST_SET)
        )
          return core.kill(entry) ? Tracked.Repeat : Tracked.Drop
        state = IG
      }

      switch (state) {
        case IG: {
          if (
            kind === SYNACK_SET &&
            b[q + LAST_INDEX] === SYN_SET &&
            b[q + LAST_DIR] !== dir &&
            view.getInt32(l4 + TCP_ACK_SEQ) === w[o + LAST_END]
          ) {
            // It answers a SYN that was let through: both ends are in step, so follow them.
            old = SS
            state = SR
            const last = b[q + LAST_DIR] === 0 ? o : o + SEEN
            w[last + END] = w[o + LAST_END]!
            w[last + MAXEND] = w[o + LAST_END]!
            w[last + MAXWIN] = h[o * 2 + LAST_WIN] === 0 ? 1 : h[o * 2 + LAST_WIN]!
            b[q + LAST_FLAGS] = b[q + LAST_FLAGS]! & ~F_CHALLENGE_ACK
            w[last + FLAGS] = b[q + LAST_FLAGS]! | (b[q + LAST_WSCALE]! << SCALE_SHIFT)
            const own = dir === 0 ? o : o + SEEN
            w[own + END] = w[own + MAXEND] = w[own + MAXWIN] = w[own + MAXACK] = 0
            w[own + FLAGS] = w[own + FLAGS]! & F_BE_LIBERAL
            break
          }
          b[q + LAST_INDEX] = kind
          b[q + LAST_DIR] = dir
          w[o + LAST_SEQ] = view.getInt32(l4 + TCP_SEQ)
          w[o + LAST_END] = endOf(pkt, l4, w[o + LAST_SEQ]!, flags)
          h[o * 2 + LAST_WIN] = view.getUint16(l4 + TCP_WINDOW)
          if (kind === SYN_SET && dir === 0) {
            // Noted, for the case above. In LAST_ACK the answer may be a challenge ACK (RFC 5961 §4).
            const seen = options(l4, 0)
            b[q + LAST_FLAGS] = (seen & (F_WINDOW_SCALE | F_SACK_PERM)) | (old === LA ? F_CHALLENGE_ACK : 0)
            b[q + LAST_WSCALE] = seen >> SCALE_SHIFT
          }
          if (old === SS && kind === ACK_SET && dir === 1) w[o + LAST_ACK] = view.getInt32(l4 + TCP_ACK_SEQ)
          core.logInvalid(
            pkt,
            IPPROTO_TCP,
            'packet (index %u) in dir %u ignored, state %s',
            kind,
            dir,
            TCP_STATE_NAMES[old]!,
          )
          return Tracked.Accept
        }
        case IV:
          // The client of a SYNPROXY keeps alive what its server has not answered yet: the SYN is sent again.
          if (
            old === SS &&
            kind === ACK_SET &&
            dir === 0 &&
            b[q + LAST_DIR] === 0 &&
            ((w[o + END]! - 1) | 0) === view.getInt32(l4 + TCP_SEQ) &&
            core.synproxied(entry)
          )
            return Tracked.Accept
          core.logInvalid(
            pkt,
            IPPROTO_TCP,
            'packet (index %u) in dir %u invalid, state %s',
            kind,
            dir,
            TCP_STATE_NAMES[old]!,
          )
          return Tracked.Invalid
        case TW:
          if (
            old === LA &&
            kind === ACK_SET &&
            b[q + LAST_DIR] !== dir &&
            b[q + LAST_INDEX] === SYN_SET &&
            (b[q + LAST_FLAGS]! & F_CHALLENGE_ACK) !== 0
          ) {
            // Not the acknowledgment of the last FIN.
            b[q + LAST_FLAGS] = b[q + LAST_FLAGS]! & ~F_CHALLENGE_ACK
            core.logInvalid(pkt, IPPROTO_TCP, 'challenge-ack ignored')
            return Tracked.Accept
          }
          break
        case S2:
          b[q + LAST_FLAGS] = b[q + LAST_FLAGS]! | F_SIMULTANEOUS_OPEN
          break
        case SR:
          if (dir === 1 && kind === ACK_SET && (b[q + LAST_FLAGS]! & F_SIMULTANEOUS_OPEN) !== 0) state = ES
          break
        case CL: {
          if (kind !== RST_SET) break
          // A closing connection's ports may have been taken again: its numbers prove nothing.
          if (closing(o)) {
            check = false
            break
          }
          const seq = view.getInt32(l4 + TCP_SEQ)
          const r = dir === 0 ? o + SEEN : o
          if ((w[r + FLAGS]! & F_MAXACK_SET) !== 0 && b[q + LAST_INDEX] !== SYN_SET) {
            const maxack = w[r + MAXACK]!
            // Most likely the answer to a SYN that was let through.
            if (seq === 0 && !established(o)) break
            if (before(seq, maxack) && !ignoreInvalidRst) {
              core.logInvalid(pkt, IPPROTO_TCP, 'invalid rst')
              return Tracked.Invalid
            }
            if (!established(o) || seq === maxack) break
            // The end of a train: data, then RST right behind it.
            if (b[q + LAST_INDEX] === ACK_SET && b[q + LAST_DIR] === dir && seq === w[o + LAST_END]) break
            // Not exactly the next number: the receiver may answer with a challenge ACK (RFC 5961 §3).
            state = old
          }
          const status = w[o + STATUS]!
          // The answer to a SYN (which must come from the other end) or to an ACK that was let through above.
          if (
            (((status & Status.SeenReply) !== 0 &&
              b[q + LAST_INDEX] === SYN_SET &&
              b[q + LAST_DIR] !== dir) ||
              ((status & Status.Assured) === 0 && b[q + LAST_INDEX] === ACK_SET)) &&
            view.getInt32(l4 + TCP_ACK_SEQ) === w[o + LAST_END]
          )
            check = false
          // The answer to a challenge ACK.
          else if (
            old === SS &&
            b[q + LAST_INDEX] === ACK_SET &&
            b[q + LAST_DIR] === 1 &&
            seq === w[o + LAST_ACK]
          )
            check = false
          break
        }
      }

      if (check) {
        const fits = inWindow(pkt, entry, o, dir, kind, l4, flags)
        if (fits === IGNORED) return Tracked.Accept
        if (fits === OUTSIDE) {
          outside(pkt, entry, o, dir, kind)
          return Tracked.Invalid
        }
      }

      b[q + LAST_INDEX] = kind
      b[q + LAST_DIR] = dir
      b[q + STATE] = state
      if (old !== state) noteEvents(w, o, Event.ProtoInfo)
      if (old !== state && state === FW) {
        const own = dir === 0 ? o : o + SEEN
        w[own + FLAGS] = w[own + FLAGS]! | F_CLOSE_INIT
      }

      const timeouts = core.timeouts(entry, standard)
      let timeout = timeouts[state]!
      if (b[q + RETRANS]! >= maxRetrans && timeout > timeouts[T_RETRANS]!) timeout = timeouts[T_RETRANS]!
      else if (kind === RST_SET) timeout = timeouts[CL]!
      else if (
        ((w[o + FLAGS]! | w[o + SEEN + FLAGS]!) & F_UNACKNOWLEDGED) !== 0 &&
        timeout > timeouts[T_UNACK]!
      )
        timeout = timeouts[T_UNACK]!
      else if (h[o * 2 + LAST_WIN] === 0 && timeout > timeouts[T_RETRANS]!) timeout = timeouts[T_RETRANS]!

      const status = w[o + STATUS]!
      if ((status & Status.SeenReply) === 0) {
        if ((flags & TCP_RST) !== 0) {
          // Nothing but a RST came back: there is no connection.
          core.killCounted(entry, dir, pkt)
          return Tracked.Accept
        }
        // A SYN sent again does not make the entry live longer: ports that are used again could keep it for ever.
        if (kind === SYN_SET && old === SS) return Tracked.Accept
        if (state === ES && timeout > timeouts[T_UNACK]!) timeout = timeouts[T_UNACK]!
      } else if ((status & Status.Assured) === 0 && (old === SR || old === ES) && state === ES) assure(w, o)
      core.refresh(entry, dir, pkt.length, timeout)
      return Tracked.Accept
    },

    canEarlyDrop: (entry) => closing(entry * STRIDE),
    closed(entry) {
      const o = entry * STRIDE
      const w = table.words
      const old = tcpState(table, entry)
      table.bytes[o * 4 + STATE] = CL
      noteEvents(w, o, Event.ProtoInfo)
      if (old === CL || (w[o + STATUS]! & Status.FixedTimeout) !== 0) return
      core.expireIn(entry, core.timeouts(entry, standard)[CL]!)
    },
    state: (entry) => TCP_STATE_NAMES[tcpState(table, entry)] ?? '',
    stateNumber: (entry) => tcpState(table, entry),
    assign(entry, state) {
      const o = entry * STRIDE
      const w = table.words
      if (state !== null) table.bytes[o * 4 + STATE] = state
      const bits = F_BE_LIBERAL | F_SACK_PERM | ((state ?? 0) >= TW ? F_CLOSE_INIT : 0)
      w[o + FLAGS] = w[o + FLAGS]! | bits
      w[o + SEEN + FLAGS] = w[o + SEEN + FLAGS]! | bits
    },
    resume(entry) {
      const o = entry * STRIDE
      if (table.words[o + META]! >> 8 !== IPPROTO_TCP || tcpState(table, entry) !== ES) return
      table.words[o + MAXWIN] = 0
      table.words[o + SEEN + MAXWIN] = 0
    },
  }
}
