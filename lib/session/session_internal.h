/* SPDX-License-Identifier: MIT */
/*
 * session_internal.h - what the files of lib/session share.
 *
 *   session.c      the public functions, the event queue, the status
 *   steps.c        plans from components; struct vferry_step; how a component's step runs
 *   source.c       source: carries out the engine's actions; source_work.c its plans' steps,
 *                  source_link.c its channels, source_answers.c what comes back on them,
 *                  source_file.c a file in place of them
 *   destination.c  destination, likewise; destination_machine.c what it accepts,
 *                  destination_accept.c who may connect, destination_link.c its channels and
 *                  frames, destination_file.c a file, destination_record.c what it promised
 *   link.c         both sides: connections, plain or TLS, and who may join
 *   report.c       steps as executed, plans as text
 *   interrupts.c   whether vectors are forwarded, before and after
 *   record.c       the files of `ran` and `aborted`; see record.h
 *   trace_dump.c   the trace as text and JSON
 *
 * Threads: one session thread owns the engine's state machine and everything without a lock of its
 * own. All others hand it events. `lock` protects the queue, the status and the ended flag; it is
 * never held while a callback, a step or a system call that may block runs.
 */
#ifndef VF_SESSION_INTERNAL_H
#define VF_SESSION_INTERNAL_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <vferry/session.h>
#include <vferry/trace.h>

#include "base/trace.h"
#include "engine/order.h"
#include "engine/status.h"
#include "session/executor.h"
#include "session/stream_sink.h"
#include "session/stream_source.h"
#include "transfer/channel.h"
#include "transfer/uri.h"
#include "wire/message.h"

#define VF_MAX_DEVICES 64
#define VF_PARAMETER_STRINGS 4	/* record_dir, tls_... */
#define VF_EVENTS_FIRST 64	/* the queue's size; it doubles ... */
#define VF_EVENTS_MOST 4096	/* ... up to here, then posting waits */

struct vf_session_component {
	struct vferry_component desc;	/* name and device point below */
	char name[VFERRY_NAME_BYTES];
	char device[VFERRY_NAME_BYTES];
	uint32_t index;			/* here; on the source also on the wire */
	uint32_t remote;		/* destination: index on the wire, VF_NO_COMPONENT */
	struct vf_stream_source *stream_source;
	struct vf_stream_sink *stream_sink;
	uint32_t restarts_due;		/* destination's lock: RESTARTs its load step has not seen */
};

struct vf_tls_creds;

struct vf_event {
	uint32_t kind;			/* of the engine's machine of this side, or the side's own */
	uint32_t component;
	uint32_t generation;
	uint64_t number;
	uint64_t bandwidth;		/* new limits: bytes a second */
	bool flag;
	bool has_error;
	struct vferry_error error;
};

/* The two sides: what session.c asks of them. */
struct vf_side_ops {
	/* The session thread's life. */
	void (*run)(struct vferry_session *session);
	int (*cancel)(struct vferry_session *session);
	void (*free)(struct vferry_session *session);
	/* Adds figures to a status that is filled in otherwise; lock held. */
	void (*status)(struct vferry_session *session, struct vferry_status *status);
};

struct vferry_session {
	/* Set before the start, then constant. */
	struct vferry_machine_ops ops;
	void *user;
	struct vferry_parameters parameters;
	char *strings[VF_PARAMETER_STRINGS];	/* owned: those of the parameters */
	struct vf_tls_creds *tls;	/* owned; NULL: connections are plain */
	char description[VFERRY_NAME_BYTES];
	struct vferry_ram *ram;
	struct vferry_irq_plan *irq_plan;
	struct vferry_device *devices[VF_MAX_DEVICES];
	size_t device_count;
	struct vf_session_component *components;	/* owned; VF_MAX_COMPONENTS of room */
	size_t component_count;
	struct vf_wire_dependency dependencies[VF_MAX_DEPENDENCIES];
	uint32_t dependency_count;
	char uri[256];
	struct vf_uri target;
	const struct vf_side_ops *side;	/* NULL: not started */
	struct vf_source_side *source;
	struct vf_destination_side *destination;
	struct vf_trace *trace;		/* owned */
	int cancel_fd;			/* readable: give up connecting and accepting */
	int status_fd;			/* readable: the status has news */
	uint64_t started_ns;

	pthread_t thread;
	bool thread_exists;

	pthread_mutex_t lock;		/* everything below */
	pthread_cond_t changed;
	struct vf_event *events;	/* ring */
	size_t event_room, event_first, event_count;
	bool ended;			/* an outcome is there */
	bool quit;			/* the thread is to end */
	uint8_t id[VF_SESSION_ID_BYTES];
	struct vferry_status status;
	struct vf_report remote_report;	/* the other side's steps */
	bool vectors_known[2];		/* enum vf_when: who delivers interrupts, ... */
	struct vf_vectors vectors[2];	/* ... if that is known */
	struct vf_refuse refused;	/* all reasons against, as the destination gave them */
};

/* ---- session.c ---- */

/* Timed waits are by CLOCK_MONOTONIC. */
void vf_session_init_condition(pthread_cond_t *cond);

void vf_session_post(struct vferry_session *s, const struct vf_event *event);
void vf_session_post_kind(struct vferry_session *s, uint32_t kind);
void vf_session_post_error(struct vferry_session *s, uint32_t kind, const struct vferry_error *err);
/* The next event; false: @deadline_ns (0 = none) passed, or the session is to end. */
bool vf_session_next_event(struct vferry_session *s, uint64_t deadline_ns, struct vf_event *ret);
bool vf_session_quitting(struct vferry_session *s);
/* Something in the status changed. Lock not held. */
void vf_session_notify(struct vferry_session *s);
void vf_session_set_state(struct vferry_session *s, enum vf_status status);
void vf_session_finish(struct vferry_session *s, int exit_code, const struct vferry_error *err);
void vf_session_set_owner(struct vferry_session *s, bool owner);

