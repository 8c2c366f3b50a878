/* SPDX-License-Identifier: MIT */
/*
 * vferry/session.h - one migration, on one side.
 *
 * The embedder makes a session, adds its components, RAM, devices and interrupt plan, and starts it
 * as source (vferry_session_migrate) or destination (vferry_session_accept). A session is used once;
 * a failed source makes a new one and may try again at once. The session owns its threads; the
 * embedder watches the descriptor of vferry_session_get_fd() or waits.
 *
 * Promises: before COMMIT any failure ends with the source running as it was (a device that had to
 * be reset is reported as lost). After COMMIT the source never runs by itself again. At most one
 * side ever runs the machine. See docs/handover.md.
 *
 * Threads: all functions may be called from any thread, but not from a callback of the session.
 */
#ifndef VFERRY_SESSION_H
#define VFERRY_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <vferry/component.h>
#include <vferry/device.h>
#include <vferry/error.h>
#include <vferry/ram.h>
#include <vferry/trust.h>

#ifdef __cplusplus
extern "C" {
#endif

struct vferry_session;

/* The words are those of QEMU's MigrationStatus. */
enum vferry_state {
	VFERRY_STATE_NONE = 0,
	VFERRY_STATE_SETUP = 1,
	VFERRY_STATE_ACTIVE = 2,
	VFERRY_STATE_PRE_SWITCHOVER = 3,
	VFERRY_STATE_DEVICE = 4,
	VFERRY_STATE_COMPLETED = 5,
	VFERRY_STATE_CANCELLING = 6,
	VFERRY_STATE_CANCELLED = 7,
	VFERRY_STATE_FAILED = 8,
};

/** vferry_state_name() - "pre-switchover". Return: static string. */
const char *vferry_state_name(enum vferry_state state);

/* How a session ended; the numbers are the exit codes of the command line. */
enum vferry_outcome {
	VFERRY_OUTCOME_PENDING = -1,
	VFERRY_OUTCOME_DONE = 0,
	VFERRY_OUTCOME_REFUSED = 2,		/* not migratable, or bad input; nothing changed */
	VFERRY_OUTCOME_FAILED = 3,		/* the source runs on */
	VFERRY_OUTCOME_CANCELLED = 4,		/* the source runs on */
	VFERRY_OUTCOME_UNKNOWN = 5,		/* start neither side; see resolve */
	VFERRY_OUTCOME_FAILED_AFTER = 6,	/* failed after hand-over */
};

enum vferry_policy {
	VFERRY_POLICY_THROTTLE = 0,	/* slow the vCPUs down until it converges */
	VFERRY_POLICY_CONTINUE = 1,	/* go on until it converges or times out */
	VFERRY_POLICY_GIVE_UP = 2,	/* fail as soon as it is clear that it will not converge */
};

enum vferry_compression {
	VFERRY_COMPRESSION_NONE = 0,
	VFERRY_COMPRESSION_LZ4 = 1,
	VFERRY_COMPRESSION_ZSTD = 2,
};

struct vferry_parameters {
	uint32_t size;
	uint64_t max_downtime_ns;	/* no switch-over unless the expected pause fits; default 300 ms */
	uint64_t pause_budget_ns;	/* PREPARED not reached within: roll back; 0 = 10 x downtime */
	uint64_t bandwidth;		/* bytes a second, 0 = unlimited */
	uint64_t timeout_ns;		/* of the whole until COMMIT; 0 = none */
	/* Peer silent, or a device stuck in its initial bytes, for so long: failed; 1 s or more, default
	 * 30 s; 0 = never. */
	uint64_t stall_timeout_ns;
	uint32_t channels;		/* connections, 1..16; default 1 */
	enum vferry_compression compression;
	enum vferry_policy policy;
	bool verify;			/* compare a digest of all RAM, outside the measured pause */
	bool check_only;		/* end after the destination accepted or refused */
	bool hold_before_switchover;	/* wait in pre-switchover for vferry_session_continue() */
	/*
	 * Destination: an existing directory, where `ran` or `aborted` is recorded; NULL: none. Sessions
	 * and processes may share it; a later one answers for one that died: docs/handover.md.
	 */
	const char *record_dir;
	/*
	 * TLS on every connection: a directory with the file names of QEMU and libvirt (docs/security.md);
	 * NULL: plain. Strings are copied. A file is never encrypted.
	 */
	const char *tls_creds;
	const char *tls_hostname;	/* source: in the destination's certificate; NULL: the URI's host */
	const char *tls_allow;		/* destination: names that may come, one a line; NULL: all known */
	bool insecure;			/* plain tcp beyond this host is meant */
	/*
	 * unix: who may be the other side; zeros: this user and root. A socket that the library makes has
	 * mode 0600 all the same. A connection that was handed over (fd:N) is not checked.
	 */
	struct vferry_trust trust;
};

#define VFERRY_PARAMETERS_INIT { .size = sizeof(struct vferry_parameters), \
	.max_downtime_ns = 300000000, .stall_timeout_ns = 30000000000, .channels = 1 }

