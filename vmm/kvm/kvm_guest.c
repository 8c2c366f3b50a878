/* SPDX-License-Identifier: MIT */
/*
 * kvm_guest.c - the self-checking guest as a KVM machine's guest program: put into memory, and asked
 * what it saw. What it does is told by guest/worker.c, where it lies in memory by guest/boot.h.
 */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "guest/boot.h"
#include "guest/bus.h"
#include "guest/image.h"
#include "guest/worker.h"

#include "../worker_verdict.h"
#include "kvm.h"
#include "loader.h"

#define WORDS (WORKER_WORDS + WORKER_WATCH_WORDS)

static const char worker_name[] = "worker";

const char *kvm_guest_name(size_t index, const char **ret_summary)
{
	if (index > 0)
		return NULL;
	if (ret_summary)
		*ret_summary = guest_worker.summary;
	return worker_name;
}

/* What the program will find in struct guest_boot, for those parts of it that run here. */
static struct guest_platform describe_platform(unsigned cpus, uint64_t memory_bytes)
{
	const struct machine_layout *layout = &kvm_arch_layout;
	struct guest_platform platform = {
		.cpus = cpus,
		.bare = true,
		.ecam_gpa = layout->pci.ecam,
		.window32 = { layout->pci.window32, layout->pci.window32_bytes },
		.window64 = { layout->pci.window64, layout->pci.window64_bytes },
		.intx_pins = layout->intx_pins,
	};

	for (unsigned i = 0; i < MACHINE_RAM_RANGES && memory_bytes > 0; i++) {
		uint64_t max = layout->ram[i].bytes_max;

		platform.ram[i].gpa = layout->ram[i].gpa;
		platform.ram[i].bytes = memory_bytes < max ? memory_bytes : max;
		memory_bytes -= platform.ram[i].bytes;
	}
	kvm_arch_platform(&platform);
	return platform;
}

/* ---- arguments ---- */

static int check_arguments(const struct machine_options *options, uint64_t *words,
			   struct vferry_error *err)
{
	struct guest_platform platform = describe_platform(options->cpus, options->memory_bytes);
	const char *args = options->guest_args ? options->guest_args : "";
	char reason[128];
	struct guest_text why;
	int r;

	guest_text_init(&why, reason, sizeof(reason));
	if (strlen(args) >= sizeof(((struct guest_boot *) NULL)->args))
		return vferry_error_set(err, -E2BIG, "guest-arguments", worker_name,
					"the guest's arguments are too long: at most %zu bytes",
					sizeof(((struct guest_boot *) NULL)->args) - 1);
	r = guest_worker.init(&platform, 0, args, words, &why);
	if (r < 0)
		return vferry_error_set(err, r, "guest-arguments", worker_name, "%s", reason);
	return 0;
}

int kvm_guest_check(const struct machine_options *options, struct vferry_error *err)
{
	uint64_t *words;
	int r;

	if (options->kernel)
		return kvm_arch_check_kernel(options, err);
	if (options->guest && strcmp(options->guest, worker_name) != 0)
		return vferry_error_set(err, -EINVAL, "no-such-guest", "machine",
					"there is no guest program \"%s\" for kvm; it has %s", options->guest,
					worker_name);
	words = calloc(WORDS, sizeof(*words));
	if (!words)
		return vferry_error_set(err, -ENOMEM, "no-memory", worker_name, "no memory");
	r = check_arguments(options, words, err);
	free(words);
	return r;
}

/* ---- into memory ---- */

