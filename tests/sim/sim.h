/* SPDX-License-Identifier: MIT */
/* sim.h - one simulated migration; shared by the files of sim_migration. */
#ifndef SIM_SIM_H
#define SIM_SIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/checked.h"
#include "engine/destination.h"
#include "engine/order.h"
#include "engine/source.h"
#include "order_world.h"
#include "rng.h"

#define MS 1000000ull
#define MAX_EVENTS 512		/* queued at one time */
#define MAX_TOTAL 200000	/* in one run */
#define MAX_RUNNING 8
#define CHANNELS 3

enum kind {
	EV_SRC = 1,		/* local event of the source machine: a = enum */
	EV_DST,
	EV_TIMER,		/* a = number of the arming */
	EV_STEP,		/* plan a, step b ends */
	EV_MESSAGE,		/* a = enum message, epoch counts */
	EV_CUT,
	EV_SRC_HEARS, EV_DST_HEARS,	/* that the link is gone */
	EV_CRASH_DST,
	EV_RESET_DEVICE,
	EV_PERSON,		/* somebody looks after an unknown outcome */
};

enum message {
	MSG_MACHINE = 1, MSG_ACCEPT, MSG_REFUSE, MSG_BEGAN, MSG_SECTION, MSG_DATA, MSG_RESTART,
	MSG_INITIAL, MSG_ACK, MSG_MANIFEST, MSG_PREPARED, MSG_COMMIT, MSG_RUNNING, MSG_LOAD_FAILED,
	MSG_RUN_FAILED, MSG_CANCEL, MSG_RESOLVE, MSG_RESOLVED,
};

struct event {
	uint64_t at_ns, order;
	enum kind kind;
	uint32_t a, b, c;
	uint32_t epoch;		/* of the link, or of the load plan's device */
	bool to_source;
};

enum which { SAVE, LOAD, UNDO, PLANS };

struct exec {
	struct vf_plan *plan;
	struct world world;
	struct world_step steps[WORLD_MAX_STEPS];
	size_t step_count;
	bool active, aborted, failed;
	unsigned threads;
};

struct faults {
	uint64_t cut_ns, cancel_ns, crash_ns, reset_ns;	/* 0 = never */
	unsigned step_fails[PLANS];			/* in 1,000 steps */
	bool hook_fails, record_fails, refuses, manifest_bad;
	unsigned more_cuts;				/* while a person asks */
	/* Trouble at the moment a side enters a state, a little later: the narrow places. */
	struct trap {
		enum kind kind;				/* 0 = none */
		bool destination;
		uint32_t state;
		uint64_t delay_ns;
	} traps[2];
};

struct sim {
	uint64_t seed;
	struct rng rng;
	bool verbose;
	bool bad_session;	/* resumes after COMMIT: the checks must notice */
	uint64_t now_ns, order;
	struct event queue[MAX_EVENTS];
	size_t queued, most_queued, total;
	const char *failure;

	const struct world_machine *machine;
	struct exec exec[PLANS];
	struct faults faults;
	struct vf_source src;
	struct vf_destination dst;
	struct vf_source_config config;

	bool link_up;
	uint32_t epoch;
	uint64_t delay_ns, channel_free_ns[2][CHANNELS];
	uint32_t timer;
	/* Guest. */
	uint64_t rate, dirty_rate, working_set, dirty_bytes, dirty_since_ns;
	uint32_t generation[WORLD_MAX_DEVICES], load_generation[WORLD_MAX_DEVICES];
	bool restart_pending[WORLD_MAX_DEVICES];
	uint32_t throttle;
	/* Who runs. */
	bool src_vcpus, dst_alive, dst_vcpus, discarded, undo_wanted;
	int src_devices, dst_devices;
	bool committed, may_resume, finished, ready_said, device_lost;
	uint32_t sent, received, manifest;
	bool manifest_here, hearing_src, hearing_dst;
	unsigned person_tries;
	uint32_t seen_src, seen_dst, restarts;	/* states, as bits */
};

/* sim.c: time, the link, and what both sides do. */
void wrong(struct sim *s, const char *text);
void say(const struct sim *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void post(struct sim *s, uint64_t delay_ns, struct event e);
struct event take(struct sim *s);
uint64_t some(struct sim *s, uint64_t least, uint64_t most);
void transmit(struct sim *s, bool to_source, uint32_t channel, enum message m, uint32_t b,
	      uint32_t c);
void local_src(struct sim *s, uint64_t delay_ns, enum vf_source_event_kind kind, uint32_t b);
void local_dst(struct sim *s, uint64_t delay_ns, enum vf_destination_event_kind kind);
void src_event(struct sim *s, struct vf_source_event e);
void dst_event(struct sim *s, struct vf_destination_event e);
void dispatch(struct sim *s, const struct event *e);
#define SRC(s, what, ...) \
	src_event((s), (struct vf_source_event) { .kind = VF_SRC_##what, ##__VA_ARGS__ })
#define DST(s, what, ...) \
	dst_event((s), (struct vf_destination_event) { .kind = VF_DST_##what, ##__VA_ARGS__ })

/* sim_plans.c: the guest's memory, and the steps of the three plans. */
void settle_dirty(struct sim *s);
bool make_exec(struct sim *s, enum which which, const struct vferry_order_rule *rules,
	       size_t rule_count);
void pump(struct sim *s, enum which which);
void end_step(struct sim *s, enum which which, uint32_t index);
void begin_undo(struct sim *s);
void session_step(struct sim *s, enum vferry_step_class c);
void try_restart(struct sim *s, uint32_t device);
/* The section of a save step arrived. */
void section_arrived(struct sim *s, enum vferry_step_class from, uint32_t index);
void input(struct sim *s, enum vferry_step_class c, uint32_t index);
void check_manifest(struct sim *s);

#endif