enum vferry_hook {
	VFERRY_HOOK_BEFORE_SWITCHOVER = 0,	/* failing cancels the migration */
	VFERRY_HOOK_AFTER_COMMIT = 1,
	VFERRY_HOOK_AFTER_ROLLBACK = 2,
};

struct vferry_machine_ops {
	uint32_t size;
	/* All vCPUs out of every ioctl and parked / running again. On a session thread. */
	int (*stop)(void *user, struct vferry_error *err);
	int (*start)(void *user, struct vferry_error *err);
	/* Pending MMIO and PIO of each stopped vCPU completed, in the VMM too. NULL: stop() does. */
	int (*complete_io)(void *user, struct vferry_error *err);
	/* Share of time, in percent, that vCPUs must not run; 0 = full speed. */
	void (*throttle)(void *user, unsigned percent);
	/* What the library cannot move (a switch port, a storage lock). May be NULL. */
	int (*hook)(void *user, enum vferry_hook hook, struct vferry_error *err);
	/* Told of each change, on the session's thread. May be NULL. */
	void (*state_changed)(void *user, enum vferry_state state);
	void (*pass_began)(void *user, uint32_t pass);
};

int vferry_session_new(const struct vferry_machine_ops *ops, void *user,
		       struct vferry_session **ret_session, struct vferry_error *err);
/* Waits for its threads; a session still under way is cancelled first. Returns NULL. */
struct vferry_session *vferry_session_free(struct vferry_session *session);

/* Before the start. The component struct is copied; what it points to is borrowed. -EEXIST: name. */
int vferry_session_add_component(struct vferry_session *session,
				 const struct vferry_component *component,
				 struct vferry_error *err);
int vferry_session_set_ram(struct vferry_session *session, struct vferry_ram *ram);
int vferry_session_add_device(struct vferry_session *session, struct vferry_device *device,
			      struct vferry_error *err);
int vferry_session_set_irq_plan(struct vferry_session *session, struct vferry_irq_plan *plan);
int vferry_session_set_parameters(struct vferry_session *session,
				  const struct vferry_parameters *parameters,
				  struct vferry_error *err);
/* Also while it runs: downtime limit and bandwidth only. */
int vferry_session_set_limits(struct vferry_session *session, uint64_t max_downtime_ns,
			      uint64_t bandwidth);
/*
 * Source: section @first of @first_component must be loaded before section @then of @then_component,
 * beyond what the order rules say. Sent along; the destination refuses a cycle at setup. Up to 256.
 * Return: 0; -ENOENT no such component or section; -EINVAL a section on itself; -E2BIG; -EBUSY.
 */
int vferry_session_add_dependency(struct vferry_session *session, const char *first_component,
				  uint32_t first, const char *then_component, uint32_t then,
				  struct vferry_error *err);
/* What both sides must agree on besides components: "soft-arm64-v1". */
int vferry_session_set_machine(struct vferry_session *session, const char *description);

/* ---- source ---- */

/**
 * vferry_session_migrate() - start moving the machine to @uri
 * @uri: tcp:HOST:PORT, unix:PATH, fd:N or file:PATH (saves; the machine stays stopped at the end)
 *
 * Returns at once. Return: 0; -EBUSY used before; -EINVAL.
 */
int vferry_session_migrate(struct vferry_session *session, const char *uri,
			   struct vferry_error *err);
