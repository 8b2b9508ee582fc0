/*
 * Batched TUN I/O for Node, as an N-API addon. Mechanics only: it opens devices, moves frames between
 * descriptors and the slots of frame memory, waits and wakes. It looks at no header and decides nothing.
 *
 *     fd --read(2)--> memory[offset[i]] , length[i], sum[i]     readBatch
 *     fd <-write(2)-- memory[offset[i]] , length[i], parts      writeBatch
 *
 * Every function throws an Error whose `code` is the errno's name-less number in text ("errno 1: ...") only for
 * set-up mistakes; the batch functions answer with counts and never throw for what a device says.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <poll.h>
#include <sched.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <node_api.h>

#define MAX_FDS 256
/* Of a frame that is written; exported. */
#define MAX_PARTS 64
/* parts[i]: it goes behind another; the rest of it is the number of the one behind it, 0: none. */
#define IS_PART 0x80000000u

/* What a batch works on: frame memory and the descriptor arrays, pinned for the life of the handle. */
struct io {
	uint8_t *memory;
	size_t memory_size;
	int32_t *offsets;
	int32_t *lengths;
	/* Of a reader: the frames' sums. */
	uint32_t *sums;
	/* Of a reader: one per frame, or NULL: the device has none. */
	struct virtio_net_hdr_v1 *headers;
	/* Of a writer: what goes behind each. */
	uint32_t *parts;
	uint32_t capacity;
	napi_ref keep[5];
};

static napi_value fail(napi_env env, const char *what, int error)
{
	char text[512], code[16];

	snprintf(text, sizeof(text), "%s: %s", what, strerror(error));
	snprintf(code, sizeof(code), "%d", error);
	napi_throw_error(env, code, text);
	return NULL;
}

static napi_value number(napi_env env, int32_t value)
{
	napi_value out;

	napi_create_int32(env, value, &out);
	return out;
}

static int32_t int_arg(napi_env env, napi_value value)
{
	int32_t out = 0;

	napi_get_value_int32(env, value, &out);
	return out;
}

/* Reads up to `max` arguments; false (with an exception) when fewer than `need` were given. */
static bool args(napi_env env, napi_callback_info info, size_t need, size_t max, napi_value *argv, size_t *given)
{
	size_t argc = max;

	napi_get_cb_info(env, info, &argc, argv, NULL, NULL);
	if (given)
		*given = argc;
	if (argc >= need)
		return true;
	napi_throw_type_error(env, NULL, "too few arguments");
	return false;
}

static bool typed(napi_env env, napi_value value, napi_typedarray_type want, void **data, size_t *length)
{
	napi_typedarray_type type;

	if (napi_get_typedarray_info(env, value, &type, length, data, NULL, NULL) == napi_ok && type == want)
		return true;
	napi_throw_type_error(env, NULL, "wrong kind of typed array");
	return false;
}

/* Enters the network namespace at `path`; returns a descriptor of the one left, or -1. */
static int enter_netns(const char *path)
{
	int back = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	int fd, error;

	if (back < 0)
		return -1;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || setns(fd, CLONE_NEWNET) < 0) {
		error = errno;
		if (fd >= 0)
			close(fd);
		close(back);
		errno = error;
		return -1;
	}
	close(fd);
	return back;
}

static int open_tun(const char *name, short flags)
{
	struct ifreq ifr;
	int error, fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0)
		return -1;
	memset(&ifr, 0, sizeof(ifr));
	memcpy(ifr.ifr_name, name, strnlen(name, IFNAMSIZ - 1));
	ifr.ifr_flags = (short)(IFF_TUN | IFF_NO_PI | flags);
	if (ioctl(fd, TUNSETIFF, &ifr) == 0)
		return fd;
	error = errno;
	close(fd);
	errno = error;
	return -1;
}

