// Lines of ip(8) that once differed, or might have: each list is said on one host. `<<<`: what the command reads.

interface Lines {
  readonly name: string
  /** Both hosts forward packets. */
  readonly routes?: true
  readonly lines: string
}

export const IP_LINES: readonly Lines[] = [
  {
    name: 'expires, groups, families, other names',
    lines: `
-6 route add 2001:db8:1::/48 dev t0 expires 4000 mtu 1400
-6 route show
-6 route add 2001:db8:2::/48 dev t0 expires 4000 hoplimit 10
-6 route add 2001:db8:3::/48 dev t0 expires 4000 hoplimit 10 mtu 1400
-6 route add 2001:db8:4::/48 nexthop via 2001:db8:1::1 dev t0
-6 route show
-j -6 route show
-6 route add 2001:db8:7::/48 dev t0 expires 4000 mtu lock 1400
-6 route show
-6 route get 2001:db8:1::1
-6 route get 2001:db8:2::1
link set group 9 address 00:11
link set group default address 00:11
link set group default address 00:11:22:33:44:55
link set group default up address 00:11
link set dev t0 group 9 
link set group 9 address 00:11
link set group 9 mtu 1400 address 00:11
link set dev t0 address 00:11
link set dev lo address 00:11
link set address 00:11
link set group 9 broadcast 00:11
link set address 00:11 group 0 name x
link set group 0 type tun address 00:11
route add 10.5.0.0/16 dev t0 realm 5
route get 10.5.0.1 from 10.9.0.1 iif t1
addr add 10.0.0.1/24 dev t0
addr add 10.0.1.1/24 dev t1
route add 10.7.0.0/16 dev t1 realm 7
route get 10.5.0.1 from 10.7.0.1 iif t1
-f bridge link show
-f mpls link show
-f bridge addr
-f mpls addr show t0
-f bridge route
-f mpls route
-f mpls rule
-f bridge rule
-f bridge addr add 10.1.1.1/24 dev t0
-f mpls route add 10.1.1.1/24 dev t0
-f link addr
-0 route
-0 rule
-B link
-M link
-B addr
-M addr
-M route
-B route
-B rule
-M rule
link property add dev t0 altname foo
link show t0
link show foo
addr add 10.3.3.3/24 dev foo
link property add dev t0 altname bar altname baz
-j link show t0
addr show dev bar
link property del dev t0 altname bar
link show t0
link show bar
link property add dev t1 altname foo
link property add dev t1 altname t0
link property del dev t1 altname foo
link property del dev t0 altname t0
link property add dev t0 altname foo
-br link show
route add 10.44.0.0/16 dev foo
route show
rule add iif foo pref 7
rule
link set foo mtu 1400
link show foo
link property add foo altname a
link set dev t0 name foo
link set dev t1 name foo
-d addr show t0
-o link show t0
link property add dev t0
link property add dev t0 altname
link property add dev t0 altname averyveryverylongnamewhichismorethanfifteen
link show
addr
-6 addr show
`,
  },
  {
    name: 'families and groups of every command',
    lines: `
-f bridge -j addr
-f bridge -j -p addr
-f bridge -j link show t0
-f link -j addr
-f link addr show t0
-0 -br addr
-0 -br link
-0 -o addr
-0 -d addr show t0
-0 -s addr show t0
-0 addr show up
-0 addr show to 10.0.0.0/8
-0 addr show label t*
-0 addr flush dev t0
-f mpls addr flush dev t0
-f bridge addr flush dev t0
-f bridge addr show up
-f bridge addr show to 10.0.0.0/8
-f bridge addr add 10.1.1.1/24 dev t0
-f bridge addr add default dev t0
-0 addr add default dev t0
-f bridge addr del 10.1.1.1/24 dev t0
-f bridge addr add 2001:db8::1/64 dev t0
-0 addr add 10.1.1.1/24 dev t0
-f bridge addr add dev t0
-0 addr add dev t0
-0 route show table all
-f bridge route show table all
-f bridge -j route show table all
-f mpls route show table all
-f mpls route show table 5
-f mpls route show 10.0.0.0/8
-f mpls route show dev t0
-f mpls route flush table 5
-f mpls route flush all
-0 route flush all
-0 route flush table all
-f mpls route get 10.0.0.1
-f mpls route get 100
-f bridge route get 10.0.0.1
-f bridge route get default
-0 route get 10.0.0.1
-0 route get default
-f mpls route add 100 dev t0
-f mpls route add default dev t0
-f bridge route add default dev t0
-f mpls route add 100 via inet 10.0.0.1 dev t0
-f bridge route del default
-f mpls route del default
-0 route add default dev t0
-0 route add default
-f mpls route add dev t0
-j -f mpls rule
-f mpls rule show pref 7
-f mpls rule add pref 7
-f bridge rule add from 10.0.0.1 table 5
-f bridge rule add table 5
-f bridge rule del table 5
-f bridge rule flush
-0 rule flush
-0 rule add table 5
-0 rule add table 5 pref 7 blackhole
-0 rule add from all table 5
-f bridge link set t0 mtu 1400
-f mpls link set t0 mtu 1400
-0 link set t0 mtu 1400
-f bridge link set t0 up
-6 link set t0 mtu 1400
-4 link set t0 mtu 1400
-f bridge link add name x type tun
-f bridge link del t0
-f bridge link set group 0 mtu 1400
-f bridge link show up
-f bridge -s link show lo
-f bridge -d link show lo
-f mpls -d link show t0
-f bridge -br link
-f help
-f inet7 addr
-f ipx addr
-f decnet addr
-f packet addr
-f unspec addr
-f any addr
-f inet6
-6 link show t0
-4 link show t0
-6 -d link show lo
link set name x up
link set name t0 up
link set name t0 mtu 1450
link set t0 name t0
link set dev t0 name t0 mtu 1420
link set name t0 address 00:11
link set group 9 name x
link set name x group 9
link set dev t0 type tun address 00:11
link set dev t0 type nope address 00:11
link set dev t0 type nope
link set group 0 type nope x
link set group 0 help
link set address 00:11 group 0 down
link set group 0 broadcast 00:11
link set group 0 address 00:11:22:33:44:55:66:77
link set dev lo address 00:11:22:33:44:55:66:77
link show lo
-force -batch - <<<"link set group 0 type tun x\\nlink show t1\\nlink set dev t0 type tun x\\nlink show t1\\n"
`,
  },
  {
    name: 'colours',
    lines: `
-c addr
-co link
-c=always -br addr
-c -br link
-c= -j addr
-c=auto addr
addr add 10.0.0.1/24 brd + dev t0
addr add 10.0.0.3 peer 10.0.9.9/32 dev t0
addr add 2001:db8::1/64 dev t0
addr add 2001:db8::3 peer 2001:db8::9/128 dev t0 
link set t2 down
route add 10.8.0.0/16 via 10.0.0.9 src 10.0.0.1
route add 10.9.0.0/16 nexthop via 10.0.0.9 nexthop dev t0
-6 route add 2001:db8:5::/48 via 2001:db8::7
route add 10.11.0.0/16 via inet6 fe80::1 dev t0
route add 10.13.0.0/16 nexthop via inet6 fe80::1 dev t0 nexthop via 10.0.0.9
route add blackhole 10.12.0.0/16
-6 route add default dev t1
-6 route add 2001:db8:7::/48 nexthop via 2001:db8::7 dev t0 nexthop via 2001:db8::8 dev t0
route add default dev t0 realm 5 metric 7 src 10.0.0.1
rule add from 10.0.0.0/8 to 10.9.0.0/16 iif t0 oif t1 table 5 pref 7
-6 rule add from 2001:db8::/32 to ::/0 iif nope blackhole
rule add from 10.1.1.1 to 10.1.1.2 iif nope
-c addr
-c -br addr
-c -br link
-c -o addr
-c -d -s -s addr show t0
-c -6 addr
-c -4 addr
-c -0 addr
-c route show table all
-c -6 route show table all
-c -o route
-c rule
-c -6 rule
-c route get 10.9.0.7
-c route get 10.8.0.7 from 10.0.0.1
-c route get 10.11.0.1
-c route get 10.8.0.7 fibmatch
-c -6 route get 2001:db8:5::1
-c -6 route get 2001:db8:7::1
-c route get 127.0.0.1
-c route get 10.8.0.7 from 10.0.0.77 iif t0
-c -s -s addr flush dev t0
-c -s -s route flush table main
-c -batch - <<<"addr show t1\\nlink show t1\\nroute show\\n"
-c -j -batch - <<<"addr show t1\\nlink show t1\\nroute show\\n"
`,
  },
  {
    name: 'links',
    lines: `
link set t2 trailers off master t1
link show t2
link set t1 down
link set t1 up master t2
link show t1
link set t1 multicast off master t2
link show t1
link set t1 master t2 name zz
link show t1
link show zz
link set t0 alias foo master t2
link show t0
link set t0 txqueuelen 77 master t2
link show t0
link set t0 brd 00:11:22:33:44:55 mtu 1300 master t2
link show t0
link set t0 trailers off txqueuelen -1
link show t0
link set t0 promisc on master t2
link show t0
-json link afstats dev t0
-json link afstats dev nope
-json link afstats
-json link xstats type tun
link afstats dev lo
-json link property add dev t0 altname q
-json link set t0 mtu 1300
-6 link property add dev t0 altname q2
-6 addr add 2001:db8::1/64 dev t0
-6 addr show
-6 addr show t0
-6 -d addr show
-4 addr show
-s link show t0
-d link show t0
-d -s addr show t0
link set t0 alias x
-j -d -s addr show t0
-d -s addr show t0
-s link show t0
-br link
-o -s link show t0
`,
  },
  {
    name: 'one next hop',
    lines: `
addr add 10.0.0.1/24 dev t0
addr add 2001:db8::1/64 dev t0
route add 10.13.0.0/16 nexthop via 10.0.0.7 weight 5 realm 3
route add 10.14.0.0/16 nexthop dev t1 weight 5
route add 10.15.0.0/16 nexthop via 10.77.0.1 dev t0 onlink
route add 10.16.0.0/16 onlink nexthop via 10.77.0.1 dev t0 onlink
route add 10.17.0.0/16 onlink nexthop via 10.0.0.7 dev t0
route add 10.18.0.0/16 realm 4 nexthop via 10.0.0.7 dev t0
route
-j route
-6 route add 2001:db8:4::/48 nexthop via 2001:db8::7 dev t0
-6 route add 2001:db8:5::/48 dev t0 nexthop via 2001:db8::7
-6 route add 2001:db8:6::/48 via 2001:db8::9 nexthop via 2001:db8::7
-6 route add 2001:db8:7::/48 onlink nexthop via 2001:db8::7 dev t0
-6 route add 2001:db8:8::/48 nexthop via 2001:db8::7 dev t0 onlink
-6 route add 2001:db8:9::/48 nexthop dev t0 
-6 route append 2001:db8:4::/48 nexthop via 2001:db8::8 dev t0
-6 route add 2001:db8:a::/48 dev lo pref low
-6 route add ::1/128 dev lo pref low
-6 route add ::/0 dev lo pref high expires 5000 mtu 1400
-6 route add anycast 2001:db8:c::1 dev lo pref high
-6 route add local 2001:db8:c::2 dev lo pref high
-6 route show table all
-6 route show
-6 route del 2001:db8:4::/48 nexthop via 2001:db8::8 dev t0
route del 10.13.0.0/16 nexthop via 10.0.0.7
route del 10.14.0.0/16 dev t1
route get 10.13.0.1
route get 10.15.0.1
-6 route get 2001:db8:4::1
-6 route add 2001:db8:4::/48 nexthop via 2001:db8::7 dev t0 nexthop via 2001:db8::8 dev t0 nexthop via 2001:db8::9 dev t0
-6 route del 2001:db8:4::/48 nexthop via 2001:db8::7 dev t0 nexthop via 2001:db8::9 dev t0
-6 route show
-6 route del 2001:db8:4::/48 nexthop via 2001:db8::7 dev t0 nexthop via 2001:db8::8 dev t0
-6 route show
-6 route del 2001:db8:4::/48 nexthop via 2001:db8::7 dev t0 nexthop via 2001:db8::8 dev t0
-6 route add 2001:db8:4::/48 nexthop via 2001:db8::7 dev t0 nexthop via 2001:db8::8 dev t0 nexthop via 2001:db8::9 dev t0
-6 route del 2001:db8:4::/48 nexthop via 2001:db8::7 dev t0 nexthop via 2001:db8::77 dev t0
-6 route show
-6 route del 2001:db8:4::/48 nexthop via 2001:db8::77 dev t0 nexthop via 2001:db8::8 dev t0
-6 route show
`,
  },
  {
    name: 'gateways of the other family',
    lines: `
addr add 10.0.0.1/24 dev t0
addr add 2001:db8::1/64 dev t0
route add 10.13.0.0/16 nexthop via inet6 fe80::1 dev t0 nexthop via 10.0.0.9
route add 10.14.0.0/16 nexthop via inet6 fe80::1 dev t0
route add 10.15.0.0/16 via inet6 fe80::1
route add 10.15.0.0/16 via inet6 2001:db8::1 dev t0
route add 10.15.0.0/16 via inet6 2001:db8::1
route add 10.15.0.0/16 via inet6 2001:db8::7
route add 10.16.0.0/16 via inet6 2001:db8:77::7
route add 10.16.0.0/16 via inet6 2001:db8:77::7 dev t0
route add 10.16.0.0/16 via inet6 2001:db8:77::7 dev t0 onlink
route add 10.17.0.0/16 via inet6 ff02::1 dev t0
route add 10.17.0.0/16 via inet6 :: dev t0
route add 10.17.0.0/16 via inet6 2001:db8::9 dev t1
route add 10.17.0.0/16 via inet6 2001:db8::9 dev lo
route add 10.18.0.0/16 nexthop via inet6 2001:db8::9
route add 10.18.0.0/16 nexthop via inet6 2001:db8::9 dev t0 onlink nexthop via inet6 2001:db8::10
route add 10.19.0.0/16 nexthop via inet6 fe80::9 nexthop via inet6 2001:db8::10
-6 route add 2001:db8:55::/48 via inet 10.0.0.7
-6 route add 2001:db8:55::/48 via inet 10.0.0.7 dev t0
-6 route add 2001:db8:55::/48 nexthop via inet 10.0.0.7 dev t0 nexthop via 2001:db8::8
route add 10.20.0.0/16 via inet 10.0.0.7 dev t0
route add 10.21.0.0/16 scope link via inet6 fe80::1 dev t0
route add 10.22.0.0/16 scope host via inet6 fe80::1 dev t0
route add blackhole 10.23.0.0/16 via inet6 fe80::1 dev t0
route add 10.24.0.0/16 via inet6 fe80::1 dev t0 src 10.0.0.1 metric 7
route
-j route
route get 10.13.0.9
route get 10.14.0.9
route get 10.16.0.9
route get 10.16.0.9 fibmatch
-j route get 10.18.0.9
route del 10.14.0.0/16 via inet6 fe80::1
route del 10.15.0.0/16 via inet6 fe80::9
route del 10.24.0.0/16 via 10.0.0.1
route show via inet6 fe80::1
route show via fe80::1
route show via 10.0.0.9
-6 route add 2001:db8:7::/48 nexthop via 2001:db8::7 dev t0 nexthop via 2001:db8::8 dev t0
-6 route get 2001:db8:7::1
-6 route get 2001:db8:7::2
-6 route get 2001:db8:7::3
-6 route get 2001:db8:7::4
-6 route get 2001:db8:7::4 from 2001:db8::1
-6 route get 2001:db8:7::4 from 2001:db8::1 ipproto tcp sport 5 dport 7
-6 route get 2001:db8:7::4 oif t0
-6 route get 2001:db8:7::4 iif t0
-6 route get 2001:db8:7::4 iif t1 from 2001:db8:9::1
route add 10.30.0.0/16 nexthop via 10.0.0.7 nexthop via 10.0.0.8
route get 10.30.0.1
route get 10.30.0.2
route get 10.30.0.3
route get 10.30.0.4
route get 10.30.0.4 from 10.0.0.1
route get 10.30.0.4 from 10.0.0.1 ipproto tcp sport 5 dport 7
`,
  },
  {
    name: 'mtu',
    lines: `
link set lo mtu 1000
addr show lo
route show table all
addr add ::1/128 dev lo
addr add 2001:db8::1/64 dev lo
addr add 10.0.0.9/24 dev lo
link set lo mtu 67
addr show lo
addr add 10.0.0.9/24 dev lo
route add 10.5.0.0/16 dev lo
-6 route add 2001:db8::/32 dev lo
link set lo mtu 1500
addr show lo
addr add 10.0.0.9/24 dev lo
addr add 2001:db8::1/64 dev lo
addr show lo
link set lo down
link set lo up
addr show lo
-6 route add 2001:db8:7::/48 nexthop via 2001:db8::7 dev t0 nexthop via 2001:db8::8 dev t0
-6 route get 2001:db8:7::1 fibmatch
addr add 2001:db8:1::1/64 dev t0
link set t0 mtu 1000
addr show t0
-6 route show table all
addr add 2001:db8:1::1/64 dev t0
-6 route add 2001:db8:77::/48 dev t0
link set t0 mtu 1500
addr show t0
-6 route show table all
addr add 2001:db8:1::1/64 dev t0
addr add 2001:db8:2::1/64 dev t0
-6 route add 2001:db8:7::/48 nexthop via 2001:db8:1::7 dev t0 nexthop via 2001:db8:1::8 dev t0 nexthop via 2001:db8:1::9 dev t0
-6 route get 2001:db8:7::1 fibmatch
-6 route get 2001:db8:7::2 fibmatch
-6 route get 2001:db8:7::3 fibmatch
-6 route get 2001:db8:7::4 fibmatch
-6 -j route get 2001:db8:7::4 fibmatch
-6 route get 2001:db8:7::4 oif t0
-6 route get 2001:db8:7::4 oif t1
-6 route get 2001:db8:7::4 oif t1 from 2001:db8:1::1
-6 route get 2001:db8:7::4 from 2001:db8:1::1
-6 route get ff02::1 oif t1
-6 route get ff02::1
-6 route get fe80::1
-6 route get fe80::1 oif t0
-6 route get ::1
-6 route get ::
-6 route get 2001:db8:1::1
-6 route get 2001:db8:1::1 oif t1
-6 route get 2001:db8:1::1 iif t1
-6 route add unreachable 2001:db8:a::/48
-6 route add prohibit 2001:db8:b::/48
-6 route add blackhole 2001:db8:c::/48
-6 route add throw 2001:db8:d::/48
-6 route get 2001:db8:a::1
-6 route get 2001:db8:b::1
-6 route get 2001:db8:c::1
-6 route get 2001:db8:d::1
-6 route get 2001:db8:a::1 fibmatch
`,
  },
  {
    name: 'lo',
    lines: `
link set lo txqlen -1
link show lo
-j link show lo
link set lo txqlen 4294967295
link set lo qlen -5
link show lo
link set lo qlen 0
link show lo
link set lo down
link set lo up
link show lo
addr del 127.0.0.1/8 dev lo
addr add 10.0.0.9/24 dev lo
link set lo down
link set lo up
addr show lo
addr flush dev lo
addr add 10.0.0.9/24 dev lo scope host
link set lo down
link set lo up
addr show lo
addr flush dev lo
link set lo down
link set lo up
addr show lo
addr add 127.0.0.5/8 dev lo
addr del 127.0.0.1/8 dev lo
link set lo down
link set lo up
addr show lo
addr add 10.0.0.1/24 dev t0
addr add 2001:db8::1/64 dev t0
-6 route add 2001:db8:1::/48 dev t0 mtu 70000
-c -6 route get 2001:db8:1::1
-c -6 route get 2001:db8:1::1 iif t0
-c -6 route get 2001:db8:1::1 iif t0 sport 5
-c -6 route get 2001:db8::1 iif t0 sport 5
-c -6 route get 2001:db8::1 iif t0
-c route get 10.0.0.7 from 10.0.0.1 iif t1
-c route get 10.0.0.1 iif t0 from 10.0.0.9
-c route get 10.0.0.1 iif t0
`,
  },
  {
    name: 'statistics from IPv6',
    lines: `
-6 addr add 2001:db8::1/64 dev t0
-6 -s -s addr
-6 -s -s -j addr
-6 -s addr
-6 -s -s link
-6 -s -s addr show t0
-s -s addr show t0
link set lo link-netnsid 5 link-netnsid 5
link set lo link-netnsid x
route del 10.2.3.0/24 dev nope nexthop via 10.0.1.200 table 5
route add 10.2.3.0/24 nexthop via 10.0.1.200 table 5
`,
  },
  {
    name: 'realms, and redirects',
    routes: true,
    lines: `
addr add 10.0.0.1/24 dev t0
addr add 10.0.1.1/24 dev t1
addr add 2001:db8::1/64 dev t0
route add 10.5.0.0/16 dev t0 realm 5
route add 10.6.0.0/16 dev t0
route add 10.7.0.0/16 dev t1 realm 7
route add 10.8.0.0/16 dev t1 realm 8/9
route add 10.9.0.0/16 dev t0 realm 3/4
route get 10.5.0.1 from 10.7.0.1 iif t1
route get 10.5.0.1 from 10.8.0.1 iif t1
route get 10.6.0.1 from 10.7.0.1 iif t1
route get 10.6.0.1 from 10.8.0.1 iif t1
route get 10.9.0.1 from 10.7.0.1 iif t1
route get 10.9.0.1 from 10.8.0.1 iif t1
route get 10.9.0.1 from 10.0.1.7 iif t1
route get 10.0.0.1 from 10.7.0.1 iif t1
route get 10.0.0.1 from 10.8.0.1 iif t1
route get 10.0.0.255 from 10.8.0.1 iif t1
route get 10.9.0.1 from 10.8.0.1 iif t1 fibmatch
route get 10.7.0.1 from 10.8.0.1 iif t1
route get 10.7.0.1 from 10.8.0.1 iif t0
route get 10.7.0.1 from 10.5.0.1 iif t1
route get 10.7.0.1 iif t1
route get 10.7.0.1 iif t0
route get 255.255.255.255 from 10.8.0.1 iif t1
route get 224.0.0.5 from 10.8.0.1 iif t1
route get 10.9.0.1 from 10.0.0.1 iif t1
-6 route show table all
-6 route get 2001:db8:: iif t1
-6 route get 2001:db8::
-6 route get 2001:db8::1 iif t1
-6 route get 2001:db8::77 iif t1
rule add from 10.7.0.0/16 table main realms 11/12 pref 7
route get 10.6.0.1 from 10.7.0.1 iif t1
route get 10.9.0.1 from 10.7.0.1 iif t1
route get 10.9.0.1 from 10.8.0.1 iif t1
route get 10.6.0.1 from 10.0.0.1
rule add to 10.6.0.0/16 table main realms 13/14 pref 6
route get 10.6.0.1 from 10.7.0.1 iif t1
route get 10.6.0.1 from 10.8.0.1 iif t1
route get 10.6.0.1
route get 10.5.0.1
`,
  },
]
