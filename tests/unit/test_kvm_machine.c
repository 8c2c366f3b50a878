/* SPDX-License-Identifier: MIT */
/* test_kvm_machine.c - a KVM machine's life: stopped in any state, slowed, reset, switched off. */
#include "machine_rig.h"

static unsigned offs, resets;	/* told by the machine under test; under news_lock */
static pthread_mutex_t news_lock = PTHREAD_MUTEX_INITIALIZER;

static void on_power_off(void *user)
{
	(void) user;
	pthread_mutex_lock(&news_lock);
	offs++;
	pthread_mutex_unlock(&news_lock);
}

static void on_reset(void *user)
{
	(void) user;
	pthread_mutex_lock(&news_lock);
	resets++;
	pthread_mutex_unlock(&news_lock);
}

static unsigned count(const unsigned *news)
{
	unsigned value;

	pthread_mutex_lock(&news_lock);
	value = *news;
	pthread_mutex_unlock(&news_lock);
	return value;
}

static void wait_news(const unsigned *news, unsigned wanted)
{
	for (unsigned i = 0; i < 2000 && count(news) < wanted; i++)
		sleep_ms(5);
	assert_int_equal(count(news), wanted);
}

static void up(struct rig *rig, unsigned devices, const char *script, struct machine_options o)
{
	o.accel = "kvm";
	offs = resets = 0;
	rig_up(rig, devices, script, o);
}

static void up_with(struct rig *rig, unsigned devices, struct machine_options o,
		    const struct machine_callbacks *news)
{
	o.callbacks = news;
	up(rig, devices, NULL, o);
}

/* It takes no part in what is tested whether the guest answers: a reset is no answer. */
static void tell(struct rig *rig, const char *text)
{
	(void) machine_guest_command(rig->m, text, NULL, 0, NULL);
}

/* At any moment of booting and working, and no step is made while it is stopped. */
static void test_stop_at_any_time(void **state)
{
	struct machine_options o = MACHINE_OPTIONS_INIT;
	struct rig rig;

	(void) state;
	o.cpus = 2;
	o.guest_args = "working-set=1M notice-ms=5000";
	up(&rig, 1, NULL, o);
	for (unsigned i = 0; i < 60; i++) {
		uint64_t steps;

		start(&rig);
		sleep_ms(i % 4);
		stop(&rig);
		look(&rig);
		steps = rig.v.steps;
		look(&rig);
		assert_true(rig.v.steps == steps);
	}
	start(&rig);
	wait_booted(&rig);
	wait_for_jobs(&rig, 20);
	expect_clean(&rig);
	rig_down(&rig);
}

/* A device that no longer answers: a vCPU waits for it, and the stop is bounded all the same. */
static void test_hanging_device(void **state)
{
	struct machine_options o = MACHINE_OPTIONS_INIT;
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct rig rig;

	(void) state;
	o.guest_args = "working-set=1M notice-ms=200 lost-ms=300";
	o.stop_timeout_ns = SECOND / 20;
	up(&rig, 1, "on message REGION_READ 200 hang\non message REGION_WRITE 100 hang\n", o);
	start(&rig);
	for (unsigned i = 0; i < 500; i++) {
		vferry_error_clear(&err);
		if (machine_stop(rig.m, &err) == -ETIMEDOUT)
			break;
		start(&rig);
		sleep_ms(10);
	}
	assert_int_equal(err.code, -ETIMEDOUT);
	assert_string_equal(err.id, "vcpu-does-not-stop");
	assert_non_null(strstr(err.message, "vCPU 0"));
	assert_non_null(strstr(err.message, "waits for an access to 0x"));
	assert_true(machine_is_running(rig.m));
	/* The access itself ends with the device's time, and then there is nothing to wait for. */
	sleep_ms(1500);
	stop(&rig);
	/* The guest finds ones where its device was, and its jobs never done. */
	start(&rig);
	for (unsigned i = 0; i < 2000 && machine_verdict_clean(&rig.v, 0); i++) {
		sleep_ms(5);
		look(&rig);
	}
	assert_false(machine_verdict_clean(&rig.v, 0));
	rig_down(&rig);
}

static uint64_t dirtied_in(struct rig *rig, long ms)
{
	uint64_t before;

	look(rig);
	before = rig->v.dirtied_pages;
	sleep_ms(ms);
	look(rig);
	return rig->v.dirtied_pages - before;
}

static void test_throttle(void **state)
{
	struct machine_options o = MACHINE_OPTIONS_INIT;
	struct machine_info info;
	uint64_t whole, slowed = UINT64_MAX;
	struct rig rig;

	(void) state;
	o.guest_args = "working-set=8M rate=max notice-ms=5000";
	up(&rig, 0, NULL, o);
	start(&rig);
	wait_booted(&rig);
	whole = dirtied_in(&rig, 300);
	machine_throttle(rig.m, 90);
	machine_get_info(rig.m, &info);
	assert_int_equal(info.throttle_percent, 90);
	/* A tenth is what it should be; a third is what a busy host surely gets to see once. */
	for (unsigned i = 0; i < 20 && slowed > whole / 3; i++)
		slowed = dirtied_in(&rig, 300);
	assert_true(slowed <= whole / 3);
	stop(&rig);		/* out of the throttle's sleep, too */
	machine_throttle(rig.m, 0);
	start(&rig);
	for (unsigned i = 0; i < 20 && slowed <= whole / 3; i++)
		slowed = dirtied_in(&rig, 300);
	assert_true(slowed > whole / 3);
	expect_clean(&rig);
	rig_down(&rig);
}

