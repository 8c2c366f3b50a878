/* SPDX-License-Identifier: MIT */
/*
 * measure.c - how long a stop-copy and a resume of a device take.
 *
 * The device goes the way that a migration takes it, once: stopped, saved, loaded again with what was
 * read, and set running. Only the device's calls are timed: bytes go through one buffer that is in
 * memory, and what keeps them is filled between the calls.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/clock.h"
#include "measure.h"
#include "vferry_vfio.h"
#include "vfio/backend.h"

#define PIECE_BYTES VF_MIB
#define STATE_MAX (8 * VF_GIB)	/* more state than this isn't kept */

struct piece {
	struct piece *next;
	size_t bytes;
	uint8_t data[];
};

struct measuring {
	struct vf_backend *b;
	const char *name;
	struct probe_measured m;
	uint8_t *buffer;	/* PIECE_BYTES */
	struct piece *first, **end;
	uint64_t bytes;
};

const char *probe_leg_name(enum probe_leg leg, bool p2p)
{
	static const char *const names[PROBE_LEGS] = {
		[PROBE_LEG_P2P] = "RUNNING -> RUNNING_P2P",
		[PROBE_LEG_STOP] = "RUNNING_P2P -> STOP",
		[PROBE_LEG_STOP_COPY] = "STOP -> STOP_COPY",
		[PROBE_LEG_READ] = "reading its state",
		[PROBE_LEG_SAVED] = "STOP_COPY -> STOP",
		[PROBE_LEG_RESUMING] = "STOP -> RESUMING",
		[PROBE_LEG_WRITE] = "writing its state",
		[PROBE_LEG_VALIDATE] = "RESUMING -> STOP",
		[PROBE_LEG_RUN_P2P] = "STOP -> RUNNING_P2P",
		[PROBE_LEG_RUN] = "RUNNING_P2P -> RUNNING",
	};

	if (!p2p && leg == PROBE_LEG_STOP)
		return "RUNNING -> STOP";
	return !p2p && leg == PROBE_LEG_RUN ? "STOP -> RUNNING" : names[leg];
}

static int go(struct measuring *w, enum probe_leg leg, uint32_t state, struct vferry_error *err)
{
	uint64_t began = vf_now_ns();
	int r = w->b->ops->set_state(w->b, state, err);

	if (r < 0)
		return r;
	w->m.legs[leg].ns = vf_now_ns() - began;
	w->m.legs[leg].there = true;
	return 0;
}

static int keep(struct measuring *w, size_t bytes, struct vferry_error *err)
{
	struct piece *piece;

	if (w->bytes + bytes > STATE_MAX)
		return vferry_error_set(err, -EFBIG, "measure-size", w->name,
					"the device has more than %llu MiB of state, which are not kept",
					STATE_MAX / VF_MIB);
	piece = malloc(sizeof(*piece) + bytes);
	if (!piece)
		return vferry_error_set(err, -ENOMEM, "no-memory", w->name, "no memory");
	piece->next = NULL;
	piece->bytes = bytes;
	memcpy(piece->data, w->buffer, bytes);
	*w->end = piece;
	w->end = &piece->next;
	w->bytes += bytes;
	return 0;
}

static int read_all(struct measuring *w, struct vferry_error *err)
{
	uint64_t ns = 0;

	for (;;) {
		uint64_t began = vf_now_ns();
		ssize_t n = w->b->ops->data_read(w->b, w->buffer, PIECE_BYTES, err);
		int r;

		ns += vf_now_ns() - began;
		if (n < 0)
			return (int) n;
		if (n == 0)
			break;
		r = keep(w, (size_t) n, err);
		if (r < 0)
			return r;
	}
	w->m.legs[PROBE_LEG_READ].ns = ns;
	w->m.legs[PROBE_LEG_READ].bytes = w->bytes;
	w->m.legs[PROBE_LEG_READ].there = true;
	return 0;
}

