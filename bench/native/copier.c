/*
 * The ceiling: copies frames between two TUN devices and does nothing else. What a single-threaded user-space
 * gateway could reach at best here.
 *
 *   copier [--offload] NETNS_A NAME_A NETNS_B NAME_B      prints "ready" once both devices are there
 *
 * --offload: superframes and unfinished checksums go through with their virtio headers.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define FRAMES_A_TURN 128

static int offload;

static int open_tun(const char *netns, const char *name)
{
	struct ifreq ifr = { 0 };
	int ns = open(netns, O_RDONLY | O_CLOEXEC), fd;

	if (ns < 0 || setns(ns, CLONE_NEWNET) < 0) {
		perror(netns);
		exit(1);
	}
	close(ns);
	fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	memcpy(ifr.ifr_name, name, strnlen(name, IFNAMSIZ - 1));
	ifr.ifr_flags = (short)(IFF_TUN | IFF_NO_PI | (offload ? IFF_VNET_HDR : 0));
	if (fd < 0 || ioctl(fd, TUNSETIFF, &ifr) < 0) {
		perror(name);
		exit(1);
	}
	if (offload) {
		int size = 12;
		unsigned long bits = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;

		if (ioctl(fd, TUNSETVNETHDRSZ, &size) < 0 || ioctl(fd, TUNSETOFFLOAD, bits) < 0) {
			perror("offload");
			exit(1);
		}
	}
	return fd;
}

/* Moves what is there, at most one turn's worth; returns how many frames. */
static int copy(int from, int to)
{
	static char frame[65536 + 12];
	int n = 0;

	while (n < FRAMES_A_TURN) {
		ssize_t got = read(from, frame, sizeof(frame));

		if (got <= 0)
			break;
		if (write(to, frame, (size_t)got) < 0 && errno != EAGAIN && errno != EINVAL && errno != EIO)
			perror("write");
		n++;
	}
	return n;
}

int main(int argc, char **argv)
{
	struct pollfd set[2];

	if (argc == 6 && strcmp(argv[1], "--offload") == 0) {
		offload = 1;
		argv++;
		argc--;
	}
	if (argc != 5) {
		fprintf(stderr, "usage: copier [--offload] NETNS_A NAME_A NETNS_B NAME_B\n");
		return 2;
	}
	set[0] = (struct pollfd){ .fd = open_tun(argv[1], argv[2]), .events = POLLIN };
	set[1] = (struct pollfd){ .fd = open_tun(argv[3], argv[4]), .events = POLLIN };
	puts("ready");
	fflush(stdout);
	for (;;) {
		int moved = copy(set[0].fd, set[1].fd) + copy(set[1].fd, set[0].fd);

		if (moved == 0)
			poll(set, 2, -1);
	}
}
