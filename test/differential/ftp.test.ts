// A real FTP server and client with a tunwall gateway between them, active and passive, through MASQUERADE and DNAT.
// Only what conntrack's helper announced comes through: the filter drops everything else.
//
//     namespace tw-ftp-PID-in          tunwall up              namespace tw-ftp-PID-out
//     eth0 10.0.1.2  ═══ TUN ═══ lan 10.0.1.1
//                                wan 10.0.2.1 ═══ TUN ═══ eth0 10.0.2.2, no way to 10.0.1.0/24

import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { writeFolder } from '../harness/capture.ts'
import { Gateway, MAIN } from '../harness/gateway.ts'
import { whyNoKernel } from '../harness/kernel.ts'

const missing = ['vsftpd', 'curl'].find((name) => spawnSync('sh', ['-c', `command -v ${name}`]).status !== 0)
const why =
  whyNoKernel() ??
  (missing !== undefined
    ? `the program ${missing} is missing`
    : existsSync(MAIN)
      ? null
      : 'dist is not built: npm run build')
if (why !== null) console.warn(`NOT RUN: no FTP through the gateway: ${why}`)

const [IN, OUT] = [`tw-ftp-${process.pid}-in`, `tw-ftp-${process.pid}-out`]
const HOST = `interfaces:
  lan:
    addresses: [10.0.1.1/24, "fd01::1/64"]
    port: { tun: { namespace: ${IN}, name: eth0, peer: [10.0.1.2/24, "fd01::2/64"], routes: [default via 10.0.1.1, "default via fd01::1"] } }
  wan:
    addresses: [10.0.2.1/24, "fd02::1/64"]
    port: { tun: { namespace: ${OUT}, name: eth0, peer: [10.0.2.2/24, "fd02::2/64"] } }
sysctls:
  net.ipv4.ip_forward: 1
  net.ipv6.conf.all.forwarding: 1
`
/** `inside`: where a connection from outside goes. */
const rules = (helper: string, inside = '10.0.1.2'): string => `*raw
-A PREROUTING -p tcp -m tcp --dport 21 -j ${helper}
COMMIT
*nat
-A PREROUTING -i wan -p tcp -m tcp --dport 21 -j DNAT --to-destination ${inside}
-A POSTROUTING -o wan -j MASQUERADE
COMMIT
*filter
:FORWARD DROP [0:0]
-A FORWARD -m conntrack --ctstate ESTABLISHED -j ACCEPT
-A FORWARD -m conntrack --ctstate RELATED -m helper --helper ftp -j ACCEPT
-A FORWARD -p tcp -m tcp --dport 21 -m conntrack --ctstate NEW -j ACCEPT
COMMIT
`
const CONTENT = 'a file worth having\n'.repeat(5000)

/** Arguments of curl. */
const MODES: readonly (readonly [name: string, argv: readonly string[], port: number])[] = [
  ['passive, EPSV', [], 0],
  ['passive, PASV', ['--disable-epsv'], 0],
  ['active, EPRT', ['-P', '-'], 20],
  ['active, PORT', ['-P', '-', '--disable-eprt'], 20],
]