/* ---- steps.c ---- */

/* Steps that are the session's; the number stands where a component's step has its index. */
enum vf_own_step {
	VF_OWN_FIRST = 0x10000,
	VF_OWN_VCPU_STOP = VF_OWN_FIRST,
	VF_OWN_VCPU_COMPLETE,
	VF_OWN_STREAM_DRAIN,
	VF_OWN_RAM_LAST,
	VF_OWN_STREAM_DATA,
	VF_OWN_STREAM_LAST,
	VF_OWN_RAM_COMPLETE,
	VF_OWN_PREPARED,
	VF_OWN_COMMIT,
	VF_OWN_VCPU_RUN,
	VF_OWN_LOGGING_OFF,
	VF_OWN_UNDO_VCPU_RUN,
};

/*
 * Which section feeds a load step: `section`, or `section_else`, or 0 if it needs none or none of
 * them was announced. NULL: every section counts as announced (for `vferry order`).
 */
typedef uint32_t (*vf_feeding_section)(struct vferry_session *s,
				       const struct vf_session_component *c,
				       const struct vferry_step_desc *step);

int vf_steps_plan(struct vferry_session *s, enum vferry_phase phase, vf_feeding_section feeding,
		  struct vf_plan **ret_plan, struct vferry_error *err);
struct vf_session_component *vf_session_find_component(struct vferry_session *s, const char *name);
const struct vferry_section_desc *vf_component_section(const struct vferry_component *c, uint32_t id);
/* Threads that the steps of @s need at the most. */
unsigned vf_session_step_threads(const struct vferry_session *s);

struct vferry_step {
	struct vferry_writer *writer;
	struct vferry_reader *reader;
	uint32_t section;
	uint16_t version;
	uint64_t bytes;
};

/* Save step: runs it and hands its section, if it writes one, to @send. */
typedef int (*vf_send_section)(struct vferry_session *s, const struct vf_session_component *c,
			       const struct vferry_section_desc *section, const void *body,
			       size_t bytes, struct vferry_error *err);
int vf_step_run_save(struct vferry_session *s, struct vf_session_component *c,
		     const struct vferry_step_desc *desc, vf_send_section send,
		     uint64_t *ret_bytes, struct vferry_error *err);
/* Load step, with the body of its section (or NULL). A body that is cut short is an error. */
int vf_step_run_load(struct vf_session_component *c, const struct vferry_step_desc *desc,
		     uint32_t section, uint16_t version, const void *body, size_t bytes,
		     uint64_t *ret_bytes, struct vferry_error *err);

struct vferry_reasons {
	struct vf_refuse list;		/* reasons: room for VF_MAX_REASONS */
};

int vf_reasons_init(struct vferry_reasons *r);
/* All reasons in one error, for the status. */
void vf_reasons_summary(const struct vf_refuse *list, struct vferry_error *err);

/* ---- report.c ---- */

/* This side's steps as executed so far; vf_report_done() frees it. -ENODATA: no plan yet. */
int vf_report_local(struct vferry_session *s, struct vf_report *ret_report);

/* ---- interrupts.c ---- */

#define VF_TELL_VECTORS_NS (5 * VF_SECOND_NS)	/* a destination that runs tells within, or not at all */

enum vf_when { VF_BEFORE, VF_AFTER };

/* Asks the interrupt plan, and keeps the answer. What it fails with is told by the report. */
void vf_session_note_vectors(struct vferry_session *s, enum vf_when when);
/*
 * The @count vectors of one device as runs, at most @most of them: what would be beyond is one
 * run that is not known. @to->runs: the caller's. Return: 0; -ENOMEM.
 */
struct vf_irq_vector;
int vf_session_make_runs(const struct vf_irq_vector *list, size_t count, uint32_t most,
			 struct vf_device_vectors *to);
/* @vectors: moved. */
void vf_session_keep_vectors(struct vferry_session *s, enum vf_when when, struct vf_vectors *vectors);

/* ---- the sides ---- */

extern const struct vf_side_ops vf_source_ops;
extern const struct vf_side_ops vf_destination_ops;
int vf_source_side_new(struct vferry_session *s, struct vferry_error *err);
int vf_destination_side_new(struct vferry_session *s, struct vferry_error *err);
struct vf_executor *vf_source_executor(struct vferry_session *s);	/* NULL: none yet */
struct vf_plan *vf_source_plan(struct vferry_session *s);
struct vf_executor *vf_destination_executor(struct vferry_session *s);
struct vf_plan *vf_destination_plan(struct vferry_session *s);
/* When vCPUs stopped here, or SWITCHOVER came in; 0 = not yet. */
uint64_t vf_source_pause_ns(struct vferry_session *s);
/* What the source expected of its step "component:name"; VF_NS_UNKNOWN. */
uint64_t vf_source_predicted_ns(struct vferry_session *s, const char *full_name);
uint64_t vf_destination_pause_ns(struct vferry_session *s);
/* Will the destination tell of its vectors? @ret_why: static, why not, or what is awaited. */
enum vferry_known vf_source_awaits_vectors(struct vferry_session *s, const char **ret_why);
int vf_source_continue(struct vferry_session *s);
int vf_source_resolve(struct vferry_session *s, const char *peer, bool fenced_destination);
int vf_destination_resolve(struct vferry_session *s, bool fenced_destination,
			   struct vferry_error *err);

#endif
