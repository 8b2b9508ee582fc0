// The states of a TCP connection and what moves it from one to the other: tables of nf_conntrack_proto_tcp.c (Linux 6.18).

import {
  TCP_ACK,
  TCP_CWR,
  TCP_ECE,
  TCP_FIN,
  TCP_PSH,
  TCP_RST,
  TCP_SYN,
  TCP_URG,
} from '../../datapath/wire/tcp.ts'

/** enum tcp_conntrack; the numbers are the kernel's. */
export const TcpState = {
  None: 0,
  SynSent: 1,
  SynRecv: 2,
  Established: 3,
  FinWait: 4,
  CloseWait: 5,
  LastAck: 6,
  TimeWait: 7,
  Close: 8,
  SynSent2: 9,
} as const

/** As `conntrack -L` names them. */
export const TCP_STATE_NAMES = [
  'NONE',
  'SYN_SENT',
  'SYN_RECV',
  'ESTABLISHED',
  'FIN_WAIT',
  'CLOSE_WAIT',
  'LAST_ACK',
  'TIME_WAIT',
  'CLOSE',
  'SYN_SENT2',
] as const

// States as the table below writes them; NONE is only an old one. Beyond the real ones: an invalid packet, and one that is let through
// without being believed, because conntrack may be the one that is out of step.
export const SS = 1
export const SR = 2
export const ES = 3
export const FW = 4
export const CW = 5
export const LA = 6
export const TW = 7
export const CL = 8
export const S2 = 9
export const IV = 10
export const IG = 11
export const STATES = 10

/** enum tcp_bit_set: what of RST, SYN, FIN and ACK a segment is. */
export const SYN_SET = 0
export const SYNACK_SET = 1
export const FIN_SET = 2
export const ACK_SET = 3
export const RST_SET = 4
export const NONE_SET = 5
export const SETS = 6

// biome-ignore format: a table
/** tcp_conntracks: direction, kind of segment, old state → new state. */
export const TRANSITIONS = Uint8Array.of(
  // original    NO  SS  SR  ES  FW  CW  LA  TW  CL  S2
  /* syn    */   SS, SS, IG, IG, IG, IG, IG, SS, SS, S2,
  /* synack */   IV, IV, SR, IV, IV, IV, IV, IV, IV, SR,
  /* fin    */   IV, IV, FW, FW, LA, LA, LA, TW, CL, IV,
  /* ack    */   ES, IV, ES, ES, CW, CW, TW, TW, CL, IV,
  /* rst    */   IV, CL, CL, CL, CL, CL, CL, CL, CL, CL,
  /* none   */   IV, IV, IV, IV, IV, IV, IV, IV, IV, IV,
  // reply
  /* syn    */   IV, S2, IV, IV, IV, IV, IV, SS, IV, S2,
  /* synack */   IV, SR, IG, IG, IG, IG, IG, IG, IG, SR,
  /* fin    */   IV, IV, FW, FW, LA, LA, LA, TW, CL, IV,
  /* ack    */   IV, IG, SR, ES, CW, CW, TW, TW, CL, IG,
  /* rst    */   IV, CL, CL, CL, CL, CL, CL, CL, CL, CL,
  /* none   */   IV, IV, IV, IV, IV, IV, IV, IV, IV, IV,
)

/** tcp_valid_flags; PSH, ECE and CWR may always be set. */
export const VALID_FLAGS = new Uint8Array(64)
for (const flags of [
  TCP_SYN,
  TCP_SYN | TCP_URG,
  TCP_SYN | TCP_ACK,
  TCP_RST,
  TCP_RST | TCP_ACK,
  TCP_FIN | TCP_ACK,
  TCP_FIN | TCP_ACK | TCP_URG,
  TCP_ACK,
  TCP_ACK | TCP_URG,
])
  VALID_FLAGS[flags] = 1
export const ANY_FLAGS = TCP_ECE | TCP_CWR | TCP_PSH

/** The kind of segment (get_conntrack_index). */
export function kindOf(flags: number): number {
  if ((flags & TCP_RST) !== 0) return RST_SET
  if ((flags & TCP_SYN) !== 0) return (flags & TCP_ACK) !== 0 ? SYNACK_SET : SYN_SET
  if ((flags & TCP_FIN) !== 0) return FIN_SET
  return (flags & TCP_ACK) !== 0 ? ACK_SET : NONE_SET
}
