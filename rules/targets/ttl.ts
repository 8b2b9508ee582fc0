// TTL: sets, raises or lowers the time to live.

import { setTtl } from '../../datapath/rewrite.ts'
import { IPV4_TTL } from '../../datapath/wire/ipv4.ts'
import { hopTarget } from '../hop-count.ts'

export const ttl = hopTarget({ family: 4, name: 'ttl', at: IPV4_TTL }, setTtl)
