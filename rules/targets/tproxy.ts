// TPROXY: hands the packet to a local socket without changing it (libxt_TPROXY of iptables 1.8.9, tproxy_tg4() and
// tproxy_tg6() of xt_TPROXY.c). A packet without a socket is dropped, its mark untouched. Sockets are there with a local
// port only (datapath/ports/local.ts): then somebody is taken to listen, whatever --on-ip says.

import { Verdict } from '../../datapath/hooks.ts'
import type { Host } from '../../datapath/host.ts'
import type { Packet } from '../../datapath/packet.ts'
import { IPPROTO_TCP, IPPROTO_UDP } from '../../datapath/wire/protocol.ts'
import { giveDefrag, takeDefrag } from '../defrag.ts'
import type { Target } from '../extension.ts'
import { addressField, portField } from '../layout.ts'
import { ANY, formatAddress, type Words } from '../text/address.ts'
import { hex } from '../text/numbers.ts'

export interface TProxy {
  readonly port: number
  readonly address: Words
  readonly mark: number
  readonly mask: number
}

/** Hands the packet to the proxy's port; Drop if nothing can listen, or a port is cut off. Does not allocate. */
function assign(pkt: Packet, host: Host, m: TProxy): Verdict {
  if (host.path.localDelivery === null || pkt.dport < 0) return Verdict.Drop
  pkt.proxyPort = m.port === 0 ? pkt.dport : m.port
  pkt.mark = ((pkt.mark & ~m.mask) ^ m.mark) >>> 0
  return Verdict.Accept
}

export const tproxy: Target<TProxy> = {
  kind: 'target',
  name: 'TPROXY',
  revision: 1,
  families: [4, 6],
  layout: {
    size: 32,
    fields: ({ mark, mask, address, port }) => [
      [0, 4, mask],
      [4, 4, mark],
      addressField(8, address),
      portField(24, port),
    ],
  },
  tables: ['mangle'],
  chains: ['PREROUTING'],
  options: [
    { flag: 'on-port', required: true },
    { flag: 'on-ip', holds: 'address' },
    { flag: 'tproxy-mark' },
  ],
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
  reads: ['mark'],
  writes: ['mark'],
  flow: 'final',
  emit: (m, js) => js`${js.bind(assign)}(pkt, ${js.env.host}, ${m})`,
}
