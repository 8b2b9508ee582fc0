// The messages of H.323 as far as connections are announced in them (H.225.0 version 4, H.245 version 7, H.235 version 2;
// nf_conntrack_h323_types.c, Linux 6.18). What has a name is kept, all else only stepped over; additions that are not
// kept have no description, for they tell their length.

import type { Additions, Count, Type } from './h323-per.ts'

// -- words to describe with

type Choice = Type & { is: 'choice' }
type Sequence = Type & { is: 'sequence' }

const keep = <T extends Type>(name: string, type: T): T => ({ ...type, name })
const optional = <T extends Type>(type: T): T => ({ ...type, optional: true })
const bits = (n: number): Type => ({ is: 'bits', bits: n })
const bytes = (n: number): Type => ({ is: 'bytes', bytes: n })
const number = (least: number): Type => ({ is: 'number', least })
const string = (count: Count, least: number, unit: number): Type => ({ is: 'string', count, least, unit })
const octets = (count: Count, least: number): Type => string(count, least, 8)
/** BMPString: two bytes a character. */
const wide = (count: Count): Type => string(count, 1, 16)
/** Four bits a character. */
const digits = (count: number): Type => string(count, 1, 4)
const bitString = (count: Count): Type => string(count, 0, 1)
/** Nobody reads on; so many of the optional fields that are left out here have a bit all the same. */
const stop = (behind = 0): Type => ({ is: 'stop', behind })

/** A sequence that ends where it ends. */
function plain(...fields: readonly Type[]): Sequence {
  let optionals = 0
  for (const f of fields) optionals += f.is === 'stop' ? f.behind : f.optional === true ? 1 : 0
  return { is: 'sequence', fields, optionals, additions: null }
}

/** A sequence with room for additions: so many are known, some kept, by their position. */
const sequence = (
  fields: readonly Type[],
  known = 0,
  kept: Additions['kept'] = {},
  stopAt: number | null = null,
): Sequence => ({
  ...plain(...fields),
  additions: stopAt === null ? { known, kept } : { known, kept, stop: stopAt },
})

const list = (item: Type, most = 0): Type => ({ is: 'list', item, most, wrapped: false })
const wrappedList = (item: Type, most: number): Type => ({ is: 'list', item, most, wrapped: true })

const plainChoice = (...of: readonly Type[]): Choice => ({
  is: 'choice',
  of,
  bits: Math.ceil(Math.log2(of.length)),
  additions: null,
})

const choice = (
  of: readonly Type[],
  known = 0,
  more: Omit<NonNullable<Choice['additions']>, 'known'> = { kept: {} },
): Choice => ({ ...plainChoice(...of), additions: { known, ...more } })

/** Of so many alternatives those named. The others end the reading. */
const chosenOf = (count: number, named: Readonly<Record<number, Type>>, known: number): Choice =>
  choice(
    Array.from({ length: count }, (_, i) => named[i] ?? stop()),
    known,
    { kept: {}, stop: true },
  )

const nothing: Type = { is: 'nothing' }
const open: Type = { is: 'open' }
const flag = bits(1)
const byte = bytes(1)
const word = bytes(2)
const oid = octets('byte', 0)
const data = octets('length', 0)
const guid = bytes(16)
const repeat = (n: number, type: Type): Type[] => Array.from({ length: n }, () => type)

// -- H.225.0: what both RAS and call signalling are made of

const h221 = [byte, byte, word]
const nonStandardData = plain(choice([oid, sequence(h221)]), data)

/** Address and port stand next to each other. */
export const transportAddress = choice([
  keep('ipAddress', plain(keep('ip', bytes(4)), word)),
  sequence([bytes(4), word, list(bytes(4)), choice([nothing, nothing])]),
  plain(bytes(6), bytes(4), bytes(2)),
  keep('ip6Address', sequence([keep('ip', bytes(16)), word])),
  bytes(16),
  octets(5, 1),
  nonStandardData,
])

