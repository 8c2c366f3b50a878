/* SPDX-License-Identifier: MIT */
/*
 * sim.h - one simulated migration; shared by the files of sim_migration.
 *
 * Model: two hosts, each with a machine (RAM, devices, the other components) and a process that
 * migrates it. What the processes do is the library's code: state machines, plans, policies, frames
 * and messages, channels, dirty maps, the look at pages, the store of sections, stream sinks. What
 * is made up is what the library asks of its surroundings: time, threads, sockets, devices, guests,
 * people. Each made-up thing happens at a moment of virtual time, and follows from the seed.
 *
 *   sim.c               time, the queue of events, one run
 *   sim_link.c          connections: bytes on their way, what gets lost, channels over them
 *   sim_guest.c         what a machine has and does: pages, device state, sections; the comparison
 *   sim_plans.c         steps of the three plans begin and end; judged by order_world.c
 *   sim_source.c        the source's process: actions, answers
 *   sim_send.c          ... and what it sends: rounds of pages, device state, messages
 *   sim_destination.c   the destination's process: actions, and its successor
 *   sim_receive.c       ... and what it reads
 *   sim_faults.c        trouble, and people who look after it
 *   sim_check.c         what must hold after each event, and at the end
 *   sim_alloc.c         memory that runs out
 *   sim_migration.c     many runs, the tally, and the proof that the checks can fail
 */
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
#include "ram/ram.h"
#include "rng.h"
#include "session/sections.h"
#include "session/stream_sink.h"
#include "transfer/channel.h"
#include "wire/message.h"
#include "wire/pages.h"

#define MS 1000000ull
#define MAX_EVENTS 1024		/* queued at one time */
#define MAX_TOTAL 400000	/* in one run */
#define MAX_CHANNELS 3u
#define MAX_CONNECTIONS 12	/* the migration's, and one for each question */
#define MAX_SECTIONS 24
#define MAX_COMPONENTS 24
#define RAM_BLOCKS 2
#define RAM_PAGES (3 * VF_UNIT_PAGES + 200 + VF_UNIT_PAGES + 72)
#define WORKING_SET 48
#define DEVICE_WORDS 64		/* of state */
#define RECORD_BYTES 16		/* one word of a device's stream */

enum side { SOURCE, DESTINATION };

enum fault {
	FAULT_CUT,		/* the link breaks */
	FAULT_FRAMES_LOST,	/* ... and what was on its way with it */
	FAULT_FRAME_TORN,	/* ... of one frame only the beginning arrives */
	FAULT_HALF_OPEN,	/* one side hears of it much later */
	FAULT_STALL,		/* nothing moves for a while */
	FAULT_DAMAGE,		/* a bit changes on the way */
	FAULT_CANCEL,
	FAULT_CANCEL_DESTINATION,
	FAULT_CRASH_SOURCE,
	FAULT_CRASH_DESTINATION,
	FAULT_RESTART,		/* the destination comes back, with its record alone */
	FAULT_FENCE_SOURCE,	/* word that the source is gone */
	FAULT_FENCE_DESTINATION,
	FAULT_SAVE_STEP,
	FAULT_LOAD_STEP,
	FAULT_RUN_STEP,		/* behind COMMIT */
	FAULT_UNDO_STEP,
	FAULT_PRECOPY,		/* a device fails while the machine runs */
	FAULT_DIRTY_SOURCE,	/* a log cannot be read: all pages are dirty */
	FAULT_RESET,		/* the guest resets a device */
	FAULT_REINIT,		/* a device has new initial bytes */
	FAULT_HOOK,
	FAULT_RECORD,
	FAULT_REFUSE,
	FAULT_SOURCE_MEMORY,	/* an allocation fails */
	FAULT_DESTINATION_MEMORY,
	FAULT__COUNT
};

