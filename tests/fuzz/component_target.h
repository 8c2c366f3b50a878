/* SPDX-License-Identifier: MIT */
/*
 * component_target.h - for targets that call components themselves: the session's side of a step and
 * of a list of reasons, as far as a component sees it.
 */
#ifndef TESTS_FUZZ_COMPONENT_TARGET_H
#define TESTS_FUZZ_COMPONENT_TARGET_H

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

#include <vferry/component.h>

struct vferry_step {
	struct vferry_reader *reader;
};

struct vferry_reasons {
	unsigned count;
};

struct vferry_reader *vferry_step_reader(struct vferry_step *step)
{
	return step->reader;
}

struct vferry_writer *vferry_step_writer(struct vferry_step *step)
{
	(void) step;
	return NULL;
}

/* Written out, so that what a sentence is made of is read. */
void vferry_reasons_add(struct vferry_reasons *reasons, const char *id, const char *object,
			const char *fmt, ...)
{
	char text[512];
	va_list args;

	(void) id;
	(void) object;
	va_start(args, fmt);
	(void) vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	reasons->count++;
}

#endif
