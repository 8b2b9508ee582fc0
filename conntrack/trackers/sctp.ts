// SCTP (nf_conntrack_proto_sctp.c): the state of an association from the chunks that pass, and their verification
// tags (RFC 9260 §8.5).

import { Hook } from '../../datapath/hooks.ts'
import type { Packet } from '../../datapath/packet.ts'
import { ensureWritable } from '../../datapath/rewrite.ts'
import { swap32 } from '../../datapath/wire/jhash.ts'
import { IPPROTO_SCTP } from '../../datapath/wire/protocol.ts'
import { SCTP_HEADER_LEN, SCTP_VTAG } from '../../datapath/wire/sctp.ts'
import { assure, Event, noteEvents, PRIVATE, STATUS, STRIDE, Status, zero } from '../table.ts'
import type { Tracker, TrackerCore } from './tracker.ts'
import { Tracked } from './tracker.ts'

/** enum sctp_conntrack, as `conntrack -L` names it. */
export const SCTP_STATE_NAMES = [
  'NONE',
  'CLOSED',
  'COOKIE_WAIT',
  'COOKIE_ECHOED',
  'ESTABLISHED',
  'SHUTDOWN_SENT',
  'SHUTDOWN_RECD',
  'SHUTDOWN_ACK_SENT',
  'HEARTBEAT_SENT',
] as const

const NO = 0
const CL = 1
const CW = 2
const CE = 3
const ES = 4
const SS = 5
const SR = 6
const SA = 7
const HS = 8
const IV = 9
const STATES = 9

// Chunk types, RFC 9260 §3.2.
const DATA = 0
const INIT = 1
const INIT_ACK = 2
const HEARTBEAT = 4
const HEARTBEAT_ACK = 5
const ABORT = 6
const SHUTDOWN = 7
const SHUTDOWN_ACK = 8
const ERROR = 9
const COOKIE_ECHO = 10
const COOKIE_ACK = 11
const SHUTDOWN_COMPLETE = 14
/** "T" flag of ABORT and SHUTDOWN COMPLETE: the tag is the peer's. */
const FLAG_T = 1
const CHUNK_HEADER = 4
/** Chunk header and fixed part of INIT and INIT ACK. */
const INIT_LEN = CHUNK_HEADER + 16

/** Row of a chunk type in the table; -1: the chunk changes nothing. */
const ROW = new Int8Array(256).fill(-1)
for (const [row, type] of [
  INIT,
  INIT_ACK,
  ABORT,
  SHUTDOWN,
  SHUTDOWN_ACK,
  ERROR,
  COOKIE_ECHO,
  COOKIE_ACK,
  SHUTDOWN_COMPLETE,
  HEARTBEAT,
  HEARTBEAT_ACK,
].entries())
  ROW[type] = row
const ROWS = 11

// biome-ignore format: a table
/** sctp_conntracks: direction, chunk, old state → new state. */
const TRANSITIONS = Uint8Array.of(
  // original          NO  CL  CW  CE  ES  SS  SR  SA  HS
  /* init          */  CL, CL, CW, CE, ES, CL, CL, SA, CW,
  /* init_ack      */  CL, CL, CW, CE, ES, SS, SR, SA, CL,
  /* abort         */  CL, CL, CL, CL, CL, CL, CL, CL, CL,
  /* shutdown      */  CL, CL, CW, CE, SS, SS, SR, SA, CL,
  /* shutdown_ack  */  SA, CL, CW, CE, ES, SA, SA, SA, SA,
  /* error         */  CL, CL, CW, CE, ES, SS, SR, SA, CL,
  /* cookie_echo   */  CL, CL, CE, CE, ES, SS, SR, SA, CL,
  /* cookie_ack    */  CL, CL, CW, ES, ES, SS, SR, SA, CL,
  /* shutdown_comp */  CL, CL, CW, CE, ES, SS, SR, CL, CL,
  /* heartbeat     */  HS, CL, CW, CE, ES, SS, SR, SA, HS,
  /* heartbeat_ack */  CL, CL, CW, CE, ES, SS, SR, SA, HS,
  // reply
  /* init          */  IV, CL, CW, CE, ES, SS, SR, SA, IV,
  /* init_ack      */  IV, CW, CW, CE, ES, SS, SR, SA, IV,
  /* abort         */  IV, CL, CL, CL, CL, CL, CL, CL, IV,
  /* shutdown      */  IV, CL, CW, CE, SR, SS, SR, SA, IV,
  /* shutdown_ack  */  IV, CL, CW, CE, ES, SA, SA, SA, IV,
  /* error         */  IV, CL, CW, CL, ES, SS, SR, SA, IV,
  /* cookie_echo   */  IV, CL, CE, CE, ES, SS, SR, SA, IV,
  /* cookie_ack    */  IV, CL, CW, ES, ES, SS, SR, SA, IV,
  /* shutdown_comp */  IV, CL, CW, CE, ES, SS, SR, CL, IV,
  /* heartbeat     */  IV, CL, CW, CE, ES, SS, SR, SA, HS,
  /* heartbeat_ack */  IV, CL, CW, CE, ES, SS, SR, SA, ES,
)