static int write_all(struct measuring *w, struct vferry_error *err)
{
	uint64_t ns = 0;

	for (const struct piece *piece = w->first; piece; piece = piece->next) {
		uint64_t began;
		int r;

		memcpy(w->buffer, piece->data, piece->bytes);
		began = vf_now_ns();
		r = w->b->ops->data_write(w->b, w->buffer, piece->bytes, err);
		ns += vf_now_ns() - began;
		if (r < 0)
			return r;
	}
	w->m.legs[PROBE_LEG_WRITE].ns = ns;
	w->m.legs[PROBE_LEG_WRITE].bytes = w->bytes;
	w->m.legs[PROBE_LEG_WRITE].there = true;
	return 0;
}

static int go_all_the_way(struct measuring *w, bool p2p, struct vferry_error *err)
{
	int r = p2p ? go(w, PROBE_LEG_P2P, VF_VFIO_STATE_RUNNING_P2P, err) : 0;

	if (r == 0)
		r = go(w, PROBE_LEG_STOP, VF_VFIO_STATE_STOP, err);
	if (r == 0)
		r = go(w, PROBE_LEG_STOP_COPY, VF_VFIO_STATE_STOP_COPY, err);
	if (r == 0)
		r = read_all(w, err);
	if (r == 0)
		r = go(w, PROBE_LEG_SAVED, VF_VFIO_STATE_STOP, err);
	if (r == 0)
		r = go(w, PROBE_LEG_RESUMING, VF_VFIO_STATE_RESUMING, err);
	if (r == 0)
		r = write_all(w, err);
	if (r == 0)
		r = go(w, PROBE_LEG_VALIDATE, VF_VFIO_STATE_STOP, err);
	if (r == 0 && p2p)
		r = go(w, PROBE_LEG_RUN_P2P, VF_VFIO_STATE_RUNNING_P2P, err);
	return r < 0 ? r : go(w, PROBE_LEG_RUN, VF_VFIO_STATE_RUNNING, err);
}

/* What failed is told; that the device is not well afterwards is told with it. */
static int give_back(struct measuring *w, int error, struct vferry_error *err)
{
	struct vferry_error why = VFERRY_ERROR_INIT;
	char before[sizeof(why.message)] = "";
	int r = w->b->ops->reset(w->b, &why);

	if (!err || r == 0)
		return error;
	memcpy(before, err->message, sizeof(before));
	(void) snprintf(err->message, sizeof(err->message), "%.300s; and the device could not be reset "
			"afterwards: %s", before, vferry_errno_name(r));
	return error;
}

static int check_running(struct measuring *w, struct vferry_error *err)
{
	uint32_t state;
	int r = w->b->ops->get_state(w->b, &state, err);
	const char *name;

	if (r < 0 || state == VF_VFIO_STATE_RUNNING)
		return r;
	name = vf_vfio_state_name(state);
	return vferry_error_set(err, -EBUSY, "measure-state", w->name,
				"the device is in %s and not in RUNNING: nothing was done to it",
				name ? name : "a state that does not exist");
}

int probe_measure(struct vf_backend *backend, const struct probe_facts *facts,
		  struct probe_measured *ret, struct vferry_error *err)
{
	struct measuring w = { .b = backend, .name = facts->name };
	int r;

	w.end = &w.first;
	r = check_running(&w, err);
	if (r < 0)
		return r;
	w.buffer = malloc(PIECE_BYTES);
	if (!w.buffer)
		return vferry_error_set(err, -ENOMEM, "no-memory", w.name, "no memory");
	memset(w.buffer, 0, PIECE_BYTES);
	r = go_all_the_way(&w, facts->vfio.flags & VF_VFIO_MIGRATION_P2P, err);
	if (r < 0)
		r = give_back(&w, r, err);
	else
		*ret = w.m;
	while (w.first) {
		struct piece *next = w.first->next;

		free(w.first);
		w.first = next;
	}
	free(w.buffer);
	return r;
}
