/*
 * Traffic for the benchmarks, bounded in time.
 *
 *   traffic udp-send ADDRESS PORT PAYLOAD SECONDS [PORTS]   as fast as it goes, from so many ports in turn; prints datagrams offered
 *   traffic udp-pace ADDRESS PORT PAYLOAD SECONDS RATE   RATE datagrams a second, evenly; prints datagrams offered
 *   traffic tcp-send ADDRESS PORT SECONDS           one stream; prints bytes written
 *   traffic tcp-sink PORT SECONDS [STREAMS]         takes as many streams; prints bytes and seconds
 *   traffic syn-flows SOURCE FIRST COUNT PORT SECONDS   a SYN of another connection each, to COUNT addresses from FIRST on
 *   traffic tcp-connect ADDRESS PORT COUNT          connects and closes; prints microseconds each
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <netpacket/packet.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define BATCH 64
#define CHUNK (256 * 1024)
#define MAX_PAYLOAD 1472
/* Of the client's namespace. */
#define DEVICE "eth0"

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static struct sockaddr_in address(const char *host, const char *port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port)) };

	if (inet_pton(AF_INET, host, &a.sin_addr) != 1) {
		fprintf(stderr, "not an IPv4 address: %s\n", host);
		exit(2);
	}
	return a;
}

/* Reads give up after `limit` seconds, so that nothing runs for ever. */
static void bound(int fd, double limit)
{
	struct timeval t = { .tv_sec = (time_t)limit + 1 };

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof(t));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &t, sizeof(t));
}

static uint32_t sum16(const void *from, size_t bytes, uint32_t sum)
{
	const uint16_t *words = from;

	for (size_t i = 0; i < bytes / 2; i++)
		sum += words[i];
	return sum;
}

static uint16_t folded(uint32_t sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

/* The link layer's address of the next hop to `to`, which a datagram to it made known; none on a TUN device. */
static void next_hop(const struct sockaddr_in *to, struct sockaddr_ll *link)
{
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	char line[256], device[32], mac[32];
	FILE *arp;

	if (fd < 0 || connect(fd, (const struct sockaddr *)to, sizeof(*to)) < 0 || send(fd, "", 1, 0) < 0)
		die("udp-send");
	close(fd);
	usleep(20000);
	arp = fopen("/proc/net/arp", "r");
	if (!arp)
		die("/proc/net/arp");
	while (fgets(line, sizeof(line), arp))
		if (sscanf(line, "%*s %*s %*s %31s %*s %31s", mac, device) == 2 && !strcmp(device, DEVICE) &&
		    sscanf(mac, "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", &link->sll_addr[0], &link->sll_addr[1], &link->sll_addr[2],
			   &link->sll_addr[3], &link->sll_addr[4], &link->sll_addr[5]) == 6)
			link->sll_halen = 6;
	fclose(arp);
}

struct datagram {
	struct iphdr ip;
	struct udphdr udp;
	uint8_t data[MAX_PAYLOAD];
};

/*
 * Past the socket's and the queueing discipline's work (AF_PACKET), so that what is measured is not the sender.
 */
static int udp_send(const char *host, const char *port, int payload, double limit, int ports)
{
	struct sockaddr_in to = address(host, port), from;
	struct sockaddr_ll link = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_IP), .sll_ifindex = (int)if_nametoindex(DEVICE) };
	socklen_t size = sizeof(from);
	static struct datagram packets[BATCH];
	struct iovec iov[BATCH];
	struct mmsghdr batch[BATCH] = { 0 };
	int one = 1, probe = socket(AF_INET, SOCK_DGRAM, 0), fd = socket(AF_PACKET, SOCK_DGRAM, 0);
	double end;
	long long sent = 0;
	uint16_t id = 0;

	if (ports < 1 || ports > BATCH || BATCH % ports) {
		fprintf(stderr, "udp-send: so many ports that %d is a multiple of them\n", BATCH);
		return 2;
	}
	if (payload < 0 || payload > MAX_PAYLOAD || payload % 2) {
		fprintf(stderr, "udp-send: an even payload of at most %d bytes\n", MAX_PAYLOAD);
		return 2;
	}
	if (probe < 0 || fd < 0 || connect(probe, (struct sockaddr *)&to, sizeof(to)) < 0 ||
	    getsockname(probe, (struct sockaddr *)&from, &size) < 0 ||
	    setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &one, sizeof(one)) < 0)
		die("udp-send");
	next_hop(&to, &link);
	for (int i = 0; i < BATCH; i++) {
		struct datagram *p = &packets[i];
		uint16_t length = (uint16_t)(sizeof(p->udp) + (size_t)payload);

		p->ip = (struct iphdr){ .version = 4, .ihl = 5, .tot_len = htons((uint16_t)(sizeof(p->ip) + length)), .ttl = 64,
					.frag_off = htons(IP_DF), .protocol = IPPROTO_UDP, .saddr = from.sin_addr.s_addr,
					.daddr = to.sin_addr.s_addr };
		p->udp = (struct udphdr){ .source = htons((uint16_t)(ntohs(from.sin_port) + i % ports)), .dest = to.sin_port, .len = htons(length) };
		p->udp.check = folded(sum16(&p->udp, length, sum16(&p->ip.saddr, 8, htons(IPPROTO_UDP) + htons(length))));
		iov[i] = (struct iovec){ p, sizeof(p->ip) + length };
		batch[i].msg_hdr = (struct msghdr){ .msg_name = &link, .msg_namelen = sizeof(link), .msg_iov = &iov[i], .msg_iovlen = 1 };
	}
	for (end = seconds() + limit; seconds() < end;) {
		int n;

		for (int i = 0; i < BATCH; i++) {
			packets[i].ip.id = htons((uint16_t)(id + i));
			packets[i].ip.check = 0;
			packets[i].ip.check = folded(sum16(&packets[i].ip, sizeof(packets[i].ip), 0));
		}
		n = sendmmsg(fd, batch, BATCH, 0);
		if (n > 0) {
			sent += n;
			id = (uint16_t)(id + n);
		} else if (errno != ENOBUFS && errno != EAGAIN)
			die("sendmmsg");
	}
	printf("%lld\n", sent);
	return 0;
}

