/* SPDX-License-Identifier: MIT */
/*
 * vm.h - a machine with its run state, its migration parameters and its migrations.
 *
 * Model: the machine runs when its user wants it to (`cont`, `stop`) and no session holds it. What
 * the user wants is part of the machine's state (component `vmm`): a machine that was paused before a
 * migration is paused after it, on whichever side it then is. There is at most one outgoing session
 * and one incoming one; the incoming one is kept after it succeeded, since the source may still ask
 * how it ended.
 *
 * Threads: everything on the owner's thread. Sessions and vCPUs call from theirs; what they tell is
 * queued, and handed to the callbacks by vm_dispatch(). vm_get_fd() is readable when there is some.
 */
#ifndef VMM_VM_H
#define VMM_VM_H

#include <stdbool.h>
#include <stdint.h>

#include <vferry/error.h>
#include <vferry/session.h>

#include "machine.h"
#include "vm_trace.h"

#define VM_URI_BYTES 4200
#define VM_HOOK_BYTES 1024
#define VM_TLS_DIR_BYTES 1024
#define VM_TLS_HOST_BYTES 256
#define VM_TLS_ALLOW_BYTES 4096

struct vm;

/* Words of QEMU's RunState. */
enum vm_state {
	VM_PRELAUNCH = 0,
	VM_INMIGRATE = 1,
	VM_RUNNING = 2,
	VM_PAUSED = 3,
	VM_FINISH_MIGRATE = 4,
	VM_POSTMIGRATE = 5,
	VM_SHUTDOWN = 6,
	VM_INTERNAL_ERROR = 7,	/* stopped, because a device had an error; `cont` ends it */
};

const char *vm_state_name(enum vm_state state);

/* Whether a sentence names @object already, as a whole word; so if it is NULL or empty. */
bool vm_sentence_names(const char *sentence, const char *object);

/* Words of QEMU's ShutdownCause. */
enum vm_shutdown { VM_SHUTDOWN_GUEST, VM_SHUTDOWN_QMP, VM_SHUTDOWN_SIGNAL, VM_SHUTDOWN_ERROR };

const char *vm_shutdown_name(enum vm_shutdown reason);

/* Strings are "" if there is none. */
struct vm_parameters {
	struct vferry_parameters session;	/* strings are the VM's own: below */
	bool multifd;				/* session.channels counts; else one channel */
	char hook[VM_HOOK_BYTES];		/* program */
	char tls_creds[VM_TLS_DIR_BYTES];
	char tls_hostname[VM_TLS_HOST_BYTES];
	char tls_allow[VM_TLS_ALLOW_BYTES];	/* names, one a line */
};

struct vm_callbacks {
	void (*stopped)(void *user);
	void (*resumed)(void *user);
	void (*migration)(void *user, enum vferry_state state);
	void (*pass)(void *user, uint32_t pass);
	void (*console)(void *user, const char *line);
	/* A kernel's console as it is written, in place of lines. May be NULL. */
	void (*console_bytes)(void *user, const void *bytes, size_t count);
	void (*log)(void *user, const char *line);
	/* vm_should_quit() from now on. */
	void (*shutdown)(void *user, enum vm_shutdown reason);
};

struct hook_runner;

struct vm_options {
	struct machine_options machine;	/* borrowed while the VM lives; callbacks are the VM's own */
	const char *incoming;		/* URI, "defer", or NULL */
	const char *record_dir;		/* borrowed; or NULL */
	const char *hook;		/* borrowed; or NULL */
	/* No program can be started here: hooks are run by this process, if there is one. Borrowed. */
	bool sandboxed;
	struct hook_runner *hook_runner;
	struct vm_trace *trace;		/* what its migrations tell; borrowed; or NULL */
	uint64_t stall_timeout_ns;	/* of both directions; 0 = the library's default */
	const char *tls_creds;		/* borrowed; or NULL */
	const char *tls_allow;		/* borrowed; or NULL */
	bool insecure;			/* vferry_parameters.insecure */
	const struct vm_callbacks *callbacks;	/* borrowed */
	void *user;
};

/**
 * vm_new() - the machine, and if there is an incoming URI, a session that waits there
 * Return: 0; errors of machine_new() and of listening.
 */
int vm_new(const struct vm_options *options, struct vm **ret_vm, struct vferry_error *err);
/* Ends migrations (the source's machine is given back first), then the machine. Returns NULL. */
struct vm *vm_free(struct vm *vm);

int vm_get_fd(const struct vm *vm);
void vm_dispatch(struct vm *vm);
/* Runs it, unless it is incoming or to start paused. */
int vm_launch(struct vm *vm, struct vferry_error *err);
void vm_quit(struct vm *vm, enum vm_shutdown reason);
bool vm_should_quit(const struct vm *vm);
int vm_exit_code(const struct vm *vm);

enum vm_state vm_get_state(struct vm *vm);
struct machine *vm_machine(struct vm *vm);	/* borrowed until the next vm_ call */
/* Where a migration is awaited, with the real port; "defer"; NULL: not incoming. */
const char *vm_incoming_uri(const struct vm *vm);

int vm_stop(struct vm *vm, struct vferry_error *err);
int vm_cont(struct vm *vm, struct vferry_error *err);

struct vm_parameters *vm_parameters(struct vm *vm);	/* to read and to change */
/* Parameters changed: the running migration takes its limits over. */
void vm_parameters_changed(struct vm *vm);

/* Outgoing. @parameters: of this migration only; NULL: the VM's. */
int vm_migrate(struct vm *vm, const char *uri, const struct vm_parameters *parameters, bool check,
	       struct vferry_error *err);
int vm_migrate_incoming(struct vm *vm, const char *uri, struct vferry_error *err);
void vm_cancel(struct vm *vm);
int vm_continue(struct vm *vm, struct vferry_error *err);
int vm_resolve(struct vm *vm, const char *peer, bool fenced_destination, struct vferry_error *err);

struct vm_migration {
	struct vferry_session *session;	/* borrowed until the next vm_ call */
	bool incoming;
	bool check;
	struct vferry_status status;
	const char *trace;		/* file that tells of its failure; NULL: none; borrowed */
};

/* The migration under way, or else the last one. Return: 0; -ENOENT there was none. */
int vm_get_migration(struct vm *vm, struct vm_migration *ret);
/**
 * vm_describe_plan() - the plan of this machine, in its present configuration
 * Return: 0 and a string that the caller frees.
 */
int vm_describe_plan(struct vm *vm, enum vferry_phase phase, enum vferry_plan_format format,
		     char **ret_text, struct vferry_error *err);

/*
 * vm_judge() - machine_judge() on a thread of its own; @done comes from vm_dispatch()
 * Return: 0; -EBUSY one is under way; -EAGAIN no thread.
 */
int vm_judge(struct vm *vm, uint64_t timeout_ns,
	     void (*done)(void *user, int ret, const struct machine_verdict *verdict,
			  const struct vferry_error *err),
	     void *user, struct vferry_error *err);

#endif
