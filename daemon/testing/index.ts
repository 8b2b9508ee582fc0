// The package's door: what `import { Host, tcp, udp, icmp } from 'tunwall'` gives. docs/testing-firewalls.md shows how
// it is used.

export { CommandError, PlaceError } from '../errors.ts'
export type { Decision, PacketRecord, RuleRef } from '../explain/record.ts'
export type { PacketWords } from '../words/model.ts'
export type { Flow, FlowSide } from './flows.ts'
export { Host, type HostOptions, type ToolOutput } from './host.ts'
export {
  dccp,
  esp,
  gre,
  type IcmpOptions,
  type IpOptions,
  icmp,
  ip,
  type Packet,
  type Payload,
  sctp,
  type TcpOptions,
  tcp,
  type UdpOptions,
  udp,
  udplite,
} from './packets.ts'
export { type OutFrame, Result, type Verdict } from './result.ts'
export type { RuleName } from './rule-names.ts'
export type { HostSpec, InterfaceSpec } from './spec.ts'
