// Whether two hosts are on the same side of this one (callforward_do_filter() of nf_conntrack_h323_main.c, Linux 6.18).

import type { Device } from '../../datapath/devices.ts'
import type { Host } from '../../datapath/host.ts'
import type { Family } from '../../datapath/packet.ts'
import { newFlowKey } from '../../datapath/route.ts'
import { isErrorType } from '../../datapath/route-table.ts'
import { sameWords, type Words } from './helper.ts'

interface Way {
  readonly device: Device | null
  /** The gateway, or the destination itself if it is on the link. */
  readonly next: Words
}

/** Null: nothing leads there. */
function wayTo(host: Host, family: Family, to: Words): Way | null {
  const key = newFlowKey()
  key.family = family
  ;[key.d0, key.d1, key.d2, key.d3] = to
  const route = family === 4 ? host.fib.output(key) : host.path.routes6.output(key)
  if (route === null || isErrorType(route.type)) return null
  return { device: route.device, next: route.gateway ?? to }
}

/** Packets to both leave by the same next hop. */
export function sameWay(host: Host, family: Family, a: Words, b: Words): boolean {
  const x = wayTo(host, family, a)
  const y = wayTo(host, family, b)
  return x !== null && y !== null && x.device === y.device && sameWords(x.next, y.next)
}
