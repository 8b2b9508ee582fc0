// The kernel's statistics as it prints them: /proc/net/snmp, /proc/net/netstat and /proc/net/snmp6 (RFC 4293,
// net/ipv4/proc.c and net/ipv6/proc.c of Linux 6.18). The first two have two lines a group: names, then numbers. Nobody listens on this host, so all that TCP says of connections is 0.

import { type Counters, ICMP_OUT, IcmpStat, IpStat, TcpStat, UdpStat } from '../datapath/counters.ts'
import type { Host } from '../datapath/host.ts'

/** Names of a line in the order of printing, and their numbers; names that the table has not are 0. */
const line = (
  group: string,
  names: readonly string[],
  index: Readonly<Record<string, number>>,
  values: Float64Array,
): string =>
  `${group}: ${names.join(' ')}\n${group}: ${names.map((name) => (name in index ? values[index[name]!]! : 0)).join(' ')}\n`

const words = (text: string): string[] => text.trim().split(/\s+/)

const IP = words(`
  InReceives InHdrErrors InAddrErrors OutForwDatagrams InUnknownProtos InDiscards InDelivers OutRequests OutDiscards
  OutNoRoutes ReasmTimeout ReasmReqds ReasmOKs ReasmFails FragOKs FragFails FragCreates OutTransmits
`)
const IP_EXT = words(`
  InNoRoutes InTruncatedPkts InMcastPkts OutMcastPkts InBcastPkts OutBcastPkts InOctets OutOctets InMcastOctets
  OutMcastOctets InBcastOctets OutBcastOctets InCsumErrors InNoECTPkts InECT1Pkts InECT0Pkts InCEPkts ReasmOverlaps
`)
/** Types of ICMP that have a name of their own (icmpmibmap). */
const ICMP_TYPES: readonly (readonly [type: number, name: string])[] = [
  [3, 'DestUnreachs'],
  [11, 'TimeExcds'],
  [12, 'ParmProbs'],
  [4, 'SrcQuenchs'],
  [5, 'Redirects'],
  [8, 'Echos'],
  [0, 'EchoReps'],
  [13, 'Timestamps'],
  [14, 'TimestampReps'],
  [17, 'AddrMasks'],
  [18, 'AddrMaskReps'],
]
const UDP = words(`
  InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors InCsumErrors IgnoredMulti MemErrors
`)
const TCP_EXT = words(`
  SyncookiesSent SyncookiesRecv SyncookiesFailed EmbryonicRsts PruneCalled RcvPruned OfoPruned
  OutOfWindowIcmps LockDroppedIcmps ArpFilter TW TWRecycled TWKilled PAWSActive PAWSEstab BeyondWindow
  TSEcrRejected PAWSOldAck PAWSTimewait DelayedACKs DelayedACKLocked DelayedACKLost ListenOverflows
  ListenDrops TCPHPHits TCPPureAcks TCPHPAcks TCPRenoRecovery TCPSackRecovery TCPSACKReneging TCPSACKReorder
  TCPRenoReorder TCPTSReorder TCPFullUndo TCPPartialUndo TCPDSACKUndo TCPLossUndo TCPLostRetransmit
  TCPRenoFailures TCPSackFailures TCPLossFailures TCPFastRetrans TCPSlowStartRetrans TCPTimeouts
  TCPLossProbes TCPLossProbeRecovery TCPRenoRecoveryFail TCPSackRecoveryFail TCPRcvCollapsed
  TCPBacklogCoalesce TCPDSACKOldSent TCPDSACKOfoSent TCPDSACKRecv TCPDSACKOfoRecv TCPAbortOnData
  TCPAbortOnClose TCPAbortOnMemory TCPAbortOnTimeout TCPAbortOnLinger TCPAbortFailed TCPMemoryPressures
  TCPMemoryPressuresChrono TCPSACKDiscard TCPDSACKIgnoredOld TCPDSACKIgnoredNoUndo TCPSpuriousRTOs
  TCPMD5NotFound TCPMD5Unexpected TCPMD5Failure TCPSackShifted TCPSackMerged TCPSackShiftFallback
  TCPBacklogDrop PFMemallocDrop TCPMinTTLDrop TCPDeferAcceptDrop IPReversePathFilter TCPTimeWaitOverflow
  TCPReqQFullDoCookies TCPReqQFullDrop TCPRetransFail TCPRcvCoalesce TCPOFOQueue TCPOFODrop TCPOFOMerge
  TCPChallengeACK TCPSYNChallenge TCPFastOpenActive TCPFastOpenActiveFail TCPFastOpenPassive
  TCPFastOpenPassiveFail TCPFastOpenListenOverflow TCPFastOpenCookieReqd TCPFastOpenBlackhole
  TCPSpuriousRtxHostQueues BusyPollRxPackets TCPAutoCorking TCPFromZeroWindowAdv TCPToZeroWindowAdv
  TCPWantZeroWindowAdv TCPSynRetrans TCPOrigDataSent TCPHystartTrainDetect TCPHystartTrainCwnd
  TCPHystartDelayDetect TCPHystartDelayCwnd TCPACKSkippedSynRecv TCPACKSkippedPAWS TCPACKSkippedSeq
  TCPACKSkippedFinWait2 TCPACKSkippedTimeWait TCPACKSkippedChallenge TCPWinProbe TCPKeepAlive TCPMTUPFail
  TCPMTUPSuccess TCPDelivered TCPDeliveredCE TCPAckCompressed TCPZeroWindowDrop TCPRcvQDrop TCPWqueueTooBig
  TCPFastOpenPassiveAltKey TcpTimeoutRehash TcpDuplicateDataRehash TCPDSACKRecvSegs TCPDSACKIgnoredDubious
  TCPMigrateReqSuccess TCPMigrateReqFailure TCPPLBRehash TCPAORequired TCPAOBad TCPAOKeyNotFound TCPAOGood
  TCPAODroppedIcmps
`)