/* Mistakes that the checks must notice. */
enum mutation {
	MUTATION_NONE,
	MUTATION_RESUMES,	/* a source that goes on by itself after COMMIT */
	MUTATION_TAKES_LATE,	/* dirty bits are taken after the pages were read */
	MUTATION_OVERTAKES,	/* a page takes any channel */
	MUTATION_FORGETS_LOG,	/* the last DMA report is not asked for */
	MUTATION_DROPS_CHUNK,	/* a chunk of device state that was read is not sent */
	MUTATION_KEEPS_STATE,	/* after a device's reset its older state stays */
	MUTATION_OLD_SECTION,	/* the section of a running component is taken for the last */
	MUTATION_ZERO_LOST,	/* a page that became zero is not sent */
	MUTATION__COUNT
};

enum kind {
	EV_BEGIN = 1,		/* the source connects */
	EV_SRC, EV_DST,		/* local event of a state machine: a = enum, b = argument */
	EV_TIMER,		/* a = number of the arming */
	EV_STEP,		/* plan a, step b ends */
	EV_PACKET,		/* packet: bytes arrive */
	EV_CHUNK,		/* channel a of the round b goes on */
	EV_PUMP,		/* the pump of device a goes on */
	EV_LOAD,		/* the load step of device a looks into its queue */
	EV_RECORD,		/* the record is written, or not: a = ran */
	EV_KEPT,		/* the same, of the successor: it answers on connection a */
	EV_CUT, EV_STALL,	/* a = connection */
	EV_HEARS,		/* side b & 1, that channel b >> 1 of connection a is gone */
	EV_STALLED,		/* the source gives a silent connection up */
	EV_CRASH_SRC, EV_CRASH_DST, EV_RESTART,
	EV_RESET_DEVICE,
	EV_PERSON,		/* somebody looks after an unknown outcome */
	EV_HEIR,		/* ... after a destination that waits for ever */
};

struct packet {
	uint8_t connection, channel;
	enum side to;
	bool lost, torn;
	size_t bytes;
	uint8_t data[];
};

struct event {
	uint64_t at_ns, order;
	enum kind kind;
	uint32_t a, b;
	struct packet *packet;	/* owned */
};

/* One end of a channel. */
struct transport {
	struct sim *sim;
	uint8_t connection, channel;
	enum side side;
	uint8_t *data;		/* arrived, not yet read */
	size_t at, bytes, room;
	bool ended;		/* nothing more comes */
	bool closed;		/* nobody reads any more */
};

struct connection {
	enum vf_purpose purpose;
	unsigned channels;
	struct vf_channel *channel[2][MAX_CHANNELS];
	struct transport transport[2][MAX_CHANNELS];
	uint64_t skew_ns[MAX_CHANNELS];		/* one channel is slower than another */
	uint64_t busy_ns[2][MAX_CHANNELS], last_ns[2][MAX_CHANNELS];
	unsigned flying[2][MAX_CHANNELS];
	uint64_t stalled_ns;	/* nothing arrives before */
	bool cut;
	bool down[2];		/* this side reads and sends no more */
	unsigned greeted;
	struct vf_hello hello[MAX_CHANNELS];	/* that came; its JOIN follows */
};

enum which { SAVE, LOAD, UNDO, PLANS };

struct exec {
	struct vf_plan *plan;
	struct world world;
	struct world_step steps[WORLD_MAX_STEPS];
	size_t step_count;
	bool active, aborted, failed;
	bool ready_said;	/* all that is allowed is done */
	unsigned threads;
	uint64_t declared_ns;	/* of each step */
	int doomed;		/* this step fails; -1: none */
};

struct trap {
	enum kind kind;		/* 0 = none */
	enum side side;
	uint32_t state;		/* of @side; or, with @frame, any */
	uint16_t frame;		/* when it sends a frame of this type; 0: when it comes to @state */
	uint64_t delay_ns;
};

