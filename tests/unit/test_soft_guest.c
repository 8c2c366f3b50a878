/* SPDX-License-Identifier: MIT */
/* test_soft_guest.c - soft machines without devices: they run clean, and the judge judges. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#include "guest/worker.h"
#include "vmm/soft/soft.h"

struct rig {
	struct vferry_ram *ram;
	struct pci_host *pci;
	struct soft_machine *m;
};

static void sleep_ms(long ms)
{
	struct timespec ts = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 };

	(void) nanosleep(&ts, NULL);
}

static void log_line(void *user, const char *line)
{
	(void) user;
	print_message("log: %s\n", line);
}

static void rig_up(struct rig *rig, unsigned cpus, const char *guest, const char *args,
		   enum soft_gic_kind gic, bool incoming)
{
	const struct pci_host_config pci = { .ecam = SOFT_ECAM_BASE,
		.window32 = SOFT_WINDOW32_BASE, .window32_bytes = SOFT_WINDOW32_BYTES,
		.window64 = SOFT_WINDOW64_BASE, .window64_bytes = SOFT_WINDOW64_BYTES };
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct soft_config config = { .cpus = cpus, .gic = gic, .args = args,
		.program = soft_program_find(guest), .incoming = incoming, .log = log_line };

	assert_int_equal(vferry_ram_new(&rig->ram), 0);
	assert_int_equal(vferry_ram_create_block(rig->ram, "ram0", SOFT_RAM_BASE, 64 << 20, 0, NULL),
			 0);
	assert_int_equal(pci_host_new(&pci, &rig->pci), 0);
	config.ram = rig->ram;
	config.pci = rig->pci;
	if (soft_machine_new(&config, &rig->m, &err) != 0)
		fail_msg("%s", err.message);
}

static void rig_down(struct rig *rig)
{
	rig->m = soft_machine_free(rig->m);
	rig->pci = pci_host_free(rig->pci);
	rig->ram = vferry_ram_free(rig->ram);
}

static void start(struct rig *rig)
{
	struct vferry_error err = VFERRY_ERROR_INIT;

	if (soft_machine_start(rig->m, &err) < 0)
		fail_msg("%s", err.message);
}

static void stop(struct rig *rig)
{
	struct vferry_error err = VFERRY_ERROR_INIT;

	if (soft_machine_stop(rig->m, &err) < 0)
		fail_msg("%s", err.message);
}

static struct machine_verdict look(struct rig *rig)
{
	struct machine_verdict v;

	soft_machine_verdict(rig->m, &v);
	return v;
}

/* All memory checked once more. */
static struct machine_verdict judge(struct rig *rig)
{
	uint64_t passes = look(rig).passes;

	assert_int_equal(soft_machine_command(rig->m, "judge", NULL, 0, NULL), 0);
	for (unsigned i = 0; i < 2000 && look(rig).passes == passes; i++)
		sleep_ms(5);
	assert_true(look(rig).passes > passes);
	return look(rig);
}

static void expect_clean(struct rig *rig)
{
	struct machine_verdict v = look(rig);

	if (!machine_verdict_clean(&v, 0))
		fail_msg("%s", v.first_fault);
}

static void run_clean(unsigned cpus, const char *args, enum soft_gic_kind gic)
{
	struct machine_verdict v;
	struct rig rig;

	rig_up(&rig, cpus, "worker", args, gic, false);
	start(&rig);
	sleep_ms(300);
	v = judge(&rig);
	expect_clean(&rig);
	assert_true(v.booted);
	assert_true(v.dirtied_pages > 1900);
	assert_true(v.checked_pages > 1000);
	rig_down(&rig);
}

static void test_runs_clean(void **state)
{
	(void) state;
	run_clean(1, "working-set=8M rate=100", SOFT_GIC_V4_0);
	run_clean(4, "working-set=8M rate=100 fill=8M fill-kind=half", SOFT_GIC_V3);
	run_clean(8, "working-set=8M rate=max fill=4M fill-kind=zero", SOFT_GIC_OFF);
	run_clean(1, "working-set=8M rate=0 fill=16M", SOFT_GIC_V4_1);
}

static void test_rate(void **state)
{
	struct machine_verdict before, after;
	uint64_t pages;
	struct rig rig;

	(void) state;
	rig_up(&rig, 2, "worker", "working-set=8M rate=20", SOFT_GIC_OFF, false);
	start(&rig);
	sleep_ms(200);
	before = look(&rig);
	sleep_ms(500);
	after = look(&rig);
	pages = after.dirtied_pages - before.dirtied_pages;
	/* 10 MB, give or take what a busy build host does. */
	assert_in_range(pages, 100, 3500);
	rig_down(&rig);
}

