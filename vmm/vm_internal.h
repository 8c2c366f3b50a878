/* SPDX-License-Identifier: MIT */
/*
 * vm_internal.h - what the files of the VM share.
 *
 *   vm.c           life, run state, the queue of news
 *   vm_session.c   sessions: their callbacks, the component `vmm`, what follows when one ends
 *
 * Locks: `run_lock` covers stopping and starting the machine and everything marked so; it may be
 * held for as long as machine_stop() takes. `queue_lock` covers the queue only, and is a leaf.
 */
#ifndef VMM_VM_INTERNAL_H
#define VMM_VM_INTERNAL_H

#include <pthread.h>

#include "listen.h"
#include "vm.h"

#define VM_CONSOLE_LINES_MAX 1024u	/* queued; what comes beyond is counted and dropped */
#define VM_CONSOLE_BYTES_MAX 65536u	/* the same for a kernel's console */

enum vm_news_kind {
	VM_NEWS_STOPPED,
	VM_NEWS_RESUMED,
	VM_NEWS_MIGRATION,	/* number: state */
	VM_NEWS_PASS,		/* number */
	VM_NEWS_CONSOLE,	/* text */
	VM_NEWS_LOG,		/* text */
	VM_NEWS_POWER_OFF,
	VM_NEWS_RESET,
	VM_NEWS_DEVICE_ERROR,	/* text: which */
	VM_NEWS_SESSION,	/* a session's status may have changed */
};

struct vm_news {
	struct vm_news *next;
	enum vm_news_kind kind;
	uint32_t number;
	char text[];
};

/* One session, and what its callbacks need. */
struct vm_side {
	struct vm *vm;
	struct vferry_session *session;
	struct vferry_machine_ops ops;
	bool incoming;
	bool check;
	bool touched;			/* incoming: loading began */
	uint64_t turned_away_next;	/* which connection turned away is told next */
	bool file;			/* to or from a file */
	bool unknown;			/* its outcome is, or was, and that was told */
	bool trace_kept;		/* or tried to */
	const char *trace_path;		/* where what led to its failure was written */
	bool ended;			/* its outcome was dealt with; an unknown one may still change */
	char hook[VM_HOOK_BYTES];
	/* run_lock: */
	bool holds;			/* the session stopped the machine */
	bool loaded_wanted;		/* incoming: what the source's user wanted */
};

struct vm_judging {
	pthread_t thread;
	bool active;
	struct vm *vm;
	uint64_t timeout_ns;
	void (*done)(void *user, int ret, const struct machine_verdict *verdict,
		     const struct vferry_error *err);
	void *user;
	/* of the thread, until `finished` */
	struct machine_verdict verdict;
	struct vferry_error err;
	int ret;
	bool finished;			/* queue_lock */
};

struct vm {
	struct vm_options options;
	struct machine_callbacks machine_callbacks;
	struct machine *machine;
	struct vm_parameters parameters;
	struct vm_side *outgoing, *incoming;
	struct vm_listener *listener;
	struct vm_side *last;		/* the one that was started last; borrowed */
	char incoming_uri[VM_LISTEN_URI_BYTES];	/* "" = not incoming */
	bool launched;			/* ran once, or was loaded */
	bool failed;			/* a device had an error, and nobody has said `cont` since */
	bool awaits_uri;		/* incoming "defer", migrate-incoming not given yet */
	bool quit;
	int exit_code;
	enum vm_shutdown reason;
	bool power_off;			/* the guest's; the end of a migration is awaited */
	uint64_t resets, resets_next;	/* the guest's, ever; the next one that is told of */
	struct vm_judging judging;
	int epoll_fd, event_fd;

	pthread_mutex_t run_lock;
	bool wanted;			/* run_lock: the user wants it to run */

	pthread_mutex_t queue_lock;
	struct vm_news *first, **end;	/* queue_lock, with all that follows */
	uint32_t console_lines;
	uint64_t console_lost;		/* lines, or bytes of a kernel's */
	/* Owned: a kernel's console, VM_CONSOLE_BYTES_MAX each; NULL: lines. One is filled, the other read. */
	char *console, *console_read;
	size_t console_bytes;
};

void vm_tell(struct vm *vm, enum vm_news_kind kind, uint32_t number, const char *text);
/* run_lock held. */
int vm_stop_locked(struct vm *vm, struct vferry_error *err);
int vm_start_locked(struct vm *vm, struct vferry_error *err);
int vm_make_machine(struct vm *vm, struct vferry_error *err);
void vm_log(struct vm *vm, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* vm_session.c */
int vm_side_new(struct vm *vm, bool incoming, const struct vm_parameters *parameters, bool check,
		struct vm_side **ret_side, struct vferry_error *err);
struct vm_side *vm_side_free(struct vm_side *side);
int vm_accept(struct vm *vm, const char *uri, struct vferry_error *err);
void vm_sessions_dispatch(struct vm *vm);
bool vm_side_active(const struct vm_side *side);
void vm_power_off_done(struct vm *vm);

/* vm_hook.c */
const char *vm_hook_word(enum vferry_hook hook);	/* what the program is told; NULL: no such hook */
/* Runs "@program @word" and waits. Return: 0; -ECANCELED it failed; -ETIMEDOUT; -errno. */
int vm_hook_run(const char *program, const char *word, struct vferry_error *err);

#endif
