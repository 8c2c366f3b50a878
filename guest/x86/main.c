/* SPDX-License-Identifier: MIT */
/* main.c - the guest's start, in ring 3, and the loop that steps its program; see cpu.h. */
#include "cpu.h"

#define INTX_PINS_MAX	15u
#define SERIAL_DEFAULT	0x3f8u

struct guest_boot boot;
struct guest_platform platform;

/* Nothing can be done without it: said, and the end. */
static _Noreturn void give_up(const char *why)
{
	console_say(why);
	for (;;)
		power_off();
}

static void read_boot(void)
{
	const struct guest_boot *told = (const struct guest_boot *) (ALIAS + GUEST_BOOT_GPA);

	if (told->magic != GUEST_BOOT_MAGIC || told->version != GUEST_BOOT_VERSION) {
		boot.serial_port = SERIAL_DEFAULT;
		give_up("guest: what the VMM told is of no version that this guest knows");
	}
	boot = *told;
	boot.args[sizeof(boot.args) - 1] = '\0';
	console_boot();
	if (boot.cpus < 1 || boot.cpus > GUEST_CPUS_MAX || boot.counter_hz < 1000000 ||
	    boot.lapic_timer_hz < 1000000 || boot.intx_pins < 1 ||
	    boot.intx_pins > INTX_PINS_MAX || boot.ram[0].gpa != 0)
		give_up("guest: what the VMM told can't be");
}

static struct guest_range range_of(const struct guest_boot_range *told)
{
	return (struct guest_range) { .gpa = told->gpa, .bytes = told->bytes };
}

static void boot_machine(void)
{
	read_boot();
	clock_boot();
	platform = (struct guest_platform) {
		.cpus = boot.cpus,
		.irqchip = GUEST_IRQCHIP_APIC,
		.bare = true,
		.ram = { range_of(&boot.ram[0]), range_of(&boot.ram[1]) },
		.ecam_gpa = boot.ecam_gpa,
		.window32 = range_of(&boot.window32),
		.window64 = range_of(&boot.window64),
		.intx_pins = boot.intx_pins,
		.vectors = GUEST_X86_VECTORS,
	};
	paging_boot();
	irqchip_boot();
}

static void start_program(struct cpu *cpu)
{
	struct guest_text why;
	char reason[640];

	guest_text_init(&why, reason, sizeof(reason));
	*cpu->watch = (struct worker_watch) { 0 };
	if (guest_worker.init(&platform, cpu->guest.id, boot.args, (uint64_t *) cpu->worker,
			      &why) < 0)
		give_up(reason);
}

_Noreturn void user_main(struct cpu *cpu)
{
	if (cpu->guest.id == 0)
		boot_machine();
	start_program(cpu);
	registers_hold(cpu);
	if (cpu->guest.id == 0)
		irqchip_start_others();
	for (;;) {
		clock_begin_step(cpu);
		irqchip_take(cpu);
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
			power_off();
			break;
		}
	}
}