/* Before COMMIT it ends with the source running; after it -EALREADY. */
int vferry_session_cancel(struct vferry_session *session);
int vferry_session_continue(struct vferry_session *session);	/* leave pre-switchover */
/*
 * After an outcome unknown. @peer: where the destination answers; its answer decides (source only).
 * Or NULL, with the word of somebody who fenced one side off for good; @fenced_destination says which:
 * a source whose destination is fenced takes the machine back, a PREPARED destination whose source
 * is fenced runs it, and the fenced side gives it up. -EINVAL: nothing of the kind was started, or
 * the outcome is known; -EBUSY: a destination does not take its source for fenced while the link is
 * there. A destination that holds a machine so has the outcome VFERRY_OUTCOME_UNKNOWN, but did not end.
 */
int vferry_session_resolve(struct vferry_session *session, const char *peer,
			   bool fenced_destination, struct vferry_error *err);

/* ---- destination ---- */

/**
 * vferry_session_accept() - listen at @uri (or load file:PATH) and take a machine
 * The machine's devices and RAM exist; vCPUs were never started. Returns at once. Until start() nobody
 * else touches RAM: where it is fresh, a thread that does may have to wait for the page (userfaultfd(2)),
 * and a system call fails with EFAULT.
 */
int vferry_session_accept(struct vferry_session *session, const char *uri,
			  struct vferry_error *err);

/* ---- both ---- */

/* Readable while there is something new; drained by vferry_session_get_status(). Borrowed. */
int vferry_session_get_fd(const struct vferry_session *session);
/* Until it ended or @timeout_ns passed (0 = for ever). Return: 0 ended; -ETIMEDOUT. */
int vferry_session_wait(struct vferry_session *session, uint64_t timeout_ns);

/* How the connections of a migration are protected, once they are there. */
struct vferry_tls_status {
	bool encrypted;			/* by TLS 1.3, all of them */
	bool psk;			/* known by a shared key, else by a certificate */
	char cipher[64];		/* "TLS_AES_256_GCM_SHA384" */
	char peer[256];			/* its certificate's names, or the key's user */
	uint32_t kernel_channels;	/* connections for which the kernel encrypts what is sent */
};

struct vferry_status {
	enum vferry_state state;
	enum vferry_outcome outcome;
	bool owner;			/* this side may run the machine */
	uint32_t pass;			/* RAM round, from 1 */
	uint64_t ram_total_bytes;
	uint64_t ram_remaining_bytes;
	uint64_t ram_sent_bytes;	/* bytes of page frames on the wire */
	uint64_t pages_normal;
	uint64_t pages_zero;
	uint64_t device_sent_bytes;
	uint64_t section_bytes;
	uint64_t dirty_pages_rate;	/* pages a second, last round */
	uint64_t rate;			/* bytes a second, measured */
	unsigned throttle_percent;
	uint64_t started_ns;		/* CLOCK_MONOTONIC */
	uint64_t setup_ns;		/* how long setup took */
	uint64_t total_ns;		/* until now, or until the end */
	bool expected_downtime_known;
	uint64_t expected_downtime_ns;
	uint32_t expected_downtime_unknown_terms;	/* > 0: the figure is a lower bound */
	bool downtime_known;
	uint64_t downtime_ns;		/* vCPUs stopped here to vCPUs running there */
	char forecast[160];		/* why it will not converge, once that is clear; else "" */
	bool device_lost;		/* a device was reset and its state is gone */
	char uri[128];			/* where a destination listens, with the real port */
	struct vferry_tls_status tls;
	uint64_t turned_away;		/* connections to a destination that were no channel of its source */
	struct vferry_error turned_away_error;	/* of the last one */
	/* Why it ended as it did. Before that: a prepared destination lost the source, and waits. */
	struct vferry_error error;
};

void vferry_session_get_status(struct vferry_session *session, struct vferry_status *ret_status);

/* One step as it was executed, or as planned. */
struct vferry_step_report {
	char component[VFERRY_NAME_BYTES];
	char name[32];
	enum vferry_step_class step_class;
	bool remote;			/* executed on the other side */
	bool done;
	uint64_t start_ns;		/* since vCPUs stopped (pause) or since the start (live) */
	uint64_t end_ns;
	uint64_t bytes;
	uint32_t thread;		/* number of the session's thread, from 0 */
	bool predicted_known;
	uint64_t predicted_ns;
	bool in_pause;
};

