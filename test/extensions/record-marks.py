#!/usr/bin/env python3
"""Asks the kernel what HMARK makes of the frames of test/data/extensions/kernel.json, and which of them BPF programs let
pass: writes test/data/extensions/marks.json. Run as root: test/extensions/record-marks.py; the namespace ends with the
process. A mark below 64 comes out as the TTL."""
import fcntl, json, os, random, shlex, struct, subprocess, sys

here = os.path.dirname(os.path.abspath(__file__))
data = os.path.join(here, '..', 'data', 'extensions')
if os.environ.get('TUNWALL_RECORD') != '1':
    env = dict(os.environ, TUNWALL_RECORD='1', XTABLES_LOCKFILE=f'/tmp/tunwall-marks-{os.getpid()}.lock', LC_ALL='C')
    sys.exit(subprocess.call(['unshare', '-n', sys.executable, os.path.abspath(__file__)], env=env))


def tun(name):
    fd = os.open('/dev/net/tun', os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(fd, 0x400454CA, struct.pack('16sH22x', name.encode(), 0x1001))
    return fd


def run(line, text=None):
    done = subprocess.run(shlex.split(line), capture_output=True, text=True, input=text)
    if done.returncode:
        sys.exit(f'{line}: {done.stderr}')


def drain(fd):
    out = []
    while True:
        try:
            out.append(os.read(fd, 65536))
        except BlockingIOError:
            return out


first, second = tun('tun0'), tun('tun1')
for line in ('ip link set lo up', 'ip link set tun0 up mtu 1300', 'ip link set tun1 up mtu 1400', 'ip addr add 10.0.0.1/24 dev tun0',
             'ip addr add 10.1.0.1/24 dev tun1', 'ip route add default via 10.1.0.254 dev tun1', 'ip route add 10.1.255.0/24 dev tun1 mtu 900',
             'ip route add 172.16.0.0/12 dev tun0 mtu 600',
             'sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.tun0.rp_filter=0 net.ipv4.conf.tun0.accept_local=1 net.ipv4.icmp_ratelimit=0 net.ipv4.icmp_ratemask=0'):
    run(line)
with open(os.path.join(data, 'kernel.json')) as f:
    kernel = json.load(f)
frames = [bytes.fromhex(p) for p in kernel['packets']]


def through(rules):
    """TTL of each frame as it leaves, None for one that does not; None alone for rules that are refused."""
    text = '*mangle\n' + ''.join(f'-A FORWARD {r}\n' for r in rules) + 'COMMIT\n'
    if subprocess.run(['iptables-legacy-restore'], capture_output=True, text=True, input=text).returncode:
        return None
    got = []
    for frame in frames:
        drain(first), drain(second)
        os.write(first, frame)
        out = [x for x in drain(second) if x[0] >> 4 == 4]
        got.append(out[0][8] if out else None)
    return got


r = random.Random(11)
HMARK = [f'--hmark-tuple {t} --hmark-mod 64 --hmark-rnd {r.randrange(2**32)}' for t in ('src', 'dst', 'src,dst', 'sport,dport', 'src,dst,sport,dport,proto', 'proto', 'spi', 'src,spi,proto', 'sport', 'dport')]
HMARK += [f'--hmark-src-prefix {a} --hmark-dst-prefix {b} --hmark-sport-mask {r.randrange(65536)} --hmark-dport-mask {r.randrange(65536)} --hmark-proto-mask {r.randrange(65536)} --hmark-mod {m} --hmark-offset {64 - m} --hmark-rnd {r.randrange(2**32)}' for a, b, m in ((0, 32, 1), (24, 8, 2), (31, 1, 63), (16, 16, 33))]
HMARK += ['--hmark-sport 5 --hmark-dport 7 --hmark-mod 64 --hmark-rnd 1', '--hmark-spi-mask 0xff00ff --hmark-spi 0x10000 --hmark-mod 64 --hmark-rnd 0', '--hmark-tuple ct --hmark-mod 64 --hmark-rnd 5']
LOADS = [0x20, 0x28, 0x30, 0x40, 0x48, 0x50]
ALU = [0x00, 0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70, 0x90, 0xA0]


def program():
    """A random program that the verifier takes."""
    n = r.randrange(2, 14)
    out = ['4 0 0 0'] if n < 3 else []
    if r.random() < 0.5:
        out.append('2 0 0 3')
    stored = bool(out) and out[-1] == '2 0 0 3'
    while len(out) < n:
        left = n - len(out)
        pick = r.randrange(8)
        if pick <= 1:
            code = r.choice(LOADS)
            k = r.choice([0, 1, 2, 4, 8, 9, 12, 16, 19, 20, 22, 27, 28, 32, 40, 0xFFF00000, 0xFFF00009, 0xFFE00000, 0xFFFFFFFF, 0xFFF00400]) if code < 0x40 else r.choice([0, 1, 20, 0xFFFFFFFF, 0x7FFFFFFF, 0xFFF00000])
            out.append(f'{code} 0 0 {k}')
        elif pick == 2:
            out.append(r.choice([f'177 0 0 {r.choice([0, 9, 0xFFF00000])}', '7 0 0 0', '135 0 0 0', '128 0 0 0', '129 0 0 0', f'0 0 0 {r.randrange(2**32)}', f'1 0 0 {r.randrange(40)}', '132 0 0 0']))
        elif pick <= 4:
            op = r.choice(ALU)
            if r.random() < 0.5:
                out.append(f'{4 | op | 8} 0 0 0')
            else:
                k = r.randrange(32) if op in (0x60, 0x70) else r.choice([1, 3, 0xFF, 0xFFFF, 0x80000000, 0xFFFFFFFF, r.randrange(1, 2**32)])
                out.append(f'{4 | op} 0 0 {k}')
        elif pick == 5 and stored:
            out.append(r.choice(['96 0 0 3', '97 0 0 3', '3 0 0 3', '2 0 0 3']))
        elif pick == 6:
            out.append(f'32 0 0 {0xFFFFF000 + r.choice([0, 4, 8, 12, 20, 24, 28, 40, 44, 48, 52, 60])}')
        else:
            out.append(f'{5 | r.choice([0x10, 0x20, 0x30, 0x40]) | r.choice([0, 8])} {r.randrange(left)} {r.randrange(left)} {r.choice([0, 1, 6, 17, 40, 0x45, 80, 53, 0x800, r.randrange(2**32)])}')
    out += [r.choice(['22 0 0 0', '6 0 0 1', '6 0 0 0'])] if r.random() < 0.4 else ['84 0 0 1', '22 0 0 0']
    return f'{len(out)},' + ','.join(out)


answer = {'hmark': {}, 'bpf': {}}
for rule in HMARK:
    answer['hmark'][rule] = through([f'-j HMARK {rule}'] + [f'-m mark --mark {i} -j TTL --ttl-set {i + 1}' for i in range(65)])
for _ in range(int(os.environ.get('TUNWALL_SCENARIOS', '150'))):
    text = program()
    ttls = through([f'-m bpf --bytecode "{text}" -j TTL --ttl-set 1'])
    answer['bpf'][text] = None if ttls is None else ''.join('x' if t is None else '1' if t == 1 else '0' for t in ttls)
with open(os.path.join(data, 'marks.json'), 'w') as f:
    json.dump(answer, f)
    f.write('\n')
print(len(HMARK), 'HMARK', len(answer['bpf']), 'programs')
