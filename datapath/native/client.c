/*
 * The command-line tools' client: asks the daemon to run the tool whose name it was called by, and passes
 * arguments, standard input, output and the exit status through. Starting it costs what starting a C program
 * costs. The protocol is drawn in daemon/control/protocol.ts.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
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
/* Signals are taken only while nothing has come: one between two reads would be overslept. */
static sigset_t waiting;

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

/* What went wrong with standard output, as errno: most tools do not look, and print on. */
static int output_error;
static int wrote;

static void print(int fd, const char *p, size_t size)
{
	wrote |= fd == STDOUT_FILENO && size > 0;
	while (size > 0 && !(fd == STDOUT_FILENO && output_error)) {
		ssize_t n = write(fd, p, size);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			if (fd == STDOUT_FILENO)
				output_error = errno;
			return;
		}
		p += n;
		size -= (size_t)n;
	}
}

/* sysctl alone closes standard output with care (procps, close_stdout()). */
static int finish(int code)
{
	if (!wrote || !output_error || output_error == EPIPE || strcmp(tool, "sysctl"))
		return code;
	fprintf(stderr, "sysctl: write error: %s\n", strerror(output_error));
	return 1;
}

/*
 * To the daemon. False if it is gone: what it has said before can still be read, and why it ended is found there.
 */
static int inform(int fd, const void *data, size_t size)
{
	const char *p = data;

	while (size > 0) {
		ssize_t n = send(fd, p, size, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return 0;
		p += n;
		size -= (size_t)n;
	}
	return 1;
}

static void stop_following(void)
{
	static const uint8_t stop[5] = { STOP };

	interrupted = 0;
	inform(following, stop, sizeof(stop));
}

/* From now on a signal asks the daemon to end, and what it says last is still printed. */
static void follow(int fd)
{
	struct sigaction action = { .sa_handler = interrupt };

	sigset_t signals;

	following = fd;
	sigemptyset(&signals);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGTERM);
	sigprocmask(SIG_BLOCK, &signals, &waiting);
	sigdelset(&waiting, SIGINT);
	sigdelset(&waiting, SIGTERM);
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
}

/* False at the end of the stream. */
static int read_all(int fd, void *data, size_t size)
{
	char *p = data;

	while (size > 0) {
		struct pollfd ready = { .fd = fd, .events = POLLIN };
		ssize_t n;

		if (fd == following && ppoll(&ready, 1, NULL, &waiting) < 0) {
			if (interrupted)
				stop_following();
			continue;
		}
		n = read(fd, p, size);
		if (n < 0 && errno == EINTR)
			continue;
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

static int send_message(int fd, enum kind kind, const void *data, size_t size)
{
	uint8_t head[5] = { (uint8_t)kind };

	put32(head + 1, (uint32_t)size);
	return inform(fd, head, sizeof(head)) && inform(fd, data, size);
}

/*
 * `<(command)` of a shell is a descriptor of this process, which the daemon cannot open: it becomes standard input,
 * as far as the tool reads but one of them.
 */
static char *own_input(char *word)
{
	static char input[] = "/dev/stdin";
	int n = -1, end = 0;

	if (sscanf(word, "/dev/fd/%d%n", &n, &end) < 1 && sscanf(word, "/proc/self/fd/%d%n", &n, &end) < 1)
		return word;
	if (n <= STDERR_FILENO || word[end] || dup2(n, STDIN_FILENO) < 0)
		return word;
	return input;
}

static void send_args(int fd, int argc, char **argv)
{
	char *cwd = getcwd(NULL, 0), *buffer, *p;
	const char *where = cwd ? cwd : "/";
	size_t size = strlen(tool) + 1 + strlen(where);

	for (int i = 1; i < argc; i++) {
		argv[i] = own_input(argv[i]);
		size += 1 + strlen(argv[i]);
	}
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
		if (!send_message(fd, INPUT, buffer, (size_t)n))
			return;
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
		print(to, buffer, part);
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
	if (fcntl(STDOUT_FILENO, F_GETFD) < 0)
		output_error = EBADF;
	/* Where a standard descriptor is closed the socket would take its place. */
	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd > STDERR_FILENO)
		close(fd);
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
	return finish(serve(fd));
}
