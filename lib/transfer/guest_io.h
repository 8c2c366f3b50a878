/* SPDX-License-Identifier: MIT */
/*
 * guest_io.h - what moves guest pages: system calls, and a copy.
 *
 * Guest pages race with the guest by nature: the kernel reads them while vCPUs write, and a page
 * that changed is dirty and goes again. ThreadSanitizer would report each such call, so in its
 * builds they pass by its interceptors. All other bytes go through the plain calls, which it
 * understands as ordering.
 */
#ifndef VF_TRANSFER_GUEST_IO_H
#define VF_TRANSFER_GUEST_IO_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#if defined(__SANITIZE_THREAD__)
#define VF_UNDER_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define VF_UNDER_TSAN 1
#endif
#endif

#ifdef VF_UNDER_TSAN
static inline ssize_t vf_guest_sendmsg(int fd, const struct msghdr *msg, int flags)
{
	return syscall(SYS_sendmsg, fd, msg, flags);
}

static inline ssize_t vf_guest_recvmsg(int fd, struct msghdr *msg, int flags)
{
	return syscall(SYS_recvmsg, fd, msg, flags);
}

static inline ssize_t vf_guest_pwrite(int fd, const void *from, size_t bytes, off_t at)
{
	return syscall(SYS_pwrite64, fd, from, bytes, at);
}
#else
#define vf_guest_sendmsg sendmsg
#define vf_guest_recvmsg recvmsg
#define vf_guest_pwrite pwrite
#endif

/* The copy is what is compressed or encrypted; the bytes it is made of may be of any moment. */
__attribute__((no_sanitize("thread")))
static inline void vf_guest_copy(void *to, const void *from, size_t bytes)
{
#if defined(__x86_64__)
	__asm__ volatile("rep movsb" : "+D" (to), "+S" (from), "+c" (bytes) : : "memory");
#else
	const volatile uint64_t *words = from;
	const volatile uint8_t *tail = (const volatile uint8_t *) from + bytes / 8 * 8;
	uint8_t *t = to;

	for (size_t i = 0; i < bytes / 8; i++, t += 8)
		__builtin_memcpy(t, &(uint64_t) { words[i] }, 8);
	for (size_t i = 0; i < bytes % 8; i++)
		t[i] = tail[i];
#endif
}

#endif
