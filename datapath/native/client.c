/*
 * The command-line tools' client: asks the daemon to run the tool whose name it was called by, and passes
 * arguments, standard input, output and the exit status through. Starting it costs what starting a C program
 * costs. The protocol is drawn in daemon/control/protocol.ts.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define CHUNK 65536

enum kind { ARGS = 'A', INPUT = 'I', INPUT_END = 'E', NEED_INPUT = 'N', OUTPUT = 'O', ERROR = 'R', EXIT = 'X',
	    FOLLOW = 'F', STOP = 'S' };

static const char *tool;

/* The daemon goes on until it is told to stop: the socket, -1 as long as it was not said so. */
static int following = -1;
static volatile sig_atomic_t interrupted;

static void interrupt(int number)
{
	(void)number;
	interrupted = 1;
}

static void die(const char *what, const char *path)
{
	fprintf(stderr, "%s: %s %s: %s\n", tool, what, path, strerror(errno));
	exit(111);
}

static void write_all(int fd, const void *data, size_t size)
{
	const char *p = data;

	while (size > 0) {
		ssize_t n = write(fd, p, size);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			exit(111);
		p += n;
		size -= (size_t)n;
	}
}

static void stop_following(void)
{
	static const uint8_t stop[5] = { STOP };

	interrupted = 0;
	write_all(following, stop, sizeof(stop));
}

/* From now on a signal asks the daemon to end, and what it says last is still printed. */
static void follow(int fd)
{
	struct sigaction action = { .sa_handler = interrupt };

	following = fd;
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
}

/* False at the end of the stream. */
static int read_all(int fd, void *data, size_t size)
{
	char *p = data;

	while (size > 0) {
		ssize_t n = read(fd, p, size);

		if (n < 0 && errno == EINTR) {
			if (interrupted && fd == following)
				stop_following();
			continue;
		}
		if (n <= 0)
			return 0;
		p += n;
		size -= (size_t)n;
	}
	return 1;
}

static void put32(uint8_t *p, uint32_t v)
{
	for (int i = 0; i < 4; i++)
		p[i] = (uint8_t)(v >> (8 * i));
}

static void send_message(int fd, enum kind kind, const void *data, size_t size)
{
	uint8_t head[5] = { (uint8_t)kind };

	put32(head + 1, (uint32_t)size);
	write_all(fd, head, sizeof(head));
	write_all(fd, data, size);
}

static void send_args(int fd, int argc, char **argv)
{
	char *cwd = getcwd(NULL, 0), *buffer, *p;
	const char *where = cwd ? cwd : "/";
	size_t size = strlen(tool) + 1 + strlen(where);

	for (int i = 1; i < argc; i++)
		size += 1 + strlen(argv[i]);
	buffer = p = malloc(size + 1);
	if (!buffer)
		die("cannot call", "malloc");
	p = stpcpy(p, tool) + 1;
	p = stpcpy(p, where);
	for (int i = 1; i < argc; i++)
		p = stpcpy(p + 1, argv[i]);
	send_message(fd, ARGS, buffer, size);
	free(buffer);
	free(cwd);
}

static void send_stdin(int fd)
{
	static char buffer[CHUNK];
	ssize_t n;

	while ((n = read(STDIN_FILENO, buffer, sizeof(buffer))) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			break;
		send_message(fd, INPUT, buffer, (size_t)n);
	}
	send_message(fd, INPUT_END, "", 0);
}

static void copy_out(int fd, int to, uint32_t size)
{
	static char buffer[CHUNK];

	while (size > 0) {
		size_t part = size < sizeof(buffer) ? size : sizeof(buffer);

		if (!read_all(fd, buffer, part))
			return;
		write_all(to, buffer, part);
		size -= (uint32_t)part;
	}
}

static int serve(int fd)
{
	uint8_t head[5], code = 1;

	while (read_all(fd, head, sizeof(head))) {
		uint32_t size = head[1] | (uint32_t)head[2] << 8 | (uint32_t)head[3] << 16 | (uint32_t)head[4] << 24;

		switch (head[0]) {
		case NEED_INPUT:
			send_stdin(fd);
			break;
		case OUTPUT:
			copy_out(fd, STDOUT_FILENO, size);
			break;
		case ERROR:
			copy_out(fd, STDERR_FILENO, size);
			break;
		case FOLLOW:
			follow(fd);
			break;
		case EXIT:
			return size == 1 && read_all(fd, &code, 1) ? code : 1;
		default:
			return 111;
		}
	}
	fprintf(stderr, "%s: the daemon closed the connection\n", tool);
	return 111;
}

int main(int argc, char **argv)
{
	const char *path = getenv("TUNWALL_SOCKET"), *slash = strrchr(argv[0], '/');
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd;

	tool = slash ? slash + 1 : argv[0];
	if (!path || !*path)
		path = "/run/tunwall.sock";
	if (strlen(path) >= sizeof(address.sun_path)) {
		errno = ENAMETOOLONG;
		die("socket", path);
	}
	memcpy(address.sun_path, path, strlen(path));
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		die("no tunwall answers at", path);
	send_args(fd, argc, argv);
	return serve(fd);
}