/* Whatever the guest did to its vCPUs and interrupt controllers: it finds them as after power-on. */
static void test_reset(void **state)
{
	struct machine_options o = MACHINE_OPTIONS_INIT;
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct rig rig;

	(void) state;
	o.cpus = 2;
	o.guest_args = "working-set=1M";
	up(&rig, 1, NULL, o);
	start(&rig);
	for (unsigned i = 0; i < 4; i++) {
		wait_booted(&rig);
		wait_for_jobs(&rig, 20);
		expect_clean(&rig);
		if (machine_reset(rig.m, &err) < 0)
			fail_msg("%s", err.message);
		assert_true(machine_is_running(rig.m));
	}
	wait_booted(&rig);
	wait_for_jobs(&rig, 20);
	rig_down(&rig);
}

#if defined(__x86_64__)
static const char *const resets_by[] = { "reboot", "triple-fault" };

/* The machine began anew after it, so the guest can't tell. */
static void expect_what_it_did(struct rig *rig)
{
	judge(rig);
	assert_false(machine_verdict_clean(&rig->v, 0));
	assert_non_null(strstr(rig->v.first_fault, "triple fault"));
}
#else
static const char *const resets_by[] = { "reboot", "reboot" };

static void expect_what_it_did(struct rig *rig)
{
	expect_clean(rig);
}

/* An access that nobody can carry out: there is no way on. */
static void test_bad_access(void **state)
{
	const struct machine_callbacks news = { .size = sizeof(news), .power_off = on_power_off };
	struct machine_options o = MACHINE_OPTIONS_INIT;
	struct rig rig;

	(void) state;
	o.guest_args = "working-set=1M";
	up_with(&rig, 0, o, &news);
	start(&rig);
	wait_booted(&rig);
	tell(&rig, "bad-access");
	wait_news(&offs, 1);
	assert_true(machine_is_powered_off(rig.m));
	assert_int_equal(machine_reset(rig.m, NULL), 0);
	start(&rig);
	wait_booted(&rig);
	expect_clean(&rig);
	rig_down(&rig);
}
#endif

static void test_guest_asks_for_a_reset(void **state)
{
	const struct machine_callbacks news = { .size = sizeof(news), .reset = on_reset };
	struct machine_options o = MACHINE_OPTIONS_INIT;
	struct machine_info info;
	struct rig rig;

	(void) state;
	o.guest_args = "working-set=1M";
	o.cpus = 2;
	up_with(&rig, 1, o, &news);
	start(&rig);
	for (unsigned i = 0; i < 2; i++) {
		wait_booted(&rig);
		tell(&rig, resets_by[i]);
		wait_news(&resets, 2 * i + 1);
		/* Until somebody does it, it is wanted, over a stop and a start, and nothing runs. */
		stop(&rig);
		machine_get_info(rig.m, &info);
		assert_true(info.reset_wanted && !info.powered_off);
		start(&rig);
		wait_news(&resets, 2 * i + 2);
		assert_int_equal(machine_reset(rig.m, NULL), 0);
		machine_get_info(rig.m, &info);
		assert_false(info.reset_wanted);
		assert_true(info.running);
	}
	wait_booted(&rig);
	expect_what_it_did(&rig);
	rig_down(&rig);
}

static void test_power_off(void **state)
{
	const struct machine_callbacks news = { .size = sizeof(news), .power_off = on_power_off };
	struct machine_options o = MACHINE_OPTIONS_INIT;
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct rig rig;

	(void) state;
	o.guest_args = "working-set=1M";
	o.cpus = 2;
	up_with(&rig, 0, o, &news);
	start(&rig);
	wait_booted(&rig);
	tell(&rig, "poweroff");
	wait_news(&offs, 1);
	assert_true(machine_is_powered_off(rig.m));
	assert_false(machine_is_running(rig.m));
	stop(&rig);
	assert_int_equal(machine_start(rig.m, &err), -EPERM);
	assert_string_equal(err.id, "powered-off");
	assert_int_equal(machine_guest_command(rig.m, "judge", NULL, 0, NULL), -EAGAIN);
	assert_int_equal(machine_reset(rig.m, NULL), 0);
	start(&rig);
	wait_booted(&rig);
	expect_clean(&rig);
	rig_down(&rig);
}

static void test_incoming_does_not_run(void **state)
{
	struct machine_options o = MACHINE_OPTIONS_INIT;
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct rig rig;

	(void) state;
	o.incoming = true;
	up(&rig, 0, NULL, o);
	assert_int_equal(machine_start(rig.m, &err), -EPERM);
	assert_int_equal(machine_reset(rig.m, NULL), -EPERM);
	assert_int_equal(machine_guest_command(rig.m, "judge", NULL, 0, NULL), -EPERM);
	assert_false(machine_is_loaded(rig.m));
	rig_down(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_stop_at_any_time),
		cmocka_unit_test(test_hanging_device),
		cmocka_unit_test(test_throttle),
		cmocka_unit_test(test_reset),
		cmocka_unit_test(test_guest_asks_for_a_reset),
#if !defined(__x86_64__)
		cmocka_unit_test(test_bad_access),
#endif
		cmocka_unit_test(test_power_off),
		cmocka_unit_test(test_incoming_does_not_run),
	};

	return rig_lacks_kvm() ? RIG_SKIPPED : cmocka_run_group_tests(tests, NULL, NULL);
}
