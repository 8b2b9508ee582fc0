// TEE: a copy of the packet to another host (libxt_TEE of iptables 1.8.9, tee_tg4() and tee_tg6() of xt_TEE.c, nf_dup_ipv4(), nf_dup_ipv6()). The
// copy keeps its addresses and is routed as if it were for the gateway, through OUTPUT and POSTROUTING, untracked.

import { Hook } from '../../datapath/hooks.ts'
import type { Packet } from '../../datapath/packet.ts'
import type { CompileEnv, Target } from '../extension.ts'
import { addressField, nameField } from '../layout.ts'
import { cutBytes } from '../matches/comment.ts'
import { words } from '../matches/parts.ts'
import { formatAddress, type Words } from '../text/address.ts'
import { nameOf } from '../text/host-names.ts'

export interface Tee {
  readonly gateway: Words
  /** Name of the device to leave by; '': any. */
  readonly oif: string
}

const MAX_NAME = 15

/** The rule's device as a number, looked up again after any change of devices. */
class Way {
  index = 0
  #seen = -1
  readonly #name: string
  readonly #env: CompileEnv

  constructor(name: string, env: CompileEnv) {
    this.#name = name
    this.#env = env
  }

  /** 0: any, be it that there is no such device. */
  refresh(): number {
    const { devices } = this.#env.host
    if (this.#seen !== devices.generation) {
      this.#seen = devices.generation
      this.index = this.#name === '' ? 0 : (devices.byName(this.#name)?.index ?? 0)
    }
    return this.index
  }
}

/** Hot: does not allocate once as many packets are on the way as ever before. */
function copy(pkt: Packet, hook: Hook, env: CompileEnv, gateway: Words, way: Way): void {
  const decrease = hook === Hook.PreRouting || hook === Hook.LocalIn
  if (pkt.family === 4) env.host.path.duplicate(pkt, gateway[0], way.refresh(), decrease)
  else env.host.path.duplicate6(pkt, gateway, way.refresh(), decrease)
}

export const tee: Target<Tee> = {
  kind: 'target',
  name: 'TEE',
  revision: 1,
  families: [4, 6],
  layout: {
    size: 40,
    own: 32,
    fields: ({ gateway, oif }) => [addressField(0, gateway), nameField(16, 16, oif)],
  },
  options: [
    { flag: 'gateway', holds: 'address', required: true },
    { flag: 'oif', holds: 'interface' },
  ],
  help: `TEE target options:
  --gateway IPADDR    Route packet via the gateway given by address
  --oif NAME          Include oif in route calculation

`,
  parse: (o) => ({
    gateway: o.address('gateway'),
    oif: o.has('oif') ? cutBytes(o.text('oif'), MAX_NAME) : '',
  }),
  print: (m, family) =>
    words(`--gateway ${formatAddress(m.gateway, family)}`, m.oif === '' ? '' : `--oif ${m.oif}`),
  list: (m, numeric, family) =>
    words(
      `TEE gw:${(numeric ? formatAddress : nameOf)(m.gateway, family)}`,
      m.oif === '' ? '' : `oif=${m.oif}`,
    ),
  check: (m) => (m.gateway.every((word) => word === 0) ? 'TEE: 0.0.0.0 and :: not allowed' : null),
  state: (m, env) => new Way(m.oif, env),
  reads: [],
  flow: 'continue',
  emit: (m, js) => js`${js.bind(copy)}(pkt, hook, ${js.env}, ${js.bind(m.gateway)}, ${js.state})`,
}