/* openTun(name, netnsPath | null, extraFlags): fd. The device lives as long as the descriptor. */
static napi_value js_open_tun(napi_env env, napi_callback_info info)
{
	napi_value argv[3];
	napi_valuetype type;
	char name[IFNAMSIZ + 1] = "", path[4096] = "", what[300];
	size_t length = 0;
	int back = -1, fd, error;

	if (!args(env, info, 3, 3, argv, NULL))
		return NULL;
	napi_get_value_string_utf8(env, argv[0], name, sizeof(name), &length);
	if (length == 0 || length >= IFNAMSIZ)
		return fail(env, "TUN name must have 1 to 15 bytes", EINVAL);
	napi_typeof(env, argv[1], &type);
	if (type == napi_string) {
		napi_get_value_string_utf8(env, argv[1], path, sizeof(path), NULL);
		back = enter_netns(path);
		if (back < 0) {
			error = errno;
			snprintf(what, sizeof(what), "cannot enter network namespace %.200s", path);
			return fail(env, what, error);
		}
	}
	fd = open_tun(name, (short)int_arg(env, argv[2]));
	error = errno;
	if (back >= 0) {
		int lost = setns(back, CLONE_NEWNET);

		close(back);
		if (lost < 0)
			return fail(env, "cannot return to the own network namespace", errno);
	}
	if (fd < 0) {
		snprintf(what, sizeof(what), "cannot open TUN device %s", name);
		return fail(env, what, error);
	}
	return number(env, fd);
}

/* setOffload(fd, headerBytes, TUN_F_* bits): false where the kernel does not know the bits. */
static napi_value js_set_offload(napi_env env, napi_callback_info info)
{
	napi_value argv[3], out;
	int fd, size;

	if (!args(env, info, 3, 3, argv, NULL))
		return NULL;
	fd = int_arg(env, argv[0]);
	size = int_arg(env, argv[1]);
	if (ioctl(fd, TUNSETVNETHDRSZ, &size) < 0)
		return fail(env, "TUNSETVNETHDRSZ", errno);
	napi_get_boolean(env, ioctl(fd, TUNSETOFFLOAD, (unsigned long)int_arg(env, argv[2])) == 0, &out);
	return out;
}

/* setSendBuffer(fd, bytes): what may be on its way in the device's namespace before writes say EAGAIN (TUNSETSNDBUF). */
static napi_value js_set_send_buffer(napi_env env, napi_callback_info info)
{
	napi_value argv[2];
	int bytes;

	if (!args(env, info, 2, 2, argv, NULL))
		return NULL;
	bytes = int_arg(env, argv[1]);
	if (ioctl(int_arg(env, argv[0]), TUNSETSNDBUF, &bytes) < 0)
		return fail(env, "TUNSETSNDBUF", errno);
	return NULL;
}

static napi_value js_close(napi_env env, napi_callback_info info)
{
	napi_value argv[1];

	if (args(env, info, 1, 1, argv, NULL))
		close(int_arg(env, argv[0]));
	return NULL;
}

/*
 * ownFiles(): the calling thread gets a table of descriptors of its own, with all that is open now; what other threads open or
 * close from here on it does not see. A system call of the only user of its table need not hold on to the file meanwhile
 * (fdget()). False: it is forbidden, as in many containers; then all is as before.
 */
static napi_value js_own_files(napi_env env, napi_callback_info info)
{
	napi_value out;

	(void)info;
	napi_get_boolean(env, unshare(CLONE_FILES) == 0, &out);
	return out;
}

static void io_free(napi_env env, void *data, void *hint)
{
	struct io *io = data;

	(void)hint;
	for (int i = 0; i < 5; i++)
		if (io->keep[i])
			napi_delete_reference(env, io->keep[i]);
	free(io);
}

/*
 * Memory, offsets and lengths, then an array of words for each frame, by way of `words`; `count` arguments are kept. NULL: an
 * exception is pending.
 */
static struct io *io_new(napi_env env, const napi_value *argv, size_t words_at, size_t count)
{
	struct io *io = calloc(1, sizeof(*io));
	uint32_t **words = (uint32_t **)((char *)io + words_at);
	size_t offsets, lengths, n;

	if (!io) {
		fail(env, "io", ENOMEM);
		return NULL;
	}
	if (!typed(env, argv[0], napi_uint8_array, (void **)&io->memory, &io->memory_size) ||
	    !typed(env, argv[1], napi_int32_array, (void **)&io->offsets, &offsets) ||
	    !typed(env, argv[2], napi_int32_array, (void **)&io->lengths, &lengths) ||
	    !typed(env, argv[3], napi_uint32_array, (void **)words, &n)) {
		free(io);
		return NULL;
	}
	io->capacity = (uint32_t)(offsets < lengths ? offsets : lengths);
	if (n < io->capacity)
		io->capacity = (uint32_t)n;
	for (size_t i = 0; i < count; i++)
		napi_create_reference(env, argv[i], 1, &io->keep[i]);
	return io;
}

