/* SPDX-License-Identifier: MIT */
/* watch.c - what a processor sees beside its program: registers that hold values, exceptions. */
#include "bare.h"

#define CHECK_PERIOD_NS 100000000ull

void register_lost(struct bare_cpu *cpu, uint64_t number, uint64_t expected, uint64_t found)
{
	cpu->watch->lost_registers++;
	worker_fault(cpu->worker, WORKER_FAULT_REGISTER, number, expected, found);
}

void registers_check(struct bare_cpu *cpu)
{
	if (cpu->now_ns < cpu->check_ns)
		return;
	cpu->check_ns = cpu->now_ns + CHECK_PERIOD_NS;
	cpu->watch->register_checks++;
	arch_registers_check(cpu);
}

/* Kept for the verdict, too. */
void exception_end(struct bare_cpu *cpu, const char *what, uint64_t number, uint64_t instruction,
		   uint64_t detail)
{
	struct guest_text text;
	char line[192];

	guest_text_init(&text, line, sizeof(line));
	guest_text_add(&text, "guest: vCPU ");
	guest_text_add_number(&text, cpu->guest.id);
	guest_text_add(&text, ": exception ");
	guest_text_add(&text, what);
	worker_fault(cpu->worker, WORKER_FAULT_EXCEPTION, number, instruction, detail);
	cpu->worker->phase = WORKER_PHASE_DEAD;
	console_line(line);
	arch_power_off();
}
