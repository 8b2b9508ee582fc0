// Ports that helpers drew: a wanted one that was taken gives way to a random one above it, which the rewritten payload
// names. From what went in and what came out follows the draw.

import { heardIn, registeredIn } from './h323-read.ts'
import { headersOf, TCP, UDP, u16 } from './headers.ts'

/** The payload, null if there are no ports. */
function payloadOf(frame: Uint8Array): { readonly data: Uint8Array; readonly tcp: boolean } | null {
  const h = headersOf(frame)
  if (h === null || frame.length < h.l4 + 8 || (h.fragment !== null && h.fragment.offset > 0)) return null
  const { l4, protocol } = h
  if (protocol !== TCP && protocol !== UDP) return null
  const tcp = protocol === TCP
  return { data: Uint8Array.from(frame.subarray(tcp ? l4 + (frame[l4 + 12]! >> 4) * 4 : l4 + 8)), tcp }
}

/** Frames with fragments put together, each behind the headers of its first one; those without one are left out. */
export function joined(frames: readonly Uint8Array[]): Uint8Array[] {
  const out: Uint8Array[] = []
  const packets = new Map<string, { first: Uint8Array | null; parts: [number, Uint8Array][] }>()
  for (const frame of frames) {
    const h = headersOf(frame)
    if (h?.fragment == null) {
      out.push(frame)
      continue
    }
    const key = `${h.fragment.id} ${h.src} ${h.dst}`
    let packet = packets.get(key)
    if (packet === undefined) packets.set(key, (packet = { first: null, parts: [] }))
    if (h.fragment.offset === 0) packet.first = frame.subarray(0, h.l4)
    packet.parts.push([h.fragment.offset, frame.subarray(h.l4)])
  }
  for (const { first, parts } of packets.values()) {
    if (first === null) continue
    const length = Math.max(...parts.map(([at, bytes]) => at + bytes.length))
    const whole = new Uint8Array(first.length + length)
    whole.set(first)
    for (const [at, bytes] of parts) whole.set(bytes, first.length + at)
    out.push(whole)
  }
  return out
}

/** Ports that messages of H.323 announce, but those of media. */
function announcedH323(data: Uint8Array, tcp: boolean): number[] {
  const places = tcp
    ? [...heardIn(data, true).connections, ...heardIn(data, false).connections]
    : registeredIn(data)
  return places.map((p) => (p.address.startsWith('127.') ? NO_PORT : p.port))
}

/** Of an address that nobody asks a port for. */
const NO_PORT = -1

/** Ports that a payload announces, in order. */
function announced(frame: Uint8Array): number[] {
  const payload = payloadOf(frame)
  if (payload === null) return []
  const h323 = announcedH323(payload.data, payload.tcp)
  if (h323.length > 0) return h323
  const text = Buffer.from(payload.data).toString('latin1')
  const six = /(?:\d+,){4}(\d+),(\d+)/.exec(text)
  if (six !== null) return [(Number(six[1]) << 8) | Number(six[2])]
  const extended = /([!-/:-~])(?:[12]\1[\d.:a-fA-F]+|\1)\1(\d+)\1/.exec(text)
  if (extended !== null) return [Number(extended[2])]
  const direct = /DCC \S+ +(?:\S+ +)?\d+ +(\d+)/.exec(text)
  if (direct !== null) return [Number(direct[1])]
  const contact = /\n(?:Contact|m) *:[^\n]*?sip:(?:[^@\n]*@)?(?:[\d.]+|\[[^\]\n]*\])(?::(\d+))?/i.exec(text)
  if (contact !== null) {
    const port = Number(contact[1] ?? 5060)
    return [port]
  }
  return [...text.matchAll(/(?:DATA|MESG|INDEX|STATE) (\d+)/g)].map((m) => Number(m[1]))
}

/** Numbers, in 65536ths, that lead helpers to the ports which `sent` announces instead of those in `injected`. */
export function announcedDraws(injected: Uint8Array, sent: Uint8Array): number[] {
  const wanted = announced(injected)
  const now = announced(sent)
  const out: number[] = []
  for (let i = 0; i < Math.min(wanted.length, now.length); i++) {
    if (wanted[i] === NO_PORT) continue
    let from = wanted[i]! & 0xffff
    // A contact at the port that the message came from asks for that port's name outside first.
    const h = headersOf(injected)
    if (h?.protocol === UDP && from === u16(injected, h.l4)) from = u16(sent, headersOf(sent)?.l4 ?? h.l4)
    const by = now[i]! - from
    if (by > 0) out.push((by * 0x10000) / (65535 - from))
  }
  return out
}
