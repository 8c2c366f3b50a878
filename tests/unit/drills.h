/* SPDX-License-Identifier: MIT */
/*
 * drills.h - drills that are the same whatever runs the self-checking guest: something is taken away
 * behind its back, and the judge must complain.
 */
#ifndef TESTS_DRILLS_H
#define TESTS_DRILLS_H

#include "guest/worker.h"
#include "machine_rig.h"

#define DRILL_ARGS	"working-set=1M notice-ms=200 lost-ms=300"
#define DRILL_TRIES	200u

/* Where the guest is found: vCPU 0's words, and the beginning of RAM. */
struct drill {
	const struct worker *worker;
	uint64_t ram_gpa;
};

static inline void *drill_at(struct rig *rig, uint64_t gpa, uint64_t bytes)
{
	void *at = vferry_ram_host(machine_ram(rig->m), gpa, bytes);

	assert_non_null(at);
	return at;
}

static inline struct accel_descriptor *drill_descriptor(struct rig *rig, const struct drill *drill,
							unsigned s)
{
	uint64_t index = drill->worker->device[0].slot[s].descriptor;

	return drill_at(rig, drill->ram_gpa + WORKER_DEVICE_AREA +
			index * sizeof(struct accel_descriptor), sizeof(struct accel_descriptor));
}

static inline bool drill_all_done(struct rig *rig, const struct drill *drill)
{
	for (unsigned s = 0; s < drill->worker->device[0].slots; s++)
		if (drill_descriptor(rig, drill, s)->status == ACCEL_JOB_PENDING)
			return false;
	return true;
}

/* Stopped, with a job under way in every slot that the device has done by now. */
static inline void drill_stop_with_jobs_done(struct rig *rig, const struct drill *drill)
{
	const struct worker_device *dev = &drill->worker->device[0];

	for (;;) {
		unsigned in_flight = 0;

		start(rig);
		sleep_ms(20);
		stop(rig);
		for (unsigned s = 0; s < dev->slots; s++)
			in_flight += dev->slot[s].in_flight != 0;
		if (dev->phase == WORKER_DEVICE_RUN && in_flight == dev->slots)
			break;
	}
	for (unsigned i = 0; i < DRILL_TRIES && !drill_all_done(rig, drill); i++)
		sleep_ms(10);
	assert_true(drill_all_done(rig, drill));
	sleep_ms(30);	/* for its interrupt to get through */
}

/* Clean until now; then not any more. */
static inline void expect_complaint(struct rig *rig)
{
	look(rig);
	assert_true(machine_verdict_clean(&rig->v, 0));
	start(rig);
	for (unsigned i = 0; i < DRILL_TRIES && machine_verdict_clean(&rig->v, 0); i++) {
		sleep_ms(20);
		look(rig);
	}
	judge(rig);
	assert_false(machine_verdict_clean(&rig->v, 0));
}

/* The machine is stopped with jobs done. */
static inline void drill_lose_job(struct rig *rig, const struct drill *drill)
{
	struct accel_descriptor *d = drill_descriptor(rig, drill, 2);

	assert_int_equal(d->status, ACCEL_JOB_OK);
	d->status = ACCEL_JOB_PENDING;
	expect_complaint(rig);
	assert_int_equal(rig->v.lost_jobs, 1);
	assert_int_equal(rig->v.spurious, 1);
}

static inline void drill_corrupt_results(struct rig *rig, const struct drill *drill)
{
	for (unsigned s = 0; s < 4; s++) {
		uint8_t *last = drill_at(rig, drill->ram_gpa + WORKER_DEVICE_AREA + WORKER_BUFFERS +
					 (2 * s + 1) * WORKER_PAGE + 2047, 1);

		/* Whatever the job was: the last byte that it wrote, its result, or its echo. */
		*last ^= 0x10;
		drill_descriptor(rig, drill, s)->result ^= 1;
		if (drill->worker->device[0].slot[s].op == ACCEL_OP_STORE)
			drill_descriptor(rig, drill, s)->cookie_echo ^= 1;
	}
	expect_complaint(rig);
	assert_int_equal(rig->v.corrupt_jobs, 4);
}

/* After a drill that took an interrupt. */
static inline void expect_unnoticed_job(const struct rig *rig)
{
	assert_int_equal(rig->v.unnoticed_jobs, 1);
	assert_int_equal(rig->v.spurious, 0);
	assert_string_equal(rig->v.first_fault + 15, ": job done, no interrupt came");
}

#endif
