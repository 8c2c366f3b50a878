/* SPDX-License-Identifier: MIT */
/*
 * test_device_steps.h - runs the steps of a device by class, as a session would, and carries its
 * sections. The step and the list of reasons are this test's own.
 */
#ifndef TEST_DEVICE_STEPS_H
#define TEST_DEVICE_STEPS_H

#include "test_device.h"

#include "fake_step.h"

struct vferry_reasons {
	unsigned int count;
	char ids[32][48];
};

uint16_t vferry_step_section_version(const struct vferry_step *step)
{
	(void) step;
	return 1;
}

uint32_t vferry_step_section_id(const struct vferry_step *step)
{
	return step->section;
}

void vferry_step_count_bytes(struct vferry_step *step, uint64_t bytes)
{
	(void) step;
	(void) bytes;
}

void vferry_reasons_add(struct vferry_reasons *reasons, const char *id, const char *object,
			const char *fmt, ...)
{
	(void) object;
	(void) fmt;
	assert_true(reasons->count < 32);
	(void) snprintf(reasons->ids[reasons->count++], sizeof(reasons->ids[0]), "%s", id);
}

static inline bool has_reason(const struct vferry_reasons *reasons, const char *id)
{
	for (unsigned int i = 0; i < reasons->count; i++)
		if (strcmp(reasons->ids[i], id) == 0)
			return true;
	return false;
}

/* What goes over the wire. */
struct sections {
	uint8_t *body[3];
	size_t size[3];
};

static inline void sections_free(struct sections *s)
{
	for (int i = 0; i < 3; i++)
		free(s->body[i]);
	memset(s, 0, sizeof(*s));
}

static const struct vferry_step_desc *step_of(struct machine *m, enum vferry_step_class class_,
					      struct vferry_component *ret_component)
{
	struct vferry_component components[VF_DEVICE_COMPONENTS];

	assert_int_equal(vf_device_components(m->device, components), 0);
	for (int c = 0; c < VF_DEVICE_COMPONENTS; c++)
		for (size_t i = 0; i < components[c].step_count; i++)
			if (components[c].steps[i].step_class == class_) {
				*ret_component = components[c];
				return &components[c].steps[i];
			}
	return NULL;
}

static int run_step(struct machine *m, enum vferry_step_class class_, struct sections *wire,
		    struct vferry_error *err)
{
	struct vferry_component component;
	const struct vferry_step_desc *desc = step_of(m, class_, &component);
	struct vferry_step step = { 0 };
	uint32_t id;
	int r;

	assert_non_null(desc);
	id = desc->section;
	if (id && VFERRY_PHASE_OF(class_) == VFERRY_PHASE_SAVE) {
		const void *data;

		assert_int_equal(vferry_writer_new(VF_CONFIG_SECTION_BYTES_MAX, &step.writer), 0);
		r = desc->run(component.user, &step, err);
		data = vferry_writer_data(step.writer, &wire->size[id]);
		free(wire->body[id]);
		wire->body[id] = NULL;
		if (r == 0) {
			assert_true(vferry_writer_ok(step.writer));
			wire->body[id] = malloc(wire->size[id]);
			memcpy(wire->body[id], data, wire->size[id]);
		}
		vferry_writer_free(step.writer);
		return r;
	}
	if (id && !wire->body[id])
		id = desc->section_else;
	if (id && wire->body[id])
		assert_int_equal(vferry_reader_new(wire->body[id], wire->size[id], &step.reader), 0);
	step.section = id;
	r = desc->run(component.user, &step, err);
	if (r == 0 && step.reader)
		assert_true(vferry_reader_done(step.reader));
	vferry_reader_free(step.reader);
	return r;
}

/* Must work. */
#define run_ok(m, class_, wire)							\
	do {									\
		struct vferry_error err_ = VFERRY_ERROR_INIT;			\
		if (run_step(m, class_, wire, &err_) != 0)			\
			fail_msg(#class_ ": %s: %s", err_.id, err_.message);	\
	} while (0)

static inline const struct vferry_stream_ops *stream_of(struct machine *m)
{
	struct vferry_component components[VF_DEVICE_COMPONENTS];

	assert_int_equal(vf_device_components(m->device, components), 0);
	return components[VF_DEVICE_COMPONENT_VFIO].stream;
}

static inline int64_t stream_read_some(struct machine *m, struct vferry_error *err)
{
	uint8_t buffer[64];

	return stream_of(m)->read(m->device, buffer, sizeof(buffer), err);
}

/* Undo, in the order of the rules; says by return what the run step said. */
__attribute__((unused))
static int undo_all(struct machine *m, struct vferry_error *err)
{
	int r;

	assert_int_equal(run_step(m, VFERRY_UNDO_BAR_MAP, NULL, NULL), 0);
	assert_int_equal(run_step(m, VFERRY_UNDO_IRQ_CONNECT, NULL, NULL), 0);
	assert_int_equal(run_step(m, VFERRY_UNDO_INTX, NULL, NULL), 0);
	assert_int_equal(run_step(m, VFERRY_UNDO_DEVICE_RUN_P2P, NULL, NULL), 0);
	r = run_step(m, VFERRY_UNDO_DEVICE_RUN, NULL, err);
	assert_int_equal(run_step(m, VFERRY_UNDO_LOGGING_OFF, NULL, NULL), 0);
	return r;
}

#endif