describe.skipIf(why !== null)('FTP through the gateway', () => {
  let root: string
  const servers: ChildProcess[] = []
  const inside = (namespace: string, argv: readonly string[]): string =>
    execFileSync('ip', ['netns', 'exec', namespace, ...argv], { encoding: 'utf8', timeout: 30_000 })

  /** vsftpd in a namespace; resolves when it listens. */
  const serve = async (namespace: string): Promise<void> => {
    const directory = join(root, `ftp-${namespace}`)
    mkdirSync(directory)
    chmodSync(directory, 0o755)
    writeFileSync(join(directory, 'file'), CONTENT)
    const config = join(root, `${namespace}.conf`)
    writeFileSync(
      config,
      [
        'listen=NO',
        'listen_ipv6=YES',
        'background=NO',
        'anonymous_enable=YES',
        'no_anon_password=YES',
        'local_enable=NO',
        `anon_root=${directory}`,
        `secure_chroot_dir=${root}`,
        'connect_from_port_20=YES',
        'seccomp_sandbox=NO',
        'isolate_network=NO',
        '',
      ].join('\n'),
    )
    servers.push(spawn('ip', ['netns', 'exec', namespace, 'vsftpd', config], { stdio: 'ignore' }))
    for (const end = Date.now() + 5000; !inside(namespace, ['ss', '-ltn']).includes(':21 '); ) {
      if (Date.now() > end) throw new Error(`vsftpd does not listen in ${namespace}`)
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
  }

  /** What curl fetches, or its exit status. */
  const fetch = (namespace: string, server: string, argv: readonly string[]): string | number | null => {
    const done = spawnSync(
      'ip',
      ['netns', 'exec', namespace, 'curl', '-s', '-m', '3', ...argv, `ftp://${server}/file`],
      { encoding: 'utf8' },
    )
    return done.status === 0 ? done.stdout : done.status
  }

  const start = (name: string, iptables: string): Promise<Gateway> => {
    const directory = writeFolder(join(root, name), {
      'host.yaml': HOST,
      'iptables-save': iptables,
      'ip6tables-save': rules('CT --helper ftp', 'fd01::2'),
    })
    return new Gateway(directory, join(root, `${name}.socket`)).ready()
  }

  beforeAll(async () => {
    root = mkdtempSync(join(tmpdir(), 'tunwall-ftp-'))
    chmodSync(root, 0o755)
    for (const namespace of [IN, OUT]) execFileSync('ip', ['netns', 'add', namespace])
    for (const namespace of [IN, OUT]) {
      inside(namespace, ['ip', 'link', 'set', 'lo', 'up'])
      await serve(namespace)
    }
  })
  afterAll(async () => {
    for (const server of servers) server.kill()
    for (const namespace of [IN, OUT]) spawnSync('ip', ['netns', 'del', namespace])
    rmSync(root, { recursive: true, force: true })
  })

  describe('with the helper', () => {
    let gateway: Gateway | undefined
    beforeAll(async () => {
      gateway = await start('with', rules('CT --helper ftp'))
    })
    afterAll(async () => {
      await gateway?.stop()
    })

    test.each(MODES)('client behind MASQUERADE: %s', (_, argv, port) => {
      expect(fetch(IN, '10.0.2.2', argv)).toBe(CONTENT)
      const flows = gateway!.tool('conntrack', '-L').stdout
      expect(flows).toMatch(/dport=21 .* helper=ftp /)
      expect(flows).toMatch(
        port === 20 ? /src=10\.0\.2\.2 dst=10\.0\.2\.1 sport=20 / : /src=10\.0\.1\.2 dst=10\.0\.2\.2 /,
      )
    })

    test.each(MODES)('server behind DNAT: %s', (_, argv) => {
      expect(fetch(OUT, '10.0.2.1', argv)).toBe(CONTENT)
    })

    const MODES6 = [MODES[0]!, MODES[2]!]
    test.each(MODES6)('IPv6, client behind MASQUERADE: %s', (_, argv, port) => {
      expect(fetch(IN, '[fd02::2]', argv)).toBe(CONTENT)
      const flows = gateway!.tool('conntrack', '-L', '-f', 'ipv6').stdout
      expect(flows).toMatch(/dport=21 .* helper=ftp /)
      expect(flows).toMatch(port === 20 ? /src=fd02::2 dst=fd02::1 sport=20 / : /src=fd01::2 dst=fd02::2 /)
    })

    test.each(MODES6)('IPv6, server behind DNAT: %s', (_, argv) => {
      expect(fetch(OUT, '[fd02::1]', argv)).toBe(CONTENT)
    })

    test('several clients at once', async () => {
      const all = MODES.map(
        ([, argv]) =>
          new Promise<string>((resolve) => {
            const child = spawn('ip', [
              'netns',
              'exec',
              IN,
              'curl',
              '-s',
              '-m',
              '10',
              ...argv,
              'ftp://10.0.2.2/file',
            ])
            let text = ''
            child.stdout.on('data', (part) => {
              text += part
            })
            child.on('close', () => resolve(text))
          }),
      )
      expect(await Promise.all(all)).toEqual(MODES.map(() => CONTENT))
    })
  })

  describe('without the helper', () => {
    let gateway: Gateway | undefined
    beforeAll(async () => {
      gateway = await start('without', rules('CT --zone 0'))
    })
    afterAll(async () => {
      await gateway?.stop()
    })
    test.each(MODES.slice(0, 1))('no data: %s', (_, argv) => {
      expect(fetch(IN, '10.0.2.2', argv)).toBeTypeOf('number')
    })
    test('no data: active, PORT', () => {
      expect(fetch(IN, '10.0.2.2', MODES[3]![1])).toBeTypeOf('number')
    })
  })
})