/* createReader(memory: Uint8Array, offsets: Int32Array, lengths: Int32Array, sums: Uint32Array, headers: Uint16Array | null): handle */
static napi_value js_create_reader(napi_env env, napi_callback_info info)
{
	napi_value argv[5], out;
	napi_valuetype type;
	struct virtio_net_hdr_v1 *headers = NULL;
	size_t words = SIZE_MAX;
	struct io *io;

	if (!args(env, info, 5, 5, argv, NULL))
		return NULL;
	napi_typeof(env, argv[4], &type);
	if (type != napi_null && !typed(env, argv[4], napi_uint16_array, (void **)&headers, &words))
		return NULL;
	io = io_new(env, argv, offsetof(struct io, sums), headers ? 5 : 4);
	if (!io)
		return NULL;
	io->headers = headers;
	if (words * sizeof(uint16_t) / sizeof(*headers) < io->capacity)
		io->capacity = (uint32_t)(words * sizeof(uint16_t) / sizeof(*headers));
	napi_create_external(env, io, io_free, NULL, &out);
	return out;
}

/* createWriter(memory: Uint8Array, offsets: Int32Array, lengths: Int32Array, parts: Uint32Array): handle */
static napi_value js_create_writer(napi_env env, napi_callback_info info)
{
	napi_value argv[4], out;
	struct io *io;

	if (!args(env, info, 4, 4, argv, NULL))
		return NULL;
	io = io_new(env, argv, offsetof(struct io, parts), 4);
	if (!io)
		return NULL;
	napi_create_external(env, io, io_free, NULL, &out);
	return out;
}

/* Ones-complement sum of `n` bytes as 16-bit big-endian words, folded to 16 bits, not inverted (RFC 1071). */
static uint32_t ones_sum(const uint8_t *p, size_t n)
{
	uint64_t a = 0, b = 0, total;
	uint32_t sum;

	/* Halves of 32 bits, so that nothing is carried; two chains of additions beside each other. */
	while (n >= 16) {
		uint64_t w[2];

		memcpy(w, p, 16);
		a += (w[0] & 0xffffffff) + (w[0] >> 32);
		b += (w[1] & 0xffffffff) + (w[1] >> 32);
		p += 16;
		n -= 16;
	}
	if (n >= 8) {
		uint64_t w;

		memcpy(&w, p, 8);
		a += (w & 0xffffffff) + (w >> 32);
		p += 8;
		n -= 8;
	}
	if (n >= 4) {
		uint32_t w;

		memcpy(&w, p, 4);
		b += w;
		p += 4;
		n -= 4;
	}
	if (n) {
		uint32_t w = 0;

		memcpy(&w, p, n);
		a += w;
	}
	/* Beside itself with its halves in turn: the upper half is the sum of both, with what was carried out of the lower. */
	total = a + b;
	total += total << 32 | total >> 32;
	sum = (uint32_t)(total >> 32);
	sum = (sum + (sum << 16 | sum >> 16)) >> 16;
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	sum = (sum & 0xff) << 8 | sum >> 8;
#endif
	return sum;
}

/*
 * Frames move by system calls without the C library around them: in a process with several threads its functions are
 * points of cancellation, which costs 2 % of a small frame. And without a function around them, where that is known how:
 * the kernel leaves nothing of what the processor foresaw about returns. The result, or -errno.
 */
