/* SPDX-License-Identifier: MIT */
/* landlock.c - which paths can be opened, made or removed; and no TCP for a device. */
#define _GNU_SOURCE
#include "internal.h"

#include <errno.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "vferry_landlock.h"

/* Of a rule for a file that is no directory, the kernel takes these only. */
#define OF_FILES (VF_LANDLOCK_READ_FILE | VF_LANDLOCK_WRITE_FILE | VF_LANDLOCK_TRUNCATE | \
		  VF_LANDLOCK_IOCTL_DEV)

static uint64_t handled(int abi)
{
	uint64_t all = (VF_LANDLOCK_MAKE_SYM << 1) - 1;

	if (abi >= 2)
		all |= VF_LANDLOCK_REFER;
	if (abi >= 3)
		all |= VF_LANDLOCK_TRUNCATE;
	if (abi >= 5)
		all |= VF_LANDLOCK_IOCTL_DEV;
	return all;
}

static uint64_t rights_of(unsigned access)
{
	uint64_t rights = 0;

	if (access & SANDBOX_READ)
		rights |= VF_LANDLOCK_READ_FILE | VF_LANDLOCK_READ_DIR;
	if (access & SANDBOX_WRITE)
		rights |= VF_LANDLOCK_READ_FILE | VF_LANDLOCK_READ_DIR | VF_LANDLOCK_WRITE_FILE |
			  VF_LANDLOCK_MAKE_REG | VF_LANDLOCK_REMOVE_FILE | VF_LANDLOCK_TRUNCATE;
	if (access & SANDBOX_SOCKET)
		rights |= VF_LANDLOCK_MAKE_SOCK | VF_LANDLOCK_REMOVE_FILE;
	if (access & SANDBOX_NODE)
		rights |= VF_LANDLOCK_READ_FILE | VF_LANDLOCK_READ_DIR | VF_LANDLOCK_WRITE_FILE |
			  VF_LANDLOCK_IOCTL_DEV;
	return rights;
}

static int add_path(int ruleset, int abi, const struct sandbox_path *path)
{
	struct vf_landlock_path_beneath rule = {
		.allowed_access = rights_of(path->access) & handled(abi), .parent_fd = path->fd,
	};
	struct stat st;

	if (fstat(path->fd, &st))
		return -errno;
	if (!S_ISDIR(st.st_mode))
		rule.allowed_access &= OF_FILES;
	if (!rule.allowed_access)
		return 0;
	return syscall(VF_NR_LANDLOCK_ADD_RULE, ruleset, VF_LANDLOCK_RULE_PATH_BENEATH, &rule, 0)
		       ? -errno : 0;
}

int sandbox_restrict_files(const struct sandbox_options *options, struct vferry_error *err)
{
	int abi = (int) syscall(VF_NR_LANDLOCK_CREATE_RULESET, NULL, 0, VF_LANDLOCK_CREATE_VERSION);
	struct vf_landlock_ruleset wanted = { .handled_access_fs = handled(abi) };
	size_t size = abi >= 6 ? sizeof(wanted) : abi >= 4 ? 16 : 8;
	int ruleset, ret = 0;

	if (abi <= 0)
		return 0;	/* ENOSYS; or EOPNOTSUPP: it was switched off at boot */
	if (abi >= 4 && options->role == SANDBOX_DEVICE)
		wanted.handled_access_net = VF_LANDLOCK_BIND_TCP | VF_LANDLOCK_CONNECT_TCP;
	if (abi >= 6)
		wanted.scoped = VF_LANDLOCK_SCOPE_ABSTRACT_UNIX | VF_LANDLOCK_SCOPE_SIGNAL;
	ruleset = (int) syscall(VF_NR_LANDLOCK_CREATE_RULESET, &wanted, size, 0);
	if (ruleset < 0)
		ret = -errno;
	for (size_t i = 0; i < options->path_count && !ret; i++)
		ret = add_path(ruleset, abi, &options->paths[i]);
	if (!ret && syscall(VF_NR_LANDLOCK_RESTRICT_SELF, ruleset, 0))
		ret = -errno;
	if (ruleset >= 0)
		(void) close(ruleset);
	return ret ? vferry_error_set(err, ret, "landlock", NULL, "cannot restrict files: %s",
				      vferry_errno_name(ret)) : abi;
}
