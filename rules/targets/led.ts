// LED: lights a LED while packets match (libxt_LED of iptables 1.8.9, led_tg() of xt_LED.c). A host without LEDs has
// the trigger all the same, and nothing else comes of it.

import type { Target } from '../extension.ts'
import { nameField } from '../layout.ts'
import { words } from '../matches/parts.ts'
import { OptionError, PARAMETER_PROBLEM } from '../options.ts'
import { wholeNumber } from '../text/numbers.ts'

export interface Led {
  readonly id: string
  /** Milliseconds as a signed word; -1: for ever. */
  readonly delay: number
  readonly alwaysBlink: boolean
}

/** sizeof(id) without `netfilter-` and the byte that ends it. */
const MAX_ID = 16

const quoted = (id: string): string => `"${id.replace(/["\\]/g, '\\$&')}"`

function parseDelay(text: string): number {
  if (text.slice(0, 3).toLowerCase() === 'inf') return -1
  const value = wholeNumber(text, 0, 0xffffffff)
  if (value === null)
    throw new OptionError('Delay value must be within range 0..4294967295', PARAMETER_PROBLEM, true)
  return value | 0
}

export const led: Target<Led> = {
  kind: 'target',
  name: 'LED',
  families: [4, 6],
  layout: {
    size: 40,
    own: 32,
    fields: ({ id, alwaysBlink, delay }) => [
      nameField(0, 27, `netfilter-${id}`),
      [27, 1, alwaysBlink ? 1 : 0],
      [28, 4, delay >>> 0],
    ],
  },
  options: [
    { flag: 'led-trigger-id', holds: 'name led', required: true },
    { flag: 'led-delay' },
    { flag: 'led-always-blink', arg: 'none' },
  ],
  help: `LED target options:
--led-trigger-id name           suffix for led trigger name
--led-delay ms                  leave the LED on for this number of
                                milliseconds after triggering.
--led-always-blink              blink on arriving packets, even if
                                the LED is already on.
`,
  parse(o) {
    const id = o.text('led-trigger-id')
    if (id.length > MAX_ID)
      throw new OptionError(
        `Argument must have a maximum length of ${MAX_ID} characters\n`,
        PARAMETER_PROBLEM,
        true,
      )
    return {
      id,
      delay: o.has('led-delay') ? parseDelay(o.text('led-delay')) : 0,
      alwaysBlink: o.has('led-always-blink'),
    }
  },
  print: (m) =>
    words(
      `--led-trigger-id ${quoted(m.id)}`,
      m.delay > 0 ? `--led-delay ${m.delay}` : m.delay === -1 ? '--led-delay inf' : '',
      m.alwaysBlink ? '--led-always-blink' : '',
    ),
  list: (m) =>
    words(
      `led-trigger-id:${quoted(m.id)}`,
      m.delay === -1 ? 'led-delay:inf' : `led-delay:${m.delay}ms`,
      m.alwaysBlink ? 'led-always-blink' : '',
    ),
  reads: [],
  flow: 'continue',
  emit: (_, js) => js`0`,
}
