// time: dates, hours of the day, days of the week and of the month (libxt_time of iptables 1.8.9, time_mt() of
// xt_time.c). The wall clock is host.wall; the kernel's own time zone, which nobody sets, is UTC.

import type { Host } from '../../datapath/host.ts'
import type { Match } from '../extension.ts'
import { bits, type Field } from '../layout.ts'
import { OptionError, type Options, WholeError } from '../options.ts'
import { plainStrtoul } from '../text/numbers.ts'
import { words } from './parts.ts'

export interface Time {
  /** Seconds since 1970. */
  readonly dateStart: number
  readonly dateStop: number
  /** Seconds since midnight. */
  readonly dayStart: number
  readonly dayStop: number
  /** Bits 1 to 31. */
  readonly monthDays: number
  /** Bits 1 (Monday) to 7. */
  readonly weekDays: number
  readonly kernelZone: boolean
  readonly contiguous: boolean
}

const DAY = 86400
const LAST_SECOND = DAY - 1
const LAST_DATE = 0x7fffffff
const ALL_MONTHDAYS = 0xfffffffe | 0
const ALL_WEEKDAYS = 0xfe
const WEEKDAYS = ['', 'Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat', 'Sun']
const ZONES = ['localtz', 'utc', 'kerneltz'] as const

/** strtoul(3) into an unsigned int: no digits are 0, what is wider is cut. */
function unsigned(text: string, base: number): { value: number; rest: string } {
  const { value, end } = plainStrtoul(text, base)
  return { value: Number(BigInt.asUintN(32, value)), rest: text.slice(end) }
}

const digits = (text: string): { value: number; rest: string } => unsigned(text, 10)

/** `hh:mm[:ss]` in seconds. */
function parseClock(text: string): number {
  const bad = (part: string): never => {
    throw new OptionError(
      `invalid time "${part}" specified, should be hh:mm[:ss] format and within the boundaries`,
    )
  }
  const hour = digits(text)
  if (hour.rest[0] !== ':' || hour.value > 23) bad(text)
  const afterHour = hour.rest.slice(1)
  const minute = digits(afterHour)
  if ((minute.rest !== '' && minute.rest[0] !== ':') || minute.value > 59) bad(afterHour)
  const start = hour.value * 3600 + minute.value * 60
  if (minute.rest === '') return start
  const afterMinute = minute.rest.slice(1)
  const second = digits(afterMinute)
  if (second.rest !== '' || second.value > 59) bad(afterMinute)
  return start + second.value
}

/** What follows each part of a date, its least and its largest value. */
const DATE_PARTS: readonly (readonly [string, number, number])[] = [
  ['-', 1970, 2038],
  ['-', 0, 12],
  ['T', 0, 31],
  [':', 0, 23],
  [':', 0, 59],
  ['', 0, 59],
]

/** `YYYY[-MM[-DD[Thh[:mm[:ss]]]]]` in seconds since 1970. */
function parseDate(o: Options, flag: string): number {
  const text = o.text(flag)
  const values = [0, 1, 1, 0, 0, 0]
  let rest = text
  for (const [i, [follows, min, max]] of DATE_PARTS.entries()) {
    const read = digits(rest)
    const ended = read.rest === ''
    if ((!ended && (follows === '' || read.rest[0] !== follows)) || read.value < min || read.value > max)
      throw new OptionError(`Invalid date "${text}" specified. Should be YYYY[-MM[-DD[Thh[:mm[:ss]]]]]`)
    values[i] = read.value
    if (ended) break
    rest = read.rest.slice(1)
  }
  const seconds = Date.UTC(values[0]!, values[1]! - 1, values[2]!, values[3]!, values[4]!, values[5]!) / 1000
  if (seconds < 0) {
    // perror(3) of what failed before: a file that the tool looked for and that is not there.
    o.warn('mktime: No such file or directory\n')
    throw new OptionError('mktime returned an error', 1)
  }
  return seconds
}

