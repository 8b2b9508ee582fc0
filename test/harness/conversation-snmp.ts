// SNMP with addresses in it, asked for and as traps.

import type { Wire } from './conversation.ts'
import { HELPER_PORTS, Scripted, talkers, UdpSession } from './conversation-sessions.ts'

/** BER: tag, length, value. */
function ber(w: Wire, tag: number, value: readonly number[]): number[] {
  const n = value.length
  if (w.random.once(40) && (tag & 0x20) !== 0) return [tag, 0x80, ...value, 0, 0]
  if (n < 128 && !w.random.once(12)) return [tag, n, ...value]
  return n < 256 && w.random.once(2) ? [tag, 0x81, n, ...value] : [tag, 0x82, n >> 8, n & 255, ...value]
}

const octets = (address: string): number[] => address.split('.').map(Number)

function message(w: Wire, addresses: readonly string[]): number[] {
  const { random } = w
  const values = addresses.map((address) => {
    const value = random.pick([
      ber(w, 0x40, octets(address)),
      ber(w, 0x40, octets(address)),
      ber(w, 0x40, octets(address)),
      ber(w, 0x04, octets(address)),
      ber(w, 0x02, [1, 2]),
      ber(w, 0x41, [9]),
      ber(w, 0x43, [1, 2, 3]),
      ber(w, 0x46, [1, 2, 3, 4, 5]),
      ber(w, 0x06, [43, 6, 1]),
      [5, 0],
      [0x80, 0],
      [0x81, 0],
      [0x82, 0],
    ])
    const odd = random.once(40)
      ? random.pick([ber(w, 0x40, [1, 2, 3]), ber(w, 0x45, [1]), ber(w, 0x24, [1])])
      : value
    return ber(w, 0x30, [...ber(w, 0x06, [43, 6, 1, 2, 1, random.below(100)]), ...odd])
  })
  const pdu = random.once(12)
    ? random.pick([0xa4, 0xa9, 0x82, 0xa0])
    : random.pick([0xa0, 0xa1, 0xa2, 0xa3, 0xa5, 0xa6, 0xa7, 0xa8])
  const version = random.once(16) ? random.pick([[2], [0, 1], [3]]) : [random.below(2)]
  return ber(w, 0x30, [
    ...ber(w, 0x02, version),
    ...ber(w, 0x04, [...Buffer.from(random.pick(['public', 'a', 'private']))]),
    ...ber(w, pdu, [
      ...ber(w, 0x02, [1, 2, 3, 4].slice(0, 1 + random.below(4))),
      ...ber(w, 0x02, [0]),
      ...ber(w, 0x02, [0]),
      ...ber(w, 0x30, values.flat()),
    ]),
  ])
}

export class SnmpConversation extends Scripted {
  protected async *script(): AsyncGenerator<void, void> {
    const { w } = this
    const { random, world } = w
    const trap = random.once(3)
    const session = new UdpSession(w, talkers(w, trap ? HELPER_PORTS.snmp_trap : HELPER_PORTS.snmp))
    for (let n = 1 + random.below(5); n > 0; n--) {
      const view = session.b !== null && random.once(2) ? session.b : session.a
      const known = [
        view.local.address,
        view.local.address,
        view.remote.address,
        random.pick(world.peers).address,
      ]
      const list = Array.from({ length: random.below(5) }, () => random.pick(known))
      let bytes = message(w, list)
      if (random.once(12)) bytes = bytes.slice(0, random.below(bytes.length))
      if (random.once(12)) bytes = [...bytes, 1, 2, 3].slice(0, bytes.length + random.below(4))
      if (random.once(12)) bytes[random.below(bytes.length)] = random.below(256)
      await session.send(view, bytes, view === session.a ? 'snmp request' : 'snmp answer')
      yield
    }
  }
}
