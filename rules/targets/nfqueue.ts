// NFQUEUE: leaves the verdict to a program (libxt_NFQUEUE of iptables 1.8.9, nfqueue_tg_v3() of xt_NFQUEUE.c). No
// program listens here: the packet is dropped, or with --queue-bypass goes on as if accepted.

import { Verdict } from '../../datapath/hooks.ts'
import type { Target } from '../extension.ts'
import { bits } from '../layout.ts'
import { words } from '../matches/parts.ts'
import { OptionError } from '../options.ts'

export interface NfQueue {
  readonly first: number
  /** Queues to balance over; 1 without --queue-balance. */
  readonly total: number
  readonly bypass: boolean
  readonly cpuFanout: boolean
}

const MAX_QUEUE = 0xffff

const format = (m: NfQueue, dashes: string, flag: string): string =>
  words(
    m.total > 1 ? `${flag}balance ${m.first}:${m.first + m.total - 1}` : `${flag}num ${m.first}`,
    m.bypass ? `${dashes}bypass` : '',
    m.cpuFanout ? `${dashes}cpu-fanout` : '',
  )

export const nfqueue: Target<NfQueue> = {
  kind: 'target',
  name: 'NFQUEUE',
  revision: 3,
  families: [4, 6],
  layout: {
    size: 8,
    fields: (m) => [
      [0, 2, m.first],
      [2, 2, m.total],
      [4, 2, bits(m.bypass, m.cpuFanout)],
    ],
  },
  options: [
    { flag: 'queue-num', excludes: ['queue-balance'] },
    { flag: 'queue-balance', excludes: ['queue-num'] },
    { flag: 'queue-bypass', arg: 'none' },
    { flag: 'queue-cpu-fanout', arg: 'none', also: ['queue-balance'] },
  ],
  help: `NFQUEUE target options
  --queue-num value            Send packet to QUEUE number <value>.
                               Valid queue numbers are 0-65535
  --queue-balance first:last   Balance flows between queues <value> to <value>.
  --queue-bypass               Bypass Queueing if no queue instance exists.
  --queue-cpu-fanout	Use current CPU (no hashing)
`,
  parse(o) {
    let first = o.has('queue-num') ? o.uint('queue-num', 16) : 0
    let last = first
    if (o.has('queue-balance')) {
      const text = o.text('queue-balance')
      const [from, to] = o.uintRange('queue-balance', 16)
      if (!text.includes(':')) throw new OptionError(`Bad range "${text}"`)
      if (from >= to) throw new OptionError(`${from} should be less than ${to}`)
      first = from
      last = to
    }
    return {
      first,
      total: last - first + 1,
      bypass: o.has('queue-bypass'),
      cpuFanout: o.has('queue-cpu-fanout'),
    }
  },
  print: (m) => format(m, '--queue-', '--queue-'),
  list: (m) => `NFQUEUE ${format(m, '', '')}`,
  check: (m) => (m.total > MAX_QUEUE ? 'NFQUEUE: number of total queues is 65536' : null),
  reads: [],
  flow: 'final',
  emit: (m, js) => (m.bypass ? js`${js.env.nat}.passOver()` : js`${Verdict.Queue}`),
}
