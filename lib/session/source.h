/* SPDX-License-Identifier: MIT */
/*
 * source.h - what the files of a source share.
 *
 *   source.c          the session thread: life, events into the engine's machine
 *   source_act.c      what the engine's decisions mean
 *   source_round.c    what a round says of the pause to come
 *   source_work.c     steps of the save and undo plans
 *   source_link.c     channels and messages
 *   source_answers.c  what comes back on them
 *   source_file.c     a file in place of them
 */
#ifndef VF_SESSION_SOURCE_H
#define VF_SESSION_SOURCE_H

#include "engine/source.h"
#include "session/session_internal.h"
#include "session/ticker.h"
#include "transfer/file.h"
#include "transfer/limiter.h"
#include "transfer/page_sender.h"

/* The source's own events, beside the engine's. */
enum vf_source_own_event {
	VF_SRC_OWN_FIRST = 1000,
	VF_SRC_OWN_ROUND_FINISHED = VF_SRC_OWN_FIRST,	/* number: page sender's result */
	VF_SRC_OWN_STREAM_FAILED,			/* error */
	VF_SRC_OWN_LIMITS,				/* number: downtime limit, ns; bandwidth */
};

struct vf_source_side {
	struct vferry_session *session;
	struct vf_source machine;	/* session thread only */

	/* The link. */
	struct vf_channel *channels[VF_MAX_CHANNELS];
	unsigned channel_count;
	struct vf_limiter *limiter;
	pthread_t return_thread;
	bool return_exists;
	struct vf_ticker ticker;
	uint8_t secret[VF_JOIN_BYTES];	/* of channel 0: shows that further connections are ours */
	uint64_t link_rate;		/* bytes a second, probed at setup; 0 = unknown */
	bool round_trip_known;
	uint64_t round_trip_ns;
	uint64_t load_ns;		/* what the destination expects; VF_UNKNOWN_NS */

	/* Or a file in place of the link. */
	struct vf_file_writer *file;
	pthread_t round_thread;
	bool round_exists;
	uint32_t file_number;		/* round that is being written */

	/* The work. */
	struct vf_page_sender *pages;
	struct vf_plan *save_plan, *undo_plan;
	struct vf_executor *save, *undo;
	pthread_t helper_thread;	/* hook, undo or resolve: one at a time */
	bool helper_exists;
	enum vf_hook hook;
	uint32_t last_round;		/* page sender's number; set before the save plan runs */
	uint64_t *predicted;		/* of each save step, as of the last round; VF_NS_UNKNOWN */
	uint64_t rate;			/* bytes a second of the last round that says something */
	uint64_t rate_ns;		/* when that was, or when such a round was asked for */
	size_t rate_block;		/* pages from there on are sent again to measure it anew */
	uint64_t rate_page;
	uint64_t largest_round;		/* bytes sent */
	uint64_t bandwidth;		/* the limit; 0 = none */
	char resolve_uri[256];

	pthread_mutex_t lock;		/* everything below */
	pthread_cond_t answers_changed;	/* with one of the next three */
	bool answers_ended;		/* the return path has told why, as its last word */
	uint32_t tag;			/* of the probes at the end of a round, and ... */
	uint64_t tag_ns;		/* ... when they began to go out */
	unsigned tags_due;		/* ... how many of them are not answered */
	uint64_t described_ns;		/* MACHINE was sent, and ... */
	bool answered;			/* ... accepted or refused */
	bool tells_vectors;		/* the destination will, when it runs, which ... */
	uint64_t running_ns;		/* ... it said it does; 0 = not yet */
	struct vf_manifest_section *sections;	/* what was sent, newest of each */
	uint32_t section_count, section_room;
	uint64_t section_bytes;
	bool in_last_round;
	bool machine_stopped;
	uint64_t stopped_ns, committed_ns, downtime_ns;
	struct vf_file_stats file_round, file_total;
	uint64_t verify_ns;		/* digests, not part of the pause */
};

/* The numbers of rounds in probes: those at setup are of sizes, and smaller. */
#define VF_SOURCE_TAG 0x80000000u

/* What is saved while the machine runs. */
#define VF_SOURCE_LIVE_CLASSES vf_class_bit(VFERRY_SAVE_CONFIG_EARLY)

/* ---- source_act.c ---- */

/* Return: what the action failed with; the caller makes it an event. */
int vf_source_act(struct vf_source_side *side, const struct vf_action *action,
		  struct vferry_error *err);