function icmp({ icmp4, icmpTypes4 }: Counters): string {
  const named = (which: string, from: number): [string, number][] =>
    ICMP_TYPES.map(([type, name]) => [`${which}${name}`, icmpTypes4[from + type]!])
  const stat = (name: keyof typeof IcmpStat): [string, number] => [name, icmp4[IcmpStat[name]]!]
  const fields = [
    ...(['InMsgs', 'InErrors', 'InCsumErrors'] as const).map(stat),
    ...named('In', 0),
    ...(['OutMsgs', 'OutErrors', 'OutRateLimitGlobal', 'OutRateLimitHost'] as const).map(stat),
    ...named('Out', ICMP_OUT),
  ]
  const others: [string, number][] = []
  for (const [name, from] of [
    ['InType', 0],
    ['OutType', ICMP_OUT],
  ] as const)
    for (let type = 0; type < ICMP_OUT; type++)
      if (icmpTypes4[from + type]! > 0) others.push([`${name}${type}`, icmpTypes4[from + type]!])
  const two = (group: string, all: readonly (readonly [string, number])[]): string =>
    `${group}: ${all.map(([name]) => name).join(' ')}\n${group}: ${all.map(([, n]) => n).join(' ')}\n`
  return two('Icmp', fields) + (others.length > 0 ? two('IcmpMsg', others) : '')
}

/** /proc/net/snmp: statistics of IPv4, and those of TCP, which both families share. */
export function formatSnmp({ counters, ipv4, tunables }: Host): string {
  const forwarding = Number(tunables.get('net.ipv4.conf.all.forwarding')) === 1 ? 1 : 2
  const values = Float64Array.from(counters.ip4)
  values[IpStat.InReceives] = counters.receives4()
  const ip = line('Ip', IP, IpStat, values)
    .replace('Ip: InReceives', 'Ip: Forwarding DefaultTTL InReceives')
    .replace('OutForwDatagrams', 'ForwDatagrams')
    .replace(/\nIp: /, `\nIp: ${forwarding} ${ipv4.defaultTtl} `)
  const tcp = counters.tcp
  const segments = [TcpStat.InSegs, TcpStat.OutSegs].map((n) => tcp[n])
  const errors = [TcpStat.InErrs, TcpStat.OutRsts, TcpStat.InCsumErrors].map((n) => tcp[n])
  return `${ip}${icmp(counters)}Tcp: RtoAlgorithm RtoMin RtoMax MaxConn ActiveOpens PassiveOpens AttemptFails EstabResets CurrEstab InSegs OutSegs RetransSegs InErrs OutRsts InCsumErrors
Tcp: 1 200 120000 -1 0 0 0 0 0 ${segments.join(' ')} 0 ${errors.join(' ')}
${line('Udp', UDP, UdpStat, counters.udp4)}${line('UdpLite', UDP, UdpStat, counters.udpLite4)}`
}

