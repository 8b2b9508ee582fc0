// Random scenarios of all profiles: what an anonymized host does with anonymized packets is what the host did with them,
// byte for byte, and by the same rules.
//
//     TUNWALL_SEED, TUNWALL_SCENARIOS  per profile; default 1 and 1
//
// Not the seed of the code: what may differ is listed below by name, and one in a thousand scenarios finds a new name.

import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { makeUp, sumOf } from '../../daemon/anonymize/checksums.ts'
import type { Mapping } from '../../daemon/anonymize/mapping.ts'
import { PlaceError } from '../../daemon/errors.ts'
import { SeededRandom } from '../harness/frames.ts'
import { rehearse } from '../harness/generate.ts'
import { PROFILES, type Profile } from '../harness/generate-world.ts'
import { Rehearsal } from '../harness/rehearsal.ts'
import { hex, type Scenario, type Sent, type Step, type StepRun } from '../harness/scenario.ts'
import { EngineHost } from '../harness/scenario-engine.ts'
import { writeHostFolder } from '../harness/scenario-folder.ts'
import { anonymized, leaks, mappedPacket } from './support.ts'

const SCENARIOS = Number(process.env.TUNWALL_SCENARIOS ?? 1)
const FRAMES = 100
const WALL = Date.UTC(2026, 8, 14)

/**
 * What draws from addresses themselves, or looks at bytes of the packet: with other addresses it does otherwise. docs/anonymize.md
 * lists it.
 */
