/* SPDX-License-Identifier: MIT */
/*
 * fuzz_soft_state.c - sections of a soft machine's vCPU and clock, and what a guest does with them.
 *
 * The first byte says what follows: 0 a whole section of cpu/0; 1 a section of the clock; 2 and
 * more changes to a good vCPU's words, each 2 bytes index and 8 bytes value. What is accepted is
 * then run: state that passed the check must not lead the guest astray.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "guest/worker.h"
#include "vmm/soft/soft.h"

#define STEPS 64

static struct soft_machine *machine;
static uint64_t *good;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void set_up(void)
{
	const struct pci_host_config pci = { .ecam = SOFT_ECAM_BASE,
		.window32 = SOFT_WINDOW32_BASE, .window32_bytes = SOFT_WINDOW32_BYTES,
		.window64 = SOFT_WINDOW64_BASE, .window64_bytes = SOFT_WINDOW64_BYTES };
	struct soft_config config = { .cpus = 1, .gic = SOFT_GIC_V4_0,
		.program = &guest_worker, .args = "working-set=1M fill=1M" };
	int r = vferry_ram_new(&config.ram);

	assert(r == 0);
	r = vferry_ram_create_block(config.ram, "ram0", SOFT_RAM_BASE, MACHINE_MEMORY_MIN, 0, NULL);
	assert(r == 0);
	r = pci_host_new(&pci, &config.pci);
	assert(r == 0);
	r = soft_machine_new(&config, &machine, NULL);
	assert(r == 0);
	(void) r;
	good = malloc(sizeof(struct worker));
	assert(good);
	memcpy(good, machine->vcpu[0].words, sizeof(struct worker));
	((struct worker *) good)->phase = WORKER_PHASE_RUN;
	((struct worker *) good)->found = WORKER_DEVICES;
}

static void run(void)
{
	struct soft_vcpu *vcpu = &machine->vcpu[0];

	for (unsigned i = 0; i < STEPS; i++) {
		vcpu->bus_failed = false;
		(void) guest_worker.step(&vcpu->guest, vcpu->words);
		guest_worker.interrupt(&vcpu->guest, vcpu->words, WORKER_MSI_FIRST + i);
		guest_worker.interrupt(&vcpu->guest, vcpu->words, WORKER_PIN_FIRST + i);
	}
}

static void load(const void *data, size_t size, bool clock)
{
	struct vferry_reader *r;
	int ret;

	if (vferry_reader_new(data, size, &r) < 0)
		return;
	ret = clock ? soft_clock_load(machine, r, NULL) : soft_cpu_load(machine, 0, r, NULL);
	(void) vferry_reader_free(r);
	if (ret == 0 && clock)
		soft_clock_apply(machine);
	else if (ret == 0)
		run();
}

static void load_changed(const uint8_t *data, size_t size)
{
	struct vferry_writer *w;
	size_t bytes;
	const void *section;

	memcpy(machine->vcpu[0].words, good, sizeof(struct worker));
	for (; size >= 10; data += 10, size -= 10) {
		uint64_t value;

		memcpy(&value, data + 2, sizeof(value));
		machine->vcpu[0].words[(data[0] | (unsigned) data[1] << 8) % WORKER_WORDS] = value;
	}
	if (vferry_writer_new(1 << 20, &w) < 0)
		return;
	(void) soft_cpu_save(machine, 0, w, NULL);
	section = vferry_writer_data(w, &bytes);
	load(section, bytes, false);
	(void) vferry_writer_free(w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!machine)
		set_up();
	if (size == 0)
		return 0;
	if (data[0] < 2)
		load(data + 1, size - 1, data[0] == 1);
	else
		load_changed(data + 1, size - 1);
	return 0;
}
