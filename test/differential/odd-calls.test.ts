// Calls that nobody should make, to a running daemon through the C client and to the real tools in a namespace:
// closed and full descriptors, directories for files, empty words, bytes of no text, numbers beyond any range. The
// same answer, the same exit status, and the daemon lives on.

import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { whyNot } from '../harness/commands.ts'
import { repositoryRoot } from '../harness/kernel.ts'

const MULTI = '/usr/sbin/xtables-legacy-multi'
const MAIN = join(repositoryRoot(), 'dist/daemon/main.js')
const CLIENT = join(repositoryRoot(), 'datapath/native/build/tunwall-client')
const TOOLS =
  'iptables iptables-save iptables-restore iptables-xml ip6tables ipset conntrack ip sysctl'.split(' ')

/** Lines for bash, in turn: later ones see what earlier ones left behind. */
const LINES = String.raw`
iptables -L >/dev/full
iptables -L >&-
iptables -L 2>&-
iptables -L <&-
iptables-restore <&-
iptables-restore </
iptables-restore </dev/null
iptables-restore /nonexistent
iptables-restore /
iptables-restore >/dev/full <f4
iptables-save >/dev/full
iptables-save >&-
iptables-save -f /nonexistent/x
iptables-save -f /
iptables-save -f s1 -f s2 x; wc -c s1 s2
iptables-save -f s3 -V; cat s3
iptables-save -f -f /nonexistent/x; wc -c ./-f
sysctl -p nosuch/ x/ 'b\\/' //
iptables -A INPUT -j $'\x1b[31mred'
iptables -A INPUT -m $'\x1b[31mred'
iptables -A INPUT -s $'\u00fc.example' -j ACCEPT
iptables -N $'a\x1bb'
iptables -N $'\xff\xfe'
iptables -N ''
iptables -A INPUT --dport 99999999999999999999 -p tcp
iptables -A INPUT -p 99999999999999999999
iptables -I INPUT 99999999999999999999 -j ACCEPT
iptables -D INPUT 99999999999999999999
iptables ''
iptables '' -L
iptables -t '' -L
iptables -t $'\n' -L
iptables -L '' 
iptables -A '' -j ACCEPT
iptables --
iptables -
iptables -- -L
iptables-xml >/dev/full <f4
iptables-xml /nonexistent
iptables-xml </
ip6tables -A INPUT -s 1.2.3.4 -j ACCEPT
ipset
ipset ''
ipset create '' hash:ip
ipset create $'a\x1bb' hash:ip
ipset create b hash:ip hashsize 99999999999999999999
ipset create b hash:ip maxelem -1
ipset create b hash:ip timeout 99999999999
ipset create c hash:ip >&-
ipset list >/dev/full
ipset list >&-
ipset restore </
ipset restore <&-
ipset restore </dev/null
ipset -f /nonexistent restore
ipset -f / restore
ipset -f /nonexistent/x save
ipset -f / save
ipset add nope $'\xff\xfe'
ipset add c ''
ipset add c $'1.2.3.4\n'
ipset test c 1.2.3.4,
ipset destroy $'\x1b[31m'
ipset save c -o $'\xff'
conntrack
conntrack ''
conntrack -L ''
conntrack -L >/dev/full
conntrack -L >&-
conntrack -L -s ''
conntrack -L -s $'\xff'
conntrack -L -p 99999999999999999999
conntrack -L -p ''
conntrack -L -m 99999999999999999999
conntrack -L -o ''
conntrack -L -f ''
conntrack -L -u ''
conntrack -R /nonexistent
conntrack -R /
conntrack -R
conntrack -R </
conntrack -I -s 1.1.1.1 -d 2.2.2.2 -p tcp --sport 99999999999 --dport 1 -t 5 --state NONE
conntrack -D -s 9.9.9.9
conntrack -L $'\x1b[31m'
conntrack -L nope
conntrack -Q
conntrack --nope
ip
ip ''
ip '' ''
ip addr ''
ip addr show ''
ip addr show dev ''
ip addr show dev $'\x1b[31m'
ip link show dev $'\xff'
ip addr >/dev/full
ip addr >&-
ip -batch /nonexistent
ip -batch /
ip -batch ''
ip -batch - </
ip -force -batch - </dev/null
ip route add 1.2.3.4/99999999999999999999 dev lo
ip route add '' dev lo
ip route get 99999999999999999999
ip route get ''
ip route show table 99999999999999999999
ip rule add pref 99999999999999999999
ip rule add from ''
ip rule show pref ''
ip -s
ip -d
ip -j ''
ip - a
ip -- a show lo
ip --
ip link set dev lo mtu 99999999999999999999
ip link set dev lo mtu -1
ip link set dev lo alias ''
ip addr add $'1.2.3.4\n/24' dev lo
sysctl ''
sysctl $'\xff\xfe'
sysctl $'net.\x1b[31m'
sysctl net.ipv4.ip_default_ttl=99999999999999999999
sysctl net.ipv4.ip_default_ttl=$'\x1b[31m'
sysctl net.ipv4.ip_default_ttl=$'1\n2'
sysctl -p /nonexistent
sysctl -p /
sysctl -p - </
sysctl -p - <&-
sysctl -a -r '[' 
sysctl -a -r '*'
sysctl net.ipv4.ip_default_ttl >/dev/full
sysctl net.ipv4.ip_default_ttl >&-
sysctl -b net.ipv4.ip_default_ttl >/dev/full
sysctl -p - <f2
iptables-restore /dev/stdin <f4
iptables-restore <(cat f4)
iptables-restore /dev/null
iptables-save -f /dev/stdout
ipset save -f /dev/stdout
ipset -f /dev/stdin restore <f5
printf 'create z9 hash:ip\\nlist z9 -n\\nadd z9 1.1.1.1\\nfrob\\n' >f9; ipset restore -f f9; echo $?; cat f9; ipset test z9 1.1.1.1; ipset destroy z9
printf 'create z9 hash:ip\\nlist z9 -f f8\\nadd z9 1.1.1.1\\n' >f9; ipset restore -f f9; echo $?; cat f9; ipset test z9 1.1.1.1; ipset destroy z9
printf 'create z9 hash:ip\\nadd z9 1.1.1.1\\nadd z9 1.1.1.1\\nlist z9\\n' >f9; ipset restore -f f9; echo $?; cat f9; ipset destroy z9
conntrack -R /dev/null
sysctl -p /dev/stdin <f2
ip -batch /dev/stdin <f6
iptables-xml /dev/stdin <f4
iptables-save | head -1 | cut -c1-20
iptables -S | head -1
ipset list | head -1
ip addr | head -1
sysctl -a -r ip_forward$ | head -1
iptables-xml f4 | head -1
head -c 60 f4 | iptables-restore
head -c 60 f4 | iptables-xml
head -c 9 f5 | ipset restore
iptables -S
iptables-restore <f8
ip6tables-restore <f8
iptables-xml <f8
ipset restore <f8
ip -batch - <f8
ip -force -batch - <f8
conntrack -R f8
sysctl -p f8
iptables-restore <f9
ipset restore <f9
ip -batch - <f9
ip -force -batch f9
sysctl -p f9
conntrack -R f9
ipset list -name
iptables -S
ip -4 rule
ip link add $(printf 'x%.0s' {1..300}) type dummy
ip link set dev $(printf 'x%.0s' {1..300}) up
ip route add 10.0.0.0/8 dev $(printf 'x%.0s' {1..300})
ipset create $(printf 'x%.0s' {1..300}) hash:ip
ipset create s7 $(printf 'x%.0s' {1..300})
sysctl $(printf 'x%.0s' {1..300})=1
sysctl net.$(printf 'x%.0s' {1..9000})=1
conntrack -L -o $(printf 'x%.0s' {1..300})
iptables-restore <utf16
ip6tables-restore <utf16
iptables-xml <utf16
ipset restore <utf16
ip -batch utf16
sysctl -p utf16
conntrack -R utf16
iptables-restore <crlf
iptables -S
iptables-restore -n <nolf
iptables -S
ipset restore <crlfset
ipset list crlf -terse | head -2
ipset restore <nolfset
ip -batch crlfip
ip -batch nolfip
sysctl -p crlfctl
sysctl -p nolfctl
sysctl net.ipv4.ip_default_ttl
iptables-restore <bom
ipset restore <bom
iptables-restore <nul
iptables-xml <nul
ipset restore <nulset
ip -batch nulip
iptables-restore <quotes
iptables-restore --test <quotes
iptables-restore <blank
iptables-restore <words
iptables-restore <words2
ipset restore <words
ip -batch words
ip -force -batch words
conntrack -R words
sysctl -p words
iptables-xml <words
iptables-restore -T nope <f4
iptables-restore -T '' <f4
iptables-restore -w
iptables-restore -w x <f4
iptables-restore --nope <f4
iptables-restore -t filter -t nat <f4
iptables-restore f4 f4
iptables-restore -M
iptables-restore -h
iptables-save -t
iptables-save -t nope
iptables-save -t ''
iptables-save -t $(printf 'x%.0s' {1..300})
iptables-save extra words
iptables-save --nope
iptables-save -d
iptables-save 'a b' --dump
iptables-save -d --nope -t nat
iptables-save -t nope -d
iptables-save a -c -d -f /nonexistent/x
iptables-save -f /nonexistent/x -d
iptables-save -M /nonexistent
iptables-save -V
ip6tables-save
ip6tables-save -c
ip6tables-save -t nope
ip6tables-save >&-
ip6tables-save -f ''
ip6tables-save -t filter -f out
iptables-xml -x
iptables-xml -c -v f4
iptables-xml -h
iptables-xml f4 f4
iptables-xml <&-
iptables-xml -V
iptables -A INPUT -p tcp --dport
iptables -A INPUT -p
iptables -A
iptables -A INPUT -j
iptables -A INPUT -m comment --comment
iptables -A INPUT -m comment --comment "$(printf 'x%.0s' {1..300})"
iptables -A INPUT -m comment --comment $'\xff\xfe\x01'
iptables -A INPUT -m comment --comment $'a\nb' -j ACCEPT
iptables -A INPUT -j LOG --log-prefix $'\xc3\xa4\x1b\n'
iptables -S INPUT
iptables -A INPUT -j $(printf 'x%.0s' {1..300})
iptables -A INPUT -m $(printf 'x%.0s' {1..300})
iptables -A $(printf 'x%.0s' {1..300}) -j ACCEPT
iptables -N $(printf 'x%.0s' {1..29})
iptables -A INPUT -i $(printf 'x%.0s' {1..300})
iptables -A INPUT -i $'\xff'
iptables -A INPUT -i 'a b'
iptables -A INPUT -i ''
iptables -A INPUT -i '+'
iptables -t $(printf 'x%.0s' {1..300}) -L
iptables -A INPUT -s $(printf '1.2.3.4,%.0s' {1..200})5.6.7.8
iptables -S INPUT | wc -l
iptables -F
iptables -L INPUT 1 2 3
iptables -R INPUT
iptables -R INPUT 0 -j ACCEPT
iptables -I INPUT 0 -j ACCEPT
iptables -I INPUT -1 -j ACCEPT
iptables -I INPUT 5 -j ACCEPT
iptables -Z INPUT x
iptables -P INPUT
iptables -P INPUT x
iptables -P nope ACCEPT
iptables -E INPUT x
iptables -X INPUT
iptables -w x -L
iptables -w -1 -L
iptables -W 5 -L
iptables -4 -6 -L
iptables -6 -A INPUT -j ACCEPT
iptables -h nope
iptables -m nope -h
iptables -V extra
iptables --ver
iptables --l
iptables --list-r
iptables -c 1 2 -L
iptables -c 1 -A INPUT
iptables -c x 5 -A INPUT -j ACCEPT
iptables -A INPUT -j ACCEPT -c 9007199254740991 0
iptables -nvxL --line
ipset create $(printf 'x%.0s' {1..31}) hash:ip
ipset destroy $(printf 'x%.0s' {1..31})
ipset create cm hash:ip comment
ipset add cm 1.2.3.4 comment $'\xff\x01"'
ipset add cm 1.2.3.4 comment $'\xff\x01\n'
ipset add cm 1.2.3.5 comment $'a\tb'
ipset list cm -sorted | tail -2
ipset save cm | grep -a 1.2.3.5
ipset -o xml list cm | grep -a 1.2.3.5
ipset list '' ''
ipset test
ipset - </dev/null
ipset - <&-
ipset - <utf16
ipset - <f8
ipset -q - <words
ipset -o xml
ipset -o
ipset -f
ipset -! -! -! list nope
ipset -quiet -quiet add nope 1
ipset --
ipset -x
ipset help nope
ipset list -t -n -s -o save
ipset swap cm cm
ipset rename cm cm
ipset create lst list:set size 4294967296
ipset create lst list:set size -1
ipset add cm 1.2.3.4/0
ipset add cm 0.0.0.0/1 timeout 5
ipset add cm 1.2.3.4-
ipset del cm -
ipset add cm 1.2.3.4 1.2.3.5
conntrack -L -L
conntrack -F
conntrack -L -o xml
conntrack -L -o xml,,extended
conntrack -L -w 99999
conntrack -L --sport 5
conntrack -L -p tcp --sport
conntrack -L -p tcp --state ''
conntrack -L -p udp --state NONE
conntrack -L -s 1.2.3.4/-1
conntrack -L -s 1.2.3.4/33
conntrack -L -f ipv6 -s 1.2.3.4
conntrack -L -d ::1 -s 1.2.3.4
conntrack -L -n ''
conntrack -L -g 1.2.3.4:
conntrack -L -g 1.2.3.4:99999
conntrack -L -g :
conntrack -L -g '[::1]:5'
conntrack -I
conntrack -I -p tcp
conntrack -I -p tcp -s 1.2.3.4 -d 2.3.4.5 --sport 1 --dport 2 -t -5 --state NONE
conntrack -I -p 255 -s 1.2.3.4 -d 2.3.4.5 -t 5
conntrack -I -p 256 -s 1.2.3.4 -d 2.3.4.5 -t 5
conntrack -D -p tcp
conntrack -G
conntrack -F extra
conntrack -C extra
conntrack -S extra
conntrack -V extra
conntrack -U -m 5
conntrack -L -m 0x
conntrack -L -m 5/
conntrack -L -m /5
conntrack -L --label x
conntrack -L -b 1
conntrack -E --nope
conntrack -h -p nope
conntrack --lis
conntrack -L -u ,
conntrack -L -i x
conntrack -L -c 99999999999
conntrack -R crlfct
conntrack -R nolfct
conntrack -D -p udp
conntrack -R quoted
ip addr show dev $(printf 'x%.0s' {1..300})
ip addr show dev 'a b'
ip addr add 10.0.0.1/24 dev lo label $(printf 'x%.0s' {1..300})
ip addr add 10.0.0.1/24 dev lo label $'lo:\xff'
ip -o -4 addr show lo
ip -j -4 addr show lo
ip addr del 10.0.0.1/24 dev lo
ip link set dev lo alias $(printf 'x%.0s' {1..256})
ip link set dev lo alias $'\xff\x1b"\\'
ip link show lo
ip -j link show lo
ip -j -p link show lo
ip link set dev lo alias ''
ip link set dev lo name ''
ip link set dev lo name $(printf 'x%.0s' {1..16})
ip link set dev lo name 'a/b'
ip link set dev lo group $(printf 'x%.0s' {1..300})
ip link set dev lo mtu
ip link set dev lo mtu 0x5dc
ip link set dev lo mtu 99999999999
ip link set dev lo qlen 4294967296
ip link set dev
ip link set
ip link property add dev lo altname $(printf 'x%.0s' {1..128})
ip link property add dev lo altname $'\xff\xfe'
ip link show dev $'\xff\xfe'
ip -j link show dev lo
ip link property del dev lo altname $'\xff\xfe'
ip route add
ip route add default
ip route add 10.0.0.0/8
ip route add 10.0.0.0/33 dev lo
ip route add 10.0.0.0/-1 dev lo
ip route add 10.0.0.0/8/8 dev lo
ip route add 10..0.0 dev lo
ip route add 0x0a000000/8 dev lo
ip route show 0x0a000000/8
ip route add $'10.0.0.0/8\n' dev lo
ip route flush
ip route flush table 4294967296
ip route get
ip route get 1.2.3.4 5.6.7.8
ip route get 1.2.3.4 from
ip route get 1.2.3.4 mark 99999999999
ip route show type nope
ip route show proto 256
ip route show scope 256
ip rule add
ip rule add table
ip rule add from 1.2.3.4/33
ip rule add fwmark x
ip rule add fwmark 1/x
ip rule add iif $(printf 'x%.0s' {1..16})
ip rule add iif ''
ip rule add iif $'\xff'
ip rule show
ip -j rule show
ip rule del pref 32765
ip rule del
ip rule show nope
ip rule flush extra
ip nope
ip a b c
ip -family nope a
ip -f inet6
ip -4 -6 -0 a show lo
ip -n nope a
ip -nope
ip -batch
ip -batch f6 -batch f6
ip -rcvbuf x a
ip -l x a show lo
ip -V extra
ip -c=nope a
ip -br -j -p -s -s -o a show lo
ip help
ip addr help
ip rout help | head -1
sysctl -p crlfctl nolfctl
sysctl -w
sysctl -w net.ipv4.ip_forward
sysctl -w =1
sysctl =
sysctl net.ipv4.ip_forward==1
sysctl net.ipv4.ip_forward= 1
sysctl 'net.ipv4.ip_forward = 1'
sysctl net.ipv4.ip_forward=1=2
sysctl net/ipv4/ip_forward
sysctl net//ipv4//ip_forward
sysctl /net/ipv4/ip_forward
sysctl net.ipv4.ip_forward.
sysctl .net.ipv4.ip_forward
sysctl net.ipv4.conf
sysctl net.ipv4.conf=1
sysctl ../net/ipv4/ip_forward
sysctl net/../net/ipv4/ip_forward
sysctl net.ipv4.conf.*.forwarding
sysctl net.ipv4.conf.nope.forwarding=1
sysctl net.ipv4.ip_forward=$(printf '1%.0s' {1..5000})
sysctl net.ipv4.ip_forward=-1
sysctl net.ipv4.ip_forward=0x1
sysctl net.ipv4.ip_forward='1 2'
sysctl net.ipv4.ip_forward=' 1'
sysctl net.ipv4.ip_forward='1 '
sysctl net.ipv4.ip_local_port_range='5 4'
sysctl net.ipv4.ip_local_port_range='1024 2048 4096'
sysctl net.ipv4.ip_local_port_range=$'1024\t2048'
sysctl net.ipv4.ip_local_port_range
sysctl -n -e -q nope.nope
sysctl -e nope.nope=1
sysctl --nope
sysctl -aN -r '^net.ipv4.ip_f'
sysctl -a -r
sysctl -b -n net.ipv4.ip_forward net.ipv4.ip_forward
sysctl --pattern '(' -a
sysctl --system=1
conntrack -R quoted2
sysctl -V -a
sysctl -h | head -1
sysctl -d
ip6tables-restore <f9
iptables-xml <f9
ipset - <f9
iptables-restore --test <f9
iptables-restore <f10
iptables-xml <f10
ip6tables-restore <f10
ipset restore <f11
ipset list many -terse | tail -1
ip -batch f12
ip -force -batch f12
sysctl $(head -c 100000 f9)
sysctl net.ipv4.ip_forward=$(head -c 100000 f9)
iptables $(head -c 100000 f9)
iptables -A INPUT -j $(head -c 100000 f9)
iptables -A INPUT -s $(head -c 100000 f9)
ipset $(head -c 100000 f9)
ipset add many $(head -c 100000 f9)
ipset create $(head -c 100000 f9) hash:ip
conntrack $(head -c 100000 f9)
conntrack -L -s $(head -c 100000 f9)
conntrack -L -p $(head -c 100000 f9)
ip $(head -c 100000 f9)
ip route add $(head -c 100000 f9)
ip addr add $(head -c 100000 f9) dev lo
ip link show $(head -c 100000 f9)
iptables $(printf -- '-n %.0s' {1..300}) -L
iptables $(printf -- 'x %.0s' {1..300})
ipset $(printf -- 'x %.0s' {1..300})
ipset list $(printf -- '-q %.0s' {1..40})
conntrack $(printf -- '-L %.0s' {1..300})
ip $(printf -- '-4 %.0s' {1..300}) route
ip route show $(printf -- 'table 5 %.0s' {1..300})
sysctl $(printf -- '-q %.0s' {1..300}) net.ipv4.ip_forward
env LC_ALL=en_US.UTF-8 iptables -N $'caf\u00e9'
env LC_ALL=tr_TR.UTF-8 iptables -S | tail -1
env LANG=de_DE ipset list nope
iptables -X
iptables -L 2>&- >&-
ip addr 2>&- >&-
ipset list nope 2>&- >&-
`
  .trim()
  .split('\n')

