// IDLETIMER: tells sysfs when no packet came for a while (libxt_IDLETIMER of iptables 1.8.9, idletimer_tg() of
// xt_IDLETIMER.c). Timers are shared by label; every packet winds them up again.

import type { Host } from '../../datapath/host.ts'
import type { Target } from '../extension.ts'
import { nameField } from '../layout.ts'
import { cutBytes } from '../matches/comment.ts'
import { words } from '../matches/parts.ts'
import { isProcName, madeBefore, sharedOf } from '../shared.ts'

export interface IdleTimer {
  readonly label: string
  /** Seconds. */
  readonly timeout: number
  readonly alarm: boolean
}

/** One timer; it has run down when host.now passes `ends`. */
export interface Countdown {
  ends: number
  readonly alarm: boolean
}

/** The timers of a host, by label. */
export const idleTimers = (host: Host) => sharedOf<Countdown>(host, 'idletimer')

const MAX_LABEL = 27
/** INT_MAX milliseconds. */
const MAX_TIMEOUT = Math.floor(0x7fffffff / 1000)
/** Files that sysfs has already. */
const TAKEN = ['power', 'subsystem', 'uevent']

function wind(timer: Countdown, host: Host, seconds: number): void {
  timer.ends = host.now + seconds * 1000
}

export const idletimer: Target<IdleTimer> = {
  kind: 'target',
  name: 'IDLETIMER',
  revision: 1,
  families: [4, 6],
  layout: {
    size: 48,
    own: 40,
    fields: ({ timeout, label, alarm }) => [[0, 4, timeout], nameField(4, 28, label), [33, 1, alarm ? 1 : 0]],
  },
  options: [
    { flag: 'timeout', required: true },
    { flag: 'label', holds: 'name timer', required: true },
    { flag: 'alarm', arg: 'none' },
  ],
  help: `IDLETIMER target options:
 --timeout time	Timeout until the notification is sent (in seconds)
 --label string	Unique rule identifier
 --alarm	Use alarm instead of default timer

`,
  parse: (o) => ({
    timeout: o.uint('timeout', 32),
    label: cutBytes(o.text('label'), MAX_LABEL),
    alarm: o.has('alarm'),
  }),
  print: (m) => words(`--timeout ${m.timeout} --label ${m.label}`, m.alarm ? '--alarm' : ''),
  list: (m) => words(`timeout:${m.timeout} label:${m.label}`, m.alarm ? 'alarm' : ''),
  check(m, use) {
    if (m.timeout === 0) return 'IDLETIMER: timeout value is zero'
    if (m.timeout >= MAX_TIMEOUT) return 'IDLETIMER: timeout value is too big'
    if (!isProcName(m.label)) return 'IDLETIMER: label is empty or not nul-terminated'
    if (TAKEN.includes(m.label)) return `IDLETIMER: ${m.label} is taken`
    const known = madeBefore<Pick<IdleTimer, 'alarm'>>(
      use,
      (host) => idleTimers(host).get(m.label),
      ({ target }) => {
        const other =
          target.kind === 'extension' && target.target === idletimer ? (target.data as IdleTimer) : null
        return other?.label === m.label ? other : null
      },
    )
    return known === null || known.alarm === m.alarm ? null : `IDLETIMER: ${m.label} is another sort of timer`
  },
  state(m, { host }) {
    const timer = idleTimers(host).take(m.label, () => ({ ends: 0, alarm: m.alarm }))
    wind(timer, host, m.timeout)
    return timer
  },
  release: (m, { host }) => idleTimers(host).give(m.label),
  reads: ['clock', 'state'],
  flow: 'continue',
  emit: (m, js) => js`${js.bind(wind)}(${js.state}, ${js.env.host}, ${m.timeout})`,
}
