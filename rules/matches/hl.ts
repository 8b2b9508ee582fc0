// hl: the hop limit.

import { IPV6_HOP_LIMIT } from '../../datapath/wire/ipv6.ts'
import { hopMatch } from '../hop-count.ts'

export const hl = hopMatch({ family: 6, name: 'hl', at: IPV6_HOP_LIMIT }, 'hop limit', "'")