static int make_boot(struct kvm_machine *m, struct guest_boot *boot, struct vferry_error *err)
{
	struct guest_platform platform = describe_platform(m->cpus, vferry_ram_bytes(m->ram));
	int r;

	*boot = (struct guest_boot) {
		.magic = GUEST_BOOT_MAGIC,
		.version = GUEST_BOOT_VERSION,
		.cpus = m->cpus,
		.ecam_gpa = platform.ecam_gpa,
		.window32 = { platform.window32.gpa, platform.window32.bytes },
		.window64 = { platform.window64.gpa, platform.window64.bytes },
		.intx_first = kvm_arch_layout.intx_first,
		.intx_pins = kvm_arch_layout.intx_pins,
	};
	for (unsigned i = 0; i < MACHINE_RAM_RANGES; i++)
		boot->ram[i] = (struct guest_boot_range) { platform.ram[i].gpa, platform.ram[i].bytes };
	memcpy(boot->args, m->args, strlen(m->args) + 1);	/* checked when the machine was made */
	r = kvm_arch_describe(m, boot);
	if (r < 0)
		return vferry_error_set(err, r, "guest-boot", worker_name,
					"how fast the guest's counter is cannot be read (%s)",
					vferry_errno_name(r));
	return 0;
}

static int load_program(struct kvm_machine *m, struct vferry_error *err)
{
	const uint64_t ram = kvm_arch_layout.ram[0].gpa;
	struct guest_boot *boot = malloc(sizeof(*boot));
	int r = boot ? make_boot(m, boot, err)
		     : vferry_error_set(err, -ENOMEM, "no-memory", worker_name, "no memory");

	if (r == 0)
		r = loader_zero(m->ram, ram, WORKER_PAGE);
	if (r == 0)
		r = loader_zero(m->ram, ram + GUEST_WORDS_OFFSET,
				(uint64_t) m->cpus * GUEST_WORDS_BYTES);
	if (r == 0)
		r = loader_elf64(m->ram, kvm_arch_facts.elf_machine, guest_image,
				 guest_image_bytes, err);
	if (r == 0)
		r = vferry_ram_write(m->ram, ram + GUEST_BOOT_OFFSET, boot, sizeof(*boot));
	free(boot);
	if (r < 0)
		return vferry_error_set(err, r, "guest-load", worker_name,
					"the guest cannot be put into memory (%s)", vferry_errno_name(r));
	return 0;
}

int kvm_guest_load(struct kvm_machine *m, struct vferry_error *err)
{
	return m->kernel ? kvm_arch_boot_kernel(m, err) : load_program(m, err);
}

/* ---- what it saw ---- */

/* A triple fault leaves nothing behind in the guest, which begins anew: it is told here. */
static void add_triple_faults(const struct kvm_machine *m, struct machine_verdict *verdict)
{
	unsigned count = atomic_load(&m->triple_faults);

	if (count > 0 && verdict->first_fault[0] == '\0')
		(void) snprintf(verdict->first_fault, sizeof(verdict->first_fault),
				"a vCPU took a triple fault (%u so far): the machine was reset", count);
}

/* The words are the guest's: vCPUs may write them meanwhile, and nothing in them is trusted. */
static void add_vcpu(const struct kvm_machine *m, const struct guest_platform *platform,
		     unsigned cpu, uint64_t *words, struct machine_verdict *verdict)
{
	uint64_t gpa = kvm_arch_layout.ram[0].gpa + GUEST_WORDS_OFFSET +
		       (uint64_t) cpu * GUEST_WORDS_BYTES;
	size_t bytes = WORDS * sizeof(*words);

	if (vferry_ram_read(m->ram, gpa, words, bytes) == 0)
		worker_verdict_add(platform, cpu, words, verdict);
}

void kvm_guest_verdict(struct kvm_machine *m, struct machine_verdict *ret_verdict)
{
	struct guest_platform platform = describe_platform(m->cpus, vferry_ram_bytes(m->ram));
	uint64_t *words = calloc(WORDS, sizeof(*words));

	memset(ret_verdict, 0, sizeof(*ret_verdict));
	pthread_mutex_lock(&m->lock);
	ret_verdict->paused_ns = run_clock_paused(&m->clock);
	pthread_mutex_unlock(&m->lock);
	if (!words || m->kernel) {
		free(words);
		return;
	}
	worker_verdict_begin(ret_verdict);
	for (unsigned i = 0; i < m->cpus; i++)
		add_vcpu(m, &platform, i, words, ret_verdict);
	add_triple_faults(m, ret_verdict);
	free(words);
}