/** Two characters of each: what follows them is not looked at. */
function parseMonthDays(text: string): number {
  let days = 0
  for (let at = 0; at < text.length; ) {
    let day = ''
    while (day.length < 2 && at < text.length && text[at] !== ',') day += text[at++]
    while (at < text.length && text[at] !== ',') at++
    const { value, rest } = unsigned(day, 0)
    if (rest !== '' || value > 31) throw new OptionError(`${day} is not a valid day for --monthdays`)
    days |= 1 << value
    if (text[at] === ',') at++
  }
  return days
}

/**
 * Names by their first two letters, or numbers; what follows three characters of one is skipped. A number is shifted into
 * the mask as it is: a processor takes it modulo 32, and a byte of that is kept.
 */
function parseWeekDays(text: string): number {
  let days = 0
  for (let at = 0; at < text.length; ) {
    const comma = text.indexOf(',', at)
    const end = comma < 0 ? text.length : comma
    const day = text.slice(at, Math.min(end, at + 3))
    at = comma < 0 ? end : comma + 1
    const { value, rest } = unsigned(day, 0)
    if (rest === '') {
      if (value === 0) throw new OptionError('No, the week does NOT begin with Sunday.')
      days |= (1 << value) & 0xff
      continue
    }
    const found = WEEKDAYS.findIndex((name, i) => i > 0 && name.slice(0, 2) === day.slice(0, 2))
    if (found < 0) throw new OptionError(`${day} is not a valid day specifier`)
    days |= 1 << found
  }
  return days
}

const bitsOf = (bits: number, last: number): number[] =>
  Array.from({ length: last }, (_, i) => i + 1).filter((day) => bits & (1 << day))

const two = (value: number): string => String(value).padStart(2, '0')
const clock = (seconds: number): string =>
  `${two(Math.floor(seconds / 3600))}:${two(Math.floor(seconds / 60) % 60)}:${two(seconds % 60)}`
const date = (seconds: number, between: string): string =>
  new Date(seconds * 1000).toISOString().slice(0, 19).replace('T', between)
const ordinal = (day: number): string => `${day}${['th', 'st', 'nd', 'rd'][day % 10] ?? 'th'}`
const weekDays = (m: Time): string =>
  bitsOf(m.weekDays, 7)
    .map((day) => WEEKDAYS[day])
    .join(',')

/** Does not allocate. */
function isNow(host: Host, m: Time): boolean {
  let stamp = Math.floor(host.wall / 1000)
  if (stamp < m.dateStart || stamp > m.dateStop) return false
  const second = stamp % DAY
  if (m.dayStart < m.dayStop) {
    if (second < m.dayStart || second > m.dayStop) return false
  } else {
    if (second < m.dayStart && second > m.dayStop) return false
    // Past midnight it is still the day on which the time began.
    if (m.contiguous && second <= m.dayStop) stamp -= DAY
  }
  const day = Math.floor(stamp / DAY)
  if ((m.weekDays & (1 << (((((day + 3) % 7) + 7) % 7) + 1))) === 0) return false
  return m.monthDays === ALL_MONTHDAYS || (m.monthDays & (1 << dayOfMonth(day))) !== 0
}

/** Of a day since 1970, 1 to 31: the civil calendar from days, counted in eras of 400 years from a 1st of March. */
function dayOfMonth(days: number): number {
  const shifted = days + 719468
  const ofEra = shifted - Math.floor(shifted / 146097) * 146097
  const yearOfEra = Math.floor(
    (ofEra - Math.floor(ofEra / 1460) + Math.floor(ofEra / 36524) - Math.floor(ofEra / 146096)) / 365,
  )
  const ofYear = ofEra - (365 * yearOfEra + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100))
  const month = Math.floor((5 * ofYear + 2) / 153)
  return ofYear - Math.floor((153 * month + 2) / 5) + 1
}

