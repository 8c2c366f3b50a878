/* SPDX-License-Identifier: MIT */
/*
 * kernel_calls.h - every system call that the kernel backends make, as a table of functions, so that
 * a test can stand in for the kernel.
 *
 * All return negative errnos. Descriptors are real ones also in a test: they are mapped, waited for
 * and closed by the ordinary calls.
 */
#ifndef VF_VFIO_KERNEL_CALLS_H
#define VF_VFIO_KERNEL_CALLS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct vf_kernel_calls {
	/* With O_CLOEXEC. */
	int (*open)(void *user, const char *path, int flags);
	int (*dup)(void *user, int fd);
	/* Again when a signal came between. What the ioctl gives, or -errno. */
	int (*ioctl)(void *user, int fd, unsigned long request, void *arg);
	ssize_t (*pread)(void *user, int fd, void *to, size_t len, uint64_t offset);
	ssize_t (*pwrite)(void *user, int fd, const void *from, size_t len, uint64_t offset);
	ssize_t (*read)(void *user, int fd, void *to, size_t len);
	ssize_t (*write)(void *user, int fd, const void *from, size_t len);
	int (*set_nonblocking)(void *user, int fd);
	/* Return: 1 readable, or broken; 0 not within the time. */
	int (*wait_readable)(void *user, int fd, uint64_t timeout_ns);
	/* Ends @to with a zero; -ENAMETOOLONG. */
	int (*readlink)(void *user, const char *path, char *to, size_t size);
	/* Calls @each for every name in a folder until that gives something else than 0. */
	int (*list)(void *user, const char *folder, int (*each)(void *arg, const char *name),
		    void *arg);
};

/* A table and what it is called with: passed by value. */
struct vf_kernel {
	const struct vf_kernel_calls *calls;
	void *user;
};

/* The kernel itself. */
struct vf_kernel vf_kernel_real(void);

static inline int vf_kernel_ioctl(const struct vf_kernel *k, int fd, unsigned long request, void *arg)
{
	return k->calls->ioctl(k->user, fd, request, arg);
}

#endif
