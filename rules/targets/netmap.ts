// NETMAP: new connections go from network to network, host part kept (xt_NETMAP.c, libipt_NETMAP of iptables 1.8.9).

import { Manip, type NatRange, NO_RANGE } from '../../conntrack/nat/range.ts'
import type { Words } from '../../datapath/fib.ts'
import { Hook } from '../../datapath/hooks.ts'
import { formatAddress } from '../../datapath/wire/address.ts'
import type { Target } from '../extension.ts'
import { rangeFields } from '../nat-range.ts'

export const netmap: Target<NatRange> = {
  kind: 'target',
  name: 'NETMAP',
  families: [4, 6],
  layout: { size: 40, size4: 24, fields: rangeFields },
  options: [{ flag: 'to', holds: 'netmap', required: true }],
  help: `NETMAP target options:
  --to address[/mask]
				Network address to map to.

`,
  tables: ['nat'],
  tracks: true,
  parse(o) {
    const { words, mask } = o.addressMask('to')
    const each = (of: (word: number, mask: number) => number): Words => [
      of(words[0], mask[0]),
      of(words[1], mask[1]),
      of(words[2], mask[2]),
      of(words[3], mask[3]),
    ]
    return { ...NO_RANGE, netmap: true, min: each((w, m) => w & m), max: each((w, m) => w | ~m) }
  },
  print: (range, family) => `--to ${network(range, family)}`,
  list: (range, _numeric, family) => `to:${network(range, family)}`,
  reads: ['conntrack', 'source', 'destination'],
  flow: 'final',
  emit: (range, js) =>
    js`${js.env.nat}.setup(pkt, ${range}, hook === ${Hook.PreRouting} || hook === ${Hook.LocalOut} ? ${Manip.Dst} : ${Manip.Src})`,
}

/** The mask is where both ends agree: as a length, or in full if it has holes. */
function network(range: NatRange, family: 4 | 6): string {
  const { min, max } = range
  if (min === null || max === null) return ''
  const host = min.map((word, i) => word ^ max[i]!).slice(0, family === 4 ? 1 : 4)
  const bits = host.map((word) => Math.clz32(word))
  let length = 0
  for (const n of bits) {
    length += n
    if (n < 32) break
  }
  const holes = host.some((word, i) => {
    const kept = Math.max(0, Math.min(32, length - i * 32))
    return word !== (kept === 32 ? 0 : -1 >>> kept) >> 0
  })
  if (!holes) return `${formatAddress(family, min)}/${length}`
  const mask = (i: number): number => ~(min[i]! ^ max[i]!)
  return `${formatAddress(family, min)}/${formatAddress(family, [mask(0), mask(1), mask(2), mask(3)])}`
}