static inline long call3(long number, long a, const void *b, size_t c)
{
#ifdef __x86_64__
	long result;

	__asm__ volatile("syscall" : "=a"(result) : "0"(number), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
	return result;
#else
	long result = syscall(number, a, b, c);

	return result < 0 ? -errno : result;
#endif
}

/* One frame, its header apart; the frame's length or -errno. */
static ssize_t read_frame(struct io *io, int fd, uint32_t at, uint32_t room)
{
	uint8_t *frame = io->memory + io->offsets[at];
	struct iovec parts[2];
	ssize_t got;

	if (!io->headers)
		return call3(SYS_read, fd, frame, room);
	parts[0] = (struct iovec){ .iov_base = &io->headers[at], .iov_len = sizeof(*io->headers) };
	parts[1] = (struct iovec){ .iov_base = frame, .iov_len = room };
	got = call3(SYS_readv, fd, parts, 2);
	if (got < 0)
		return got;
	return got < (ssize_t)sizeof(*io->headers) ? 0 : got - (ssize_t)sizeof(*io->headers);
}

/*
 * readBatch(io, fd, first, max, room): frames read (0: nothing there), or -errno of the first failing read.
 * Frame i goes to memory[offsets[first + i]], at most `room` bytes; lengths and sums are filled in.
 */
static napi_value js_read_batch(napi_env env, napi_callback_info info)
{
	napi_value argv[5];
	struct io *io;
	uint32_t first, max, room, n = 0;
	int fd;

	if (!args(env, info, 5, 5, argv, NULL) || napi_get_value_external(env, argv[0], (void **)&io) != napi_ok)
		return NULL;
	fd = int_arg(env, argv[1]);
	first = (uint32_t)int_arg(env, argv[2]);
	max = (uint32_t)int_arg(env, argv[3]);
	room = (uint32_t)int_arg(env, argv[4]);
	while (n < max && first + n < io->capacity) {
		int32_t offset = io->offsets[first + n];
		ssize_t got;

		if (offset < 0 || (size_t)offset + room > io->memory_size)
			return fail(env, "slot outside frame memory", EFAULT);
		got = read_frame(io, fd, first + n, room);
		if (got < 0) {
			if (got == -EINTR)
				continue;
			if (n == 0 && got != -EAGAIN)
				return number(env, (int32_t)got);
			break;
		}
		io->lengths[first + n] = (int32_t)got;
		if (!io->headers || io->headers[first + n].flags == 0)
			io->sums[first + n] = ones_sum(io->memory + offset, (size_t)got);
		n++;
	}
	return number(env, (int32_t)n);
}

/* Frame `at` with all of its parts: what writev(2) says. EMSGSIZE for more of them than there can be. */
static ssize_t write_parts(const struct io *io, int fd, uint32_t at)
{
	struct iovec parts[MAX_PARTS];
	int n = 0;

	do {
		if (n == MAX_PARTS)
			return -EMSGSIZE;
		parts[n++] = (struct iovec){ .iov_base = io->memory + io->offsets[at], .iov_len = (size_t)io->lengths[at] };
		at = io->parts[at] & ~IS_PART;
	} while (at);
	return call3(SYS_writev, fd, parts, (size_t)n);
}

/* Inline, and without room on the stack for parts that most frames do not have: see call3(). */
static inline ssize_t write_frame(const struct io *io, int fd, uint32_t at)
{
	if (io->parts[at])
		return write_parts(io, fd, at);
	return call3(SYS_write, fd, io->memory + io->offsets[at], (size_t)io->lengths[at]);
}

/* The lengths of frame `at` and of all of its parts say why they were refused. Returns how many they are. */
static uint32_t refuse(struct io *io, uint32_t at, int error)
{
	uint32_t n = 0;

	do {
		io->lengths[at] = -error;
		n++;
		at = io->parts[at] & ~IS_PART;
	} while (at);
	return n;
}

/*
 * writeBatch(io, fd, first, count): how many of these frames and parts of frames the device took. Those it refused
 * (EINVAL, EIO ...) get lengths[i] = -errno; behind EAGAIN no more are tried.
 */
static napi_value js_write_batch(napi_env env, napi_callback_info info)
{
	napi_value argv[4];
	struct io *io;
	uint32_t first, count, taken;
	bool full = false;
	int fd;

	if (!args(env, info, 4, 4, argv, NULL) || napi_get_value_external(env, argv[0], (void **)&io) != napi_ok)
		return NULL;
	fd = int_arg(env, argv[1]);
	first = (uint32_t)int_arg(env, argv[2]);
	count = taken = (uint32_t)int_arg(env, argv[3]);
	if (first > io->capacity || count > io->capacity - first)
		return fail(env, "more frames than the batch has", EFAULT);
	for (uint32_t i = first; i < first + count; i++) {
		uint32_t next = io->parts[i] & ~IS_PART;

		if (io->offsets[i] < 0 || io->lengths[i] < 0 ||
		    (size_t)io->offsets[i] + (size_t)io->lengths[i] > io->memory_size)
			return fail(env, "frame outside frame memory", EFAULT);
		/* Forwards alone, so that there is an end. */
		if (next && (next <= i || next >= first + count))
			return fail(env, "a part that is not behind its frame", EFAULT);
	}
	for (uint32_t i = first; i < first + count; i++) {
		ssize_t done = -EAGAIN;

		if (io->parts[i] & IS_PART)
			continue;
		if (!full)
			do
				done = write_frame(io, fd, i);
			while (done == -EINTR);
		if (done >= 0)
			continue;
		full = done == -EAGAIN;
		taken -= refuse(io, i, (int)-done);
	}
	return number(env, (int32_t)taken);
}

/* poll(fds: Int32Array, revents: Int32Array, timeoutMs): how many descriptors have something to read. */
static napi_value js_poll(napi_env env, napi_callback_info info)
{
	napi_value argv[3];
	struct pollfd set[MAX_FDS];
	int32_t *fds, *revents;
	size_t a, b;
	int count, ready;

	if (!args(env, info, 3, 3, argv, NULL) || !typed(env, argv[0], napi_int32_array, (void **)&fds, &a) ||
	    !typed(env, argv[1], napi_int32_array, (void **)&revents, &b))
		return NULL;
	if (a > MAX_FDS || b < a)
		return fail(env, "poll", EINVAL);
	count = (int)a;
	for (int i = 0; i < count; i++)
		set[i] = (struct pollfd){ .fd = fds[i], .events = POLLIN };
	ready = poll(set, (nfds_t)count, int_arg(env, argv[2]));
	if (ready < 0 && errno != EINTR)
		return fail(env, "poll", errno);
	for (int i = 0; i < count; i++)
		revents[i] = ready < 0 ? 0 : set[i].revents;
	return number(env, ready < 0 ? 0 : ready);
}

/* wakeOpen(): an eventfd. Any thread may wake(fd) a poll that watches it; the woken side calls wakeClear(fd). */
static napi_value js_wake_open(napi_env env, napi_callback_info info)
{
	int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);

	(void)info;
	return fd < 0 ? fail(env, "eventfd", errno) : number(env, fd);
}

