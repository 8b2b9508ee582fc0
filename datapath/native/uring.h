/*
 * Writes of a batch in one system call, where the kernel lends an io_uring (5.19 on; many containers forbid it).
 * Nothing stays behind a call: what could not be done at once is called back and counts as refused.
 */
#ifndef TUNWALL_URING_H
#define TUNWALL_URING_H

#include <stdint.h>

struct uring;

/* A ring for up to `entries` writes at once, of one thread; NULL with errno: there is none to be had. */
struct uring *uring_open(unsigned entries);
void uring_close(struct uring *ring);

/*
 * Writes `count` frames (at most `entries`), memory[offsets[i], offsets[i] + lengths[i]), in order. lengths[i] becomes
 * -errno where the device refused, -EAGAIN where it had no room. Returns 0, or -errno when the ring is of no use any
 * more: frames from `*done` on were not written then.
 */
int uring_write(struct uring *ring, int fd, uint8_t *memory, const int32_t *offsets, int32_t *lengths, unsigned count,
		unsigned *done);

#endif