const aliases = list(choice([digits(7), wide('byte')], 5))
const vendor = sequence([sequence(h221), optional(octets('byte', 1)), optional(octets('byte', 1))])
const capabilities = sequence([optional(nonStandardData)], 2)
const protocols = list(choice([nonStandardData, ...repeat(8, capabilities)], 2))
const endpointType = sequence(
  [
    optional(nonStandardData),
    optional(vendor),
    optional(sequence([optional(nonStandardData)])),
    optional(sequence([optional(protocols), optional(nonStandardData)])),
    optional(sequence([optional(nonStandardData)], 1)),
    optional(sequence([optional(nonStandardData)])),
    flag,
    flag,
  ],
  2,
)
const callType = choice(repeat(4, nothing))
/** Q-series options. */
const callServices = sequence([...repeat(7, flag), sequence([flag, flag])])
const identifier = wide(7)

// -- H.245: channels

const h245NonStandard = plain(plainChoice(oid, plain(...h221)), data)
const nonStandards = list(h245NonStandard)

const unicastAddress = choice(
  [
    keep('iPAddress', sequence([keep('network', bytes(4)), word])),
    sequence([bytes(6), bytes(4), bytes(2)]),
    keep('iP6Address', sequence([keep('network', bytes(16)), word])),
    bytes(16),
    sequence([plainChoice(nothing, nothing), bytes(4), word, list(bytes(4))]),
  ],
  2,
)
const multicastAddress = choice([sequence([bytes(4), word]), sequence([bytes(16), word])], 2)
const h245Address = choice([keep('unicastAddress', unicastAddress), multicastAddress])

const video = choice(
  [
    h245NonStandard,
    // H.261, H.262, H.263, IS 11172
    sequence([optional(bits(2)), optional(bits(2)), flag, word, flag], 1),
    sequence(
      [
        ...repeat(11, flag),
        optional(number(0)),
        optional(number(0)),
        optional(word),
        optional(word),
        optional(bits(4)),
        optional(number(0)),
      ],
      1,
    ),
    sequence(
      [...repeat(5, optional(bits(5))), number(1), ...repeat(5, flag), optional(number(0)), optional(word)],
      8,
    ),
    sequence(
      [
        flag,
        optional(number(0)),
        optional(number(0)),
        optional(word),
        optional(word),
        optional(bits(4)),
        optional(number(0)),
      ],
      1,
    ),
  ],
  1,
)
const audio = choice(
  [
    h245NonStandard,
    ...repeat(7, byte),
    plain(byte, flag), // G.723.1
    ...repeat(3, byte),
    sequence([...repeat(8, flag), word]), // IS 11172
    sequence([...repeat(20, flag), word]), // IS 13818
  ],
  8,
)
const dataProtocol = choice([h245NonStandard, ...repeat(6, nothing)], 7, {
  kept: { 3: keep('separateLANStack', nothing) },
})
const t84Profile = plainChoice(nothing, sequence(repeat(19, flag)))
const application = choice(
  [
    h245NonStandard,
    keep('t120', dataProtocol),
    dataProtocol,
    dataProtocol,
    plain(dataProtocol, t84Profile),
    dataProtocol,
    dataProtocol,
    plain(dataProtocol, data),
    nothing,
    dataProtocol,
  ],
  4,
)
const dataType = choice(
  [
    h245NonStandard,
    nothing,
    video,
    audio,
    keep('data', sequence([keep('application', application), number(0)])),
    choice([h245NonStandard, nothing]),
  ],
  3,
)

const h222Channel = sequence([word, word, optional(word), optional(data), optional(data)])
const h223Channel = sequence([
  choice([h245NonStandard, ...repeat(4, nothing), plain(bits(2), number(0))], 3),
  flag,
])
const v76Channel = sequence([
  sequence([choice(repeat(3, nothing)), word, flag]),
  choice(repeat(3, nothing)),
  flag,
  choice([sequence([bits(7), choice(repeat(3, nothing))]), nothing]),
  sequence([flag]),
])
const h2250Channel = keep(
  'h2250',
  sequence(
    [
      optional(nonStandards),
      byte,
      optional(bits(8)),
      optional(keep('mediaChannel', h245Address)),
      optional(flag),
      optional(keep('mediaControlChannel', h245Address)),
      stop(5),
    ],
    3,
  ),
)
const separateStack = keep(
  'separateStack',
  sequence(
    [
      optional(choice([nothing, nothing])),
      keep(
        'networkAddress',
        choice([
          sequence([choice([digits(4), octets(5, 1)]), optional(octets(5, 1))]),
          digits(7),
          keep('localAreaAddress', h245Address),
        ]),
      ),
      flag,
      optional(octets(8, 1)),
    ],
    1,
  ),
)