const FILES: Readonly<Record<string, string>> = {
  f4: '*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -m comment --comment "\x1b[31m\xff" -j ACCEPT\nCOMMIT\n',
  f2: 'net.ipv4.ip_default_ttl=\x0065\nnet.ipv4.ip_default_ttl=\x1b\nnet.ipv4.\xff=1\n',
  f5: 'create zz hash:ip\n',
  f6: 'addr show lo\n',
  // Bytes of no text, NUL among them; a line of ten megabytes.
  f8: Array.from({ length: 3000 }, (_, i) => String.fromCharCode((i * i * 31 + (i >> 3)) & 0xff)).join(''),
  f9: `add ${'x'.repeat(10_000_000)}\n`,
  utf16: `\xff\xfe${[...'*filter\nCOMMIT\n'].map((letter) => `${letter}\0`).join('')}`,
  bom: '\xef\xbb\xbf*filter\nCOMMIT\n',
  crlf: '*filter\r\n:INPUT ACCEPT [0:0]\r\n-A INPUT -j ACCEPT\r\nCOMMIT\r\n',
  nolf: '*filter\n-A INPUT -j DROP\nCOMMIT',
  crlfset: 'create crlf hash:ip\r\nadd crlf 1.2.3.4\r\nCOMMIT\r\n',
  nolfset: 'create nolf hash:ip\nadd nolf 1.2.3.4',
  crlfip: 'addr show lo\r\n',
  nolfip: 'addr show lo',
  crlfctl: 'net.ipv4.ip_default_ttl=66\r\n',
  nolfctl: 'net.ipv4.ip_default_ttl=67',
  crlfct: '-I -s 1.1.1.1 -d 2.2.2.2 -p udp --sport 1 --dport 2 -t 50\r\n',
  nolfct: '-I -s 1.1.1.1 -d 2.2.2.2 -p udp --sport 1 --dport 2 -t 50',
  quoted: '"-I" "-s" "1.1.1.1" -d 2.2.2.2 -p "udp --sport 1\n',
  f10: `*filter\n-A INPUT -m comment --comment "${'x'.repeat(1_000_000)}" -j ACCEPT\nCOMMIT\n`,
  f11: `create many hash:ip\n${Array.from({ length: 20_000 }, (_, i) => `add many 10.1.${i >> 8}.${i & 255}\n`).join('')}`,
  f12: `addr show lo ${'\\\n'.repeat(3000)} up\n${'link '.repeat(5000)}\n${'"'.repeat(4001)}\n`,
  quoted2: '-A -s "a\\"b"c\n',
  nul: '*filter\n-A INPUT -j DR\0OP\nCOMMIT\n',
  nulset: 'create nul hash:ip\nadd nul 1.2.3\0.4\n',
  nulip: 'addr sh\0ow lo\n',
  quotes: `*filter\n-A INPUT -m comment --comment "a \\"b\\" 'c" -j ACCEPT\n-A INPUT -m comment --comment "open -j DROP\nCOMMIT\n`,
  blank: `${' \t'.repeat(5000)}\n\n\n# ${'x'.repeat(20_000)}\n`,
  words: `*filter\n-A INPUT ${'x '.repeat(300)}\nCOMMIT\n`,
  words2: `*filter\n-A INPUT ${'x'.repeat(1100)} -j ACCEPT\nCOMMIT\n`,
}

