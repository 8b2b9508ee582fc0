// The fingerprints that osf compares with: lines of pf.os as nfnl_osf (iptables 1.8.9) reads them into the kernel.
//
//     S4:64:1:60:M*,S,T,N,W7:Linux:2.6::Linux 2.6
//     window:ttl:df:length:options:genre:version:subtype:details
//
//     window   a number, %n (a multiple), Sn (n times the MSS), Tn (n times the MTU), * (any)
//     options  N no-op, E end, S SACK permitted, T timestamps, M MSS, W window scale; the numbers are not compared

import type { Host } from '../../datapath/host.ts'

/** OSF_WSS_*. */
export const Window = { Plain: 0, Mss: 1, Mtu: 2, Modulo: 3 } as const

export interface Fingerprint {
  readonly genre: string
  readonly version: string
  readonly subtype: string
  readonly window: number
  readonly windowKind: number
  readonly ttl: number
  readonly df: boolean
  /** Total length of the SYN. */
  readonly length: number
  /** Kinds of the options in order, and their lengths. */
  readonly kinds: readonly number[]
  readonly lengths: readonly number[]
}

/** Kind and length by letter. */
const OPTIONS: Readonly<Record<string, readonly [kind: number, length: number]>> = {
  E: [0, 1],
  N: [1, 1],
  M: [2, 4],
  W: [3, 3],
  S: [4, 2],
  T: [8, 10],
}

const MAX_OPTIONS = 40
/** MAXGENRELEN without the byte that ends it. */
const MAX_NAME = 31

const leading = (text: string): number => Number.parseInt(/^\s*\+?\d+/.exec(text)?.[0] ?? '0', 10)

function windowOf(text: string): readonly [kind: number, value: number] {
  const c = text[0]
  if (c === 'S' || c === 'T') {
    const kind = c === 'S' ? Window.Mss : Window.Mtu
    return [kind, text[1] === '*' ? 0 : leading(text.slice(text[1] === '%' ? 2 : 1))]
  }
  if (c === '%') return [Window.Modulo, leading(text.slice(1))]
  return [Window.Plain, leading(text)]
}

/** One line; null for one that has not nine parts. */
function fingerprint(line: string): Fingerprint | null {
  const parts = line.split(':').map((part, i) => (i === 0 ? part : part.trimStart()))
  if (parts.length !== 9) return null
  const [window, ttl, df, length, options, genre, version, subtype] = parts as [
    string,
    string,
    string,
    string,
    string,
    string,
    string,
    string,
  ]
  const known = options
    .split(',')
    .map((option) => OPTIONS[option.trimStart()[0] ?? ''])
    .filter((option) => option !== undefined)
    .slice(0, MAX_OPTIONS)
  const [windowKind, value] = windowOf(window)
  // A modulus of nothing would be a division by zero; the kernel refuses it.
  if (windowKind === Window.Modulo && value === 0) return null
  return {
    genre: genre.slice(genre[0] === '@' || genre[0] === '*' ? 1 : 0).slice(0, MAX_NAME),
    version: version.slice(0, MAX_NAME),
    subtype: subtype.slice(0, MAX_NAME),
    window: value & 0xffff,
    windowKind,
    ttl: leading(ttl) & 0xff,
    df: leading(df) !== 0,
    length: leading(length) & 0xffff,
    kinds: known.map(([kind]) => kind),
    lengths: known.map(([, size]) => size),
  }
}

/** A mistake in a fingerprint file: its line, from 1. */
export class FingerprintError extends Error {
  override readonly name = 'FingerprintError'
  readonly line: number
  constructor(reason: string, line: number) {
    super(reason)
    this.line = line
  }
}

/** The fingerprints of a file's text, in order. Throws FingerprintError. */
export function readFingerprints(text: string): Fingerprint[] {
  const all: Fingerprint[] = []
  const seen = new Set<string>()
  for (const [i, line] of text.split('\n').entries()) {
    if (line === '' || line[0] === '#' || line[0] === '\r') continue
    const read = fingerprint(line)
    if (read === null)
      throw new FingerprintError(
        'expected nine parts: window:ttl:df:length:options:genre:version:subtype:details',
        i + 1,
      )
    const key = JSON.stringify(read)
    if (!seen.has(key)) all.push(read)
    seen.add(key)
  }
  return all
}

const loaded = new WeakMap<Host, { without: readonly Fingerprint[]; with: readonly Fingerprint[] }>()
const NONE = { without: [], with: [] } as const

/** Replaces the fingerprints of a host. */
export function setFingerprints(host: Host, all: readonly Fingerprint[]): void {
  loaded.set(host, { without: all.filter((f) => !f.df), with: all.filter((f) => f.df) })
}

/** Those for packets with DF, or without. */
export const fingerprintsOf = (host: Host, df: boolean): readonly Fingerprint[] => {
  const of = loaded.get(host) ?? NONE
  return df ? of.with : of.without
}
