// Steps to packet words.

import { hasPorts, IPPROTO_ICMPV6 } from '../../datapath/wire/protocol.ts'
import type { PacketFields, PacketWords, Step } from './model.ts'
import { protocolLabel } from './parse.ts'
import { type About, icmpNames, SAY } from './vocabulary.ts'

/** The steps in one line. */
export const printSteps = (steps: readonly Step[]): string => {
  const parts: string[] = []
  let about: About = { family: 4, protocol: 0 }
  for (const step of steps) {
    parts.push(printStep(step, about))
    if (step.kind === 'packet') about = step.packet
    else if (step.kind === 'error') about = icmp(about)
  }
  return parts.join(', ')
}

const icmp = ({ family }: About): About => ({ family, protocol: family === 4 ? 1 : IPPROTO_ICMPV6 })

function printStep(step: Step, about: About): string {
  switch (step.kind) {
    case 'wait':
      return `wait ${printDuration(step.ms)}`
    case 'packet':
      return printPacket(step.packet)
    case 'error': {
      const { icmpType = 3, icmpCode = 0, ...rest } = step.fields
      const name = icmpNames(about.family).find(([, t, c]) => t === icmpType && c === icmpCode)?.[0]
      const words = SAY.map((say) => say({ ...rest, icmpType, icmpCode }, icmp(about))).filter(
        (w, i) => i !== 1 && w,
      )
      return ['error', name ?? `${icmpType}/${icmpCode}`, step.by === null ? '' : `from ${step.by}`, ...words]
        .filter((word) => word !== '')
        .join(' ')
    }
    default:
      return [step.kind, ...printFields(step.fields, about)].join(' ')
  }
}

/** One packet, as canonical words. */
export function printPacket(packet: PacketWords): string {
  const { family, protocol, from } = packet
  const end = (address: string, port: number | undefined): string =>
    port === undefined || !hasPorts(protocol) ? address : `${family === 4 ? address : `[${address}]`}:${port}`
  const label = protocolLabel(protocol)
  // ICMP over IPv6 and the like: only the number says it.
  const head = label.startsWith('protocol ') || (protocol === 1 && family === 6) ? `proto ${protocol}` : label
  const name =
    protocol === IPPROTO_ICMPV6 && family === 6 ? 'icmp6' : protocol === IPPROTO_ICMPV6 ? 'proto 58' : head
  return [
    name,
    end(packet.src, packet.sport),
    '>',
    end(packet.dst, packet.dport),
    ...printFields(packet, packet),
    ...(from === null ? [] : [from === 'out' ? 'out' : `in ${from.device}`]),
  ].join(' ')
}

export function printFields(fields: PacketFields, about: About): string[] {
  const words = SAY.map((say) => say(fields, about)).filter((word) => word !== null)
  return fields.about === undefined ? words : [...words, `about (${printPacket(fields.about)})`]
}

/** `1m30s`, as `wait` reads it. */
export function printDuration(ms: number): string {
  if (ms === 0) return '0s'
  let rest = ms
  let text = ''
  for (const [unit, size] of [
    ['d', 86_400_000],
    ['h', 3_600_000],
    ['m', 60_000],
    ['s', 1000],
  ] as const) {
    const n = Math.floor(rest / size)
    if (n > 0) text += `${n}${unit}`
    rest -= n * size
  }
  return rest === 0 ? text : `${text}${Number(rest.toFixed(6))}ms`
}
