// TCP as tables of segments: what conntrack makes of each. Every row was asked of Linux 6.18, names the function of
// nf_conntrack_proto_tcp.c that it mirrors, and is asked again by test/differential/tcp-tables.test.ts.
//
//     > S    1000    0  500  0  ws7,sack | N SYN_SENT 120 U | tcp_new
//     │ │    │       │  │    │  │          │ │        │   │
//     │ │    seq   ack  win  data options  │ │        │   U: UNREPLIED, A: ASSURED
//     │ flags                              │ state    remaining seconds
//     > original, < reply                  N NEW, E ESTABLISHED, I INVALID, R RELATED
//
//     wait 2 seconds pass; `= none`: there is no entry any more

import { tcp } from './frames.ts'

export interface SegmentTable {
  readonly name: string
  /** nf_conntrack_tcp_…, and timeouts. */
  readonly sysctls: Readonly<Record<string, number>>
  readonly rows: string
}

export interface Segment {
  /** Seconds before it. */
  readonly wait: number
  readonly reply: boolean
  readonly flags: string
  readonly seq: number
  readonly ack: number
  readonly window: number
  readonly data: number
  readonly options: readonly number[]
  /** What is expected: letter, then the entry in words or 'none'. */
  readonly letter: string
  readonly entry: string
  /** The row itself, for messages. */
  readonly text: string
}

const be32 = (n: number): number[] => [n >>> 24, (n >>> 16) & 255, (n >>> 8) & 255, n & 255]

function optionBytes(words: string): number[] {
  const out: number[] = []
  for (const word of words.split(',')) {
    const [, scale] = /^ws(\d+)$/.exec(word) ?? []
    const [, left, right] = /^sack(\d+)-(\d+)$/.exec(word) ?? []
    if (scale !== undefined) out.push(1, 3, 3, Number(scale))
    else if (left !== undefined) out.push(1, 1, 5, 10, ...be32(Number(left)), ...be32(Number(right)))
    else if (word === 'sack') out.push(1, 1, 4, 2)
  }
  return out
}

/** The segments of a table. */
export function segments(table: SegmentTable): Segment[] {
  const out: Segment[] = []
  let wait = 0
  for (const line of table.rows.split('\n')) {
    const text = line.trim()
    if (text === '' || text.startsWith('#')) continue
    const [, pause] = /^wait ([\d.]+)$/.exec(text) ?? []
    if (pause !== undefined) {
      wait += Number(pause)
      continue
    }
    const [segment = '', expected = ''] = text.split('|')
    const [way, flags = '', seq, ack, window, data, options = ''] = segment.trim().split(/\s+/)
    const [letter = '', ...entry] = expected.trim().split(/\s+/)
    out.push({
      wait,
      reply: way === '<',
      flags: flags === '-' ? '' : flags,
      seq: Number(seq) >>> 0,
      ack: Number(ack) >>> 0,
      window: Number(window),
      data: Number(data),
      options: optionBytes(options),
      letter,
      entry: entry.join(' '),
      text,
    })
    wait = 0
  }
  return out
}

export const CLIENT = '10.0.1.2'
export const SERVER = '10.0.2.2'

export function frameOf({ reply, flags, seq, ack, window, data, options }: Segment): Uint8Array {
  return tcp({
    src: reply ? SERVER : CLIENT,
    dst: reply ? CLIENT : SERVER,
    sport: reply ? 80 : 1024,
    dport: reply ? 1024 : 80,
    flags,
    seq,
    ack,
    window,
    tcpOptions: options,
    payload: data,
  })
}

/** What the tables say of an entry, from its line of `conntrack -L`: state, remaining seconds, U or A or neither. */
export function wordsOf(line: string | undefined): string {
  const [, seconds, state] = / tcp +6 (\d+) (\w+) src/.exec(line ?? '') ?? []
  if (line === undefined || state === undefined) return 'none'
  const bits = (line.includes('[UNREPLIED]') ? 'U' : '') + (line.includes('[ASSURED]') ? 'A' : '')
  return `${state} ${seconds} ${bits}`.trim()
}

