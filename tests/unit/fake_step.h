/* SPDX-License-Identifier: MIT */
/* fake_step.h - a step that a test runs itself: what it writes into and reads from is the test's. */
#ifndef TESTS_FAKE_STEP_H
#define TESTS_FAKE_STEP_H

#include <vferry/component.h>

struct vferry_step {
	struct vferry_writer *writer;
	struct vferry_reader *reader;
	uint32_t section;
};

struct vferry_writer *vferry_step_writer(struct vferry_step *step)
{
	return step->writer;
}

struct vferry_reader *vferry_step_reader(struct vferry_step *step)
{
	return step->reader;
}

#endif
