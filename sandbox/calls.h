/* SPDX-License-Identifier: MIT */
/* calls.h - the table of allowed system calls: calls.c has it, filter.c loads it, docs/ shows it. */
#ifndef VF_SANDBOX_CALLS_H
#define VF_SANDBOX_CALLS_H

#include <stddef.h>

/* Roles beyond enum sandbox_role: what builds with a sanitizer need for themselves. */
#define SANDBOX_SANITIZER (1u << 7)

/* With which arguments a call is allowed; filter.c turns each into comparisons. */
enum sandbox_rule {
	SANDBOX_ANY = 0,
	SANDBOX_NOT_EXECUTABLE,	/* memory without PROT_EXEC */
	SANDBOX_STREAM_UNIX,	/* a unix stream socket */
	SANDBOX_STREAM_INET,	/* a TCP socket */
	SANDBOX_LOOK_UP,	/* UDP and route netlink: what getaddrinfo() uses */
	SANDBOX_THREAD,		/* clone() of a thread; no process, no namespace */
	SANDBOX_READ_ONLY,	/* open for reading an existing file */
	SANDBOX_TERMINAL,	/* ioctl TCGETS, FIONREAD */
	SANDBOX_KVM_REQUEST,	/* ioctl of KVM's type */
	SANDBOX_VFIO_REQUEST,	/* ioctl of the type that VFIO and iommufd share */
	SANDBOX_USER_FAULTS,	/* userfaultfd UFFD_USER_MODE_ONLY; ioctl UFFDIO_API, _REGISTER, _COPY */
	SANDBOX_NAME_THREAD,	/* prctl PR_SET_NAME */
	SANDBOX_OWN_PROCESS,	/* first argument: this process */
	SANDBOX_OWN_LIMITS,	/* prlimit64 of this process that sets nothing */
	SANDBOX_NO_SUCH_CALL,	/* not done: ENOSYS, and the C library takes another way */
	SANDBOX_DENIED,		/* not done: EACCES, and the C library goes on without */
};

struct sandbox_call {
	unsigned roles;
	enum sandbox_rule rule;
	const char *names;	/* separated by blanks */
	const char *why;
};

const struct sandbox_call *sandbox_calls(size_t *ret_count);
/* For people: "PROT_EXEC not set"; "" for ANY. */
const char *sandbox_rule_text(enum sandbox_rule rule);

#endif
