#!/usr/bin/env python3
"""Records what this machine's kernel makes of random conversations: test/data/conntrack/*.json for *-kernel.test.ts.

    client 10.0.1.2 -- t0 [ namespace: forwards, one rule per --ctstate writes TOS ] t1 -- server 10.0.2.2

Every segment is written to one TUN device and read from the other; its TOS tells the state that the kernel gave it,
/proc/net/nf_conntrack the entry behind it. Run as root:  record.py tcp|sctp SEED CONVERSATIONS > test/data/conntrack/tcp.json
"""
import ctypes, fcntl, json, os, random, struct, subprocess, sys

NAME = f"ctrec{os.getpid()}"
FIN, SYN, RST, PSH, ACK, URG = 1, 2, 4, 8, 16, 32
TOS = {4: "N", 8: "E", 16: "I", 32: "R"}
KNOBS = ["loose", "be_liberal", "max_retrans", "ignore_invalid_rst"]


def tun(name):
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(fd, 0x400454CA, struct.pack("16sH22x", name.encode(), 0x1001))
    return fd


def checksum(data):
    if len(data) & 1:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def frame(direction, port, flags, seq, ack, win, length, options):
    src, dst = (0x0A000102, 0x0A000202) if direction == 0 else (0x0A000202, 0x0A000102)
    sport, dport = (port, 80) if direction == 0 else (80, port)
    header = struct.pack("!HHIIBBHHH", sport, dport, seq, ack, (20 + len(options)) // 4 << 4, flags, win, 0, 0)
    segment = header + options + b"x" * length
    check = checksum(struct.pack("!IIHH", src, dst, 6, len(segment)) + segment)
    segment = segment[:16] + struct.pack("!H", check) + segment[18:]
    ip = struct.pack("!BBHHHBBHII", 0x45, 0, 20 + len(segment), 1, 0x4000, 64, 6, 0, src, dst)
    return ip[:10] + struct.pack("!H", checksum(ip)) + ip[12:] + segment


class End:
    """What one end would send next, near enough."""

    def __init__(self, rnd):
        self.next = rnd.choice([rnd.getrandbits(32), 0, 1, 0xFFFFFFF0, 0x7FFFFFF0])
        self.seen = 0
        self.win = rnd.choice([0, 1, 100, 1000, 29200, 65535])
        self.history = []


def conversation(rnd):
    ends = [End(rnd), End(rnd)]
    scale = [rnd.choice([None, None, 0, 2, 7, 14, 15]) for _ in ends]
    sack = [rnd.random() < 0.6 for _ in ends]
    script = rnd.choice(["open", "open", "open", "open", "middle", "simultaneous", "chaos"])
    plan = {
        "open": [(0, SYN), (1, SYN | ACK), (0, ACK)],
        "middle": [(rnd.randrange(2), ACK)],
        "simultaneous": [(0, SYN), (1, SYN), (0, SYN | ACK), (1, SYN | ACK), (0, ACK)],
        "chaos": [],
    }[script]
    ending = rnd.choice(["none", "fin", "fin", "rst", "reopen", "reopen"])
    body = [(rnd.randrange(2), rnd.choice([ACK, ACK, ACK | PSH])) for _ in range(rnd.randrange(10))]
    first = rnd.randrange(2)
    closing = [(first, FIN | ACK), (1 - first, ACK), (1 - first, FIN | ACK), (first, ACK)]
    tail = {
        "none": [],
        "fin": closing,
        "rst": [(first, RST | rnd.choice([0, ACK]))],
        "reopen": (closing if rnd.random() < 0.7 else [(first, RST)]) + [(rnd.randrange(4) // 3, SYN), (1, SYN | ACK), (0, ACK)],
    }[ending]
    steps = plan + body + tail
    chaos = rnd.choice([0.02, 0.1, 0.3, 0.6]) if script != "chaos" else 1.0
    if script == "chaos":
        steps = [(rnd.randrange(2), ACK) for _ in range(15)]
    out = []
    for direction, flags in steps:
        while rnd.random() < chaos / 2:
            out.append(odd(rnd, ends, scale, sack))
        if rnd.random() < chaos / 4:
            continue
        out.append(proper(rnd, ends, scale, sack, direction, flags))
        if rnd.random() < chaos / 3:
            repeated = list(out[-1])
            out += [repeated] * rnd.choice([1, 1, 4])
    return out


def syn_options(rnd, scale, sack):
    options = b"\2\4\5\xb4"
    if sack:
        options += b"\1\1\4\2"
    if scale is not None:
        options += b"\1\3\3" + bytes([scale])
    return options + rnd.choice([b"", b"", b"\0\0\0\0", b"\1\3\3\1", b"\1\1\1\3"])


def proper(rnd, ends, scale, sack, direction, flags):
    me, peer = ends[direction], ends[1 - direction]
    length = 0
    options = b""
    if flags & SYN:
        if not flags & ACK and me.history:
            me.next = (me.next + rnd.choice([1, 1000, 100000, -5000])) & 0xFFFFFFFF
        options = syn_options(rnd, scale[direction], sack[direction])
    elif not flags & RST:
        length = rnd.choice([0, 0, 1, 10, 100, 1000])
        if rnd.random() < 0.3:
            options = b"\1\1\x08\x0a" + bytes(8)
        elif rnd.random() < 0.3:
            left = (peer.next + rnd.choice([-100, 0, 10])) & 0xFFFFFFFF
            options = b"\1\1\5\x0a" + struct.pack("!II", left, (left + rnd.choice([1, 50, 300])) & 0xFFFFFFFF)
    if rnd.random() < 0.15:
        me.win = rnd.choice([0, 1, 100, 1000, 65535])
    seq = me.next
    ack = peer.next if flags & ACK else rnd.choice([0, 0, peer.next])
    me.next = (me.next + length + (1 if flags & SYN else 0) + (1 if flags & FIN else 0)) & 0xFFFFFFFF
    segment = [direction, flags, seq, ack, me.win, length, options]
    me.history.append(segment)
    return segment


def odd(rnd, ends, scale, sack):
    direction = rnd.randrange(2)
    me, peer = ends[direction], ends[1 - direction]
    if me.history and rnd.random() < 0.3:
        return list(rnd.choice(me.history))
    flags = rnd.choice(
        [SYN, SYN, SYN | ACK, SYN | ACK, ACK, ACK, ACK, RST, RST, RST | ACK, RST | ACK, FIN | ACK, FIN | ACK, FIN, 0, SYN | FIN, ACK | URG, 0x3F, SYN | RST, ACK | 0x40]
    )
    off = rnd.choice([0, 0, 0, 1, -1, 5, -5, 100, -1000, 5000, -70000, 70000, 1 << 20, 1 << 31, -(1 << 30)])
    seq = rnd.choice([(me.next + off) & 0xFFFFFFFF, (me.next + off) & 0xFFFFFFFF, 0, rnd.getrandbits(32)])
    off = rnd.choice([0, 0, 0, 0, 1, -1, -100, 100, -65000, -67000, 1 << 31])
    ack = rnd.choice([(peer.next + off) & 0xFFFFFFFF, (peer.next + off) & 0xFFFFFFFF, (peer.next + off) & 0xFFFFFFFF, 0])
    options = syn_options(rnd, rnd.choice([None, 3, 14]), rnd.random() < 0.5) if flags & SYN else b""
    length = rnd.choice([0, 0, 0, 1, 20, 1200])
    return [direction, flags, seq, ack, rnd.choice([0, 1, 1000, 65535]), length, options]


CRC = []
for n in range(256):
    for _ in range(8):
        n = (n >> 1) ^ (0x82F63B78 if n & 1 else 0)
    CRC.append(n)


def sctp_frame(direction, port, vtag, chunks):
    """chunks: [type, flags, bytes of the value in hex, length field or -1 for the right one]."""
    src, dst = (0x0A000102, 0x0A000202) if direction == 0 else (0x0A000202, 0x0A000102)
    sport, dport = (port, 80) if direction == 0 else (80, port)
    body = b""
    for kind, flags, value, length in chunks:
        data = bytes.fromhex(value)
        body += struct.pack("!BBH", kind, flags, 4 + len(data) if length < 0 else length) + data
        body += b"\0" * (-len(data) % 4)
    packet = struct.pack("!HHII", sport, dport, vtag, 0) + body
    crc = 0xFFFFFFFF
    for byte in packet:
        crc = (crc >> 8) ^ CRC[(crc ^ byte) & 0xFF]
    packet = packet[:8] + struct.pack("<I", crc ^ 0xFFFFFFFF) + packet[12:]
    ip = struct.pack("!BBHHHBBHII", 0x45, 0, 20 + len(packet), 1, 0x4000, 64, 132, 0, src, dst)
    return ip[:10] + struct.pack("!H", checksum(ip)) + ip[12:] + packet


def association(rnd):
    """Mostly the usual handshake and shutdown, with chunks and tags astray."""
    tags = [rnd.getrandbits(32) | 1, rnd.getrandbits(32) | 1]
    init = lambda d: [1, 0, struct.pack("!I", tags[d]).hex() + "0000ffff00010001" + "00000001", -1]
    init_ack = lambda d: [2, *init(d)[1:]]
    plan = [(0, 0, [init(0)]), (1, tags[0], [init_ack(1)]), (0, tags[1], [[10, 0, "", -1]]), (1, tags[0], [[11, 0, "", -1]])]
    if rnd.random() < 0.3:
        plan = [(0, 0, [init(0)]), (1, 0, [init(1)]), (0, tags[1], [init_ack(0)]), (1, tags[0], [init_ack(1)])] + plan[2:]
    if rnd.random() < 0.2:
        plan = [(0, tags[1], [[4, 0, "00", -1]]), (1, tags[0], [[5, 0, "00", -1]])]
    plan += [(d, tags[1 - d], [[0, 3, "0011", -1]]) for d in (rnd.randrange(2) for _ in range(rnd.randrange(4)))]
    if rnd.random() < 0.6:
        d = rnd.randrange(2)
        plan += [(d, tags[1 - d], [[7, 0, "00000000", -1]]), (1 - d, tags[d], [[8, 0, "", -1]]), (d, tags[1 - d], [[14, 0, "", -1]])]
    plan += [(0, 0, [init(0)]) for _ in range(rnd.randrange(2))]
    chaos = rnd.choice([0, 0.1, 0.3, 0.7])
    out = []
    for step in plan:
        while rnd.random() < chaos:
            d = rnd.randrange(2)
            chunks = [
                rnd.choice([init(d), init_ack(d), [rnd.choice([0, 3, 4, 5, 6, 7, 8, 9, 10, 11, 14, 63, 130]), rnd.randrange(2), rnd.choice(["", "00", "01020304"]), rnd.choice([-1] * 12 + [0, 4, 200])]])
                for _ in range(rnd.choice([1, 1, 1, 2, 3]))
            ]
            out.append([d, rnd.choice([0, tags[d], tags[1 - d], tags[1 - d], rnd.getrandbits(32)]), chunks])
        if rnd.random() >= chaos / 4:
            out.append(list(step))
            if rnd.random() < chaos / 3:
                out.append(list(step))
    return out


def setup():
    run = lambda line: subprocess.run(line.split(), check=True)
    for i in (0, 1):
        run(f"ip addr add 10.0.{i + 1}.1/24 dev t{i}")
        run(f"ip link set t{i} up")
    for line in ("net.ipv6.conf.all.disable_ipv6=1", "net.ipv4.ip_forward=1", "net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.default.rp_filter=0"):
        run(f"sysctl -qw {line}")
    for i in (0, 1):
        run(f"sysctl -qw net.ipv4.conf.t{i}.rp_filter=0")
    for tos, state in ((4, "NEW"), (8, "ESTABLISHED"), (16, "INVALID"), (32, "RELATED")):
        run(f"iptables-legacy -t mangle -A FORWARD -m conntrack --ctstate {state} -j TOS --set-tos {tos}")


def knob(name, value):
    with open(f"/proc/sys/net/netfilter/nf_conntrack_tcp_{name}", "w") as f:
        f.write(str(value))


def entry(port):
    with open("/proc/net/nf_conntrack") as f:
        for line in f:
            if f"sport={port} " in line:
                words = line.split()
                bits = ("U" if "[UNREPLIED]" in words else "") + ("A" if "[ASSURED]" in words else "")
                # Which end counts as the original one: a mid-stream pick-up may begin with the server.
                return [int(words[4]), words[5], bits, 0 if words[6] == "src=10.0.1.2" else 1]
    return None


def read(fd):
    while True:
        try:
            data = os.read(fd, 2048)
        except BlockingIOError:
            return None
        if data[0] >> 4 == 4:  # the device's own IPv6 multicasts are none of ours
            return data


def main():
    protocol, seed, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    fds = [tun("t0"), tun("t1")]
    setup()
    for fd in fds:
        while read(fd):
            pass
    rnd = random.Random(seed)
    conversations = []
    for n in range(count):
        knobs = [1, 0, 3, 0]
        if n % 4 == 3:
            knobs = [rnd.choice([1, 1, 0]), rnd.choice([0, 1]), rnd.choice([0, 1, 3]), rnd.choice([0, 1])]
        for name, value in zip(KNOBS, knobs):
            knob(name, value)
        port = 1024 + n
        rows = []
        for segment in (conversation if protocol == "tcp" else association)(rnd)[:30]:
            direction = segment[0]
            if protocol == "tcp":
                data = frame(direction, port, *segment[1:])
                segment = [*segment[:6], segment[6].hex()]
            else:
                data = sctp_frame(direction, port, *segment[1:])
            os.write(fds[direction], data)
            out = read(fds[1 - direction])
            rows.append([*segment, TOS.get(out[1], "?") if out else "-", entry(port)])
        conversations.append({"knobs": knobs, "rows": rows})
        subprocess.run(["conntrack", "-F"], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    print("[")
    print(",\n".join(json.dumps(c, separators=(",", ":")) for c in conversations))
    print("]")


if __name__ == "__main__":
    if os.environ.get("CTREC") != "1":
        subprocess.run(["ip", "netns", "add", NAME], check=True)
        try:
            env = {**os.environ, "CTREC": "1"}
            sys.exit(subprocess.run(["ip", "netns", "exec", NAME, sys.executable, *sys.argv], env=env).returncode)
        finally:
            subprocess.run(["ip", "netns", "del", NAME], check=True)
    main()