/** /proc/net/netstat of a kernel without MPTCP. */
export function formatNetstat({ counters }: Host): string {
  const ext = line('TcpExt', TCP_EXT, { IPReversePathFilter: 0 }, Float64Array.of(counters.reversePath))
  return ext + line('IpExt', IP_EXT, IpStat, counters.ip4)
}

const IP6 = words(`
  InReceives InHdrErrors InTooBigErrors InNoRoutes InAddrErrors InUnknownProtos InTruncatedPkts InDiscards InDelivers
  OutForwDatagrams OutRequests OutDiscards OutNoRoutes ReasmTimeout ReasmReqds ReasmOKs ReasmFails FragOKs FragFails
  FragCreates InMcastPkts OutMcastPkts InOctets OutOctets InMcastOctets OutMcastOctets InBcastOctets OutBcastOctets
  InNoECTPkts InECT1Pkts InECT0Pkts InCEPkts OutTransmits
`)
const ICMP6 = words('InMsgs InErrors OutMsgs OutErrors InCsumErrors OutRateLimitHost')
/** Types of ICMPv6 that have a name of their own (icmp6type2name). */
const ICMP6_TYPES: readonly (readonly [type: number, name: string])[] = [
  [1, 'DestUnreachs'],
  [2, 'PktTooBigs'],
  [3, 'TimeExcds'],
  [4, 'ParmProblems'],
  [128, 'Echos'],
  [129, 'EchoReplies'],
  [130, 'GroupMembQueries'],
  [131, 'GroupMembResponses'],
  [132, 'GroupMembReductions'],
  [133, 'RouterSolicits'],
  [134, 'RouterAdvertisements'],
  [135, 'NeighborSolicits'],
  [136, 'NeighborAdvertisements'],
  [137, 'Redirects'],
  [143, 'MLDv2Reports'],
]
const UDP6 = words(`
  InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors InCsumErrors IgnoredMulti MemErrors
`)
const UDP_LITE6 = UDP6.filter((name) => name !== 'IgnoredMulti')

/** /proc/net/snmp6: a name and its number a line. */
export function formatSnmp6({ counters }: Host): string {
  const { icmpTypes6 } = counters
  const lines: [string, number][] = []
  const group = (
    prefix: string,
    names: readonly string[],
    index: Readonly<Record<string, number>>,
    values: Float64Array,
  ): void => {
    for (const name of names) lines.push([`${prefix}${name}`, name in index ? values[index[name]!]! : 0])
  }
  group('Ip6', IP6, IpStat, counters.ip6)
  group('Icmp6', ICMP6, IcmpStat, counters.icmp6)
  for (const [prefix, from] of [
    ['Icmp6In', 0],
    ['Icmp6Out', ICMP_OUT],
  ] as const)
    for (const [type, name] of ICMP6_TYPES) lines.push([`${prefix}${name}`, icmpTypes6[from + type]!])
  for (const [prefix, from] of [
    ['Icmp6InType', 0],
    ['Icmp6OutType', ICMP_OUT],
  ] as const)
    for (let type = 0; type < ICMP_OUT; type++)
      if (icmpTypes6[from + type]! > 0) lines.push([`${prefix}${type}`, icmpTypes6[from + type]!])
  group('Udp6', UDP6, UdpStat, counters.udp6)
  group('UdpLite6', UDP_LITE6, UdpStat, counters.udpLite6)
  return lines.map(([name, n]) => `${name.padEnd(32)}\t${n}\n`).join('')
}
