/* SPDX-License-Identifier: MIT */
/*
 * sandbox.h - a process that reads bytes of others gives up what it does not need.
 *
 * Model: sandbox_enter() is called once, before the process has a second thread and before it read
 * a byte of a peer, and can't be undone. In this order:
 *
 *   privileges   no new ones (PR_SET_NO_NEW_PRIVS), and no capability is kept, not even root's
 *   files        Landlock, where the kernel has it: nothing but the given paths can be opened
 *   calls        a seccomp filter, made from the table in calls.c: any other system call ends the
 *                process
 *
 * A filter can be tightened, never widened, and a machine that came in today is the source of
 * tomorrow: so there is one filter for the whole life of a process, and what it can't have (running
 * a hook) is done by a process that was started before.
 *
 * Threads: the one that there is.
 */
#ifndef VF_SANDBOX_SANDBOX_H
#define VF_SANDBOX_SANDBOX_H

#include <stdbool.h>
#include <stddef.h>

#include <vferry/error.h>

enum sandbox_mode {
	SANDBOX_DEFAULT = 0,	/* as ON; a build without libseccomp says so and goes on */
	SANDBOX_ON,		/* fails where there is no filter of system calls */
	SANDBOX_OFF,
	SANDBOX_LOG,		/* what the filter would forbid is allowed, and the kernel logs it */
};

enum sandbox_role {
	SANDBOX_MACHINE = 1u << 0,	/* vferry run */
	SANDBOX_DEVICE = 1u << 1,	/* vferry device */
	SANDBOX_KVM = 1u << 2,		/* with MACHINE: /dev/kvm was opened */
	SANDBOX_VFIO = 1u << 3,		/* with MACHINE: it has devices of the kernel's VFIO */
};

/* What may be done beneath a path. */
enum sandbox_access {
	SANDBOX_READ = 1u << 0,
	SANDBOX_WRITE = 1u << 1,	/* files: made, written, renamed, removed */
	SANDBOX_SOCKET = 1u << 2,	/* unix sockets: made and removed */
	SANDBOX_NODE = 1u << 3,		/* device nodes: opened for writing, and their ioctls */
};

#define SANDBOX_PATHS_MAX 64u

struct sandbox_path {
	int fd;			/* O_PATH; closed by sandbox_enter() */
	unsigned access;
};

struct sandbox_options {
	enum sandbox_mode mode;
	unsigned role;			/* enum sandbox_role */
	struct sandbox_path paths[SANDBOX_PATHS_MAX];
	size_t path_count;
};

/* What was reached, for a line to the user. */
struct sandbox_result {
	bool seccomp;
	int landlock;		/* its ABI, 0 = this kernel has none */
};

/** sandbox_mode_parse() - "on", "off", "log". Return: 0; -EINVAL. */
int sandbox_mode_parse(const char *word, enum sandbox_mode *ret_mode);
/**
 * sandbox_allow() - a path, and what is beneath it
 * It is looked up now. One that is not there, or NULL, is left out: it can't be opened later either.
 * Return: 0; -E2BIG.
 */
int sandbox_allow(struct sandbox_options *options, const char *path, unsigned access);
/* The same for the directory that @path is in. Return: 0; -E2BIG; -ENAMETOOLONG. */
int sandbox_allow_parent(struct sandbox_options *options, const char *path, unsigned access);
/**
 * sandbox_enter() - for the rest of the process's life
 * Return: 0; -ENOTSUP this build or kernel has no filter of system calls; -errno. After a failure
 * part of it may be in force: the process should end.
 */
int sandbox_enter(struct sandbox_options *options, struct sandbox_result *ret_result,
		  struct vferry_error *err);

#endif
