// physdev: bridge ports (libxt_physdev of iptables 1.8.9, physdev_mt() of xt_physdev.c). This host has no bridge: a
// packet that came through none fits if every option is inverted.

import type { Match } from '../extension.ts'
import { bits, type Field, interfaceMaskLength, nameField } from '../layout.ts'
import { OptionError, WholeError } from '../options.ts'
import { words } from './parts.ts'

export interface PhysDev {
  readonly in: Asked<string> | null
  readonly out: Asked<string> | null
  readonly isIn: Asked<null> | null
  readonly isOut: Asked<null> | null
  readonly isBridged: Asked<null> | null
}

interface Asked<T> {
  readonly value: T
  readonly invert: boolean
}

const MAX_NAME = 15

function parseName(text: string, warn: (text: string) => void): string {
  if (text.length > MAX_NAME)
    throw new OptionError(`interface name \`${text}' must be shorter than IFNAMSIZ (${MAX_NAME})`)
  if (/[/ ]/.test(text))
    warn(`Warning: weird character in interface \`${text}' ('/' and ' ' are not allowed by the kernel).\n`)
  return text
}

const format = (m: PhysDev): string => {
  const put = (flag: string, asked: Asked<string | null> | null): string =>
    asked === null
      ? ''
      : `${asked.invert ? '! ' : ''}--physdev-${flag}${asked.value === null ? '' : ` ${asked.value}`}`
  return words(
    put('is-in', m.isIn),
    put('in', m.in),
    put('is-out', m.isOut),
    put('out', m.out),
    put('is-bridged', m.isBridged),
  )
}

export const physdev: Match<PhysDev> = {
  kind: 'match',
  name: 'physdev',
  families: [4, 6],
  layout: {
    size: 72,
    fields: (data) => {
      const all = [data.in, data.out, data.isBridged, data.isIn, data.isOut]
      return [
        ...[data.in?.value ?? '', data.out?.value ?? ''].flatMap((name, i): Field[] => [
          nameField(32 * i, 16, name),
          [32 * i + 16, 16, new Uint8Array(interfaceMaskLength(name)).fill(0xff)],
        ]),
        [64, 1, bits(...all.map((asked) => asked?.invert))],
        [65, 1, bits(...all.map((asked) => asked !== null))],
      ]
    },
  },
  options: [
    { flag: 'physdev-in', holds: 'interface', invertible: true },
    { flag: 'physdev-out', holds: 'interface', invertible: true },
    { flag: 'physdev-is-in', arg: 'none', invertible: true },
    { flag: 'physdev-is-out', arg: 'none', invertible: true },
    { flag: 'physdev-is-bridged', arg: 'none', invertible: true },
  ],
  help: `physdev match options:
 [!] --physdev-in inputname[+]		bridge port name ([+] for wildcard)
 [!] --physdev-out outputname[+]	bridge port name ([+] for wildcard)
 [!] --physdev-is-in			arrived on a bridge device
 [!] --physdev-is-out			will leave on a bridge device
 [!] --physdev-is-bridged		it's a bridged packet
`,
  parse(o) {
    const name = (flag: string): Asked<string> | null =>
      o.has(flag)
        ? { value: parseName(o.text(flag), (text) => o.warn(text)), invert: o.inverted(flag) }
        : null
    const is = (flag: string): Asked<null> | null =>
      o.has(flag) ? { value: null, invert: o.inverted(flag) } : null
    const data: PhysDev = {
      in: name('physdev-in'),
      out: name('physdev-out'),
      isIn: is('physdev-is-in'),
      isOut: is('physdev-is-out'),
      isBridged: is('physdev-is-bridged'),
    }
    if (o.given().length === 0) throw new WholeError('PHYSDEV: no physdev option specified')
    return data
  },
  print: format,
  list: (m) => `PHYSDEV match ${format(m)}`,
  check: (m, use) =>
    (m.out !== null || m.isOut !== null) && m.isBridged?.invert !== false && use.hooks.includes('OUTPUT')
      ? 'physdev: --physdev-out and --physdev-is-out are for bridged packets in FORWARD and POSTROUTING'
      : null,
  reads: [],
  emit: (m, js) =>
    js`${[m.in, m.out, m.isIn, m.isOut, m.isBridged].every((asked) => asked?.invert !== false)}`,
}
