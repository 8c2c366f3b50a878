/* SPDX-License-Identifier: MIT */
/*
 * destination.h - what destination.c (the engine's actions, the load plan), destination_accept.c (who
 * may connect), destination_link.c (frames), destination_record.c (promises on disk) and
 * destination_machine.c (is this machine acceptable?) share.
 */
#ifndef VF_SESSION_DESTINATION_H
#define VF_SESSION_DESTINATION_H

#include "engine/destination.h"
#include "session/sections.h"
#include "session/session_internal.h"
#include "session/ticker.h"
#include "transfer/file.h"
#include "transfer/receiver.h"

/* The destination's own events, beside the engine's. */
enum vf_destination_own_event {
	VF_DST_OWN_FIRST = 1000,
	VF_DST_OWN_MACHINE = VF_DST_OWN_FIRST,	/* MACHINE came: `machine` is set */
	VF_DST_OWN_IDLE,			/* all load steps that may run are done */
	VF_DST_OWN_STEP_FAILED,			/* error */
};

#define VF_HOLD_BYTES (16u << 20)	/* sections held until their step has run */
#define VF_CREDIT_BYTES (8u << 20)	/* of all streams together; each has at least ... */
#define VF_CREDIT_LEAST (2u << 20)

#define VF_GREETINGS 8		/* connections that have not greeted yet */

/* A connection that may become a channel. */
struct vf_greeting {
	struct vf_destination_side *side;
	pthread_t thread;
	bool exists;			/* these two: the accepting thread's */
	uint64_t number;
	int fd;				/* until it is a channel; the greeting's thread's */
	int cancel_fd;			/* readable: it is to end, though it is no channel yet */
	struct vf_channel *channel;	/* side's lock; NULL: not to be shut down (any more) */
	bool ending, over;		/* side's lock */
};

/* What it said. */
struct vf_greeted {
	struct vf_hello hello;
	bool joins;
	uint8_t join[VF_JOIN_BYTES];
};

/* Reads one stream out of a file. */
struct vf_file_feeder {
	struct vf_destination_side *side;
	pthread_t thread;
	uint32_t component;
	struct vf_stream_sink *sink;
};

struct vf_destination_side {
	struct vferry_session *session;
	struct vf_destination machine_state;	/* session thread only */
	struct vferry_error link_error;	/* why the link was lost, if it was */

	/* The link. */
	struct vf_listener *listener;
	pthread_t accept_thread;
	bool accept_exists;
	struct vf_ticker ticker;
	struct vf_greeting greetings[VF_GREETINGS];
	uint64_t greeting_count;	/* the accepting thread's */

	/* Or a file in place of the link. */
	struct vf_file_reader *file;
	pthread_t pages_thread;
	bool pages_exists;
	struct vf_file_feeder *feeders;
	uint32_t feeder_count;

	/* The machine as the source describes it. Set before ACCEPT, then constant. */
	bool machine_there;
	struct vf_machine machine;
	struct vf_session_component *by_remote[VF_MAX_COMPONENTS];
	struct vf_sections sections;
	struct vf_plan *plan;
	struct vf_executor *executor;
	bool devices_begun;
	int claim;			/* descriptor of the record's claim; -1 */
	bool decided;			/* the record is written */

	pthread_mutex_t lock;		/* everything below */
	struct vf_channel *channels[VF_MAX_CHANNELS];	/* constant once all are there, like ... */
	unsigned channel_count, channels_there;		/* ... these */
	struct vf_receiver *receiver;	/* NULL: not all channels are there yet */
	struct vf_channel *asker;	/* waits for RESOLVED; owned */
	pthread_cond_t file_changed;	/* accepted, file_cancelled */
	bool file_cancelled;
	struct vf_file_stats file_stats;
	bool bound;			/* a source has this session: `id` */
	bool joins;			/* all its connections must show it by JOIN, with ... */
	uint8_t secret[VF_JOIN_BYTES];
	uint64_t bound_ns;
	bool described;			/* by MACHINE */
	bool setup_late;		/* and that was said */
	bool accepted;
	bool switchover;
	uint32_t last_round;
	uint32_t rounds;		/* ended on all channels */
	bool manifest_there;
	struct vf_manifest manifest;
	bool digest_there;
	uint32_t digest, own_digest;	/* of RAM: the source says; here, when it was complete */
	uint64_t verify_ns;
	uint64_t switchover_ns, commit_ns;
	uint64_t stream_bytes;
};