/** Position at which encryptionSync ends the reading. */
const ENCRYPTION_SYNC = 1

export const openLogicalChannel = sequence(
  [
    word,
    keep(
      'forward',
      sequence(
        [
          optional(word),
          keep('dataType', dataType),
          keep('multiplex', choice([h222Channel, h223Channel, v76Channel], 2, { kept: { 0: h2250Channel } })),
        ],
        2,
      ),
    ),
    optional(
      keep(
        'reverse',
        sequence(
          [
            dataType,
            optional(keep('multiplex', choice([h223Channel, v76Channel], 1, { kept: { 0: h2250Channel } }))),
          ],
          2,
        ),
      ),
    ),
  ],
  2,
  { 0: separateStack },
  ENCRYPTION_SYNC,
)

const h2250Ack = keep(
  'h2250',
  sequence(
    [
      optional(nonStandards),
      optional(bits(8)),
      optional(keep('mediaChannel', h245Address)),
      optional(keep('mediaControlChannel', h245Address)),
      optional(bits(5)),
    ],
    2,
  ),
)
const openLogicalChannelAck = sequence(
  [
    word,
    optional(
      keep(
        'reverse',
        sequence(
          [
            word,
            optional(word),
            optional(keep('multiplex', choice([h222Channel], 1, { kept: { 0: h2250Channel } }))),
          ],
          1,
        ),
      ),
    ),
  ],
  3,
  { 0: separateStack, 1: keep('forwardAck', choice([h2250Ack])) },
  ENCRYPTION_SYNC + 1,
)

/** MultimediaSystemControlMessage */
export const h245Message = chosenOf(
  4,
  {
    0: keep('request', chosenOf(11, { 3: keep('openLogicalChannel', openLogicalChannel) }, 4)),
    1: keep('response', chosenOf(19, { 5: keep('openLogicalChannelAck', openLogicalChannelAck) }, 5)),
  },
  0,
)

// -- H.235: tokens, which Progress has in front of what counts

const params = sequence([optional(string('length', 0, 8)), optional(bytes(8))], 1)
const clearToken = sequence(
  [
    oid,
    optional(number(1)),
    optional(identifier),
    optional(sequence([bitString('word'), bitString('word'), bitString('word')])),
    optional(octets(7, 8)),
    optional(data),
    optional(sequence([oid, data])),
    optional(identifier),
    optional(plain(oid, data)),
  ],
  2,
)
const hashed = plain(oid, params, bitString('length'))
const encrypted = plain(oid, params, data)
const signed = plain(open, oid, params, bitString('length'))
const alias = choice([digits(7), wide('byte')], 5)
const cryptoToken = choice([
  plain(alias, number(1), hashed),
  plain(identifier, number(1), hashed),
  encrypted,
  encrypted,
  signed,
  signed,
  signed,
  choice([plain(oid, encrypted), plain(oid, signed), plain(oid, clearToken, hashed), encrypted]),
])
const h235Capabilities = sequence([
  optional(nonStandardData),
  ...repeat(3, choice([nonStandardData, nothing, nothing])),
])
const h245Security = choice([nonStandardData, nothing, h235Capabilities, h235Capabilities])

// -- H.225.0: call signalling

const fastStart = keep('fastStart', wrappedList(openLogicalChannel, 30))
const h245At = keep('h245Address', transportAddress)

