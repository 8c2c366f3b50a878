/* SPDX-License-Identifier: MIT */
/* filter.c - the table of calls.c, as a seccomp filter on all threads of the process. */
#define _GNU_SOURCE
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <linux/netlink.h>
#include <linux/userfaultfd.h>
#include <linux/vfio.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "calls.h"
#include "vf_config.h"

#if VF_HAVE_SECCOMP

#include <seccomp.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define EXTRA_ROLES SANDBOX_SANITIZER
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define EXTRA_ROLES SANDBOX_SANITIZER
#endif
#endif
#ifndef EXTRA_ROLES
#define EXTRA_ROLES 0
#endif

#define NEW_NAMESPACES (CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | \
			CLONE_NEWPID | CLONE_NEWNET)
#define THREAD (CLONE_VM | CLONE_THREAD | CLONE_SIGHAND)
#define SOCKET_TYPE 0xfu	/* the rest are flags */

/* What is compared: one row of each table is one allowed combination. */
#define EQUALS(arg, value) SCMP_CMP64(arg, SCMP_CMP_EQ, value)
#define MASKED(arg, mask, value) SCMP_CMP64(arg, SCMP_CMP_MASKED_EQ, mask, value)

static int allow_if(scmp_filter_ctx filter, int call, const struct scmp_arg_cmp *compare,
		    unsigned count)
{
	return seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, call, count, compare);
}

/* Domain and type of socket(), and a protocol where one matters (-1: any). */
static int allow_socket(scmp_filter_ctx filter, int call, int domain, int type, int protocol)
{
	const struct scmp_arg_cmp compare[] = {
		EQUALS(0, (scmp_datum_t) domain),
		MASKED(1, SOCKET_TYPE, (scmp_datum_t) type),
		EQUALS(2, (scmp_datum_t) protocol),
	};

	return allow_if(filter, call, compare, protocol < 0 ? 2 : 3);
}

static int allow_sockets(scmp_filter_ctx filter, int call, enum sandbox_rule rule)
{
	int ret;

	if (rule == SANDBOX_STREAM_UNIX)
		return allow_socket(filter, call, AF_UNIX, SOCK_STREAM, -1);
	if (rule == SANDBOX_STREAM_INET) {
		ret = allow_socket(filter, call, AF_INET, SOCK_STREAM, -1);
		return ret ? ret : allow_socket(filter, call, AF_INET6, SOCK_STREAM, -1);
	}
	ret = allow_socket(filter, call, AF_INET, SOCK_DGRAM, -1);
	if (!ret)
		ret = allow_socket(filter, call, AF_INET6, SOCK_DGRAM, -1);
	if (!ret)
		ret = allow_socket(filter, call, AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
	return ret;
}

/* On arm64 flags are the first argument of clone() as well. */
static int allow_thread(scmp_filter_ctx filter, int call)
{
	const struct scmp_arg_cmp compare[] = { MASKED(0, NEW_NAMESPACES | THREAD, THREAD) };

	return allow_if(filter, call, compare, 1);
}

static int allow_reading(scmp_filter_ctx filter, int call)
{
	unsigned flags = call == SCMP_SYS(openat) ? 2 : 1;
	const struct scmp_arg_cmp compare[] = {
		MASKED(flags, O_ACCMODE | O_CREAT | O_TRUNC, O_RDONLY),
	};

	return allow_if(filter, call, compare, 1);
}

static int allow_terminal(scmp_filter_ctx filter, int call)
{
	const struct scmp_arg_cmp get[] = { MASKED(1, UINT32_MAX, TCGETS) };
	const struct scmp_arg_cmp count[] = { MASKED(1, UINT32_MAX, FIONREAD) };
	int ret = allow_if(filter, call, get, 1);

	return ret ? ret : allow_if(filter, call, count, 1);
}

static int allow_limits(scmp_filter_ctx filter, int call)
{
	const struct scmp_arg_cmp compare[] = { EQUALS(0, 0), EQUALS(2, 0) };

	return allow_if(filter, call, compare, 2);
}

static int allow_one(scmp_filter_ctx filter, int call, unsigned arg, scmp_datum_t value)
{
	const struct scmp_arg_cmp compare[] = { MASKED(arg, UINT32_MAX, value) };

	return allow_if(filter, call, compare, 1);
}

static int allow_user_faults(scmp_filter_ctx filter, int call)
{
	const struct scmp_arg_cmp user_mode[] = { MASKED(0, UFFD_USER_MODE_ONLY, UFFD_USER_MODE_ONLY) };
	static const unsigned requests[] = { UFFDIO_API, UFFDIO_REGISTER, UFFDIO_COPY };
	int ret = 0;

	if (call != SCMP_SYS(ioctl))
		return allow_if(filter, call, user_mode, 1);
	for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]) && !ret; i++)
		ret = allow_one(filter, call, 1, requests[i]);
	return ret;
}

