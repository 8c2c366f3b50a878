/* SPDX-License-Identifier: MIT */
/*
 * vferry_landlock.h - numbers of Landlock under our own names, so that they are at hand on every
 * build host. The comments name the interface version (ABI) and the kernel release each came in.
 * Where the host's headers define one, tests/unit/test_sandbox.c compares at compile time.
 */
#ifndef VFERRY_UAPI_LANDLOCK_H
#define VFERRY_UAPI_LANDLOCK_H

#include <stdint.h>

/* The same numbers on every architecture (5.13). */
#define VF_NR_LANDLOCK_CREATE_RULESET	444
#define VF_NR_LANDLOCK_ADD_RULE		445
#define VF_NR_LANDLOCK_RESTRICT_SELF	446

#define VF_LANDLOCK_CREATE_VERSION	(1u << 0)	/* create_ruleset: returns the ABI */
#define VF_LANDLOCK_RULE_PATH_BENEATH	1

/* Accesses to files; ABI 1, 5.13, where nothing else is said */
#define VF_LANDLOCK_EXECUTE		(1ull << 0)
#define VF_LANDLOCK_WRITE_FILE		(1ull << 1)
#define VF_LANDLOCK_READ_FILE		(1ull << 2)
#define VF_LANDLOCK_READ_DIR		(1ull << 3)
#define VF_LANDLOCK_REMOVE_DIR		(1ull << 4)
#define VF_LANDLOCK_REMOVE_FILE		(1ull << 5)
#define VF_LANDLOCK_MAKE_CHAR		(1ull << 6)
#define VF_LANDLOCK_MAKE_DIR		(1ull << 7)
#define VF_LANDLOCK_MAKE_REG		(1ull << 8)
#define VF_LANDLOCK_MAKE_SOCK		(1ull << 9)
#define VF_LANDLOCK_MAKE_FIFO		(1ull << 10)
#define VF_LANDLOCK_MAKE_BLOCK		(1ull << 11)
#define VF_LANDLOCK_MAKE_SYM		(1ull << 12)
#define VF_LANDLOCK_REFER		(1ull << 13)	/* ABI 2, 5.19 */
#define VF_LANDLOCK_TRUNCATE		(1ull << 14)	/* ABI 3, 6.2 */
#define VF_LANDLOCK_IOCTL_DEV		(1ull << 15)	/* ABI 5, 6.10 */

/* Accesses to TCP ports (ABI 4, 6.7) */
#define VF_LANDLOCK_BIND_TCP		(1ull << 0)
#define VF_LANDLOCK_CONNECT_TCP		(1ull << 1)

/* Whom outside of the domain it may reach (ABI 6, 6.12) */
#define VF_LANDLOCK_SCOPE_ABSTRACT_UNIX	(1ull << 0)
#define VF_LANDLOCK_SCOPE_SIGNAL	(1ull << 1)

struct vf_landlock_ruleset {
	uint64_t handled_access_fs;
	uint64_t handled_access_net;	/* ABI 4 */
	uint64_t scoped;		/* ABI 6 */
};

struct vf_landlock_path_beneath {
	uint64_t allowed_access;
	int32_t parent_fd;
} __attribute__((packed));

#endif