static void test_bit_flip(void **state)
{
	static const char *const sets[] = { "working-set=4M rate=0", "working-set=0 fill=4M",
					    "working-set=0 fill=4M fill-kind=zero" };
	(void) state;
	for (unsigned i = 0; i < 3; i++) {
		uint64_t gpa = SOFT_RAM_BASE + WORKER_DATA + 123 * WORKER_PAGE + 8 * 77;
		struct machine_verdict v;
		struct rig rig;
		uint64_t *word;

		rig_up(&rig, 1, "worker", sets[i], SOFT_GIC_OFF, false);
		start(&rig);
		sleep_ms(50);
		v = judge(&rig);
		assert_int_equal(v.corrupt_pages, 0);
		stop(&rig);
		word = vferry_ram_host(rig.ram, gpa, 8);
		*word ^= 1ull << 40;
		start(&rig);
		v = judge(&rig);
		assert_int_equal(v.corrupt_pages, 1);
		assert_int_equal(v.corrupt_gpa, gpa);
		assert_int_equal(v.corrupt_found, *word);
		assert_int_equal(v.corrupt_expected, *word ^ 1ull << 40);
		assert_true(v.first_fault[0]);
		assert_false(machine_verdict_clean(&v, 0));
		rig_down(&rig);
	}
}

/* A page that is as it was one sweep ago: what a migration that loses a dirty page leaves. */
static void test_stale_page(void **state)
{
	uint64_t gpa = SOFT_RAM_BASE + WORKER_DATA + 55 * WORKER_PAGE;
	uint8_t old[WORKER_PAGE];
	uint64_t dirtied;
	struct rig rig;
	void *page;

	(void) state;
	rig_up(&rig, 1, "worker", "working-set=1M rate=max", SOFT_GIC_OFF, false);
	start(&rig);
	sleep_ms(50);
	stop(&rig);
	page = vferry_ram_host(rig.ram, gpa, WORKER_PAGE);
	memcpy(old, page, sizeof(old));
	dirtied = look(&rig).dirtied_pages;
	start(&rig);
	while (look(&rig).dirtied_pages < dirtied + 1000)
		sleep_ms(1);
	stop(&rig);
	expect_clean(&rig);
	memcpy(page, old, sizeof(old));
	start(&rig);
	/* Once by the pass, or once more by the sweep that comes along before it is rewritten. */
	assert_in_range(judge(&rig).corrupt_pages, 1, 2);
	rig_down(&rig);
}

static void test_clock_backward(void **state)
{
	struct machine_verdict v;
	struct rig rig;

	(void) state;
	rig_up(&rig, 1, "worker", "working-set=1M", SOFT_GIC_OFF, false);
	rig.m->clock.mode = MACHINE_GUEST_TIME_PAUSED;
	start(&rig);
	sleep_ms(100);
	stop(&rig);
	rig.m->clock.run_ns -= 90000000;
	start(&rig);
	v = judge(&rig);
	assert_int_equal(v.clock_backward, 1);
	assert_false(machine_verdict_clean(&v, 0));
	rig_down(&rig);
}

static void test_gaps(void **state)
{
	struct machine_verdict before, after;
	struct rig rig;

	(void) state;
	rig_up(&rig, 1, "worker", "working-set=1M", SOFT_GIC_OFF, false);
	start(&rig);
	sleep_ms(50);
	stop(&rig);
	before = look(&rig);
	sleep_ms(400);
	start(&rig);
	(void) judge(&rig);
	after = look(&rig);
	assert_true(after.longest_gap_ns >= 400000000);
	assert_true(after.longest_gap_ns >= after.longest_gap_running_ns);
	assert_true(after.paused_ns >= before.paused_ns + 400000000);
	expect_clean(&rig);

	/* An hour that nobody waited for: seen, and forgotten when told so. */
	stop(&rig);
	rig.m->clock.paused_ns += 3600 * 1000000000ull;
	start(&rig);
	(void) judge(&rig);
	assert_true(look(&rig).longest_gap_ns >= 3600 * 1000000000ull);
	assert_int_equal(soft_machine_command(rig.m, "forget-gap", NULL, 0, NULL), 0);
	(void) judge(&rig);
	assert_true(look(&rig).longest_gap_ns < 3600 * 1000000000ull);
	expect_clean(&rig);
	rig_down(&rig);
}

