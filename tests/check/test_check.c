/* SPDX-License-Identifier: MIT */
/*
 * test_check.c - a good device passes whole, and each assertion finds its fault: the fault's own
 * assertion fails, no other does, and there is a fault for each.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <cmocka.h>

#include <pthread.h>

#include "base/checked.h"
#include "broken.h"
#include "devices/accel_server.h"

#define STATE_BYTES 65536u
#define FAILED_MAX 64u

/* What sanitizers look at is much the same in each run: some are enough there. */
#ifdef __SANITIZE_THREAD__
#define STEP 16u
#elif defined(__SANITIZE_ADDRESS__)
#define STEP 4u
#else
#define STEP 1u
#endif

struct rig {
	const struct fault *fault;
	unsigned int device;
	struct broken *broken;			/* the one that is open */
	char folder[64], path[96];
	struct accel_server *server;
	int stop;
	pthread_t thread;

	const char *failed[FAILED_MAX];		/* ids */
	size_t failed_count;
	enum check_verdict verdict;		/* of the fault's assertion */
	char text[400];
	struct check_report report;
};

static void *serve(void *arg)
{
	struct rig *rig = arg;

	(void) accel_server_run(rig->server, rig->stop, false, NULL);
	return NULL;
}

static void rig_start(struct rig *rig, const struct fault *fault, unsigned int device, const char *rules)
{
	struct accel_server_options options = {
		.device = { .state_bytes = STATE_BYTES, .overlay_bytes = STATE_BYTES, .msix_vectors = 4 },
		.precopy = !(device & DEVICE_NO_PRECOPY), .p2p = !(device & DEVICE_NO_P2P),
		.dma_log = true, .extensions = true,
	};
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct vf_script script;

	*rig = (struct rig) { .fault = fault, .device = device };
	(void) snprintf(rig->folder, sizeof(rig->folder), "/tmp/vferry-check-XXXXXX");
	assert_non_null(mkdtemp(rig->folder));
	(void) snprintf(rig->path, sizeof(rig->path), "%s/device", rig->folder);
	assert_int_equal(vf_script_parse(&script, rules, strlen(rules), "rules", &err), 0);
	assert_int_equal(accel_server_new(&options, &script, &rig->server, &err), 0);
	assert_int_equal(accel_server_listen(rig->server, rig->path, &err), 0);
	rig->stop = eventfd(0, EFD_CLOEXEC);
	assert_int_equal(pthread_create(&rig->thread, NULL, serve, rig), 0);
}

static void rig_end(struct rig *rig)
{
	assert_int_equal(eventfd_write(rig->stop, 1), 0);
	assert_int_equal(pthread_join(rig->thread, NULL), 0);
	accel_server_free(rig->server);
	(void) close(rig->stop);
	(void) rmdir(rig->folder);
}

static int rig_open(void *user, struct vf_backend **ret_backend, struct vferry_error *err)
{
	struct vf_backend_options options = { .timeout_ns = 10000000000ull };
	struct rig *rig = user;
	struct vf_backend *real;
	int r = vf_backend_open_vfio_user(rig->path, &options, &real, err);

	if (r < 0)
		return r;
	*ret_backend = broken_new(real, rig->fault, rig->device);
	assert_non_null(*ret_backend);
	rig->broken = (struct broken *) *ret_backend;
	return 0;
}

static void rig_result(void *user, const struct check_result *result)
{
	struct rig *rig = user;
	const struct fault *f = rig->fault;
	bool own = f && !strcmp(result->assertion->id, f->id);

	if (getenv("CHECK_VERBOSE") && result->text[0])
		(void) fprintf(stderr, "    %s %s: %s\n", check_verdict_name(result->verdict),
			       result->assertion->id, result->text);
	if (own) {
		rig->verdict = result->verdict;
		(void) snprintf(rig->text, sizeof(rig->text), "%s", result->text);
	} else if (result->verdict == CHECK_FAIL && rig->failed_count < FAILED_MAX &&
		   !(f && f->also && strstr(f->also, result->assertion->id))) {
		(void) fprintf(stderr, "%s fails as well: %s\n", result->assertion->id, result->text);
		rig->failed[rig->failed_count++] = result->assertion->id;
	}
}

