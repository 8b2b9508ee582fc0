#!/usr/bin/env python3
"""Asks the machine's own iptables-legacy what it makes of each rule of test/extensions/tables/*.txt, and writes the
answers beneath the rule; with -6 first ip6tables-legacy, about tables6/*.txt. Run as root: test/extensions/record.py
[-6] [NAME...] (it also writes test/data/extensions/help.json or help6.json); the namespace ends with the process.

A table is blocks of lines. `> TABLE CHAIN OPTIONS` is the rule; the answers are
  S  what iptables-save prints for it          N  its line in iptables -n -L, behind the destination
  L  the same without -n                       T  its target in iptables -n -L, where it has one
  E  exit status and standard error of a refusal (a line break is written as \\n)
"""
import json, os, re, shlex, subprocess, sys

MATCHES = (
    'addrtype ah bpf cgroup cluster comment connbytes connlabel connlimit connmark conntrack cpu dccp devgroup dscp '
    'ecn esp hashlimit helper icmp ipcomp iprange ipvs length limit mac mark multiport nfacct osf owner physdev pkttype '
    'policy quota rateest realm recent rpfilter sctp set socket state statistic string tcp tcpmss time tos ttl u32 udp'
).split()
TARGETS = (
    'ACCEPT AUDIT CHECKSUM CLASSIFY CLUSTERIP CONNMARK CONNSECMARK CT DNAT DSCP ECN HMARK IDLETIMER LED LOG MARK '
    'MASQUERADE NETMAP NFLOG NFQUEUE NOTRACK RATEEST REDIRECT REJECT SECMARK SET SNAT SYNPROXY TCPMSS TCPOPTSTRIP TEE TOS '
    'TPROXY TRACE TTL'
).split()
ONLY6 = {'-m': 'dst eui64 frag hbh hl icmp6 ipv6header mh rt srh'.split(), '-j': 'DNPT HL SNPT'.split()}
ONLY4 = 'icmp osf realm ttl CLUSTERIP ECN TTL'.split()
here = os.path.dirname(os.path.abspath(__file__))
six = sys.argv[1:2] == ['-6']
tool = 'ip6tables-legacy' if six else 'iptables-legacy'
tables = os.path.join(here, 'tables6' if six else 'tables')
names = sys.argv[1 + six :] or sorted(f[:-4] for f in os.listdir(tables) if f.endswith('.txt'))
if os.environ.get('TUNWALL_RECORD') != '1':
    env = dict(os.environ, TUNWALL_RECORD='1', XTABLES_LOCKFILE=f'/tmp/tunwall-record-{os.getpid()}.lock', LC_ALL='C')
    done = subprocess.call(['unshare', '-n', sys.executable, os.path.abspath(__file__), *sys.argv[1:]], env=env)
    if os.path.exists(env['XTABLES_LOCKFILE']):
        os.unlink(env['XTABLES_LOCKFILE'])
    sys.exit(done)


def run(*words):
    return subprocess.run(words, capture_output=True, text=True, timeout=20)


def column(table, chain, *flags):
    lines = run(tool, '-t', table, '-L', chain, *flags).stdout.rstrip('\n').split('\n')
    return lines[2] if len(lines) > 2 else ''


# The help of an extension is what -h prints behind the tool's own help and a blank line.
own = run(tool, '-h').stdout
texts = {}
for flag, extensions in (('-m', MATCHES), ('-j', TARGETS)):
    for name in sorted(n for n in extensions + ONLY6[flag] if n not in ONLY4) if six else extensions:
        texts[f'{flag} {name}'] = run(tool, flag, name, '-h').stdout[len(own) + 1 :]
with open(os.path.join(here, '..', 'data', 'extensions', 'help6.json' if six else 'help.json'), 'w') as f:
    f.write(json.dumps(texts, indent=2) + '\n')

for name in names:
    path = os.path.join(tables, name + '.txt')
    out = []
    for line in open(path):
        line = line.rstrip('\n')
        if line[:2] in ('S ', 'N ', 'L ', 'T ', 'E ') or line in 'SNLTE' and line:
            continue
        out.append(line)
        if not line.startswith('> '):
            continue
        table, chain, *rule = shlex.split(line[2:])
        added = run(tool, '-t', table, '-A', chain, *rule)
        if added.returncode != 0:
            out.append(f'E {added.returncode} ' + added.stderr.rstrip('\n').replace('\n', '\\n'))
            continue
        if added.stderr:
            out.append('E 0 ' + added.stderr.rstrip('\n').replace('\n', '\\n'))
        saved = run(tool + '-save', '-t', table).stdout
        out.append('S ' + next(l for l in saved.split('\n') if l.startswith('-A')))
        # target prot opt source destination rest; the target column may be empty
        for letter, flags in (('N', ['-n']), ('L', [])):
            listed = column(table, chain, *flags)
            columns = re.match(r'(\S*)\s+(\S+)\s+(\S\S)\s+(!?\S+)\s+(!?\S+)', listed)
            if letter == 'N' and columns.group(1):
                out.append('T ' + columns.group(1))
            # the destination is padded to 19 columns and a blank follows; each extension puts a blank before its text
            out.append(letter + listed[columns.start(5) + max(19, len(columns.group(5))) + 1 :])
        run(tool, '-t', table, '-F')
    with open(path, 'w') as f:
        f.write('\n'.join(out) + '\n')
    print(name, sum(1 for l in out if l.startswith('> ')), 'rules')