static int udp_pace(char **argv)
{
	struct sockaddr_in to = address(argv[0], argv[1]);
	static char data[65536];
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	double start = seconds(), limit = atof(argv[3]), rate = atof(argv[4]), now;
	long long sent = 0;

	if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0)
		die("udp-pace");
	while ((now = seconds() - start) < limit) {
		for (; sent < (long long)(now * rate); sent++)
			if (send(fd, data, (size_t)atoi(argv[2]), 0) < 0 && errno != ENOBUFS && errno != ECONNREFUSED)
				die("send");
		usleep(500);
	}
	printf("%lld\n", sent);
	return 0;
}

static int tcp_send(const char *host, const char *port, double limit)
{
	struct sockaddr_in to = address(host, port);
	static char data[CHUNK];
	int fd = -1;
	double end = seconds() + limit;
	long long sent = 0;

	/* The sink may not have come so far. */
	for (int tries = 0; fd < 0 && tries < 100; tries++) {
		fd = socket(AF_INET, SOCK_STREAM, 0);
		bound(fd, limit + 3);
		if (connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0)
			break;
		if (errno != ECONNREFUSED)
			die("connect");
		close(fd);
		fd = -1;
		usleep(10000);
	}
	if (fd < 0)
		die("connect");
	while (seconds() < end) {
		ssize_t n = write(fd, data, sizeof(data));

		if (n < 0)
			die("write");
		sent += n;
	}
	printf("%lld\n", sent);
	return 0;
}

static int tcp_sink(const char *port, double limit, int streams)
{
	struct sockaddr_in on = address("0.0.0.0", port);
	static char data[CHUNK];
	struct pollfd set[16];
	int one = 1, open = 0, listener = socket(AF_INET, SOCK_STREAM, 0);
	double start = 0;
	long long got = 0;

	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	bound(listener, limit + 5);
	if (streams < 1 || streams > 16 || listener < 0 || bind(listener, (struct sockaddr *)&on, sizeof(on)) < 0 ||
	    listen(listener, 16) < 0)
		die("tcp-sink");
	for (; open < streams; open++) {
		set[open] = (struct pollfd){ .fd = accept(listener, NULL, NULL), .events = POLLIN };
		if (set[open].fd < 0)
			die("accept");
		start = seconds();
	}
	while (open > 0 && poll(set, (nfds_t)streams, 2000) > 0)
		for (int i = 0; i < streams; i++) {
			ssize_t n;

			if (set[i].fd < 0 || !set[i].revents)
				continue;
			n = read(set[i].fd, data, sizeof(data));
			if (n <= 0) {
				set[i].fd = -1;
				open--;
			} else
				got += n;
		}
	printf("%lld %.6f\n", got, seconds() - start);
	return 0;
}

