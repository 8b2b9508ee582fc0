// Why conntrack called a packet INVALID, and which sysctl would have had it otherwise.

/** By the beginning of the kernel's words (nf_ct_l4proto_log_invalid). */
const SYSCTLS: readonly (readonly [RegExp, string])[] = [
  [/^(SEQ is|ACK is|ignored ACK|\d+ bytes more)/, 'net.netfilter.nf_conntrack_tcp_be_liberal=1'],
  [/^bad (hw icmp |tcp |udp )?checksum|^ICMPv6 checksum|bad CRC/, 'net.netfilter.nf_conntrack_checksum=0'],
  [/^invalid new/, 'net.netfilter.nf_conntrack_tcp_loose=1'],
  [/^invalid rst/, 'net.netfilter.nf_conntrack_tcp_ignore_invalid_rst=1'],
]

/** `name=value`, or null: none would. */
export function sysctlFor(reason: string): string | null {
  return SYSCTLS.find(([pattern]) => pattern.test(reason))?.[1] ?? null
}
