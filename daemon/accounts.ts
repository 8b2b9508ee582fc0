// Names of users and groups, as getpwnam(3) and its like find them for `-m owner`. Those that Debian's base-passwd gives
// every machine are built in, as services and protocols are, so that a ruleset with them means the same anywhere; others are
// those of the machine that the daemon runs on.

import { readFileSync, statSync } from 'node:fs'
import type { Accounts } from '../rules/matches/owner.ts'

const BASE = {
  user:
    'root 0 daemon 1 bin 2 sys 3 sync 4 games 5 man 6 lp 7 mail 8 news 9 uucp 10 proxy 13 www-data 33 backup 34 list 38 ' +
    'irc 39 _apt 42 nobody 65534',
  group:
    'root 0 daemon 1 bin 2 sys 3 adm 4 tty 5 disk 6 lp 7 mail 8 news 9 uucp 10 man 12 proxy 13 kmem 15 dialout 20 fax 21 ' +
    'voice 22 cdrom 24 floppy 25 tape 26 sudo 27 audio 29 dip 30 www-data 33 backup 34 operator 37 list 38 irc 39 src 40 ' +
    'shadow 42 utmp 43 video 44 sasl 45 plugdev 46 staff 50 games 60 users 100 nogroup 65534',
} as const
const FILES = { user: '/etc/passwd', group: '/etc/group' } as const

/** The first line of a name, and of a number, wins. */
class Names {
  readonly ids = new Map<string, number>()
  readonly names = new Map<number, string>()

  add(name: string, id: number): void {
    if (!this.ids.has(name)) this.ids.set(name, id)
    if (!this.names.has(id)) this.names.set(id, name)
  }
}

/** Lines `name:password:id:…` of a file; the text is bytes, one a character, as words of commands are. */
function readNames(kind: 'user' | 'group', text: string): Names {
  const names = new Names()
  for (const [, name, id] of BASE[kind].matchAll(/(\S+) (\d+)/g)) names.add(name!, Number(id))
  for (const [, name, id] of text.matchAll(/^([^\n:#+-][^\n:]*):[^\n:]*:(\d+):/gm)) {
    const number = Number(id)
    if (number < 0xffffffff) names.add(name!, number)
  }
  return names
}

/** The machine's names; a file is read anew when it has changed, which is looked for once in each turn of the event loop. */
export class MachineAccounts implements Accounts {
  readonly #known = {
    user: { looked: false, stamp: NaN, names: readNames('user', '') },
    group: { looked: false, stamp: NaN, names: readNames('group', '') },
  }

  id(kind: 'user' | 'group', name: string): number | null {
    return this.#names(kind).ids.get(name) ?? null
  }

  name(kind: 'user' | 'group', id: number): string | null {
    return this.#names(kind).names.get(id) ?? null
  }

  #names(kind: 'user' | 'group'): Names {
    const known = this.#known[kind]
    if (known.looked) return known.names
    known.looked = true
    queueMicrotask(() => {
      known.looked = false
    })
    try {
      const { mtimeMs } = statSync(FILES[kind])
      if (mtimeMs !== known.stamp) {
        known.names = readNames(kind, readFileSync(FILES[kind], 'latin1'))
        known.stamp = mtimeMs
      }
    } catch {
      // A machine without such a file has no users of its own.
    }
    return known.names
  }
}
