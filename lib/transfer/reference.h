/* SPDX-License-Identifier: MIT */
/*
 * reference.h - guest memory to a socket without a copy: the kernel is handed the pages themselves.
 *
 * Model: a pipe takes pages of the process's memory (vmsplice) and gives them on to the socket (splice).
 * On its way nothing is copied but by who receives it, or by no one at all. Until then the socket's
 * buffer refers to the pages, so the peer may get what the guest wrote after the call. That does no
 * harm: such a page is dirty and goes again, and nothing writes any more while the last ones go.
 *
 * Of huge pages it costs a third of the sender's copy; of 4 KiB pages as much as the copy, and the
 * receiver more. Memory that is used again after the call must not go this way.
 *
 * Threads: one at a time.
 */
#ifndef VF_TRANSFER_REFERENCE_H
#define VF_TRANSFER_REFERENCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct vf_reference {
	int pipe[2];		/* -1: not open. Empty between two calls */
	size_t bytes;		/* that it takes at once */
};

#define VF_REFERENCE_CLOSED { .pipe = { -1, -1 } }

/* Leaves it closed where the kernel gives no pipe, or a small one. */
void vf_reference_open(struct vf_reference *reference);
void vf_reference_close(struct vf_reference *reference);

static inline bool vf_reference_is_open(const struct vf_reference *reference)
{
	return reference->pipe[0] >= 0;
}

/* Large enough to be worth it, and whole pages. */
bool vf_reference_suits(const struct iovec *part);
/*
 * @part, or as much of it as the pipe takes, to @socket, which is blocking. Return: bytes; 0: not possible
 * with this memory; -ETIMEDOUT the socket's send timeout; -EPIPE (and no signal); other errno. After an
 * error nothing may follow.
 */
int64_t vf_reference_send(const struct vf_reference *reference, int socket, const struct iovec *part);

#endif
