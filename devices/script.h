/* SPDX-License-Identifier: MIT */
/*
 * script.h - latencies and faults of a software device, read from a small file.
 *
 * One statement per line; `#` begins a comment; words are separated by blanks or tabs.
 *
 *   on ARC ACTIONS                     a transition of the migration state machine, one arc at a
 *                                      time: `RESUMING->STOP`; either side may be `*`
 *   on message NAME [N] ACTIONS        a request of the client, by the protocol's name
 *                                      (`REGION_READ`, `DMA_MAP` ...; of our extension
 *                                      `PRECOPY_INFO`, `BUFFER_OPEN`, `BUFFER_READ`,
 *                                      `BUFFER_WRITE`), the Nth of it or each
 *   on data-read [after SIZE] ACTIONS  state read out: the call that goes beyond SIZE bytes of the
 *   on data-write [after SIZE] ACTIONS session, and those behind it; same for state written in
 *   truncate data at SIZE              the saved stream ends there, as if it were complete
 *   reinit at SIZE                     after so many bytes in PRE_COPY, initial data begins anew
 *   limit data-read RATE               bytes per second, e.g. `100MiB/s`
 *   limit data-write RATE
 *
 * ACTIONS, in this order, at least one of the first four:
 *   delay TIME                         wait first: `50ms`, `1.5s`, `200us`
 *   notice error|request               raise the interrupt by which the host tells that the device
 *                                      failed (ERR), or that it is wanted back (REQ)
 *   fail [ERRNO [error-state]]         answer with the error (EIO if none is named), instead of
 *                                      doing anything; `error-state` (arcs and data only): the
 *                                      device's state is lost, it is in ERROR until a reset
 *   hang | disconnect | exit           never answer | drop the client | end the process (status 70)
 *   times N                            only the first N times (not with a message's N)
 *
 * Of several rules that fit, the first counts. SIZE and RATE take KiB, MiB, GiB or nothing; TIME
 * is at most an hour. Everything unknown is an error that names the line. At most 64 KiB and 256
 * rules.
 *
 * Threads: counters change as rules fire, so one thread at a time.
 */
#ifndef VF_DEVICES_SCRIPT_H
#define VF_DEVICES_SCRIPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <vferry/error.h>
#include "vferry_vfio.h"

#define VF_SCRIPT_BYTES_MAX 65536u
#define VF_SCRIPT_RULES_MAX 256u
#define VF_SCRIPT_DELAY_MAX_NS (3600ull * 1000000000ull)
#define VF_SCRIPT_ANY_STATE VF_VFIO_STATE__COUNT
#define VF_SCRIPT_COMMANDS 32u	/* slots for counting messages */

enum vf_script_what {
	VF_SCRIPT_GO_ON = 0,
	VF_SCRIPT_FAIL = 1,
	VF_SCRIPT_HANG = 2,
	VF_SCRIPT_DISCONNECT = 3,
	VF_SCRIPT_EXIT = 4,
};

enum vf_script_notice {
	VF_SCRIPT_NO_NOTICE = 0,
	VF_SCRIPT_ERROR = 1,
	VF_SCRIPT_REQUEST = 2,
};

struct vf_script_action {
	uint64_t delay_ns;		/* before what follows */
	enum vf_script_notice notice;
	enum vf_script_what what;
	int code;			/* negative errno, for FAIL */
	bool error_state;
};

enum vf_script_event {
	VF_SCRIPT_ARC = 0,
	VF_SCRIPT_MESSAGE = 1,
	VF_SCRIPT_DATA_READ = 2,
	VF_SCRIPT_DATA_WRITE = 3,
};

struct vf_script_rule {
	enum vf_script_event event;
	uint32_t from, to;		/* arc: states, or VF_SCRIPT_ANY_STATE */
	uint32_t slot;			/* message: see script.c */
	uint64_t number;		/* message: which one, 0 = each */
	uint64_t after;			/* data: bytes */
	struct vf_script_action action;
	uint64_t times;			/* left, UINT64_MAX = no bound */
};

struct vf_script {
	struct vf_script_rule *rules;	/* owned */
	uint32_t rule_count;
	uint64_t truncate_at;		/* UINT64_MAX = never; the next one too */
	uint64_t reinit_at;
	uint64_t read_rate, write_rate;	/* bytes per second, 0 = no limit */
	uint64_t seen[VF_SCRIPT_COMMANDS];
};

/* Nothing happens. */
void vf_script_init(struct vf_script *s);
void vf_script_done(struct vf_script *s);
/* @name is for messages. On failure @s is as after init. -EINVAL, -E2BIG, -ENOMEM. */
int vf_script_parse(struct vf_script *s, const char *text, size_t size, const char *name,
		    struct vferry_error *err);
int vf_script_load(struct vf_script *s, const char *path, struct vferry_error *err);

/* What to do at an event; counts it. GO_ON without a delay if no rule fits. @command is the
 * protocol's number. */
struct vf_script_action vf_script_on_arc(struct vf_script *s, enum vf_vfio_state from,
					 enum vf_vfio_state to);
struct vf_script_action vf_script_on_message(struct vf_script *s, uint32_t command);
/* @at: bytes of the session so far, @len: what this call asks for. */
struct vf_script_action vf_script_on_data(struct vf_script *s, bool write, uint64_t at,
					  uint64_t len);

/* "4KiB", "8G", "123" -> bytes. For options too. -EINVAL, -ERANGE. */
int vf_script_size(const char *word, uint64_t *ret);
/* "64MiB/s" or the same without "/s". */
int vf_script_rate(const char *word, uint64_t *ret);

#endif