export const TCP_TABLES: readonly SegmentTable[] = [
  {
    name: 'a connection from SYN to TIME_WAIT',
    sysctls: {},
    rows: `
      > S  1000 0    500 0   | N SYN_SENT 120 U | tcp_new
      < SA 5000 1001 600 0   | E SYN_RECV 60 | tcp_in_window: tcp_init_sender of the reply
      > A  1001 5001 500 0   | E ESTABLISHED 432000 A | tcp_conntracks: SYN_RECV, ack; IPS_ASSURED
      > PA 1001 5001 500 100 | E ESTABLISHED 300 A | IP_CT_TCP_FLAG_DATA_UNACKNOWLEDGED
      < A  5001 1101 600 0   | E ESTABLISHED 432000 A | tcp_in_window: all acknowledged
      < FA 5001 1101 600 0   | E FIN_WAIT 120 A | tcp_conntracks: FIN_WAIT
      > A  1101 5002 500 0   | E CLOSE_WAIT 60 A | tcp_conntracks: CLOSE_WAIT
      > FA 1101 5002 500 0   | E LAST_ACK 30 A | tcp_conntracks: LAST_ACK
      < A  5002 1102 600 0   | E TIME_WAIT 120 A | tcp_conntracks: TIME_WAIT`,
  },
  {
    name: 'a SYN sent again does not live longer',
    sysctls: { tcp_timeout_syn_sent: 10 },
    rows: `
      > S 1000 0 500 0 | N SYN_SENT 10 U | tcp_new
      wait 2
      > S 1000 0 500 0 | N SYN_SENT 8 U | nf_conntrack_tcp_packet: no refresh
      > S 2000 0 500 0 | N SYN_SENT 8 U | tcp_in_window: a restarted end`,
  },
  {
    name: 'a SYN/ACK sent again',
    sysctls: {},
    rows: `
      > S  1000 0    500 0 | N SYN_SENT 120 U | tcp_new
      < SA 5000 1001 600 0 | E SYN_RECV 60 | tcp_in_window
      < SA 5000 1001 600 0 | E SYN_RECV 60 | tcp_conntracks: ignored
      > A  1001 5001 500 0 | E ESTABLISHED 432000 A | tcp_conntracks
      < SA 5000 1001 600 0 | E ESTABLISHED 432000 A | tcp_conntracks: ignored
      > A  1001 5001 500 0 | E ESTABLISHED 432000 A | tcp_in_window`,
  },
  {
    name: 'a simultaneous open',
    sysctls: {},
    rows: `
      > S  1000 0    500 0 | N SYN_SENT 120 U | tcp_new
      < S  5000 0    600 0 | E SYN_SENT2 120 | tcp_conntracks: SYN_SENT2
      > SA 1000 5001 500 0 | E SYN_RECV 60 | tcp_conntracks: SYN_RECV
      < A  5001 1001 600 0 | E ESTABLISHED 432000 A | nf_conntrack_tcp_packet: IP_CT_TCP_SIMULTANEOUS_OPEN
      > A  1001 5001 500 0 | E ESTABLISHED 432000 A | tcp_in_window`,
  },
  {
    name: 'picked up in the middle',
    sysctls: {},
    rows: `
      > A  1000 5000 500 10  | N ESTABLISHED 300 U | tcp_new: loose
      < A  5000 1010 600 10  | E ESTABLISHED 300 | tcp_in_window: the first of the other side
      > A  1010 5010 500 0   | E ESTABLISHED 432000 A | tcp_in_window
      > A  99999 5010 500 0  | E ESTABLISHED 432000 A | nf_tcp_log_invalid: IP_CT_TCP_FLAG_BE_LIBERAL`,
  },
  {
    name: 'loose 0: nothing begins in the middle',
    sysctls: { tcp_loose: 0 },
    rows: `
      > A  1000 5000 500 10 | I none | tcp_new
      > FA 1000 5000 500 0  | I none | tcp_new: invalid new
      > SA 1000 5000 500 0  | I none | tcp_new: invalid new
      > R  1000 0    500 0  | I none | tcp_new: invalid new
      > S  1000 0    500 0  | N SYN_SENT 120 U | tcp_new`,
  },
  {
    name: 'windows: what fits and what does not',
    sysctls: {},
    rows: `
      > S  1000  0     1000 0    | N SYN_SENT 120 U | tcp_new
      < SA 5000  1001  2000 0    | E SYN_RECV 60 | tcp_in_window
      > A  1001  5001  1000 0    | E ESTABLISHED 432000 A | tcp_in_window
      > A  1001  5001  1000 500  | E ESTABLISHED 300 A | tcp_in_window
      > A  3100  5001  1000 100  | E ESTABLISHED 300 A | tcp_in_window: more bytes than expected, ignored
      > A  2500  5001  1000 600  | E ESTABLISHED 300 A | tcp_in_window: reaches over the window, begins within
      < A  9000  1501  2000 10   | I ESTABLISHED 300 A | tcp_in_window: SEQ is over upper bound
      < A  5001  99999 2000 0    | I ESTABLISHED 300 A | tcp_in_window: ACK is over upper bound
      > A  100   5001  1000 10   | E ESTABLISHED 300 A | tcp_in_window: SEQ is under lower bound, ignored
      < A  5001  1501  2000 0    | E ESTABLISHED 300 A | tcp_in_window`,
  },
  {
    name: 'be_liberal 1: the same, all accepted',
    sysctls: { tcp_be_liberal: 1 },
    rows: `
      > S  1000  0     1000 0    | N SYN_SENT 120 U | tcp_new
      < SA 5000  1001  2000 0    | E SYN_RECV 60 | tcp_in_window
      > A  1001  5001  1000 0    | E ESTABLISHED 432000 A | tcp_in_window
      > A  3100  5001  1000 100  | E ESTABLISHED 300 A | nf_tcp_log_invalid
      < A  9000  1501  2000 10   | E ESTABLISHED 300 A | nf_tcp_log_invalid
      < A  5001  99999 2000 0    | E ESTABLISHED 300 A | nf_tcp_log_invalid
      > A  100   5001  1000 10   | E ESTABLISHED 300 A | nf_tcp_log_invalid
      > R  99999 0     0    0    | E ESTABLISHED 10 A | nf_tcp_log_invalid: a reset too`,
  },
  {
    name: 'window scaling, offered by both',
    sysctls: {},
    rows: `
      > S  1000  0     1000 0    ws3 | N SYN_SENT 120 U | tcp_options
      < SA 5000  1001  2000 0    ws2 | E SYN_RECV 60 | tcp_init_sender
      > A  1001  5001  1000 0        | E ESTABLISHED 432000 A | tcp_in_window: 8000 from now on
      < A  5001  1001  2000 7000     | E ESTABLISHED 300 A | tcp_in_window
      < A  14500 1001  2000 100      | E ESTABLISHED 300 A | tcp_in_window: more than 5001 + 8000, ignored`,
  },
  {
    name: 'window scaling, offered by one',
    sysctls: {},
    rows: `
      > S  1000  0     1000 0    ws3 | N SYN_SENT 120 U | tcp_options
      < SA 5000  1001  2000 0        | E SYN_RECV 60 | tcp_init_sender: no scaling at all
      > A  1001  5001  1000 0        | E ESTABLISHED 432000 A | tcp_in_window
      < A  7000  1001  2000 100      | I ESTABLISHED 432000 A | tcp_in_window: SEQ is over upper bound, 5001 + 1000`,
  },
  {
    name: 'SACK counts as an acknowledgment of its highest edge',
    sysctls: {},
    rows: `
      > S  1000 0     1000 0    sack          | N SYN_SENT 120 U | tcp_options
      < SA 5000 1001  4000 0    sack          | E SYN_RECV 60 | tcp_init_sender
      > A  1001 5001  1000 0                  | E ESTABLISHED 432000 A | tcp_in_window
      > A  1001 5001  1000 1000               | E ESTABLISHED 300 A | tcp_in_window
      > A  2001 5001  1000 1000               | E ESTABLISHED 300 A | tcp_in_window
      < A  5001 1001  4000 0    sack2001-3001 | E ESTABLISHED 300 A | tcp_sack
      < A  5001 1001  4000 0    sack2001-9001 | I ESTABLISHED 300 A | tcp_sack: acknowledges what nobody sent`,
  },
  {
    name: 'max_retrans 1: the same ACK again and again shortens its life',
    sysctls: { tcp_max_retrans: 1, tcp_timeout_max_retrans: 20 },
    rows: `
      > S  1000 0    500 0 | N SYN_SENT 20 U | tcp_new
      < SA 5000 1001 600 0 | E SYN_RECV 20 | tcp_in_window
      > A  1001 5001 500 0 | E ESTABLISHED 432000 A | tcp_in_window
      > A  1001 5001 500 0 | E ESTABLISHED 20 A | nf_conntrack_tcp_packet: tcp_max_retrans
      > A  1001 5001 501 0 | E ESTABLISHED 432000 A | tcp_in_window: another window is another ACK`,
  },
  {
    name: 'max_retrans 3, as it is',
    sysctls: { tcp_timeout_max_retrans: 20 },
    rows: `
      > S  1000 0    500 0 | N SYN_SENT 20 U | tcp_new
      < SA 5000 1001 600 0 | E SYN_RECV 20 | tcp_in_window
      > A  1001 5001 500 0 | E ESTABLISHED 432000 A | tcp_in_window
      > A  1001 5001 500 0 | E ESTABLISHED 432000 A | tcp_in_window: 1
      > A  1001 5001 500 0 | E ESTABLISHED 432000 A | tcp_in_window: 2
      > A  1001 5001 500 0 | E ESTABLISHED 20 A | tcp_in_window: 3
      > A  1001 5001 500 1 | E ESTABLISHED 300 A | tcp_in_window: something new`,
  },
  {
    name: 'unacknowledged data shortens its life, an acknowledgment gives it back',
    sysctls: { tcp_timeout_unacknowledged: 20 },
    rows: `
      > S  1000 0    500 0   | N SYN_SENT 120 U | tcp_new
      < SA 5000 1001 600 0   | E SYN_RECV 60 | tcp_in_window
      > A  1001 5001 500 0   | E ESTABLISHED 432000 A | tcp_in_window
      > PA 1001 5001 500 100 | E ESTABLISHED 20 A | IP_CT_TCP_FLAG_DATA_UNACKNOWLEDGED
      < A  5001 1051 600 0   | E ESTABLISHED 20 A | tcp_in_window: half of it
      < A  5001 1101 600 0   | E ESTABLISHED 432000 A | tcp_in_window: all of it`,
  },
  {
    name: 'a window of nothing',
    sysctls: { tcp_timeout_max_retrans: 20 },
    rows: `
      > S  1000 0    500 0 | N SYN_SENT 20 U | tcp_new
      < SA 5000 1001 600 0 | E SYN_RECV 20 | tcp_in_window
      > A  1001 5001 500 0 | E ESTABLISHED 432000 A | tcp_in_window
      < A  5001 1001 0   0 | E ESTABLISHED 20 A | nf_conntrack_tcp_packet: last_win
      > A  1001 5001 500 1 | E ESTABLISHED 300 A | tcp_in_window: a probe
      < A  5001 1001 600 0 | E ESTABLISHED 300 A | tcp_in_window`,
  },
  {
    name: 'a SYN that is refused leaves nothing',
    sysctls: {},
    rows: `
      > S  1000 0    500 0 | N SYN_SENT 120 U | tcp_new
      < RA 0    1001 0   0 | E none | nf_conntrack_tcp_packet: nf_ct_kill_acct`,
  },
  {
    name: 'resets of an established connection',
    sysctls: {},
    rows: `
      > S  1000 0    500 0 | N SYN_SENT 120 U | tcp_new
      < SA 5000 1001 600 0 | E SYN_RECV 60 | tcp_in_window
      > A  1001 5001 500 0 | E ESTABLISHED 432000 A | tcp_in_window
      < PA 5001 1001 600 9 | E ESTABLISHED 300 A | tcp_in_window
      > A  1001 5010 500 0 | E ESTABLISHED 432000 A | tcp_in_window
      < R  4000 0    0   0 | I ESTABLISHED 432000 A | nf_conntrack_tcp_packet: before td_maxack, invalid rst
      < R  5100 0    0   0 | E ESTABLISHED 10 A | nf_conntrack_tcp_packet: not the next number, state kept
      < R  5010 0    0   0 | E CLOSE 10 A | nf_conntrack_tcp_packet: exact`,
  },
  {
    name: 'ignore_invalid_rst 1: a reset from before is let through',
    sysctls: { tcp_ignore_invalid_rst: 1 },
    rows: `
      > S  1000 0    500 0 | N SYN_SENT 120 U | tcp_new
      < SA 5000 1001 600 0 | E SYN_RECV 60 | tcp_in_window
      > A  1001 5001 500 0 | E ESTABLISHED 432000 A | tcp_in_window
      < PA 5001 1001 600 9 | E ESTABLISHED 300 A | tcp_in_window
      > A  1001 5010 500 0 | E ESTABLISHED 432000 A | tcp_in_window
      < R  4900 0    0   0 | E ESTABLISHED 10 A | nf_conntrack_tcp_packet: tcp_ignore_invalid_rst`,
  },
  {
    name: 'a reset right behind data',
    sysctls: {},
    rows: `
      > S  1000 0    500 0  | N SYN_SENT 120 U | tcp_new
      < SA 5000 1001 600 0  | E SYN_RECV 60 | tcp_in_window
      > A  1001 5001 500 0  | E ESTABLISHED 432000 A | tcp_in_window
      > A  1001 5001 500 0  | E ESTABLISHED 432000 A | tcp_in_window
      < A  5001 1001 600 50 | E ESTABLISHED 300 A | tcp_in_window
      < R  5051 0    0   0  | E CLOSE 10 A | nf_conntrack_tcp_packet: the end of a train`,
  },
  {
    name: 'a SYN to an established connection: challenge ACK, reset, new connection',
    sysctls: {},
    rows: `
      > S  1000 0    500 0 | N SYN_SENT 120 U | tcp_new
      < SA 5000 1001 600 0 | E SYN_RECV 60 | tcp_in_window
      > A  1001 5001 500 0 | E ESTABLISHED 432000 A | tcp_in_window
      > A  1001 5001 500 0 | E ESTABLISHED 432000 A | tcp_in_window
      > S  9000 0    500 0 | E ESTABLISHED 432000 A | tcp_conntracks: ignored
      < A  5001 1001 600 0 | E ESTABLISHED 432000 A | tcp_in_window: the challenge ACK
      > R  1001 0    0   0 | E CLOSE 10 A | nf_conntrack_tcp_packet
      > S  9100 0    500 0 | N SYN_SENT 120 U | nf_conntrack_tcp_packet: reopened`,
  },
  {
    name: 'a SYN that was let through is answered',
    sysctls: {},
    rows: `
      > S  1000 0    500 0 | N SYN_SENT 120 U | tcp_new
      < SA 5000 1001 600 0 | E SYN_RECV 60 | tcp_in_window
      > A  1001 5001 500 0 | E ESTABLISHED 432000 A | tcp_in_window
      > A  1001 5001 500 0 | E ESTABLISHED 432000 A | tcp_in_window
      > S  9000 0    500 0 ws5 | E ESTABLISHED 432000 A | tcp_conntracks: ignored
      < SA 7000 9001 600 0 ws4 | E SYN_RECV 60 A | nf_conntrack_tcp_packet: both ends are in step
      > A  9001 7001 500 0 | E ESTABLISHED 432000 A | tcp_in_window`,
  },
  {
    name: 'ports used again: after TIME_WAIT',
    sysctls: {},
    rows: `
      > S  1000 0    500 0 | N SYN_SENT 120 U | tcp_new
      < SA 5000 1001 600 0 | E SYN_RECV 60 | tcp_in_window
      > A  1001 5001 500 0 | E ESTABLISHED 432000 A | tcp_in_window
      > FA 1001 5001 500 0 | E FIN_WAIT 120 A | tcp_conntracks
      < FA 5001 1002 600 0 | E LAST_ACK 30 A | tcp_conntracks
      > A  1002 5002 500 0 | E TIME_WAIT 120 A | tcp_conntracks
      > S  9000 0    500 0 | N SYN_SENT 120 U | nf_conntrack_tcp_packet: -NF_REPEAT
      < SA 7000 9001 600 0 | E SYN_RECV 60 | tcp_in_window`,
  },
  {
    name: 'ports used again: by the other side',
    sysctls: {},
    rows: `
      > S  1000 0    500 0 | N SYN_SENT 120 U | tcp_new
      < SA 5000 1001 600 0 | E SYN_RECV 60 | tcp_in_window
      > A  1001 5001 500 0 | E ESTABLISHED 432000 A | tcp_in_window
      > FA 1001 5001 500 0 | E FIN_WAIT 120 A | tcp_conntracks
      < FA 5001 1002 600 0 | E LAST_ACK 30 A | tcp_conntracks
      > A  1002 5002 500 0 | E TIME_WAIT 120 A | tcp_conntracks
      < S  9000 0    500 0 | N SYN_SENT 120 U | tcp_conntracks: reply, TIME_WAIT`,
  },
  {
    name: 'ports used again: after a reset',
    sysctls: {},
    rows: `
      > S  1000 0    500 0 | N SYN_SENT 120 U | tcp_new
      < SA 5000 1001 600 0 | E SYN_RECV 60 | tcp_in_window
      > A  1001 5001 500 0 | E ESTABLISHED 432000 A | tcp_in_window
      > R  1001 0    0   0 | E CLOSE 10 A | tcp_conntracks
      > S  1001 0    500 0 | N SYN_SENT 120 U | nf_conntrack_tcp_packet: -NF_REPEAT
      > R  1002 0    0   0 | N none | tcp_conntracks: a reset of what was never answered`,
  },
  {
    name: 'a SYN in LAST_ACK: the answer may be a challenge ACK',
    sysctls: {},
    rows: `
      > S  1000 0    500 0 | N SYN_SENT 120 U | tcp_new
      < SA 5000 1001 600 0 | E SYN_RECV 60 | tcp_in_window
      > A  1001 5001 500 0 | E ESTABLISHED 432000 A | tcp_in_window
      < FA 5001 1001 600 0 | E FIN_WAIT 120 A | tcp_conntracks
      > A  1001 5002 500 0 | E CLOSE_WAIT 60 A | tcp_conntracks
      > FA 1001 5002 500 0 | E LAST_ACK 30 A | tcp_conntracks: LAST_ACK
      > S  9000 0    500 0 | E LAST_ACK 30 A | tcp_conntracks: ignored, IP_CT_EXP_CHALLENGE_ACK
      < A  5002 1001 600 0 | E LAST_ACK 30 A | nf_conntrack_tcp_packet: challenge-ack ignored
      < A  5002 1002 600 0 | E TIME_WAIT 120 A | tcp_conntracks: TIME_WAIT`,
  },
  {
    name: 'resets beyond the window, from both ends',
    sysctls: { tcp_timeout_unacknowledged: 200 },
    rows: `
      > S  1000 0    500 0   | N SYN_SENT 120 U | tcp_new
      < SA 5000 1001 600 0   | E SYN_RECV 60 | tcp_in_window
      > A  1001 5001 500 0   | E ESTABLISHED 432000 A | tcp_in_window
      > A  1001 5001 500 0   | E ESTABLISHED 432000 A | tcp_in_window
      > RA 9001 5001 500 0   | I ESTABLISHED 432000 A | nf_tcp_handle_invalid
      < RA 9001 1001 600 0   | I ESTABLISHED 200 A | nf_tcp_handle_invalid: the connection is likely dead`,
  },
  {
    name: 'flags that nobody sends',
    sysctls: {},
    rows: `
      > SF  1000 0 500 0 | I none | tcp_valid_flags
      > SR  1000 0 500 0 | I none | tcp_valid_flags
      > F   1000 0 500 0 | I none | tcp_valid_flags
      > -   1000 0 500 0 | I none | tcp_valid_flags
      > FPU 1000 0 500 0 | I none | tcp_valid_flags
      > SPU 1000 0 500 0 | N SYN_SENT 120 U | tcp_new: URG and PSH are fine with SYN
      > SEC 1000 0 500 0 | N SYN_SENT 120 U | tcp_valid_flags: so are ECE and CWR`,
  },
  {
    name: 'timeouts run',
    sysctls: { tcp_timeout_established: 3, tcp_timeout_syn_sent: 1 },
    rows: `
      > S  1000 0    500 0 | N SYN_SENT 1 U | tcp_new
      wait 1.1
      < SA 5000 1001 600 0 | I none | tcp_new: the entry is gone, invalid new
      > S  1000 0    500 0 | N SYN_SENT 1 U | tcp_new
      < SA 5000 1001 600 0 | E SYN_RECV 60 | tcp_in_window
      > A  1001 5001 500 0 | E ESTABLISHED 3 A | tcp_in_window
      wait 2
      > A  1001 5001 500 0 | E ESTABLISHED 3 A | nf_ct_refresh_acct
      wait 3.1
      > A  1001 5001 500 0 | N ESTABLISHED 3 U | tcp_new: loose`,
  },
]
