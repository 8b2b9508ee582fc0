#define _GNU_SOURCE
#include "uring.h"

#include <errno.h>
#include <linux/io_uring.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifdef IORING_SETUP_COOP_TASKRUN

/* No write has this number. */
#define CANCEL UINT64_MAX

struct uring {
	int fd;
	unsigned entries;
	unsigned *sq_tail, sq_mask;
	unsigned *cq_head, *cq_tail, cq_mask;
	struct io_uring_sqe *sqes;
	struct io_uring_cqe *cqes;
	void *rings;
	size_t rings_size, sqes_size;
};

static int enter(struct uring *ring, unsigned submit, unsigned wait)
{
	long got;

	do
		got = syscall(__NR_io_uring_enter, ring->fd, submit, wait, IORING_ENTER_GETEVENTS, NULL, 0);
	while (got < 0 && errno == EINTR);
	return got < 0 ? -errno : (int)got;
}

static bool map(struct uring *ring, const struct io_uring_params *p)
{
	size_t sq = p->sq_off.array + p->sq_entries * sizeof(unsigned);
	size_t cq = p->cq_off.cqes + p->cq_entries * sizeof(struct io_uring_cqe);
	uint8_t *base;

	ring->rings_size = sq > cq ? sq : cq;
	ring->sqes_size = p->sq_entries * sizeof(struct io_uring_sqe);
	ring->rings = mmap(NULL, ring->rings_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring->fd,
			   IORING_OFF_SQ_RING);
	ring->sqes = mmap(NULL, ring->sqes_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring->fd,
			  IORING_OFF_SQES);
	if (ring->rings == MAP_FAILED || ring->sqes == MAP_FAILED)
		return false;
	base = ring->rings;
	ring->sq_tail = (unsigned *)(base + p->sq_off.tail);
	ring->sq_mask = *(unsigned *)(base + p->sq_off.ring_mask);
	ring->cq_head = (unsigned *)(base + p->cq_off.head);
	ring->cq_tail = (unsigned *)(base + p->cq_off.tail);
	ring->cq_mask = *(unsigned *)(base + p->cq_off.ring_mask);
	ring->cqes = (struct io_uring_cqe *)(base + p->cq_off.cqes);
	for (unsigned i = 0; i < p->sq_entries; i++)
		((unsigned *)(base + p->sq_off.array))[i] = i;
	return true;
}

struct uring *uring_open(unsigned entries)
{
	struct io_uring_params p = { .flags = IORING_SETUP_COOP_TASKRUN | IORING_SETUP_SUBMIT_ALL };
	struct uring *ring = calloc(1, sizeof(*ring));

	if (!ring)
		return NULL;
	ring->rings = ring->sqes = MAP_FAILED;
	ring->fd = (int)syscall(__NR_io_uring_setup, entries, &p);
	ring->entries = entries;
	if (ring->fd >= 0 && (p.features & IORING_FEAT_SINGLE_MMAP) && map(ring, &p))
		return ring;
	uring_close(ring);
	return NULL;
}

void uring_close(struct uring *ring)
{
	int error = errno;

	if (ring->rings != MAP_FAILED)
		munmap(ring->rings, ring->rings_size);
	if (ring->sqes != MAP_FAILED)
		munmap(ring->sqes, ring->sqes_size);
	if (ring->fd >= 0)
		close(ring->fd);
	free(ring);
	errno = error;
}

static struct io_uring_sqe *next(struct uring *ring, uint8_t opcode, uint64_t number)
{
	unsigned tail = *ring->sq_tail;
	struct io_uring_sqe *sqe = &ring->sqes[tail & ring->sq_mask];

	memset(sqe, 0, sizeof(*sqe));
	sqe->opcode = opcode;
	sqe->user_data = number;
	/* Nobody but io_uring_enter() in this thread reads the tail. */
	*ring->sq_tail = tail + 1;
	return sqe;
}

/* Notes what has ended; returns how many writes that were. */
static unsigned reap(struct uring *ring, int32_t *lengths)
{
	unsigned head = *ring->cq_head, tail = __atomic_load_n(ring->cq_tail, __ATOMIC_ACQUIRE), writes = 0;

	for (; head != tail; head++) {
		const struct io_uring_cqe *cqe = &ring->cqes[head & ring->cq_mask];

		if (cqe->user_data == CANCEL)
			continue;
		if (cqe->res < 0)
			lengths[cqe->user_data] = cqe->res == -ECANCELED ? -EAGAIN : cqe->res;
		writes++;
	}
	__atomic_store_n(ring->cq_head, head, __ATOMIC_RELEASE);
	return writes;
}

int uring_write(struct uring *ring, int fd, uint8_t *memory, const int32_t *offsets, int32_t *lengths, unsigned count,
		unsigned *done)
{
	unsigned over = 0;

	*done = 0;
	for (unsigned i = 0; i < count; i++) {
		struct io_uring_sqe *sqe = next(ring, IORING_OP_WRITE, i);

		sqe->fd = fd;
		sqe->addr = (uintptr_t)(memory + offsets[i]);
		sqe->len = (uint32_t)lengths[i];
	}
	while (*done < count) {
		int got = enter(ring, count - *done, 0);

		if (got <= 0) {
			/* What was never taken is not to be taken later. */
			*ring->sq_tail -= count - *done;
			if (got == 0)
				got = -EIO;
			while (over < *done) {
				over += reap(ring, lengths);
				if (over < *done && enter(ring, 0, 1) < 0)
					break;
			}
			return got;
		}
		*done += (unsigned)got;
	}
	over = reap(ring, lengths);
	while (over < count) {
		/* A full device: the kernel would wait for room. */
		struct io_uring_sqe *sqe = next(ring, IORING_OP_ASYNC_CANCEL, CANCEL);
		int got;

		sqe->cancel_flags = IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL;
		got = enter(ring, 1, 1);
		over += reap(ring, lengths);
		if (got < 0)
			return got;
	}
	return 0;
}

#else /* The headers are older than what is needed. */

struct uring *uring_open(unsigned entries)
{
	(void)entries;
	errno = ENOSYS;
	return NULL;
}

void uring_close(struct uring *ring)
{
	(void)ring;
}

int uring_write(struct uring *ring, int fd, uint8_t *memory, const int32_t *offsets, int32_t *lengths, unsigned count,
		unsigned *done)
{
	(void)ring, (void)fd, (void)memory, (void)offsets, (void)lengths, (void)count;
	*done = 0;
	return -ENOSYS;
}

#endif
