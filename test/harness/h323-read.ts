// What an end hears in messages of H.323: the addresses that the other end announced, after whatever happened to them on
// the way.

import { PerReader, type Type, type Value } from '../../conntrack/helpers/h323-per.ts'
import { h245Message, rasMessage, userInformation } from '../../conntrack/helpers/h323-types.ts'
import { formatIpv4, formatIpv6 } from '../../datapath/wire/address.ts'
import type { Place } from './h323-encode.ts'

/** Addresses that a message has under names like these, in order. */
function placesIn(bytes: Uint8Array, value: Value | null, path: readonly string[]): Place[] {
  const found = path.length === 0 ? value : (value?.get(...path) ?? null)
  if (found === null) return []
  const all = found.items.length > 0 ? found.items : [found]
  return all.flatMap((v) => {
    const four = v.get('ipAddress', 'ip') ?? v.get('unicastAddress', 'iPAddress', 'network')
    const six = v.get('ip6Address', 'ip') ?? v.get('unicastAddress', 'iP6Address', 'network')
    const at = (four ?? six)?.at ?? -1
    if (at < 0) return []
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
    if (four !== null) return [{ address: formatIpv4(view.getInt32(at)), port: view.getUint16(at + 4) }]
    const words = [0, 4, 8, 12].map((i) => view.getInt32(at + i)) as [number, number, number, number]
    return [{ address: formatIpv6(...words), port: view.getUint16(at + 16) }]
  })
}

const read = (type: Type, bytes: Uint8Array, from = 0): Value | null =>
  new PerReader(bytes).read(type, 0, from, bytes.length)

/** No message begins with a byte like these: the first ones of words. */
const TEXT = 0x30

/** Messages of a stream, as they are: whole ones only. One whose header came before it is all of its segment. */
function* messagesIn(bytes: Uint8Array): Generator<Uint8Array> {
  if (bytes.length > 0 && (bytes[0] !== 3 || bytes[1] !== 0) && bytes[0]! < TEXT) {
    yield Uint8Array.from(bytes)
    return
  }
  for (let at = 0; at + 4 <= bytes.length; ) {
    const size = (bytes[at + 2]! << 8) | bytes[at + 3]!
    if (bytes[at] !== 3 || size < 4 || at + size > bytes.length) return
    yield Uint8Array.from(bytes.subarray(at + 4, at + size))
    at += size
  }
}

/** The user information of a Q.931 message. */
function userUser(bytes: Uint8Array): Value | null {
  if (bytes[0] !== 8) return null
  let at = 2 + bytes[1]! + 1
  if ((bytes[at] ?? 0) >= 0x80) at++
  while (at < bytes.length) {
    if (bytes[at] === 0x7e) return read(userInformation, bytes, at + 4)
    at += 2 + (bytes[at + 1] ?? 0)
  }
  return null
}

/** What one end heard: where to connect to for control and data, and where media go. */
export interface Heard {
  readonly control: Place[]
  readonly calls: Place[]
  readonly media: Place[]
  readonly data: Place[]
  /** All but media, in the order in which a helper looks for ports for them. */
  readonly connections: Place[]
}

function channelPlaces(bytes: Uint8Array, channel: Value | null, into: Heard): void {
  for (const side of [['forward', 'multiplex'], ['reverse', 'multiplex'], ['forwardAck']])
    for (const name of ['mediaChannel', 'mediaControlChannel'])
      into.media.push(...placesIn(bytes, channel, [...side, 'h2250', name]))
  const data = placesIn(bytes, channel, ['separateStack', 'networkAddress', 'localAreaAddress'])
  into.data.push(...data)
  into.connections.push(...data)
}

function controlPlaces(bytes: Uint8Array, message: Value | null, into: Heard): void {
  channelPlaces(bytes, message?.get('request', 'openLogicalChannel') ?? null, into)
  channelPlaces(bytes, message?.get('response', 'openLogicalChannelAck') ?? null, into)
}

/** All that a segment of call signalling, or of H.245, announces. */
export function heardIn(stream: Uint8Array, signalling: boolean): Heard {
  const out: Heard = { control: [], calls: [], media: [], data: [], connections: [] }
  for (const bytes of messagesIn(stream)) {
    if (!signalling) {
      controlPlaces(bytes, read(h245Message, bytes), out)
      continue
    }
    const pdu = userUser(bytes)?.get('pdu') ?? null
    for (const name of ['setup', 'callProceeding', 'connect', 'alerting', 'facility', 'progress']) {
      const body = pdu?.get('body', name) ?? null
      const forwarded = body?.get('reason', 'callForwarded') != null
      const places = placesIn(bytes, body, [forwarded ? 'alternativeAddress' : 'h245Address'])
      ;(forwarded ? out.calls : out.control).push(...places)
      out.connections.push(...places)
      if (forwarded) continue
      for (const channel of body?.get('fastStart')?.items ?? []) channelPlaces(bytes, channel, out)
    }
    for (const message of pdu?.get('h245Control')?.items ?? []) controlPlaces(bytes, message, out)
  }
  return out
}

/** Where a registration takes calls. */
export const registeredIn = (bytes: Uint8Array): Place[] =>
  placesIn(bytes, read(rasMessage, bytes), ['registrationRequest', 'callSignalAddress'])

/** Whom an admission says to call. */
export const admittedIn = (bytes: Uint8Array): Place[] =>
  placesIn(bytes, read(rasMessage, bytes), ['admissionConfirm', 'destCallSignalAddress'])