const missing = ['ipset', 'conntrack', 'sysctl', 'ip'].find(
  (tool) => spawnSync(tool, ['-V']).error !== undefined,
)
const why =
  whyNot() ??
  (missing === undefined ? null : `the program ${missing} is missing`) ??
  (existsSync(MAIN) && existsSync(CLIENT) ? null : 'dist is not built: npm run build')
if (why !== null) console.warn(`NOT RUN: the daemon gets no odd calls: ${why}`)

let dir = ''
let daemon: ChildProcess

beforeAll(async () => {
  if (why !== null) return
  dir = mkdtempSync(join(tmpdir(), 'tunwall-odd-'))
  for (const side of ['ours', 'theirs']) mkdirSync(join(dir, side))
  for (const tool of TOOLS) {
    symlinkSync(CLIENT, join(dir, 'ours', tool))
    if (tool.includes('tables')) symlinkSync(MULTI, join(dir, 'theirs', tool))
  }
  for (const [name, text] of Object.entries(FILES)) writeFileSync(join(dir, name), text, 'latin1')
  mkdirSync(join(dir, 'host'))
  writeFileSync(join(dir, 'host/host.yaml'), 'interfaces: {}\n')
  const argv = [MAIN, 'up', '--host', join(dir, 'host'), '--socket', join(dir, 'control')]
  daemon = spawn(process.execPath, argv, { stdio: ['ignore', 'pipe', 'inherit'] })
  await new Promise<void>((resolve, reject) => {
    daemon.stdout!.on('data', (chunk: Buffer) => chunk.includes('ready') && resolve())
    daemon.on('exit', (code) => reject(new Error(`tunwall up ended with ${code}`)))
  })
})

