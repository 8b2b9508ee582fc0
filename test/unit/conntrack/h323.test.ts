// The reader of packed encoding and the descriptions of H.323's messages. What they mean to connections is compared with the
// kernel (profiles h323 and v6-h323) and replayed from it (helpers.test.ts).

import { describe, expect, test } from 'vitest'
import { PerReader, type Type, type Value } from '../../../conntrack/helpers/h323-per.ts'
import { h245Message, rasMessage, userInformation } from '../../../conntrack/helpers/h323-types.ts'
import { SeededRandom } from '../../harness/frames.ts'
import { addressBytes, encode, type Place, q931, tpkt } from '../../harness/h323-encode.ts'
import { heardIn, registeredIn } from '../../harness/h323-read.ts'
import { SEED_OF_RUN } from '../../harness/seed.ts'

const read = (type: Type, text: string, end?: number): Value | null => {
  const bytes = Uint8Array.from(Buffer.from(text.replaceAll(' ', ''), 'hex'))
  return new PerReader(bytes).read(type, 0, 0, end ?? bytes.length)
}

describe('messages written by hand', () => {
  // 10.0.1.2, port 4000, as they stand in a message.
  const PLACE = '0a000102 0fa0'

  test('LocationConfirm: two addresses', () => {
    const message = read(rasMessage, `4c 0001 00 ${PLACE} 00 ${PLACE}`)
    expect(message?.get('locationConfirm', 'callSignalAddress', 'ipAddress', 'ip')?.at).toBe(4)
    expect(message?.get('locationConfirm', 'rasAddress', 'ipAddress', 'ip')?.at).toBe(11)
    expect(message?.get('locationConfirm', 'callSignalAddress', 'ip6Address')).toBeNull()
    expect(message?.get('admissionConfirm')).toBeNull()
  })

  test('OpenLogicalChannel: a pair of ports', () => {
    const message = read(h245Message, `03 00 0001 06 00 11 14 00 01 00 ${PLACE} 00 ${PLACE}`)
    const channel = message?.get('request', 'openLogicalChannel', 'forward', 'multiplex', 'h2250')
    for (const [name, at] of [
      ['mediaChannel', 11],
      ['mediaControlChannel', 18],
    ] as const)
      expect(channel?.get(name, 'unicastAddress', 'iPAddress', 'network')?.at, name).toBe(at)
  })

  test('H.245 in a tunnel', () => {
    const channel = `03 00 0001 06 00 11 14 00 01 00 ${PLACE} 00 ${PLACE}`
    const message = read(userInformation, `28 10 00 04 40 33 02 18 ${channel} 18 ${channel}`)
    expect(message?.get('pdu', 'h245Control')?.items).toHaveLength(2)
  })
})

describe('as the kernel reads', () => {
  /** Additions, so many of them known. */
  const extended = (known: number): Type => ({
    is: 'sequence',
    fields: [{ is: 'bits', bits: 4 }],
    optionals: 0,
    additions: { known, kept: { 0: { is: 'bytes', bytes: 1, name: 'first' } } },
  })

  test('an addition that it does not know has a length, there or not', () => {
    // Extended, 4 bits, 3 additions of which none is there.
    expect(read(extended(3), '80 20 0000')).not.toBeNull()
    expect(read(extended(2), '80 20')).toBeNull()
    expect(read(extended(2), '80 20 0000')).not.toBeNull()
  })

  test('more than 32 additions are too many', () => {
    expect(read(extended(64), `81 f0 ${'00'.repeat(8)}`)).not.toBeNull()
    expect(read(extended(64), `82 00 ${'00'.repeat(8)}`)).toBeNull()
  })

  test('bits of additions that end a word are taken from its begin', () => {
    // One bit, four, seven for their number, 28: the first of which stands in the middle of the second byte.
    const type = extended(28)
    expect(read(type, '81 b8 000000 01 aa 00')).toBeNull()
    expect(read(type, '81 b8 000000 01 aa 01 bb 00 00 00')?.get('first')?.at).toBe(6)
    // With one more before them all is as it should be.
    const later: Type = { ...type, is: 'sequence', fields: [{ is: 'bits', bits: 5 }] } as Type
    expect(read(later, '80 dc 00000000 01 aa 00')?.get('first')?.at).toBe(7)
  })

  test('one byte more than a length needs must be there', () => {
    const text: Type = { is: 'string', count: 'length', least: 0, unit: 8 }
    expect(read(text, '00')).toBeNull()
    expect(read(text, '0000')).not.toBeNull()
  })

  test('a number that is kept is stepped over twice', () => {
    const kept: Type = { is: 'number', least: 1, name: 'n' }
    const both: Type = { is: 'sequence', fields: [kept], optionals: 0, additions: null }
    expect(read(both, '40 0257')).toBeNull()
    expect(read(both, '40 0257 0000')?.get('n')?.number).toBe(600)
  })
})

describe('random messages', () => {
  const random = new SeededRandom(SEED_OF_RUN)
  const MESSAGES: readonly (readonly [Type, readonly string[], readonly string[]])[] = [
    [rasMessage, ['registrationRequest'], ['registrationRequest', 'callSignalAddress']],
    [rasMessage, ['admissionConfirm'], ['admissionConfirm', 'destCallSignalAddress']],
    [rasMessage, ['infoRequestResponse'], ['infoRequestResponse', 'rasAddress']],
    [userInformation, ['setup', 'h245Address'], ['pdu', 'body', 'setup', 'h245Address']],
    [userInformation, ['progress', 'h245Address'], ['pdu', 'body', 'progress', 'h245Address']],
    [
      userInformation,
      ['facility', 'callForwarded', 'alternativeAddress'],
      ['pdu', 'body', 'facility', 'alternativeAddress'],
    ],
  ]

  test.each(MESSAGES)('%# what was written is read', (type, want, path) => {
    let found = 0
    for (let n = 0; n < 60; n++) {
      const places: Place[] = []
      const bytes = encode(type, {
        random,
        honest: true,
        want: new Set([...want, 'ipAddress']),
        place: () => {
          places.push({
            address: `10.0.${random.below(256)}.${random.below(256)}`,
            port: random.below(65536),
          })
          return places.at(-1)!
        },
      })
      const value = new PerReader(bytes).read(type, 0, 0, bytes.length)?.get(...path)
      for (const said of value?.items.length ? value.items : [value]) {
        const at = said?.get('ipAddress', 'ip')?.at
        if (at === undefined) continue
        found++
        const written = places.map(
          ({ address, port }) => `${addressBytes(address)},${port >> 8},${port & 255}`,
        )
        expect(written).toContain(bytes.subarray(at, at + 6).join())
      }
    }
    expect(found).toBeGreaterThan(30)
  })

  test('damaged ones are read within their bounds', () => {
    const place = (): Place => ({ address: random.once(2) ? '10.0.0.1' : 'fd00::1', port: 1720 })
    for (let n = 0; n < 600; n++) {
      const [type, want] = random.pick([...MESSAGES, [h245Message, ['h2250', 'mediaChannel'], []] as const])
      let bytes = encode(type, {
        random,
        want: new Set([...want, 'fastStart', 'h245Control', 'ipAddress', 'ip6Address', 'iPAddress']),
        place,
      })
      bytes = bytes.subarray(0, 1 + random.below(bytes.length))
      for (let flips = random.below(4); flips > 0; flips--)
        bytes[random.below(bytes.length)]! ^= 1 << random.below(8)
      // What is read out of bounds throws here.
      registeredIn(bytes)
      heardIn(tpkt(random, q931(random, bytes)), true)
      heardIn(tpkt(random, bytes), false)
    }
  })
})
