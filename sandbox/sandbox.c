/* SPDX-License-Identifier: MIT */
/* sandbox.c - see sandbox.h: the order of things, and the privileges. */
#define _GNU_SOURCE
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* What the C library may want to read: names of hosts, and the configuration of TLS. */
static const char *const system_paths[] = {
	"/etc", "/usr", "/lib", "/lib64", "/run/systemd/resolve", "/run/resolvconf", "/run/NetworkManager",
	"/sys/devices/system/cpu",
	"/proc/sys/kernel/random/boot_id",	/* is it the same host, since the same boot */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	"/proc",
#endif
};

int sandbox_mode_parse(const char *word, enum sandbox_mode *ret_mode)
{
	static const char *const words[] = {
		[SANDBOX_ON] = "on", [SANDBOX_OFF] = "off", [SANDBOX_LOG] = "log",
	};

	for (int i = SANDBOX_ON; i <= SANDBOX_LOG; i++)
		if (!strcmp(words[i], word)) {
			*ret_mode = (enum sandbox_mode) i;
			return 0;
		}
	return -EINVAL;
}

int sandbox_allow(struct sandbox_options *options, const char *path, unsigned access)
{
	int fd = path ? open(path, O_PATH | O_CLOEXEC) : -1;

	if (fd < 0)
		return 0;
	if (options->path_count == SANDBOX_PATHS_MAX) {
		(void) close(fd);
		return -E2BIG;
	}
	options->paths[options->path_count++] = (struct sandbox_path) { fd, access };
	return 0;
}

int sandbox_allow_parent(struct sandbox_options *options, const char *path, unsigned access)
{
	const char *slash = path ? strrchr(path, '/') : NULL;
	char parent[PATH_MAX] = ".";
	size_t length = slash > path ? (size_t) (slash - path) : 1;	/* "/x": "/" */

	if (!path)
		return 0;
	if (length >= sizeof(parent))
		return -ENAMETOOLONG;
	if (slash)
		(void) snprintf(parent, sizeof(parent), "%.*s", (int) length, path);
	return sandbox_allow(options, parent, access);
}

/* ---- privileges ---- */

/* Raw, since libcap is not worth a dependency: version 3 has two words of each set. */
static int drop_capabilities(struct vferry_error *err)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct none[2] = { { 0 } };

	for (int cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
		(void) prctl(PR_CAPBSET_DROP, cap, 0, 0, 0);	/* -EPERM: there is none to be dropped */
	(void) prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	if (syscall(SYS_capset, &header, none))
		return vferry_error_set(err, -errno, "capabilities", NULL,
					"cannot drop capabilities: %s", vferry_errno_name(errno));
	return 0;
}

/* ---- all of it ---- */

static int restrict_files(struct sandbox_options *options, struct vferry_error *err)
{
	int ret = 0;

	for (size_t i = 0; i < sizeof(system_paths) / sizeof(system_paths[0]) && !ret; i++)
		if ((options->role & SANDBOX_MACHINE) || !strcmp(system_paths[i], "/proc"))
			ret = sandbox_allow(options, system_paths[i], SANDBOX_READ);
	if (ret)
		return vferry_error_set(err, ret, "sandbox", NULL, "more than %u paths",
					SANDBOX_PATHS_MAX);
	return sandbox_restrict_files(options, err);
}

static int enter(struct sandbox_options *options, struct sandbox_result *result,
		 struct vferry_error *err)
{
	int ret;

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return vferry_error_set(err, -errno, "no-new-privileges", NULL,
					"cannot give up new privileges: %s", vferry_errno_name(errno));
	ret = drop_capabilities(err);
	if (!ret)
		ret = restrict_files(options, err);
	if (ret < 0)
		return ret;
	result->landlock = ret;
	ret = sandbox_restrict_calls(options, err);
	result->seccomp = !ret;
	if (ret == -ENOTSUP && options->mode == SANDBOX_DEFAULT) {
		vferry_error_clear(err);
		ret = 0;
	}
	return ret;
}

int sandbox_enter(struct sandbox_options *options, struct sandbox_result *ret_result,
		  struct vferry_error *err)
{
	int ret;

	*ret_result = (struct sandbox_result) { 0 };
	ret = options->mode == SANDBOX_OFF ? 0 : enter(options, ret_result, err);
	while (options->path_count)
		(void) close(options->paths[--options->path_count].fd);
	return ret;
}
