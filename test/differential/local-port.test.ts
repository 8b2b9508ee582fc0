// The local port with real programs: web servers and a transparent proxy behind INPUT, clients in front of OUTPUT.
//
//     namespace C             tunwall up                 namespace S
//     eth0 10.0.1.2  ═══ lan 10.0.1.1   wan 10.0.2.1 ═══ eth0 10.0.2.2, a web server
//                             lo ═══ local0 in namespace L: a web server, a proxy, clients

import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { writeFolder } from '../harness/capture.ts'
import { Gateway, MAIN, run } from '../harness/gateway.ts'
import { repositoryRoot, whyNoKernel } from '../harness/kernel.ts'

const missing = ['curl', 'ping', 'python3'].find(
  (p) => spawnSync('sh', ['-c', `command -v ${p}`]).status !== 0,
)
const why =
  whyNoKernel() ??
  (existsSync(MAIN) ? null : 'dist is not built: npm run build') ??
  (missing === undefined ? null : `the program ${missing} is missing`)
if (why !== null) console.warn(`NOT RUN: nobody stands behind a local port: ${why}`)

const [C, S, L] = ['c', 's', 'l'].map((n) => `tw-lp-${process.pid}-${n}`) as [string, string, string]
const root = why === null ? mkdtempSync(join(tmpdir(), 'tunwall-local-')) : ''

const YAML = `interfaces:
  lan:
    addresses: [10.0.1.1/24, fd00:1::1/64]
    port:
      tun:
        namespace: ${C}
        name: eth0
        peer: [10.0.1.2/24, fd00:1::2/64]
        routes: [default via 10.0.1.1, default via fd00:1::1]
  wan:
    addresses: [10.0.2.1/24, fd00:2::1/64]
    mtu: 1400
    port: { tun: { namespace: ${S}, name: eth0, peer: [10.0.2.2/24, fd00:2::2/64], routes: [default via fd00:2::1] } }
local: { tun: { namespace: ${L} } }
rules: [fwmark 1 table 100, -6 fwmark 1 table 100]
routes:
  - local default dev lo table 100
  - -6 local default dev lo table 100
  - fd00:3::/64 via fd00:2::2
  - fd00:99::/64 via fd00:2::2
  - -6 unreachable fd00:5::/64
  - 10.0.3.0/24 via 10.0.2.2
  - 198.51.100.0/24 via 10.0.2.2
  - prohibit 10.0.4.0/24
  - unreachable 10.0.5.0/24
sysctls:
  net.ipv4.ip_forward: 1
  net.ipv6.conf.all.forwarding: 1
`
const RULES6 = `*mangle
-A PREROUTING -i lan -d fd00:3::/64 -p tcp -m tcp --dport 80 -j TPROXY --on-port 3128 --tproxy-mark 1
COMMIT
*nat
-A PREROUTING -i lan -p tcp -m tcp --dport 81 -j REDIRECT --to-ports 8080
-A OUTPUT -d fd00:99::1/128 -p tcp -m tcp --dport 80 -j DNAT --to-destination [fd00:1::1]:8080
-A OUTPUT -d fd00:99::2/128 -p tcp -m tcp --dport 80 -j DNAT --to-destination [fd00:2::2]:80
-A POSTROUTING -o lan -p tcp -j MASQUERADE
COMMIT
*filter
-A INPUT -i lan -p tcp -m tcp --dport 22 -j REJECT --reject-with tcp-reset
-A OUTPUT -o wan -p udp -m udp --dport 9 -j REJECT
COMMIT
`
const RULES = `*mangle
-A PREROUTING -i lan -d 10.0.3.0/24 -p tcp -m tcp --dport 80 -j TPROXY --on-port 3128 --tproxy-mark 1
-A PREROUTING -i lan -d 10.0.3.0/24 -p tcp -m tcp --dport 3128 -j TPROXY --on-port 0 --tproxy-mark 1
COMMIT
*nat
-A PREROUTING -i lan -p tcp -m tcp --dport 81 -j REDIRECT --to-ports 8080
-A OUTPUT -d 198.51.100.1 -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.0.1.1:8080
-A OUTPUT -d 198.51.100.2 -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.0.2.2:80
-A POSTROUTING -o lan -p tcp -j MASQUERADE
COMMIT
*filter
-A INPUT -i lan -p tcp -m tcp --dport 22 -j REJECT --reject-with tcp-reset
-A INPUT -i lan -p tcp -m tcp --dport 23 -j DROP
-A OUTPUT -o wan -p udp -m udp --dport 9 -j REJECT
-A OUTPUT -o wan -p tcp -m tcp --dport 80
COMMIT
`

