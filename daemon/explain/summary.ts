// What became of a packet, in one line.

import type { Provenance } from '../provenance/index.ts'
import { wordsOf } from '../words/of-frame.ts'
import { printPacket } from '../words/print.ts'
import type { Journey, NatStep, PacketRecord, RuleRef } from './record.ts'
import type { Played } from './stage.ts'

/** Why packets end without a rule: by the words of REASONS. */
const REASONS: Readonly<Record<string, string>> = {
  'not-ip': 'it is no IP packet',
  truncated: 'it is shorter than its header says',
  'bad-header': 'its IP header is damaged',
  'bad-checksum': 'the checksum of its IP header is wrong',
  'other-host': 'at link level it was for another host',
  'ipv6-disabled': 'IPv6 is disabled on the interface',
  queue: 'it was queued for a program, and none listens',
  fragment: 'it is a fragment that fits no others',
  'martian-source': 'its source is an address that nothing may come from there (martian)',
  'martian-destination': 'its destination is an address that nothing may be sent to there (martian)',
  'reverse-path': 'rp_filter: its source would not be reached by the interface that it came in by',
  'local-source': 'its source is an address of this host itself',
  'no-route': 'there is no route to its destination',
  unreachable: 'the route to its destination is unreachable',
  prohibited: 'the route to its destination is prohibited',
  blackhole: 'the route to its destination is a black hole',
  'not-forwarding': 'this host does not forward (ip_forward, or forwarding of the interface, is 0)',
  multicast: 'it is for a group that this host is not in',
  ttl: 'its TTL is used up',
  mtu: 'it is too large for the way out, and must not be cut',
  options: 'its IP options are damaged',
  'source-route': 'it asks for a source route, which is not allowed',
  'link-broadcast': 'it was a broadcast at link level, but is for one host',
  'device-down': 'the interface is down',
  'no-memory': 'there was no memory for it',
  looped: 'it went round in circles',
  'bad-transport': 'its transport header or checksum is wrong',
  vlan: 'there is no interface for its VLAN',
  'too-long': 'it is longer than an IP packet can be',
  'snap-length': 'the capture has only its beginning',
}

const VERDICTS = {
  forwarded: 'FORWARDED',
  delivered: 'DELIVERED',
  dropped: 'DROPPED',
  replied: 'ANSWERED',
  consumed: 'KEPT',
} as const

/** Where a rule was written: `host/iptables-save:12`; its name where no file has it. */
export const placeOf = ({ file, line }: RuleRef): string | null => (file === null ? null : `${file}:${line}`)

/** `kube-proxy: service default/web:http`; null: nobody known. */
export function authorOf(rule: RuleRef, provenance: Provenance): string | null {
  if (rule.number === 0) return null
  const author = provenance.ofRule(rule.family, rule.table, rule.chain, rule.number)
  if (author === null) return null
  return author.about === null ? author.program : `${author.program}: ${author.about}`
}

/** The rule with its place and author: `filter FORWARD 3 (iptables-save:12, ufw: rules of the user)`. */
export function nameOf(rule: RuleRef, provenance: Provenance): string {
  const more = [placeOf(rule), authorOf(rule, provenance)].filter((text) => text !== null)
  const name = rule.number === 0 ? `the policy of ${rule.table} ${rule.chain}` : rule.name
  return more.length === 0 ? name : `${name} (${more.join(', ')})`
}

export interface Summary {
  /** `FORWARDED` */
  readonly verdict: string
  /** The rest of the line. */
  readonly text: string
}

export function summarise(played: Played, provenance: Provenance): Summary {
  const { record } = played
  const parts = [becameOf(played)]
  const why = whyOf(record, provenance)
  if (why !== '') parts.push(why)
  for (const step of natOf(record.journeys[0])) parts.push(natWords(step))
  return { verdict: VERDICTS[record.verdict], text: parts.filter((part) => part !== '').join('; ') }
}

function becameOf({ record, left }: Played): string {
  const sent = (record.journeys[0]?.steps ?? []).filter((step) => step.at === 'sent')
  switch (record.verdict) {
    case 'forwarded': {
      const devices = [...new Set(sent.map((step) => step.dev))]
      const pieces = sent.length > 1 ? ` in ${sent.length} pieces` : ''
      return devices.length === 0 ? 'to this host itself, over lo' : `out of ${devices.join(', ')}${pieces}`
    }
    case 'delivered':
      return 'to this host'
    case 'consumed':
      return 'as a fragment, until the others come'
    case 'replied': {
      const made = new Set(
        record.journeys
          .filter(({ kind }) => kind === 'made here')
          .flatMap(({ steps }) => steps.map((step) => (step.at === 'sent' ? step.frame : -1))),
      )
      const words = left.flatMap(({ device, frame }, i) => {
        if (!made.has(i)) return []
        const packet = wordsOf(frame)
        return `${packet === null ? `${frame.length} bytes` : printPacket(packet)} by ${device}`
      })
      return `with ${words.join(', ')}`
    }
    case 'dropped':
      return ''
  }
}

/** Parts of the kernel that drop without a rule. */
const PARTS: Readonly<Record<string, string>> = {
  conntrack: 'conntrack: its table is full (nf_conntrack_max)',
  confirm: 'conntrack: the connection could not be put in the table, its tuple is taken or it has ended',
  defrag: 'a fragment that fits no others',
  reroute: 'OUTPUT changed it, and there is no route to its new destination',
  'nat-src': 'NAT: no address or port could be found for it, or its connection left by another interface',
  'nat-dst': 'NAT: no address or port could be found for it',
}

function whyOf({ verdict, reason, decision, journeys }: PacketRecord, provenance: Provenance): string {
  if (verdict === 'dropped' || verdict === 'replied') {
    const drop = journeys[0]?.steps.find((step) => step.at === 'drop' && PARTS[step.reason] !== undefined)
    if (drop?.at === 'drop' && reason === 'rule') return PARTS[drop.reason]!
    if (reason === 'rule' && decision !== null) {
      const by = `by ${nameOf(decision.rule, provenance)}`
      return verdict === 'dropped' && decision.verdict === 'DROP' ? by : `${decision.verdict} ${by}`
    }
    const words = REASONS[reason]
    if (words !== undefined) return words
  }
  if (verdict === 'consumed' || decision === null) return ''
  return `${decision.verdict} by ${nameOf(decision.rule, provenance)}`
}

/** Translations of the packet, one for each side. */
export const natOf = (journey: Journey | undefined): NatStep[] =>
  (journey?.steps ?? []).filter(
    (step): step is NatStep =>
      step.at === 'nat' && (step.before[0] !== step.after[0] || step.before[1] !== step.after[1]),
  )

export const endWords = ([address, port]: readonly [string, number]): string =>
  port < 0 ? address : address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`

export const natWords = ({ changes, before, after, rule }: NatStep): string =>
  `${changes} ${endWords(before)} -> ${endWords(after)}${rule === null ? '' : ` by ${rule.name}`}`
