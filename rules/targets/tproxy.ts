// TPROXY: hands the packet to a local socket without changing it (libxt_TPROXY of iptables 1.8.9, tproxy_tg4() and
// tproxy_tg6() of xt_TPROXY.c). Nothing listens on this host, and a packet without a socket is dropped, its mark untouched.

import { Verdict } from '../../datapath/hooks.ts'
import { IPPROTO_TCP, IPPROTO_UDP } from '../../datapath/wire/protocol.ts'
import { giveDefrag, takeDefrag } from '../defrag.ts'
import type { Target } from '../extension.ts'
import { ANY, formatAddress, type Words } from '../text/address.ts'
import { hex } from '../text/numbers.ts'

export interface TProxy {
  readonly port: number
  readonly address: Words
  readonly mark: number
  readonly mask: number
}

export const tproxy: Target<TProxy> = {
  kind: 'target',
  name: 'TPROXY',
  revision: 1,
  families: [4, 6],
  tables: ['mangle'],
  chains: ['PREROUTING'],
  options: [{ flag: 'on-port', required: true }, { flag: 'on-ip' }, { flag: 'tproxy-mark' }],
  help: `TPROXY target options:
  --on-port port		    Redirect connection to port, or the original port if 0
  --on-ip ip			    Optionally redirect to the given IP
  --tproxy-mark value[/mask]	    Mark packets with the given value/mask

`,
  parse(o) {
    const { value, mask } = o.has('tproxy-mark') ? o.valueMask('tproxy-mark') : { value: 0, mask: 0 }
    const address = o.has('on-ip') ? o.address('on-ip') : ANY
    return {
      port: o.port('on-port'),
      address,
      mark: value,
      mask,
    }
  },
  print: (m, family) =>
    `--on-port ${m.port} --on-ip ${formatAddress(m.address, family)} --tproxy-mark ${hex(m.mark)}/${hex(m.mask)}`,
  // An IPv6 address stands without brackets, as in ip6tables.
  list: (m, _, family) =>
    `TPROXY redirect ${formatAddress(m.address, family)}:${m.port} mark ${hex(m.mark)}/${hex(m.mask)}`,
  check: (_, use) =>
    use.protocol !== null &&
    !use.protocol.invert &&
    (use.protocol.number === IPPROTO_TCP || use.protocol.number === IPPROTO_UDP)
      ? null
      : 'TPROXY: can be used only with -p tcp or -p udp',
  state: (_, env, family) => takeDefrag(env, family),
  release: (_, env, family) => giveDefrag(env, family),
  reads: [],
  flow: 'final',
  emit: (_, js) => js`${Verdict.Drop}`,
}