const setup = sequence(
  [
    oid,
    optional(h245At),
    optional(aliases),
    endpointType,
    optional(aliases),
    optional(keep('destCallSignalAddress', transportAddress)),
    optional(aliases),
    optional(list(word)),
    flag,
    guid,
    choice(repeat(3, nothing), 2),
    optional(callServices),
    callType,
  ],
  26,
  { 0: keep('sourceCallSignalAddress', transportAddress), 6: fastStart },
  9,
)
const facility = sequence(
  [
    oid,
    optional(keep('alternativeAddress', transportAddress)),
    optional(aliases),
    optional(guid),
    keep('reason', choice([nothing, keep('callForwarded', nothing), nothing, nothing], 7)),
  ],
  16,
  { 6: h245At, 7: fastStart },
)
const progress = sequence(
  [
    oid,
    endpointType,
    optional(h245At),
    sequence([guid]),
    optional(h245Security),
    optional(list(clearToken)),
    optional(list(cryptoToken)),
    optional(fastStart),
  ],
  3,
)
const releaseReason = choice(repeat(12, nothing), 10)

const body = choice(
  [
    keep('setup', setup),
    keep('callProceeding', sequence([oid, endpointType, optional(h245At)], 9, { 4: fastStart })),
    keep('connect', sequence([oid, optional(h245At), endpointType, guid], 15, { 4: fastStart })),
    keep('alerting', sequence([oid, endpointType, optional(h245At)], 14, { 4: fastStart })),
    sequence([oid], 6),
    sequence([oid, optional(releaseReason)], 9),
    keep('facility', facility),
  ],
  6,
  { kept: { 0: keep('progress', progress) } },
)

/** H323-UserInformation */
export const userInformation = sequence([
  keep(
    'pdu',
    sequence(
      [keep('body', body), optional(nonStandardData)],
      9,
      { 2: keep('h245Control', wrappedList(h245Message, 4)) },
      3,
    ),
  ),
  stop(1),
])

// -- H.225.0: RAS

const rasAddress = keep('rasAddress', transportAddress)
const callSignalAddresses = keep('callSignalAddress', list(transportAddress, 10))
const callSignalAddress = keep('callSignalAddress', transportAddress)
const destCallSignalAddress = keep('destCallSignalAddress', transportAddress)
const timeToLive = keep('timeToLive', number(1))
const callModel = choice([nothing, nothing])

/** RasMessage */
export const rasMessage = chosenOf(
  24,
  {
    0: keep('gatekeeperRequest', sequence([word, oid, optional(nonStandardData), rasAddress, stop(3)], 10)),
    1: keep(
      'gatekeeperConfirm',
      sequence([word, oid, optional(nonStandardData), optional(identifier), rasAddress], 9, {}, 0),
    ),
    3: keep(
      'registrationRequest',
      sequence(
        [
          word,
          oid,
          optional(nonStandardData),
          flag,
          callSignalAddresses,
          keep('rasAddress', list(transportAddress, 10)),
          endpointType,
          optional(aliases),
          optional(identifier),
          vendor,
        ],
        21,
        { 1: timeToLive },
        2,
      ),
    ),
    4: keep(
      'registrationConfirm',
      sequence(
        [
          word,
          oid,
          optional(nonStandardData),
          callSignalAddresses,
          optional(aliases),
          optional(identifier),
          identifier,
        ],
        17,
        { 1: timeToLive },
        2,
      ),
    ),
    6: keep('unregistrationRequest', sequence([word, callSignalAddresses, stop(3)], 10)),
    9: keep(
      'admissionRequest',
      sequence(
        [
          word,
          callType,
          optional(callModel),
          identifier,
          optional(aliases),
          optional(destCallSignalAddress),
          optional(aliases),
          aliases,
          optional(keep('srcCallSignalAddress', transportAddress)),
          stop(2),
        ],
        18,
      ),
    ),
    10: keep('admissionConfirm', sequence([word, number(0), callModel, destCallSignalAddress, stop(2)], 21)),
    18: keep(
      'locationRequest',
      sequence(
        [
          word,
          optional(identifier),
          aliases,
          optional(nonStandardData),
          keep('replyAddress', transportAddress),
        ],
        12,
        {},
        0,
      ),
    ),
    19: keep('locationConfirm', sequence([word, callSignalAddress, rasAddress, stop(1)], 15)),
    22: keep(
      'infoRequestResponse',
      sequence(
        [optional(nonStandardData), word, endpointType, identifier, rasAddress, callSignalAddresses, stop(2)],
        8,
      ),
    ),
  },
  8,
)
