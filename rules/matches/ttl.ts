// ttl: the time to live.

import { IPV4_TTL } from '../../datapath/wire/ipv4.ts'
import { hopMatch } from '../hop-count.ts'

// The quote is left open in iptables too.
export const ttl = hopMatch({ family: 4, name: 'ttl', at: IPV4_TTL }, 'time to live', '')