struct faults {
	uint64_t cut_ns, stall_ns, cancel_ns, cancel_destination_ns;	/* 0 = never */
	uint64_t crash_source_ns, crash_destination_ns, reset_ns;
	unsigned step_fails[PLANS];	/* in 1,000 steps */
	unsigned precopy_fails, dirty_fails;	/* in 1,000 */
	bool hook_fails, record_fails, refuses;
	unsigned damage;		/* the packet of this number; 0 = none */
	uint64_t memory;		/* the allocation of this number; 0 = none */
	bool memory_stays_out;		/* ... and all later ones of the run */
	unsigned more_cuts;		/* while a person asks */
	struct trap traps[2];		/* trouble in narrow places */
};

/* A device as it is on one host. */
struct device {
	uint64_t words[DEVICE_WORDS];
	uint32_t generation;
	bool running;
	/* Source. */
	uint64_t unsent[DEVICE_WORDS / 64];
	uint64_t log[(RAM_PAGES + 63) / 64];	/* written by DMA, not yet asked for */
	uint64_t config;		/* what its config space says */
	bool has_precopy, precopying, pump_posted, drop_next;
	uint32_t sent_generation;
	uint64_t credit, offset, sent_bytes;
	uint32_t crc;
	bool initial_marked, acknowledged, reinit;
	int drain_step;			/* of the save plan, or -1 */
	/* Destination. */
	bool keeps_state;		/* MUTATION_KEEPS_STATE */
	struct vf_stream_sink *sink;
	uint8_t *area;			/* in which state is received */
	int load_step;			/* of the load plan, or -1 */
	bool load_last, load_posted;
	unsigned restarts;		/* arrived, not yet seen by the load step */
};

/* The sender's thread of one channel. */
struct walk {
	bool busy;
	size_t block;
	uint64_t page, data_end;
	struct vf_pages ranges, chunk;
};

struct sim {
	uint64_t seed;
	struct rng rng;
	bool verbose;
	bool quiet_world;		/* no trouble but ... */
	uint64_t force_memory;		/* ... the allocation of this number; 0 = none */
	enum mutation mutation;
	uint64_t now_ns, order;
	struct event queue[MAX_EVENTS];
	size_t queued, most_queued, total;
	const char *failure;
	enum side acting;		/* whose code runs now */
	unsigned count[FAULT__COUNT];
	uint64_t failed_classes[PLANS];	/* steps that were made to fail, by class */
	uint32_t seen_src, seen_dst;	/* states, as bits */
	uint64_t seen_handover, seen_frames[2], seen_src_events[VF_SRC_STATE__COUNT];
	uint64_t seen_dst_events[VF_DST_STATE__COUNT];
	uint64_t pages_received, pages_compared, device_bytes;

	const struct vferry_order_rule *rules;
	size_t rule_count;
	const struct world_machine *machine;
	const char *components[MAX_COMPONENTS];
	uint32_t component_count, streams[WORLD_MAX_DEVICES];
	struct exec exec[PLANS];
	struct faults faults;
	uint8_t id[VF_SESSION_ID_BYTES];
	bool verify, has_record_dir;
	uint64_t rate, delay_ns, stall_timeout_ns;	/* the link's */
	struct connection connection[MAX_CONNECTIONS];
	unsigned connections, packets;

	/* The guest, on the source. */
	struct vferry_ram *ram[2];
	uint32_t set[WORKING_SET];	/* pages it writes */
	unsigned set_count;
	uint64_t writes_per_second, settled_ns, version;
	uint64_t cpu, controller, clock;	/* state of components, as numbers that change */
	uint32_t throttle;
	struct device device[2][WORLD_MAX_DEVICES];
	bool vcpus[2];

	/* The source's process. */
	struct vf_source src;
	struct vf_source_config config;
	bool src_alive, src_over;	/* over: failed before the engine began */
	bool finished, device_lost, undo_wanted, switched;
	uint32_t timer, round, last_round;
	bool in_last_round;
	int last_step;			/* the save step that sends the last pages, or -1 */
	struct walk walk[MAX_CHANNELS];
	unsigned walking;
	bool configs_sent, round_waits;
	uint64_t load_ns;
	uint64_t pages_normal, pages_zero;
	struct vf_manifest_section sent[MAX_SECTIONS];
	uint32_t sent_count;
	bool committed, may_resume, taken_back;
	unsigned person_tries;