const BY_NUMBER =
  / -j (HMARK|CLUSTERIP|SNPT|DNPT|SYNPROXY)\b| -m (cluster|u32|bpf|string)\b|--(to-source|to-destination) \[?[\da-f.:]+-|--helper /

/** Errors and tunnels: ICMP, IPIP, IPv6, GRE, ICMPv6. */
const CARRIES_PACKETS = [1, 4, 41, 47, 58]

class Recorded extends Rehearsal {
  readonly runs: StepRun[]
  constructor(scenario: Scenario, runs: StepRun[]) {
    super(scenario, WALL)
    this.runs = runs
  }
  override async take(steps: readonly Step[]): Promise<StepRun[]> {
    const runs = await super.take(steps)
    this.runs.push(...runs)
    return runs
  }
}

function folderOf(scenario: Scenario): Record<string, string> {
  const directory = mkdtempSync(join(tmpdir(), 'tunwall-scenario-'))
  try {
    writeHostFolder(directory, scenario)
    return Object.fromEntries(
      readdirSync(directory).map((name) => [name, readFileSync(join(directory, name), 'latin1')]),
    )
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

/** Numbers of IPv4 packets are drawn by address: the frame with 0, its header's checksum mended. */
function withoutId(bytes: Uint8Array): Uint8Array {
  if (bytes[0]! >> 4 !== 4) return bytes
  makeUp(bytes, 10, -((bytes[4]! << 8) | bytes[5]!))
  bytes.fill(0, 4, 6)
  return bytes
}

/** Checksums that cover what an error does not quote, or that the kernel leaves stale, are masked. */
function quotedSums(bytes: Uint8Array): Uint8Array {
  const v4 = bytes[0]! >> 4 === 4
  const l4 = v4 ? 4 * (bytes[0]! & 15) : 40
  const isError = v4
    ? bytes[9] === 1 && [3, 4, 5, 11, 12].includes(bytes[l4]!)
    : bytes[6] === 58 && ([1, 2, 3, 4].includes(bytes[l4]!) || bytes[l4] === 137)
  if (!isError) return bytes
  const quote = bytes[l4] === 137 && !v4 ? l4 + 48 : l4 + 8
  const options = v4 && bytes[quote] !== 0x45
  const length = v4
    ? (bytes[quote + 2]! << 8) | bytes[quote + 3]!
    : 40 + ((bytes[quote + 4]! << 8) | bytes[quote + 5]!)
  const proto = bytes[quote + (v4 ? 9 : 6)]!
  const inner = quote + (v4 ? 4 * (bytes[quote]! & 15) : 40)
  if (options) bytes.fill(0, quote + 10, quote + 12)
  if (options) bytes.fill(0, inner + 2, inner + 4)
  // Nor is an address mapped of which a part is quoted.
  const cut = quote + length > bytes.length && CARRIES_PACKETS.includes(proto)
  if (cut) bytes.fill(0, inner + 2)
  if (options || cut) bytes.fill(0, l4 + 2, l4 + 4)
  // Nor is one right where NAT changed what the host itself was about to send.
  const at = proto === 6 ? inner + 16 : proto === 17 ? inner + 6 : 0
  if (at > 0 && quote + length === bytes.length) {
    const addresses = v4 ? sumOf(bytes, quote + 12, quote + 20) : sumOf(bytes, quote + 8, quote + 40)
    const sum = addresses + proto + bytes.length - inner + sumOf(bytes, inner, bytes.length)
    if (sum % 0xffff !== 0) {
      bytes.fill(0, l4 + 2, l4 + 4)
      bytes.fill(0, at, at + 2)
    }
  }
  return bytes
}

/**
 * Protocol and offset of what follows IPv6's extension headers, or IPv4's header; whether it is a part of a packet, and
 * whether other headers stand before the one that says so.
 */
function transportOf(bytes: Uint8Array): { proto: number; at: number; part: boolean; late: boolean } {
  if (bytes[0]! >> 4 === 4)
    return {
      proto: bytes[9]!,
      at: 4 * (bytes[0]! & 15),
      part: (((bytes[6]! << 8) | bytes[7]!) & 0x3fff) !== 0,
      late: false,
    }
  let proto = bytes[6]!
  let at = 40
  let part = false
  let late = false
  while ([0, 43, 44, 60].includes(proto) && at + 8 <= bytes.length) {
    late ||= proto === 44 && at > 40
    if (proto === 44) part ||= (((bytes[at + 2]! << 8) | bytes[at + 3]!) & 0xfff9) !== 0
    const size = proto === 44 ? 8 : 8 * (bytes[at + 1]! + 1)
    proto = bytes[at]!
    at += size
  }
  return { proto, at, part, late }
}

/** A part of which TCP's header may be the beginning, though the first part may say another protocol. */
function isEarly(bytes: Uint8Array): boolean {
  if (bytes[0]! >> 4 === 4) return (((bytes[6]! << 8) | bytes[7]!) & 0x1fff) * 8 < 20
  return bytes[6] !== 44 || (((bytes[42]! << 8) | bytes[43]!) & 0xfff8) < 20
}

/**
 * Parts of what carries packets: one within may be cut in the middle of an address. And fragment headers behind others: Linux then takes the transport header for one of those,
 * and its checksum for what stands there.
 */
function isLeftOut(bytes: Uint8Array): boolean {
  const { proto, part, late } = transportOf(bytes)
  return late || (part && (CARRIES_PACKETS.includes(proto) || (proto === 6 && isEarly(bytes))))
}

/** Parts that the host makes of what carries packets are compared up to there. */
function withoutCut(bytes: Uint8Array): Uint8Array {
  const { proto, at, part } = transportOf(bytes)
  return part && CARRIES_PACKETS.includes(proto) ? bytes.subarray(0, at) : bytes
}

/** NAT leaves checksums of DCCP and of mobility headers alone, and those behind an authentication header: they are stale by what addresses make. */
function withoutStale(bytes: Uint8Array): Uint8Array {
  const { proto, at } = transportOf(bytes)
  if (proto === 33) bytes.fill(0, at + 6, at + 8)
  if (proto === 135) bytes.fill(0, at + 4, at + 6)
  return bytes[0]! >> 4 === 4 && proto === 51 ? bytes.subarray(0, at) : bytes
}

const shown = (dev: string, bytes: Uint8Array): string =>
  `${dev} ${hex(withoutStale(quotedSums(withoutCut(withoutId(Uint8Array.from(bytes))))))}`

function counters({ engine }: EngineHost, name: (chain: string) => string): Map<string, number[]> {
  const all = new Map<string, number[]>()
  for (const family of [4, 6] as const)
    for (const { name: table, chains } of engine.tables.used(family))
      for (const [chain, { counters, policyPackets, policyBytes }] of chains)
        all.set(`${family} ${table} ${name(chain)}`, [...Array.from(counters), policyPackets, policyBytes])
  return all
}

const mappedSent = (sent: readonly Sent[], mapping: Mapping): string[] =>
  sent.map(({ dev, bytes }) => shown(mapping.names.interface(dev), mappedPacket(mapping, bytes)))

/** Begins anew with each step: a host that draws once more for one packet draws the same as the other for the next. */
class StepRandom {
  #inner = new SeededRandom(0)
  begin(n: number): void {
    this.#inner = new SeededRandom(n)
  }
  i32(): number {
    return this.#inner.i32()
  }
}

/** Next hops are chosen by a hash of addresses: one of those that are as good. */
function oneWay(routes: readonly string[]): string[] {
  const known = new Set<string>()
  return routes.filter((route) => {
    if (route.includes('nexthop')) return false
    const [to = ''] = route.split(' ')
    const rest = /( table \S+)?( metric \d+)?/g
    const name = `${to}${route.match(rest)!.join('')}`
    if (known.has(name)) return false
    known.add(name)
    return true
  })
}

let compared = 0
afterAll(() => expect(compared).toBeGreaterThan(0))

const SEED = Number(process.env.TUNWALL_SEED ?? 1)
const ALL = Array.from({ length: SCENARIOS }, (_, i) => SEED + i)

test.each(PROFILES.flatMap((profile) => ALL.map((seed) => [profile, seed] as const)))(
  '%s, seed %i',
  async (profile: Profile, seed: number) => {
    const runs: StepRun[] = []
    let first: Scenario | null = null
    try {
      await rehearse(
        seed,
        profile,
        WALL,
        (scenario) => {
          const lines = scenario.iptables.split('\n').filter((line) => !BY_NUMBER.test(line))
          first = { ...scenario, routes: oneWay(scenario.routes), iptables: lines.join('\n') }
          return new Recorded(first, runs)
        },
        FRAMES,
      )
    } catch (error) {
      if (!(error instanceof PlaceError)) throw error
      console.log(`passed over: ${error.message}`)
      return
    }
    const scenario = first!
    const files = folderOf(scenario)
    // As ipset prints them: with the numbers that hashing begins with.
    if (files['ipset-save'] !== undefined)
      files['ipset-save'] = new EngineHost(scenario, new SeededRandom(seed), files).ends(scenario).sets!
    const { files: others, mapping } = anonymized(files)
    expect(leaks(files, others, mapping)).toEqual([])
    const draws = [new StepRandom(), new StepRandom()] as const
    const a = new EngineHost(scenario, draws[0], files)
    const b = new EngineHost(scenario, draws[1], others)
    for (const { id, at, wall, dev, injected } of runs) {
      for (const draw of draws) draw.begin(seed + id)
      a.advance(at, wall)
      b.advance(at, wall)
      if (injected !== null && !isLeftOut(injected)) {
        a.receive(dev!, injected)
        b.receive(mapping.names.interface(dev!), mappedPacket(mapping, injected))
      }
      const what = `${profile}, seed ${seed}, step ${id}`
      const wanted = mappedSent(a.sent(), mapping)
      const got = b.sent().map((sent) => shown(sent.dev, sent.bytes))
      expect(got, what).toEqual(wanted)
      compared += wanted.length
    }
    expect(counters(b, (chain) => chain)).toEqual(counters(a, (chain) => mapping.names.chain(chain)))
  },
)