/* ---- destination_accept.c ---- */

int vf_destination_accept_start(struct vf_destination_side *side);
/* Once the session's cancel_fd is readable: waits for it and all greetings. */
void vf_destination_accept_stop(struct vf_destination_side *side);

/* ---- destination_link.c ---- */

int vf_destination_listen(struct vf_destination_side *side, struct vferry_error *err);
void vf_destination_link_stop(struct vf_destination_side *side);
int vf_destination_send(struct vf_destination_side *side, enum vf_frame_type type,
			uint32_t component, const void *body, size_t bytes);
int vf_destination_send_error(struct vf_destination_side *side, enum vf_frame_type type,
			      const struct vferry_error *why);
/* On any channel: FAILED, or its like. */
int vf_destination_refuse(struct vf_channel *channel, enum vf_frame_type type,
			  const struct vferry_error *why);
/* All channels are there: read them. */
int vf_destination_receive(struct vf_destination_side *side);
/* To whoever asked, else to the source if it is still there. @answer: RAN, ABORTED or LOST. */
void vf_destination_answer(struct vf_destination_side *side, enum vf_handover_input answer);
int vf_destination_send_answer(struct vf_channel *channel, enum vf_handover_input answer);
/* A RESTART of @c's stream is on its way to the load step. */
void vf_destination_count_restart(struct vf_destination_side *side, struct vf_session_component *c);
/* Marks the input of every load step that waits for this section. */
void vf_destination_section_arrived(struct vf_destination_side *side,
				    const struct vf_session_component *c, uint32_t section);

/* One frame, from wherever it came. */
int vf_destination_frame(struct vf_destination_side *side, const struct vf_frame *frame,
			 const void *body, struct vferry_error *err);
void vf_destination_ram_complete(struct vf_destination_side *side);
/* Nothing more comes, and the manifest is here to compare with. */
void vf_destination_all_there(struct vf_destination_side *side);

/* ---- destination_record.c ---- */

/* These do nothing without a record directory. */
int vf_destination_check_records(struct vf_destination_side *side, struct vferry_error *err);
int vf_destination_claim(struct vf_destination_side *side, struct vferry_error *err);
int vf_destination_decide(struct vf_destination_side *side, bool ran, struct vferry_error *err);
void vf_destination_release(struct vf_destination_side *side);
/* Speaks for a process that is gone. Return: 0 answered; -ENOENT, -EBUSY: nothing may be said. */
int vf_destination_answer_earlier(struct vf_destination_side *side,
				  const uint8_t id[VF_SESSION_ID_BYTES], struct vf_channel *channel,
				  struct vferry_error *err);

/* ---- destination_file.c ---- */

int vf_destination_file_open(struct vf_destination_side *side, struct vferry_error *err);
void vf_destination_file_cancel(struct vf_destination_side *side);
void vf_destination_file_close(struct vf_destination_side *side);

/* ---- destination_machine.c ---- */

/* Compares everything; builds sections, sinks and the plan if nothing is against it. */
int vf_destination_check(struct vf_destination_side *side, struct vferry_reasons *reasons);
uint32_t vf_destination_feeding(struct vferry_session *s, const struct vf_session_component *c,
				const struct vferry_step_desc *step);
/* Is what arrived what the manifest lists? */
int vf_destination_check_manifest(struct vf_destination_side *side, struct vferry_error *err);

/* Queue of each stream here. */
uint64_t vf_destination_credit(const struct vf_destination_side *side);
extern const struct vf_stream_sink_ops vf_destination_sink_ops;

#endif
