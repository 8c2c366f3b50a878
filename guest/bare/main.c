/* SPDX-License-Identifier: MIT */
/* main.c - the guest's start, and the loop that steps its program; see bare.h. */
#include "bare.h"

#define COUNTER_HZ_MIN	1000000u

struct guest_boot boot;
struct guest_platform platform;

/* Nothing can be done without it: said, and the end. */
_Noreturn void give_up(const char *why)
{
	console_say(why);
	for (;;)
		arch_power_off();
}

static uint64_t ram_at(uint64_t offset)
{
	return arch_ram_alias + arch_ram_gpa + offset;
}

void bare_cpu_init(struct bare_cpu *cpu, unsigned id)
{
	cpu->guest = (struct guest_vcpu) { .id = id, .platform = &platform };
	cpu->worker = (struct worker *) ram_at(GUEST_WORDS_OFFSET +
					       (uint64_t) id * GUEST_WORDS_BYTES);
	cpu->watch = (struct worker_watch *) ((uint64_t *) cpu->worker + WORKER_WORDS);
}

static void read_boot(void)
{
	const struct guest_boot *told = (const struct guest_boot *) ram_at(GUEST_BOOT_OFFSET);

	if (told->magic != GUEST_BOOT_MAGIC || told->version != GUEST_BOOT_VERSION) {
		boot.serial_at = arch_serial_default;
		give_up("guest: what the VMM told is of no version that this guest knows");
	}
	boot = *told;
	boot.args[sizeof(boot.args) - 1] = '\0';
	console_boot();
	if (boot.cpus < 1 || boot.cpus > GUEST_CPUS_MAX || boot.intx_pins < 1 ||
	    boot.ram[0].gpa != arch_ram_gpa || arch_counter_hz() < COUNTER_HZ_MIN ||
	    !arch_told_well())
		give_up("guest: what the VMM told can't be");
}

static struct guest_range range_of(const struct guest_boot_range *told)
{
	return (struct guest_range) { .gpa = told->gpa, .bytes = told->bytes };
}

static void boot_machine(void)
{
	read_boot();
	clock_boot(arch_counter_hz());
	platform = (struct guest_platform) {
		.cpus = boot.cpus,
		.bare = true,
		.ram = { range_of(&boot.ram[0]), range_of(&boot.ram[1]) },
		.ecam_gpa = boot.ecam_gpa,
		.window32 = range_of(&boot.window32),
		.window64 = range_of(&boot.window64),
		.intx_first = boot.intx_first,
		.intx_pins = boot.intx_pins,
	};
	arch_boot();
}

static void start_program(struct bare_cpu *cpu)
{
	struct guest_text why;
	char reason[640];

	guest_text_init(&why, reason, sizeof(reason));
	*cpu->watch = (struct worker_watch) { 0 };
	if (guest_worker.init(&platform, cpu->guest.id, boot.args, (uint64_t *) cpu->worker,
			      &why) < 0)
		give_up(reason);
}

_Noreturn void bare_main(struct bare_cpu *cpu)
{
	if (cpu->guest.id == 0)
		boot_machine();
	start_program(cpu);
	arch_registers_hold(cpu);
	if (cpu->guest.id == 0)
		arch_start_others();
	for (;;) {
		clock_begin_step(cpu);
		arch_take(cpu);
		if (console_commands(cpu))
			continue;
		registers_check(cpu);
		switch (guest_worker.step(&cpu->guest, (uint64_t *) cpu->worker)) {
		case GUEST_STEP_GO:
			break;
		case GUEST_STEP_WAIT:
			clock_wait(cpu);
			break;
		case GUEST_STEP_POWER_OFF:
			arch_power_off();
			break;
		}
	}
}
