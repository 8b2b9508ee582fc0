// HL: sets, raises or lowers the hop limit.

import { setHopLimit } from '../../datapath/rewrite.ts'
import { IPV6_HOP_LIMIT } from '../../datapath/wire/ipv6.ts'
import { hopTarget } from '../hop-count.ts'

export const hl = hopTarget({ family: 6, name: 'hl', at: IPV6_HOP_LIMIT }, setHopLimit)