// Private words.
const STATE = PRIVATE
/** Verification tags that packets of direction 0 and 1 must carry. */
const VTAG = PRIVATE + 1
const LAST_DIR = PRIVATE + 3
/** An INIT was seen in direction 0 and 1. */
const INITED = PRIVATE + 4
/** 1: a HEARTBEAT with a wrong tag passed (SCTP_FLAG_HEARTBEAT_VTAG_FAILED). */
const VTAG_FAILED = PRIVATE + 6
const PRIVATE_END = PRIVATE + 7

const bit = (type: number): number => (type < 32 ? 1 << type : 0)
/** Chunks that exempt a packet from the plain check of its tag: they have rules of their own. */
const OWN_RULES =
  bit(INIT) |
  bit(SHUTDOWN_COMPLETE) |
  bit(COOKIE_ECHO) |
  bit(ABORT) |
  bit(SHUTDOWN_ACK) |
  bit(HEARTBEAT) |
  bit(HEARTBEAT_ACK)

function nextState(dir: number, state: number, type: number): number {
  const row = ROW[type]!
  return row < 0 ? state : TRANSITIONS[(dir * ROWS + row) * STATES + state]!
}

export function createSctp(core: TrackerCore): Tracker {
  const { table } = core
  const { view } = core.host.memory
  const standard = new Float64Array(STATES)
  // A packet of no state changing chunk on a fresh entry leaves NONE, whose timeout is 0.
  core.declareTimeout('nf_conntrack_sctp_timeout_closed', 10, standard, CL)
  core.declareTimeout('nf_conntrack_sctp_timeout_cookie_wait', 3, standard, CW)
  core.declareTimeout('nf_conntrack_sctp_timeout_cookie_echoed', 3, standard, CE)
  core.declareTimeout('nf_conntrack_sctp_timeout_established', 210, standard, ES)
  core.declareTimeout('nf_conntrack_sctp_timeout_shutdown_sent', 3, standard, SS)
  core.declareTimeout('nf_conntrack_sctp_timeout_shutdown_recd', 3, standard, SR)
  core.declareTimeout('nf_conntrack_sctp_timeout_shutdown_ack_sent', 3, standard, SA)
  core.declareTimeout('nf_conntrack_sctp_timeout_heartbeat_sent', 30, standard, HS)

  /** Start of the chunk after the one at `at`. */
  const following = (at: number): number => at + ((view.getUint16(at + 2) + 3) & ~3)

  /** do_basic_checks: bits of the chunk types in the packet, -1 if they cannot stand together. */
  function chunks(pkt: Packet): number {
    let map = 0
    let alone = false
    let count = 0
    for (let at = pkt.l4 + SCTP_HEADER_LEN; at + CHUNK_HEADER <= pkt.end; at = following(at), count++) {
      const type = view.getUint8(at)
      if (type === INIT || type === INIT_ACK || type === SHUTDOWN_COMPLETE) alone = true
      const late = (type === COOKIE_ACK || type === COOKIE_ECHO || alone) && count !== 0
      if (late || view.getUint16(at + 2) === 0) {
        // The length as it lies in memory, and a new line, as the kernel says it.
        core.logInvalid(
          pkt,
          IPPROTO_SCTP,
          'do_basic_checks failed. chunk num %d, type %d, len %d flag %d\n',
          count,
          type,
          view.getUint16(at + 2, true),
          alone ? 1 : 0,
        )
        return -1
      }
      map |= bit(type)
    }
    return count === 0 ? -1 : map
  }

  /** sctp_new. */
  function begin(pkt: Packet, o: number, vtag: number): boolean {
    const w = table.words
    zero(w, o + PRIVATE, o + PRIVATE_END)
    for (let at = pkt.l4 + SCTP_HEADER_LEN; at + CHUNK_HEADER <= pkt.end; at = following(at)) {
      const type = view.getUint8(at)
      const state = nextState(0, NO, type)
      if (state === NO || state === IV) return false
      if (type === INIT) {
        if (vtag !== 0 || at + INIT_LEN > pkt.end) return false
        w[o + VTAG + 1] = view.getInt32(at + CHUNK_HEADER)
      } else if (type === HEARTBEAT) w[o + VTAG] = vtag
      else if (type === SHUTDOWN_ACK) w[o + VTAG + 1] = vtag
    }
    return true
  }

  /** sctp_error: true if the packet is INVALID. */
  function broken(pkt: Packet, hook: Hook): boolean {
    if (pkt.l4 + SCTP_HEADER_LEN > pkt.end) {
      core.logInvalid(pkt, IPPROTO_SCTP, 'nf_ct_sctp: short packet ')
      return true
    }
    if (hook !== Hook.PreRouting || !core.checksum || pkt.csumOk) return false
    // It looks at the header in place, whatever the sum: a packet in pieces may leave in others than it came in.
    ensureWritable(pkt, pkt.l4 - pkt.l3 + SCTP_HEADER_LEN)
    if (core.checksumOk(pkt)) return false
    core.logInvalid(pkt, IPPROTO_SCTP, 'nf_ct_sctp: bad CRC ')
    return true
  }

  /** The T flag tells whose tag an ABORT or SHUTDOWN COMPLETE carries (RFC 9260 §8.5.1 B and C). */
  function reflectedTagOk(o: number, dir: number, at: number, vtag: number): boolean {
    const own = (view.getUint8(at + 1) & FLAG_T) === 0
    return vtag === table.words[o + VTAG + (own ? dir : 1 - dir)]
  }

  return {
    protocol: IPPROTO_SCTP,
    name: 'sctp',
    allowClash: false,
    timeoutNames: [
      'none',
      'closed',
      'cookie_wait',
      'cookie_echoed',
      'established',
      'shutdown_sent',
      'shutdown_recd',
      'shutdown_ack_sent',
      'heartbeat_sent',
    ],
    standard,

    /** nf_conntrack_sctp_packet. */
    packet(pkt, entry, dir, hook) {
      if (broken(pkt, hook)) return Tracked.Invalid
      const map = chunks(pkt)
      if (map === -1) return Tracked.Invalid
      const w = table.words
      const o = entry * STRIDE
      const vtag = view.getInt32(pkt.l4 + SCTP_VTAG)
      const confirmed = (w[o + STATUS]! & Status.Confirmed) !== 0
      if (!confirmed) {
        // Out of the blue, these begin nothing (RFC 9260 §8.4).
        if ((map & (bit(ABORT) | bit(SHUTDOWN_COMPLETE) | bit(COOKIE_ACK))) !== 0) return Tracked.Invalid
        if (!begin(pkt, o, vtag)) return Tracked.Invalid
      }
      if ((map & OWN_RULES) === 0 && vtag !== w[o + VTAG + dir]) {
        core.logInvalid(
          pkt,
          IPPROTO_SCTP,
          'verification tag check failed %x vs %x for dir %u',
          swap32(vtag),
          swap32(w[o + VTAG + dir]!),
          dir,
        )
        return Tracked.Invalid
      }

      let state = NO
      let ignore = false
      for (let at = pkt.l4 + SCTP_HEADER_LEN; at + CHUNK_HEADER <= pkt.end; at = following(at)) {
        const type = view.getUint8(at)
        const expected = w[o + VTAG + dir]!
        switch (type) {
          case INIT:
            if (vtag !== 0) return Tracked.Invalid
            break
          case ABORT:
          case SHUTDOWN_COMPLETE:
            if (!reflectedTagOk(o, dir, at, vtag)) return Tracked.Invalid
            break
          case COOKIE_ECHO:
            if (vtag !== expected) return Tracked.Invalid
            break
          case COOKIE_ACK:
            w[o + INITED] = 0
            w[o + INITED + 1] = 0
            break
          case HEARTBEAT:
            if (expected === 0) w[o + VTAG + dir] = vtag
            else if (vtag !== expected) {
              if ((map & bit(DATA)) !== 0 || ignore) return Tracked.Invalid
              w[o + VTAG_FAILED] = 1
              w[o + LAST_DIR] = dir
              ignore = true
              continue
            } else w[o + VTAG_FAILED] = 0
            break
          case HEARTBEAT_ACK:
            if (expected === 0) w[o + VTAG + dir] = vtag
            else if (vtag !== expected) {
              if ((map & bit(DATA)) !== 0 || ignore) return Tracked.Invalid
              if (w[o + VTAG_FAILED] === 0 || w[o + LAST_DIR] === dir) return Tracked.Invalid
              w[o + VTAG_FAILED] = 0
              w[o + VTAG + dir] = vtag
              w[o + VTAG + 1 - dir] = 0
            } else w[o + VTAG_FAILED] = 0
            break
          default:
        }

        const old = w[o + STATE]!
        state = nextState(dir, old, type)
        if (state === IV) {
          core.logInvalid(pkt, IPPROTO_SCTP, 'Invalid, old_state %d, dir %d, type %d', old, dir, type)
          return Tracked.Invalid
        }
        if (type === INIT) {
          if (at + INIT_LEN > pkt.end) return Tracked.Invalid
          const tag = view.getInt32(at + CHUNK_HEADER)
          // One with the tag that is known already is stale, or sent again: no new handshake. sctp_new() has noted the first.
          if (old === NO || w[o + VTAG + 1 - dir] !== tag) {
            if (w[o + INITED + dir] !== 0) w[o + INITED + 1 - dir] = 0
            w[o + INITED + dir] = 1
          }
          w[o + VTAG + 1 - dir] = tag
          // An INIT sent again does not make the entry live longer.
          if (state === CL && old === CL && confirmed) ignore = true
        } else if (type === INIT_ACK) {
          if (at + INIT_LEN > pkt.end) return Tracked.Invalid
          const tag = view.getInt32(at + CHUNK_HEADER)
          const known = w[o + VTAG + 1 - dir]!
          if (w[o + INITED + 1 - dir] === 0 && known !== 0 && known !== tag) return Tracked.Invalid
          // Both sides sent an INIT.
          if (w[o + INITED + dir] !== 0 && w[o + INITED + 1 - dir] !== 0 && known !== tag)
            return Tracked.Invalid
          w[o + VTAG + 1 - dir] = tag
        }
        w[o + STATE] = state
        if (old !== state) {
          noteEvents(w, o, Event.ProtoInfo)
          if (state === ES) assure(w, o)
        }
      }
      if (ignore) return Tracked.Accept
      core.refresh(entry, dir, pkt.length, core.timeouts(entry, standard)[state]!)
      return Tracked.Accept
    },

    canEarlyDrop(entry) {
      const state = table.words[entry * STRIDE + STATE]!
      return state === SS || state === SR || state === SA
    },
    stateNumber: (entry) => table.words[entry * STRIDE + STATE]!,
    tags: (entry) => {
      const o = entry * STRIDE + VTAG
      return [table.words[o]! >>> 0, table.words[o + 1]! >>> 0]
    },
    assign(entry, state, tags) {
      const o = entry * STRIDE
      if (state !== null) table.words[o + STATE] = state
      if (tags === null) return
      table.words[o + VTAG] = tags[0]
      table.words[o + VTAG + 1] = tags[1]
    },
    state: (entry) => SCTP_STATE_NAMES[table.words[entry * STRIDE + STATE]!] ?? '',
  }
}
