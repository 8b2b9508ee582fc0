// `nfct list timeout` text: the timeout policies that CT --timeout names.
//
//     .web = {
//     	.l3proto = 2,
//     	.l4proto = 6,
//     	.policy = {
//     		.ESTABLISHED = 100,
//     	},
//     };

import type { Seconds } from '../../conntrack/timeouts.ts'
import type { Family } from '../../datapath/packet.ts'
import { PlaceError } from '../errors.ts'
import type { SourceFile } from './source.ts'

export interface PolicyConfig {
  readonly name: string
  readonly family: Family
  readonly protocol: number
  readonly seconds: Seconds
  /** Of its first line. */
  readonly offset: number
}

const POLICY =
  /^\.(.*) = \{\n\t\.l3proto = (2|10),\n\t\.l4proto = (\d{1,3}),\n\t\.policy = \{\n((?:\t\t\.\w+ = \d{1,10},\n)*)\t\},\n\};\n/

/** In the order of the file. Throws PlaceError at the first policy that is not one. */
export function readPolicies(source: SourceFile): PolicyConfig[] {
  const policies: PolicyConfig[] = []
  for (let offset = 0; offset < source.text.length; ) {
    const [all, name, family, protocol, lines] = POLICY.exec(source.text.slice(offset)) ?? []
    if (all === undefined)
      throw new PlaceError('expected a policy as "nfct list timeout" prints it', source.placeAt(offset))
    const seconds = [...lines!.matchAll(/\.(\w+) = (\d+)/g)].map(
      ([, state, value]) => [state!.toLowerCase(), Number(value)] as const,
    )
    const own = { name: name!, family: family === '2' ? 4 : 6, protocol: Number(protocol) } as const
    policies.push({ ...own, seconds, offset })
    offset += all.length
  }
  return policies
}
