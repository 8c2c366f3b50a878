/* SPDX-License-Identifier: MIT */
/*
 * vferry/component.h - a part of the machine that has state.
 *
 * A component tells the session its name, what the other side must match (identity), the sections
 * it writes or reads, and its steps. The session decides when a step runs: by the order rules of
 * <vferry/order.h>, never by the order of registration or of the stream.
 *
 * Threads: identity and check run on the session's thread. Steps run on any thread of the session,
 * several at a time unless a rule says otherwise; two steps of one component may run at one time
 * only if no rule orders them. read() and write() of a stream run on the component's own worker.
 * None of them may call session functions, except those that take a struct vferry_step.
 */
#ifndef VFERRY_COMPONENT_H
#define VFERRY_COMPONENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <vferry/error.h>
#include <vferry/order.h>
#include <vferry/stream.h>

#ifdef __cplusplus
extern "C" {
#endif

#define VFERRY_NAME_BYTES 64	/* a component's name with its NUL */

struct vferry_step;	/* one step while it runs */
struct vferry_reasons;	/* a list of reasons against, bounded */

/* What goes with each section of a component. */
struct vferry_section_desc {
	uint32_t id;		/* unique in the component, never 0, never re-used for another thing */
	const char *name;	/* "registers" */
	uint16_t version;	/* written by this side */
	uint16_t oldest;	/* oldest version that this side can read */
	uint32_t max_bytes;	/* a larger one is refused before it is allocated */
};

struct vferry_step_desc {
	uint32_t size;		/* sizeof(struct vferry_step_desc) */
	enum vferry_step_class step_class;
	const char *name;	/* full name: COMPONENT:NAME */
	uint32_t section;	/* written (save) or read (load) by this step; 0 = none */
	uint32_t section_else;	/* load: read this one if the source does not send `section` */
	uint64_t declared_ns;	/* how long it takes if nothing was measured; 0 = unknown */
	int (*run)(void *user, struct vferry_step *step, struct vferry_error *err);
};

/* How much of a stream is left; each figure is a measurement or unknown, never a guess. */
struct vferry_remaining {
	uint64_t initial_bytes;		/* to be sent before a switchover makes sense */
	uint64_t dirty_bytes;		/* changed since it was read */
	uint64_t stop_copy_bytes;	/* estimate of what follows after the stop */
	bool precopy_known;		/* the first two are valid */
	bool stop_copy_known;
	bool reinit;			/* new initial bytes appeared: an acknowledgement is void */
};

/* State too large or too slow for a section. */
struct vferry_stream_ops {
	uint32_t size;
	/* Source. NULL: no state before the stop. Called once, machine running. Return: 0; positive:
	 * none before the stop this time; negative errno. */
	int (*precopy_start)(void *user, struct vferry_error *err);
	/*
	 * Up to @size bytes of state. Before the device-stop step: 0 = nothing right now. After it:
	 * 0 = the end. Return: bytes; negative errno.
	 */
	int64_t (*read)(void *user, void *buffer, size_t size, struct vferry_error *err);
	int (*remaining)(void *user, struct vferry_remaining *ret, struct vferry_error *err);
	/*
	 * Grows when the guest has reset the device: what was sent before is void. It changes inside
	 * read() or the device-stop step only; bytes belong to what it says after the read().
	 */
	uint32_t (*generation)(void *user);
	/* Destination. All of @size bytes are taken. */
	int (*write)(void *user, const void *data, size_t size, struct vferry_error *err);
	/* Destination: forget what was written, be ready for a new beginning. */
	int (*restart)(void *user, struct vferry_error *err);
	/*
	 * Memory, @ret_bytes of it, from which write() takes and into which read() gives without a copy:
	 * shared with a device, say. Used where it suits, so read() and write() must do with any other
	 * too. It lives as long as the component. NULL, or returning NULL: there is none.
	 */
	void *(*area)(void *user, size_t *ret_bytes);
};

struct vferry_component {
	uint32_t size;
	const char *name;	/* "gic", "cpu/0", "vfio/00:04.0"; copied */
	const char *device;	/* guest PCI address if this is part of a device; copied; or NULL */
	void *user;
	/* What the destination must match. May be NULL: nothing. */
	int (*identity)(void *user, struct vferry_writer *w, struct vferry_error *err);
	/* Destination: compares, and adds every reason against. Return: 0 if it could compare. */
	int (*check)(void *user, struct vferry_reader *source, struct vferry_reasons *reasons);
	const struct vferry_section_desc *sections;	/* borrowed while the session lives */
	size_t section_count;
	const struct vferry_step_desc *steps;		/* borrowed while the session lives */
	size_t step_count;
	const struct vferry_stream_ops *stream;		/* borrowed; NULL: sections only */
};

/**
 * vferry_reasons_add() - one more reason why this machine cannot be taken
 * @id: stable word for programs; @object: component; the sentence should name both values.
 * Beyond a bound further ones are only counted.
 */
void vferry_reasons_add(struct vferry_reasons *reasons, const char *id, const char *object,
			const char *fmt, ...) __attribute__((format(printf, 4, 5)));

/* The writer of the step's section (save), or NULL. Valid while the step runs. */
struct vferry_writer *vferry_step_writer(struct vferry_step *step);
/* The reader at the beginning of the step's section (load), or NULL. */
struct vferry_reader *vferry_step_reader(struct vferry_step *step);
/* Version of the section being read. */
uint16_t vferry_step_section_version(const struct vferry_step *step);
/* Id of the section being read: `section`, or `section_else`. 0 = none. */
uint32_t vferry_step_section_id(const struct vferry_step *step);
/* Bytes that this step moved by other means, for the report. */
void vferry_step_count_bytes(struct vferry_step *step, uint64_t bytes);

#ifdef __cplusplus
}
#endif
#endif