/* How often a guest with nothing to do looks around is an order that stands. */
static void test_tick(void **state)
{
	struct machine_verdict v;
	struct rig rig;

	(void) state;
	rig_up(&rig, 1, "worker", "working-set=1M rate=0 tick-us=1000000", SOFT_GIC_OFF, false);
	start(&rig);
	v = judge(&rig);
	sleep_ms(300);
	stop(&rig);
	assert_true(look(&rig).steps <= v.steps + 8);	/* 30 by the tick there is else */
	expect_clean(&rig);
	rig_down(&rig);
}

/* ---- carried to another machine ---- */

static void copy_section(struct rig *from, struct rig *to, int cpu)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct vferry_writer *w;
	struct vferry_reader *r;
	size_t size;
	const void *data;
	int ret;

	assert_int_equal(vferry_writer_new(1 << 20, &w), 0);
	ret = cpu < 0 ? soft_clock_save(from->m, w, &err) :
			soft_cpu_save(from->m, (unsigned) cpu, w, &err);
	if (ret < 0)
		fail_msg("%s", err.message);
	assert_true(vferry_writer_ok(w));
	data = vferry_writer_data(w, &size);
	assert_int_equal(vferry_reader_new(data, size, &r), 0);
	ret = cpu < 0 ? soft_clock_load(to->m, r, &err) :
			soft_cpu_load(to->m, (unsigned) cpu, r, &err);
	if (ret < 0)
		fail_msg("%s", err.message);
	(void) vferry_reader_free(r);
	(void) vferry_writer_free(w);
}

static void carry(struct rig *from, struct rig *to)
{
	const struct vferry_ram_block *a = vferry_ram_get_block(from->ram, 0);
	const struct vferry_ram_block *b = vferry_ram_get_block(to->ram, 0);

	memcpy(b->host, a->host, a->bytes);
	for (int cpu = -1; cpu < (int) from->m->config.cpus; cpu++)
		copy_section(from, to, cpu);
	soft_clock_apply(to->m);
}

static void test_continues_elsewhere(void **state)
{
	static const char args[] = "working-set=4M rate=200 fill=4M seed=9";
	struct machine_verdict before, after;
	struct rig rig[2];
	unsigned hop;

	(void) state;
	rig_up(&rig[0], 3, "worker", args, SOFT_GIC_OFF, false);
	rig_up(&rig[1], 3, "worker", args, SOFT_GIC_OFF, true);
	assert_int_equal(soft_machine_start(rig[1].m, NULL), -EPERM);
	/* From the first moment on: also in the middle of booting and filling. */
	for (hop = 0; hop < 40; hop++) {
		struct rig *from = &rig[hop % 2], *to = &rig[1 - hop % 2];

		start(from);
		(void) usleep(hop < 30 ? hop * 100 : 20000);
		stop(from);
		before = look(from);
		carry(from, to);
		after = look(to);
		assert_int_equal(after.steps, before.steps);
		assert_int_equal(after.dirtied_pages, before.dirtied_pages);
	}
	start(&rig[0]);
	after = judge(&rig[0]);
	expect_clean(&rig[0]);
	assert_true(after.booted);
	assert_true(after.steps > before.steps);
	assert_true(after.longest_gap_ns >= after.longest_gap_running_ns);
	rig_down(&rig[0]);
	rig_down(&rig[1]);
}

static int load_bytes(struct rig *rig, const uint8_t *bytes, size_t size)
{
	struct vferry_reader *r;
	int ret;

	assert_int_equal(vferry_reader_new(bytes, size, &r), 0);
	ret = soft_cpu_load(rig->m, 0, r, NULL);
	(void) vferry_reader_free(r);
	return ret;
}

static void test_bad_sections(void **state)
{
	struct vferry_writer *w;
	uint8_t *good, *bad;
	const void *data;
	unsigned refused = 0;
	struct rig rig;
	size_t size;

	(void) state;
	rig_up(&rig, 1, "worker", "working-set=4M rate=200", SOFT_GIC_OFF, false);
	start(&rig);
	sleep_ms(50);
	assert_int_equal(vferry_writer_new(1 << 20, &w), 0);
	assert_int_equal(soft_cpu_save(rig.m, 0, w, NULL), -EBUSY);
	stop(&rig);
	assert_int_equal(soft_cpu_save(rig.m, 0, w, NULL), 0);
	good = malloc(1 << 20);
	data = vferry_writer_data(w, &size);
	memcpy(good, data, size);
	assert_int_equal(load_bytes(&rig, good, size), 0);
	for (size_t cut = 0; cut < size; cut++)
		assert_true(load_bytes(&rig, good, cut) < 0);
	assert_true(load_bytes(&rig, good, size + 1) < 0);
	/* Every byte of the head matters. */
	bad = malloc(size);
	for (size_t at = 0; at < 2 + 6 + 4 + 4 + 8 + 4; at++) {
		memcpy(bad, good, size);
		bad[at] ^= 0x40;
		assert_true(load_bytes(&rig, bad, size) < 0);
	}
	/* Words that contradict themselves are refused; the machine keeps what it had. */
	for (size_t at = 28; at + 8 <= size; at += 8) {
		memcpy(bad, good, size);
		memset(bad + at, 0xfe, 8);
		refused += load_bytes(&rig, bad, size) < 0;
	}
	assert_true(refused > 10);
	assert_int_equal(load_bytes(&rig, good, size), 0);
	start(&rig);
	(void) judge(&rig);
	expect_clean(&rig);
	free(good);
	free(bad);
	(void) vferry_writer_free(w);
	rig_down(&rig);
}