static int add_rule(scmp_filter_ctx filter, int call, enum sandbox_rule rule)
{
	const struct scmp_arg_cmp no_code[] = { MASKED(2, PROT_EXEC, 0) };
	const struct scmp_arg_cmp kvm[] = { MASKED(1, _IOC_TYPEMASK << _IOC_TYPESHIFT,
						   KVMIO << _IOC_TYPESHIFT) };
	const struct scmp_arg_cmp vfio[] = { MASKED(1, _IOC_TYPEMASK << _IOC_TYPESHIFT,
						    VFIO_TYPE << _IOC_TYPESHIFT) };

	switch (rule) {
	case SANDBOX_ANY:
		return allow_if(filter, call, NULL, 0);
	case SANDBOX_NOT_EXECUTABLE:
		return allow_if(filter, call, no_code, 1);
	case SANDBOX_STREAM_UNIX:
	case SANDBOX_STREAM_INET:
	case SANDBOX_LOOK_UP:
		return allow_sockets(filter, call, rule);
	case SANDBOX_THREAD:
		return allow_thread(filter, call);
	case SANDBOX_READ_ONLY:
		return allow_reading(filter, call);
	case SANDBOX_TERMINAL:
		return allow_terminal(filter, call);
	case SANDBOX_KVM_REQUEST:
		return allow_if(filter, call, kvm, 1);
	case SANDBOX_VFIO_REQUEST:
		return allow_if(filter, call, vfio, 1);
	case SANDBOX_USER_FAULTS:
		return allow_user_faults(filter, call);
	case SANDBOX_NAME_THREAD:
		return allow_one(filter, call, 0, PR_SET_NAME);
	case SANDBOX_OWN_PROCESS:
		return allow_one(filter, call, 0, (scmp_datum_t) getpid());
	case SANDBOX_OWN_LIMITS:
		return allow_limits(filter, call);
	case SANDBOX_NO_SUCH_CALL:
		return seccomp_rule_add_array(filter, SCMP_ACT_ERRNO(ENOSYS), call, 0, NULL);
	case SANDBOX_DENIED:
		return seccomp_rule_add_array(filter, SCMP_ACT_ERRNO(EACCES), call, 0, NULL);
	}
	return -EINVAL;
}

/* Is @call in a row for @roles whose rule is no refusal? Such a row wins over a refusing one. */
static bool is_allowed_elsewhere(unsigned roles, const char *call)
{
	const struct sandbox_call *table;
	size_t count, length = strlen(call);

	table = sandbox_calls(&count);
	for (size_t i = 0; i < count; i++) {
		if (!(table[i].roles & roles) || table[i].rule == SANDBOX_DENIED)
			continue;
		for (const char *at = table[i].names; (at = strstr(at, call)) != NULL; at += length)
			if ((at == table[i].names || at[-1] == ' ') &&
			    (!at[length] || at[length] == ' '))
				return true;
	}
	return false;
}

static int add_row(scmp_filter_ctx filter, const struct sandbox_call *row, unsigned roles,
		   struct vferry_error *err)
{
	char name[32];
	int used;

	for (const char *at = row->names; sscanf(at, "%31s%n", name, &used) == 1; at += used) {
		int call = seccomp_syscall_resolve_name(name), ret;

		if (call < 0)
			continue;	/* not on this architecture, or newer than libseccomp */
		if (row->rule == SANDBOX_DENIED && is_allowed_elsewhere(roles, name))
			continue;
		ret = add_rule(filter, call, row->rule);
		if (ret && ret != -EEXIST)
			return vferry_error_set(err, ret, "seccomp-rule", name,
						"cannot make a filter rule for %s: %s", name,
						vferry_errno_name(ret));
	}
	return 0;
}

int sandbox_restrict_calls(const struct sandbox_options *options, struct vferry_error *err)
{
	unsigned roles = options->role | EXTRA_ROLES;
	scmp_filter_ctx filter = seccomp_init(options->mode == SANDBOX_LOG ? SCMP_ACT_LOG
									   : SCMP_ACT_KILL_PROCESS);
	const struct sandbox_call *table;
	size_t count;
	int ret = 0;

	if (!filter)
		return vferry_error_set(err, -ENOTSUP, "seccomp", NULL,
					"this kernel has no filter of system calls (seccomp)");
	table = sandbox_calls(&count);
	for (size_t i = 0; i < count && !ret; i++)
		if (table[i].roles & roles)
			ret = add_row(filter, &table[i], roles, err);
	if (!ret)
		ret = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
	if (!ret)
		(void) seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);	/* a tree, not a list */
	if (!ret)
		ret = seccomp_load(filter);
	seccomp_release(filter);
	return ret ? vferry_error_set(err, ret, "seccomp", NULL,
				      "cannot install the filter of system calls: %s",
				      vferry_errno_name(ret)) : 0;
}

#else

int sandbox_restrict_calls(const struct sandbox_options *options, struct vferry_error *err)
{
	(void) options;
	return vferry_error_set(err, -ENOTSUP, "seccomp", NULL,
				"this build has no filter of system calls: it was made without "
				"libseccomp");
}

#endif