	/* The destination's process, or its successor. */
	struct vf_destination dst;
	bool dst_alive, dst_keeper;	/* keeper: nothing but the record is left */
	bool receive_failed, receiving, accepted, bound, discarded, machine_there;
	unsigned channels_there;
	uint64_t credit_bytes;
	int asker;			/* connection, or -1 */
	struct vf_machine peer;		/* what the source said of itself */
	struct vf_sections sections;
	bool sections_there;
	struct vf_bitmap present[RAM_BLOCKS];
	uint32_t channel_rounds[MAX_CHANNELS], rounds;
	bool switchover;
	uint32_t dst_last_round;
	struct vf_manifest manifest;
	bool digest_there;
	uint32_t digest, own_digest;
	enum { RECORD_NONE, RECORD_RAN, RECORD_ABORTED } record, writing;
	bool was_prepared, destination_fenced;
	bool dst_told;			/* that the machine stays, or was asked for it */
};

/* sim.c */
void wrong(struct sim *s, const char *text);
void say(const struct sim *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void post(struct sim *s, uint64_t delay_ns, struct event e);
uint64_t some(struct sim *s, uint64_t least, uint64_t most);
void fault(struct sim *s, enum fault kind);
/* One migration, from @s->seed to its end. Return: what went wrong, or NULL. */
const char *simulate(struct sim *s, const struct vferry_order_rule *rules, size_t rule_count);

/* sim_link.c */
/* Return: its index; -ENOMEM; -EMFILE. */
int link_open(struct sim *s, enum vf_purpose purpose, unsigned channels);
void link_close(struct sim *s, unsigned connection, enum side side);
void link_cut(struct sim *s, unsigned connection);
void link_stall(struct sim *s, unsigned connection, uint64_t ns);
void link_hears(struct sim *s, unsigned connection, enum side side, unsigned channel);
void link_source_stalls(struct sim *s);
void link_arrives(struct sim *s, struct packet *packet);
void link_free(struct sim *s);
/* Frames of @type with @w as its body. */
int link_send(struct sim *s, unsigned connection, enum side from, unsigned channel,
	      enum vf_frame_type type, uint32_t component, struct vf_writer *w);
int link_send_bytes(struct sim *s, unsigned connection, enum side from, unsigned channel,
		    enum vf_frame_type type, uint32_t component, const void *body, size_t bytes);
/* When the channel has taken what was sent: a sender that is too fast waits. */
uint64_t link_free_ns(const struct sim *s, enum side from, unsigned channel);

/* sim_guest.c */
bool guest_init(struct sim *s);
void guest_free(struct sim *s);
/* What guest and devices did until now. */
void guest_settle(struct sim *s);
/* One page changes, now. */
void guest_write(struct sim *s);
void guest_dma(struct sim *s, unsigned device);
void guest_step_ends(struct sim *s, const struct world_step *step);
void guest_reset_device(struct sim *s, unsigned device);
/* The state of the component that a save step of this class saves. */
uint64_t guest_state(const struct sim *s, enum vferry_step_class step_class, uint32_t index);
/* Up to @bytes of a device's state. Return: how many. */
size_t device_read(struct sim *s, unsigned device, uint8_t *to, size_t bytes);
uint64_t device_left(const struct sim *s, unsigned device);
extern const struct vferry_stream_ops device_stream_ops;
/* Is the destination's machine the source's, bit for bit? Else wrong(). */
void guest_compare(struct sim *s);

/* sim_plans.c */
bool make_plan(struct sim *s, enum which which);
void free_plans(struct sim *s);
void pump(struct sim *s, enum which which);
void end_step(struct sim *s, enum which which, uint32_t index, bool failed);
void step_time_over(struct sim *s, enum which which, uint32_t index);
void begin_undo(struct sim *s);
void session_step(struct sim *s, enum vferry_step_class c);
/* Sections: the save class and index whose body feeds load steps. */
void section_arrived(struct sim *s, enum vferry_step_class from, uint32_t index);
void input(struct sim *s, enum vferry_step_class c, uint32_t index);
bool feeds_any(enum vferry_step_class from);
/* The device began anew, with its load step at a RESTART. */
void restart_device(struct sim *s, uint32_t device);
void load_check_idle(struct sim *s);
/* The machine description: names of components, in order. */
void name_components(struct sim *s);
uint32_t component_index(const struct sim *s, const char *name);
uint32_t stream_component(const struct sim *s, uint32_t device);
uint32_t section_id(const struct world_step *step);

/* sim_source.c */
void source_begin(struct sim *s);
/* What JOIN carries. */
void source_secret(const struct sim *s, uint8_t ret_secret[VF_JOIN_BYTES]);
void source_event(struct sim *s, struct vf_source_event e);
/* Return: 0; negative: what came makes no sense. */
int source_frame(struct sim *s, unsigned connection, const struct vf_frame *frame,
		 const uint8_t *body, struct vferry_error *err);
void source_link_lost(struct sim *s, unsigned connection, const struct vferry_error *err);
void source_round_sent(struct sim *s, int ret);
void source_configs_sent(struct sim *s);
void source_crash(struct sim *s);
#define SRC(s, what, ...) \
	source_event((s), (struct vf_source_event) { .kind = VF_SRC_##what, ##__VA_ARGS__ })

/* sim_send.c */
int send_machine(struct sim *s);
int send_manifest(struct sim *s);
int send_section(struct sim *s, const struct world_step *step);
int send_switchover(struct sim *s);
int send_round(struct sim *s, uint32_t number);
void send_chunk(struct sim *s, unsigned channel, uint32_t round);
void send_nothing_more(struct sim *s);
int follow_generation(struct sim *s, unsigned device);
void pump_begin(struct sim *s, unsigned device);
void pump_device(struct sim *s, unsigned device);
void pump_drain(struct sim *s, unsigned device, uint32_t step);
void pump_later(struct sim *s, unsigned device, uint64_t ns);

/* sim_destination.c */
void destination_begin(struct sim *s);
void destination_event(struct sim *s, struct vf_destination_event e);
void destination_free(struct sim *s);
int destination_make_sinks(struct sim *s);
void destination_load(struct sim *s, unsigned device);
void destination_recorded(struct sim *s, bool ran);
void destination_crash(struct sim *s);
void destination_restart(struct sim *s);
void destination_kept(struct sim *s, unsigned connection);
bool destination_listens(const struct sim *s);
#define DST(s, what, ...) \
	destination_event((s), (struct vf_destination_event) { .kind = VF_DST_##what, ##__VA_ARGS__ })

/* sim_receive.c */
/* Return: 0; negative: what arrived cannot be taken. */
int destination_frame(struct sim *s, unsigned connection, unsigned channel,
		      const struct vf_frame *frame, struct vferry_error *err);
void destination_link_lost(struct sim *s, unsigned connection, const struct vferry_error *err,
			   int code);
void destination_ram_complete(struct sim *s);
int destination_check_manifest(struct sim *s);

/* sim_faults.c */
void draw(struct sim *s);
void schedule_faults(struct sim *s);
void spring_state_traps(struct sim *s, enum side side, uint32_t state);
void spring_frame_traps(struct sim *s, enum side side, uint16_t frame);
void reset_device(struct sim *s);
void person(struct sim *s);
void heir(struct sim *s);
const char *fault_name(enum fault fault);

/* sim_check.c */
void check(struct sim *s);
void check_end(struct sim *s);

/* sim_alloc.c: malloc() and its like of the library, by the linker's --wrap. */
void memory_begin(struct sim *s, uint64_t number, bool stays_out);
/* Return: how many allocations there were. */
uint64_t memory_end(void);
/* The checks are none of the library's business. */
void memory_pause(bool pause);
/* Never fail: for the world itself. */
void *world_alloc(size_t bytes);
void world_free(void *p);

#endif