static int tcp_connect(const char *host, const char *port, int count)
{
	struct sockaddr_in to = address(host, port);
	struct linger hard = { 1, 0 };

	for (int i = 0; i < count; i++) {
		int fd = socket(AF_INET, SOCK_STREAM, 0);
		double start = seconds();

		bound(fd, 2);
		if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0)
			die("connect");
		printf("%.1f\n", (seconds() - start) * 1e6);
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
		close(fd);
	}
	return 0;
}

struct syn {
	struct iphdr ip;
	struct tcphdr tcp;
};

/* Connection `n`: every address in turn, then the next port. */
static void make_syn(struct syn *p, uint32_t first, uint32_t count, uint64_t n)
{
	uint32_t pseudo;

	p->ip.daddr = htonl(first + (uint32_t)((n * 7919) % count));
	p->tcp.source = htons((uint16_t)(1024 + n / count % 64000));
	p->tcp.check = 0;
	pseudo = sum16(&p->ip.saddr, 8, htons(IPPROTO_TCP) + htons(sizeof(p->tcp)));
	p->tcp.check = folded(sum16(&p->tcp, sizeof(p->tcp), pseudo));
}

static int syn_flows(char **argv)
{
	struct sockaddr_in from = address(argv[0], "0"), first = address(argv[1], argv[3]);
	uint32_t count = (uint32_t)atoi(argv[2]);
	static struct syn packets[BATCH];
	struct iovec iov[BATCH];
	struct mmsghdr batch[BATCH] = { 0 };
	int fd = socket(AF_INET, SOCK_RAW, IPPROTO_RAW);
	double end = seconds() + atof(argv[4]);
	uint64_t sent = 0;

	if (fd < 0 || count == 0)
		die("syn-flows");
	for (int i = 0; i < BATCH; i++) {
		packets[i].ip = (struct iphdr){ .version = 4, .ihl = 5, .tot_len = htons(sizeof(struct syn)), .ttl = 64,
						.protocol = IPPROTO_TCP, .saddr = from.sin_addr.s_addr };
		packets[i].tcp = (struct tcphdr){ .dest = first.sin_port, .doff = 5, .syn = 1, .window = htons(64240) };
		iov[i] = (struct iovec){ &packets[i], sizeof(struct syn) };
		batch[i].msg_hdr = (struct msghdr){ .msg_name = &first, .msg_namelen = sizeof(first), .msg_iov = &iov[i], .msg_iovlen = 1 };
	}
	while (seconds() < end) {
		int n;

		for (int i = 0; i < BATCH; i++)
			make_syn(&packets[i], ntohl(first.sin_addr.s_addr), count, sent + (uint64_t)i);
		n = sendmmsg(fd, batch, BATCH, 0);
		if (n > 0)
			sent += (uint64_t)n;
		else if (errno != ENOBUFS && errno != EAGAIN)
			die("sendmmsg");
	}
	printf("%llu\n", (unsigned long long)sent);
	return 0;
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "";

	if (!strcmp(mode, "udp-send") && (argc == 6 || argc == 7))
		return udp_send(argv[2], argv[3], atoi(argv[4]), atof(argv[5]), argc == 7 ? atoi(argv[6]) : 1);
	if (!strcmp(mode, "tcp-send") && argc == 5)
		return tcp_send(argv[2], argv[3], atof(argv[4]));
	if (!strcmp(mode, "udp-pace") && argc == 7)
		return udp_pace(argv + 2);
	if (!strcmp(mode, "tcp-sink") && (argc == 4 || argc == 5))
		return tcp_sink(argv[2], atof(argv[3]), argc == 5 ? atoi(argv[4]) : 1);
	if (!strcmp(mode, "tcp-connect") && argc == 5)
		return tcp_connect(argv[2], argv[3], atoi(argv[4]));
	if (!strcmp(mode, "syn-flows") && argc == 7)
		return syn_flows(argv + 2);
	fprintf(stderr, "usage: see the head of traffic.c\n");
	return 2;
}