export const time: Match<Time> = {
  kind: 'match',
  name: 'time',
  families: [4, 6],
  layout: {
    size: 24,
    fields: (m) => [
      ...[m.dateStart, m.dateStop, m.dayStart, m.dayStop, m.monthDays].map(
        (value, i): Field => [4 * i, 4, value],
      ),
      [20, 1, m.weekDays],
      [21, 1, bits(m.kernelZone, m.contiguous)],
    ],
  },
  options: [
    { flag: 'contiguous', arg: 'none' },
    { flag: 'datestart' },
    { flag: 'datestop' },
    { flag: 'kerneltz', arg: 'none' },
    { flag: 'localtz', arg: 'none', excludes: ['utc'] },
    { flag: 'monthdays', invertible: true },
    { flag: 'timestart' },
    { flag: 'timestop' },
    { flag: 'utc', arg: 'none', excludes: ['localtz', 'kerneltz'] },
    { flag: 'weekdays', invertible: true },
  ],
  help: `time match options:
    --datestart time     Start and stop time, to be given in ISO 8601
    --datestop time      (YYYY[-MM[-DD[Thh[:mm[:ss]]]]])
    --timestart time     Start and stop daytime (hh:mm[:ss])
    --timestop time      (between 00:00:00 and 23:59:59)
[!] --monthdays value    List of days on which to match, separated by comma
                         (Possible days: 1 to 31; defaults to all)
[!] --weekdays value     List of weekdays on which to match, sep. by comma
                         (Possible days: Mon,Tue,Wed,Thu,Fri,Sat,Sun or 1 to 7
                         Defaults to all weekdays.)
    --kerneltz           Work with the kernel timezone instead of UTC
`,
  parse(o) {
    if (o.has('localtz'))
      o.warn(
        'WARNING: --localtz is being replaced by --kerneltz, since "local" is ambiguous. Note the kernel timezone has caveats - see manpage for details.\n',
      )
    const months = o.has('monthdays') ? parseMonthDays(o.text('monthdays')) : ALL_MONTHDAYS
    const week = o.has('weekdays') ? parseWeekDays(o.text('weekdays')) : ALL_WEEKDAYS
    const data: Time = {
      dateStart: o.has('datestart') ? parseDate(o, 'datestart') : 0,
      dateStop: o.has('datestop') ? parseDate(o, 'datestop') : LAST_DATE,
      dayStart: o.has('timestart') ? parseClock(o.text('timestart')) : 0,
      dayStop: o.has('timestop') ? parseClock(o.text('timestop')) : LAST_SECOND,
      monthDays: o.has('monthdays') && o.inverted('monthdays') ? months ^ ALL_MONTHDAYS : months,
      weekDays: o.has('weekdays') && o.inverted('weekdays') ? week ^ ALL_WEEKDAYS : week,
      kernelZone: ZONES.some((flag) => flag !== 'utc' && o.has(flag)),
      contiguous: o.has('contiguous'),
    }
    if (data.contiguous && data.dayStart < data.dayStop)
      throw new WholeError('time: --contiguous only makes sense when stoptime is smaller than starttime')
    return data
  },
  print: (m) =>
    words(
      m.dayStart === 0 && m.dayStop === LAST_SECOND
        ? ''
        : `--timestart ${clock(m.dayStart)} --timestop ${clock(m.dayStop)}`,
      m.monthDays === ALL_MONTHDAYS ? '' : `--monthdays ${bitsOf(m.monthDays, 31).join(',')}`,
      m.weekDays === ALL_WEEKDAYS ? '' : `--weekdays ${weekDays(m)}`,
      m.dateStart === 0 ? '' : `--datestart ${date(m.dateStart, 'T')}`,
      m.dateStop === 0 ? '' : `--datestop ${date(m.dateStop, 'T')}`,
      m.kernelZone ? '--kerneltz' : '',
      m.contiguous ? '--contiguous' : '',
    ),
  list: (m) =>
    words(
      'TIME',
      m.dayStart === 0 && m.dayStop === LAST_SECOND ? '' : `from ${clock(m.dayStart)} to ${clock(m.dayStop)}`,
      m.weekDays === ALL_WEEKDAYS ? '' : `on ${weekDays(m)}`,
      m.monthDays === ALL_MONTHDAYS ? '' : `on ${bitsOf(m.monthDays, 31).map(ordinal).join(',')}`,
      m.dateStart === 0 ? '' : `starting from ${date(m.dateStart, ' ')}`,
      m.dateStop === LAST_DATE ? '' : `until date ${date(m.dateStop, ' ')}`,
      m.kernelZone ? '' : 'UTC',
      m.contiguous ? 'contiguous' : '',
    ),
  reads: ['clock'],
  emit: (m, js) => js`${js.bind(isNow)}(${js.env.host}, ${m})`,
}
