// What noise of IPv6 is made of.

import type { Wire } from './conversation.ts'
import { anyChain, harmless } from './extension-headers.ts'
import * as build from './frames.ts'
import { common, type FamilyNoise, type Noise, pair, some } from './noise.ts'
import { addressOf } from './scenario.ts'

const ALL_ROUTERS = 'ff02::2'

/** Between two ends, or to the host. */
function ends(w: Wire): { dev: string; src: string; dst: string } {
  const p = pair(w)
  return w.random.once(3) ? { ...p, dst: w.random.pick(w.world.own) } : p
}

/** A fragment of nothing in particular: its offset, its length and what it says follows. Few identifications. */
function piece(w: Wire): Noise {
  const { random } = w
  const { dev, src, dst } = ends(w)
  const offset = random.pick([0, 0, 8, 8, 16, 1232, 65528, random.below(8192) * 8])
  const more = random.once(3) ? 0 : 1
  const payload = random.pick([0, 1, 7, 8, 8, 16, 24, 40, 1232, 1233])
  const before = random.once(6) ? harmless(w).filter((h) => h.type !== 44) : []
  const frame = build.ip({
    src,
    dst,
    proto: random.pick([6, 17, 17, 58, 59, 60, 0, 44, 200]),
    extensions: [
      ...before,
      {
        type: 44,
        bytes: [0, random.once(8) ? 1 : 0, offset >> 8, (offset & 0xf8) | more, 0, 0, 0, random.below(3)],
      },
    ],
    payload,
    ...common(w),
  })
  return { dev, frame, note: `a fragment at ${offset}${more ? ', more follow' : ''}` }
}

/** A packet behind a chain of headers, whole or cut anywhere. */
function chain(w: Wire): Noise {
  const { random } = w
  const { dev, src, dst } = ends(w)
  const frame = some(w, src, random.once(12) ? random.pick([ALL_ROUTERS, 'ff02::1']) : dst, {
    extensions: anyChain(w),
    ...(random.once(6) ? { ttl: random.pick([0, 1, 2]) } : {}),
  })
  if (!random.once(6)) return { dev, frame, note: 'extension headers' }
  const short = frame.slice(0, 40 + random.below(frame.length - 40))
  if (random.once(2)) new DataView(short.buffer).setUint16(4, short.length - 40)
  return { dev, frame: short, note: 'extension headers, cut' }
}

/** Who has this address (RFC 4861)? As a neighbour asks it, or with something that is not right. */
function solicitation(w: Wire): Noise {
  const { random, world } = w
  const from = random.pick(world.peers)
  const { addresses } = world.devices.find((d) => d.name === from.dev)!
  const there = addresses.length > 0 ? addresses.map((a) => addressOf(a).address) : world.own
  const target = random.pick([
    random.pick(there),
    random.pick(there),
    random.pick(there),
    random.pick(world.own),
    random.pick(world.broadcasts.length > 0 ? world.broadcasts : world.own),
    random.pick([from.address, 'ff02::1', '::', '2001:db8:beef::10']),
  ])
  const bytes = build.bytes6(target)
  const solicited = `ff02::1:ff${bytes[13]!.toString(16).padStart(2, '0')}:${((bytes[14]! << 8) | bytes[15]!).toString(16)}`
  const options = random.pick([
    [],
    [],
    [1, 1, 2, 0, 0, 0, 0, 9],
    [14, 1, 1, 2, 3, 4, 5, 6],
    [1, 2, ...Array<number>(14).fill(2)],
    [1, 0, 0, 0, 0, 0, 0, 0],
    [1, 1, 2],
    [2, 1, 2, 0, 0, 0, 0, 9, 1, 1, 2, 0, 0, 0, 0, 9],
  ])
  const body = [...bytes, ...options]
  const frame = build.icmp({
    src: random.once(5) ? '::' : from.address,
    dst: random.pick([solicited, solicited, target, random.pick(world.own), 'ff02::1', 'ff02::1:ff00:1']),
    type: random.once(12) ? random.pick([133, 134, 136]) : 135,
    code: random.once(12) ? 1 : 0,
    rest: random.once(6) ? random.u32() : 0,
    payload: Uint8Array.from(random.once(10) ? body.slice(0, random.below(body.length)) : body),
    ...(random.once(12) ? { extensions: harmless(w) } : {}),
    badChecksum: random.once(16),
    ...common(w),
    ttl: random.once(8) ? random.pick([254, 64, 1]) : 255,
  })
  return { dev: random.once(8) ? random.pick(world.devices).name : from.dev, frame, note: 'who has that?' }
}

/** From and to addresses of any scope, on any interface. */
function scopes(w: Wire): Noise {
  const { random, world } = w
  const linkLocal = [...world.own, ...world.peers.map((p) => p.address), 'fe80::dead'].filter((a) =>
    a.startsWith('fe80'),
  )
  const any = (): string =>
    random.pick([
      random.pick(linkLocal),
      random.pick(world.own),
      random.pick(world.peers).address,
      ...world.broadcasts.slice(0, 1),
    ])
  return {
    dev: random.pick(world.devices).name,
    frame: some(w, any(), random.once(4) ? random.pick(NOISE6.groups) : any()),
    note: 'scopes',
  }
}

export const NOISE6: FamilyNoise = {
  errors: [
    [1, 0],
    [1, 1],
    [1, 3],
    [1, 4],
    [1, 5],
    [1, 6],
    [2, 0],
    [2, 0],
    [3, 0],
    [3, 1],
    [4, 0],
    [4, 1],
    [4, 2],
    [1, 9],
    [5, 0],
    [100, 0],
  ],
  tooBig: [2, 0],
  mtus: [1400, 1280, 1279, 68, 0, 1500, 65535],
  quotes: [40, 44, 48, 47, 56, 8, 0],
  icmpTypes: [128, 128, 128, 128, 129, 1, 3, 100, 127, 138, 139, 143, 144, 200, 255, 0, 135, 133],
  queries: [139, 140, 129, 130, 131, 132, 148, 160],
  protocols: [50, 47, 132, 4, 89, 255, 59, 200, 136, 2, 103, 33, 41, 135, 1],
  cut: [58, 6, 17, 136, 132, 47],
  martians: [
    '::1',
    '::',
    'ff02::1',
    'ff05::2',
    '::ffff:192.0.2.1',
    '::192.0.2.1',
    'fec0::1',
    '2002:c000:201::1',
    '64:ff9b::c000:201',
    'fe80::77',
    'ff00::1',
    'ff01::1',
    '4000::1',
  ],
  unroutable: ['2001:db9::9', '3fff::1', 'fdff::1'],
  groups: [
    'ff02::1',
    ALL_ROUTERS,
    'ff02::16',
    'ff02::1:ff00:1',
    'ff05::2',
    'ff01::1',
    'ff0e::1:2',
    'ff02::fb',
    'ff00::1',
    'ff12::1',
  ],
  headers: [
    { version: 5 },
    { version: 4 },
    { version: 0 },
    { payloadLength: 0 },
    { payloadLength: 4 },
    { payloadLength: 8 },
    { payloadLength: 19 },
    { payloadLength: 65535 },
    { nextHeader: 59 },
    { nextHeader: 200 },
    { nextHeader: 4 },
    { nextHeader: 1 },
    { flowLabel: 0xfffff },
    { ttl: 0 },
  ],
  begins: [0x60, 0x60, 0x6f, 0x45],
  options: (w) => ({ extensions: w.random.once(3) ? anyChain(w) : harmless(w) }),
  makers: { piece, chain, scopes, solicitation },
}
