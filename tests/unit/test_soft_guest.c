/* SPDX-License-Identifier: MIT */
/* test_soft_guest.c - soft machines without devices: they run clean, and the judge judges. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>
#include <stdlib.h>
#include <unistd.h>

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

static void verdict_print(const struct machine_verdict *v)
{
	print_message("steps %lu dirtied %lu checked %lu corrupt %lu passes %lu gap %lu/%lu fault \"%s\"\n",
		      v->steps, v->dirtied_pages, v->checked_pages, v->corrupt_pages, v->passes,
		      v->longest_gap_ns, v->longest_gap_running_ns, v->first_fault);
}

static void test_runs(void **state)
{
	struct machine_verdict v;
	struct rig rig;

	(void) state;
	rig_up(&rig, 1, "worker", "working-set=8M rate=100", SOFT_GIC_V4_0, false);
	assert_int_equal(soft_machine_start(rig.m, NULL), 0);
	sleep_ms(500);
	assert_int_equal(soft_machine_stop(rig.m, NULL), 0);
	soft_machine_verdict(rig.m, &v);
	verdict_print(&v);
	assert_true(v.booted);
	assert_string_equal(v.first_fault, "");
	rig_down(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_runs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
