/* SPDX-License-Identifier: MIT */
/* reference.c - see reference.h. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include "base/checked.h"
#include "base/cleanup.h"
#include "transfer/reference.h"
#include "transfer/socket.h"

#define PIPE_BYTES (int) VF_MIB		/* as much as is allowed to everybody */
#define LEAST (64 * VF_KIB)
#define PAGE 4096u

void vf_reference_open(struct vf_reference *reference)
{
	int bytes;

	if (vf_reference_is_open(reference) || pipe2(reference->pipe, O_CLOEXEC))
		return;
	bytes = fcntl(reference->pipe[1], F_SETPIPE_SZ, PIPE_BYTES);
	if (bytes < (int) LEAST)
		vf_reference_close(reference);
	else
		reference->bytes = (size_t) bytes;
}

void vf_reference_close(struct vf_reference *reference)
{
	vf_close(&reference->pipe[0]);
	vf_close(&reference->pipe[1]);
}

bool vf_reference_suits(const struct iovec *part)
{
	return part->iov_len >= LEAST && (uintptr_t) part->iov_base % PAGE == 0;
}

static int empty_pipe(const struct vf_reference *reference, int socket, size_t bytes)
{
	while (bytes) {
		ssize_t n = splice(reference->pipe[0], NULL, socket, NULL, bytes, SPLICE_F_MOVE);

		if (n > 0)
			bytes -= (size_t) n;
		else if (n == 0)
			return -EPIPE;
		else if (errno != EINTR)
			return vf_socket_failure(errno);
	}
	return 0;
}

/* splice(2) knows no MSG_NOSIGNAL: a SIGPIPE of its own is taken back before anybody sees it. */
static int empty_pipe_silently(const struct vf_reference *reference, int socket, size_t bytes)
{
	static const struct timespec at_once;
	sigset_t pipe_signal, old, pending;
	int ret;

	(void) sigemptyset(&pipe_signal);
	(void) sigaddset(&pipe_signal, SIGPIPE);
	(void) sigpending(&pending);
	(void) pthread_sigmask(SIG_BLOCK, &pipe_signal, &old);
	ret = empty_pipe(reference, socket, bytes);
	if (ret == -EPIPE && !sigismember(&pending, SIGPIPE))
		(void) sigtimedwait(&pipe_signal, NULL, &at_once);
	(void) pthread_sigmask(SIG_SETMASK, &old, NULL);
	return ret;
}

int64_t vf_reference_send(const struct vf_reference *reference, int socket, const struct iovec *part)
{
	struct iovec first = { part->iov_base, vf_min_u64(part->iov_len, reference->bytes) };
	ssize_t n;
	int ret;

	do
		n = vmsplice(reference->pipe[1], &first, 1, 0);
	while (n < 0 && errno == EINTR);
	if (n <= 0)
		return 0;
	ret = empty_pipe_silently(reference, socket, (size_t) n);
	return ret ? ret : n;
}
