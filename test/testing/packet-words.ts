// Random packets in words, of every protocol, with any of what may be said of them.

import { addressAt } from '../../daemon/frames/headers.ts'
import type { Draft, PacketFields, PacketWords, Step } from '../../daemon/words/model.ts'
import { sctpChunk, sctpChunkNames } from '../../daemon/words/options.ts'
import { hasPorts } from '../../datapath/wire/protocol.ts'
import type { SeededRandom } from '../harness/frames.ts'

const TCP_OPTIONS = [
  '020405b4',
  '0402',
  '080a0000000100000002',
  '01',
  '030307',
  '050a0000000100000009',
  '1e04beef',
]
const IP_OPTIONS = ['94040000', `070f04${'00'.repeat(12)}`, '01', '8207aabbccddee']
const hex = (random: SeededRandom, most: number): string =>
  Buffer.from(random.bytes(1 + random.below(most))).toString('hex')
const PAYLOADS = ['474554202f', '0d0a', '00010203', '22205c20226e']

export function randomFields(random: SeededRandom, family: 4 | 6, protocol: number): PacketFields {
  const fields: Draft = {}
  const some = (put: () => void): void => {
    if (random.once(4)) put()
  }
  const u32 = (): number => random.u32() >>> random.below(32)
  const u16 = (): number => random.below(65536) >>> random.below(16)
  some(() => (fields.ttl = random.below(256)))
  some(() => (fields.tos = random.below(256)))
  some(() => (fields.ipId = family === 4 ? u16() : u32()))
  some(() => (fields.mark = u32()))
  some(() => (fields.payload = random.once(2) ? random.pick(PAYLOADS) : hex(random, 40)))
  some(() => (fields.cast = random.pick(['broadcast', 'multicast', 'other-host'] as const)))
  if (family === 4) {
    some(() => (fields.df = true))
    some(() => (fields.evil = true))
    some(() => (fields.badIpChecksum = true))
    some(() => (fields.ipOptions = random.pick(IP_OPTIONS) + (random.once(2) ? random.pick(IP_OPTIONS) : '')))
  } else {
    some(() => (fields.flow = random.below(0x100000)))
    some(
      () =>
        (fields.extensions = Array.from({ length: 1 + random.below(3) }, () => ({
          type: random.pick([0, 60, 43]),
          hex: random.pick(['010400000000', `0104000000001e06${'ab'.repeat(6)}`, '020000000000']),
        }))),
    )
  }
  const cut = random.below(16)
  if (cut === 0) fields.pieces = 8 * (1 + random.below(100))
  if (cut === 1) fields.fragment = { offset: 0, more: true }
  if (protocol === 6) {
    some(() => (fields.flags = random.below(256)))
    some(() => (fields.seq = u32()))
    some(() => (fields.ack = u32()))
    some(() => (fields.window = u16()))
    some(() => (fields.urgent = u16()))
    some(
      () =>
        (fields.tcpOptions = Array.from({ length: 1 + random.below(3) }, () => random.pick(TCP_OPTIONS)).join(
          '',
        )),
    )
  } else if (protocol === 17) some(() => (fields.noChecksum = true))
  else if (protocol === 136) some(() => (fields.coverage = 8))
  else if (protocol === (family === 4 ? 1 : 58)) {
    some(() => (fields.icmpType = random.below(256)))
    some(() => (fields.icmpCode = random.below(16)))
    some(() => (fields.rest = u32()))
    some(() => (fields.quote = u16()))
    some(() => {
      const {
        mark: _,
        cast: __,
        pieces: ___,
        ...about
      } = randomPacket(random, family, random.pick([6, 17, 47]))
      fields.about = { ...about, from: null }
    })
  } else if (protocol === 47) {
    some(() => (fields.key = u32()))
    some(() => (fields.ethertype = u16()))
  } else if (protocol === 50) {
    some(() => (fields.spi = u32()))
    some(() => (fields.seq = u32()))
  } else if (protocol === 51) {
    some(() => (fields.spi = u32()))
    some(() => (fields.next = random.below(256)))
  } else if (protocol === 132) {
    delete fields.payload
    some(() => (fields.vtag = u32()))
    some(
      () =>
        (fields.chunks =
          sctpChunk(random.pick(sctpChunkNames), u32()) + (random.once(3) ? hex(random, 20) : '')),
    )
  } else if (protocol === 33) {
    some(() => (fields.dccpType = random.below(10)))
    some(() => (fields.seq = u32()))
    some(() => (fields.ack = u32()))
  }
  if ([1, 6, 17, 33, 58, 132, 136].includes(protocol)) some(() => (fields.badChecksum = true))
  if ([1, 6, 17, 33, 58, 136].includes(protocol) && random.once(8)) fields.checksum = u16()
  if (fields.noChecksum || fields.checksum !== undefined) delete fields.badChecksum
  if (fields.noChecksum) delete fields.checksum
  return fields
}

export function randomPacket(random: SeededRandom, family?: 4 | 6, protocol?: number): PacketWords {
  const six = family === undefined ? random.once(2) : family === 6
  const address = (): string => addressAt(random.bytes(16), 0, six ? 6 : 4)
  const number = protocol ?? random.pick([six ? 58 : 1, 6, 6, 17, 136, 47, 50, 51, 132, 33, 89, 253])
  const fields = randomFields(random, six ? 6 : 4, number)
  const ports = hasPorts(number) && { sport: random.below(65536), dport: random.below(65536) }
  const from = random.pick([null, 'out', { device: random.pick(['eth0', 'wg-mesh', 'eth2.2']) }] as const)
  return { family: six ? 6 : 4, protocol: number, src: address(), dst: address(), ...ports, ...fields, from }
}

/** A conversation of up to six steps. */
export function randomSteps(random: SeededRandom): Step[] {
  const packet = randomPacket(random)
  const steps: Step[] = [{ kind: 'packet', packet }]
  let { protocol } = packet
  for (let n = random.below(6); n > 0; n--) {
    const fields = randomFields(random, packet.family, protocol)
    const kind = random.pick(['reply', 'again', 'wait', 'error'] as const)
    if (kind === 'wait') steps.push({ kind, ms: random.pick([0, 1, 1500, 90_000, 0.5, 86_400_001]) })
    else if (kind === 'error') {
      protocol = packet.family === 4 ? 1 : 58
      const { about: _, ...rest } = randomFields(random, packet.family, protocol)
      const by = random.once(2) ? null : addressAt(random.bytes(16), 0, packet.family)
      steps.push({ kind, by, fields: { ...rest, icmpType: random.below(256), icmpCode: random.below(16) } })
    } else steps.push({ kind, fields })
  }
  return steps
}
