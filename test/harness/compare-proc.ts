// What rules keep and the kernel shows below /proc, compared: lists of -m recent, tables of -m hashlimit.
//
// Masked, by name: the order of lines, which follows a secret; what counts from the machine's start (the two are the
// same but for a constant); seconds to live and credit by what passes while the files are read.

import type { Difference } from './compare.ts'
import type { Run } from './scenario.ts'

/** The files are read a little after the last step: seconds, and jiffies. */
const SLACK_S = 3
const SLACK_JIFFIES = 600
/** Jiffies may end between a packet and the look at the clock before it, some on a busy machine. */
const SLACK_STAMP = 12
/** Credit of a jiffy: CREDITS_PER_JIFFY, CREDITS_PER_JIFFY_BYTES of xt_hashlimit.c. */
const JIFFY_CREDIT = 2n ** 39n

export function compareProc(
  { proc: expected = {}, save }: Run,
  { proc: actual = {}, procLater: later = actual }: Run,
  names: readonly [string, string],
): Difference[] {
  const out: Difference[] = []
  const draws = save.includes('--random')
  for (const path of new Set([...Object.keys(expected), ...Object.keys(actual)])) {
    const [a, b] = [expected[path], actual[path]]
    // Reading fails where what one bucket says is longer than a page (dl_seq_show); which it is follows a secret.
    if (a?.endsWith('unreadable\n') && path.includes('hashlimit')) continue
    const same =
      a !== undefined &&
      b !== undefined &&
      (path.includes('recent') ? sameRecent(a, b) : sameLimits(a, b, later[path] ?? b, draws))
    if (same) continue
    const show = (text: string | undefined): string =>
      text === undefined
        ? '      no such file'
        : text
            .trimEnd()
            .split('\n')
            .map((l) => `      ${l}`)
            .join('\n')
    out.push({
      kind: 'proc',
      signature: `proc ${path.split('/')[1]}`,
      step: null,
      text: `  ${path}\n    ${names[0]}\n${show(a)}\n    ${names[1]}\n${show(b)}`,
    })
  }
  return out
}

const sorted = (text: string): string[] => text.split('\n').filter(Boolean).sort()

/** `src=… ttl: 64 last_seen: 9 oldest_pkt: 2 7, 9`: stamps are jiffies since the machine's start. */
function sameRecent(x: string, y: string): boolean {
  const read = (text: string) =>
    sorted(text).map((line) => {
      const [, head = '', last = '', tail = '', stamps = ''] =
        /^(.*) last_seen: (\d+) (oldest_pkt: \d+) (.*)$/.exec(line) ?? []
      return { head: `${head} ${tail}`, stamps: [last, ...stamps.split(', ')].map(Number) }
    })
  const [a, b] = [read(x), read(y)]
  const apart = (a[0]?.stamps[0] ?? 0) - (b[0]?.stamps[0] ?? 0)
  return (
    a.length === b.length &&
    a.every(
      ({ head, stamps }, i) =>
        head === b[i]!.head &&
        stamps.length === b[i]!.stamps.length &&
        stamps.every((stamp, n) => Math.abs(stamp - b[i]!.stamps[n]! - apart) <= SLACK_STAMP),
    )
  )
}

interface Limit {
  readonly key: string
  readonly seconds: number
  readonly credit: bigint
  readonly rest: string
}

function sameLimit(one: Limit, other: Limit): boolean {
  const more = one.credit - other.credit
  return (
    one.rest === other.rest &&
    Math.abs(one.seconds - other.seconds) <= SLACK_S &&
    (more === 0n || (more > 0n && more <= JIFFY_CREDIT * BigInt(SLACK_JIFFIES)))
  )
}

const withoutPorts = (key: string): string => key.replace(/:\d+(?=->|$)/g, '')

/**
 * `1 10.0.0.1:0->0.0.0.0:80 CREDIT CAP COST`. Rates of a window that ends meanwhile begin anew: each line is either as
 * that of `y` or as that of `later`. `draws`: some rule draws ports, which the kernel may have shown nowhere else: lines
 * that the other side has not may have others.
 */
function sameLimits(x: string, y: string, later: string, draws: boolean): boolean {
  const read = (text: string): Limit[] =>
    sorted(text.replace(/^(-?\d+) (\S+) /gm, '$2 $1 ')).map((line) => {
      const [key = '', seconds, credit, ...rest] = line.split(' ')
      return { key, seconds: Number(seconds), credit: BigInt(credit!), rest: rest.join(' ') }
    })
  const [a, b] = [read(x), read(y)]
  const then = new Map(read(later).map((l) => [l.key, l]))
  const fits = (one: Limit, other: Limit): boolean =>
    sameLimit(one, other) || sameLimit(one, then.get(other.key) ?? other)
  const ours = new Map(b.map((l) => [l.key, l]))
  const theirs = new Set(a.map((l) => l.key))
  if (a.length !== b.length || a.some((l) => ours.has(l.key) && !fits(l, ours.get(l.key)!))) return false
  // The least credit to the least: a greater one of theirs fits a smaller one of ours, but not the other way round.
  const byCredit = (one: Limit, other: Limit): number => (one.credit < other.credit ? -1 : 1)
  const rest = b.filter((l) => !theirs.has(l.key)).sort(byCredit)
  for (const one of a.filter((l) => !ours.has(l.key)).sort(byCredit)) {
    const at = rest.findIndex((l) => draws && withoutPorts(l.key) === withoutPorts(one.key) && fits(one, l))
    if (at < 0) return false
    rest.splice(at, 1)
  }
  return true
}