void vf_source_note_failed_undo(struct vf_source_side *side, const struct vferry_error *undo);
void vf_source_join_helper(struct vf_source_side *side);

/* ---- source_round.c ---- */

int vf_source_measure_round(struct vf_source_side *side, uint32_t round, struct vf_round *ret);
/*
 * Before a round: if the rate is too old to be believed, pages are marked that were sent before, so
 * that the round is one that tells it. Else a link that was busy in the first round, or limited, would
 * be taken for slow for ever by rounds that are too small to say otherwise.
 */
void vf_source_refresh_rate(struct vf_source_side *side);
void vf_source_publish_round(struct vf_source_side *side, const struct vf_round *round);
/* Why the engine doubts that it will end: for status. */
void vf_source_forecast(struct vf_source_side *side);

/* ---- source_work.c ---- */

extern const struct vf_stream_source_ops vf_source_stream_ops;
extern const struct vf_executor_ops vf_source_save_ops, vf_source_undo_ops;
void vf_source_round_done(void *user, uint32_t round, int result);
/* Everything that sends ends; then the undo plan, of which every step runs even if others fail. */
int vf_source_undo(struct vf_source_side *side, struct vferry_error *err);
bool vf_source_device_lost(struct vferry_session *s);

/* ---- source_file.c ---- */

int vf_source_file_open(struct vf_source_side *side, struct vferry_error *err);
void vf_source_file_accept(struct vf_source_side *side);	/* what a file answers to MACHINE */
/* Round @round (from 0) on a thread of its own; ends as VF_SRC_OWN_ROUND_FINISHED. */
int vf_source_file_start_round(struct vf_source_side *side, uint32_t round);
void vf_source_file_join(struct vf_source_side *side);
int vf_source_file_last_round(struct vf_source_side *side, uint32_t round, uint64_t *ret_bytes,
			      struct vferry_error *err);
/* Completes the file on disk, and answers PREPARED for it. */
int vf_source_file_finish(struct vf_source_side *side, struct vferry_error *err);

/* ---- source_link.c ---- */

/* Connects all channels and exchanges HELLO; measures round trip and rate. */
int vf_source_connect(struct vf_source_side *side, struct vferry_error *err);
/* Starts the threads that read answers and keep the link awake. */
int vf_source_link_start(struct vf_source_side *side, struct vferry_error *err);
void vf_source_link_stop(struct vf_source_side *side);	/* shuts down, joins, frees channels */
/* A message on channel 0. */
int vf_source_send(struct vf_source_side *side, enum vf_frame_type type, const void *body,
		   size_t bytes, struct vferry_error *err);
/* A frame of component @component, on the channel of its device. @body_crc: CRC32C of @body alone. */
int vf_source_send_for(struct vf_source_side *side, enum vf_frame_type type, uint32_t component,
		       const void *head, size_t head_bytes, const void *body, size_t body_bytes,
		       uint32_t body_crc, struct vferry_error *err);
int vf_source_send_section(struct vferry_session *s, const struct vf_session_component *c,
			   const struct vferry_section_desc *section, const void *body, size_t bytes,
			   struct vferry_error *err);
int vf_source_send_machine(struct vf_source_side *side, struct vferry_error *err);
int vf_source_send_manifest(struct vf_source_side *side, struct vferry_error *err);
/* CANCEL with a reason; gives up soon if the peer takes nothing. */
void vf_source_send_cancel(struct vf_source_side *side, const struct vferry_error *why);
/* Asks @uri over a connection of its own. Return: enum vf_resolution; negative errno. */
int vf_source_ask(struct vf_source_side *side, const char *uri, struct vferry_error *err);

/* ---- source_answers.c ---- */

/* Starts the thread that reads them; it ends with channel 0. */
int vf_source_answers_start(struct vf_source_side *side);
/*
 * A link that broke while something was sent: why, the peer may have told before, and the return path
 * knows. Return: true: its last word is an event that is queued, and counts, so @err does not; false: it
 * has nothing to tell. Only by the session thread, before COMMIT.
 */
bool vf_source_peer_tells(struct vf_source_side *side, const struct vferry_error *err);
/* RESOLVED's body. What is none of the three outcomes decides nothing. */
int vf_source_resolution(const void *body, size_t bytes, uint32_t *ret_answer, struct vferry_error *err);

#endif
