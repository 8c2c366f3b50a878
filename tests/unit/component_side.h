/* SPDX-License-Identifier: MIT */
/*
 * component_side.h - for tests: what a session does with the components of a machine, one call at a
 * time. Whoever includes it says which they are, in a `struct side`.
 */
#ifndef TESTS_UNIT_COMPONENT_SIDE_H
#define TESTS_UNIT_COMPONENT_SIDE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <vferry/component.h>
#include <vferry/order.h>

#include "fake_step.h"

#define SIDE_COMPONENTS	8u
#define SIDE_SECTION	(64u << 10)
#define COUNT(a)	(sizeof(a) / sizeof((a)[0]))

struct side {
	const struct vferry_component *component[SIDE_COMPONENTS];
	size_t count;
};

static inline void side_add(struct side *side, const struct vferry_component *c)
{
	assert_true(side->count < SIDE_COMPONENTS);
	side->component[side->count++] = c;
}

/* Which of the components that is; fails if there is none. */
static inline size_t side_index(struct side side, const char *name)
{
	for (size_t i = 0; i < side.count; i++)
		if (!strcmp(side.component[i]->name, name))
			return i;
	fail_msg("no component %s", name);
	return 0;
}

static inline const struct vferry_component *side_component(struct side side, const char *name)
{
	return side.component[side_index(side, name)];
}

/* ---- steps ---- */

/* What one side sends: the section of each component. */
struct side_sections {
	uint8_t data[SIDE_COMPONENTS][SIDE_SECTION];
	size_t bytes[SIDE_COMPONENTS];
};

static inline int side_run_step(const struct vferry_component *c,
				const struct vferry_step_desc *desc, uint8_t *data, size_t *bytes,
				struct vferry_error *err)
{
	bool saves = VFERRY_PHASE_OF(desc->step_class) == VFERRY_PHASE_SAVE;
	struct vferry_step step = { 0 };
	int ret;

	if (desc->section && saves)
		assert_int_equal(vferry_writer_new(c->sections[0].max_bytes, &step.writer), 0);
	else if (desc->section)
		assert_int_equal(vferry_reader_new(data, *bytes, &step.reader), 0);
	ret = desc->run(c->user, &step, err);
	if (step.writer && !ret) {
		const void *from = vferry_writer_data(step.writer, bytes);

		assert_true(vferry_writer_ok(step.writer));
		assert_true(*bytes <= SIDE_SECTION);
		memcpy(data, from, *bytes);
	}
	vferry_writer_free(step.writer);
	vferry_reader_free(step.reader);
	return ret;
}

/* One class on every component that has it. Return: the first failure. */
static inline int side_run_class(struct side side, enum vferry_step_class class,
				 struct side_sections *sections, struct vferry_error *err)
{
	bool found = false;
	int ret = 0;

	for (size_t i = 0; i < side.count && !ret; i++) {
		const struct vferry_component *c = side.component[i];

		for (size_t j = 0; j < c->step_count && !ret; j++) {
			if (c->steps[j].step_class != class)
				continue;
			found = true;
			ret = side_run_step(c, &c->steps[j], sections->data[i],
					    &sections->bytes[i], err);
		}
	}
	assert_true(found);
	return ret;
}

static inline void side_run_all(struct side side, const enum vferry_step_class *order, size_t count,
				struct side_sections *sections)
{
	struct vferry_error err = VFERRY_ERROR_INIT;

	for (size_t i = 0; i < count; i++)
		if (side_run_class(side, order[i], sections, &err))
			fail_msg("%s: %s", err.object, err.message);
}

/* The load step number @n of a component; NULL: it has fewer. */
static inline const struct vferry_step_desc *side_load_step(const struct vferry_component *c,
							    size_t n)
{
	for (size_t i = 0; i < c->step_count; i++)
		if (VFERRY_PHASE_OF(c->steps[i].step_class) == VFERRY_PHASE_LOAD && !n--)
			return &c->steps[i];
	return NULL;
}

static inline int side_load_bytes(const struct vferry_component *c, size_t n, uint8_t *data,
				  size_t bytes, struct vferry_error *err)
{
	*err = (struct vferry_error) VFERRY_ERROR_INIT;
	return side_run_step(c, side_load_step(c, n), data, &bytes, err);
}

/* ---- identities ---- */

struct vferry_reasons {
	unsigned count;
	char ids[2048];		/* each followed by a space */
	char all[8192];		/* each sentence followed by a line's end */
};

void vferry_reasons_add(struct vferry_reasons *reasons, const char *id, const char *object,
			const char *fmt, ...)
{
	size_t used = strlen(reasons->ids), said = strlen(reasons->all);
	char sentence[512];
	va_list args;

	assert_non_null(object);
	va_start(args, fmt);
	(void) vsnprintf(sentence, sizeof(sentence), fmt, args);
	va_end(args);
	reasons->count++;
	(void) snprintf(reasons->ids + used, sizeof(reasons->ids) - used, "%s ", id);
	(void) snprintf(reasons->all + said, sizeof(reasons->all) - said, "%s: %s\n", object,
			sentence);
}

/* What a component says of itself. Return: bytes, SIDE_SECTION at most. */
static inline size_t side_identity(const struct vferry_component *c, uint8_t *to)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct vferry_writer *w = NULL;
	const void *data;
	size_t bytes = 0;

	assert_int_equal(vferry_writer_new(SIDE_SECTION, &w), 0);
	assert_int_equal(c->identity(c->user, w, &err), 0);
	assert_true(vferry_writer_ok(w));
	data = vferry_writer_data(w, &bytes);
	memcpy(to, data, bytes);
	vferry_writer_free(w);
	return bytes;
}

static inline int side_check(const struct vferry_component *c, const uint8_t *data, size_t bytes,
			     struct vferry_reasons *reasons)
{
	struct vferry_reader *r = NULL;
	int ret;

	memset(reasons, 0, sizeof(*reasons));
	assert_int_equal(vferry_reader_new(data, bytes, &r), 0);
	ret = c->check(c->user, r, reasons);
	vferry_reader_free(r);
	return ret;
}

/* ---- time ---- */

/* A section that begins with u8 enum vferry_kvm_time and u64 CLOCK_REALTIME: saved @ns earlier. */
static inline void side_make_older(uint8_t *section, int64_t ns)
{
	uint64_t realtime;

	memcpy(&realtime, section + 1, sizeof(realtime));
	realtime -= (uint64_t) ns;
	memcpy(section + 1, &realtime, sizeof(realtime));
}

#endif
