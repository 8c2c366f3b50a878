/* SPDX-License-Identifier: MIT */
/*
 * tls_bio.c - OpenSSL's socket BIO with one change: a peer that is gone must not end this process.
 *
 * OpenSSL writes by write(2), which raises SIGPIPE. Data is sent with MSG_NOSIGNAL instead. Where the
 * kernel encrypts (kTLS), the original has records to mark in ways of its own; the signal is then
 * held back from this thread, and taken away if it came.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <sys/socket.h>
#include <time.h>

#include "transfer/tls_internal.h"

static int write_with_signal_held(BIO *bio, const char *from, int bytes)
{
	int (*original)(BIO *bio, const char *from, int bytes) = BIO_meth_get_write(BIO_s_socket());
	const struct timespec now = { 0 };
	sigset_t pipe_only, before;
	int n, error;

	(void) sigemptyset(&pipe_only);
	(void) sigaddset(&pipe_only, SIGPIPE);
	(void) pthread_sigmask(SIG_BLOCK, &pipe_only, &before);
	n = original(bio, from, bytes);
	error = errno;
	if (n < 0 && error == EPIPE)
		while (sigtimedwait(&pipe_only, NULL, &now) < 0 && errno == EINTR)
			;
	(void) pthread_sigmask(SIG_SETMASK, &before, NULL);
	errno = error;
	return n;
}

static int write_without_signal(BIO *bio, const char *from, int bytes)
{
	int fd = -1;
	ssize_t n;

	if (BIO_get_ktls_send(bio))
		return write_with_signal_held(bio, from, bytes);
	(void) BIO_get_fd(bio, &fd);
	BIO_clear_retry_flags(bio);
	n = send(fd, from, (size_t) bytes, MSG_NOSIGNAL);
	if (n <= 0 && BIO_sock_should_retry((int) n))
		BIO_set_retry_write(bio);
	return (int) n;
}

BIO_METHOD *vf_tls_bio_method(void)
{
	const BIO_METHOD *socket_method = BIO_s_socket();
	BIO_METHOD *method = BIO_meth_new(BIO_TYPE_SOCKET, "socket without SIGPIPE");

	if (method && BIO_meth_set_write(method, write_without_signal) &&
	    BIO_meth_set_read(method, BIO_meth_get_read(socket_method)) &&
	    BIO_meth_set_ctrl(method, BIO_meth_get_ctrl(socket_method)) &&
	    BIO_meth_set_create(method, BIO_meth_get_create(socket_method)) &&
	    BIO_meth_set_destroy(method, BIO_meth_get_destroy(socket_method)))
		return method;
	BIO_meth_free(method);
	return NULL;
}