static void rig_run(struct rig *rig)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	const struct check_sys sys = descriptors_of(&rig->broken);
	const struct check_options options = {
		.sys = &sys, .open = rig_open, .result = rig_result, .user = rig, .seed = 1,
		.only = rig->fault && rig->fault->alone ? &rig->fault->id : NULL,
		.only_count = rig->fault && rig->fault->alone,
	};

	assert_int_equal(check_run(&options, &rig->report, &err), 0);
}

/* Return: whether it was found, by its own assertion alone. */
static bool try_fault(const struct fault *fault)
{
	enum check_verdict want = fault->verdict ? fault->verdict : CHECK_FAIL;
	struct rig rig;

	rig_start(&rig, fault, fault->device, "");
	rig_run(&rig);
	rig_end(&rig);
	if (rig.verdict == want && !rig.failed_count)
		return true;
	(void) fprintf(stderr, "%s: %s (%s), and %zu others fail\n", fault->id,
		       check_verdict_name(rig.verdict), rig.text, rig.failed_count);
	return false;
}

/* --- tests --- */

static void test_good_device(void **state)
{
	static const unsigned int kinds[] = { 0, DEVICE_NO_P2P, DEVICE_NO_PRECOPY, DEVICE_ERRS, DEVICE_DESCRIPTORS,
					      DEVICE_NO_P2P | DEVICE_NO_PRECOPY };

	(void) state;
	for (size_t i = 0; i < VF_ARRAY_COUNT(kinds); i++) {
		struct rig rig;

		rig_start(&rig, NULL, kinds[i], "");
		rig_run(&rig);
		rig_end(&rig);
		assert_int_equal(rig.report.verdicts[CHECK_FAIL], 0);
		assert_int_equal(rig.report.verdicts[CHECK_WARN], 0);
		assert_int_equal(rig.report.verdicts[CHECK_BLOCKED], 0);
		assert_true(rig.report.verdicts[CHECK_PASS] > 40);
		assert_string_equal(rig.report.left, "RUNNING");
	}
}

static void test_faults(void **state)
{
	const struct fault *fault;
	bool found = true;

	(void) state;
	for (size_t i = 0; (fault = fault_at(i)) != NULL; i += STEP)
		found &= try_fault(fault);
	assert_true(found);
}

static int arc_answers(struct broken *b, uint32_t from, uint32_t to)
{
	return from == b->fault->a && to == b->fault->b ? b->fault->code : broken_set_state(b, to);
}

static bool is_no_arc(const struct check_assertion *a)
{
	return a->from == VF_VFIO_STATE_STOP_COPY &&
	       (a->to == VF_VFIO_STATE_PRE_COPY || a->to == VF_VFIO_STATE_PRE_COPY_P2P);
}

static void test_arcs(void **state)
{
	(void) state;
	for (size_t i = 0; i < check_group_arc.count; i += STEP) {
		const struct check_assertion *a = &check_group_arc.assertions[i];
		struct fault fault = { .id = a->id, .set_state = arc_answers, .a = a->from, .b = a->to,
				       .code = is_no_arc(a) ? 0 : -5 };

		assert_true(try_fault(&fault));
	}
}

static bool has_fault(const struct check_assertion *a)
{
	const struct fault *fault;

	for (size_t i = 0; (fault = fault_at(i)) != NULL; i++)
		if (!strcmp(fault->id, a->id))
			return true;
	return false;
}

static void test_each_has_one(void **state)
{
	const struct check_group *group;
	size_t missing = 0;

	(void) state;
	for (size_t g = 0; (group = check_group(g)) != NULL; g++)
		for (size_t i = 0; i < group->count; i++) {
			if (group == &check_group_arc || has_fault(&group->assertions[i]))
				continue;
			(void) fprintf(stderr, "%s has no fault\n", group->assertions[i].id);
			missing++;
		}
	assert_int_equal(missing, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good_device),
		cmocka_unit_test(test_each_has_one),
		cmocka_unit_test(test_faults),
		cmocka_unit_test(test_arcs),
	};

	return cmocka_run_group_tests_name("check", tests, NULL, NULL);
}
