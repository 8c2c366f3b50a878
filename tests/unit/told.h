/* SPDX-License-Identifier: MIT */
/* told.h - what a source knows of interrupts when the destination has told. Behind cmocka.h. */
#ifndef TESTS_UNIT_TOLD_H
#define TESTS_UNIT_TOLD_H

#include <stdlib.h>
#include <time.h>

#include <vferry/session.h>

/* Both sides are known then. Return: the caller's, free(). */
static inline struct vferry_interrupts *told_interrupts(struct vferry_session *source)
{
	const struct timespec pause = { .tv_nsec = 1000000 };
	struct vferry_interrupts *in;

	for (;;) {
		assert_int_equal(vferry_session_interrupts(source, &in), 0);
		if (in->after != VFERRY_KNOWN_SOON)
			break;
		free(in);
		(void) nanosleep(&pause, NULL);
	}
	if (in->before != VFERRY_KNOWN || in->after != VFERRY_KNOWN)
		fail_msg("before: %s; after: %s", in->before_reason, in->after_reason);
	return in;
}

#endif
