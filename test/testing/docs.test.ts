// docs/testing-firewalls.md and docs/packet-words.md: their examples run, and print what they say.

import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { tunwall } from '../../daemon/cli/tunwall.ts'
import { Host, icmp, tcp, udp } from '../../daemon/testing/index.ts'
import '../../daemon/testing/vitest.ts'
import { readSuite } from '../../daemon/testing/suite.ts'
import { parseWords } from '../../daemon/words/parse.ts'
import { writeCapture } from '../harness/capture.ts'
import * as build from '../harness/frames.ts'
import { commands, docBlocks, writeBlocks } from './doc-blocks.ts'

const folder = mkdtempSync(join(tmpdir(), 'tunwall-docs-'))
const blocks = docBlocks('testing-firewalls.md')

beforeAll(() => {
  writeBlocks(blocks, folder)
  // The rules of the second host stand in its annotated form.
  const marked = blocks.find(({ text }) => text.includes('Source:old/iptables-save'))!.text
  const lines = [...marked.matchAll(/^ *[-\d#=]+: *[1-9]\d*:(.*?)(?: {2}# .*)?$/gm)].map(
    ([, line]) => `${line}\n`,
  )
  mkdirSync(join(folder, 'old'))
  writeFileSync(join(folder, 'old/iptables-save'), lines.join(''))
  const frame = (iface: string, n: number, bytes: Uint8Array) => ({
    iface,
    seconds: 1_790_000_000 + n,
    nanos: 0,
    bytes,
  })
  writeCapture(join(folder, 'monday.pcapng'), [
    frame('wan', 0, build.tcp({ src: '198.51.100.7', dst: '203.0.113.2', sport: 5, dport: 443, flags: 'S' })),
    frame(
      'dmz',
      1,
      build.tcp({ src: '10.1.0.7', dst: '198.51.100.7', sport: 8443, dport: 5, flags: 'SA', ack: 1 }),
    ),
    frame('lan', 2, build.udp({ src: '10.0.0.5', dst: '192.0.2.1', sport: 5, dport: 53 })),
  ])
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** Durations differ from run to run. */
const timeless = (text: string): string =>
  text.replace(/ \([\d.]+ m?s\)/g, '').replace(/duration_ms: [\d.]+/g, 'duration_ms: 1')

async function run(command: string): Promise<string> {
  const argv = command.split(' ').slice(1)
  const { write } = process.stdout
  let text = ''
  process.stdout.write = (part: string | Uint8Array): boolean => {
    text += String(part)
    return true
  }
  try {
    await tunwall(argv.map((word) => (existsSync(join(folder, word)) ? join(folder, word) : word)))
  } finally {
    process.stdout.write = write
  }
  return timeless(text).replaceAll(`${folder}/`, '')
}

describe('commands print what the documentation says', () => {
  test.each(commands(blocks))('$command', async ({ command, output }) => {
    const plain = command.startsWith('tunwall test') ? `${command} --no-color` : command
    expect(await run(plain)).toBe(output)
  })
})

test('the mistake in a test file', async () => {
  const { text } = blocks.find(({ name }) => name === 'site/gateway.test.yaml')!
  const path = join(folder, 'gateway.test.yaml')
  writeFileSync(path, text.replace(' syn in wan', ' sin in wan').replace('host: .', 'host: site'))
  const told = blocks.find(
    ({ language, name, text }) => language === 'text' && name === '' && text.startsWith('site/'),
  )!
  expect(() => readSuite(path)).toThrow(told.text.trimEnd().replace('site/', ''))
})

describe('the TypeScript example', () => {
  // Its tests, with hosts from the folder of the examples.
  const { text } = blocks.find(({ name }) => name === 'shop.test.ts')!
  const code = text.replace(/^import .*\n/gm, '')
  const Here = { load: (name: string) => Host.load(join(folder, name)), from: Host.from }
  new Function('Host', 'icmp', 'tcp', 'udp', 'expect', 'test', code)(Here, icmp, tcp, udp, expect, test)
})

describe('packet words', () => {
  const said = docBlocks('packet-words.md')
    .filter(({ language }) => language === 'text')
    .flatMap(({ text }) => text.trimEnd().split('\n'))
  test.each(said.filter((line) => !line.startsWith('packet:')))('%s', (line) => {
    expect(parseWords(line).steps.length).toBeGreaterThan(0)
  })
  test('the mistake', () => {
    const told = said.find((line) => line.startsWith('packet:'))
    expect(() => parseWords('tcp 10.0.0.5:40000 > 10.96.0.10:80 sin in eth0')).toThrow(told!)
  })
})