afterAll(async () => {
  if (why !== null) return
  if (daemon.exitCode === null) {
    const gone = new Promise((resolve) => daemon.on('exit', resolve))
    daemon.kill('SIGTERM')
    await gone
  }
  rmSync(dir, { recursive: true })
})

interface Answer {
  readonly line: string
  readonly stdout: string
  readonly stderr: string
  readonly code: number
}

function answers(side: 'ours' | 'theirs'): Answer[] {
  // Braces, so that a line's own redirections win.
  const script = LINES.map(
    (line, i) =>
      `{ timeout 10 ${line}; } >${side}-${i}.out 2>${side}-${i}.err </dev/null; echo $? >${side}-${i}.code`,
  )
  const environment = {
    PATH: `${join(dir, side)}:/usr/sbin:/usr/bin:/sbin:/bin`,
    TUNWALL_SOCKET: join(dir, 'control'),
    LC_ALL: 'C',
  }
  const ran = spawnSync(side === 'ours' ? 'bash' : 'unshare', side === 'ours' ? [] : ['-n', 'bash'], {
    cwd: dir,
    env: environment,
    input: `${side === 'theirs' ? 'ip link set lo up\n' : ''}${script.join('\n')}`,
  })
  expect(ran.stderr.toString()).toBe('')
  const read = (name: string): string => readFileSync(join(dir, `${side}-${name}`), 'latin1')
  const masked = (text: string): string =>
    text.replaceAll(/^(# .* on ).*$/gm, '$1DATE').replaceAll(/initval 0x[0-9a-f]+/g, 'initval X')
  return LINES.map((line, i) => ({
    line,
    stdout: masked(read(`${i}.out`)),
    stderr: read(`${i}.err`),
    code: Number(read(`${i}.code`)),
  }))
}

describe.skipIf(why !== null)('odd calls', () => {
  test(`${LINES.length} of them are answered as by the real tools`, () => {
    const theirs = answers('theirs')
    const ours = answers('ours')
    const different = (_: Answer, i: number): boolean => JSON.stringify(ours[i]) !== JSON.stringify(theirs[i])
    expect(ours.filter(different)).toEqual(theirs.filter(different))
    expect(daemon.exitCode).toBeNull()
  }, 120_000)
})