/* ---- running and not running ---- */

static void test_throttle(void **state)
{
	uint64_t full = 0, slow = 1;
	struct rig rig;

	(void) state;
	rig_up(&rig, 1, "worker", "working-set=4M rate=max", SOFT_GIC_OFF, false);
	start(&rig);
	(void) judge(&rig);
	/* Who knows what else this host does meanwhile: a comparison that fails is made again. */
	for (unsigned i = 0; i < 10 && slow * 3 >= full; i++) {
		atomic_store(&rig.m->throttle, 0);
		full = look(&rig).dirtied_pages;
		sleep_ms(200);
		full = look(&rig).dirtied_pages - full;
		atomic_store(&rig.m->throttle, 90);
		slow = look(&rig).dirtied_pages;
		sleep_ms(200);
		slow = look(&rig).dirtied_pages - slow;
	}
	assert_true(slow * 3 < full);
	assert_true(slow > 0);
	expect_clean(&rig);
	rig_down(&rig);
}

static void test_power_off(void **state)
{
	struct rig rig;

	(void) state;
	rig_up(&rig, 2, "worker", "working-set=4M at=100:poweroff", SOFT_GIC_V4_0, false);
	start(&rig);
	for (unsigned i = 0; i < 1000 && !atomic_load(&rig.m->powered_off); i++)
		sleep_ms(5);
	assert_true(atomic_load(&rig.m->powered_off));
	stop(&rig);
	expect_clean(&rig);
	assert_int_equal(soft_machine_start(rig.m, NULL), -EPERM);
	assert_int_equal(soft_machine_reset(rig.m, NULL), 0);
	assert_false(atomic_load(&rig.m->powered_off));
	start(&rig);
	sleep_ms(50);
	assert_true(look(&rig).steps > 0);
	rig_down(&rig);
}

static void test_arguments(void **state)
{
	static const char *const wrong[] = { "nonsense", "rate", "rate=fast", "working-set=4X",
		"irq=msix", "vectors=0", "vectors=17", "job-bytes=5000", "at=5", "at=5:dance",
		"at=1:flr,16", "at=1:rate,5,5", "p2p=maybe" };
	struct rig rig;

	(void) state;
	rig_up(&rig, 1, "worker", "", SOFT_GIC_OFF, false);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct soft_config config = rig.m->config;
		struct soft_machine *m;

		config.args = wrong[i];
		assert_int_equal(soft_machine_new(&config, &m, NULL), -EINVAL);
	}
	assert_int_equal(soft_machine_command(rig.m, "sing", NULL, 0, NULL), -EINVAL);
	assert_int_equal(soft_machine_command(rig.m, "rate", NULL, 0, NULL), -EINVAL);
	assert_int_equal(soft_machine_command(rig.m, "rate 5", NULL, 0, NULL), 0);
	rig_down(&rig);
}

static void test_idle(void **state)
{
	struct machine_verdict v;
	struct rig rig;

	(void) state;
	rig_up(&rig, 2, "idle", "", SOFT_GIC_V4_0, false);
	start(&rig);
	sleep_ms(100);
	stop(&rig);
	v = look(&rig);
	assert_false(v.judging);
	assert_false(machine_verdict_clean(&v, 0));
	rig_down(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_runs_clean),
		cmocka_unit_test(test_rate),
		cmocka_unit_test(test_bit_flip),
		cmocka_unit_test(test_stale_page),
		cmocka_unit_test(test_clock_backward),
		cmocka_unit_test(test_gaps),
		cmocka_unit_test(test_tick),
		cmocka_unit_test(test_continues_elsewhere),
		cmocka_unit_test(test_bad_sections),
		cmocka_unit_test(test_throttle),
		cmocka_unit_test(test_power_off),
		cmocka_unit_test(test_arguments),
		cmocka_unit_test(test_idle),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
