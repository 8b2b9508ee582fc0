// Why conntrack called a packet INVALID, or NEW in the middle of a connection, and which sysctl would have had it
// otherwise.

import { TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN } from '../../datapath/wire/tcp.ts'
import type { ConntrackStep, EntryFacts } from './record.ts'

const CT = 'net.netfilter.nf_conntrack'

/** By the beginning of the kernel's words (nf_ct_l4proto_log_invalid). */
const SYSCTLS: readonly (readonly [RegExp, string])[] = [
  [/^(SEQ is|ACK is|ignored ACK|\d+ bytes more)/, `${CT}_tcp_be_liberal=1`],
  [/^(bad |ICMPv6 checksum|nf_ct_sctp: bad CRC)/, `${CT}_checksum=0`],
  [/^invalid new/, `${CT}_tcp_loose=1`],
  [/^invalid rst/, `${CT}_tcp_ignore_invalid_rst=1`],
  [/^the table is full/, `${CT}_max`],
]

interface Judged {
  readonly state: ConntrackStep['state']
  /** What conntrack said itself; null: nothing. */
  readonly said: string | null
  /** TCP flags, -1 for other protocols. */
  readonly flags: number
  readonly before: EntryFacts | null
  readonly after: EntryFacts | null
}

export function reasonOf({ state, said, flags, before, after }: Judged): {
  readonly why: string | null
  readonly sysctl: string | null
} {
  if (said !== null)
    return {
      why: said.trim(),
      // Of an old segment conntrack takes no notice, whatever the sysctl says.
      sysctl:
        state === 'INVALID' || after === null
          ? (SYSCTLS.find(([pattern]) => pattern.test(said))?.[1] ?? null)
          : null,
    }
  if (state === 'INVALID') return { why: 'it belongs to no connection, and begins none', sysctl: null }
  if (state !== 'NEW' || flags < 0) return { why: null, sysctl: null }
  if (before === null && (flags & (TCP_SYN | TCP_FIN | TCP_RST)) === 0 && (flags & TCP_ACK) !== 0)
    return {
      why: 'picked up in the middle: no connection of it is known, and it has no SYN',
      sysctl: `${CT}_tcp_loose=0`,
    }
  if (before !== null && after !== null && before.entry !== after.entry && (flags & TCP_SYN) !== 0)
    return { why: `the connection of before was over (${before.state})`, sysctl: null }
  return { why: null, sysctl: null }
}