const PROXY = `
import socket
s = socket.socket(socket.AF_INET6)
s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.setsockopt(socket.SOL_IP, 19, 1)
s.setsockopt(socket.IPPROTO_IPV6, 75, 1)
s.bind(('::', 3128))
s.listen(9)
print('listening', flush=True)
while True:
    c, peer = s.accept()
    c.recv(4096)
    text = ('proxy: %s to %s:%d\\n' % ((peer[0],) + c.getsockname()[:2])).replace('::ffff:', '').encode()
    c.sendall(b'HTTP/1.0 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n' % len(text) + text)
    c.close()
`

/** CURLE_COULDNT_CONNECT. */
const REFUSED = 7

describe.skipIf(why !== null)('a local port', () => {
  const children: ChildProcess[] = []
  let gateway: Gateway

  const inside = (namespace: string, ...argv: string[]) => {
    const done = spawnSync('ip', ['netns', 'exec', namespace, ...argv], { encoding: 'utf8', timeout: 30_000 })
    return { code: done.status, out: done.stdout, err: done.stderr }
  }
  const get = (namespace: string, url: string): string => {
    const done = inside(namespace, 'curl', '-sS', '-m', '5', url)
    return done.code === 0 ? done.out : done.err
  }
  const start = (namespace: string, ...argv: string[]): Promise<void> => {
    const child = spawn('ip', ['netns', 'exec', namespace, ...argv], { stdio: ['ignore', 'pipe', 'inherit'] })
    children.push(child)
    return new Promise((resolve, reject) => {
      child.stdout!.once('data', () => resolve())
      child.once('exit', (code) => reject(new Error(`${argv[0]} ended: ${code}`)))
    })
  }
  /** What a Python program says. */
  const python = (namespace: string, text: string): string => {
    const done = inside(namespace, 'python3', '-c', text)
    return (done.out + done.err).trim()
  }

  beforeAll(async () => {
    for (const name of [C, S, L]) execFileSync('ip', ['netns', 'add', name])
    const folder = writeFolder(join(root, 'host'), {
      'host.yaml': YAML,
      'iptables-save': RULES,
      'ip6tables-save': RULES6,
    })
    gateway = await new Gateway(folder, join(root, 'socket')).ready()
    execFileSync('ip', ['-n', S, 'route', 'add', 'default', 'via', '10.0.2.1'])
    execFileSync('ip', ['-n', S, 'addr', 'add', '10.0.3.2/32', 'dev', 'lo'])
    execFileSync('ip', ['-n', S, 'link', 'set', 'lo', 'up'])
    writeFileSync(join(root, 'proxy.py'), PROXY)
    const web = join(repositoryRoot(), 'scripts/lab/web.js')
    await Promise.all([
      start(L, process.execPath, web, '8080', 'local'),
      start(S, process.execPath, web, '80', 'server'),
      start(L, 'python3', join(root, 'proxy.py')),
    ])
  })
  afterAll(async () => {
    for (const child of children) child.kill('SIGKILL')
    await gateway?.stop()
    for (const name of [C, S, L]) spawnSync('ip', ['netns', 'del', name])
    rmSync(root, { recursive: true, force: true })
  })

  test('a server behind the gateway’s own addresses', () => {
    expect(get(C, 'http://10.0.1.1:8080/')).toBe('hello from local, you are 10.0.1.2\n')
    expect(get(C, 'http://10.0.2.1:8080/')).toBe('hello from local, you are 10.0.1.2\n')
    expect(get(S, 'http://10.0.2.1:8080/')).toBe('hello from local, you are 10.0.2.2\n')
  })

  test('REDIRECT', () => {
    expect(get(C, 'http://10.0.3.2:81/')).toBe('hello from local, you are 10.0.1.2\n')
  })

  test('a transparent proxy behind TPROXY, on the port of the connection and on another', () => {
    expect(get(C, 'http://10.0.3.2:3128/')).toBe('proxy: 10.0.1.2 to 10.0.3.2:3128\n')
    expect(get(C, 'http://10.0.3.2/')).toBe('proxy: 10.0.1.2 to 10.0.3.2:3128\n')
    const flows = gateway.tool('conntrack', '-L', '-p', 'tcp', '--dport', '80', '-d', '10.0.3.2').stdout
    expect(flows).toMatch(
      /src=10\.0\.1\.2 dst=10\.0\.3\.2 .*dport=80 src=10\.0\.3\.2 dst=10\.0\.1\.2 sport=80 /,
    )
  })

  test('what the kernel of the namespace answers', () => {
    expect(inside(C, 'ping', '-c', '1', '-W', '3', '10.0.1.1').code).toBe(0)
    expect(inside(C, 'ping', '-c', '1', '-W', '3', '-s', '4000', '10.0.1.1').code).toBe(0)
    expect(inside(C, 'curl', '-sS', 'http://10.0.1.1:9999/').code).toBe(REFUSED)
    const closed = `import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(3)
s.connect(('10.0.1.1', 9))
s.send(b'x')
try: s.recv(1)
except Exception as e: print(e)`
    expect(python(C, closed)).toContain('Connection refused')
  })

  test('INPUT decides', () => {
    expect(inside(C, 'curl', '-sS', 'http://10.0.1.1:22/').code).toBe(REFUSED)
    expect(inside(C, 'curl', '-sS', '-m', '1', 'http://10.0.1.1:23/').err).toContain('timed out')
  })

  test('clients: the route’s source address, counted in OUTPUT, MASQUERADE', () => {
    expect(get(L, 'http://10.0.2.2/')).toBe('hello from server, you are 10.0.2.1\n')
    expect(get(L, 'http://10.0.3.2/')).toBe('hello from server, you are 10.0.2.1\n')
    expect(inside(L, 'ping', '-c', '1', '-W', '3', '10.0.1.2').code).toBe(0)
    const counted = /\[(\d+):\d+\] -A OUTPUT -o wan -p tcp/.exec(gateway.tool('iptables-save', '-c').stdout)
    expect(Number(counted![1])).toBeGreaterThan(8)
  })

  test('DNAT in OUTPUT: to a neighbour, and back to a server of this host', () => {
    expect(get(L, 'http://198.51.100.2/')).toBe('hello from server, you are 10.0.2.1\n')
    expect(get(L, 'http://198.51.100.1/')).toMatch(/^hello from local, you are 10\.0\.\d\.1\n$/)
  })

  test('its own addresses: through OUTPUT, lo and INPUT', () => {
    const before =
      inside(L, 'true') &&
      Number(gateway.sh('iptables -L INPUT -v -x -n').stdout.match(/policy ACCEPT (\d+)/)![1])
    expect(get(L, 'http://10.0.1.1:8080/')).toBe('hello from local, you are 10.0.1.1\n')
    expect(get(L, 'http://127.0.0.1:8080/')).toBe('hello from local, you are 127.0.0.1\n')
    const after = Number(gateway.sh('iptables -L INPUT -v -x -n').stdout.match(/policy ACCEPT (\d+)/)![1])
    expect(after - before).toBeGreaterThan(16)
  })

  test('a sender is told why its packet has no way', () => {
    const send = (to: string): string =>
      python(
        L,
        `import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(3)
s.setsockopt(socket.SOL_IP, 11, 1)
s.connect(('${to}', 9))
s.send(b'x')
try: s.recv(1)
except Exception as e: print(e)`,
      )
    expect(send('10.0.5.1')).toContain('No route to host')
    expect(send('10.0.4.1')).toContain('No route to host')
    expect(send('203.0.113.1')).toContain('Network is unreachable')
    // A rule of OUTPUT.
    expect(send('10.0.2.2')).toContain('Connection refused')
  })

  test('a big download: segments fit the way out', () => {
    const out = inside(
      S,
      'python3',
      '-c',
      `import socket, threading
s = socket.socket(); s.bind(('10.0.2.2', 7000)); s.listen(1)
import subprocess
c = subprocess.Popen(['ip', 'netns', 'exec', '${L}', 'python3', '-c', '''
import socket
s = socket.create_connection(("10.0.2.2", 7000)); s.sendall(b"x" * 3000000); s.close()
'''])
k, _ = s.accept(); k.settimeout(10); n = 0
while True:
    d = k.recv(65536)
    if not d: break
    n += len(d)
print(n)`,
    )
    expect(out.out.trim()).toBe('3000000')
  })

  test('IPv6: servers, REDIRECT, TPROXY, clients, DNAT in OUTPUT', () => {
    expect(get(C, 'http://[fd00:1::1]:8080/')).toBe('hello from local, you are fd00:1::2\n')
    expect(get(C, 'http://[fd00:3::2]:81/')).toBe('hello from local, you are fd00:1::2\n')
    expect(get(C, 'http://[fd00:3::2]/')).toBe('proxy: fd00:1::2 to fd00:3::2:3128\n')
    expect(get(L, 'http://[fd00:2::2]/')).toBe('hello from server, you are fd00:2::1\n')
    expect(get(L, 'http://[fd00:99::2]/')).toBe('hello from server, you are fd00:2::1\n')
    expect(get(L, 'http://[fd00:99::1]:80/')).toMatch(/^hello from local, you are fd00:\d::1\n$/)
    expect(get(L, 'http://[fd00:1::1]:8080/')).toBe('hello from local, you are fd00:1::1\n')
    expect(get(L, 'http://[::1]:8080/')).toBe('hello from local, you are ::1\n')
    expect(inside(C, 'ping', '-6', '-c', '1', '-W', '3', '-s', '4000', 'fd00:1::1').code).toBe(0)
    expect(inside(L, 'ping', '-6', '-c', '1', '-W', '3', 'fd00:2::2').code).toBe(0)
    expect(inside(C, 'curl', '-sS', 'http://[fd00:1::1]:22/').code).toBe(REFUSED)
    const send = (to: string): string =>
      python(
        L,
        `import socket
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
s.settimeout(3)
s.setsockopt(socket.IPPROTO_IPV6, 25, 1)
s.connect(('${to}', 9))
s.send(b'x')
try: s.recv(1)
except Exception as e: print(e)`,
      )
    expect(send('fd00:2::2')).toContain('Connection refused')
    expect(send('fd00:5::1')).toContain('No route to host')
    expect(send('2001:db8::1')).toContain('Network is unreachable')
  })

  test('addresses and routes that come and go', () => {
    const ip = (...argv: string[]) =>
      expect(gateway.tool('ip', ...argv)).toMatchObject({ code: 0, stderr: '' })
    ip('addr', 'add', '10.0.1.77/24', 'dev', 'lan')
    ip('route', 'add', '10.0.9.0/24', 'via', '10.0.2.2', 'src', '10.0.1.77')
    const routes = () => inside(L, 'ip', 'route', 'show', 'table', '29812').out
    for (const end = Date.now() + 3000; !routes().includes('10.0.9.0') && Date.now() < end; );
    expect(inside(L, 'ip', 'route', 'get', '10.0.9.1').out).toContain('src 10.0.1.77')
    expect(get(C, 'http://10.0.1.77:8080/')).toBe('hello from local, you are 10.0.1.2\n')
    ip('addr', 'del', '10.0.1.77/24', 'dev', 'lan')
    for (const end = Date.now() + 3000; routes().includes('10.0.9.0') && Date.now() < end; );
    expect(inside(L, 'ip', 'addr').out).not.toContain('10.0.1.77')
    expect(routes()).not.toContain('10.0.9.0')
  })

  test('the namespace is as it was afterwards', async () => {
    expect(await gateway.stop()).toBe(0)
    expect(inside(L, 'ip', 'rule').out).toBe(
      '0:\tfrom all lookup local\n32766:\tfrom all lookup main\n32767:\tfrom all lookup default\n',
    )
    expect(inside(L, 'ip', 'link').out).not.toContain('local0')
  })

  test('no such namespace', () => {
    const yaml = 'local: { tun: { namespace: tw-nowhere } }\n'
    const folder = writeFolder(join(root, 'bad'), { 'host.yaml': yaml })
    const done = run(['up', '--host', folder], { socket: join(root, 'nobody') })
    expect(done).toMatchObject({ code: 2, stdout: '' })
    expect(done.stderr).toMatch(/^.*host\.yaml:1:8: there is no network namespace tw-nowhere: .*\n$/)
  })
})