static napi_value js_wake(napi_env env, napi_callback_info info)
{
	napi_value argv[1];
	uint64_t one = 1;

	/* EAGAIN means that the counter is full: the sleeper is awake already. */
	if (args(env, info, 1, 1, argv, NULL) && write(int_arg(env, argv[0]), &one, sizeof(one)) < 0 && errno != EAGAIN)
		return fail(env, "wake", errno);
	return NULL;
}

static napi_value js_wake_clear(napi_env env, napi_callback_info info)
{
	napi_value argv[1];
	uint64_t count;

	if (args(env, info, 1, 1, argv, NULL) && read(int_arg(env, argv[0]), &count, sizeof(count)) < 0 && errno != EAGAIN)
		return fail(env, "wakeClear", errno);
	return NULL;
}

/* peerUid(socketFd): user id of the process at the other end of a Unix socket (SO_PEERCRED). */
static napi_value js_peer_uid(napi_env env, napi_callback_info info)
{
	napi_value argv[1], out;
	struct ucred cred;
	socklen_t length = sizeof(cred);

	if (!args(env, info, 1, 1, argv, NULL))
		return NULL;
	if (getsockopt(int_arg(env, argv[0]), SOL_SOCKET, SO_PEERCRED, &cred, &length) < 0)
		return fail(env, "SO_PEERCRED", errno);
	napi_create_uint32(env, cred.uid, &out);
	return out;
}

/* onesSum(bytes: Uint8Array, from, end): see ones_sum(). */
static napi_value js_ones_sum(napi_env env, napi_callback_info info)
{
	napi_value argv[3];
	uint8_t *bytes;
	size_t size;
	int32_t from, end;

	if (!args(env, info, 3, 3, argv, NULL) || !typed(env, argv[0], napi_uint8_array, (void **)&bytes, &size))
		return NULL;
	from = int_arg(env, argv[1]);
	end = int_arg(env, argv[2]);
	if (from < 0 || end < from || (size_t)end > size)
		return fail(env, "onesSum", EINVAL);
	return number(env, (int32_t)ones_sum(bytes + from, (size_t)(end - from)));
}

NAPI_MODULE_INIT()
{
	const napi_property_descriptor functions[] = {
#define FUNCTION(name, callback) { name, NULL, callback, NULL, NULL, NULL, napi_enumerable, NULL }
		FUNCTION("openTun", js_open_tun),       FUNCTION("close", js_close),
		FUNCTION("createReader", js_create_reader),    FUNCTION("readBatch", js_read_batch),
		FUNCTION("createWriter", js_create_writer),    FUNCTION("writeBatch", js_write_batch),
		FUNCTION("wakeOpen", js_wake_open),            FUNCTION("wake", js_wake),
		FUNCTION("wakeClear", js_wake_clear),          FUNCTION("poll", js_poll),
		FUNCTION("onesSum", js_ones_sum),              FUNCTION("setOffload", js_set_offload),
		FUNCTION("setSendBuffer", js_set_send_buffer), FUNCTION("ownFiles", js_own_files),
		FUNCTION("peerUid", js_peer_uid),
#undef FUNCTION
	};

	napi_define_properties(env, exports, sizeof(functions) / sizeof(functions[0]), functions);
	napi_set_named_property(env, exports, "maxParts", number(env, MAX_PARTS));
	return exports;
}