/** vferry_session_report() - steps of both sides; @steps belongs to the caller, free(). */
int vferry_session_report(struct vferry_session *session, struct vferry_step_report **ret_steps,
			  size_t *ret_count);

/* Vectors @first to @first + @count - 1 of a device, of which all the same is true. */
struct vferry_vector_run {
	uint32_t first;
	uint32_t count;
	bool connected;			/* else the guest masked them, or did not set them up */
	enum vferry_forwarded forwarded;	/* delivered by hardware; NO if not connected */
	char reason[VFERRY_REASON_BYTES];	/* why not, or why it is not known; "" if forwarded */
};

/* The vectors of a device at one time on one side. */
struct vferry_vectors {
	uint32_t vectors;		/* that the guest enabled */
	uint32_t connected;		/* of these; and of the connected ones: */
	uint32_t forwarded;		/* delivered by hardware */
	uint32_t unknown;		/* nobody can tell; the others are not forwarded */
	uint32_t run_count;
	const struct vferry_vector_run *runs;	/* all vectors, from 0 on */
};

struct vferry_device_interrupts {
	char address[16];		/* the guest's, "00:04.0" */
	struct vferry_vectors before;	/* zeros: not known */
	struct vferry_vectors after;
	/* Forwarded before, and connected after, ... */
	uint32_t lost;			/* ... but not forwarded: an interrupt takes the slow way now */
	uint32_t doubtful;		/* ... and whether it is forwarded is not known */
};

enum vferry_known {
	VFERRY_KNOWN_NOT = 0,		/* and will not be */
	VFERRY_KNOWN_SOON = 1,		/* the other side is about to tell: ask again */
	VFERRY_KNOWN = 2,
};

/* What became of the interrupts of each device: see vferry_session_interrupts(). */
struct vferry_interrupts {
	enum vferry_known before;	/* on the source, when its vCPUs were about to stop */
	enum vferry_known after;	/* on the destination, when it ran */
	char before_reason[VFERRY_REASON_BYTES];	/* why it is not known (yet), a few words */
	char after_reason[VFERRY_REASON_BYTES];
	size_t device_count;
	const struct vferry_device_interrupts *devices;
};

/**
 * vferry_session_interrupts() - who delivers the interrupts of each device, before and after
 * @ret_interrupts: one block of memory; the caller's, free()
 *
 * A source that is done has both sides, a destination its own. The destination tells when it has said
 * that it runs, and nothing waits for that: `after` is KNOWN_SOON on a source that is done already, for
 * 5 s at the most, and the descriptor of the session becomes readable when it came. A destination of
 * an older version does not tell, and nobody does for a saved machine. Each side asks its interrupt
 * controller once, outside of the pause.
 *
 * Any thread. Return: 0; -ENOMEM.
 */
int vferry_session_interrupts(struct vferry_session *session,
			      struct vferry_interrupts **ret_interrupts);

/**
 * vferry_session_reasons() - why the machine was not taken: every reason, none cut short
 * @ret_reasons: @ret_count of them with id, object and message; the caller's, free()
 * @ret_dropped: how many more there were, beyond the bound of 256; may be NULL
 *
 * Both sides have them once the destination refused; else there are none. The status has their
 * beginning, as one sentence. Return: 0; -ENOMEM.
 */
int vferry_session_reasons(struct vferry_session *session, struct vferry_error **ret_reasons,
			   size_t *ret_count, size_t *ret_dropped);

enum vferry_plan_format { VFERRY_PLAN_TEXT, VFERRY_PLAN_JSON, VFERRY_PLAN_DOT };

/**
 * vferry_session_describe_plan() - the plan of this machine for one phase, with rules and reasons
 * Return: 0 and a string that the caller frees; -ELOOP, -ENOENT as at setup.
 */
int vferry_session_describe_plan(struct vferry_session *session, enum vferry_phase phase,
				 enum vferry_plan_format format, char **ret_text,
				 struct vferry_error *err);

#ifdef __cplusplus
}
#endif
#endif
