#!/usr/bin/env python3
"""Asks the machine's own kernel which packets each match fits, and what each target makes of them, and writes
test/data/extensions/kernel.json: every rule alone in mangle FORWARD of a fresh namespace, every packet through it from one TUN device to
another. Run as root: test/extensions/record-kernel.py; the namespace ends with the process.

For a match: one letter a packet, `1` it fits, `0` it does not, `x` the packet is gone (hotdrop, or refused before).
For a target: the frame that left, in hex, or null, or `=` for the one that leaves without a rule (`plain`).
"""
import fcntl, json, os, random, socket, struct, subprocess, sys

here = os.path.dirname(os.path.abspath(__file__))
if os.environ.get('TUNWALL_RECORD') != '1':
    env = dict(os.environ, TUNWALL_RECORD='1', XTABLES_LOCKFILE=f'/tmp/tunwall-record-{os.getpid()}.lock', LC_ALL='C')
    done = subprocess.call(['unshare', '-n', sys.executable, os.path.abspath(__file__)], env=env)
    if os.path.exists(env['XTABLES_LOCKFILE']):
        os.unlink(env['XTABLES_LOCKFILE'])
    sys.exit(done)

SRC, DST = '10.0.0.2', '10.1.0.2'


def tun(name):
    f = os.open('/dev/net/tun', os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(f, 0x400454CA, struct.pack('16sH', name.encode(), 0x1001))
    return f


def run(line):
    return subprocess.run(line, shell=True, capture_output=True, text=True, timeout=20)


def csum(b):
    b += b'\0' * (len(b) % 2)
    s = sum(struct.unpack(f'!{len(b) // 2}H', b))
    while s >> 16:
        s = (s & 0xFFFF) + (s >> 16)
    return ~s & 0xFFFF


def ip(proto, payload, src=SRC, dst=DST, ttl=64, tos=0, ident=1, frag=0, opt=b''):
    head = 20 + len(opt)
    h = struct.pack('!BBHHHBBH4s4s', 0x40 | head // 4, tos, head + len(payload), ident, frag, ttl, proto, 0,
                    socket.inet_aton(src), socket.inet_aton(dst)) + opt
    return h[:10] + struct.pack('!H', csum(h)) + h[12:] + payload


def seal(proto, segment, at, src=SRC, dst=DST):
    pseudo = socket.inet_aton(src) + socket.inet_aton(dst) + struct.pack('!BBH', 0, proto, len(segment))
    return segment[:at] + struct.pack('!H', csum(pseudo + segment)) + segment[at + 2 :]


def tcp(sport=1000, dport=80, flags=2, opt=b'', data=b'', doff=None, src=SRC, dst=DST):
    doff = (20 + len(opt)) // 4 if doff is None else doff
    return seal(6, struct.pack('!HHIIBBHHH', sport, dport, 1, 2, doff << 4, flags, 1000, 0, 0) + opt + data, 16, src, dst)


def udp(sport=1000, dport=53, data=b'data'):
    return seal(17, struct.pack('!HHHH', sport, dport, 8 + len(data), 0) + data, 6)


def icmp(kind, code, data=b'\0\1\0\1abcd'):
    b = struct.pack('!BBH', kind, code, 0) + data
    return b[:2] + struct.pack('!H', csum(b)) + b[4:]


def chunk(kind, flags=0, size=4, data=b''):
    return struct.pack('!BBH', kind, flags, size) + data


def sctp(chunks, sport=1000, dport=80):
    return struct.pack('!HHII', sport, dport, 0, 0) + chunks


def dccp(kind, rest=b'', x=1, doff=None, sport=1000, dport=80):
    return struct.pack('!HHBBHBBH', sport, dport, (12 + len(rest)) // 4 if doff is None else doff, 0, 0,
                       kind << 1 | x, 0, 0) + rest


mss = lambda n: struct.pack('!BBH', 2, 4, n)
OPTIONS = [
    b'', mss(1460), mss(536), mss(535), mss(100), b'\1\1\1\1', b'\1' + mss(1460) + b'\1\1\0', b'\1\1' + mss(1460) + b'\0\0',
    b'\1\1\1' + mss(1460) + b'\0', b'\4\2\1\1' + mss(1400), b'\2\3\5\xb4', b'\x08\x0a' + b'\0' * 8 + mss(1300) + b'\0\0',
    b'\x08\0\0\0', b'\0\0\0\0' + mss(1200), b'\x08\x28' + b'\0' * 38, b'\xfd\x40\0\0', b'\1\1\1\2', b'\1\1\1\x08', b'\1\1\1\xfe',
]
packets = [ip(6, tcp(opt=o)) for o in OPTIONS]
packets += [ip(6, tcp(opt=o, data=b'data')) for o in OPTIONS[:4]]
packets += [ip(6, tcp(flags=f)) for f in (0, 1, 2, 4, 0x10, 0x12, 0x18, 0x29, 0x3F, 0xFF)]
packets += [ip(6, tcp(sport=s, dport=d)) for s, d in ((0, 0), (1, 65535), (1023, 79), (1024, 80), (1025, 81), (65535, 443), (80, 1000))]
packets += [ip(6, tcp()[:n]) for n in (0, 3, 4, 8, 13, 19)]
packets += [ip(6, tcp(doff=d, data=b'x' * 8)) for d in (0, 4, 5, 6, 7, 8, 15)]
packets += [ip(6, tcp(opt=mss(1460), data=b'x' * 8), frag=0x2000)]
packets += [ip(6, b'\0P\0P' + b'\x50' * 28, frag=f) for f in (1, 2, 3, 0x2001, 0x2004)]
packets += [ip(17, udp(sport=s, dport=d)) for s, d in ((0, 0), (53, 53), (52, 54), (54, 52), (65535, 65535), (1000, 1000))]
packets += [ip(17, udp()[:n]) for n in (0, 2, 4, 7, 8)]
packets += [ip(17, b'\0\x35\0\x35' + b'\0' * 12, frag=f) for f in (1, 2, 0x2003)]
packets += [ip(17, udp(data=b'x' * 12)[:16], frag=0x2000)]
packets += [ip(136, udp()), ip(136, udp()[:5])]
packets += [ip(1, icmp(k, c)) for k, c in ((0, 0), (8, 0), (8, 1), (3, 0), (3, 3), (3, 4), (3, 5), (5, 1), (11, 0), (13, 7), (18, 0), (40, 2), (255, 255))]
packets += [ip(1, icmp(8, 0)[:n]) for n in (0, 1, 4, 7, 8)]
packets += [ip(1, b'\x08\0' * 8, frag=f) for f in (1, 5)]
packets += [ip(17, udp(), tos=t) for t in (1, 2, 3, 4, 8, 0x10, 0x12, 0x20, 0x2E, 0xB8, 0xBB, 0xC0, 0xFC, 0xFF)]
packets += [ip(17, udp(), ttl=t) for t in (3, 4, 64, 65, 128, 255)]
packets += [ip(17, udp(data=b'x' * n)) for n in (0, 1, 71, 72, 73, 1000)]
packets += [ip(17, udp(), opt=b'\x01\x01\x01\x00'), ip(6, tcp(opt=mss(1460)), opt=b'\x94\x04\0\0')]
packets += [ip(17, udp(), src=s) for s in ('10.0.0.1', '10.0.0.9', '10.0.0.10', '10.0.1.0', '9.255.255.255', '172.16.0.1', '200.1.1.1', '10.0.0.255', '223.255.255.255')]
packets += [ip(17, udp(), dst=d) for d in ('10.1.0.3', '10.1.0.9', '10.1.0.10', '10.1.255.1', '10.2.0.1', '198.51.100.1', '250.0.0.1')]
packets += [ip(50, struct.pack('!II', s, 1)) for s in (0, 1, 5, 7, 500, 501, 0xFFFFFFFF)] + [ip(50, b'\0' * n) for n in (0, 4, 7)]
packets += [ip(51, struct.pack('!BBHII', 6, 4, 0, s, 1)) for s in (0, 5, 500, 0xFFFFFFFF)] + [ip(51, b'\0' * n) for n in (0, 8, 11)]
packets += [ip(50, b'\0' * 8, frag=4), ip(51, b'\0' * 16, frag=4)]
packets += [ip(132, sctp(c)) for c in (
    chunk(0), chunk(1), chunk(0) + chunk(1), chunk(0, 2), chunk(0, 1), chunk(0, 3), chunk(0, 0) + chunk(0, 3), chunk(6, 1), chunk(6, 0),
    chunk(3) + chunk(0, 4) + chunk(14, 1), b'', b'\0\0', chunk(0, 0, 0), chunk(0, 0, 3), chunk(0, 0, 8, b'abcd'), chunk(0, 0, 100),
    chunk(0) + chunk(1, 0, 0), chunk(0) + b'\1\0', chunk(193) + chunk(128) + chunk(192), chunk(0, 0, 5, b'a\0\0\0') + chunk(1))]
packets += [ip(132, sctp(chunk(0), s, d)) for s, d in ((0, 0), (3, 80), (5, 79), (65535, 81))] + [ip(132, b'\0' * n) for n in (0, 4, 11, 12)]
packets += [ip(132, b'\0' * 24, frag=2)]
packets += [ip(33, dccp(k, b'\0' * 12)) for k in range(16)]
packets += [ip(33, dccp(0, b'\0' * 8 + o)) for o in (b'\5\4\0\0', b'\0\0\0\5', b'\x20\0\0\5', b'\x24\3\0\5', b'')]
packets += [ip(33, dccp(2, b'\0' * 4 + b'\5\0\0\0')), ip(33, dccp(2, b'\5\0\0\0', x=0)), ip(33, dccp(3, b'\0' * 12 + b'\5\0\0\0')), ip(33, dccp(7, b'\0' * 16 + b'\5\0\0\0'))]
packets += [ip(33, dccp(0, b'\0' * 8, doff=d)) for d in (0, 4, 5, 6, 255)] + [ip(33, b'\0' * n) for n in (0, 8, 11)]
packets += [ip(33, b'\0' * 24, frag=2), ip(47, b'\0' * 8)]
r = random.Random(7)
for _ in range(60):
    opt = bytes(r.choice([0, 1, 1, 2, 2, 4, 5, 8, 8, 10, 254, r.randrange(256)]) for _ in range(4 * r.randrange(1, 11)))
    packets.append(ip(6, tcp(sport=r.randrange(65536), dport=r.choice([22, 80, 443, r.randrange(65536)]), flags=r.choice([2, 2, 0x12, r.randrange(64)]), opt=opt, data=b'x' * r.choice([0, 0, 3, 4])), tos=r.randrange(256), ttl=r.randrange(3, 256)))

MATCHES = [
    '-p tcp -m tcp', '-p tcp --sport 1024', '-p tcp --dport 80', '-p tcp ! --dport 80', '-p tcp --dport 0', '-p tcp --dport 65535', '-p tcp --sport 1024:65535',
    '-p tcp --dport :79', '-p tcp --dport 80:443', '-p tcp ! --sport 1:1023 ! --dport 80:81', '-p tcp ! --dport 0:65535', '-p tcp --syn', '-p tcp ! --syn',
    '-p tcp --tcp-flags ALL NONE', '-p tcp --tcp-flags ALL ALL', '-p tcp --tcp-flags ALL FIN,PSH,URG', '-p tcp --tcp-flags SYN,ACK SYN', '-p tcp ! --tcp-flags SYN,ACK SYN,ACK',
    '-p tcp --tcp-flags SYN ACK', '-p tcp ! --tcp-flags NONE NONE', '-p tcp --tcp-flags NONE SYN', '-p tcp --tcp-option 2', '-p tcp ! --tcp-option 2', '-p tcp --tcp-option 8', '-p tcp ! --tcp-option 254', '-p tcp --dport 80 --tcp-option 1',
    '-p udp -m udp', '-p udp --dport 53', '-p udp ! --dport 53', '-p udp --sport 53:1000', '-p udp ! --sport 52:54 --dport 1:', '-p udp --dport 80:79', '-p udp ! --dport 80:79', '-p udp --dport 0', '-p udp ! --dport 0:65535',
    '-p icmp --icmp-type any', '-p icmp ! --icmp-type any', '-p icmp --icmp-type 8', '-p icmp ! --icmp-type 8', '-p icmp --icmp-type 8/0', '-p icmp --icmp-type 3/4', '-p icmp ! --icmp-type 3/4', '-p icmp --icmp-type 3/3:4', '-p icmp --icmp-type 3/4:3', '-p icmp --icmp-type 255/3', '-p icmp --icmp-type 13', '-p icmp --icmp-type 0',
    '-p tcp -m multiport --dports 80,443', '-p tcp -m multiport ! --dports 80,443', '-p tcp -m multiport --sports 1:1023,1025', '-p tcp -m multiport --ports 80', '-p tcp -m multiport ! --ports 80,1000:1024', '-p udp -m multiport --ports 53', '-p udp -m multiport ! --sports 0:65535', '-p udplite -m multiport --dports 53', '-p sctp -m multiport --dports 80', '-p dccp -m multiport --dports 80:90',
    '-m addrtype --src-type UNICAST', '-m addrtype --src-type LOCAL', '-m addrtype ! --src-type LOCAL', '-m addrtype --dst-type UNICAST', '-m addrtype --dst-type BROADCAST,MULTICAST', '-m addrtype --src-type BROADCAST', '-m addrtype --src-type UNICAST ! --dst-type LOCAL --limit-iface-in', '-m addrtype --dst-type LOCAL --limit-iface-out', '-m addrtype --dst-type UNREACHABLE,UNICAST', '-m addrtype --src-type UNICAST --limit-iface-in', '-m addrtype --src-type LOCAL,BROADCAST --limit-iface-out', '-m addrtype --dst-type BLACKHOLE,PROHIBIT,THROW,NAT,ANYCAST',
    '-m iprange --src-range 10.0.0.2-10.0.0.9', '-m iprange ! --src-range 10.0.0.2-10.0.0.9', '-m iprange --dst-range 10.1.0.3-10.1.0.9', '-m iprange --src-range 9.0.0.0-200.0.0.0 ! --dst-range 10.1.0.2-10.1.0.9', '-m iprange --src-range 200.0.0.0-223.255.255.255', '-m iprange --src-range 10.0.0.9-10.0.0.1',
    '-m ttl --ttl-eq 63', '-m ttl ! --ttl-eq 63', '-m ttl --ttl-lt 3', '-m ttl --ttl-gt 126', '-m ttl --ttl-gt 254', '-m ttl --ttl-lt 0',
    '-m length --length 32', '-m length --length 0:99', '-m length --length 100', '-m length ! --length 100:101', '-m length --length 101:', '-m length --length 100:99',
    '-m tos --tos 0x10', '-m tos ! --tos 0x10/0x3f', '-m tos --tos Minimize-Delay', '-m tos --tos 0x00/0xff', '-m tos --tos 0xb8/0xfc', '-m tos --tos 0x11/0x10',
    '-m dscp --dscp 0', '-m dscp --dscp-class EF', '-m dscp ! --dscp-class EF', '-m dscp --dscp 63', '-m dscp --dscp-class CS6',
    '-p tcp -m tcpmss --mss 1460', '-p tcp -m tcpmss --mss 0:536', '-p tcp -m tcpmss ! --mss 536:1400', '-p tcp -m tcpmss --mss 1460:',
    '-m pkttype --pkt-type unicast', '-m pkttype ! --pkt-type unicast', '-m pkttype --pkt-type otherhost', '-m mac --mac-source 0:0:0:0:0:0', '-m mac ! --mac-source 0:0:0:0:0:1',
    '-m mark --mark 0', '-m mark ! --mark 0', '-m mark --mark 1/1', '-m mark --mark 0/0', '-m comment --comment x', '-m statistic --mode random --probability 1', '-m statistic --mode random ! --probability 1', '-m statistic --mode random --probability 0',
    '-m statistic --mode nth --every 3 --packet 0', '-m statistic --mode nth --every 3 --packet 2', '-m statistic --mode nth ! --every 4 --packet 1', '-m statistic --mode nth --every 1 --packet 0',
    '-p esp -m esp', '-p esp -m esp --espspi 5', '-p esp -m esp --espspi 5:500', '-p esp -m esp ! --espspi 1:4294967295', '-p esp -m esp --espspi 500:5', '-p esp -m esp ! --espspi 0:4294967295',
    '-p ah -m ah', '-p ah -m ah --ahspi 5', '-p ah -m ah ! --ahspi 5:500', '-p ah -m ah --ahspi 500:',
    '-p sctp -m sctp', '-p sctp --dport 80', '-p sctp ! --dport 80', '-p sctp --sport 3:5 ! --dport 79', '-p sctp ! --dport 0:65535',
] + [f'-p sctp {n}--chunk-types {m} {c}' for n in ('', '! ') for m in ('all', 'any', 'only') for c in ('DATA', 'DATA,INIT', 'DATA:B', 'DATA:b', 'DATA:bE', 'ABORT:T', 'ALL', 'NONE', 'SACK,DATA:U,SHUTDOWN_COMPLETE:T', 'ASCONF,ASCONF_ACK,FORWARD_TSN')] + [
    '-m string --algo bm --string data', '-m string --algo kmp --string data', '-m string --algo bm ! --string data', '-m string --algo bm --string DATA --icase', '-m string --algo kmp --string DaTa', '-m string --algo bm --hex-string |0050|', '-m string --algo bm --string x', '-m string --algo kmp --string abcd',
    '-m string --algo bm --string data --to 31', '-m string --algo bm --string data --to 32', '-m string --algo bm --string data --to 33', '-m string --algo bm --string data --to 28', '-m string --algo kmp --string data --to 27', '-m string --algo kmp --string data --to 29', '-m string --algo bm --string data --from 28', '-m string --algo bm --string data --from 29', '-m string --algo kmp --string data --from 28 --to 30', '-m string --algo bm --string xxxx --from 28 --to 32', '-m string --algo bm --string ata --from 29 --to 29', '-m string --algo kmp --hex-string |4500| --to 1', '-m string --algo bm --string x --from 1000',
    '-m u32 --u32 0>>22&0x3C@0>>16=80', '-m u32 --u32 6&0xFF=17', '-m u32 --u32 6&0xFF=0:6,17', '-m u32 ! --u32 6&0xFF=6', '-m u32 --u32 0>>22&0x3C@12>>26&0x3C@0=0:4294967295', '-m u32 --u32 28=0:4294967295', '-m u32 --u32 29=0:4294967295', '-m u32 --u32 0<<8>>24=16', '-m u32 --u32 0>>22&0x3C@4=0x1:0xffff&&8&0xFF0000=0x60000', '-m u32 --u32 0&0xFFFF@0=1', '-m u32 --u32 0xFFFFFFFF=1',
    '-p tcp -m ecn --ecn-tcp-cwr', '-p tcp -m ecn ! --ecn-tcp-cwr', '-p tcp -m ecn --ecn-tcp-ece', '-p tcp -m ecn ! --ecn-tcp-ece --ecn-tcp-cwr', '-m ecn --ecn-ip-ect 0', '-m ecn --ecn-ip-ect 3', '-m ecn ! --ecn-ip-ect 1', '-p tcp -m ecn --ecn-ip-ect 2 --ecn-tcp-ece',
    '-p ipcomp -m ipcomp', '-m cpu --cpu 9', '-m physdev --physdev-in tun0', '-m physdev ! --physdev-in tun0', '-m physdev ! --physdev-is-bridged --physdev-in x', '-m devgroup --src-group 0', '-m devgroup ! --dst-group 0', '-m devgroup --src-group 1/0', '-m realm --realm 0', '-m realm ! --realm 0', '-m realm --realm 1/0', '-m quota --quota 2000', '-m quota ! --quota 2000', '-m quota --quota 0',
    '-m recent --name a --set', '-m recent --name b ! --rcheck', '-m recent --name c --set --rdest --mask 255.255.255.0', '-m time --timestart 0:00 --timestop 23:59:59',
    '-p dccp -m dccp', '-p dccp --dport 80', '-p dccp ! --sport 1:999', '-p dccp --dccp-types REQUEST', '-p dccp ! --dccp-types REQUEST,ACK', '-p dccp --dccp-types INVALID', '-p dccp --dccp-types RESET,SYNC', '-p dccp --dccp-option 5', '-p dccp ! --dccp-option 5', '-p dccp --dport 80 --dccp-types DATA --dccp-option 5',
]
TARGETS = [f'-j {t}' for t in (
    'TOS --set-tos 0x10', 'TOS --set-tos 0x10/0x3f', 'TOS --and-tos 0x1c', 'TOS --or-tos 0x81', 'TOS --xor-tos 0xff', 'TOS --set-tos 0/0', 'TOS --set-tos 0xff/0x0f', 'DSCP --set-dscp 0', 'DSCP --set-dscp 63',
    'DSCP --set-dscp-class AF21', 'ECN --ecn-ip-ect 0', 'ECN --ecn-ip-ect 3', 'TTL --ttl-set 0', 'TTL --ttl-set 77', 'TTL --ttl-set 255', 'TTL --ttl-inc 1', 'TTL --ttl-inc 200', 'TTL --ttl-dec 1', 'TTL --ttl-dec 100', 'MARK --set-mark 1', 'CLASSIFY --set-class 1:2')] + [
    f'-p tcp --tcp-flags SYN SYN -j TCPMSS {t}' for t in ('--set-mss 1000', '--set-mss 0', '--set-mss 536', '--set-mss 200', '--set-mss 65515', '--clamp-mss-to-pmtu')]

TARGETS += [f'-p tcp -j {t}' for t in (
    'ECN --ecn-tcp-remove', 'ECN --ecn-tcp-cwr 1', 'ECN --ecn-tcp-ece 1 --ecn-tcp-cwr 0', 'ECN --ecn-ip-ect 2 --ecn-tcp-ece 1',
    'TCPOPTSTRIP --strip-options mss', 'TCPOPTSTRIP --strip-options 8,4,5', 'TCPOPTSTRIP --strip-options 254,10', 'TCPOPTSTRIP')]

first, second = tun('tun0'), tun('tun1')
for line in ('ip link set lo up', 'ip link set tun0 up mtu 1300', 'ip link set tun1 up mtu 1400', 'ip addr add 10.0.0.1/24 dev tun0',
             'ip addr add 10.1.0.1/24 dev tun1', 'ip route add default via 10.1.0.254 dev tun1', 'ip route add 10.1.255.0/24 dev tun1 mtu 900',
             'ip route add 172.16.0.0/12 dev tun0 mtu 600',
             'sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.tun0.rp_filter=0 net.ipv4.conf.tun0.accept_local=1 net.ipv4.icmp_ratelimit=0 net.ipv4.icmp_ratemask=0'):
    done = run(line)
    if done.returncode:
        sys.exit(f'{line}: {done.stderr}')


def drain(f):
    out = []
    while True:
        try:
            out.append(os.read(f, 65536))
        except BlockingIOError:
            return out


def through(rule):
    done = run(f'iptables-legacy -t mangle -A FORWARD {rule}'.replace('|', '\\|').replace('&', '\\&').replace('>', '\\>').replace('<', '\\<').replace('!', '\\!'))
    if done.returncode:
        sys.exit(f'{rule}: {done.stderr}')
    got = []
    for packet in packets:
        os.write(first, packet)
        drain(first)
        out = [frame for frame in drain(second) if frame[0] >> 4 == 4]
        got.append(out[0] if out else None)
    run('iptables-legacy -t mangle -F')
    return got


answer = {'packets': [p.hex() for p in packets], 'matches': {}, 'targets': {}}
for rule in MATCHES:
    answer['matches'][rule] = ''.join('x' if f is None else '1' if f[8] == 1 else '0' for f in through(rule + ' -j TTL --ttl-set 1'))
plain = through('-j ACCEPT')
answer['plain'] = [None if f is None else f.hex() for f in plain]
for rule in TARGETS:
    answer['targets'][rule] = [None if f is None else '=' if f == p else f.hex() for f, p in zip(through(rule), plain)]
with open(os.path.join(here, '..', 'data', 'extensions', 'kernel.json'), 'w') as f:
    json.dump(answer, f, indent=1)
    f.write('\n')
print(len(packets), 'packets', len(MATCHES), 'matches', len(TARGETS), 'targets')
