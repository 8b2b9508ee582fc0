#!/usr/bin/env python3
"""As record-kernel.py, over IPv6: every rule alone in ip6tables' mangle FORWARD of a fresh namespace, every packet
through it from one TUN device to another; writes test/data/extensions/kernel6.json. Run as root; the namespace ends
with the process. TUNWALL_SEED draws other packets; the recorded ones are of seed 6.

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

SRC, DST = 'fd00::2', 'fd00:1::2'
HOP, TCP, UDP, ROUTING, FRAGMENT, ESP, AH, ICMP, NONE, DEST, MH = 0, 6, 17, 43, 44, 50, 51, 58, 59, 60, 135
r = random.Random(int(os.environ.get('TUNWALL_SEED', '6')))


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


addr = lambda text: socket.inet_pton(socket.AF_INET6, text)


def ip(chain, payload=b'', src=SRC, dst=DST, hop=64, tc=0, flow=0, cut=None):
    """`chain`: (kind, bytes behind the next header) of each header, the last one the upper protocol."""
    kinds = [kind for kind, _ in chain]
    body = b''
    for (kind, rest), following in zip(chain, kinds[1:]):
        body += bytes([following]) + rest
    body += chain[-1][1] + payload
    body = body[:cut]
    return struct.pack('!IHBB', 6 << 28 | tc << 20 | flow, len(body), kinds[0], hop) + addr(src) + addr(dst) + body


def seal(proto, segment, at, src=SRC, dst=DST):
    pseudo = addr(src) + addr(dst) + struct.pack('!II', len(segment), proto)
    return segment[:at] + struct.pack('!H', csum(pseudo + segment)) + segment[at + 2 :]


def tcp(sport=1000, dport=80, flags=2, opt=b'', data=b'', src=SRC, dst=DST, doff=None):
    doff = (20 + len(opt)) // 4 if doff is None else doff
    return TCP, seal(TCP, struct.pack('!HHIIBBHHH', sport, dport, 1, 2, doff << 4, flags, 1000, 0, 0) + opt + data, 16, src, dst)


def udp(sport=1000, dport=53, data=b'data', src=SRC, dst=DST):
    return UDP, seal(UDP, struct.pack('!HHHH', sport, dport, 8 + len(data), 0) + data, 6, src, dst)


def icmp(kind, code, data=b'\0\1\0\1abcd', src=SRC, dst=DST):
    return ICMP, seal(ICMP, struct.pack('!BBH', kind, code, 0) + data, 2, src, dst)


def options(kind, *opts, length=None):
    b = b''.join(bytes([t]) if t == 0 else bytes([t, len(v)]) + v for t, v in opts)
    pad = -(len(b) + 2) % 8
    b += b'' if pad == 0 else b'\0' if pad == 1 else bytes([1, pad - 2]) + b'\0' * (pad - 2)
    return kind, bytes([(len(b) + 2) // 8 - 1 if length is None else length]) + b


def fragment(offset=0, more=0, ident=1, reserved=0, bits=0):
    return FRAGMENT, struct.pack('!BHI', reserved, offset | bits << 1 | more, ident)


def ah(spi, words=4, reserved=0):
    return AH, struct.pack('!BHII', words, reserved, spi, 1) + b'\0' * (4 * (words - 1))


def routing(kind, left, addresses=(), reserved=0, length=None):
    return ROUTING, struct.pack('!BBBI', 2 * len(addresses) if length is None else length, kind, left, reserved) + b''.join(map(addr, addresses))


def srh(left, last, sids, tag=0, length=None):
    return ROUTING, struct.pack('!BBBBBH', 2 * len(sids) if length is None else length, 4, left, last, 0, tag) + b''.join(map(addr, sids))


mss = lambda n: struct.pack('!BBH', 2, 4, n)
A, B, C = '2001:db8::a', '2001:db8::b', '2001:db8::c'
packets = [ip([udp()]), ip([tcp()]), ip([(NONE, b'')]), ip([(NONE, b'xxxx')]), ip([(ESP, struct.pack('!II', 5, 1))]), ip([(ESP, b'\0')]), ip([(47, b'\0' * 8)])]
packets += [ip([udp()], hop=h) for h in (3, 4, 5, 63, 65, 128, 255)]
packets += [ip([udp()], tc=t, flow=f) for t, f in ((1, 0), (2, 1), (3, 0xFFFFF), (0x10, 0), (0xB8, 7), (0xBB, 0), (0xFF, 0xFFFFF), (0xE0, 0))]
packets += [ip([icmp(k, c)]) for k, c in ((1, 0), (1, 4), (1, 6), (2, 0), (3, 0), (3, 1), (4, 1), (128, 0), (128, 1), (129, 0), (133, 0), (137, 0), (255, 255), (100, 0))]
packets += [ip([icmp(128, 0)], cut=n) for n in (0, 1, 4, 7, 8)]
packets += [ip([icmp(k, 0, struct.pack('!I', 1280) + ip([udp(src=q, dst=d)], src=q, dst=d))]) for k in (1, 2, 3, 4, 127, 128) for q, d in ((DST, SRC), ('fd00:0:0:7::1', DST), (DST, '2001:db8:1::5'))]
packets += [ip([icmp(1, 0, b'\0\0\0\0' + ip([udp()])[:n])]) for n in (0, 20, 39, 40)]
packets += [ip([icmp(1, 0, b'\0\0\0\0' + ip([icmp(1, 0, b'\0\0\0\0' + ip([udp()]))]))])]
packets += [ip([tcp(opt=o, data=d)]) for o in (b'', mss(1460), mss(1220), mss(1221), mss(100), b'\1' + mss(1460) + b'\1\1\0', b'\1\1\1\1', b'\4\2\1\1' + mss(1400), b'\x08\0\0\0', b'\1\1\1\2') for d in (b'', b'data')]
packets += [ip([tcp(flags=f)]) for f in (0, 1, 0x12, 0x42, 0x82, 0xC2, 0x18, 0x3F)] + [ip([tcp(doff=d)]) for d in (0, 4, 6, 15)] + [ip([tcp()], cut=n) for n in (0, 3, 8, 13, 19)]
packets += [ip([udp(sport=s, dport=d)]) for s, d in ((53, 53), (52, 54), (65535, 0))] + [ip([udp()], cut=n) for n in (0, 3, 7, 8)]
for kind in (HOP, DEST):
    packets += [ip([options(kind, *o), udp()]) for o in ((), ((1, b'\0\0\0\0'),), ((0, b''), (1, b'\0')), ((0, b''), (0, b''), (0, b'')), ((5, b'\0\0'), (1, b'')), ((30, b'abcd'), (1, b''), (31, b'efgh')),
                                                     ((1, b'\0' * 12),), ((1, b'\0\0'), (0, b''), (0, b'')))]
packets += [ip([options(DEST, (1, b'\0\0'), length=n), udp()]) for n in (1, 2, 3, 255)] + [ip([(DEST, b'\0' + bytes([30, 9]) + b'abcd'), udp()]), ip([(DEST, b'\0' + bytes([0, 0, 0, 0, 0, 30])), udp()]), ip([(DEST, b'\0' + bytes([1, 2, 0, 0, 0, 30])), udp()])]
packets += [ip([options(DEST, (1, b'\0\0')), udp()], cut=n) for n in (0, 1, 2, 7, 8, 9, 12)]
packets += [ip([fragment(o, m, i, s, b), udp()]) for o, m, i, s, b in ((0, 0, 1, 0, 0), (0, 1, 1, 0, 0), (8, 1, 5, 0, 0), (8, 0, 7, 0, 0), (0, 1, 6, 1, 0), (0, 1, 4, 0, 1), (16, 0, 0xFFFFFFFF, 255, 3), (0xFFF8, 0, 0, 0, 2))]
packets += [ip([fragment(0, 1), tcp()]), ip([fragment(8, 0), tcp()]), ip([fragment(8, 0), options(DEST), tcp()]), ip([fragment(0, 1), options(DEST), tcp()]), ip([options(DEST), fragment(8, 1), icmp(128, 0)]),
            ip([fragment(8, 0), (NONE, b'')]), ip([fragment(8, 0), (AH, b'\0' * 12)]), ip([fragment(8, 0), (ESP, b'\0' * 12)]), ip([fragment(0, 1), (MH, b'\x3b\0\0\0\0\0')]), ip([fragment(8, 1), (MH, b'\x3b\0\0\0\0\0')])]
packets += [ip([fragment(o, 1), udp()], cut=n) for o in (0, 8) for n in (0, 1, 2, 3, 4, 7, 8, 12)]
packets += [ip([ah(s, w, x), udp()]) for s, w, x in ((5, 4, 0), (7, 1, 0), (500, 4, 1), (0, 0, 0), (0xFFFFFFFF, 5, 0), (6, 255, 0))] + [ip([ah(5), udp()], cut=n) for n in (0, 1, 2, 8, 11, 12, 23, 24, 28)]
packets += [ip([routing(k, n, a, x), udp()]) for k, n, a, x in ((0, 0, (), 0), (0, 1, (A,), 0), (0, 2, (A, B), 0), (0, 0, (A, C, B), 0), (0, 3, (B, A), 1), (2, 1, (A,), 0), (3, 5, (), 7), (255, 255, (A, B, C), 0), (0, 0, (A, B, A, B), 0))]
packets += [ip([routing(0, 1, (A, B), length=n), udp()]) for n in (0, 1, 2, 3, 5, 255)] + [ip([routing(0, 1, (A, B)), udp()], cut=n) for n in (0, 2, 3, 4, 7, 8, 12, 24, 39, 40)]
packets += [ip([srh(l, t, s, g), udp()]) for l, t, s, g in ((0, 0, (A,), 0), (1, 1, (A, B), 5), (0, 1, (A, B), 65535), (0, 1, (B, A), 1280), (1, 2, (A, B, C), 7), (2, 2, (A, B, C), 0), (3, 2, (A, B, C), 0), (5, 9, (A,), 0), (0, 0, (), 0), (1, 3, (B, C, A, C), 5))]
packets += [ip([srh(0, 0, (A,), length=n), udp()]) for n in (0, 1, 3, 200)] + [ip([srh(1, 1, (A, B)), udp()], cut=n) for n in (4, 7, 8, 24, 40)] + [ip([routing(3, 0, (A,)), srh(1, 1, (A, B)), udp()])]
packets += [ip([(MH, struct.pack('!BBBBH', p, 0, t, 0, 0) + b'\0\0')]) for p, t in ((NONE, 0), (NONE, 1), (NONE, 3), (NONE, 5), (NONE, 7), (NONE, 255), (TCP, 5))] + [ip([(MH, b'\x3b\0\5\0\0\0')], cut=n) for n in (0, 3, 5, 6)] + [ip([options(DEST), (MH, b'\x3b\0\4\0\0\0')])]
packets += [ip([options(HOP), options(DEST), routing(0, 0, (A,)), fragment(0, 1), ah(5), options(DEST), tcp()]), ip([options(DEST), options(DEST, (30, b'')), udp()]), ip([ah(5), ah(7), udp()]), ip([options(DEST), (NONE, b'')]),
            ip([options(HOP), (ESP, struct.pack('!II', 5, 1))]), ip([options(DEST), options(HOP), udp()]), ip([options(DEST), (50, b'\0')]), ip([options(DEST), (50, b'')])]
# Sources that look like made of what the IPv6 header has where a link header would have its address.
packets += [ip([udp()], src=s) for s in ('fd00:0:86dd::1300:ff:fefd:0', 'fd00:0:86dd:0:133f:fdff:fe00:0', 'fd00:1234:86dd:0:133f:fdff:fe00:1234', 'fd00:1234:86dd:0:1340:fdff:fe00:1234', 'fd00:1234:86dd::1', 'fd00:1234:86dc:0:133f:fdff:fe00:1234')]
packets += [ip([udp(src=s)], src=s) for s in ('fd00::1', 'fd00::3', 'fd00:0:0:1::5', 'fd00:5::1', 'fd00:6::1', '2001:db8::5', 'fd00:0:0:0:ffff:ffff:ffff:ffff', 'fd00:0:0:0:0:ffff::')]
packets += [ip([udp(dst=d)], dst=d) for d in ('fd00:1::3', 'fd00:1:0:900::5', '2001:db8:1:2::9', 'fd00:1:0:0:ffff:ffff:ffff:ffff', 'fd00:1::fffe', 'fd00:1::ffff:0:0:5')]
packets += [ip([tcp(opt=mss(1460), src='fd00:5::1')], src='fd00:5::1'), ip([tcp(dst='fd00:1:0:900::5')], dst='fd00:1:0:900::5')]


def drawn():
    """A random chain, often cut short or of wrong lengths."""
    chain = []
    if r.random() < 0.15:
        chain.append(options(HOP, (r.choice([1, 1, 30]), bytes(r.randrange(8)))))
    for _ in range(r.choice([0, 1, 1, 2, 3, 4])):
        chain.append(r.choice([
            lambda: options(DEST, *((r.choice([0, 1, 5, 30, 31]), bytes(r.randrange(6))) for _ in range(r.randrange(4))), length=r.choice([None, None, None, r.randrange(4)])),
            lambda: routing(r.choice([0, 2, 3]), r.randrange(4), [r.choice([A, B, C]) for _ in range(r.randrange(4))], r.choice([0, 0, 1]), r.choice([None, None, r.randrange(6)])),
            lambda: srh(r.randrange(4), r.randrange(4), [r.choice([A, B, C]) for _ in range(r.randrange(4))], r.choice([0, 5, 1280]), r.choice([None, None, r.randrange(6)])),
            lambda: fragment(r.choice([0, 0, 0, 8, 16]), r.randrange(2), r.randrange(9), r.choice([0, 0, 1]), r.choice([0, 0, 1])),
            lambda: ah(r.randrange(9), r.choice([1, 4, 4, 5]), r.choice([0, 0, 1])),
        ])())
    chain.append(r.choice([tcp(r.choice([1000, 53]), r.choice([80, 81]), r.choice([2, 0x12, 0xC2]), r.choice([b'', mss(1460), mss(600)]), r.choice([b'', b'data'])), udp(dport=r.choice([53, 54])), icmp(r.choice([1, 2, 3, 128, 129]), r.randrange(3), b'\0\1\0\1' + ip([udp()])),
                           (NONE, b''), (ESP, struct.pack('!II', r.randrange(9), 1)), (MH, struct.pack('!BBBBH', r.choice([NONE, NONE, 6]), 0, r.randrange(9), 0, 0))]))
    packet = ip(chain, hop=r.choice([64, 64, r.randrange(3, 256)]), tc=r.randrange(256), flow=r.randrange(1 << 20))
    if r.random() < 0.4:
        cut = r.randrange(len(packet) - 40 + 1)
        packet = packet[:4] + struct.pack('!H', cut) + packet[6 : 40 + cut]
    return packet


packets += [drawn() for _ in range(int(os.environ.get('TUNWALL_PACKETS', '250')))]

MATCHES = [
    '-p tcp', '! -p tcp', '-p udp', '-p icmpv6', '-p esp', '-p mh', '-p 59', '! -p 59',
    '-p tcp -m tcp', '-p tcp --dport 80', '-p tcp ! --dport 80', '-p tcp --syn', '-p tcp --tcp-option 2', '-p udp --dport 53', '-p udp ! --sport 53:1000', '-p udp -m udp', '-p tcp -m multiport --ports 80,1000', '-p udp -m multiport ! --dports 53',
    '-m hl --hl-eq 63', '-m hl ! --hl-eq 63', '-m hl --hl-lt 3', '-m hl --hl-gt 126',
    '-m ah', '-m ah --ahspi 5', '-m ah ! --ahspi 5:7', '-m ah --ahlen 24', '-m ah ! --ahlen 24', '-m ah --ahres', '-m ah ! --ahlen 0', '-m ah --ahspi 5:500 ! --ahlen 12 --ahres',
    '-m frag', '-m frag --fragid 1', '-m frag ! --fragid 5:7', '-m frag --fraglen 9', '-m frag ! --fraglen 8', '-m frag --fragres', '-m frag --fragfirst', '-m frag --fragmore', '-m frag --fraglast', '-m frag --fragfirst --fraglast',
] + [f'-m {n} {o}' for n in ('dst', 'hbh') for o in ('', f'--{n}-len 8', f'! --{n}-len 8', f'--{n}-opts 1', f'--{n}-opts 1:4', f'--{n}-opts 0', f'--{n}-opts 0,1', f'--{n}-opts 0,0,0', f'--{n}-opts 5:2', f'--{n}-opts 5,1', f'--{n}-opts 30:4,1,31:4', f'--{n}-opts 30', f'! --{n}-len 16 --{n}-opts 1', f'--{n}-opts 1:2,0,0', f'--{n}-opts 1:0,1:0', f'--{n}-opts 1,30', f'--{n}-opts 30:9')] + [
    '-p icmpv6 --icmpv6-type 128', '-p icmpv6 ! --icmpv6-type 128', '-p icmpv6 --icmpv6-type 1/4', '-p icmpv6 ! --icmpv6-type 1/0:4', '-p icmpv6 --icmpv6-type 255', '-p icmpv6 --icmpv6-type 255/3', '-p icmpv6 --icmpv6-type 3/1:0',
] + [f'-m ipv6header {n}--header {h} {s}' for n in ('', '! ') for h in ('hop', 'dst', 'frag', 'route', 'auth', 'esp', 'none', 'prot', 'dst,prot', 'hop,prot', 'frag,prot', 'route,frag,prot', 'dst,none', 'hop,dst,route,frag,auth,esp,none,prot') for s in ('', '--soft')] + [
    '-p mh -m mh', '-p mh --mh-type 1', '-p mh ! --mh-type 1:3', '-p mh --mh-type 5:255', '-p mh ! --mh-type 0:255',
    '-m rt', '-m rt --rt-type 0', '-m rt ! --rt-type 0', '-m rt --rt-type 256', '-m rt --rt-segsleft 1', '-m rt ! --rt-segsleft 1:2', '-m rt --rt-len 24', '-m rt ! --rt-len 24', '-m rt --rt-type 0 --rt-0-res',
    f'-m rt --rt-type 0 --rt-0-addrs {A}', f'-m rt --rt-type 0 --rt-0-addrs {A},{B}', f'-m rt --rt-type 0 --rt-0-addrs {A},{B} --rt-0-not-strict', f'-m rt --rt-type 0 --rt-0-res --rt-0-addrs {B} --rt-0-not-strict', f'-m rt --rt-type 0 --rt-0-addrs {A},{A} --rt-0-not-strict',
    '-m srh', '-m srh --srh-next-hdr 17', '-m srh ! --srh-next-hdr 17', '-m srh --srh-hdr-len-eq 4', '-m srh ! --srh-hdr-len-eq 4', '-m srh --srh-hdr-len-gt 3', '-m srh ! --srh-hdr-len-gt 3', '-m srh --srh-hdr-len-lt 3', '-m srh --srh-segs-left-eq 1', '-m srh --srh-segs-left-gt 0 --srh-last-entry-lt 3', '-m srh ! --srh-segs-left-lt 1', '-m srh --srh-last-entry-eq 1', '-m srh ! --srh-last-entry-gt 1',
    '-m srh --srh-tag 5', '-m srh ! --srh-tag 5', f'-m srh --srh-psid {C}', f'-m srh ! --srh-psid {C}', f'-m srh --srh-nsid {A}', f'-m srh ! --srh-nsid {A}', f'-m srh --srh-lsid {A}', f'-m srh ! --srh-lsid {A}', '-m srh --srh-lsid 2001:db8::/124', '-m srh --srh-nsid ::/0',
    '-m eui64', '-m length --length 48', '-m length --length 60:', '-m tos --tos 0x10', '-m tos ! --tos 0xb8/0xfc', '-m dscp --dscp-class EF', '-m dscp ! --dscp 0',
    '-m ecn --ecn-ip-ect 0', '-m ecn --ecn-ip-ect 3', '-m ecn ! --ecn-ip-ect 1', '-p tcp -m ecn --ecn-tcp-cwr', '-p tcp -m ecn ! --ecn-tcp-ece', '-p tcp -m tcpmss --mss 1460', '-p tcp -m tcpmss ! --mss 536:1400', '-p tcp -m tcpmss --mss 0:65535',
    '-p esp -m esp --espspi 5', '-p esp -m esp', '-m policy --dir in --pol none', '-m policy --dir in --pol ipsec', '-m pkttype --pkt-type unicast',
    '-m iprange --src-range fd00::2-fd00::9', '-m iprange ! --dst-range fd00:1::3-fd00:1::9', '-m mac --mac-source 0:0:0:0:0:0',
    '-m addrtype --src-type UNICAST', '-m addrtype --src-type LOCAL', '-m addrtype ! --src-type LOCAL', '-m addrtype --dst-type UNICAST', '-m addrtype --dst-type MULTICAST', '-m addrtype --src-type UNREACHABLE', '-m addrtype --src-type LOCAL,UNREACHABLE', '-m addrtype --src-type UNICAST,LOCAL', '-m addrtype --src-type LOCAL --limit-iface-in', '-m addrtype --src-type UNSPEC', '-m addrtype ! --dst-type ANYCAST', '-m addrtype --src-type UNICAST ! --dst-type LOCAL --limit-iface-out', '-m addrtype --dst-type UNREACHABLE --limit-iface-out', '-m addrtype --src-type UNREACHABLE --limit-iface-in',
    '-m recent --name a --set', '-m recent --name b ! --rcheck', '-m hashlimit --hashlimit-name h --hashlimit-upto 1/hour --hashlimit-burst 1 --hashlimit-mode srcip,dstport', '-m hashlimit --hashlimit-name i --hashlimit-above 1/hour --hashlimit-burst 2 --hashlimit-mode srcport,srcip --hashlimit-srcmask 64',
    '-m string --algo bm --string data', '-m u32 --u32 6>>24&0xFF=17', '-m u32 --u32 4&0xFF=63',
]
TARGETS = [f'-j {t}' for t in (
    'HL --hl-set 0', 'HL --hl-set 77', 'HL --hl-inc 1', 'HL --hl-inc 200', 'HL --hl-dec 1', 'HL --hl-dec 100', 'TOS --set-tos 0x10', 'TOS --set-tos 0x10/0x3f', 'TOS --and-tos 0x1c', 'TOS --xor-tos 0xff', 'DSCP --set-dscp 0', 'DSCP --set-dscp 63', 'DSCP --set-dscp-class AF21', 'CLASSIFY --set-class 1:2')] + [
    f'-p tcp --tcp-flags SYN SYN -j TCPMSS {t}' for t in ('--set-mss 1000', '--set-mss 0', '--set-mss 1220', '--set-mss 1400', '--set-mss 65495', '--clamp-mss-to-pmtu')] + [f'-p tcp -j TCPOPTSTRIP --strip-options {t}' for t in ('mss', '8,4')]
# In POSTROUTING and PREROUTING: these leave the packet's way through here as it is.
NPT = [('POSTROUTING -o tun1', 'SNPT', a, b) for a, b in (('fd00::/64', '2001:db8:1::/64'), ('fd00::/48', '2001:db8:1::/48'), ('fd00::/32', '2001:db8:ffff::/48'), ('fd00::/64', '2001:db8::/56'), ('fd00::/64', 'fd00::/64'), ('::/0', 'ffff:ffff::/32'), ('fd00::/60', '2001:db8:1:2f0::/60'))]
NPT += [('PREROUTING -i tun0', 'DNPT', a, b) for a, b in (('2001:db8:1::/48', 'fd00:1::/48'), ('fd00:1::/64', '2001:db8:7:8::/64'), ('fd00:1::/64', '2001:db8:7::/48'), ('fd00:1::/32', '2001:db9::/32'))]

first, second = tun('tun0'), tun('tun1')
for line in ('sysctl -qw net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.default.accept_ra=0 net.ipv6.conf.default.router_solicitations=0 net.ipv6.conf.tun0.accept_dad=0 net.ipv6.conf.tun1.accept_dad=0 net.ipv6.conf.tun0.addr_gen_mode=1 net.ipv6.conf.tun1.addr_gen_mode=1',
             'ip link set lo up', 'ip link set tun0 up mtu 1300', 'ip link set tun1 up mtu 1400', 'ip addr add fd00::1/64 dev tun0 nodad', 'ip addr add fd00:1::1/64 dev tun1 nodad',
             'ip route add default via fd00:1::fe dev tun1', 'ip route add fd00:1:0:900::/64 dev tun1 mtu 1290', 'ip route add fd00:5::/48 dev tun0 mtu 1280', 'ip route add unreachable fd00:6::/48',
             'sysctl -qw net.ipv6.conf.all.forwarding=1 net.ipv6.icmp.ratelimit=0'):
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


def own(frame):
    """Router and listener messages of the host itself."""
    return frame[0] >> 4 == 6 and (frame[8] == 0xFE or frame[24] == 0xFF)


def is_error(frame, packet):
    """An answer to a packet that could not be translated."""
    return frame[6] == 58 and len(frame) == len(packet) + 48


def through(rule, chain='FORWARD'):
    done = run(f'ip6tables-legacy -t mangle -A {chain} {rule}'.replace('&', '\\&').replace('>', '\\>').replace('<', '\\<').replace('!', '\\!'))
    if done.returncode:
        sys.exit(f'{rule}: {done.stderr}')
    got = []
    for packet in packets:
        os.write(first, packet)
        drain(first)
        out = [frame for frame in drain(second) if not own(frame) and not is_error(frame, packet)]
        got.append(out[0] if out else None)
    run('ip6tables-legacy -t mangle -F')
    return got


through('-j ACCEPT')
answer = {'packets': [p.hex() for p in packets], 'matches': {}, 'targets': {}, 'translations': {}}
for rule in MATCHES:
    answer['matches'][rule] = ''.join('x' if f is None else '1' if f[7] == 1 else '0' for f in through(rule + ' -j HL --hl-set 1'))
plain = through('-j ACCEPT')
answer['plain'] = [None if f is None else f.hex() for f in plain]
for rule in TARGETS:
    answer['targets'][rule] = [None if f is None else '=' if f == p else f.hex() for f, p in zip(through(rule), plain)]
for chain, name, src, dst in NPT:
    rule = f'-j {name} --src-pfx {src} --dst-pfx {dst}'
    answer['translations'][rule] = [None if f is None else '=' if f == p else f.hex() for f, p in zip(through(rule, chain), plain)]
with open(os.environ.get('TUNWALL_OUT', os.path.join(here, '..', 'data', 'extensions', 'kernel6.json')), 'w') as f:
    json.dump(answer, f, indent=1)
    f.write('\n')
print(len(packets), 'packets', len(MATCHES), 'matches', len(TARGETS) + len(NPT), 'targets', sum(p is not None for p in plain), 'forwarded')
